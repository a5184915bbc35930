//! A byte stream to a port of a phone: through a daemon, over whichever socket leads to it, or
//! without one (`direct`).

use std::future::Future;
use std::io;
use std::net::Shutdown;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use smol::Async;
use smol::channel::Receiver;
use smol::io::{AsyncRead, AsyncWrite};
use smol::net::TcpStream;
use smol::net::unix::UnixStream;

use super::Daemon;
use crate::address::Address;

/// A connection to a port of a phone. Clones share it, so that one may read while another writes;
/// it ends when the last one is dropped.
///
/// Closing the sending side ([`shutdown_write`](Self::shutdown_write), or closing the
/// [`AsyncWrite`]) leaves the receiving side open: umuxd then goes on delivering what the phone
/// says, the reference daemon ends the connection. A read of 0 bytes is the phone's end of it; whether
/// that was an ordinary one, [`end_reason`](Self::end_reason) tells.
#[derive(Debug, Clone)]
pub struct DeviceStream {
    socket: Socket,
    end: End,
}

#[derive(Debug, Clone)]
enum Socket {
    Unix(UnixStream),
    Tcp(TcpStream),
}

/// How to learn why the connection ended.
#[derive(Debug, Clone)]
enum End {
    /// There is no connection to a phone yet.
    None,
    /// The daemon is asked by this token.
    Asked(Arc<(Daemon, String)>),
    /// It comes by itself.
    Told(Arc<Receiver<String>>),
}

impl DeviceStream {
    /// Opens a socket to a daemon; it is in command mode.
    pub(super) async fn open(address: &Address) -> io::Result<Self> {
        let socket = match address {
            Address::Unix(path) => Socket::Unix(UnixStream::connect(path).await?),
            Address::Tcp { host, port } => {
                let stream = TcpStream::connect((host.as_str(), *port)).await?;
                stream.set_nodelay(true)?;
                Socket::Tcp(stream)
            }
        };
        Ok(DeviceStream { socket, end: End::None })
    }

    /// The same socket, when the daemon has connected it and knows the connection by this token.
    pub(super) fn connected(mut self, daemon: Daemon, token: String) -> Self {
        self.end = End::Asked(Arc::new((daemon, token)));
        self
    }

    /// The end of a socket pair whose other end is joined to a phone in this process; why the
    /// connection ends is told by the channel.
    pub(crate) fn joined(stream: Async<StdUnixStream>, told: Receiver<String>) -> Self {
        DeviceStream { socket: Socket::Unix(stream.into()), end: End::Told(Arc::new(told)) }
    }

    /// Tells why the connection ended, once it has: the words of a phone that reset it, or what
    /// became of the phone. Nothing if it ended in the ordinary way, for then there is no more to
    /// say, or if the daemon does not know: only umuxd does. It is told once, to whichever clone
    /// asks first.
    ///
    /// Ask after the stream has ended or was dropped, which this future does not prevent. Before
    /// that a daemon has nothing to tell, and without one this waits for the end.
    pub fn end_reason(&self) -> impl Future<Output = Option<String>> + Send + use<> {
        let end = self.end.clone();
        async move {
            match end {
                End::None => None,
                // A daemon that is no more, or too old, leaves it at that.
                End::Asked(asked) => asked.0.end_reason(&asked.1).await.ok().flatten(),
                End::Told(told) => told.recv().await.ok(),
            }
        }
    }

    /// Tells the other end that nothing follows, after everything written so far.
    ///
    /// # Errors
    /// What the operating system says, for example that the connection has ended.
    pub fn shutdown_write(&self) -> io::Result<()> {
        match &self.socket {
            Socket::Unix(stream) => stream.shutdown(Shutdown::Write),
            Socket::Tcp(stream) => stream.shutdown(Shutdown::Write),
        }
    }
}

impl AsyncRead for DeviceStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.socket {
            Socket::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            Socket::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for DeviceStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.socket {
            Socket::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
            Socket::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.socket {
            Socket::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Socket::Tcp(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_close(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.shutdown_write())
    }
}
