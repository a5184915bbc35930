//! A virtual phone: what stands at the other end of the cable when no phone is at hand.
//!
//! It is the engine of `usbmux-core` in the device role, with what a real phone has around it:
//!
//! | floor | file | what it does |
//! |---|---|---|
//! | kernel's cable | `usbip/`, `vhci.rs` | requests of a Linux kernel's virtual host controller |
//! | QEMU's cable | `usbredir/` | requests of the USB host controllers that QEMU plays |
//! | outer cables | `remote/` | what these two have in common |
//! | cable | `plug.rs` | transfers of a host in this program, time, TCP connections of mapped ports |
//! | bus | `device.rs`, `outside.rs` | packets and handshakes for a simulated bus, `now` as an argument |
//! | phone | `phone.rs` | engine, programs, quirks; reads no clock and no socket |
//! | programs | `services/` | echo, discard, chargen, lockdownd, mapped ports |
//! | kernel | `frames.rs` | what a phone's kernel says without the engine |
//! | packets | `endpoint.rs` | OUT packets to messages, messages to IN packets |
//! | USB | `descriptors.rs`, `control.rs` | descriptors, configurations, modes |
//! | itself | `options.rs`, `identity.rs` | number, serial, quirks, mapped ports |
//!
//! # Its nature, always on
//!
//! - It sees packets, not transfers: a message ends at a short packet or a ZLP. Frames glued by a
//!   lost ZLP are one message to it, and above 65535 bytes it complains and drops them all.
//! - It checks tx_seq strictly: a gap or a repeat kills the session until the next VERSION.
//! - Its programs have a receive buffer before them. What they have not read is not acknowledged,
//!   and when the host resets the connection it is lost.
//! - It never sends beyond the host's window, and resets a connection that overruns its own.
//! - When its IN queue is full it takes no OUT packets either (NAK) until the host reads.
//!
//! # Quirks
//!
//! Each fault or oddity seen on real phones can be switched on by name: see [`Quirk`].
//!
//! # In a browser
//!
//! Compiled to WebAssembly it is the same phone with packets ([`device`]) and without cables: there are
//! no sockets, and mapped ports refuse.
#![cfg_attr(target_family = "wasm", allow(dead_code, reason = "what only the cables use"))]

pub mod control;
pub mod descriptors;
pub mod device;
mod endpoint;
mod frames;
mod identity;
mod options;
#[cfg(not(target_family = "wasm"))]
mod outside;
#[cfg(target_family = "wasm")]
#[path = "nowhere.rs"]
mod outside;
mod phone;
#[cfg(not(target_family = "wasm"))]
mod plug;
#[cfg(not(target_family = "wasm"))]
mod remote;
mod services;
#[cfg(not(target_family = "wasm"))]
pub mod usbip;
#[cfg(not(target_family = "wasm"))]
pub mod usbredir;
#[cfg(not(target_family = "wasm"))]
pub mod vhci;

pub use identity::Identity;
pub use options::{
    HIGH_SPEED_PACKET, Options, QUIRK_NAMES, Quirk, Quirks, SUPER_SPEED_PACKET, UnknownQuirk,
};
#[cfg(not(target_family = "wasm"))]
pub use outside::MappedPorts;
pub use phone::Counters;
#[cfg(not(target_family = "wasm"))]
pub use plug::{PhoneTask, Plug, Unplugged};
#[cfg(not(target_family = "wasm"))]
pub use remote::probe::{Carried, MuxEndpoint, Probe, Traffic};
#[cfg(not(target_family = "wasm"))]
pub use remote::{CableError, Ended};
pub use services::{CHARGEN, DISCARD, ECHO, LOCKDOWND};
