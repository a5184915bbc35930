//! The socket to a host, with the answers that wait for it.

use futures_lite::{AsyncRead, AsyncWrite};
use smol::Async;
use std::io;
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::task::{Context, Poll};

/// With so many bytes of answers waiting, no request is read and no completion taken.
const ANSWERS_HIGH: usize = 256 << 10;

/// A stream socket whose other end is a USB host.
pub(crate) struct Socket {
    stream: Async<UnixStream>,
    answers: Vec<u8>,
    /// How many bytes of the answers are written.
    written: usize,
}

impl Socket {
    pub(crate) fn new(stream: Async<UnixStream>) -> Self {
        Socket { stream, answers: Vec::new(), written: 0 }
    }

    /// Whether more may be answered before what is waiting has gone.
    pub(crate) fn has_room(&self) -> bool {
        self.answers.len() < ANSWERS_HIGH
    }

    /// Whether all answers are written.
    pub(crate) fn is_flushed(&self) -> bool {
        self.answers.is_empty()
    }

    /// Appends to the answers.
    pub(crate) fn answer(&mut self, bytes: &[u8]) {
        self.answers.extend_from_slice(bytes);
    }

    /// Reads behind the first `have` bytes of a buffer, at least one byte, and counts them in; 0 when
    /// the host hung up.
    pub(crate) fn read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
        have: &mut usize,
    ) -> Poll<io::Result<usize>> {
        let rest = buffer.get_mut(*have..).unwrap_or_default();
        Pin::new(&mut self.stream).poll_read(cx, rest).map_ok(|count| {
            *have += count;
            count
        })
    }

    /// Writes answers; says whether any byte went.
    pub(crate) fn write(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        let mut some = false;
        while let Some(rest) = self.answers.get(self.written..).filter(|rest| !rest.is_empty()) {
            match Pin::new(&mut self.stream).poll_write(cx, rest) {
                Poll::Ready(count) => self.written += count?,
                Poll::Pending => return Ok(some),
            }
            some = true;
        }
        self.answers.clear();
        self.written = 0;
        Ok(some)
    }
}
