//! One client's socket, Unix or TCP, as the relays need it.
//!
//! The command phase uses it as an ordinary `AsyncRead + AsyncWrite`. The relay phase uses the
//! non-blocking calls and the two `poll_…` readiness calls, so that no byte is copied twice and
//! no buffer belongs to an idle connection. Hang-up ("the client is gone") is told apart from
//! end-of-file ("the client has nothing more to send") as well as the kind of socket allows.
//! Leaves out: how the waiting is done, which is the `reactor`'s.

use std::io::{self, IoSliceMut, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvAncillaryBuffer, RecvFlags, ReturnFlags, recvmsg, sockopt};
use smol::io::{AsyncRead, AsyncWrite};

use crate::reactor::Source;

/// A client's connected, non-blocking stream socket.
#[derive(Debug)]
pub struct ClientStream {
    // Before the socket: what the reactor knows of it goes first.
    source: Source,
    socket: Socket,
}

#[derive(Debug)]
enum Socket {
    /// The peer's hang-up is visible at once.
    Unix(UnixStream),
    /// A peer that closed looks like one that half-closed until it answers something, or the
    /// kernel's keepalive, with a reset.
    Tcp(TcpStream),
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
    /// Takes a Unix socket.
    ///
    /// # Errors
    /// The system refuses to make it a non-blocking one.
    pub fn unix(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self::of(Socket::Unix(stream)))
    }

    /// Takes a TCP stream, switches off its delay of small segments (a client's request and a
    /// phone's answer are often smaller than one), and lets the kernel ask now and then whether the
    /// peer is still there.
    ///
    /// # Errors
    /// The system refuses to make it a non-blocking one.
    pub fn tcp(stream: TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self::accepted_tcp(stream))
    }

    /// Takes a Unix socket that does not block.
    pub(crate) fn accepted_unix(stream: UnixStream) -> Self {
        Self::of(Socket::Unix(stream))
    }

    /// Takes a TCP stream that does not block, and prepares it as [`tcp`](Self::tcp) does.
    pub(crate) fn accepted_tcp(stream: TcpStream) -> Self {
        // Without the options everything still works, only slower, or with sockets held for longer.
        let _ = stream.set_nodelay(true);
        let _ = KEEPALIVE.set(&stream);
        Self::of(Socket::Tcp(stream))
    }

    fn of(socket: Socket) -> Self {
        Self { source: Source::default(), socket }
    }

    /// Reads what is there, without waiting.
    ///
    /// # Errors
    /// `WouldBlock` when nothing is there, otherwise what the socket says.
    pub fn try_read(&self, into: &mut [u8]) -> io::Result<usize> {
        let wanted = into.len();
        let mut cut = false;
        let read = retry(|| match &self.socket {
            Socket::Unix(stream) => {
                let mut nothing = RecvAncillaryBuffer::default();
                let bytes = &mut [IoSliceMut::new(into)];
                let read = recvmsg(stream, bytes, &mut nothing, RecvFlags::empty())?;
                // A read ends behind bytes that came with descriptors, although more may follow.
                cut = read.flags.contains(ReturnFlags::CTRUNC);
                Ok(read.bytes)
            }
            Socket::Tcp(stream) => (&mut &*stream).read(into),
        });
        match &read {
            Ok(read) if *read > 0 && *read < wanted && !cut => self.source.was_read(false),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.source.was_read(true),
            _ => {}
        }
        read
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
        let written = retry(|| match &self.socket {
            Socket::Unix(stream) => (&mut &*stream).write(bytes),
            Socket::Tcp(stream) => (&mut &*stream).write(bytes),
        });
        match &written {
            Ok(written) if *written < bytes.len() => self.source.was_filled(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.source.was_filled(),
            _ => {}
        }
        written
    }

    /// Waits until a read can make progress; one task at a time waits for a socket.
    pub fn poll_readable(&self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        self.source.poll_readable(self, cx)
    }

    /// Waits until a write can make progress.
    pub fn poll_writable(&self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        self.source.poll_writable(self, cx)
    }

    /// Waits until the peer is gone in both directions, as far as this kind of socket shows it.
    pub(crate) fn poll_hung_up(&self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        self.source.poll_hung_up(self, cx)
    }

    /// Shuts one or both directions down; a socket that is already gone is no error.
    pub fn shutdown(&self, how: Shutdown) {
        let _ = match &self.socket {
            Socket::Unix(stream) => stream.shutdown(how),
            Socket::Tcp(stream) => stream.shutdown(how),
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
        matches!(self.socket, Socket::Unix(_))
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
        match &self.socket {
            Socket::Unix(stream) => stream.as_fd(),
            Socket::Tcp(stream) => stream.as_fd(),
        }
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.poll_readable(cx))?;
            match self.try_read(into) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
        }
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.poll_writable(cx))?;
            match self.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shutdown(Shutdown::Write);
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)] // tests

    use super::*;
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

    fn pair() -> (ClientStream, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (ClientStream::unix(ours).unwrap(), theirs)
    }

    #[test]
    fn a_tcp_peer_is_asked_now_and_then_whether_it_is_there() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let ours = ClientStream::tcp(stream).unwrap();
        let Socket::Tcp(ours) = &ours.socket else { panic!("a TCP stream is one") };
        assert!(sockopt::socket_keepalive(ours).unwrap());
        assert_eq!(sockopt::tcp_keepidle(ours).unwrap(), KEEPALIVE.idle);
        assert_eq!(sockopt::tcp_keepintvl(ours).unwrap(), KEEPALIVE.interval);
        assert_eq!(sockopt::tcp_keepcnt(ours).unwrap(), KEEPALIVE.probes);
        assert!(ours.nodelay().unwrap());
    }

    #[test]
    fn bytes_behind_those_that_came_with_a_descriptor_are_not_overlooked() {
        let (ours, theirs) = pair();
        let passed = [theirs.as_fd()];
        for bytes in [b"one", b"two"] {
            let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            assert!(ancillary.push(SendAncillaryMessage::ScmRights(&passed)));
            let slices = [io::IoSlice::new(bytes)];
            sendmsg(&theirs, &slices, &mut ancillary, SendFlags::empty()).unwrap();
        }
        let cx = Context::from_waker(std::task::Waker::noop());
        let mut read = [0; 8];
        for bytes in [b"one", b"two"] {
            assert!(ours.poll_readable(&cx).is_ready());
            assert_eq!(ours.try_read(&mut read).unwrap(), 3);
            assert_eq!(&read[..3], bytes);
        }
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
