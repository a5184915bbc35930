//! Character generator (RFC 864): the rotating lines of printable characters, without end.

use super::{Next, Program, Turn};
use std::sync::LazyLock;

/// The printable characters of ASCII.
const FIRST: u8 = b' ';
const COUNT: usize = 95;
/// Characters in a line, its CR and LF not counted.
const LINE: usize = 72;
/// After this many bytes the pattern begins anew: each of the 95 characters began a line.
const PERIOD: usize = COUNT * (LINE + 2);
/// Most bytes taken from the pattern in one piece.
const PIECE: usize = 65536;

/// The pattern, repeated so often that a piece of it can begin anywhere in the first period.
static PATTERN: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let line = |start: usize| {
        let chars = (start..start + LINE).map(|at| FIRST + (at % COUNT) as u8);
        chars.chain(*b"\r\n")
    };
    (0..).flat_map(line).take(PERIOD + PIECE).collect()
});

/// The program; what the host says is read and thrown away.
#[derive(Debug, Default)]
pub(super) struct Chargen {
    unread: usize,
    /// Place in the pattern.
    at: usize,
}

impl Program for Chargen {
    fn deliver(&mut self, payload: &[u8]) {
        self.unread += payload.len();
    }

    fn unread(&self) -> usize {
        self.unread
    }

    fn has_output(&self) -> bool {
        true
    }

    fn run(&mut self, turn: &mut Turn<'_>) -> Next {
        self.unread -= self.unread.min(turn.budget);
        let length = turn.room.min(PIECE);
        turn.frame.extend_from_slice(PATTERN.get(self.at..self.at + length).unwrap_or_default());
        self.at = (self.at + length) % PERIOD;
        Next::Again
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pattern_is_that_of_the_rfc_however_it_is_cut() {
        let mut chargen = Chargen::default();
        let mut text = Vec::new();
        for room in [1, 10, 500, 32_728, 7, 0, 30_000] {
            let mut turn = Turn { budget: usize::MAX, room, frame: &mut text };
            assert_eq!(chargen.run(&mut turn), Next::Again);
        }
        let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
        assert!(lines[0].starts_with(b" !\"#$%&'()*+,-./0123456789:;<=>?@ABC"));
        assert_eq!(lines[0].len(), 73);
        assert!(lines[1].starts_with(b"!\"#"));
        assert!(lines[94].starts_with(b"~ !\""));
        assert_eq!(lines[95], lines[0]);
        assert_eq!(text.len(), 1 + 10 + 500 + 32_728 + 7 + 30_000);
    }
}
