//! usbmuxd in pure Rust: the library under the daemon `umuxd` and the command line `umux`.

pub mod address;
pub mod client;
pub mod codec;
pub mod daemon;
pub mod direct;
pub mod pipe;
pub mod reactor;
pub mod stream;
mod untrusted;
pub mod usb;
