//! One client's socket, Unix or TCP, as the relays need it.
//!
//! The command phase uses it as an ordinary `AsyncRead + AsyncWrite`. The relay phase uses the
//! non-blocking calls and the two `poll_…` readiness calls, so that no byte is copied twice and
//! no buffer belongs to an idle connection. Hang-up ("the client is gone") is told apart from
//! end-of-file ("the client has nothing more to send") as well as the kind of socket allows.
//! Leaves out: waiting for a hang-up, which is `daemon::hangup`.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt;
use smol::Async;
use smol::io::{AsyncRead, AsyncWrite};

/// A client's connected, non-blocking stream socket.
#[derive(Debug)]
pub enum ClientStream {
    /// A Unix socket: the peer's hang-up is visible at once.
    Unix(Async<UnixStream>),
    /// A TCP connection: a peer that closed looks like one that half-closed until it answers
    /// something, or the kernel's keepalive, with a reset.
    Tcp(Async<TcpStream>),
}

impl From<Async<UnixStream>> for ClientStream {
    fn from(stream: Async<UnixStream>) -> Self {
        Self::Unix(stream)
    }
}

impl From<Async<TcpStream>> for ClientStream {
    /// Takes a TCP stream, switches off its delay of small segments (a client's request and a
    /// phone's answer are often smaller than one), and lets the kernel ask now and then whether the
    /// peer is still there.
    fn from(stream: Async<TcpStream>) -> Self {
        // Without the options everything still works, only slower, or with sockets held for longer.
        let _ = stream.get_ref().set_nodelay(true);
        let _ = KEEPALIVE.set(stream.get_ref());
        Self::Tcp(stream)
    }
}

/// How a TCP peer that is gone without a word is found out.
///
/// A stalled connection sends nothing, so nothing would ever draw the reset of a peer that closed
/// its socket, and one that lost its network stays silent anyway. A peer that only stopped reading
/// answers the probes. Linux forgets a closed socket after a minute; the next probe ends ours.
const KEEPALIVE: Keepalive =
    Keepalive { idle: Duration::from_secs(30), interval: Duration::from_secs(10), probes: 3 };

/// When the kernel sends probes, and how many unanswered ones end the connection.
struct Keepalive {
    /// Silence before the first one.
    idle: Duration,
    /// Time from one to the next.
    interval: Duration,
    /// How many.
    probes: u32,
}

impl Keepalive {
    fn set(&self, stream: &TcpStream) -> io::Result<()> {
        sockopt::set_tcp_keepidle(stream, self.idle)?;
        sockopt::set_tcp_keepintvl(stream, self.interval)?;
        sockopt::set_tcp_keepcnt(stream, self.probes)?;
        sockopt::set_socket_keepalive(stream, true)?;
        Ok(())
    }
}

impl ClientStream {
    /// Reads what is there, without waiting.
    ///
    /// # Errors
    /// `WouldBlock` when nothing is there, otherwise what the socket says.
    pub fn try_read(&self, into: &mut [u8]) -> io::Result<usize> {
        retry(|| match self {
            Self::Unix(stream) => stream.get_ref().read(into),
            Self::Tcp(stream) => stream.get_ref().read(into),
        })
    }

    /// How many bytes a read would find now; where the socket cannot tell, more than any read takes,
    /// so that it is read and says what is wrong.
    pub fn available(&self) -> usize {
        let count = rustix::io::ioctl_fionread(self);
        count.map_or(usize::MAX, |count| usize::try_from(count).unwrap_or(usize::MAX))
    }

    /// Writes as much as the socket takes now, without waiting.
    ///
    /// # Errors
    /// `WouldBlock` when the socket is full, otherwise what the socket says.
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        retry(|| match self {
            Self::Unix(stream) => stream.get_ref().write(bytes),
            Self::Tcp(stream) => stream.get_ref().write(bytes),
        })
    }

    /// Waits until a read can make progress; one task at a time.
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Unix(stream) => stream.poll_readable(cx),
            Self::Tcp(stream) => stream.poll_readable(cx),
        }
    }

    /// Waits until a write can make progress; one task at a time.
    pub fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Unix(stream) => stream.poll_writable(cx),
            Self::Tcp(stream) => stream.poll_writable(cx),
        }
    }

    /// Shuts one or both directions down; a socket that is already gone is no error.
    pub fn shutdown(&self, how: Shutdown) {
        let _ = match self {
            Self::Unix(stream) => stream.get_ref().shutdown(how),
            Self::Tcp(stream) => stream.get_ref().shutdown(how),
        };
    }

    /// Whether the peer is known to be gone in both directions, as opposed to having only shut
    /// down its sending side.
    pub fn hung_up(&self) -> bool {
        let mut fds = [PollFd::new(self, PollFlags::empty())];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        // Hang-up and error are reported without being asked for.
        poll(&mut fds, Some(&at_once)).is_ok_and(|ready| ready > 0)
    }

    /// Whether this is a Unix socket.
    pub fn is_unix(&self) -> bool {
        matches!(self, Self::Unix(_))
    }
}

/// Repeats a call that a signal interrupted.
fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

impl AsFd for ClientStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Unix(stream) => stream.as_fd(),
            Self::Tcp(stream) => stream.as_fd(),
        }
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, into),
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, into),
        }
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_close(cx),
            Self::Tcp(stream) => Pin::new(stream).poll_close(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)] // tests

    use super::*;

    fn pair() -> (ClientStream, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Async::new(ours).unwrap().into(), theirs)
    }

    #[test]
    fn a_tcp_peer_is_asked_now_and_then_whether_it_is_there() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let ours = ClientStream::from(Async::new(stream).unwrap());
        let ClientStream::Tcp(ours) = &ours else { panic!("a TCP stream is one") };
        assert!(sockopt::socket_keepalive(ours).unwrap());
        assert_eq!(sockopt::tcp_keepidle(ours).unwrap(), KEEPALIVE.idle);
        assert_eq!(sockopt::tcp_keepintvl(ours).unwrap(), KEEPALIVE.interval);
        assert_eq!(sockopt::tcp_keepcnt(ours).unwrap(), KEEPALIVE.probes);
        assert!(ours.get_ref().nodelay().unwrap());
    }

    #[test]
    fn half_close_is_no_hang_up_and_close_is_one() {
        let (ours, theirs) = pair();
        assert!(!ours.hung_up());
        theirs.shutdown(Shutdown::Write).unwrap();
        assert_eq!(ours.try_read(&mut [0; 8]).unwrap(), 0);
        assert!(!ours.hung_up());
        drop(theirs);
        assert!(ours.hung_up());
    }
}
