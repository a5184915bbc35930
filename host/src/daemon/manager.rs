//! What a service manager gives the daemon and is told by it: sockets that it has opened already
//! (LISTEN_FDS), and when the daemon is ready and when it stops (NOTIFY_SOCKET).
//!
//! Without a service manager there are no sockets and nobody is told. Leaves out: sockets of our own
//! (`listen`).

use std::error::Error;
use std::fmt;

use listenfd::ListenFd;
use rustix::net::sockopt::socket_acceptconn;
use sd_notify::NotifyState;

use super::listen::{ListenError, Listener};

/// How many sockets may be passed.
const MAX_SOCKETS: usize = 64;

/// Why a passed socket cannot be used; displays as one line.
#[derive(Debug)]
pub struct PassedError {
    /// Its place among those passed, from 0.
    index: usize,
    why: Why,
}

#[derive(Debug)]
enum Why {
    TooMany,
    NoListener,
    Listen(ListenError),
}

impl fmt::Display for PassedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.index + 1;
        match &self.why {
            Why::TooMany => write!(f, "more than {MAX_SOCKETS} sockets were passed (LISTEN_FDS)"),
            Why::NoListener => write!(
                f,
                "passed socket {number} (LISTEN_FDS) listens neither on a Unix socket nor on TCP: \
                 use ListenStream= and Accept=no"
            ),
            Why::Listen(error) => write!(f, "passed socket {number}: {error}"),
        }
    }
}

impl Error for PassedError {}

/// Takes the sockets that were passed to this process; none without a service manager. Must be called
/// before there is a second thread, since it takes the variables out of the environment.
///
/// # Errors
/// One of them is no socket that clients could connect to.
pub fn passed_sockets() -> Result<Vec<Listener>, PassedError> {
    let mut passed = ListenFd::from_env();
    if passed.len() > MAX_SOCKETS {
        return Err(PassedError { index: MAX_SOCKETS, why: Why::TooMany });
    }
    (0..passed.len())
        .map(|index| take(&mut passed, index).map_err(|why| PassedError { index, why }))
        .collect()
}

fn take(passed: &mut ListenFd, index: usize) -> Result<Listener, Why> {
    // Each refuses what is the other's.
    if let Ok(Some(socket)) = passed.take_unix_listener(index) {
        listens(socket_acceptconn(&socket))?;
        return Listener::passed_unix(socket).map_err(Why::Listen);
    }
    if let Ok(Some(socket)) = passed.take_tcp_listener(index) {
        listens(socket_acceptconn(&socket))?;
        return Listener::passed_tcp(socket).map_err(Why::Listen);
    }
    Err(Why::NoListener)
}

/// A connection that was accepted already is not what we need.
fn listens(answer: rustix::io::Result<bool>) -> Result<(), Why> {
    match answer {
        Ok(true) => Ok(()),
        Ok(false) | Err(_) => Err(Why::NoListener),
    }
}

/// Says that clients are let in now.
pub fn tell_ready() {
    tell(NotifyState::Ready);
}

/// Says that the end has begun.
pub fn tell_stopping() {
    tell(NotifyState::Stopping);
}

fn tell(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        log::warn!("the service manager (NOTIFY_SOCKET) cannot be told: {error}");
    }
}
