//! What the cables to USB hosts outside this program have in common.
//!
//! Each of them is a stream socket on which a host asks for transfers and is answered; closing it is
//! pulling the cable. [`transfers`] keeps what was asked for and not answered yet, [`socket`] the
//! bytes on their way, [`probe`] what a hand at the cable sees and does; the two languages are [`usbip`](crate::usbip) and
//! [`usbredir`](crate::usbredir).

pub(crate) mod probe;
pub(crate) mod socket;
pub(crate) mod transfers;

use crate::control::ControlEndpoint;
use crate::identity::Identity;
use crate::options::Options;
use probe::Probe;
use std::io::{self, ErrorKind};
use std::task::{Context, Poll};
use std::{error, fmt};

/// The longest transfer, in bytes: all that Linux's usbfs allows its users together
/// (usbfs_memory_mb).
pub(crate) const TRANSFER_MAX: usize = 16 << 20;
/// Steps taken before other tasks get their turn.
const STEPS: usize = 64;

/// Why the cable is out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ended {
    /// The host closed its end of the socket.
    HungUp,
    /// The phone's quirk `unplug` pulled it.
    Unplugged,
    /// The host switched the mode: the phone is to be plugged in again, and keeps the mode.
    ModeSwitched,
}

/// The cable is out because of an error; `M` is what the language calls malformed.
#[derive(Debug)]
#[non_exhaustive]
pub enum CableError<M> {
    /// The host sent what is no message of the language.
    Malformed(M),
    /// The socket failed.
    Socket(io::Error),
}

impl<M: fmt::Display> fmt::Display for CableError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CableError::Malformed(what) => what.fmt(f),
            CableError::Socket(error) => write!(f, "socket to the USB host: {error}"),
        }
    }
}

impl<M: error::Error> error::Error for CableError<M> {}

impl<M> From<io::Error> for CableError<M> {
    fn from(error: io::Error) -> Self {
        CableError::Socket(error)
    }
}

/// What one step of a session led to.
pub(crate) enum Step {
    /// Something was done; there may be more.
    Moved,
    /// Nothing can be done before the waker is woken.
    Waits,
    /// The cable is out.
    Ended(Ended),
}

/// Takes steps until nothing can be done; ready when the cable is out.
pub(crate) fn poll_session<M>(
    cx: &mut Context<'_>,
    mut step: impl FnMut(&mut Context<'_>) -> Result<Step, CableError<M>>,
) -> Poll<Result<Ended, CableError<M>>> {
    for _ in 0..STEPS {
        match step(cx) {
            Ok(Step::Moved) => {}
            Ok(Step::Waits) => return Poll::Pending,
            Ok(Step::Ended(why)) => return Poll::Ready(Ok(why)),
            Err(CableError::Socket(error)) if is_hang_up(&error) => {
                return Poll::Ready(Ok(Ended::HungUp));
            }
            Err(error) => return Poll::Ready(Err(error)),
        }
    }
    cx.waker().wake_by_ref();
    Poll::Pending
}

/// The other end closed its socket, with or without answers unread.
fn is_hang_up(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
}

/// A phone between two pluggings: what it is, and what endpoint zero remembers.
#[derive(Debug)]
pub(crate) struct Handset {
    pub(crate) options: Options,
    pub(crate) control: ControlEndpoint,
    pub(crate) probe: Probe,
}

impl Handset {
    pub(crate) fn new(options: Options) -> Self {
        let control = ControlEndpoint::new(Identity::new(options.number), options.max_packet)
            .with_quirks(&options.quirks);
        Handset { options, control, probe: Probe::default() }
    }
}
