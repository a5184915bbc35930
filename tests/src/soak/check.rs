//! What makes a run fail: other bytes, a lost tail, a hang, something that stays behind.

use super::limits::Wait;
use crate::daemon_process::Held;
use crate::random::pattern;
use futures_lite::future::or;
use smol::Timer;
use std::fmt;
use std::io;
use std::time::{Duration, Instant};

/// Why a client's conversation did not come to the end it wanted.
#[derive(Debug)]
pub enum Trouble {
    /// The connection ended early; the phone's nature says whether it may.
    Cut,
    /// Connect was refused with this Result.
    Refused(u64),
    /// Nothing came within a limit.
    Late {
        /// What was waited for.
        wait: Wait,
        /// In whose words.
        what: String,
    },
    /// What must never be.
    Wrong(String),
}

/// What a step of a client comes to.
pub type Done<T = ()> = Result<T, Trouble>;

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Cut => f.write_str("the connection ended early"),
            Trouble::Refused(number) => write!(f, "Connect: Result {number}"),
            Trouble::Late { wait, what } => {
                let limit = wait.limit().as_secs_f64();
                write!(
                    f,
                    "hang: waited {limit} s for {what} ({wait}: {:?} by its timer)",
                    wait.timer()
                )
            }
            Trouble::Wrong(what) => f.write_str(what),
        }
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Trouble {
        use io::ErrorKind::{
            BrokenPipe, ConnectionRefused, ConnectionReset, NotFound, UnexpectedEof,
        };
        match error.kind() {
            // The last two: between two daemons nobody listens.
            BrokenPipe | ConnectionReset | UnexpectedEof | ConnectionRefused | NotFound => {
                Trouble::Cut
            }
            _ => Trouble::Wrong(error.to_string()),
        }
    }
}

/// Makes a wrong thing known.
pub fn wrong<T>(what: impl Into<String>) -> Done<T> {
    Err(Trouble::Wrong(what.into()))
}

/// Waits for a step, no longer than its limit; how long it took.
pub async fn in_time<T>(
    wait: Wait,
    limit: Duration,
    what: &str,
    step: impl Future<Output = Done<T>>,
) -> (Done<T>, Duration) {
    let began = Instant::now();
    let late = async {
        Timer::after(limit).await;
        Err(Trouble::Late { wait, what: what.to_owned() })
    };
    (or(step, late).await, began.elapsed())
}

/// What bytes a stream must carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Those of [`pattern`] with this salt.
    Pattern(u32),
    /// The lines of RFC 864.
    Chargen,
}

/// Printable characters, and how many of them make a line.
const CHARACTERS: usize = 95;
const LINE: usize = 72;

impl Source {
    /// A piece of it.
    #[must_use]
    pub fn piece(self, from: usize, length: usize) -> Vec<u8> {
        let character = |at: usize| match (at / (LINE + 2), at % (LINE + 2)) {
            (_, LINE) => b'\r',
            (line, column) if column < LINE => b' ' + ((line + column) % CHARACTERS) as u8,
            _ => b'\n',
        };
        match self {
            Source::Pattern(salt) => pattern(salt, from, length),
            Source::Chargen => (from..from + length).map(character).collect(),
        }
    }
}

/// Compares a stream byte for byte as it comes.
#[derive(Debug)]
pub struct Incoming {
    source: Source,
    seen: usize,
}

impl Incoming {
    /// Nothing has come.
    #[must_use]
    pub fn new(source: Source) -> Incoming {
        Incoming { source, seen: 0 }
    }

    /// How many bytes were right.
    #[must_use]
    pub fn seen(&self) -> usize {
        self.seen
    }

    /// Compares what comes next.
    ///
    /// # Errors
    ///
    /// Wrong, with the place of the first other byte.
    pub fn take(&mut self, bytes: &[u8]) -> Done {
        let due = self.source.piece(self.seen, bytes.len());
        if let Some(at) = due.iter().zip(bytes).position(|(due, came)| due != came) {
            let place = self.seen + at;
            let (due, came) = (due[at], bytes[at]);
            return wrong(format!("byte {place} is {came:#04x}, not {due:#04x}"));
        }
        self.seen += bytes.len();
        Ok(())
    }

    /// Makes sure that all came and no more.
    ///
    /// # Errors
    ///
    /// Wrong, with both numbers.
    pub fn whole(&self, sent: usize) -> Done {
        if self.seen == sent {
            return Ok(());
        }
        wrong(format!("{} of {sent} bytes arrived", self.seen))
    }
}

/// Memory that may stay behind after a round, above what the first round of a life has left. A phone's tables of slots
/// fill by 1 MiB until each of its 16,384 was used once (17 phones: 17 MiB), and what an allocator keeps differs by up
/// to 10 MiB with who came.
pub const STAYS: usize = 32 << 20;

impl Held {
    /// Makes sure that a process has come back to where it was.
    ///
    /// # Errors
    ///
    /// A sentence that says what stayed.
    pub fn is_back(self, who: &str, before: Held) -> Result<(), String> {
        if self.descriptors > before.descriptors {
            let (now, then) = (self.descriptors, before.descriptors);
            return Err(format!("{who} holds {now} descriptors at rest, {then} before"));
        }
        if self.resident > before.resident + STAYS {
            let mib = |bytes: usize| bytes as f64 / f64::from(1 << 20);
            let (now, then) = (mib(self.resident), mib(before.resident));
            return Err(format!(
                "{who} holds {now:.1} MiB at rest, {then:.1} after its first round"
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    const SALT: u32 = 5;

    fn incoming() -> Incoming {
        Incoming::new(Source::Pattern(SALT))
    }

    #[test]
    fn whole_stream_in_any_pieces_is_right() {
        let mut incoming = incoming();
        for (from, length) in [(0, 1), (1, 700), (701, 0), (701, 299)] {
            incoming.take(&pattern(SALT, from, length)).unwrap();
        }
        incoming.whole(1000).unwrap();
    }

    #[test]
    fn swapped_byte_is_found_and_its_place_told() {
        let mut bytes = pattern(SALT, 0, 1000);
        let other = (1..).find(|at| bytes[500 + at] != bytes[500]).unwrap();
        bytes.swap(500, 500 + other);
        let error = incoming().take(&bytes).unwrap_err().to_string();
        assert!(error.starts_with("byte 500 is"), "{error}");
    }

    #[test]
    fn lost_doubled_and_foreign_pieces_are_found() {
        let mut lost = incoming();
        lost.take(&pattern(SALT, 0, 100)).unwrap();
        lost.take(&pattern(SALT, 101, 100)).unwrap_err();
        let mut doubled = incoming();
        doubled.take(&pattern(SALT, 0, 100)).unwrap();
        doubled.take(&pattern(SALT, 0, 100)).unwrap_err();
        incoming().take(&pattern(SALT + 1, 0, 100)).unwrap_err();
    }

    #[test]
    fn lost_tail_is_found() {
        let mut incoming = incoming();
        incoming.take(&pattern(SALT, 0, 999)).unwrap();
        assert_eq!(incoming.whole(1000).unwrap_err().to_string(), "999 of 1000 bytes arrived");
    }

    #[test]
    fn chargen_is_that_of_the_rfc() {
        let text = Source::Chargen.piece(0, 96 * 74);
        assert_eq!(
            text[..74],
            *b" !\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefg\r\n"
        );
        assert!(text[74..].starts_with(b"!\"#$"));
        assert!(text[94 * 74..].starts_with(b"~ !\""));
        assert_eq!(text[95 * 74..], text[..74]);
        assert_eq!(Source::Chargen.piece(700, 300), text[700..1000]);
    }

    #[test]
    fn hang_is_found_and_says_what_was_waited_for() {
        let limit = Duration::from_millis(10);
        let hang = std::future::pending::<Done>();
        let (late, took) = smol::block_on(in_time(Wait::Connect, limit, "the moon", hang));
        assert!(late.unwrap_err().to_string().contains("for the moon (Result of a Connect"));
        assert!(took >= limit);
        let (done, _) = smol::block_on(in_time(Wait::Connect, limit, "now", async { Ok(1) }));
        assert_eq!(done.unwrap(), 1);
    }

    #[test]
    fn what_stays_behind_is_found() {
        let before = Held { descriptors: 9, resident: 10 << 20 };
        before.is_back("it", before).unwrap();
        Held { resident: before.resident + STAYS, ..before }.is_back("it", before).unwrap();
        let leaks = Held { descriptors: 10, ..before }.is_back("it", before).unwrap_err();
        assert_eq!(leaks, "it holds 10 descriptors at rest, 9 before");
        Held { resident: before.resident + STAYS + 1, ..before }.is_back("it", before).unwrap_err();
    }
}
