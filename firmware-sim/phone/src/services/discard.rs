//! Discard (RFC 863): everything is read, nothing is kept.

use super::{Next, Program, Turn};

/// A receive buffer that only counts: what nobody will look at need not be copied.
#[derive(Debug, Default)]
pub(super) struct Discard {
    unread: usize,
}

impl Program for Discard {
    fn deliver(&mut self, payload: &[u8]) {
        self.unread += payload.len();
    }

    fn unread(&self) -> usize {
        self.unread
    }

    fn has_output(&self) -> bool {
        false
    }

    fn run(&mut self, turn: &mut Turn<'_>) -> Next {
        self.unread -= self.unread.min(turn.budget);
        if self.unread == 0 { Next::Wait } else { Next::Again }
    }
}
