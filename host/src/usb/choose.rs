//! Choosing: is this device a phone, which of its configurations do we want, and where in it is the
//! mux interface. The descriptors are read in [`usbmux_core::descriptors`]; here is what a host with
//! an allocator adds.

pub use usbmux_core::descriptors::{
    BulkEndpoint, MuxInterface, USUAL_HIGHEST, VENDOR_ID, is_phone, location_id,
};

use usbmux_core::descriptors;

/// Chooses among a phone's configurations, given as their descriptors and what follows each: see
/// [`descriptors::Choice`]. `active` is the value of the active one, 0 for none; `None` if none has
/// the mux interface.
pub fn choose<'d>(
    configurations: impl IntoIterator<Item = &'d [u8]>,
    active: u8,
    highest: u8,
) -> Option<MuxInterface> {
    let mut choice = descriptors::Choice::new(active, highest);
    configurations.into_iter().for_each(|configuration| choice.consider(configuration));
    choice.chosen()
}

/// Lists the numbers of a configuration's interfaces, each once.
pub fn interfaces(configuration: &[u8]) -> Vec<u8> {
    let mut numbers: Vec<u8> = descriptors::interfaces(configuration).collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

/// Turns a USB serial number into the UDID: see [`descriptors::udid`]. `None` if nothing is left.
pub fn udid(serial: &str) -> Option<String> {
    let udid: String = descriptors::udid(serial).collect();
    (!udid.is_empty()).then_some(udid)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn interfaces_are_listed_once() {
        // Configuration 1: interface 3 with two alternate settings, then interface 2.
        let head = [9, 2, 36, 0, 2, 1, 0, 0xc0, 50];
        let interface = |number, alternate| [9, 4, number, alternate, 0, 0xff, 0, 0, 0];
        let parts = [head, interface(3, 0), interface(3, 1), interface(2, 0)];
        assert_eq!(interfaces(parts.as_flattened()), [2, 3]);
        assert!(interfaces(&[]).is_empty());
    }

    #[test]
    fn nothing_but_padding_is_no_udid() {
        assert_eq!(udid("0123\0"), Some("0123".to_owned()));
        assert_eq!(udid("\0\0 \n"), None);
    }

    #[cfg(feature = "simulate")]
    #[test]
    fn virtual_phone_is_a_phone_too() {
        use usbmux_phone::descriptors;
        let device = descriptors::device(512);
        let number = |at: usize| u16::from_le_bytes([device[at], device[at + 1]]);
        assert!(is_phone(number(8), number(10)));
        for max_packet in [64, 512, 1024] {
            let all: Vec<_> = descriptors::CONFIGURATIONS
                .map(|value| descriptors::configuration(value, max_packet).unwrap())
                .into();
            for (active, expected) in [(0, 4), (1, 4), (2, 4), (3, 3), (4, 4)] {
                let mux = choose(all.iter().map(Vec::as_slice), active, USUAL_HIGHEST).unwrap();
                assert_eq!(mux.configuration, expected);
                assert_eq!(
                    mux.bulk_out,
                    BulkEndpoint { address: descriptors::MUX_OUT, max_packet }
                );
                assert_eq!(mux.bulk_in, BulkEndpoint { address: descriptors::MUX_IN, max_packet });
            }
        }
    }

    /// Whether one of udev's patterns, `a|b`, matches: `?` is any character, `[...]` one of a set.
    fn udev_matches(patterns: &str, text: &str) -> bool {
        fn one(pattern: &[u8], text: &[u8]) -> bool {
            match (pattern, text) {
                ([], []) => true,
                ([b'?', pattern @ ..], [_, text @ ..]) => one(pattern, text),
                ([b'[', rest @ ..], [first, text @ ..]) => {
                    let end = rest.iter().position(|byte| *byte == b']').unwrap();
                    let (set, rest) = (&rest[..end], &rest[end + 1..]);
                    let fits = match set {
                        [low, b'-', high] => (low..=high).contains(&first),
                        _ => set.contains(first),
                    };
                    fits && one(rest, text)
                }
                ([same, pattern @ ..], [first, text @ ..]) => same == first && one(pattern, text),
                _ => false,
            }
        }
        patterns.split('|').any(|pattern| one(pattern.as_bytes(), text.as_bytes()))
    }

    #[test]
    fn packaged_udev_rules_name_the_same_devices() {
        for (rules, operator) in [
            (include_str!("../../packaging/udev/39-umuxd.rules"), "!="),
            (include_str!("../../packaging/udev/40-umuxd-without-systemd.rules"), "=="),
        ] {
            let value = |key: &str| {
                let (_, rest) = rules.split_once(&format!("ATTR{{{key}}}{operator}\"")).unwrap();
                rest.split_once('"').unwrap().0
            };
            assert_eq!(value("idVendor"), "05ac");
            for product_id in 0..=u16::MAX {
                let named = udev_matches(value("idProduct"), &format!("{product_id:04x}"));
                assert_eq!(named, is_phone(VENDOR_ID, product_id), "{product_id:#06x}");
            }
        }
    }
}
