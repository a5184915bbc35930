//! What a client is told: answers to its requests, and events while it listens.
//!
//! Only a Result and the events exist in binary form too; the other answers belong to requests
//! that only a plist can make.

use super::header::ResultCode;
use super::names;
use super::records::DeviceAdd;

/// Answers a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Reply<'a> {
    /// A number; in binary or plist form.
    Result(ResultCode),
    /// The phones that are here.
    DeviceList(&'a [Device<'a>]),
    /// The clients that listen.
    ListenerList(&'a [Listener<'a>]),
    /// The identity of this system.
    Buid(&'a str),
    /// A pair record as it was saved.
    PairRecord(&'a [u8]),
}

/// Tells a listening client what happened. Sent with tag 0, in either form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Event<'a> {
    /// A phone is here; also sent for each phone present when listening begins.
    Attached(Device<'a>),
    /// The phone with this number went.
    Detached(u32),
    /// A pair record was saved for the phone with this number.
    Paired(u32),
}

/// Describes a phone to clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Device<'a> {
    /// The daemon's number for the phone.
    pub device_id: u32,
    /// The UDID.
    pub serial: &'a str,
    /// The product id of the USB device.
    pub product_id: u16,
    /// Bus number × 65536 + address.
    pub location: u32,
    /// Speed of the cable in bit/s.
    pub speed: u64,
}

impl<'a> Device<'a> {
    /// The same as a binary record, which has no speed.
    pub fn record(&self) -> DeviceAdd<'a> {
        DeviceAdd {
            device_id: self.device_id,
            product_id: self.product_id,
            serial: self.serial.as_bytes(),
            location: self.location,
        }
    }
}

/// Describes a listening client to clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Listener<'a> {
    /// The daemon's number for the client.
    pub number: u32,
    /// The client's program, if it told.
    pub prog_name: Option<&'a str>,
    /// The client's bundle, if it told.
    pub bundle_id: Option<&'a str>,
    /// The version of the client's library, 0 if it did not tell.
    pub lib_version: u64,
}

impl<'a> Listener<'a> {
    /// The program's name as it is shown, which is never absent.
    pub fn shown_name(&self) -> &'a str {
        self.prog_name.unwrap_or(names::UNKNOWN_PROGRAM)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_becomes_its_binary_record() {
        let device = Device {
            device_id: 3,
            serial: "00008030-0000000000000001",
            product_id: 0x12a8,
            location: 0x0002_0005,
            speed: 480_000_000,
        };
        let record = DeviceAdd {
            device_id: 3,
            product_id: 0x12a8,
            serial: b"00008030-0000000000000001",
            location: 0x0002_0005,
        };
        assert_eq!(device.record(), record);
    }

    #[test]
    fn listener_without_a_name_is_unknown() {
        let listener = Listener { number: 1, prog_name: None, bundle_id: None, lib_version: 0 };
        assert_eq!(listener.shown_name(), "unknown");
        assert_eq!(Listener { prog_name: Some("x"), ..listener }.shown_name(), "x");
    }
}
