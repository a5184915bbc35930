//! Echo (RFC 862): everything comes back, as fast as the host takes it and no faster.

use super::{Input, Next, Program, Turn};

/// The program reads only what it can write at once, so its receive buffer is its whole memory and
/// a host that does not read is stopped by the window.
#[derive(Debug, Default)]
pub(super) struct Echo {
    input: Input,
}

impl Program for Echo {
    fn deliver(&mut self, payload: &[u8]) {
        self.input.deliver(payload);
    }

    fn unread(&self) -> usize {
        self.input.len()
    }

    fn has_output(&self) -> bool {
        !self.input.is_empty()
    }

    fn run(&mut self, turn: &mut Turn<'_>) -> Next {
        self.input.move_to(turn.frame, turn.room.min(turn.budget));
        if self.input.is_empty() { Next::Wait } else { Next::Again }
    }
}
