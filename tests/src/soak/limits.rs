//! How long anything may take: the timers that are documented, and what a busy machine is allowed on top.

use std::fmt;
use std::time::Duration;

/// What a busy machine may add to any timer.
pub const SLACK: Duration = Duration::from_secs(5);

/// The whole of a Connect; libusbmuxd gives up after 5 s.
const CONNECT: Duration = Duration::from_millis(4500);
/// VERSION, three times.
const GREETING: Duration = Duration::from_millis(3 * 2500);
/// Before a session is known to be dead.
const DEAD_WATCH: Duration = Duration::from_secs(1);
/// A closed connection whose bytes nobody acknowledges.
const DRAIN: Duration = Duration::from_secs(30);
/// A daemon that was asked to end.
const STOP: Duration = Duration::from_secs(1);

/// How long a daemon of ours lets a half-closed connection be silent.
pub const LINGER: Duration = Duration::from_millis(800);

/// Something that is waited for, each with its timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wait {
    /// The Result of a Connect.
    Connect,
    /// The answer to any other request.
    Answer,
    /// The next bytes of a stream whose other side moves; a dead session is noticed and its phone greeted meanwhile.
    Progress,
    /// The end of a connection whose client has said that it has no more to say.
    Linger,
    /// The last bytes of a client that hung up, at a program that reads.
    Delivery,
    /// Everything is given up that the round has taken, and everybody reads.
    Rest,
    /// The same where programs do not read.
    Drain,
    /// A phone that was plugged in is listed: its greeting, one port reset, a greeting.
    Greeting,
    /// A daemon ends at SIGTERM.
    Stop,
}

impl Wait {
    /// All of them.
    pub const ALL: [Wait; 9] = [
        Wait::Connect,
        Wait::Answer,
        Wait::Progress,
        Wait::Linger,
        Wait::Delivery,
        Wait::Rest,
        Wait::Drain,
        Wait::Greeting,
        Wait::Stop,
    ];

    /// The timer, by what is documented.
    #[must_use]
    pub const fn timer(self) -> Duration {
        match self {
            Wait::Connect => CONNECT,
            Wait::Answer => Duration::ZERO,
            Wait::Progress => DEAD_WATCH.saturating_add(GREETING),
            Wait::Linger => LINGER,
            Wait::Delivery => DEAD_WATCH,
            Wait::Rest => LINGER.saturating_add(DEAD_WATCH),
            Wait::Drain => DRAIN,
            Wait::Greeting => GREETING.saturating_mul(2),
            Wait::Stop => STOP,
        }
    }

    /// What is a hang.
    #[must_use]
    pub const fn limit(self) -> Duration {
        self.timer().saturating_add(SLACK)
    }
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Wait::Connect => "Result of a Connect",
            Wait::Answer => "answer to a request",
            Wait::Progress => "next bytes",
            Wait::Linger => "end after half-close",
            Wait::Delivery => "last bytes after hang-up",
            Wait::Rest => "rest after a round",
            Wait::Drain => "rest, programs stalled",
            Wait::Greeting => "phone listed",
            Wait::Stop => "end at SIGTERM",
        })
    }
}
