//! What sockets are named by, what they tell, and what can go wrong.

use crate::mux::{CloseReason, ConnId, DeathCause, Gone, LinkFailure, RefusedBy};
use core::fmt;

/// Names one socket. A stale one is an error, never another socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct SocketId {
    pub(super) index: u16,
    /// Unique: the engine gives each connection another handle.
    pub(super) conn: ConnId,
}

impl SocketId {
    /// The socket's place, below the number of sockets: for tables beside them.
    ///
    /// Another socket takes the place after this one was closed.
    pub const fn place(self) -> usize {
        self.index as usize
    }

    /// The engine's handle of the connection, for what [`Mux`](crate::Mux) can be asked.
    ///
    /// It may be stale when the socket is not yet: what the peer sent last stays readable.
    pub const fn conn(self) -> ConnId {
        self.conn
    }
}

impl fmt::Display for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.conn)
    }
}

/// What happened. Events are state, not a queue: polling late loses nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Event {
    /// The version is agreed: connections can be opened.
    LinkUp {
        /// 1 or 2.
        version: u32,
    },
    /// No version could be agreed. Reset the port and attach again; detach the device if that fails too.
    LinkFailed {
        /// What went wrong.
        reason: LinkFailure,
    },
    /// The phone stopped accepting our frames. All connections end; VERSION is sent again by itself.
    SessionDead {
        /// How it showed.
        cause: DeathCause,
    },
    /// A connection arrived (device role): [`accept`](super::Sockets::accept) or
    /// [`refuse`](super::Sockets::refuse) it.
    Incoming {
        /// The connection.
        conn: ConnId,
        /// Port on the host's side.
        source: u16,
        /// Port that the host wants.
        port: u16,
    },
    /// The connection is open.
    Connected {
        /// Its socket.
        socket: SocketId,
    },
    /// The connection could not be opened. The socket is to be closed.
    Refused {
        /// Its socket.
        socket: SocketId,
        /// By whom.
        reason: RefusedBy,
    },
    /// The peer sends no more (it sent a FIN, which no phone is known to do); we still may.
    Finished {
        /// The socket.
        socket: SocketId,
    },
    /// The connection is over. What it delivered is still readable: the socket is to be read to its
    /// end and closed. One that had been closed is gone with this.
    Closed {
        /// The socket.
        socket: SocketId,
        /// Why.
        reason: CloseReason,
    },
}

/// A piece of text out of a transfer; payload goes into the rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Text<'t> {
    /// Of the reset that ends a connection; its [`Event::Closed`] or [`Event::Refused`] follows.
    Reset {
        /// The socket.
        socket: SocketId,
        /// The bytes; no terminator is certain.
        text: &'t [u8],
    },
    /// Of a CONTROL frame.
    PhoneSays {
        /// Its [`ControlKind`](crate::wire::ControlKind)'s number.
        kind: u8,
        /// The bytes; no terminator is certain. Empty if the text is.
        text: &'t [u8],
        /// Whether the text ends with them.
        end: bool,
    },
}

/// Why nothing was read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Error {
    /// Nobody's fault: nothing to read yet, or no room to write. Run the loop and try again.
    WouldBlock,
    /// The connection was not opened: by whom.
    Refused(RefusedBy),
    /// The peer ended the connection: with words other than those of an ordinary end, or while we
    /// still write.
    Reset,
    /// The connection broke: the cable, the session, or the peer's misbehaviour.
    Broken(CloseReason),
    /// The handle names no open socket: it was closed before.
    Closed,
    /// A borrow of the caller's cell was held across an `await` (feature `async`): a mistake of the
    /// program's.
    Borrowed,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Error::WouldBlock => "nothing to read, or no room to write",
            Error::Refused(RefusedBy::Timeout) => "the phone did not answer",
            Error::Refused(_) => "the connection was refused",
            Error::Reset => "the peer ended the connection",
            Error::Broken(_) => "the connection broke",
            Error::Closed => "the socket is closed",
            Error::Borrowed => "the sockets are borrowed elsewhere",
        })
    }
}

impl core::error::Error for Error {}

impl embedded_io::Error for Error {
    fn kind(&self) -> embedded_io::ErrorKind {
        use embedded_io::ErrorKind;
        match self {
            // embedded-io has no word for it.
            Error::WouldBlock | Error::Borrowed => ErrorKind::Other,
            Error::Refused(RefusedBy::Timeout) => ErrorKind::TimedOut,
            Error::Refused(_) => ErrorKind::ConnectionRefused,
            Error::Reset => ErrorKind::ConnectionReset,
            Error::Broken(_) => ErrorKind::ConnectionAborted,
            Error::Closed => ErrorKind::NotConnected,
        }
    }
}

/// Why [`accept`](super::Sockets::accept) failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum AcceptError {
    /// All sockets are taken: refuse the connection, or close a socket and try again.
    NoSocket,
    /// The connection ended meanwhile, or was decided before.
    Gone,
}

impl From<Gone> for AcceptError {
    fn from(_: Gone) -> Self {
        AcceptError::Gone
    }
}

impl fmt::Display for AcceptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AcceptError::NoSocket => "all sockets are taken",
            AcceptError::Gone => "the connection is over",
        })
    }
}

impl core::error::Error for AcceptError {}

#[cfg(test)]
mod tests {
    use super::*;
    use embedded_io::{Error as _, ErrorKind};

    #[test]
    fn generic_code_sees_the_kind_of_each_error() {
        let kinds = [
            (Error::WouldBlock, ErrorKind::Other),
            (Error::Refused(RefusedBy::Timeout), ErrorKind::TimedOut),
            (Error::Refused(RefusedBy::Reset), ErrorKind::ConnectionRefused),
            (Error::Reset, ErrorKind::ConnectionReset),
            (Error::Broken(CloseReason::LinkLost), ErrorKind::ConnectionAborted),
            (Error::Closed, ErrorKind::NotConnected),
        ];
        for (error, kind) in kinds {
            assert_eq!(error.kind(), kind);
        }
    }
}
