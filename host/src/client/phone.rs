//! What a daemon says about phones and about its listeners.

use plist::{Dictionary, Value};

use super::error::{ClientError, Garbled};
use crate::usb::PhoneInfo;

/// A serial number of this length is a UDID without its hyphen.
const SERIAL_WITHOUT_HYPHEN: usize = 24;

/// Where the hyphen of a UDID stands in that case.
const HYPHEN_AT: usize = 8;

/// A phone as a daemon lists it, or as it is found on USB without one.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Phone {
    /// The daemon's number for it, until it is unplugged.
    pub device_id: u32,
    /// The number by which people and Apple's tools call it, for ever the same.
    pub udid: String,
    /// Its USB serial number as the daemon reports it, without control characters.
    pub serial: String,
    /// Its USB product number; not given for a phone on the network.
    pub product_id: Option<u16>,
    /// Its place: bus << 16 | address; not given for a phone on the network.
    pub location_id: Option<u32>,
    /// The speed of its bus in bit/s; not given by older daemons.
    pub connection_speed: Option<u64>,
    /// `USB`, or `Network` where a daemon looks for phones there.
    pub connection_type: String,
}

impl Phone {
    /// Whether somebody who writes `name` means this phone: hyphens and case make no difference.
    pub fn is_called(&self, name: &str) -> bool {
        same_udid(&self.udid, name)
    }

    /// A phone that is on this machine's USB, and no daemon between.
    pub(crate) fn on_usb(device_id: u32, info: PhoneInfo) -> Self {
        Phone {
            device_id,
            udid: info.serial.clone(),
            serial: info.serial,
            product_id: Some(info.product_id),
            location_id: Some(info.location_id),
            connection_speed: Some(info.speed),
            connection_type: "USB".to_owned(),
        }
    }

    /// Reads an Attached dictionary.
    pub(super) fn from_attached(attached: Option<&Dictionary>) -> Result<Self, ClientError> {
        let attached = attached.ok_or(Garbled::Missing("DeviceList"))?;
        let properties = attached.get("Properties").and_then(Value::as_dictionary);
        let properties = properties.ok_or(Garbled::Missing("Properties"))?;
        let serial = text(properties, "SerialNumber").ok_or(Garbled::Missing("SerialNumber"))?;
        Ok(Phone {
            device_id: device_id(attached)?,
            udid: udid(&serial),
            serial,
            product_id: number(properties, "ProductID").and_then(|id| id.try_into().ok()),
            location_id: number(properties, "LocationID").and_then(|id| id.try_into().ok()),
            connection_speed: number(properties, "ConnectionSpeed"),
            connection_type: text(properties, "ConnectionType").unwrap_or_else(|| "USB".to_owned()),
        })
    }
}

/// Whether two spellings name the same phone: hyphens and case make no difference.
fn same_udid(one: &str, other: &str) -> bool {
    let plain = |udid: &str| udid.replace('-', "").to_ascii_lowercase();
    !one.is_empty() && plain(one) == plain(other)
}

/// A program that listens on a daemon, as the daemon lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listener {
    /// The daemon's name for it: `<number>-<program>`.
    pub id: String,
    /// The program's name for itself.
    pub program: String,
    /// The bundle of a program on a Mac.
    pub bundle_id: Option<String>,
    /// Whether the daemon ignores it.
    pub blacklisted: bool,
    /// The kind of its connection; 0 on every daemon known.
    pub connection_type: u64,
    /// The revision of the plist interface it speaks; 0 is the binary form.
    pub library_version: u64,
}

impl Listener {
    pub(super) fn from_entry(entry: Option<&Dictionary>) -> Result<Self, ClientError> {
        let entry = entry.ok_or(Garbled::Missing("ListenerList"))?;
        Ok(Listener {
            id: text(entry, "ID String").ok_or(Garbled::Missing("ID String"))?,
            program: text(entry, "ProgName").unwrap_or_else(|| "unknown".to_owned()),
            bundle_id: text(entry, "BundleID"),
            blacklisted: entry.get("Blacklisted").and_then(Value::as_boolean).unwrap_or_default(),
            connection_type: number(entry, "ConnType").unwrap_or_default(),
            library_version: number(entry, "kLibUSBMuxVersion").unwrap_or_default(),
        })
    }
}

pub(super) fn device_id(event: &Dictionary) -> Result<u32, ClientError> {
    let id = number(event, "DeviceID").and_then(|id| id.try_into().ok());
    Ok(id.ok_or(Garbled::Missing("DeviceID"))?)
}

fn number(dictionary: &Dictionary, key: &str) -> Option<u64> {
    dictionary.get(key)?.as_unsigned_integer()
}

/// A text without what could move a terminal's cursor: phones pad with NULs, and a program or a
/// phone may call itself anything.
fn text(dictionary: &Dictionary, key: &str) -> Option<String> {
    let text = dictionary.get(key)?.as_string()?;
    Some(text.chars().filter(|char| !char.is_control()).collect())
}

fn udid(serial: &str) -> String {
    match serial.split_at_checked(HYPHEN_AT) {
        Some((front, back)) if serial.len() == SERIAL_WITHOUT_HYPHEN && !serial.contains('-') => {
            format!("{front}-{back}")
        }
        _ => serial.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
    use super::*;

    fn attached(properties: &[(&str, Value)]) -> Dictionary {
        let properties: Dictionary =
            properties.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        let mut event = Dictionary::new();
        event.insert("DeviceID".into(), 7.into());
        event.insert("Properties".into(), Value::Dictionary(properties));
        event
    }

    #[test]
    fn a_serial_number_becomes_a_udid() {
        let old = "0123456789abcdef0123456789abcdef01234567";
        assert_eq!(udid(old), old);
        assert_eq!(udid("000080300000000000000001"), "00008030-0000000000000001");
        assert_eq!(udid("00008030-0000000000000001"), "00008030-0000000000000001");
        assert_eq!(udid("0000803-0000000000000001"), "0000803-0000000000000001");
        assert_eq!(udid(""), "");
    }

    #[test]
    fn hyphens_and_case_of_a_name_make_no_difference() {
        let event = attached(&[("SerialNumber", "00008030-00000000000000AB".into())]);
        let phone = Phone::from_attached(Some(&event)).unwrap();
        assert!(phone.is_called("00008030-00000000000000AB"));
        assert!(phone.is_called("0000803000000000000000ab"));
        assert!(!phone.is_called("00008030-00000000000000AC"));
        assert!(!phone.is_called(""));
    }

    #[test]
    fn padding_and_escape_sequences_of_a_serial_number_are_dropped() {
        let event = attached(&[("SerialNumber", "0000\u{1b}[2J8030\0\0".into())]);
        assert_eq!(Phone::from_attached(Some(&event)).unwrap().serial, "0000[2J8030");
    }

    #[test]
    fn what_a_phone_on_the_network_lacks_is_not_made_up() {
        let event = attached(&[("SerialNumber", "1".into()), ("ConnectionType", "Network".into())]);
        let phone = Phone::from_attached(Some(&event)).unwrap();
        assert_eq!(
            (phone.product_id, phone.location_id, phone.connection_speed),
            (None, None, None)
        );
        assert_eq!(phone.connection_type, "Network");
    }

    #[test]
    fn a_phone_without_number_or_serial_is_garbled() {
        let missing = |event: &Dictionary| Phone::from_attached(Some(event)).unwrap_err();
        let no_serial = missing(&attached(&[]));
        assert!(matches!(no_serial, ClientError::Garbled(Garbled::Missing("SerialNumber"))));
        let mut event = attached(&[("SerialNumber", "1".into())]);
        event.insert("DeviceID".into(), (u64::from(u32::MAX) + 1).into());
        assert!(matches!(missing(&event), ClientError::Garbled(Garbled::Missing("DeviceID"))));
        event.remove("Properties");
        assert!(matches!(missing(&event), ClientError::Garbled(Garbled::Missing("Properties"))));
    }
}
