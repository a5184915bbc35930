//! What the phone says about itself on USB: device, configuration and string descriptors.
//!
//! An iPhone in its initial mode has four configurations (PROTOCOL §1): 1 pictures, 2 audio and
//! HID, 3 pictures and mux, 4 pictures, mux and Apple's Ethernet. Layouts are those of the USB 2.0
//! specification, chapter 9 (at super speed: USB 3.2, chapter 9), of the audio class 1.0 and of HID
//! 1.11. Left out: the extended modes'
//! further configurations.

use crate::identity::Identity;
use crate::options::SUPER_SPEED_PACKET;

/// Apple's vendor number.
#[doc(alias = "idVendor")]
pub const VENDOR_ID: u16 = 0x05ac;
/// The product number of most phones since 2012.
#[doc(alias = "idProduct")]
pub const PRODUCT_ID: u16 = 0x12a8;
/// bEndpointAddress of the mux interface's bulk OUT endpoint.
pub const MUX_OUT: u8 = 0x04;
/// bEndpointAddress of the mux interface's bulk IN endpoint.
pub const MUX_IN: u8 = 0x85;
/// The configuration values, in the order of their descriptors.
pub const CONFIGURATIONS: [u8; 4] = [1, 2, 3, 4];

/// Descriptor types (USB 2.0 table 9-5).
pub(crate) mod kind {
    pub(crate) const DEVICE: u8 = 1;
    pub(crate) const CONFIGURATION: u8 = 2;
    pub(crate) const STRING: u8 = 3;
    pub(crate) const INTERFACE: u8 = 4;
    pub(crate) const ENDPOINT: u8 = 5;
    pub(crate) const DEVICE_QUALIFIER: u8 = 6;
    pub(crate) const OTHER_SPEED_CONFIGURATION: u8 = 7;
    pub(crate) const BOS: u8 = 15;
    pub(crate) const DEVICE_CAPABILITY: u8 = 16;
    pub(crate) const ENDPOINT_COMPANION: u8 = 48;
}

/// Bulk packets at full speed, the only size allowed there that a phone uses, in bytes.
const FULL_SPEED_PACKET: u16 = 64;
/// These two stand in the tables below for the bytes of a bulk endpoint's wMaxPacketSize.
const PK: u8 = 0xff;
const ET: u8 = 0xff;

/// String indices.
const MANUFACTURER: u8 = 1;
const PRODUCT: u8 = 2;
const SERIAL: u8 = 3;
const STRINGS: &[(u8, &str)] = &[
    (MANUFACTURER, "Apple Inc."),
    (PRODUCT, "iPhone"),
    (5, "PTP"),
    (6, "iPod USB Interface"),
    (7, "PTP + Apple Mobile Device"),
    (8, "PTP + Apple Mobile Device + Apple USB Ethernet"),
    (15, "PTP"),
    (16, "Apple USB Multiplexor"),
    (17, "AppleUSBEthernet"),
];

/// Whether bulk packets of this size are those of super speed, which has descriptors of its own.
pub(crate) fn is_super_speed(max_packet: u16) -> bool {
    max_packet >= SUPER_SPEED_PACKET
}

/// The device descriptor, 18 bytes, for bulk packets of `max_packet` bytes.
#[rustfmt::skip]
pub fn device(max_packet: u16) -> [u8; 18] {
    // bcdUSB and bMaxPacketSize0: 2.00 and 64 bytes, or 3.20 and 2 to the 9th bytes.
    let (release, packet) = if is_super_speed(max_packet) { (0x0320_u16, 9) } else { (0x0200, 64) };
    let [release_low, release_high] = release.to_le_bytes();
    let [vendor_low, vendor_high] = VENDOR_ID.to_le_bytes();
    let [product_low, product_high] = PRODUCT_ID.to_le_bytes();
    [
        18, kind::DEVICE,
        release_low, release_high,
        0x00, 0x00, 0x00, // class, subclass, protocol: each interface has its own
        packet,
        vendor_low, vendor_high, product_low, product_high,
        0x05, 0x12, // bcdDevice 12.05
        MANUFACTURER, PRODUCT, SERIAL,
        4, // bNumConfigurations
    ]
}

/// The device qualifier, 10 bytes: what the device descriptor would be at the other speed.
pub fn device_qualifier() -> [u8; 10] {
    [10, kind::DEVICE_QUALIFIER, 0x00, 0x02, 0x00, 0x00, 0x00, 64, 4, 0]
}

/// What a phone at super speed can do besides (USB 3.2 §9.6.2): nothing special.
#[rustfmt::skip]
pub(crate) const BOS: [u8; 22] = [
    5, kind::BOS, 22, 0, 2,                                   // two capabilities
    7, kind::DEVICE_CAPABILITY, 2, 0, 0, 0, 0,                // USB 2.0 extension: no LPM
    // SuperSpeed: no LTM, full, high and super speed, all it does from full speed on, no latencies.
    10, kind::DEVICE_CAPABILITY, 3, 0, 0b1110, 0, 1, 0, 0, 0,
];

/// bMaxPower for 500 mA, in units of 2 mA, and of 8 mA at super speed.
const POWER: u8 = 250;
const POWER_SUPER_SPEED: u8 = 62;

/// Pictures: the still-image class with its bulk pair and its event pipe.
#[rustfmt::skip]
const PTP: &[u8] = &[
    // interface 0, alternate 0, 3 endpoints, 06/01/01 Imaging, string 15
    9, 4, 0, 0, 3, 0x06, 0x01, 0x01, 15,
    7, 5, 0x02, 0x02, PK, ET, 0,        // EP 2 OUT, bulk
    7, 5, 0x81, 0x02, PK, ET, 0,        // EP 1 IN, bulk
    7, 5, 0x83, 0x03, 0x40, 0x00, 10,   // EP 3 IN, interrupt, 64 bytes
];

/// The mux interface: exactly one bulk OUT and one bulk IN endpoint.
#[rustfmt::skip]
const MUX: &[u8] = &[
    // interface 1, alternate 0, 2 endpoints, ff/fe/02, string 16
    9, 4, 1, 0, 2, 0xff, 0xfe, 0x02, 16,
    7, 5, MUX_OUT, 0x02, PK, ET, 0,
    7, 5, MUX_IN,  0x02, PK, ET, 0,
];

/// Tethering: idle in alternate 0, as `ipheth` expects it in alternate 1.
#[rustfmt::skip]
const ETHERNET: &[u8] = &[
    // interface 2, alternate 0, no endpoint, ff/fd/01, string 17
    9, 4, 2, 0, 0, 0xff, 0xfd, 0x01, 17,
    // interface 2, alternate 1, 2 endpoints
    9, 4, 2, 1, 2, 0xff, 0xfd, 0x01, 17,
    7, 5, 0x86, 0x02, PK, ET, 0,
    7, 5, 0x05, 0x02, PK, ET, 0,
];

/// Sound to an accessory, and the HID pipe on which accessories speak.
#[rustfmt::skip]
const AUDIO_AND_HID: &[u8] = &[
    // interface 0, alternate 0, no endpoint, 01/01/00 AudioControl
    9, 4, 0, 0, 0, 0x01, 0x01, 0x00, 0,
    9, 0x24, 1, 0x00, 0x01, 30, 0, 1, 1,              // header: ADC 1.00, 30 bytes, interface 1
    12, 0x24, 2, 1, 0x01, 0x02, 2, 2, 0x03, 0, 0, 0,  // input terminal 1: microphone type, stereo
    9, 0x24, 3, 2, 0x01, 0x01, 0, 1, 0,               // output terminal 2: USB streaming, from 1
    // interface 1, alternate 0, no endpoint, 01/02/00 AudioStreaming
    9, 4, 1, 0, 0, 0x01, 0x02, 0x00, 0,
    // interface 1, alternate 1, 1 endpoint
    9, 4, 1, 1, 1, 0x01, 0x02, 0x00, 0,
    7, 0x24, 1, 2, 1, 0x01, 0x00,                     // general: terminal 2, delay 1, PCM
    35, 0x24, 2, 1, 2, 2, 16, 9,                      // format I: stereo, 16 bit, 9 rates
        0x40, 0x1f, 0x00, 0x11, 0x2b, 0x00, 0xe0, 0x2e, 0x00,  //  8000 11025 12000 Hz
        0x80, 0x3e, 0x00, 0x22, 0x56, 0x00, 0xc0, 0x5d, 0x00,  // 16000 22050 24000 Hz
        0x00, 0x7d, 0x00, 0x44, 0xac, 0x00, 0x80, 0xbb, 0x00,  // 32000 44100 48000 Hz
    9, 5, 0x81, 0x01, 0xc0, 0x00, 4, 0, 0,            // EP 1 IN, isochronous, 192 bytes
    7, 0x25, 1, 0x01, 0, 0x00, 0x00,                  // its rate can be set
    // interface 2, alternate 0, 1 endpoint, 03/00/00 HID
    9, 4, 2, 0, 1, 0x03, 0x00, 0x00, 0,
    9, 0x21, 0x11, 0x01, 0, 1, 0x22, 0x60, 0x00,      // HID 1.11, a report descriptor of 96 bytes
    7, 5, 0x83, 0x03, 0x40, 0x00, 1,                  // EP 3 IN, interrupt, 64 bytes
];

/// Interfaces, string index and interface count of a configuration value.
fn layout(value: u8) -> Option<(&'static [&'static [u8]], u8, u8)> {
    Some(match value {
        1 => (&[PTP], 5, 1),
        2 => (&[AUDIO_AND_HID], 6, 3),
        3 => (&[PTP, MUX], 7, 2),
        4 => (&[PTP, MUX, ETHERNET], 8, 3),
        _ => return None,
    })
}

/// The configuration descriptor with everything that belongs to it, for bulk packets of
/// `max_packet` bytes; `None` if no configuration has this `value`.
pub fn configuration(value: u8, max_packet: u16) -> Option<Vec<u8>> {
    let (parts, name, interfaces) = layout(value)?;
    let super_speed = is_super_speed(max_packet);
    let power = if super_speed { POWER_SUPER_SPEED } else { POWER };
    // 0xc0: powered by itself.
    let mut bytes = vec![9, kind::CONFIGURATION, 0, 0, interfaces, value, name, 0xc0, power];
    for part in parts {
        if super_speed {
            push_with_companions(&mut bytes, part);
        } else {
            bytes.extend_from_slice(part);
        }
    }
    let total = u16::try_from(bytes.len()).ok()?;
    if let Some(field) = bytes.get_mut(2..4) {
        field.copy_from_slice(&total.to_le_bytes());
    }
    set_bulk_packets(&mut bytes, max_packet);
    Some(bytes)
}

/// Appends descriptors, and behind each endpoint's its companion (USB 3.2 §9.6.7): no bursts.
fn push_with_companions(bytes: &mut Vec<u8>, mut descriptors: &[u8]) {
    while let Some((descriptor, rest)) =
        descriptors.first().and_then(|length| descriptors.split_at_checked(usize::from(*length)))
    {
        bytes.extend_from_slice(descriptor);
        if let [_, kind::ENDPOINT, _, attributes, low, high, ..] = *descriptor {
            // wBytesPerInterval: of endpoints with a period only.
            let periodic = matches!(attributes & 0b11, 1 | 3);
            let [low, high] = if periodic { [low, high] } else { [0, 0] };
            bytes.extend_from_slice(&[6, kind::ENDPOINT_COMPANION, 0, 0, low, high]);
        }
        descriptors = rest;
    }
}

/// Writes the size of bulk packets where an endpoint descriptor has the placeholder.
fn set_bulk_packets(mut descriptors: &mut [u8], max_packet: u16) {
    while let Some(&length) = descriptors.first() {
        let Some((descriptor, rest)) = descriptors.split_at_mut_checked(usize::from(length)) else {
            return;
        };
        if let [7, 5, _, 0x02, low, high, _] = descriptor
            && [*low, *high] == [PK, ET]
        {
            [*low, *high] = max_packet.to_le_bytes();
        }
        descriptors = rest;
    }
}

/// The configuration descriptor at the other of the two speeds of USB 2.0.
pub fn other_speed_configuration(value: u8, max_packet: u16) -> Option<Vec<u8>> {
    let other = if max_packet == FULL_SPEED_PACKET {
        crate::options::HIGH_SPEED_PACKET
    } else {
        FULL_SPEED_PACKET
    };
    let mut bytes = configuration(value, other)?;
    if let Some(byte) = bytes.get_mut(1) {
        *byte = kind::OTHER_SPEED_CONFIGURATION;
    }
    Some(bytes)
}

/// A string descriptor; index 0 is the list of languages: US English. `None` for an index that
/// names nothing.
pub fn string(index: u8, identity: &Identity) -> Option<Vec<u8>> {
    let text = match index {
        0 => return Some(vec![4, kind::STRING, 0x09, 0x04]),
        SERIAL => identity.serial(),
        _ => STRINGS.iter().find(|(i, _)| *i == index).map(|(_, text)| *text)?,
    };
    let mut bytes = vec![0, kind::STRING];
    bytes.extend(text.encode_utf16().flat_map(u16::to_le_bytes));
    let length = u8::try_from(bytes.len()).ok()?;
    if let Some(first) = bytes.first_mut() {
        *first = length;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    /// The descriptors inside a configuration, each checked to be as long as it says.
    fn walk(mut bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut parts = Vec::new();
        while let Some(&length) = bytes.first() {
            let (part, rest) = bytes.split_at(usize::from(length));
            parts.push(part.to_vec());
            bytes = rest;
        }
        parts
    }

    /// bInterfaceNumber, class, subclass, protocol of every alternate 0.
    fn interfaces(value: u8) -> Vec<[u8; 4]> {
        let whole = configuration(value, 512).unwrap();
        let parts = walk(&whole);
        assert_eq!(u16::from_le_bytes([whole[2], whole[3]]) as usize, whole.len());
        for interface in parts.iter().filter(|part| part[1] == 4) {
            let at = parts.iter().position(|part| part == interface).unwrap();
            let following = parts[at + 1..].iter().take_while(|part| part[1] != 4);
            assert_eq!(following.filter(|part| part[1] == 5).count(), usize::from(interface[4]));
        }
        let first = parts.iter().filter(|part| part[1] == 4 && part[3] == 0);
        first.map(|part| [part[2], part[5], part[6], part[7]]).collect()
    }

    #[test]
    fn the_four_configurations_of_an_initial_mode() {
        assert_eq!(interfaces(1), [[0, 6, 1, 1]]);
        assert_eq!(interfaces(2), [[0, 1, 1, 0], [1, 1, 2, 0], [2, 3, 0, 0]]);
        assert_eq!(interfaces(3), [[0, 6, 1, 1], [1, 255, 254, 2]]);
        assert_eq!(interfaces(4), [[0, 6, 1, 1], [1, 255, 254, 2], [2, 255, 253, 1]]);
        assert_eq!(configuration(5, 512), None);
        // Lengths as real phones report them.
        assert_eq!(configuration(1, 512).unwrap().len(), 39);
        assert_eq!(configuration(2, 512).unwrap().len(), 149);
        for value in CONFIGURATIONS {
            assert_eq!(usize::from(configuration(value, 64).unwrap()[4]), interfaces(value).len());
        }
    }

    #[test]
    fn the_mux_endpoints_have_the_packets_of_the_speed() {
        for size in [64_u16, 512, 1024] {
            let parts = walk(&configuration(3, size).unwrap());
            let [low, high] = size.to_le_bytes();
            assert!(parts.contains(&vec![7, 5, 0x04, 2, low, high, 0]));
            assert!(parts.contains(&vec![7, 5, 0x85, 2, low, high, 0]));
        }
        // At super speed each endpoint has a companion: five of them in configuration 3.
        let parts = walk(&configuration(3, 1024).unwrap());
        assert_eq!(parts.iter().filter(|part| part[..2] == [6, 48]).count(), 5);
        assert_eq!((&device(1024)[2..4], device(1024)[7]), (&[0x20, 3][..], 9));
        assert_eq!((&device(512)[2..4], device(512)[7]), (&[0, 2][..], 64));
        let other = other_speed_configuration(3, 512).unwrap();
        assert_eq!(other[1], 7);
        assert!(walk(&other).contains(&vec![7, 5, 0x85, 2, 64, 0, 0]));
    }

    #[test]
    fn the_serial_is_a_string_of_24_characters() {
        let serial = string(SERIAL, &Identity::new(3)).unwrap();
        assert_eq!(serial.len(), 2 + 2 * 24);
        assert_eq!(serial[..4], [50, 3, b'0', 0]);
        assert_eq!(serial[48..], [b'3', 0]);
        assert_eq!(string(200, &Identity::new(3)), None);
        for (index, _) in STRINGS {
            assert!(string(*index, &Identity::new(3)).is_some());
        }
    }
}
