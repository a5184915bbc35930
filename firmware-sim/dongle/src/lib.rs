//! The firmware of a dongle: a microcontroller that is USB host to a phone and bridges it to
//! Ethernet, so that any machine of a network reaches the phone without a daemon of its own.
//!
//! No `std`, no allocation, no `unsafe`. Everything it needs of a board comes through three seams:
//! a [USB host controller](usb::HostController), a `smoltcp` device, and the time as an argument.
//!
//! All memory for payload stands in a [`Storage`], which a static can hold; [`Dongle::poll`] is the
//! body of the board's super-loop.
#![no_std]

#[macro_use]
mod fmt;

pub mod budget;
mod config;
mod dongle;
mod link;
mod net;
pub mod page;
pub mod records;
mod relay;
mod status;
mod storage;
pub mod talk;
mod text;
pub mod usb;

pub use config::{ConfigError, DongleConfig, Forward, MAX_FORWARDS, PAGE_PORT, Peers, TALK_PORT};
pub use dongle::Dongle;
pub use status::Counters;
pub use storage::Storage;
