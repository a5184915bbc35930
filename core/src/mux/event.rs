//! What an engine tells its shell, and what can go wrong in a call.

use crate::time::Instant;
use core::fmt;

/// Names one connection. A stale one is an error value, never another connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ConnId {
    pub(crate) index: u16,
    pub(crate) generation: u32,
}

impl ConnId {
    /// The connection's place, below the number of slots: for tables beside the engine.
    ///
    /// Another connection takes the place after this one's last event.
    pub const fn slot(self) -> usize {
        self.index as usize
    }
}

impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}.{}", self.index, self.generation)
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
    /// A connection arrived (device role): accept or refuse it.
    Incoming {
        /// The connection.
        conn: ConnId,
        /// Port on the host's side.
        source: u16,
        /// Port that the host wants.
        port: u16,
    },
    /// The connection is open. Its first payload may have come before.
    Connected {
        /// The connection.
        conn: ConnId,
    },
    /// There is room worth sending, after [`sendable`](super::Mux::sendable) said 0.
    Sendable {
        /// The connection.
        conn: ConnId,
    },
    /// The connection could not be opened. The handle is stale from now on.
    Refused {
        /// The connection.
        conn: ConnId,
        /// By whom.
        reason: RefusedBy,
    },
    /// The peer sends no more (it sent a FIN, which no phone is known to do); we still may.
    Finished {
        /// The connection.
        conn: ConnId,
    },
    /// The connection is over. The handle is stale from now on.
    Closed {
        /// The connection.
        conn: ConnId,
        /// Why.
        reason: CloseReason,
    },
}

/// Why no version was agreed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum LinkFailure {
    /// The phone did not answer VERSION, however often it was asked.
    Silent,
    /// The phone answered with a major version that nobody knows.
    UnknownVersion(u32),
}

/// How the death of a session showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum DeathCause {
    /// The phone said so: it found a duplicate packet.
    DuplicatePacket,
    /// The phone's acknowledgement of frames stands still behind ours.
    StuckSequence,
}

/// Why an open connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum CloseReason {
    /// The peer reset it; its text, if it gave one, came before as [`Received::ResetText`](super::Received::ResetText).
    Reset,
    /// We closed it, and everything we had sent was acknowledged.
    Drained,
    /// We closed it, and the peer did not acknowledge everything in time.
    DrainTimeout,
    /// The cable is out.
    LinkLost,
    /// The session died.
    SessionDead,
    /// Bytes of the peer's are missing.
    Gap,
    /// The peer sent more than its window allowed.
    Overrun,
    /// The peer acknowledged what we never sent.
    BadAck,
    /// A frame of the peer's was cut short after part of it was delivered.
    Truncated,
    /// The peer sent what a connection in this state must not get.
    Protocol,
}

/// Why a connection did not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum RefusedBy {
    /// The phone: nobody listens on that port.
    Reset,
    /// Time: the phone did not answer.
    Timeout,
    /// An answer that is none.
    Protocol,
}

/// The reason that an RST of ours tells in words (device role; a host's resets carry no text).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ResetReason {
    /// None is given.
    #[default]
    None,
    /// The program on the phone's side closed its end; a CONTROL text goes before.
    Closed,
    /// Nobody listens on that port.
    Refused,
    /// All slots are taken.
    NoRoom,
    /// More arrived than the window allowed.
    Overrun,
    /// Flags other than a lone ACK.
    BadFlags,
    /// The program on the phone's side failed.
    Failed,
}

/// The handle names no open connection: it ended, or was never opened. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Gone;

/// Why [`connect`](super::Mux::connect) failed; nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ConnectError {
    /// No version is agreed: wait for [`Event::LinkUp`].
    LinkDown,
    /// All slots are taken: close a connection, or give the engine more slots.
    NoSlot,
    /// All free slots' ports are in quarantine: try again then.
    NoPort {
        /// When the first of them is over.
        retry_at: Instant,
    },
    /// Port 0 is none.
    BadPort,
}

/// Why nothing was sent; no number was taken, the frame may be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum SendError {
    /// The handle names no connection that may send.
    Gone,
    /// No bytes, or more than [`sendable`](super::Mux::sendable) said.
    NoRoom,
    /// The buffer is shorter than header and payload together.
    ShortBuffer,
}

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the connection is over")
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ConnectError::LinkDown => "no version is agreed with the phone yet",
            ConnectError::NoSlot => "all connections to this phone are taken",
            ConnectError::NoPort { .. } => "all source ports rest after use",
            ConnectError::BadPort => "port 0 is not a port",
        })
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SendError::Gone => "the connection is over",
            SendError::NoRoom => "the peer's window or the frame has no room for that",
            SendError::ShortBuffer => "the buffer is shorter than header and payload",
        })
    }
}

impl fmt::Display for LinkFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LinkFailure::Silent => f.write_str("the phone does not answer VERSION"),
            LinkFailure::UnknownVersion(major) => {
                write!(f, "the phone speaks version {major}, which is not known")
            }
        }
    }
}

impl fmt::Display for DeathCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DeathCause::DuplicatePacket => "the phone found a duplicate packet",
            DeathCause::StuckSequence => "the phone stopped accepting frames",
        })
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CloseReason::Reset => "reset by the peer",
            CloseReason::Drained => "closed, all bytes acknowledged",
            CloseReason::DrainTimeout => "closed, the peer did not acknowledge all bytes in time",
            CloseReason::LinkLost => "unplugged",
            CloseReason::SessionDead => "the session died",
            CloseReason::Gap => "bytes of the peer's are missing",
            CloseReason::Overrun => "the peer sent more than its window allowed",
            CloseReason::BadAck => "the peer acknowledged what was never sent",
            CloseReason::Truncated => "a frame of the peer's was cut short",
            CloseReason::Protocol => "the peer broke the protocol",
        })
    }
}

impl fmt::Display for RefusedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RefusedBy::Reset => "nobody listens on that port of the phone",
            RefusedBy::Timeout => "the phone did not answer in time",
            RefusedBy::Protocol => "the phone's answer made no sense",
        })
    }
}

impl core::error::Error for Gone {}
impl core::error::Error for ConnectError {}
impl core::error::Error for SendError {}
