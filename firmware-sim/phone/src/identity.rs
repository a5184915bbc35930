//! Who the phone is: serial, UDID and the names that programs show.

/// Length of a new phone's serial, in characters; the UDID has a hyphen after the eighth.
const SERIAL_CHARS: usize = 24;
/// The chip's part of the serial, as phones of the A12 generation have it.
const CHIP: &str = "00008030";

/// The identity of one virtual phone, computed from its number alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    number: u32,
    serial: String,
}

impl Identity {
    /// The identity of phone `number`.
    pub fn new(number: u32) -> Self {
        let serial = format!("{CHIP}{number:016X}");
        debug_assert_eq!(serial.len(), SERIAL_CHARS);
        Identity { number, serial }
    }

    /// The phone's number.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// The serial as the USB string has it: 24 hexadecimal digits.
    #[doc(alias = "iSerialNumber")]
    pub fn serial(&self) -> &str {
        &self.serial
    }

    /// The serial as programs name the phone: a hyphen after the eighth digit.
    #[doc(alias = "UniqueDeviceID")]
    pub fn udid(&self) -> String {
        let (chip, rest) = self.serial.split_at(CHIP.len());
        format!("{chip}-{rest}")
    }

    /// What its owner calls it.
    pub fn device_name(&self) -> String {
        format!("Virtual Phone {}", self.number)
    }

    /// The address of its Wi-Fi card: locally administered, and different for each phone.
    pub fn wifi_address(&self) -> String {
        let [a, b, c, d] = self.number.to_be_bytes();
        format!("02:1a:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_ends_the_serial_in_hexadecimal() {
        let tenth = Identity::new(10);
        assert_eq!(tenth.serial(), "00008030000000000000000A");
        assert_eq!(tenth.udid(), "00008030-000000000000000A");
        assert_eq!(tenth.device_name(), "Virtual Phone 10");
        assert_eq!(Identity::new(u32::MAX).serial(), "0000803000000000FFFFFFFF");
    }
}
