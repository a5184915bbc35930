//! What phones say of themselves, as commented hex after PROTOCOL §1 and the specifications of USB
//! 2.0, still images 1.0, audio 1.0, HID 1.11 and NCM 1.0; and the same, damaged.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

extern crate std;

use super::*;
use std::borrow::ToOwned;
use std::collections::BTreeSet;
use std::format;
use std::string::String;
use std::vec;
use std::vec::Vec;

/// Bytes from hex; a `#` begins a comment.
fn hex(text: &str) -> Vec<u8> {
    let code = text.lines().map(|line| line.split('#').next().unwrap());
    let bytes = code.flat_map(str::split_whitespace);
    bytes.map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
}

const PTP: &str = "
    09 04 00 00 03 06 01 01 0e  # interface 0, 3 endpoints, still images
    07 05 81 02 00 02 00        # EP 1 IN, bulk, 512
    07 05 02 02 00 02 00        # EP 2 OUT, bulk, 512
    07 05 83 03 40 00 0a        # EP 3 IN, interrupt, 64
";
const MUX_AT_1: &str = "
    09 04 01 00 02 ff fe 02 0f  # interface 1, 2 endpoints, Apple's mux
    07 05 04 02 00 02 00        # EP 4 OUT, bulk, 512
    07 05 85 02 00 02 00        # EP 5 IN, bulk, 512
";
const APPLE_ETHERNET: &str = "
    09 04 02 00 00 ff fd 01 10  # interface 2, alternate 0: no endpoint
    09 04 02 01 02 ff fd 01 10  # interface 2, alternate 1: 2 endpoints
    07 05 86 02 00 02 00        # EP 6 IN, bulk
    07 05 05 02 00 02 00        # EP 5 OUT, bulk
";
const AUDIO_AND_HID: &str = "
    09 04 00 00 00 01 01 00 00           # interface 0: audio control
    09 24 01 00 01 1e 00 01 01           # header: 30 bytes in all, streams on interface 1
    0c 24 02 01 01 02 00 02 03 00 00 00  # input terminal 1: microphone, stereo
    09 24 03 02 01 01 00 01 00           # output terminal 2: USB, from terminal 1
    09 04 01 00 00 01 02 00 00           # interface 1, alternate 0: audio stream, silent
    09 04 01 01 01 01 02 00 00           # interface 1, alternate 1: 1 endpoint
    07 24 01 02 01 01 00                 # terminal 2, PCM
    0b 24 02 01 02 02 10 01 44 ac 00     # stereo, 16 bit, 44100 Hz
    09 05 81 01 c0 00 04 00 00           # EP 1 IN, isochronous, 192
    07 25 01 01 00 00 00                 # its rate can be set
    09 04 02 00 01 03 00 00 00           # interface 2: HID
    09 21 11 01 00 01 22 60 00           # HID 1.11, a report descriptor of 96 bytes
    07 05 83 03 40 00 01                 # EP 3 IN, interrupt, 64
";
const VALERIA: &str = "
    09 04 02 00 02 ff 2a ff 00  # interface 2: screen mirroring
    07 05 86 02 00 02 00        # EP 6 IN, bulk
    07 05 05 02 00 02 00        # EP 5 OUT, bulk
";
const CDC_NCM: &str = "
    08 0b 02 02 02 0d 00 00                 # interfaces 2 and 3 belong together
    09 04 02 00 01 02 0d 00 00              # interface 2: communication, NCM
    05 24 00 10 01                          # header: CDC 1.10
    05 24 06 02 03                          # union: 2 controls 3
    0d 24 0f 12 00 00 00 00 ea 05 00 00 00  # Ethernet: MAC in string 18, 1514 bytes
    06 24 1a 00 01 20                       # NCM 1.0
    07 05 87 03 10 00 09                    # EP 7 IN, interrupt, 16
    09 04 03 00 00 0a 00 01 00              # interface 3, alternate 0: data, none
    09 04 03 01 02 0a 00 01 00              # interface 3, alternate 1: data
    07 05 88 02 00 02 00                    # EP 8 IN, bulk
    07 05 06 02 00 02 00                    # EP 6 OUT, bulk
";

/// Configuration 1 of the initial mode.
fn pictures() -> Vec<u8> {
    hex(&["09 02 27 00 01 01 05 c0 fa", PTP].join("\n"))
}

/// Configuration 2 of the initial mode.
fn accessory() -> Vec<u8> {
    hex(&["09 02 7d 00 03 02 06 c0 fa", AUDIO_AND_HID].join("\n"))
}

/// Configuration 3 of the initial mode.
fn pictures_and_mux() -> Vec<u8> {
    hex(&["09 02 3e 00 02 03 07 c0 fa", PTP, MUX_AT_1].join("\n"))
}

/// Configuration 4 of the initial mode.
fn tethering() -> Vec<u8> {
    hex(&["09 02 5e 00 03 04 08 c0 fa", PTP, MUX_AT_1, APPLE_ETHERNET].join("\n"))
}

/// Configuration 5 of the mode for screen mirroring.
fn mirroring() -> Vec<u8> {
    hex(&["09 02 55 00 03 05 09 c0 fa", PTP, MUX_AT_1, VALERIA].join("\n"))
}

/// Configuration 5 of the mode with a network.
fn network() -> Vec<u8> {
    hex(&["09 02 93 00 04 05 0a c0 fa", PTP, MUX_AT_1, CDC_NCM].join("\n"))
}

/// The one configuration of the mode with nothing but a network.
fn network_alone() -> Vec<u8> {
    hex(&["09 02 5e 00 02 01 0a c0 fa", CDC_NCM].join("\n"))
}

fn everything() -> [Vec<u8>; 7] {
    let initial = [pictures(), accessory(), pictures_and_mux(), tethering()];
    let [one, two, three, four] = initial;
    [one, two, three, four, mirroring(), network(), network_alone()]
}

fn initial_mode() -> Vec<Vec<u8>> {
    vec![pictures(), accessory(), pictures_and_mux(), tethering()]
}

fn chosen(configurations: &[Vec<u8>], active: u8, highest: u8) -> Option<u8> {
    let mut choice = Choice::new(active, highest);
    configurations.iter().for_each(|configuration| choice.consider(configuration));
    choice.chosen().map(|mux| mux.configuration)
}

/// The mux interface as phones have it today, in one configuration.
fn mux_at_1(configuration: u8) -> MuxInterface {
    MuxInterface {
        configuration,
        number: 1,
        bulk_out: BulkEndpoint { address: 0x04, max_packet: 512 },
        bulk_in: BulkEndpoint { address: 0x85, max_packet: 512 },
    }
}

/// Replaces the one place where `from` stands.
fn edit(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    let (from, to) = (hex(from), hex(to));
    let places: Vec<_> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(&from)).collect();
    let [at] = places[..] else { panic!("{from:02x?} at {places:?}") };
    let mut edited = bytes.to_vec();
    edited.splice(at..at + from.len(), to);
    let total = u16::try_from(edited.len()).unwrap().to_le_bytes();
    edited[2..4].copy_from_slice(&total);
    edited
}

#[test]
fn descriptors_of_these_tests_are_well_formed() {
    for bytes in everything() {
        assert_eq!(usize::from(u16::from_le_bytes([bytes[2], bytes[3]])), bytes.len());
        assert_eq!(descriptors(&bytes).map(<[u8]>::len).sum::<usize>(), bytes.len());
        let numbers: BTreeSet<u8> = interfaces(&bytes).collect();
        assert_eq!(numbers.len(), usize::from(bytes[4]));
    }
}

#[test]
fn phones_are_known_by_vendor_and_product() {
    for product in [0x1290, 0x12a8, 0x12af, 0x1901, 0x1905, 0x8600] {
        assert!(is_phone(0x05ac, product), "{product:#x}");
        assert!(!is_phone(0x05ad, product));
    }
    // A keyboard, a phone in recovery, and both sides of every edge.
    for product in [0x0250, 0x1281, 0x128f, 0x12b0, 0x1900, 0x1906, 0x85ff, 0x8601, 0] {
        assert!(!is_phone(0x05ac, product), "{product:#x}");
    }
}

#[test]
fn mux_interface_is_found_in_the_configurations_that_have_it() {
    assert_eq!(MuxInterface::find(&pictures()), None);
    assert_eq!(MuxInterface::find(&accessory()), None);
    assert_eq!(MuxInterface::find(&pictures_and_mux()), Some(mux_at_1(3)));
    assert_eq!(MuxInterface::find(&tethering()), Some(mux_at_1(4)));
    assert_eq!(MuxInterface::find(&mirroring()), Some(mux_at_1(5)));
    assert_eq!(MuxInterface::find(&network()), Some(mux_at_1(5)));
    assert_eq!(MuxInterface::find(&network_alone()), None);
}

#[test]
fn initial_mode_leads_to_number_4() {
    assert_eq!(chosen(&initial_mode(), 0, USUAL_HIGHEST), Some(4));
    assert_eq!(chosen(&initial_mode(), 1, USUAL_HIGHEST), Some(4));
    assert_eq!(chosen(&initial_mode(), 2, USUAL_HIGHEST), Some(4));
}

#[test]
fn active_configuration_with_mux_is_never_left() {
    assert_eq!(chosen(&initial_mode(), 3, USUAL_HIGHEST), Some(3));
    assert_eq!(chosen(&initial_mode(), 4, USUAL_HIGHEST), Some(4));
    for five in [mirroring(), network()] {
        let extended = [initial_mode(), vec![five]].concat();
        for active in 3..=5 {
            assert_eq!(chosen(&extended, active, USUAL_HIGHEST), Some(active));
            assert_eq!(chosen(&extended, active, u8::MAX), Some(active));
        }
    }
}

#[test]
fn number_5_is_chosen_only_when_asked_for() {
    for five in [mirroring(), network()] {
        let extended = [initial_mode(), vec![five]].concat();
        for active in 0..=2 {
            assert_eq!(chosen(&extended, active, USUAL_HIGHEST), Some(4));
            assert_eq!(chosen(&extended, active, 5), Some(5));
        }
    }
}

#[test]
fn order_and_values_of_configurations_do_not_matter() {
    let mut backwards = initial_mode();
    backwards.reverse();
    assert_eq!(chosen(&backwards, 1, USUAL_HIGHEST), Some(4));
    let renumbered = |value: u8| edit(&tethering(), "03 04 08", &format!("03 {value:02x} 08"));
    assert_eq!(chosen(&[pictures(), renumbered(2)], 1, USUAL_HIGHEST), Some(2));
    // Above the usual highest there is only what there is: the least of it.
    let high = [renumbered(9), renumbered(7), renumbered(0xff), pictures()];
    assert_eq!(chosen(&high, 1, USUAL_HIGHEST), Some(7));
    assert_eq!(chosen(&high, 1, 8), Some(7));
    assert_eq!(chosen(&high, 1, 9), Some(9));
    assert_eq!(chosen(&high, 9, USUAL_HIGHEST), Some(9));
}

#[test]
fn phone_without_mux_has_no_choice() {
    assert_eq!(chosen(&[network_alone()], 1, USUAL_HIGHEST), None);
    assert_eq!(chosen(&[pictures(), accessory()], 1, u8::MAX), None);
    assert_eq!(chosen(&[], 0, USUAL_HIGHEST), None);
}

#[test]
fn class_subclass_and_protocol_all_count() {
    // "or" instead of "and" would take Apple's Ethernet, Valeria, or anybody's vendor class.
    for other in ["ff fe 01", "ff fd 02", "fe fe 02", "ff ff 02", "ff 2a ff", "06 01 01"] {
        let bytes = edit(&pictures_and_mux(), "ff fe 02", other);
        assert_eq!(MuxInterface::find(&bytes), None, "{other}");
    }
}

#[test]
fn endpoints_may_stand_in_either_order_and_have_any_number() {
    let endpoints = "07 05 04 02 00 02 00 07 05 85 02 00 02 00";
    let swapped = edit(&tethering(), endpoints, "07 05 8f 02 00 02 00 07 05 01 02 00 02 00");
    let mux = MuxInterface::find(&swapped).unwrap();
    assert_eq!((mux.bulk_out.address, mux.bulk_in.address), (0x01, 0x8f));
}

#[test]
fn anything_but_one_bulk_out_and_one_bulk_in_is_no_mux() {
    let out = "07 05 04 02 00 02 00";
    for (why, endpoint) in [
        ("both IN", "07 05 84 02 00 02 00"),
        ("interrupt", "07 05 04 03 00 02 00"),
        ("isochronous", "07 05 04 01 00 02 00"),
        ("control", "07 05 04 00 00 02 00"),
        ("endpoint 0", "07 05 00 02 00 02 00"),
        ("reserved bits in the address", "07 05 14 02 00 02 00"),
        ("no packets", "07 05 04 02 00 00 00"),
        ("a packet size that bulk never has", "07 05 04 02 ff 01 00"),
        ("a descriptor too short", "06 05 04 02 00 02"),
        ("missing", ""),
        ("a third one", "07 05 04 02 00 02 00 07 05 06 02 00 02 00"),
    ] {
        let bytes = edit(&pictures_and_mux(), out, endpoint);
        assert_eq!(MuxInterface::find(&bytes), None, "{why}");
    }
    for count in ["00", "01", "03"] {
        let head = format!("09 04 01 00 {count} ff");
        let bytes = edit(&pictures_and_mux(), "09 04 01 00 02 ff", &head);
        assert_eq!(MuxInterface::find(&bytes), None, "{count} endpoints promised");
    }
    let alternate = edit(&pictures_and_mux(), "09 04 01 00 02", "09 04 01 01 02");
    assert_eq!(MuxInterface::find(&alternate), None, "not in force");
}

#[test]
fn a_later_mux_interface_counts_when_an_earlier_one_is_none() {
    let broken = "09 04 01 00 02 ff fe 02 0f 07 05 84 02 00 02 00 07 05 85 02 00 02 00";
    let bytes = edit(&pictures_and_mux(), "09 04 01 00", &format!("{broken} 09 04 02 00"));
    let mux = MuxInterface::find(&bytes).unwrap();
    assert_eq!((mux.number, mux.bulk_out.address), (2, 0x04));
}

#[test]
fn packet_size_is_the_descriptors_at_every_speed() {
    for (size, bytes) in [(64, "40 00"), (512, "00 02"), (1024, "00 04")] {
        // At super speed a companion (type 30) stands behind each endpoint.
        let companion = if size == 1024 { "06 30 0f 00 00 00" } else { "" };
        let out = format!("07 05 04 02 {bytes} 00 {companion}");
        let input = format!("07 05 85 02 {bytes} 00 {companion}");
        let edited = edit(&tethering(), "07 05 04 02 00 02 00", &out);
        let edited = edit(&edited, "07 05 85 02 00 02 00", &input);
        let mux = MuxInterface::find(&edited).unwrap();
        assert_eq!((mux.bulk_out.max_packet, mux.bulk_in.max_packet), (size, size));
    }
}

#[test]
fn unconfigured_is_no_configuration() {
    let zero = edit(&tethering(), "03 04 08", "03 00 08");
    assert_eq!(MuxInterface::find(&zero), None);
    assert_eq!(interfaces(&zero).next(), None);
}

#[test]
fn interfaces_are_listed_by_alternate_setting() {
    let listed = |bytes: &[u8]| interfaces(bytes).collect::<Vec<_>>();
    assert_eq!(listed(&accessory()), [0, 1, 1, 2]);
    assert_eq!(listed(&tethering()), [0, 1, 2, 2]);
    assert_eq!(listed(&network_alone()), [2, 3, 3]);
    assert_eq!(listed(&[]), []);
}

/// Fails unless what was found stands in these bytes, looked for without walking them.
fn assert_is_there(bytes: &[u8], found: MuxInterface) {
    let MuxInterface { configuration, number, bulk_out, bulk_in } = found;
    assert_eq!(bytes[5], configuration);
    let interface = [4, number, 0, 2, 0xff, 0xfe, 0x02];
    assert!(bytes.windows(7).any(|window| window == interface));
    for (endpoint, direction) in [(bulk_out, 0x00), (bulk_in, 0x80)] {
        assert_eq!(endpoint.address & 0x80, direction);
        assert_ne!(endpoint.address & 0x0f, 0);
        assert!([8, 16, 32, 64, 512, 1024].contains(&endpoint.max_packet));
        assert!(bytes.windows(5).any(|window| {
            window[..2] == [5, endpoint.address]
                && window[2] & 3 == 2
                && u16::from_le_bytes([window[3], window[4]]) & 0x7ff == endpoint.max_packet
        }));
    }
}

#[test]
fn every_truncation_is_survived() {
    for bytes in everything() {
        for length in 0..bytes.len() {
            let cut = &bytes[..length];
            interfaces(cut).count();
            if let Some(found) = MuxInterface::find(cut) {
                assert_is_there(cut, found);
            }
        }
    }
    // 62 bytes are all that matter of number 4: one less, and its IN endpoint is cut short.
    assert_eq!(MuxInterface::find(&tethering()[..62]), Some(mux_at_1(4)));
    assert_eq!(MuxInterface::find(&tethering()[..61]), None);
}

#[test]
fn every_single_changed_byte_is_survived() {
    for original in everything() {
        for at in 0..original.len() {
            for change in 1..=u8::MAX {
                let mut bytes = original.clone();
                bytes[at] ^= change;
                interfaces(&bytes).count();
                if let Some(found) = MuxInterface::find(&bytes) {
                    assert_is_there(&bytes, found);
                }
            }
        }
    }
}

fn shown(serial: &str) -> String {
    udid(serial).collect()
}

#[test]
fn only_a_serial_of_24_characters_gets_the_hyphen() {
    let old = "0123456789012345678901234567890123456789";
    assert_eq!(shown(old), old);
    assert_eq!(shown("000080300000000000000001"), "00008030-0000000000000001");
    assert_eq!(shown("00008030000000000000001"), "00008030000000000000001");
}

#[test]
fn padding_of_a_serial_goes_away() {
    let expected = "00008030-0000000000000001".to_owned();
    assert_eq!(shown("000080300000000000000001\0\0\0\0\0"), expected);
    assert_eq!(shown("\u{1}000080300000000000000001 \r\n\u{7f}"), expected);
    assert_eq!(shown("\u{1} 00008030\u{2}0000000000000001\0 \0"), expected);
    assert_eq!(shown(""), "");
    assert_eq!(shown("\0\0 \n"), "");
}

#[test]
fn location_is_bus_and_address() {
    assert_eq!(location_id(1, 5), 0x0001_0005);
    assert_eq!(location_id(0xff, 127), 0x00ff_007f);
}
