//! The bodies of binary messages, to and from fixed arrays.
//!
//! Little-endian but for the port of a Connect, which is in network order. Plist messages have
//! no records.

use super::header::{HEADER_LEN, Header, MessageKind, ResultCode};

/// Length of a Connect's body.
pub const CONNECT_LEN: usize = 8;
/// Length of a Result's body.
pub const RESULT_LEN: usize = 4;
/// Length of a DeviceAdd's body.
pub const DEVICE_ADD_LEN: usize = 268;
/// Length of the body of a DeviceRemove or DevicePaired.
pub const DEVICE_LEN: usize = 4;
/// Length of the serial number's field in a DeviceAdd, its closing NUL included.
pub const SERIAL_LEN: usize = 256;

/// Holds the body of a Connect.
///
/// ```text
///  0           4                   6          8
///  | device id | port (big-endian) | reserved |
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Connect {
    /// The daemon's number for the phone.
    pub device_id: u32,
    /// The port, as the phone counts it.
    pub port: u16,
    /// 0 with every client seen.
    pub reserved: u16,
}

impl Connect {
    /// Reads the body of a Connect.
    pub fn parse(bytes: &[u8; CONNECT_LEN]) -> Self {
        let (device_id, rest) = take(bytes);
        let (port, rest) = take(rest);
        let (reserved, _) = take(rest);
        Self {
            device_id: u32::from_le_bytes(device_id),
            port: u16::from_be_bytes(port),
            reserved: u16::from_le_bytes(reserved),
        }
    }

    /// Writes the body of a Connect.
    pub fn emit(&self) -> [u8; CONNECT_LEN] {
        let mut bytes = [0; CONNECT_LEN];
        let rest = put(&mut bytes, self.device_id.to_le_bytes());
        let rest = put(rest, self.port.to_be_bytes());
        put(rest, self.reserved.to_le_bytes());
        bytes
    }
}

/// Holds the body of a DeviceAdd, packed.
///
/// ```text
///  0           4            6              262       264        268
///  | device id | product id | serial (256) | padding | location |
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct DeviceAdd<'a> {
    /// The daemon's number for the phone.
    pub device_id: u32,
    /// The product id of the USB device.
    pub product_id: u16,
    /// The serial number without its NULs; 255 bytes of it fit.
    pub serial: &'a [u8],
    /// Bus number × 65536 + address.
    pub location: u32,
}

impl<'a> DeviceAdd<'a> {
    /// Reads the body of a DeviceAdd.
    pub fn parse(bytes: &'a [u8; DEVICE_ADD_LEN]) -> Self {
        let (device_id, rest) = take(bytes);
        let (product_id, rest) = take(rest);
        let (field, rest) = rest.split_at_checked(SERIAL_LEN).unwrap_or((&[], rest));
        let (_padding, rest) = take::<2>(rest);
        let (location, _) = take(rest);
        Self {
            device_id: u32::from_le_bytes(device_id),
            product_id: u16::from_le_bytes(product_id),
            serial: field.split(|&byte| byte == 0).next().unwrap_or(&[]),
            location: u32::from_le_bytes(location),
        }
    }

    /// Writes the body of a DeviceAdd; a longer serial number is cut.
    pub fn emit(&self) -> [u8; DEVICE_ADD_LEN] {
        let mut serial = [0; SERIAL_LEN];
        for (to, &from) in serial.iter_mut().zip(self.serial.iter().take(SERIAL_LEN - 1)) {
            *to = from;
        }
        let mut bytes = [0; DEVICE_ADD_LEN];
        let rest = put(&mut bytes, self.device_id.to_le_bytes());
        let rest = put(rest, self.product_id.to_le_bytes());
        let rest = put(rest, serial);
        let rest = put(rest, [0; 2]);
        put(rest, self.location.to_le_bytes());
        bytes
    }
}

/// Writes a whole Result message.
pub fn result(tag: u32, code: ResultCode) -> [u8; HEADER_LEN + RESULT_LEN] {
    let mut bytes = [0; HEADER_LEN + RESULT_LEN];
    let rest = put(&mut bytes, Header::new(0, MessageKind::Result, tag, RESULT_LEN).emit());
    put(rest, code.0.to_le_bytes());
    bytes
}

/// Reads the body of a Result.
pub fn parse_result(body: &[u8; RESULT_LEN]) -> ResultCode {
    ResultCode(u32::from_le_bytes(*body))
}

/// Writes a whole DeviceAdd message, which is an event: its tag is 0.
pub fn device_add(device: &DeviceAdd<'_>) -> [u8; HEADER_LEN + DEVICE_ADD_LEN] {
    let mut bytes = [0; HEADER_LEN + DEVICE_ADD_LEN];
    let rest = put(&mut bytes, Header::new(0, MessageKind::DeviceAdd, 0, DEVICE_ADD_LEN).emit());
    put(rest, device.emit());
    bytes
}

/// Writes a whole DeviceRemove message, an event.
pub fn device_remove(device_id: u32) -> [u8; HEADER_LEN + DEVICE_LEN] {
    device_event(MessageKind::DeviceRemove, device_id)
}

/// Writes a whole DevicePaired message, an event.
pub fn device_paired(device_id: u32) -> [u8; HEADER_LEN + DEVICE_LEN] {
    device_event(MessageKind::DevicePaired, device_id)
}

/// Reads the body of a DeviceRemove or DevicePaired: the phone's number.
pub fn parse_device(body: &[u8; DEVICE_LEN]) -> u32 {
    u32::from_le_bytes(*body)
}

fn device_event(kind: MessageKind, device_id: u32) -> [u8; HEADER_LEN + DEVICE_LEN] {
    let mut bytes = [0; HEADER_LEN + DEVICE_LEN];
    let rest = put(&mut bytes, Header::new(0, kind, 0, DEVICE_LEN).emit());
    put(rest, device_id.to_le_bytes());
    bytes
}

/// Copies the first `N` bytes out of `from`; zeros if it is shorter, which no caller lets happen.
pub(super) fn take<const N: usize>(from: &[u8]) -> ([u8; N], &[u8]) {
    match from.split_first_chunk() {
        Some((head, rest)) => (*head, rest),
        None => ([0; N], &[]),
    }
}

/// Copies `bytes` to the front of `to`, nothing if it is shorter, which no caller lets happen.
pub(super) fn put<const N: usize>(to: &mut [u8], bytes: [u8; N]) -> &mut [u8] {
    match to.split_first_chunk_mut() {
        Some((head, rest)) => {
            *head = bytes;
            rest
        }
        None => &mut [],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connect_has_its_port_in_network_order() {
        // As libusbmuxd sent it for device 1, port 22.
        let bytes = [0x01, 0, 0, 0, 0x00, 0x16, 0, 0];
        let connect = Connect { device_id: 1, port: 22, reserved: 0 };
        assert_eq!(Connect::parse(&bytes), connect);
        assert_eq!(connect.emit(), bytes);

        // As pymobiledevice3 sent it for port 62078.
        let bytes = [0x01, 0, 0, 0, 0xf2, 0x7e, 0, 0];
        assert_eq!(Connect::parse(&bytes).port, 62078);
    }

    #[test]
    fn result_is_twenty_bytes() {
        let bytes = [20, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 5, 0, 0, 0, 2, 0, 0, 0];
        assert_eq!(result(5, ResultCode::BAD_DEVICE), bytes);
        assert_eq!(parse_result(&[6, 0, 0, 0]), ResultCode::BAD_VERSION);
    }

    #[test]
    fn device_add_is_packed_into_268_bytes() {
        let device = DeviceAdd {
            device_id: 0x0403_0201,
            product_id: 0x12a8,
            serial: b"00008030-0000000000000001",
            location: 0x0001_0002,
        };
        let bytes = device.emit();
        assert_eq!(bytes[..6], [1, 2, 3, 4, 0xa8, 0x12]);
        assert_eq!(bytes[6..31], *b"00008030-0000000000000001");
        assert!(bytes[31..264].iter().all(|&byte| byte == 0));
        assert_eq!(bytes[264..], [2, 0, 1, 0]);
        assert_eq!(DeviceAdd::parse(&bytes), device);

        let message = device_add(&device);
        assert_eq!(message[..16], [28, 1, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(message[16..], bytes);
    }

    #[test]
    fn serial_keeps_room_for_its_nul() {
        for length in [254, 255, 256, 300] {
            let serial = [b'x'; 300];
            let device = DeviceAdd {
                device_id: 1,
                product_id: 0,
                serial: &serial[..length],
                location: u32::MAX,
            };
            let bytes = device.emit();
            let kept = length.min(255);
            assert_eq!(DeviceAdd::parse(&bytes).serial, &serial[..kept]);
            assert_eq!(DeviceAdd::parse(&bytes).location, u32::MAX);
            assert_eq!(bytes[261], 0);
        }
        let full = [0xff; DEVICE_ADD_LEN];
        assert_eq!(DeviceAdd::parse(&full).serial.len(), 256);
    }

    #[test]
    fn device_events_carry_the_number_and_no_tag() {
        let bytes = [20, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0];
        assert_eq!(device_remove(7), bytes);
        let bytes = [20, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0, 7, 1, 0, 0];
        assert_eq!(device_paired(0x107), bytes);
        assert_eq!(parse_device(&[7, 1, 0, 0]), 0x107);
    }
}
