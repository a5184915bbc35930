//! Every slicing and every damage: what arrives in other pieces means the same, and what arrives broken costs its own
//! transfer, at most its own connection, and never a panic.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use usbmux_core::{AckPolicy, CloseReason, Config, ConnId, Event, LinkState, Role};
use usbmux_tests::engine::{Engine, Rig};
use usbmux_tests::naive::frame::{CONTROL, SETUP, TCP, VERSION, hex};
use usbmux_tests::naive::{Frame, Session};
use usbmux_tests::random::{Random, pattern};

const VERSION_2: &str = "00000000 00000014 00000002 00000000 00000000";

/// Source ports of the first two connections of a host with four slots.
const ONE: &str = "0005";
const TWO: &str = "0006";

/// Bytes from hexadecimal digits, with ONE and TWO standing for the host's ports.
fn golden(text: &str) -> Vec<u8> {
    hex(&text.replace("ONE", ONE).replace("TWO", TWO))
}

/// What a phone sends in one life, message by message; the host opened two connections.
fn a_life() -> Vec<Vec<u8>> {
    let mut long = golden("0016 ONE 00000006 00000001 5010 0200 0000 0000");
    long.extend(pattern(1, 0, 1500));
    let mut reset = golden("0016 TWO 00000002 00000001 5004 0000 0000 0000");
    reset.extend(b"sessionUpcall connection closed");
    let numbered = [
        (TCP, golden("0016 ONE 00000000 00000001 5012 0200 0000 0000")),
        (TCP, golden("0016 TWO 00000000 00000001 5012 0200 0000 0000")),
        (TCP, golden("0016 ONE 00000001 00000001 5010 0200 0000 0000 68656c6c6f")),
        (CONTROL, b"\x05a word from the phone".to_vec()),
        (TCP, golden("0016 TWO 00000001 00000001 5010 0200 0000 0000 21")),
        (TCP, long),
        (CONTROL, b"\x03".to_vec()),
        (TCP, reset),
        (TCP, golden("0016 ONE 000005e2 00000001 5010 0200 0000 0000")),
    ];
    let mut messages = vec![hex(VERSION_2)];
    for (tx_seq, (protocol, body)) in (0..).zip(&numbered) {
        messages.push(Frame::v2(*protocol, 0xface_face, tx_seq, 2, body).bytes());
    }
    messages
}

/// What a host made of a life.
#[derive(Debug, PartialEq)]
struct Outcome {
    events: Vec<Event>,
    one: Vec<u8>,
    two: Vec<u8>,
    text: Vec<u8>,
    said: Vec<(u8, Vec<u8>)>,
    frame_ends_seen: bool,
    sent: Vec<Vec<u8>>,
}

/// Lets a host live through the messages, each given by `give`.
fn live(messages: &[Vec<u8>], mut give: impl FnMut(&mut Engine, &[u8])) -> Outcome {
    let config = Config { ack: AckPolicy::Classic, ..Config::HOST };
    let mut host = Engine::new(Role::Host, config, 4);
    host.mux.attach(host.now, 512);
    let mut sent = host.take();
    give(&mut host, &messages[0]);
    sent.extend(host.take());
    let one = host.mux.connect(host.now, 22, 131_072).unwrap();
    let two = host.mux.connect(host.now, 22, 131_072).unwrap();
    let syns = host.take();
    assert_eq!([&syns[0][16..18], &syns[1][16..18]], [golden("ONE"), golden("TWO")]);
    sent.extend(syns);
    for message in &messages[1..] {
        give(&mut host, message);
    }
    sent.extend(host.advance(100));
    Outcome {
        events: host.take_events(),
        one: host.delivered(one).to_vec(),
        two: host.delivered(two).to_vec(),
        text: host.reset_texts.get(&two).cloned().unwrap_or_default(),
        said: host.said.clone(),
        frame_ends_seen: host.frame_ends >= 3,
        sent,
    }
}

/// One transfer, read in pieces of these lengths in turn.
fn give_in_pieces(host: &mut Engine, message: &[u8], lengths: &[usize]) {
    let mut rest = message;
    for length in lengths.iter().cycle() {
        if rest.len() <= *length {
            break;
        }
        host.give_part(&rest[..*length]);
        rest = &rest[*length..];
    }
    host.give(rest);
}

fn whole() -> Outcome {
    let outcome = live(&a_life(), |host, message| host.give(message));
    assert!(outcome.one == [b"hello".to_vec(), pattern(1, 0, 1500)].concat());
    assert_eq!(outcome.two, b"!");
    assert_eq!(outcome.text, b"sessionUpcall connection closed");
    assert_eq!(outcome.said.len(), 2);
    assert!(outcome.frame_ends_seen);
    assert_eq!(outcome.events.len(), 4, "{:?}", outcome.events);
    outcome
}

#[test]
fn every_piece_length_means_the_same_down_to_single_bytes() {
    let expected = whole();
    for length in (1..=80).chain([127, 128, 511, 512, 513, 1024]) {
        let outcome = live(&a_life(), |host, message| give_in_pieces(host, message, &[length]));
        assert!(outcome == expected, "pieces of {length}");
    }
}

#[test]
fn every_single_cut_means_the_same() {
    let expected = whole();
    let messages = a_life();
    let longest = messages.iter().map(Vec::len).max().unwrap();
    for cut in 0..=longest.min(120) {
        let outcome = live(&messages, |host, message| {
            let (start, end) = message.split_at(cut.min(message.len()));
            host.give_part(start);
            host.give(end);
        });
        assert!(outcome == expected, "cut at {cut}");
    }
}

#[test]
fn random_pieces_and_an_empty_end_mean_the_same() {
    let expected = whole();
    for seed in 1..=200 {
        let mut random = Random::new(seed);
        let outcome = live(&a_life(), |host, message| {
            let mut rest = message;
            while !rest.is_empty() {
                let (piece, after) = rest.split_at(random.between(0, rest.len()));
                host.give_part(piece);
                rest = after;
            }
            host.give(&[]);
        });
        assert!(outcome == expected, "seed {seed}");
    }
}

#[test]
fn frames_that_share_a_transfer_mean_the_same() {
    let expected = whole();
    let messages = a_life();
    // All frames behind VERSION in one transfer, whole and in small pieces.
    let glued = vec![messages[0].clone(), messages[1..].concat()];
    assert!(live(&glued, |host, message| host.give(message)) == expected);
    for length in [1, 7, 36, 64, 512] {
        let outcome = live(&glued, |host, message| give_in_pieces(host, message, &[length]));
        assert!(outcome == expected, "pieces of {length}");
    }
}

#[test]
fn zero_length_transfers_mean_nothing() {
    let expected = whole();
    let outcome = live(&a_life(), |host, message| {
        host.give(&[]);
        host.give(message);
        host.give(&[]);
        host.give(&[]);
    });
    assert!(outcome == expected);
}

#[test]
fn a_device_engine_takes_the_same_frames_in_single_bytes() {
    let mut phone = Engine::new(Role::Device, Config::PHONE, 4);
    phone.mux.attach(phone.now, 64);
    let frames = [
        VERSION_2,
        "00000002 00000011 feedface 0000 ffff 07",
        "00000006 00000024 feedface 0001 ffff 0001 0016 00000000 00000000 5002 0200 0000 0000",
    ];
    for frame in frames {
        give_in_pieces(&mut phone, &hex(frame), &[1]);
    }
    let events = phone.take_events();
    assert!(
        matches!(events[..], [Event::LinkUp { version: 2 }, Event::Incoming { .. }]),
        "{events:?}"
    );
}

// ---- trailing bytes -----------------------------------------------------------------------------

#[test]
fn bytes_behind_a_frame_are_dropped_to_the_transfers_end() {
    for length in 1..=40 {
        for filler in [0x00, 0x01, 0x06, 0xff] {
            let mut rig = Rig::new(Config::HOST);
            rig.serve();
            rig.phone.knobs.trailing = vec![filler; length];
            rig.bring_up();
            let (conn, _) = rig.open(7);
            rig.send(conn, b"there and back");
            rig.advance(50);
            assert_eq!(rig.host.delivered(conn), b"there and back", "{length} times {filler}");
            assert_eq!(rig.host.take_events(), []);
            rig.check();
        }
    }
}

#[test]
fn trailing_bytes_are_counted_and_take_no_frame_with_them() {
    let mut rig = Rig::up(Config::HOST);
    let (conn, _) = rig.open(7);
    rig.phone.knobs.trailing = vec![1, 2, 3];
    rig.send(conn, b"x");
    rig.advance(50);
    assert!(rig.host.mux.stats().trailing >= 1);
    assert_eq!(rig.host.mux.stats().sequence_gaps, 0);
    rig.phone.knobs.trailing.clear();
    rig.send(conn, b"y");
    rig.advance(50);
    assert_eq!(rig.host.delivered(conn), b"xy");
    rig.check();
}

// ---- damage -------------------------------------------------------------------------------------

/// A rig with two connections to the echo, whose phone's numbers are not looked at any more.
fn two() -> (Rig, ConnId, ConnId) {
    let mut rig = Rig::up(Config::HOST);
    let (one, _) = rig.open(7);
    let (two, _) = rig.open(7);
    (rig, one, two)
}

fn check_alive(rig: &mut Rig, conn: ConnId, what: &str) {
    let before = rig.host.delivered(conn).len();
    rig.send(conn, b"alive");
    rig.advance(50);
    assert_eq!(&rig.host.delivered(conn)[before..], b"alive", "{what}");
    assert_eq!(rig.host.mux.link(), LinkState::Up { version: 2 }, "{what}");
}

#[test]
fn impossible_lengths_cost_their_transfer_only() {
    let tcp = hex("0007 0001 00000001 00000001 5010 0200 0000 0000 21");
    for length in
        (0..=7).chain(8..=15).chain(16..=35).chain([65_536, 65_537, 0x7fff_ffff, u32::MAX])
    {
        let (mut rig, one, other) = two();
        let mut message = Frame::v2(TCP, 0xface_face, 3, 3, &tcp).bytes();
        message[4..8].copy_from_slice(&length.to_be_bytes());
        // Something that looks like a frame stands behind, in the same transfer: it must not be taken for one.
        message.extend(Frame::v2(CONTROL, 0xface_face, 3, 3, b"\x03not a frame").bytes());
        rig.host.give(&message);
        rig.settle();
        let what = format!("length {length}");
        assert_eq!(rig.host.take_events(), [], "{what}");
        assert_eq!(rig.host.delivered(one), b"", "{what}");
        assert_eq!(rig.host.said, [], "{what}");
        assert_eq!(rig.host.mux.stats().malformed, 1, "{what}");
        check_alive(&mut rig, one, &what);
        check_alive(&mut rig, other, &what);
    }
}

#[test]
fn the_longest_frame_is_delivered_whole() {
    for read_size in [64, 512, 16_384, 65_536] {
        let mut rig = Rig::up(Config::HOST);
        rig.read_size = read_size;
        rig.phone.max_packet = if read_size == 64 { 64 } else { 512 };
        rig.phone.knobs.max_frame = 65_535;
        let (conn, index) = rig.open(8);
        let bytes = pattern(2, 0, 65_535 - 36);
        rig.phone.write(index, &bytes);
        assert!(rig.deliver_one());
        assert_eq!(rig.host.delivered(conn), bytes);
        assert_eq!(rig.host.frame_ends, 1);
        rig.advance(50);
        rig.check();
    }
}

#[test]
fn a_frame_of_65536_bytes_is_malformed() {
    let (mut rig, one, _) = two();
    let mut body = hex("0007 0001 00000001 00000001 5010 0200 0000 0000");
    body.extend(vec![1; 65_536 - 36]);
    let message = Frame::v2(TCP, 0xface_face, 3, 3, &body).bytes();
    assert_eq!(message.len(), 65_536);
    rig.host.give_part(&message);
    rig.host.give(&[]);
    assert_eq!(rig.host.delivered(one), b"");
    assert_eq!(rig.host.mux.stats().malformed, 1);
    check_alive(&mut rig, one, "after it");
}

#[test]
fn every_prefix_of_a_frame_harms_no_other_connection() {
    let (mut rig, ..) = two();
    let template = {
        let mut segment = rig.phone.plain(0);
        segment.payload = pattern(3, 0, 200);
        rig.phone.numbered(TCP, &segment.bytes())
    };
    for length in 0..template.len() {
        for pieces in [usize::MAX, 1, 13] {
            let (mut rig, one, other) = two();
            give_in_pieces(&mut rig.host, &template[..length], &[pieces]);
            rig.phone.skip_numbers(1);
            rig.settle();
            let what = format!("{length} bytes in pieces of {pieces}");
            let events = rig.host.take_events();
            if length <= 36 {
                assert_eq!(events, [], "{what}: nothing was delivered");
                check_alive(&mut rig, one, &what);
            } else {
                let closed = Event::Closed { conn: one, reason: CloseReason::Truncated };
                assert_eq!(events, [closed], "{what}");
                let count = rig.host.delivered(one).len();
                assert_eq!(rig.host.delivered(one), &pattern(3, 0, 200)[..count], "{what}");
                assert!(!rig.phone.connections[0].alive(), "{what}: the phone was not told");
            }
            if length > 0 {
                let stats = rig.host.mux.stats();
                assert_eq!(stats.truncated + stats.malformed + stats.trailing, 1, "{what}");
            }
            check_alive(&mut rig, other, &what);
            rig.check();
        }
    }
}

#[test]
fn every_prefix_of_the_version_answer_leaves_the_host_asking() {
    let answer = hex(VERSION_2);
    for length in 0..answer.len() {
        let mut rig = Rig::new(Config::HOST);
        rig.serve();
        rig.attach();
        let version = rig.host.take();
        rig.host.give(&answer[..length]);
        assert_eq!(rig.host.take_events(), [], "{length} bytes");
        rig.host.now = rig.host.now + std::time::Duration::from_millis(2500);
        rig.host.mux.tick(rig.host.now);
        assert_eq!(rig.host.take(), version, "{length} bytes");
        rig.out(version);
        rig.settle();
        assert_eq!(rig.host.take_events(), [Event::LinkUp { version: 2 }], "{length} bytes");
    }
}

#[test]
fn every_single_byte_change_harms_no_other_connection() {
    let (mut rig, ..) = two();
    let template = {
        let mut segment = rig.phone.plain(0);
        segment.payload = pattern(4, 0, 20);
        rig.phone.numbered(TCP, &segment.bytes())
    };
    let other_port = rig.phone.connections[1].host_port.to_be_bytes();
    for at in 0..template.len() {
        let flips = (0..8).map(|bit| template[at] ^ 1 << bit);
        for value in flips.chain([0x00, 0xff, 0x7f, 0x80]) {
            let mut message = template.clone();
            message[at] = value;
            if message[18..20] == other_port {
                continue; // now it is a frame for the other one
            }
            let (mut rig, one, other) = two();
            rig.phone.skip_numbers(1);
            rig.host.give(&message);
            rig.settle();
            let what = format!("byte {at} is {value:#04x}");
            for event in rig.host.take_events() {
                let about_one = matches!(event,
                    Event::Closed { conn, .. } | Event::Finished { conn } | Event::Sendable { conn }
                        if conn == one);
                assert!(about_one, "{what}: {event:?}");
            }
            assert_eq!(rig.host.delivered(other), b"", "{what}");
            check_alive(&mut rig, other, &what);
        }
    }
}

#[test]
fn a_wrong_magic_is_malformed_and_a_hosts_own_magic_is_accepted() {
    let (mut rig, one, other) = two();
    let mut segment = rig.phone.plain(0);
    segment.payload = b"abc".to_vec();
    let tx_seq = 3;
    let frame = |magic| Frame::v2(TCP, magic, tx_seq, 5, &segment.bytes()).bytes();
    rig.host.give(&frame(0xdead_beef));
    assert_eq!(rig.host.delivered(one), b"");
    assert_eq!(rig.host.mux.stats().malformed, 1);
    rig.host.give(&frame(0xfeed_face));
    assert_eq!(rig.host.delivered(one), b"abc");
    check_alive(&mut rig, other, "after both");
}

#[test]
fn random_bytes_never_end_anything_but_what_they_hit() {
    for seed in 1..=300 {
        let mut random = Random::new(seed);
        let (mut rig, _, other) = two();
        for _ in 0..20 {
            let mut message: Vec<u8> = Vec::new();
            // Half of them start like a frame.
            if random.once_in(2) {
                let protocol = *random.pick(&[VERSION, CONTROL, SETUP, TCP, 3, 7]);
                message.extend(protocol.to_be_bytes());
                message.extend((random.between(0, 80) as u32).to_be_bytes());
                message.extend(hex("faceface 0003 0003"));
            }
            let count = random.between(0, 70);
            message.extend((0..count).map(|_| random.bits() as u8));
            let hits_other = message.len() >= 36 && message[16..20] == hex("0007 0002");
            if !hits_other {
                give_in_pieces(&mut rig.host, &message, &[random.between(1, 80)]);
            }
            rig.settle();
        }
        check_alive(&mut rig, other, &format!("seed {seed}"));
    }
}

#[test]
fn a_device_engine_survives_every_single_byte_change_too() {
    let setup = "00000002 00000011 feedface 0000 ffff 07";
    let syn =
        "00000006 00000024 feedface 0001 ffff 0001 0016 00000000 00000000 5002 0200 0000 0000";
    let messages = [hex(VERSION_2), hex(setup), hex(syn)];
    for (which, message) in messages.iter().enumerate() {
        for at in 0..message.len() {
            for bit in 0..8 {
                let mut phone = Engine::new(Role::Device, Config::PHONE, 4);
                phone.mux.attach(phone.now, 512);
                for (index, good) in messages.iter().enumerate() {
                    let mut bytes = good.clone();
                    if index == which {
                        bytes[at] ^= 1 << bit;
                    }
                    phone.give(&bytes);
                    phone.take();
                }
                // VERSION revives whatever came of it.
                phone.take_events();
                phone.give(&hex(VERSION_2));
                assert!(
                    phone.take().contains(&hex(VERSION_2)),
                    "message {which} byte {at} bit {bit}"
                );
                phone.give(&hex(setup));
                phone.give(&hex(syn));
                let events = phone.take_events();
                let incoming = |event: &Event| matches!(event, Event::Incoming { port: 22, .. });
                assert!(
                    events.iter().any(incoming),
                    "message {which} byte {at} bit {bit}: {events:?}"
                );
            }
        }
    }
}

#[test]
fn a_session_that_the_phone_forgot_is_noticed_by_nobody_else() {
    // A phone that lost its session (a reset of its own) answers nothing: only the shell's timers help. The engine
    // must not spin or panic while it is silent.
    let (mut rig, one, _) = two();
    rig.phone.reset_port();
    assert_eq!(rig.phone.session, Session::None);
    let (transfers, _) = rig.host.write(one, b"into the void");
    rig.out(transfers);
    rig.advance(60_000);
    assert_eq!(rig.host.delivered(one), b"");
}
