//! Real phones: Apple's devices on this machine's USB, through nusb.
//!
//! | file | subject |
//! |---|---|
//! | `choose` | which devices are phones, which configuration, interface and endpoints we want; pure |
//! | `mode` | Apple's vendor requests about modes |
//! | `open` | from a device in the list to a pipe, and what to do when that fails |
//! | `pipe` | the two bulk endpoints as a [`Pipe`](crate::pipe::Pipe) |
//! | `roster` | which phones are there, served, or to be tried again; pure |
//! | `hotplug` | notices phones that come and go, and opens them |
//!
//! Leaves out: everything that is said over the pipe, and daemons: this is the floor below them.

pub mod choose;
pub mod hotplug;
pub mod mode;
pub mod open;
mod pipe;
mod roster;

pub(crate) use hotplug::phones as list;
pub use hotplug::{Hotplug, Plugged, Watcher};
pub(crate) use open::identify;
pub use open::{OpenError, Opened, open};
pub use pipe::NusbPipe;

use usbmux_trace::file::{PhoneTrace, Trace};
use usbmux_trace::write::record::Attachment;

/// What USB says of a phone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PhoneInfo {
    /// The UDID: the serial number with the hyphen after the 8th of 24 characters.
    pub serial: String,
    /// USB idProduct.
    pub product_id: u16,
    /// bus << 16 | address.
    pub location_id: u32,
    /// Bit/s.
    pub speed: u64,
}

impl PhoneInfo {
    /// Begins a trace of it.
    pub(crate) fn traced(&self, trace: &Trace, max_packet: u16) -> PhoneTrace {
        trace.plugged_in(Attachment {
            udid: self.serial.clone(),
            product_id: self.product_id,
            location_id: self.location_id,
            speed: self.speed,
            max_packet,
        })
    }
}
