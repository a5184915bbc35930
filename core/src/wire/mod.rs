//! The wire floor: every header as a struct with `parse(&[u8; N])` and `emit() -> [u8; N]`.
//!
//! Nobody above this floor knows an offset. Numbers that nobody has named yet (protocols, magics,
//! control types, flags) survive a parse and an emit unchanged. All fields are big-endian
//! (PROTOCOL §2–3); this floor judges nothing, that is [`deframe`](crate::deframe)'s work.
//!
//! Lesson 1 (`core/examples/01_a_header.rs`) reads a frame with it, field by field.

pub mod control;
pub mod mux;
pub mod tcp;
pub mod version;

pub use control::ControlKind;
pub use mux::{HeaderV1, HeaderV2, Magic, Protocol};
pub use tcp::{Flags, TcpHeader};
pub use version::Version;

/// The longest frame there is, header included, in bytes; the length field of a phone's read buffer.
pub const MAX_FRAME: usize = 65535;
/// Bytes of a version 1 mux header, which VERSION frames have in every version.
pub const HEADER_V1: usize = 8;
/// Bytes of a version 2 mux header.
pub const HEADER_V2: usize = 16;
/// Bytes of a pseudo-TCP header.
pub const TCP_HEADER: usize = 20;
/// Bytes of a VERSION frame's body.
pub const VERSION_BODY: usize = 12;
/// The byte of a SETUP frame, in all likelihood the log level asked of the phone.
pub const SETUP_LEVEL: u8 = 0x07;
/// The receive sequence number that says "no frame of yours arrived yet".
pub const RX_SEQ_NONE: u16 = 0xffff;
