//! The programs on the phone, each behind a port.
//!
//! Between the engine and a program stands what a kernel puts there: a receive buffer. What the
//! program has not read from it is not acknowledged, and is lost when the host resets the
//! connection. A program runs when something happened to it, reads what it wants, writes at most
//! one frame, and says what it waits for; it never sees a clock or an engine.

mod chargen;
mod discard;
mod echo;
mod lockdownd;
#[cfg(not(target_family = "wasm"))]
pub(crate) mod mapped;

use crate::identity::Identity;
use std::collections::VecDeque;

/// Port of the echo service (RFC 862).
pub const ECHO: u16 = 7;
/// Port of the discard service (RFC 863).
pub const DISCARD: u16 = 9;
/// Port of the character generator (RFC 864).
pub const CHARGEN: u16 = 19;
/// Port of lockdownd.
pub const LOCKDOWND: u16 = 62078;

/// A program on one connection.
pub(crate) trait Program {
    /// Puts bytes that arrived into the receive buffer; never more than the window.
    fn deliver(&mut self, payload: &[u8]);

    /// Bytes in the receive buffer that the program has not read.
    fn unread(&self) -> usize;

    /// Whether the program could write if it ran now and there were room.
    fn has_output(&self) -> bool;

    /// Runs the program until it has to wait or has written one frame's payload.
    fn run(&mut self, turn: &mut Turn<'_>) -> Next;
}

/// What a program may do in one run.
pub(crate) struct Turn<'a> {
    /// Bytes that it may read at most.
    pub(crate) budget: usize,
    /// Bytes that it may write at most; 0 while the host's window is full.
    pub(crate) room: usize,
    /// Where it writes, behind what stands there already.
    pub(crate) frame: &'a mut Vec<u8>,
}

/// What a program wants after a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// To run again; heeded only if this run read or wrote something.
    Again,
    /// To run when something happens: bytes arrive, the host's window opens, its socket is ready.
    Wait,
    /// To end, after everything it wrote has arrived.
    Close,
    /// To end at once: it failed.
    Abort,
}

/// Starts the phone's own program behind a port, if there is one.
pub(crate) fn start(port: u16, identity: &Identity) -> Option<Box<dyn Program>> {
    Some(match port {
        ECHO => Box::new(echo::Echo::default()),
        DISCARD => Box::new(discard::Discard::default()),
        CHARGEN => Box::new(chargen::Chargen::default()),
        LOCKDOWND => Box::new(lockdownd::Lockdownd::new(identity.clone())),
        _ => return None,
    })
}

/// A receive buffer with bytes in it.
#[derive(Debug, Default)]
pub(crate) struct Input {
    bytes: VecDeque<u8>,
}

/// Capacity that an empty receive buffer keeps, in bytes; more is given back, so that thousands of
/// idle connections cost nothing.
const KEPT_CAPACITY: usize = 4096;

impl Input {
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(crate) fn deliver(&mut self, payload: &[u8]) {
        self.bytes.extend(payload);
    }

    /// The bytes at the front that lie together; all of them, or those up to the buffer's seam.
    pub(crate) fn front(&self) -> &[u8] {
        self.bytes.as_slices().0
    }

    /// Removes bytes that were read.
    pub(crate) fn consume(&mut self, count: usize) {
        self.bytes.drain(..count.min(self.bytes.len()));
        if self.bytes.is_empty() && self.bytes.capacity() > KEPT_CAPACITY {
            self.bytes = VecDeque::new();
        }
    }

    /// Moves up to `count` bytes behind what stands in `to`.
    pub(crate) fn move_to(&mut self, to: &mut Vec<u8>, count: usize) {
        let count = count.min(self.bytes.len());
        let (front, back) = self.bytes.as_slices();
        let in_front = count.min(front.len());
        to.extend_from_slice(front.get(..in_front).unwrap_or_default());
        to.extend_from_slice(back.get(..count - in_front).unwrap_or_default());
        self.consume(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_leave_the_receive_buffer_in_order_across_its_seam() {
        let mut input = Input::default();
        let (mut sent, mut seen) = (0_u8, Vec::new());
        for (arrive, leave) in [(100, 60), (200, 10), (150, 377), (90, 90), (1, 500)] {
            let payload: Vec<u8> = (0..arrive).map(|i: u8| sent.wrapping_add(i)).collect();
            sent = sent.wrapping_add(arrive);
            input.deliver(&payload);
            input.move_to(&mut seen, leave);
        }
        assert!(input.is_empty());
        assert_eq!(seen.len(), 100 + 200 + 150 + 90 + 1);
        assert!(seen.iter().enumerate().all(|(i, byte)| *byte == i as u8));
    }

    #[test]
    fn only_the_known_ports_have_a_program() {
        let identity = Identity::new(1);
        for port in [ECHO, DISCARD, CHARGEN, LOCKDOWND] {
            assert!(start(port, &identity).is_some());
        }
        assert!(start(22, &identity).is_none());
    }
}
