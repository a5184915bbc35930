//! What stands on standard error while bytes are carried: a line for what happens, and, when a
//! person looks at it, one line below that shows what goes on now.
//!
//! Leaves out: what that line says, which is its command's, and a terminal that is made narrower
//! while the line stands there: what it wraps stays.

use std::cell::{Cell, RefCell};
use std::fmt::{Display, Write as _};
use std::future;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use rustix::termios::tcgetwinsize;
use smol::Timer;

/// How often the status is renewed. Rates are bytes in this time, so it is a second.
const PERIOD: Duration = Duration::from_secs(1);

/// Moves to the line's beginning and erases it.
const ERASE: &str = "\r\x1b[K";

/// Bytes carried since the beginning.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    up: Cell<u64>,
    down: Cell<u64>,
}

impl Traffic {
    /// Counts what went to the phone.
    pub(crate) fn count_up(&self, bytes: usize) {
        self.up.set(self.up.get() + bytes as u64);
    }

    /// Counts what came from the phone.
    pub(crate) fn count_down(&self, bytes: usize) {
        self.down.set(self.down.get() + bytes as u64);
    }
}

/// Standard error, and what the status is made of.
pub(crate) struct Console {
    pub(crate) traffic: Traffic,
    connections: Cell<usize>,
    /// Whether a status is shown.
    lively: Cell<bool>,
    /// The status behind which the cursor stands; empty if there is none.
    status: RefCell<String>,
}

impl Console {
    pub(crate) fn new() -> Self {
        Console {
            traffic: Traffic::default(),
            connections: Cell::new(0),
            lively: Cell::new(io::stderr().is_terminal()),
            status: RefCell::default(),
        }
    }

    /// Says what happened.
    pub(crate) fn line(&self, line: &str) {
        let status = self.status.take();
        self.write(&status, &format!("umux: {line}\n{status}"));
        self.status.replace(status);
    }

    /// Counts a connection as open until the guard is dropped.
    pub(crate) fn count_connection(&self) -> impl Drop + use<'_> {
        self.connections.set(self.connections.get() + 1);
        OpenConnection(&self.connections)
    }

    /// Renews the status every second, for ever; shows none where nobody looks. `wordings` has the
    /// longest first; the first that fits into a line is taken.
    pub(crate) async fn show_status<const N: usize>(&self, wordings: impl Fn(&Now) -> [String; N]) {
        let (mut up, mut down) = (0, 0);
        while self.lively.get() {
            let (up_before, down_before) = (up, down);
            (up, down) = (self.traffic.up.get(), self.traffic.down.get());
            let now = Now {
                connections: self.connections.get(),
                down: Amount(down),
                up: Amount(up),
                down_rate: Rate(Amount(down - down_before)),
                up_rate: Rate(Amount(up - up_before)),
            };
            self.replace_status(fitting(&wordings(&now), columns()));
            Timer::after(PERIOD).await;
        }
        future::pending().await
    }

    /// Leaves the terminal as a shell expects it.
    pub(crate) fn clear_status(&self) {
        self.replace_status(String::new());
    }

    /// Shows no status any more: the terminal is needed for something else.
    pub(crate) fn calm_down(&self) {
        if self.lively.replace(false) {
            self.clear_status();
        }
    }

    fn replace_status(&self, status: String) {
        self.write(&self.status.borrow(), &status);
        self.status.replace(status);
    }

    /// Writes in place of a status, at once. Standard error may be closed: there is nobody to tell.
    fn write(&self, status: &str, text: &str) {
        let erase = if status.is_empty() { "" } else { ERASE };
        _ = io::stderr().write_all(format!("{erase}{text}").as_bytes());
    }
}

struct OpenConnection<'c>(&'c Cell<usize>);

impl Drop for OpenConnection<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// What a status may tell.
pub(crate) struct Now {
    /// How many are open.
    pub(crate) connections: usize,
    /// What came from the phone in all.
    pub(crate) down: Amount,
    /// What went to the phone in all.
    pub(crate) up: Amount,
    /// What came lately.
    pub(crate) down_rate: Rate,
    /// What went lately.
    pub(crate) up_rate: Rate,
}

/// How wide the terminal is, and what is assumed of one that does not say.
fn columns() -> usize {
    const USUAL: usize = 80;
    let size = tcgetwinsize(io::stderr()).map_or(0, |size| size.ws_col.into());
    if size == 0 { USUAL } else { size }
}

/// The first wording that fits into a line and leaves the cursor in it; else what fits of the last.
fn fitting(wordings: &[String], columns: usize) -> String {
    let room = columns.saturating_sub(1);
    let wording = wordings.iter().find(|wording| wording.len() <= room).or(wordings.last());
    wording.map_or_else(String::new, |wording| wording.chars().take(room).collect())
}

/// Bytes, with two or three digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Amount(u64);

impl Amount {
    /// Whether there are any.
    pub(crate) fn is_some(self) -> bool {
        self.0 > 0
    }
}

/// Bytes a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate(Amount);

impl Display for Rate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/s", self.0)
    }
}

impl Display for Amount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
        let mut tenths = u128::from(self.0) * 10;
        let mut unit = 0;
        while tenths >= 10_000 && unit + 1 < UNITS.len() {
            tenths /= 1000;
            unit += 1;
        }
        let name = UNITS.get(unit).copied().unwrap_or_default();
        write!(f, "{}", tenths / 10)?;
        if unit > 0 && tenths < 1000 {
            write!(f, ".{}", tenths % 10)?;
        }
        f.write_char(' ')?;
        f.write_str(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_two_or_three_digits() {
        let cases = [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (47_800_000, "47.8 MB"),
            (174_600_000, "174 MB"),
            (u64::MAX, "18446744 TB"),
        ];
        for (bytes, text) in cases {
            assert_eq!(Amount(bytes).to_string(), text);
            assert_eq!(Rate(Amount(bytes)).to_string(), format!("{text}/s"));
        }
    }

    #[test]
    fn a_status_never_fills_its_line() {
        let wordings = ["three words long".to_owned(), "two words".to_owned()];
        for (columns, expected) in [
            (80, "three words long"),
            (17, "three words long"),
            (16, "two words"),
            (10, "two words"),
            (9, "two word"),
            (1, ""),
            (0, ""),
        ] {
            assert_eq!(fitting(&wordings, columns), expected, "{columns}");
        }
    }
}
