//! The usbmux protocol as one engine that runs everywhere.
#![no_std]

#[macro_use]
mod fmt;

mod conn;
pub mod deframe;
pub mod mux;
pub mod seq;
pub mod session;
pub mod time;
pub mod wire;

pub use mux::{
    AckPolicy, CONTROL_FRAME, CloseReason, Config, ConnId, ConnectError, DeathCause, Event, Frame,
    GapPolicy, Gone, LinkFailure, LinkState, Mux, Received, RefusedBy, ResetReason, Role,
    SendError, Sent, SentHeader, SequencePolicy, Slot, Stats, Transfer, WindowStyle, Zlp,
};
pub use seq::SeqNumber;
pub use time::Instant;
