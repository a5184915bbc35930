//! The firmware of a dongle: a microcontroller that is USB host to a phone and bridges it to
//! Ethernet, so that any machine of a network reaches the phone without a daemon of its own.
//!
//! No `std`, no allocation, no `unsafe`. Everything it needs of a board comes through three seams:
//! a [USB host controller](usb::HostController), a `smoltcp` device, and the time as an argument.
#![no_std]

pub mod page;
pub mod records;
pub mod talk;
pub mod usb;
