//! The USB/IP cable: a phone whose USB host is a Linux kernel.
//!
//! [`UsbIp`] answers the requests of a kernel's virtual host controller on a stream socket; closing
//! the socket is pulling the cable. Endpoint zero is answered by [`ControlEndpoint`], the mux
//! interface's bulk transfers go through a [`Plug`] as those of a host in this program do, and
//! requests to the other interfaces' endpoints get NAK for ever, as from a phone with nothing to
//! say. Left out: isochronous transfers (sound), which are told that the endpoint stalls. How the
//! socket gets into the kernel is [`vhci`](crate::vhci)'s affair.

mod session;
mod wire;

use crate::control::ControlEndpoint;
use crate::identity::Identity;
use crate::options::Options;
use crate::plug::Plug;
use futures_lite::future;
use session::Session;
use smol::Async;
use std::os::unix::net::UnixStream;
use std::{fmt, io};

pub use wire::Malformed;

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

/// The cable is out because of an error.
#[derive(Debug)]
#[non_exhaustive]
pub enum UsbIpError {
    /// The host sent what is no USB/IP.
    Malformed(Malformed),
    /// The socket failed.
    Socket(io::Error),
}

impl fmt::Display for UsbIpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UsbIpError::Malformed(what) => what.fmt(f),
            UsbIpError::Socket(error) => write!(f, "USB/IP socket: {error}"),
        }
    }
}

impl std::error::Error for UsbIpError {}

impl From<Malformed> for UsbIpError {
    fn from(what: Malformed) -> Self {
        UsbIpError::Malformed(what)
    }
}

impl From<io::Error> for UsbIpError {
    fn from(error: io::Error) -> Self {
        UsbIpError::Socket(error)
    }
}

/// A phone that can be plugged into USB hosts that speak USB/IP, one after the other.
#[derive(Debug)]
pub struct UsbIp {
    options: Options,
    control: ControlEndpoint,
}

impl UsbIp {
    /// A phone that lies on the desk.
    pub fn new(options: Options) -> Self {
        let control = ControlEndpoint::new(Identity::new(options.number), options.max_packet)
            .with_quirks(&options.quirks);
        UsbIp { options, control }
    }

    /// Is plugged in until the cable is out; dropping the future pulls it.
    ///
    /// The phone lives on the task that runs this. The session begins anew each time; the mode
    /// alone stays.
    ///
    /// # Errors
    ///
    /// See [`UsbIpError`]; each of them unplugs the phone.
    pub async fn serve(&mut self, socket: Async<UnixStream>) -> Result<Ended, UsbIpError> {
        self.control.leave_bus();
        let (plug, phone) = Plug::new(self.options.clone());
        let mut session = Session::new(&mut self.control, plug, socket);
        let phone = async {
            phone.await;
            Ok(Ended::Unplugged)
        };
        future::or(future::poll_fn(|cx| session.poll(cx)), phone).await
    }
}
