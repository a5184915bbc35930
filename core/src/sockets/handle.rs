//! A socket in the caller's hand: reads and writes that never wait.

use super::{Error, SocketId, Sockets};
use embedded_io::{ErrorType, Read, ReadReady, Write, WriteReady};

/// One socket, borrowed for a few reads and writes.
///
/// [`embedded_io`]'s traits are made for calls that wait. These never do: where there is nothing to read or
/// no room to write they say [`Error::WouldBlock`], and so does what is built on them: `read_exact` and
/// `write_all` are only of use where [`ReadReady`], [`WriteReady`] or a count tell that they will not.
#[derive(Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Socket<'s, const N: usize, const RX: usize, const TX: usize> {
    sockets: &'s mut Sockets<N, RX, TX>,
    id: SocketId,
}

impl<'s, const N: usize, const RX: usize, const TX: usize> Socket<'s, N, RX, TX> {
    pub(super) const fn new(sockets: &'s mut Sockets<N, RX, TX>, id: SocketId) -> Self {
        Socket { sockets, id }
    }

    /// Its handle.
    pub const fn id(&self) -> SocketId {
        self.id
    }

    /// Takes what arrived, as much as `to` holds, and says how much that was; 0 is the end-of-file.
    ///
    /// The run loop is to go on afterwards: there may be room to announce to the peer.
    ///
    /// # Errors
    /// [`Error::WouldBlock`] if nothing has arrived, or why nothing will.
    pub fn try_read(&mut self, to: &mut [u8]) -> Result<usize, Error> {
        self.sockets.read(self.id, to)
    }

    /// Appends as much as there is room for to what will be sent, and says how much that was; never 0
    /// unless `from` is empty.
    ///
    /// # Errors
    /// [`Error::WouldBlock`] if there is no room, or why there will be none.
    pub fn try_write(&mut self, from: &[u8]) -> Result<usize, Error> {
        self.sockets.write(self.id, from)
    }
}

impl<const N: usize, const RX: usize, const TX: usize> ErrorType for Socket<'_, N, RX, TX> {
    type Error = Error;
}

impl<const N: usize, const RX: usize, const TX: usize> Read for Socket<'_, N, RX, TX> {
    /// As [`Socket::try_read`].
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, Error> {
        self.try_read(buf)
    }
}

impl<const N: usize, const RX: usize, const TX: usize> Write for Socket<'_, N, RX, TX> {
    /// As [`Socket::try_write`].
    fn write(&mut self, buf: &[u8]) -> Result<usize, Error> {
        self.try_write(buf)
    }

    /// Says [`Error::WouldBlock`] until everything written went to USB.
    fn flush(&mut self) -> Result<(), Error> {
        if self.sockets.view(self.id)?.is_flushed()? { Ok(()) } else { Err(Error::WouldBlock) }
    }
}

impl<const N: usize, const RX: usize, const TX: usize> ReadReady for Socket<'_, N, RX, TX> {
    /// Whether a read would say something: bytes, the end-of-file, or why there is none.
    fn read_ready(&mut self) -> Result<bool, Error> {
        self.sockets.view(self.id)?.is_readable()
    }
}

impl<const N: usize, const RX: usize, const TX: usize> WriteReady for Socket<'_, N, RX, TX> {
    /// Whether a write would take a byte.
    fn write_ready(&mut self) -> Result<bool, Error> {
        self.sockets.view(self.id)?.is_writable()
    }
}
