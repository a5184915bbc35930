//! Golden bytes: every kind of frame, both versions, both directions, written by hand from PROTOCOL §2–3.
//!
//! What the engine emits is compared as whole transfers; what it is given is written out the same way.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use usbmux_core::{
    AckPolicy, CloseReason, Config, ConnId, Event, RefusedBy, ResetReason, Role, WindowStyle,
};
use usbmux_tests::engine::Engine;
use usbmux_tests::naive::hex;

const VERSION_2: &str = "00000000 00000014 00000002 00000000 00000000";
const VERSION_1: &str = "00000000 00000014 00000001 00000000 00000000";
const SETUP: &str = "00000002 00000011 feedface 0000 ffff 07";

/// Source port of the first connection of a host with [`SLOTS`] slots: 1 + slot + generation × slots, where a slot's
/// first connection already is of generation 1. PROTOCOL leaves the choice to the host.
const PORT: &str = "0005";
const SLOTS: usize = 4;

/// Bytes from hexadecimal digits, with PORT standing for the host's port.
fn golden(text: &str) -> Vec<u8> {
    hex(&text.replace("PORT", PORT))
}

/// A host that acknowledges at once, attached, its VERSION taken away.
fn host() -> Engine {
    let config = Config { ack: AckPolicy::Immediate, ..Config::HOST };
    let mut host = Engine::new(Role::Host, config, SLOTS);
    host.mux.attach(host.now, 512);
    assert_eq!(host.take(), [hex(VERSION_2)]);
    host
}

/// The same with a session of version 2.
fn host_v2() -> Engine {
    let mut host = host();
    host.give(&hex(VERSION_2));
    assert_eq!(host.take(), [hex(SETUP)]);
    assert_eq!(host.take_events(), [Event::LinkUp { version: 2 }]);
    host
}

/// The same with a session of version 1.
fn host_v1() -> Engine {
    let mut host = host();
    host.give(&hex(VERSION_1));
    assert_eq!(host.take(), Vec::<Vec<u8>>::new());
    assert_eq!(host.take_events(), [Event::LinkUp { version: 1 }]);
    host
}

/// A phone that acknowledges at once, VERSION 2 and SETUP behind it.
fn phone_v2() -> Engine {
    let mut phone = phone(2);
    phone.give(&hex(VERSION_2));
    assert_eq!(phone.take(), [hex(VERSION_2)]);
    phone.give(&hex(SETUP));
    assert_eq!(phone.take(), Vec::<Vec<u8>>::new());
    assert_eq!(phone.take_events(), [Event::LinkUp { version: 2 }]);
    phone
}

fn phone(version: u32) -> Engine {
    let config = Config { ack: AckPolicy::Immediate, version, ..Config::PHONE };
    let mut phone = Engine::new(Role::Device, config, SLOTS);
    phone.mux.attach(phone.now, 512);
    assert_eq!(phone.take(), Vec::<Vec<u8>>::new(), "a phone waits to be asked");
    phone
}

/// Opens the host's first connection to port 22 in version 2: its source port is 1.
fn open_v2(host: &mut Engine) -> ConnId {
    let conn = host.mux.connect(host.now, 22, 131_072).unwrap();
    assert_eq!(
        host.take(),
        [golden(
            "00000006 00000024 feedface 0001 ffff PORT 0016 00000000 00000000 5002 0200 0000 0000"
        )]
    );
    host.give(&golden(
        "00000006 00000024 faceface 0000 0001 0016 PORT 00000000 00000001 5012 0200 0000 0000",
    ));
    assert_eq!(
        host.take(),
        [golden(
            "00000006 00000024 feedface 0002 0000 PORT 0016 00000001 00000001 5010 0200 0000 0000"
        )]
    );
    assert_eq!(host.take_events(), [Event::Connected { conn }]);
    conn
}

/// The same in version 1.
fn open_v1(host: &mut Engine) -> ConnId {
    let conn = host.mux.connect(host.now, 22, 131_072).unwrap();
    assert_eq!(
        host.take(),
        [golden("00000006 0000001c PORT 0016 00000000 00000000 5002 0200 0000 0000")]
    );
    host.give(&golden("00000006 0000001c 0016 PORT 00000000 00000001 5012 0200 0000 0000"));
    assert_eq!(
        host.take(),
        [golden("00000006 0000001c PORT 0016 00000001 00000001 5010 0200 0000 0000")]
    );
    assert_eq!(host.take_events(), [Event::Connected { conn }]);
    conn
}

/// The phone's first connection: from the host's port 1 to its port 22.
fn accept_v2(phone: &mut Engine) -> ConnId {
    let conn = incoming_v2(phone);
    phone.mux.accept(phone.now, conn, 131_072).unwrap();
    assert_eq!(
        phone.take(),
        [hex(
            "00000006 00000024 faceface 0000 0001 0016 0001 00000000 00000001 5012 0200 0000 0000"
        )]
    );
    phone.give(&hex(
        "00000006 00000024 feedface 0002 0000 0001 0016 00000001 00000001 5010 0200 0000 0000",
    ));
    assert_eq!(phone.take_events(), [Event::Connected { conn }]);
    assert_eq!(phone.take(), Vec::<Vec<u8>>::new(), "an acknowledgement is not acknowledged");
    conn
}

fn incoming_v2(phone: &mut Engine) -> ConnId {
    phone.give(&hex(
        "00000006 00000024 feedface 0001 ffff 0001 0016 00000000 00000000 5002 0200 0000 0000",
    ));
    let events = phone.take_events();
    let [Event::Incoming { conn, source: 1, port: 22 }] = events[..] else { panic!("{events:?}") };
    conn
}

// ---- host, version 2 ----------------------------------------------------------------------------

#[test]
fn host_v2_handshake_and_opening() {
    let mut host = host_v2();
    assert_eq!(host.mux.headroom(), 36);
    open_v2(&mut host);
}

#[test]
fn host_v2_data_and_acknowledgement() {
    let mut host = host_v2();
    let conn = open_v2(&mut host);
    let (transfers, taken) = host.write(conn, b"hello");
    assert_eq!(taken, 5);
    assert_eq!(
        transfers,
        [golden(
            "00000006 00000029 feedface 0003 0000 PORT 0016 00000001 00000001 5010 0200 0000 0000 68656c6c6f"
        )]
    );
    assert_eq!(host.mux.unacknowledged(conn), 5);
    // The phone acknowledges all five and sends two.
    host.give(&golden(
        "00000006 00000026 faceface 0001 0003 0016 PORT 00000001 00000006 5010 0200 0000 0000 6869",
    ));
    assert_eq!(host.delivered(conn), b"hi");
    assert_eq!(host.frame_ends, 1);
    assert_eq!(host.mux.unacknowledged(conn), 0);
    assert_eq!(
        host.take(),
        [golden(
            "00000006 00000024 feedface 0004 0001 PORT 0016 00000006 00000003 5010 0200 0000 0000"
        )]
    );
}

#[test]
fn host_v2_header_by_value_is_the_same_header() {
    let mut host = host_v2();
    let conn = open_v2(&mut host);
    let sent = host.mux.send(host.now, conn, 5).unwrap();
    assert_eq!(
        sent.header(),
        golden(
            "00000006 00000029 feedface 0003 0000 PORT 0016 00000001 00000001 5010 0200 0000 0000"
        )
    );
    assert_eq!((sent.taken, sent.needs_zlp), (5, false));
}

#[test]
fn host_v2_close_waits_and_is_a_reset() {
    let mut host = host_v2();
    let conn = open_v2(&mut host);
    host.write(conn, b"hello");
    host.mux.close(host.now, conn);
    assert_eq!(host.take(), Vec::<Vec<u8>>::new(), "five bytes are not acknowledged");
    // Two bytes arrive that nobody wants any more: they are acknowledged all the same.
    host.give(&golden(
        "00000006 00000026 faceface 0001 0003 0016 PORT 00000001 00000001 5010 0200 0000 0000 6869",
    ));
    assert_eq!(
        host.take(),
        [golden(
            "00000006 00000024 feedface 0004 0001 PORT 0016 00000006 00000003 5010 0200 0000 0000"
        )]
    );
    host.give(&golden(
        "00000006 00000024 faceface 0002 0004 0016 PORT 00000003 00000006 5010 0200 0000 0000",
    ));
    assert_eq!(
        host.take(),
        [golden(
            "00000006 00000024 feedface 0005 0002 PORT 0016 00000006 00000003 5004 0200 0000 0000"
        )]
    );
    assert_eq!(host.take_events(), [Event::Closed { conn, reason: CloseReason::Drained }]);
    assert_eq!(host.delivered(conn), b"", "what arrives after close is discarded");
}

#[test]
fn host_v2_answers_a_stranger_with_a_reset() {
    let mut host = host_v2();
    host.give(&hex(
        "00000006 00000026 faceface 0000 0000 0016 0777 00001234 00005678 5010 0200 0000 0000 6869",
    ));
    let transfers = host.take();
    assert_eq!(transfers.len(), 1);
    assert_eq!(transfers[0][..20], hex("00000006 00000024 feedface 0001 0000 0777 0016"));
    assert_eq!(transfers[0][24..30], hex("00001234 5004"), "ack is the stranger's seq, flags RST");
    assert_eq!(transfers[0][32..], [0, 0, 0, 0]);
}

#[test]
fn host_v2_takes_resets_with_and_without_text() {
    let mut host = host_v2();
    let conn = open_v2(&mut host);
    host.give(&golden(
        "00000006 00000024 faceface 0001 0002 0016 PORT 00000001 00000001 5004 0000 0000 0000",
    ));
    assert_eq!(host.take_events(), [Event::Closed { conn, reason: CloseReason::Reset }]);
    assert_eq!(host.reset_texts.get(&conn), None);
    assert_eq!(host.take(), Vec::<Vec<u8>>::new(), "a reset is not answered");

    let mut host = host_v2();
    let conn = open_v2(&mut host);
    let mut reset = golden(
        "00000006 00000043 faceface 0001 0002 0016 PORT 00000001 00000001 5004 0000 0000 0000",
    );
    reset.extend(b"sessionUpcall connection closed");
    host.give(&reset);
    assert_eq!(host.take_events(), [Event::Closed { conn, reason: CloseReason::Reset }]);
    assert_eq!(host.reset_texts[&conn], b"sessionUpcall connection closed");
}

#[test]
fn host_v2_takes_a_refusal() {
    let mut host = host_v2();
    let conn = host.mux.connect(host.now, 99, 131_072).unwrap();
    assert_eq!(
        host.take(),
        [golden(
            "00000006 00000024 feedface 0001 ffff PORT 0063 00000000 00000000 5002 0200 0000 0000"
        )]
    );
    host.give(&golden(
        "00000006 00000024 faceface 0000 0001 0063 PORT 00000000 00000001 5004 0000 0000 0000",
    ));
    assert_eq!(host.take_events(), [Event::Refused { conn, reason: RefusedBy::Reset }]);
    assert_eq!(host.take(), Vec::<Vec<u8>>::new());
}

#[test]
fn host_v2_hears_control_texts_of_every_type() {
    let mut host = host_v2();
    host.give(&hex("00000001 00000015 faceface 0000 0000 03 6f6f7073"));
    host.give(&hex("00000001 00000015 faceface 0001 0000 04 6f6f7073"));
    host.give(&hex("00000001 00000015 faceface 0002 0000 05 6f6f7073"));
    host.give(&hex("00000001 00000015 faceface 0003 0000 07 6f6f7073"));
    host.give(&hex("00000001 00000011 faceface 0004 0000 09"));
    let oops = b"oops".to_vec();
    assert_eq!(
        host.said,
        [(3, oops.clone()), (4, oops.clone()), (5, oops.clone()), (7, oops), (9, vec![])]
    );
    assert_eq!(host.mux.stats().control_texts, 5);
    assert_eq!(host.mux.stats().sequence_gaps, 0);
    assert_eq!(host.take(), Vec::<Vec<u8>>::new());
}

#[test]
fn host_v2_credit_style_acknowledges_what_arrived_and_announces_the_room() {
    let config =
        Config { ack: AckPolicy::Immediate, window_style: WindowStyle::Credit, ..Config::HOST };
    let mut host = Engine::new(Role::Host, config, SLOTS);
    host.mux.attach(host.now, 512);
    host.take();
    host.give(&hex(VERSION_2));
    host.take();
    host.take_events();
    let conn = open_v2(&mut host);
    host.held.insert(conn, 0);
    // 600 bytes arrive, none is consumed: 130472 bytes of room are 0x01fd steps of 256.
    let mut data = golden(
        "00000006 0000027c faceface 0001 0002 0016 PORT 00000001 00000001 5010 0200 0000 0000",
    );
    data.extend([7; 600]);
    host.give(&data);
    assert_eq!(
        host.take(),
        [golden(
            "00000006 00000024 feedface 0003 0001 PORT 0016 00000001 00000259 5010 01fd 0000 0000"
        )]
    );
}

#[test]
fn host_v2_constant_style_acknowledges_what_was_consumed() {
    let mut host = host_v2();
    let conn = open_v2(&mut host);
    host.held.insert(conn, 0);
    let mut data = golden(
        "00000006 0000027c faceface 0001 0002 0016 PORT 00000001 00000001 5010 0200 0000 0000",
    );
    data.extend([7; 600]);
    host.give(&data);
    assert_eq!(host.advance(5), Vec::<Vec<u8>>::new(), "nothing was consumed");
    host.held.insert(conn, 88);
    host.mux.set_held(host.now, conn, 88).unwrap();
    let transfers = host.advance(5);
    assert_eq!(
        transfers,
        [golden(
            "00000006 00000024 feedface 0003 0001 PORT 0016 00000001 00000201 5010 0200 0000 0000"
        )]
    );
}

// ---- host, version 1 ----------------------------------------------------------------------------

#[test]
fn host_v1_opening_data_acknowledgement_and_close() {
    let mut host = host_v1();
    assert_eq!(host.mux.headroom(), 28);
    let conn = open_v1(&mut host);
    let (transfers, taken) = host.write(conn, b"hello");
    assert_eq!(taken, 5);
    assert_eq!(
        transfers,
        [golden("00000006 00000021 PORT 0016 00000001 00000001 5010 0200 0000 0000 68656c6c6f")]
    );
    host.give(&golden("00000006 0000001e 0016 PORT 00000001 00000006 5010 0200 0000 0000 6869"));
    assert_eq!(host.delivered(conn), b"hi");
    assert_eq!(
        host.take(),
        [golden("00000006 0000001c PORT 0016 00000006 00000003 5010 0200 0000 0000")]
    );
    host.mux.close(host.now, conn);
    let transfers = host.take();
    assert_eq!(transfers.len(), 1);
    assert_eq!(
        transfers[0][..24],
        golden("00000006 0000001c PORT 0016 00000006 00000003 5004 0200")[..24]
    );
    assert_eq!(transfers[0].len(), 28);
    assert_eq!(host.take_events(), [Event::Closed { conn, reason: CloseReason::Drained }]);
}

#[test]
fn host_v1_takes_resets_and_control_and_answers_strangers() {
    let mut host = host_v1();
    let conn = open_v1(&mut host);
    host.give(&hex("00000001 0000000d 03 6f6f7073"));
    assert_eq!(host.said, [(3, b"oops".to_vec())]);
    host.give(&golden("00000006 0000001f 0016 PORT 00000001 00000001 5004 0000 0000 0000 627965"));
    assert_eq!(host.take_events(), [Event::Closed { conn, reason: CloseReason::Reset }]);
    assert_eq!(host.reset_texts[&conn], b"bye");
    host.give(&hex("00000006 0000001c 0016 0777 00001234 00005678 5010 0200 0000 0000"));
    let transfers = host.take();
    assert_eq!(transfers.len(), 1);
    assert_eq!(transfers[0][..12], hex("00000006 0000001c 0777 0016"));
    assert_eq!(transfers[0][16..22], hex("00001234 5004"));
}

#[test]
fn a_host_may_offer_version_1_only() {
    let config = Config { version: 1, ..Config::HOST };
    let mut host = Engine::new(Role::Host, config, SLOTS);
    host.mux.attach(host.now, 512);
    assert_eq!(host.take(), [hex(VERSION_1)]);
}

// ---- phone --------------------------------------------------------------------------------------

#[test]
fn phone_v2_opening_data_and_acknowledgement() {
    let mut phone = phone_v2();
    let conn = accept_v2(&mut phone);
    let (transfers, _) = phone.write(conn, b"hi");
    assert_eq!(
        transfers,
        [hex(
            "00000006 00000026 faceface 0001 0002 0016 0001 00000001 00000001 5010 0200 0000 0000 6869"
        )]
    );
    phone.give(&hex(
        "00000006 00000029 feedface 0003 0001 0001 0016 00000001 00000003 5010 0200 0000 0000 68656c6c6f",
    ));
    assert_eq!(phone.delivered(conn), b"hello");
    assert_eq!(
        phone.take(),
        [hex(
            "00000006 00000024 faceface 0002 0003 0016 0001 00000003 00000006 5010 0200 0000 0000"
        )]
    );
}

#[test]
fn phone_answers_the_version_that_both_speak() {
    let mut old = phone(1);
    old.give(&hex(VERSION_2));
    assert_eq!(old.take(), [hex(VERSION_1)]);
    assert_eq!(old.take_events(), [Event::LinkUp { version: 1 }]);

    let mut new = phone(2);
    new.give(&hex(VERSION_1));
    assert_eq!(new.take(), [hex(VERSION_1)]);
    assert_eq!(new.take_events(), [Event::LinkUp { version: 1 }]);
}

#[test]
fn phone_v1_opening_and_data() {
    let mut phone = phone(1);
    phone.give(&hex(VERSION_2));
    phone.take();
    phone.take_events();
    phone.give(&hex("00000006 0000001c 0001 0016 00000000 00000000 5002 0200 0000 0000"));
    let events = phone.take_events();
    let [Event::Incoming { conn, .. }] = events[..] else { panic!("{events:?}") };
    phone.mux.accept(phone.now, conn, 131_072).unwrap();
    assert_eq!(
        phone.take(),
        [hex("00000006 0000001c 0016 0001 00000000 00000001 5012 0200 0000 0000")]
    );
    phone.give(&hex("00000006 0000001c 0001 0016 00000001 00000001 5010 0200 0000 0000"));
    let (transfers, _) = phone.write(conn, b"hi");
    assert_eq!(
        transfers,
        [hex("00000006 0000001e 0016 0001 00000001 00000001 5010 0200 0000 0000 6869")]
    );
}

#[test]
fn phone_v2_refuses_with_a_reset() {
    let mut phone = phone_v2();
    let conn = incoming_v2(&mut phone);
    phone.mux.refuse(phone.now, conn, ResetReason::None);
    let transfers = phone.take();
    assert_eq!(transfers.len(), 1);
    assert_eq!(
        transfers[0][..30],
        hex("00000006 00000024 faceface 0000 0001 0016 0001 00000000 00000001 5004")
    );
    assert_eq!(transfers[0].len(), 36);
}

#[test]
fn phone_v2_clean_end_is_control_3_and_reset_with_the_ordinary_text() {
    let mut phone = phone_v2();
    let conn = accept_v2(&mut phone);
    phone.mux.abort_because(phone.now, conn, ResetReason::Closed);
    let transfers = phone.take();
    assert_eq!(transfers.len(), 2, "{transfers:02x?}");
    let (control, reset) = (&transfers[0], &transfers[1]);
    assert_eq!(control[..4], hex("00000001"));
    assert_eq!(control[8..17], hex("faceface 0001 0002 03"));
    let text = String::from_utf8_lossy(&control[17..]).into_owned();
    assert!(text.starts_with("socketIsClosed") && text.contains("errno 54"), "{text}");
    assert_eq!(reset[..4], hex("00000006"));
    assert_eq!(reset[8..30], hex("faceface 0002 0002 0016 0001 00000001 00000001 5004"));
    assert_eq!(&reset[36..], b"sessionUpcall connection closed");
}

#[test]
fn phone_v2_resets_data_with_a_push_flag_in_its_own_words() {
    let mut phone = phone_v2();
    let conn = accept_v2(&mut phone);
    phone.give(&hex(
        "00000006 00000026 feedface 0003 0000 0001 0016 00000001 00000001 5018 0200 0000 0000 6869",
    ));
    let transfers = phone.take();
    assert_eq!(transfers.len(), 1);
    assert_eq!(transfers[0][28..30], hex("5004"));
    assert_eq!(&transfers[0][36..], b"handleMuxTCPInput th.th_flags = 0x18, not TH_ACK(0x10)");
    assert_eq!(phone.delivered(conn), b"");
    let events = phone.take_events();
    assert_eq!(events, [Event::Closed { conn, reason: CloseReason::Protocol }]);
}

#[test]
fn phone_v2_dies_at_a_repeated_number_until_version() {
    let mut phone = phone_v2();
    let conn = accept_v2(&mut phone);
    let repeated = hex(
        "00000006 00000026 feedface 0002 0000 0001 0016 00000001 00000001 5010 0200 0000 0000 6869",
    );
    phone.give(&repeated);
    let mut control = hex("00000001 00000041 faceface 0001 0002 04");
    control.extend(b"detected duplicate packet. Expected 3 received 2");
    assert_eq!(phone.take(), [control]);
    let right = hex(
        "00000006 00000026 feedface 0003 0000 0001 0016 00000001 00000001 5010 0200 0000 0000 6869",
    );
    phone.give(&right);
    assert_eq!(phone.delivered(conn), b"");
    assert_eq!(phone.take(), Vec::<Vec<u8>>::new());
    phone.take_events();
    phone.give(&hex(VERSION_2));
    assert_eq!(phone.take(), [hex(VERSION_2)]);
    phone.give(&hex(SETUP));
    let _ = accept_after_revival(&mut phone);
}

/// A connection from the same ports opens in the revived session.
fn accept_after_revival(phone: &mut Engine) -> ConnId {
    let events = phone.take_events();
    assert!(events.contains(&Event::LinkUp { version: 2 }), "{events:?}");
    accept_v2(phone)
}
