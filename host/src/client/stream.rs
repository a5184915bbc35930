//! A byte stream to a port of a phone: through a daemon, over whichever socket leads to it, or
//! without one (`direct`).

use std::io;
use std::net::Shutdown;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::pin::Pin;
use std::task::{Context, Poll};

use smol::Async;
use smol::io::{AsyncRead, AsyncWrite};
use smol::net::TcpStream;
use smol::net::unix::UnixStream;

use crate::address::Address;

/// A connection to a port of a phone. Clones share it, so that one may read while another writes;
/// it ends when the last one is dropped.
///
/// Closing the sending side ([`shutdown_write`](Self::shutdown_write), or closing the
/// [`AsyncWrite`]) leaves the receiving side open: umuxd then goes on delivering what the phone
/// says, the reference daemon ends the connection. A read of 0 bytes is the phone's end of it.
#[derive(Debug, Clone)]
pub struct DeviceStream(Kind);

#[derive(Debug, Clone)]
enum Kind {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl DeviceStream {
    /// Opens a socket to a daemon; it is in command mode.
    pub(super) async fn open(address: &Address) -> io::Result<Self> {
        Ok(DeviceStream(match address {
            Address::Unix(path) => Kind::Unix(UnixStream::connect(path).await?),
            Address::Tcp { host, port } => {
                let stream = TcpStream::connect((host.as_str(), *port)).await?;
                stream.set_nodelay(true)?;
                Kind::Tcp(stream)
            }
        }))
    }

    /// The end of a socket pair whose other end is joined to a phone in this process.
    pub(crate) fn joined(stream: Async<StdUnixStream>) -> Self {
        DeviceStream(Kind::Unix(stream.into()))
    }

    /// Tells the other end that nothing follows, after everything written so far.
    ///
    /// # Errors
    /// What the operating system says, for example that the connection has ended.
    pub fn shutdown_write(&self) -> io::Result<()> {
        match &self.0 {
            Kind::Unix(stream) => stream.shutdown(Shutdown::Write),
            Kind::Tcp(stream) => stream.shutdown(Shutdown::Write),
        }
    }
}

impl AsyncRead for DeviceStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Kind::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            Kind::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for DeviceStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Kind::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
            Kind::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Kind::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Kind::Tcp(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_close(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.shutdown_write())
    }
}
