//! One socket: its rings, where it stands, every transition.
//!
//! No method here calls the engine: what it must be told, the caller reads from the state.

use super::event::Error;
use super::ring::Ring;
use super::wake::Waiting;
use crate::mux::{CloseReason, ConnId, RefusedBy};
use crate::time::Instant;

/// Where a socket stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub(super) enum Phase {
    /// Nobody's.
    Free,
    /// Connected or accepted by us, not yet by the peer.
    Opening,
    Open,
    /// Over, and not yet closed by the application. Behind what is held stands the error, or
    /// without one the end-of-file.
    Over(Option<Error>),
    /// Closed by the application; what it wrote has until `deadline` to leave.
    Leaving {
        deadline: Instant,
    },
    /// Closed, and everything left: the engine waits for the peer.
    Draining,
    /// Closed, and not everything left in time: to be told, then free.
    TimedOut,
}

/// What is known of a socket beside its bytes.
#[derive(Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub(super) struct State {
    pub(super) phase: Phase,
    /// The connection that it is or was; of no meaning while it is free.
    pub(super) conn: Option<ConnId>,
    /// The engine has no room, or the connection is not open: not to be asked before it says so.
    pub(super) blocked: bool,
    /// The peer sends no more.
    finished: bool,
    /// The peer's reset came with words that are not those of an ordinary end.
    pub(super) complained: bool,
    pub(super) reader: Waiting,
    pub(super) writer: Waiting,
}

impl State {
    const FREE: State = State {
        phase: Phase::Free,
        conn: None,
        blocked: true,
        finished: false,
        complained: false,
        reader: Waiting::NOBODY,
        writer: Waiting::NOBODY,
    };

    fn wake_both(&mut self) {
        self.reader.wake();
        self.writer.wake();
    }
}

/// A socket with its storage.
#[derive(Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub(super) struct Stored<const RX: usize, const TX: usize> {
    state: State,
    rx: Ring<[u8; RX]>,
    tx: Ring<[u8; TX]>,
}

impl<const RX: usize, const TX: usize> Stored<RX, TX> {
    pub(super) const EMPTY: Self = Stored { state: State::FREE, rx: Ring::EMPTY, tx: Ring::EMPTY };

    pub(super) const fn state(&self) -> &State {
        &self.state
    }

    /// The socket without the sizes of its rings.
    pub(super) fn view(&mut self) -> View<'_> {
        View { state: &mut self.state, rx: &mut self.rx, tx: &mut self.tx }
    }
}

/// A socket, whatever the size of its rings.
#[derive(Debug)]
pub(super) struct View<'s> {
    pub(super) state: &'s mut State,
    pub(super) rx: &'s mut Ring<[u8]>,
    pub(super) tx: &'s mut Ring<[u8]>,
}

impl View<'_> {
    // ---- the application's side

    /// Becomes the socket of a connection that is being opened.
    pub(super) fn open(&mut self, conn: ConnId) {
        self.release();
        (self.state.phase, self.state.conn) = (Phase::Opening, Some(conn));
    }

    /// Becomes free. Who waited finds the handle stale.
    pub(super) fn release(&mut self) {
        self.state.wake_both();
        *self.state = State::FREE;
        self.rx.clear();
        self.tx.clear();
    }

    /// Closed by the application: nothing more is read, what was written still leaves.
    pub(super) fn leave(&mut self, deadline: Instant) {
        self.rx.clear();
        self.state.wake_both();
        self.state.phase = Phase::Leaving { deadline };
    }

    pub(super) fn read(&mut self, to: &mut [u8]) -> Result<usize, Error> {
        if to.is_empty() || !self.is_readable()? {
            return if to.is_empty() { Ok(0) } else { Err(Error::WouldBlock) };
        }
        match self.state.phase {
            Phase::Over(Some(error)) if self.rx.is_empty() => Err(error),
            // Without a byte it is the end-of-file.
            _ => Ok(self.rx.read(to)),
        }
    }

    pub(super) fn write(&mut self, from: &[u8]) -> Result<usize, Error> {
        if self.is_writable()? {
            Ok(self.tx.write(from))
        } else if from.is_empty() {
            Ok(0)
        } else {
            Err(Error::WouldBlock)
        }
    }

    /// Whether a read would say something: bytes, the end, or an error behind the last byte.
    pub(super) fn is_readable(&self) -> Result<bool, Error> {
        match self.state.phase {
            Phase::Opening | Phase::Open => Ok(!self.rx.is_empty() || self.state.finished),
            Phase::Over(_) => Ok(true),
            _ => Err(Error::Closed),
        }
    }

    /// Whether a write would take something.
    pub(super) fn is_writable(&self) -> Result<bool, Error> {
        match self.state.phase {
            Phase::Opening | Phase::Open => Ok(self.tx.room() > 0),
            Phase::Over(error) => Err(error.unwrap_or(Error::Reset)),
            _ => Err(Error::Closed),
        }
    }

    /// Whether everything written has left.
    pub(super) fn is_flushed(&self) -> Result<bool, Error> {
        self.is_writable()?;
        Ok(self.tx.is_empty())
    }

    // ---- the engine's side

    /// Payload arrived: says how much of it the socket holds, or `None` if it had no room.
    pub(super) fn deliver(&mut self, payload: &[u8]) -> Option<usize> {
        match self.state.phase {
            // SYN|ACK and data may share a transfer: then the data is here before `connected()`.
            Phase::Opening | Phase::Open => {
                let taken = self.rx.write(payload);
                self.state.reader.wake();
                (taken == payload.len()).then_some(self.rx.len())
            }
            _ => Some(0),
        }
    }

    pub(super) fn connected(&mut self) {
        self.state.blocked = false;
        if self.state.phase == Phase::Opening {
            self.state.phase = Phase::Open;
            self.state.writer.wake();
        }
    }

    pub(super) fn refused(&mut self, reason: RefusedBy) {
        self.over(Some(Error::Refused(reason)));
    }

    pub(super) fn finished(&mut self) {
        self.state.finished = true;
        self.state.reader.wake();
    }

    pub(super) fn closed(&mut self, reason: CloseReason) {
        self.over(match reason {
            CloseReason::Reset if self.state.complained => Some(Error::Reset),
            CloseReason::Reset => None,
            reason => Some(Error::Broken(reason)),
        });
    }

    fn over(&mut self, error: Option<Error>) {
        match self.state.phase {
            Phase::Opening | Phase::Open => {
                self.state.phase = Phase::Over(error);
                self.state.wake_both();
            }
            Phase::Leaving { .. } | Phase::Draining => self.release(),
            Phase::Free | Phase::Over(_) | Phase::TimedOut => {}
        }
    }

    /// `taken` bytes left. Says whether the engine is to close the connection now.
    pub(super) fn sent(&mut self, taken: usize) -> bool {
        self.tx.consume(taken);
        self.state.writer.wake();
        let last = self.tx.is_empty() && matches!(self.state.phase, Phase::Leaving { .. });
        if last {
            self.state.phase = Phase::Draining;
        }
        last
    }
}
