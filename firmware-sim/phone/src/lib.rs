//! A virtual phone: what stands at the other end of the cable when no phone is at hand.
//!
//! So far what it says about itself on USB, and what it can be made from.

pub mod control;
pub mod descriptors;
mod identity;
mod options;

pub use identity::Identity;
pub use options::{HIGH_SPEED_PACKET, Options, QUIRK_NAMES, Quirk, Quirks, UnknownQuirk};
