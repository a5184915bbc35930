//! Whole runs: `umuxd --simulate` as a process, programs we did not write as its clients, servers of this machine
//! behind the phone's ports.
//!
//! A missing client is a failure when `CI` is `true` and a line with SKIPPED otherwise. Nothing sleeps to
//! synchronise: lines, events, ends of files and a deadline.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod clients;
mod ends;
mod quirks;
mod ssh;
mod transfers;
