//! The same exchange in every form of capture: byte orders, headers, file formats, cut at any length, begun
//! at any packet; and what is not usbmux is passed over.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use common::*;
use usbmux_core::wire::{Magic, Protocol};
use usbmux_trace::read::{FoundBy, Item, PhoneInfo, ReadError};

/// A dialog of 5 bytes there and 300 back.
fn dialog(form: Form) -> Capture {
    let mut capture = Capture::new(form);
    capture.opened();
    talk(&mut capture);
    capture
}

fn talk(capture: &mut Capture) {
    capture.out(&host(3, 0, ACK, (1, 1), 512, b"hello"));
    capture.r#in(&phone(1, 3, ACK, (1, 6), 512, &[b'x'; 300]));
    capture.out(&host(4, 1, ACK, (6, 301), 512, b""));
    capture.out(&host(5, 1, RST, (6, 301), 0, b""));
}

fn info(read: &Read) -> &PhoneInfo {
    read.items
        .iter()
        .find_map(|item| if let Item::Phone(info) = item { Some(info) } else { None })
        .unwrap()
}

#[test]
fn every_form_tells_the_same() {
    let expected = dialog(USUAL).read();
    assert_eq!(expected.violations(), [] as [&str; 0]);
    assert_eq!(expected.frames(), 10);
    for big_endian in [false, true] {
        for mapped in [false, true] {
            for pcapng in [false, true] {
                let form = Form { big_endian, mapped, pcapng, snap: 262_144 };
                let read = dialog(form).read();
                assert_eq!(read.error, None, "{form:?}");
                assert_eq!(read.ladder, expected.ladder, "{form:?}");
                assert_eq!(read.report, expected.report, "{form:?}");
            }
        }
    }
}

#[test]
fn a_snapped_capture_keeps_its_lengths() {
    let whole = dialog(USUAL).read();
    // From usbmon's header alone to everything; what is known must not change, and nothing be made up.
    for snap in 64..420 {
        let read = dialog(Form { snap, ..USUAL }).read();
        assert_eq!(read.error, None);
        assert_eq!(read.violations(), [] as [&str; 0], "snapped at {snap}: {:#?}", read.ladder);
        if snap >= 64 + 36 {
            assert_eq!(read.frames(), 10, "snapped at {snap}");
            assert_eq!(read.report.connections, whole.report.connections, "snapped at {snap}");
        }
    }
    let read = dialog(Form { snap: 64 + 36 + 100, ..USUAL }).read();
    let captured = read.items.iter().filter_map(|item| match item {
        Item::Frame(frame) => Some(frame.payload().len()),
        _ => None,
    });
    assert_eq!(captured.max(), Some(100));
}

#[test]
fn a_capture_may_begin_at_any_packet() {
    let whole = dialog(USUAL);
    let head = 24;
    let mut from = head;
    let mut begun = 0;
    while from < whole.bytes.len() {
        let bytes = [&whole.bytes[..head], &whole.bytes[from..]].concat();
        let read = read(&bytes);
        assert_eq!(read.error, None);
        assert_eq!(read.violations(), [] as [&str; 0], "from byte {from}: {:#?}", read.ladder);
        begun += usize::from(read.remarks().contains(&"midway"));
        from += 16 + u32::from_le_bytes(*whole.bytes[from + 8..].first_chunk().unwrap()) as usize;
    }
    assert!(begun > 10, "{begun}");
}

#[test]
fn a_capture_may_begin_inside_a_frame() {
    let frame = host(3, 0, ACK, (1, 1), 512, &[0; 40000]);
    let mut capture = Capture::new(USUAL);
    // Its beginning was before.
    capture.out(&frame[16384..32768]).out(&frame[32768..]);
    capture.out(&host(4, 0, ACK, (40001, 1), 512, b"hello"));
    let read = capture.read();
    assert_eq!(read.violations(), [] as [&str; 0], "{:#?}", read.ladder);
    assert_eq!(read.frames(), 1);
}

#[test]
fn without_flags_nothing_is_claimed_about_zero_length_packets() {
    let mut capture = Capture::new(Form { mapped: false, ..USUAL });
    capture.opened();
    capture.out(&host(3, 0, ACK, (1, 1), 512, &[0; 476])).out(&host(
        4,
        0,
        ACK,
        (477, 1),
        512,
        b"x",
    ));
    let read = capture.read();
    assert_eq!(read.violations(), [] as [&str; 0]);
    assert_eq!(read.remarks(), ["zlp-untold"]);
    assert_eq!(read.frames(), 8);
}

/// Descriptors of a phone, as its kernel asks for them: device, configuration 4 with the mux interface at
/// packets of `max_packet`, and its serial number.
fn enumerated(capture: &mut Capture, vendor: u16, max_packet: u16) {
    let [v0, v1] = vendor.to_le_bytes();
    let [p0, p1] = max_packet.to_le_bytes();
    let device = [18, 1, 0, 2, 0, 0, 0, 64, v0, v1, 0xa8, 0x12, 1, 14, 1, 2, 3, 1];
    capture.control([0x80, 6, 0, 1, 0, 0, 18, 0], &device);
    let configuration = [
        9, 2, 32, 0, 1, 4, 0, 0xc0, 250, // configuration 4
        9, 4, 1, 0, 2, 0xff, 0xfe, 2, 0, // the mux interface
        7, 5, OUT, 2, p0, p1, 0, 7, 5, IN, 2, p0, p1, 0,
    ];
    capture.control([0x80, 6, 0, 2, 0, 0, 9, 0], &configuration[..9]);
    capture.control([0x80, 6, 0, 2, 0, 0, 32, 0], &configuration);
    let mut serial = vec![50, 3];
    serial.extend("000080300000000000000001".encode_utf16().flat_map(u16::to_le_bytes));
    capture.control([0x80, 6, 3, 3, 9, 4, 255, 0], &serial);
    capture.control([0, 9, 4, 0, 0, 0, 0, 0], b"");
}

#[test]
fn descriptors_say_who_it_is() {
    let mut capture = Capture::new(USUAL);
    enumerated(&mut capture, 0x05ac, 1024);
    // 512 bytes are a short packet at super speed, and end their transfer.
    capture.opened().out(&host(3, 0, ACK, (1, 1), 512, &[0; 476]));
    capture.out(&host(4, 0, ACK, (477, 1), 512, b"x"));
    let read = capture.read();
    assert_eq!(read.violations(), [] as [&str; 0], "{:#?}", read.ladder);
    let expected = PhoneInfo {
        phone: 1,
        place: Some((1, 7)),
        product: Some((0x05ac, 0x12a8)),
        udid: Some("00008030-0000000000000001".to_owned()),
        endpoints: (Some(OUT), Some(IN)),
        max_packet: Some(1024),
        found_by: FoundBy::Descriptors,
    };
    assert_eq!(info(&read), &expected);
    let assumed = dialog(USUAL).read();
    assert_eq!(info(&assumed).max_packet, None);
    assert_eq!(info(&assumed).found_by, FoundBy::Frames);
}

#[test]
fn other_devices_are_passed_over() {
    let mut capture = Capture::new(USUAL);
    capture.device = 3;
    enumerated(&mut capture, 0x0781, 512);
    // A disk that happens to hold frames.
    capture.opened();
    // And endpoints of a phone that are none of the mux.
    capture.device = 9;
    capture.out(&[b'E'; 1514]).r#in(&[0; 64]);
    let id = 99_999;
    for transfer in [0, 1] {
        let data = &version(2)[..];
        capture.event(&Event {
            kind: b'S',
            transfer,
            endpoint: 1,
            id,
            status: 0,
            length: 20,
            setup: None,
            flags: 0,
            data,
        });
    }
    let read = capture.read();
    assert_eq!(read.frames(), 0);
    assert!(!read.report.is_sound());
    let diagnosis = "No usbmux frame is in this trace (28 packets of 2 devices): was the bus of the phone \
                     captured, and was there a program that talked to it?";
    assert_eq!(read.report.diagnosis, [diagnosis]);
}

#[test]
fn several_phones_are_told_apart() {
    let mut capture = Capture::new(USUAL);
    for device in [7, 8] {
        capture.device = device;
        capture.opened();
    }
    capture.device = 7;
    talk(&mut capture);
    capture.device = 8;
    capture.out(&host(9, 0, ACK, (1, 1), 512, b"hello"));
    let read = capture.read();
    assert_eq!(read.violations(), ["tx-gap"]);
    let ports: Vec<_> = read.report.connections.iter().map(|one| (one.conn, one.phone)).collect();
    assert_eq!(ports, [(1, 1), (2, 2)]);
    let diagnosis = &read.report.diagnosis;
    assert!(diagnosis[0].starts_with("phone 1: Nothing is wrong"), "{diagnosis:?}");
    assert!(
        diagnosis[1].starts_with("phone 2: The host: tx_seq 9, but 3 was due"),
        "{diagnosis:?}"
    );
}

#[test]
fn an_address_that_is_given_again_is_another_phone() {
    let mut capture = Capture::new(USUAL);
    capture.opened();
    capture.device = 0;
    capture.control([0, 5, 7, 0, 0, 0, 0, 0], b"");
    capture.device = 7;
    capture.opened();
    let read = capture.read();
    assert_eq!(read.violations(), [] as [&str; 0], "{:#?}", read.ladder);
    assert_eq!(read.report.phones.len(), 2);
}

#[test]
fn what_is_no_capture_of_usb_is_refused() {
    let of = |bytes: &[u8]| read(bytes).error;
    assert_eq!(of(b""), Some(ReadError::NoCapture));
    assert_eq!(of(b"bplist00 and so on, and so on"), Some(ReadError::NoCapture));
    let mut ethernet = dialog(USUAL).bytes;
    ethernet[20] = 1;
    assert_eq!(of(&ethernet), Some(ReadError::OtherLink(1)));
    let whole = dialog(USUAL).bytes;
    let cut = read(&whole[..whole.len() - 1]);
    assert_eq!(cut.error, Some(ReadError::CutShort));
    assert_eq!(cut.frames(), 10, "what stood before was read");
}

#[test]
fn lines_are_as_wide_as_they_may_be() {
    let mut capture = Capture::new(USUAL);
    capture.opened();
    let text = "a text of the phone's that is much too long for one line, ".repeat(6);
    capture.r#in(&control(1, 2, 3, &text));
    let body = segment((65535, 65534), ACK, (u32::MAX, u32::MAX), u16::MAX, &[0; 3000]);
    capture.out(&frame(Protocol::TCP, Magic::HOST, 65535, 65534, &body));
    let read = capture.read();
    for line in &read.ladder {
        assert!(line.chars().count() <= 100, "{line}");
    }
}
