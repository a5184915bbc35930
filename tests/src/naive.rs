//! The naive phone: a second witness for every fact of PROTOCOL §2–4.
//!
//! Written from the protocol notes alone, with vectors and copies everywhere, sharing no code with the engine: where
//! both agree, neither misread. It speaks at the level of USB transfers and has knobs and raw access for everything a
//! phone can do wrong.

pub mod cable;
pub mod frame;
pub mod phone;

pub use frame::{Frame, Segment, hex};
pub use phone::{Connection, Knobs, NaivePhone, Service, Session, State};
