//! What stands on standard error while ports are forwarded: a line for what happens, and, when a
//! person looks at it, one line below that shows what goes on now.

use std::cell::Cell;
use std::fmt::{Display, Write as _};
use std::future;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

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
    terminal: bool,
    /// Whether the cursor stands behind a status that must be erased before anything else.
    status_shown: Cell<bool>,
}

impl Console {
    pub(crate) fn new() -> Self {
        Console {
            traffic: Traffic::default(),
            connections: Cell::new(0),
            terminal: io::stderr().is_terminal(),
            status_shown: Cell::new(false),
        }
    }

    /// Says what happened.
    pub(crate) fn line(&self, line: &str) {
        self.write(&format!("umux: {line}\n"));
        self.status_shown.set(false);
    }

    /// Counts a connection as open until the guard is dropped.
    pub(crate) fn count_connection(&self) -> impl Drop + use<'_> {
        self.connections.set(self.connections.get() + 1);
        OpenConnection(&self.connections)
    }

    /// Renews the status every second, for ever; shows none where nobody looks.
    pub(crate) async fn show_status(&self) {
        if !self.terminal {
            return future::pending().await;
        }
        let (mut up, mut down) = (0, 0);
        loop {
            let (up_before, down_before) = (up, down);
            (up, down) = (self.traffic.up.get(), self.traffic.down.get());
            self.write(&status(self.connections.get(), down - down_before, up - up_before));
            self.status_shown.set(true);
            Timer::after(PERIOD).await;
        }
    }

    /// Leaves the terminal as a shell expects it.
    pub(crate) fn clear_status(&self) {
        self.write("");
        self.status_shown.set(false);
    }

    /// Writes in place of the status. Standard error may be closed: there is nobody to tell.
    fn write(&self, text: &str) {
        let mut all = String::new();
        if self.status_shown.get() {
            all.push_str(ERASE);
        }
        all.push_str(text);
        _ = io::stderr().write_all(all.as_bytes());
    }
}

struct OpenConnection<'c>(&'c Cell<usize>);

impl Drop for OpenConnection<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

fn status(connections: usize, down: u64, up: u64) -> String {
    let plural = if connections == 1 { "" } else { "s" };
    let (down, up) = (Rate(down), Rate(up));
    format!("{connections} connection{plural}, {down} down, {up} up")
}

/// Bytes a second, with two or three digits.
struct Rate(u64);

impl Display for Rate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const UNITS: [&str; 5] = ["B/s", "kB/s", "MB/s", "GB/s", "TB/s"];
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
    fn a_status_counts_connections_and_bytes() {
        assert_eq!(status(0, 0, 0), "0 connections, 0 B/s down, 0 B/s up");
        assert_eq!(status(1, 999, 1000), "1 connection, 999 B/s down, 1.0 kB/s up");
        assert_eq!(
            status(2, 47_800_000, 174_600_000),
            "2 connections, 47.8 MB/s down, 174 MB/s up"
        );
        assert_eq!(Rate(u64::MAX).to_string(), "18446744 TB/s");
    }
}
