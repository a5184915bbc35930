//! The soak: a daemon, phones with quirks, and clients of all tempers, for as long as one likes.
//!
//! A run is a row of *lives* of a daemon on one socket. A life ends by SIGTERM or SIGKILL, at rest or in mid-traffic,
//! and the next daemon takes the socket over. A life is a row of *rounds*: clients come and go for some seconds, then
//! all leave, and what the daemon holds must return to where it was.
//!
//! | file | subject |
//! |---|---|
//! | `limits` | how long anything may take, from the timers that are documented |
//! | `check` | what makes a run fail: other bytes, a lost tail, a hang, something that stays |
//! | `phones` | the phones of a life, and how connections to each may end |
//! | `scene` | what the clients of a round share |
//! | `line` | one client's socket |
//! | `servers` | programs of this process behind ports of the phones |
//! | `streams` | clients that move bytes |
//! | `nuisances` | clients that misbehave |
//! | `commands` | clients that ask and listen |
//! | `tempers` | all of them by name, and how one's end is judged |
//! | `watch` | the listener that follows the phones |
//! | `life` | lives and rounds |
//! | `report` | figures and the closing table |
//!
//! Leaves out: real USB, which is not here; a client's sudden death is its socket closing, which is all that a daemon
//! sees of one.

pub mod check;
mod commands;
mod life;
pub mod limits;
mod line;
mod nuisances;
pub mod phones;
pub mod report;
mod scene;
mod servers;
mod streams;
mod tempers;
mod watch;

use report::Report;
use std::time::Duration;

/// What is asked of a run.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// What decides all that is random.
    pub seed: u64,
    /// How long clients come and go.
    pub length: Duration,
}

/// Runs it, printing a line for each round.
///
/// # Panics
///
/// When the daemon cannot be started.
#[must_use]
pub fn run(plan: Plan) -> Report {
    life::run(plan)
}
