//! What clients say on the dongle's port 27015, and what they are told.
//!
//! Witnesses: the requests of real clients as they were recorded; `umuxd`, which answers the same
//! requests and shares no codec with the dongle; the `plist` crate, which reads every answer.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod desk;
mod hostile;
mod records;
mod rules;
mod umuxd;
mod wording;
