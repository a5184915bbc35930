//! What nobody should send, do or have: each test shows the right answer or one clear line, the daemon alive
//! afterwards, and another client undisturbed meanwhile.
//!
//! `umuxd --simulate` as a process, clients as the naive witness has them. Leaves out: phones that misbehave
//! (`end_to_end`), and what only the inside can see (the host's own tests).

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod bystander;
mod clients;
mod daemons;
mod records;
mod requests;
