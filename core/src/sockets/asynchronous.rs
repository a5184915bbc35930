//! The same for tasks: reads and writes that wait, with one waker for each direction of a socket.
//!
//! The `poll_` calls are for any cell; [`AsyncSocket`] is them over a [`RefCell`] of the caller's. Left
//! out: who runs the loop. It is one more task, which sleeps on USB, on
//! [`next_tick`](Sockets::next_tick) and on [`poll_work`](Sockets::poll_work).

use super::socket::Phase;
use super::{Error, SocketId, Sockets};
use core::cell::RefCell;
use core::future::poll_fn;
use core::task::{Context, Poll};
use embedded_io_async::{ErrorType, Read, Write};

impl<const N: usize, const RX: usize, const TX: usize> Sockets<N, RX, TX> {
    /// Ready once an application did something since the last time, so that the run loop has to go
    /// on: a read made room, a write left bytes, a connection was opened or closed.
    pub fn poll_work(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.work.poll(cx)
    }

    /// As [`Socket::try_read`](super::Socket::try_read), but waits; the task that asked last is woken.
    ///
    /// # Errors
    /// Why nothing will arrive.
    pub fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        id: SocketId,
        to: &mut [u8],
    ) -> Poll<Result<usize, Error>> {
        match self.read(id, to) {
            Err(Error::WouldBlock) => {
                self.view(id)?.state.reader.remember(cx);
                Poll::Pending
            }
            result => Poll::Ready(result),
        }
    }

    /// As [`Socket::try_write`](super::Socket::try_write), but waits; the task that asked last is woken.
    ///
    /// # Errors
    /// Why there will be no room.
    pub fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        id: SocketId,
        from: &[u8],
    ) -> Poll<Result<usize, Error>> {
        match self.write(id, from) {
            Err(Error::WouldBlock) => self.wait_to_write(cx, id),
            result => Poll::Ready(result),
        }
    }

    /// Ready once everything written went to USB. Waits as a write does.
    ///
    /// # Errors
    /// Why it will not.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>, id: SocketId) -> Poll<Result<(), Error>> {
        if self.view(id)?.is_flushed()? { Poll::Ready(Ok(())) } else { self.wait_to_write(cx, id) }
    }

    /// Ready once the connection is open. Waits as a write does.
    ///
    /// # Errors
    /// Why it did not open, or why it is over already.
    pub fn poll_connected(
        &mut self,
        cx: &mut Context<'_>,
        id: SocketId,
    ) -> Poll<Result<(), Error>> {
        let socket = self.view(id)?;
        match socket.state.phase {
            Phase::Opening => self.wait_to_write(cx, id),
            _ => Poll::Ready(socket.is_writable().map(drop)),
        }
    }

    fn wait_to_write<T>(&mut self, cx: &Context<'_>, id: SocketId) -> Poll<Result<T, Error>> {
        self.view(id)?.state.writer.remember(cx);
        Poll::Pending
    }
}

/// One socket in a task's hand. It is a copy of a reference and a handle: a task that reads and one that
/// writes each take their own.
///
/// Each call borrows the cell for as long as it computes, never across an `await`; whoever else uses the
/// cell must do the same, or the call says [`Error::Borrowed`]. A wait that is dropped takes nothing.
/// Dropping the socket closes nothing.
#[derive(Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct AsyncSocket<'c, const N: usize, const RX: usize, const TX: usize> {
    sockets: &'c RefCell<Sockets<N, RX, TX>>,
    id: SocketId,
}

impl<const N: usize, const RX: usize, const TX: usize> Clone for AsyncSocket<'_, N, RX, TX> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<const N: usize, const RX: usize, const TX: usize> Copy for AsyncSocket<'_, N, RX, TX> {}

impl<'c, const N: usize, const RX: usize, const TX: usize> AsyncSocket<'c, N, RX, TX> {
    /// A socket of those in the cell. A stale handle shows at its first use.
    pub const fn new(sockets: &'c RefCell<Sockets<N, RX, TX>>, id: SocketId) -> Self {
        AsyncSocket { sockets, id }
    }

    /// Its handle.
    pub const fn id(&self) -> SocketId {
        self.id
    }

    /// Waits until the connection is open.
    ///
    /// # Errors
    /// Why it did not open, or why it is over already.
    pub async fn connected(&mut self) -> Result<(), Error> {
        self.wait(|sockets, cx, id| sockets.poll_connected(cx, id)).await
    }

    async fn wait<T>(
        &self,
        mut poll: impl FnMut(
            &mut Sockets<N, RX, TX>,
            &mut Context<'_>,
            SocketId,
        ) -> Poll<Result<T, Error>>,
    ) -> Result<T, Error> {
        poll_fn(|cx| match self.sockets.try_borrow_mut() {
            Ok(mut sockets) => poll(&mut sockets, cx, self.id),
            Err(_) => Poll::Ready(Err(Error::Borrowed)),
        })
        .await
    }
}

impl<const N: usize, const RX: usize, const TX: usize> ErrorType for AsyncSocket<'_, N, RX, TX> {
    type Error = Error;
}

impl<const N: usize, const RX: usize, const TX: usize> Read for AsyncSocket<'_, N, RX, TX> {
    /// Waits for bytes, and says how many there were; 0 is the end-of-file.
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, Error> {
        self.wait(|sockets, cx, id| sockets.poll_read(cx, id, buf)).await
    }
}

impl<const N: usize, const RX: usize, const TX: usize> Write for AsyncSocket<'_, N, RX, TX> {
    /// Waits for room, and says how much of `buf` it took.
    async fn write(&mut self, buf: &[u8]) -> Result<usize, Error> {
        self.wait(|sockets, cx, id| sockets.poll_write(cx, id, buf)).await
    }

    /// Waits until everything written went to USB.
    async fn flush(&mut self) -> Result<(), Error> {
        self.wait(|sockets, cx, id| sockets.poll_flush(cx, id)).await
    }
}
