//! PROTOCOL §7, row by row: a host engine against the naive phone, in virtual time.
//!
//! `data/rows.tsv` says which test stands for which row. Every test asks the phone at the end whether the host broke a
//! rule, unless the phone was made to misbehave in a way that makes that question void.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::HashMap;
use std::time::Duration;
use usbmux_core::{
    AckPolicy, CloseReason, Config, ConnectError, DeathCause, Event, GapPolicy, LinkFailure,
    LinkState, RefusedBy, Role, WindowStyle,
};
use usbmux_tests::engine::{Engine, Rig};
use usbmux_tests::naive::frame::{ACK, CONTROL, FIN, PSH, RST, SETUP, SYN, TCP, VERSION, hex};
use usbmux_tests::naive::phone::{CLOSED_TEXT, SOCKET_CLOSED_TEXT};
use usbmux_tests::naive::{Frame, Segment, Session, State};
use usbmux_tests::random::pattern;

const VERSION_2: &str = "00000000 00000014 00000002 00000000 00000000";

const IMMEDIATE: Config = Config { ack: AckPolicy::Immediate, ..Config::HOST };

/// The body of the CONTROL frame by which a phone declares a session dead.
const DUPLICATE: &[u8] = b"\x04detected duplicate packet. Expected 408 received 410";

/// Protocol numbers of the frames that the phone saw, in order.
fn protocols(rig: &Rig) -> Vec<u32> {
    rig.phone.seen.iter().map(|frame| frame.protocol).collect()
}

/// Segments that the phone saw, in order.
fn segments(rig: &Rig) -> Vec<Segment> {
    rig.phone.seen.iter().filter_map(|frame| frame.segment().ok()).collect()
}

/// Segments without payload that the phone saw on a connection of its port.
fn bare_acks(rig: &Rig, port: u16) -> usize {
    let bare = |segment: &&Segment| {
        segment.dest == port && segment.flags == ACK && segment.payload.is_empty()
    };
    segments(rig).iter().filter(bare).count()
}

/// Proves that a connection to the echo works both ways.
fn check_echo(rig: &mut Rig, conn: usbmux_core::ConnId) {
    let before = rig.host.delivered(conn).len();
    rig.send(conn, b"still here");
    rig.advance(50);
    assert_eq!(&rig.host.delivered(conn)[before..], b"still here");
}

// ---- link down ----------------------------------------------------------------------------------

#[test]
fn opening_the_device_sends_version_2_and_nothing_else() {
    let mut rig = Rig::new(Config::HOST);
    assert_eq!(rig.host.mux.link(), LinkState::Down);
    assert_eq!(rig.host.take(), Vec::<Vec<u8>>::new());
    rig.attach();
    assert_eq!(rig.host.take(), [hex(VERSION_2)]);
    assert_eq!(rig.host.mux.link(), LinkState::Greeting);
    assert_eq!(rig.host.take(), Vec::<Vec<u8>>::new());
    let connect = rig.host.mux.connect(rig.host.now, 22, 131_072);
    assert_eq!(connect, Err(ConnectError::LinkDown));
}

#[test]
fn version_is_sent_three_times_and_then_the_link_has_failed() {
    let mut rig = Rig::new(Config::HOST);
    rig.phone.knobs.silent_versions = u32::MAX;
    rig.attach();
    rig.settle();
    assert_eq!(protocols(&rig), [VERSION]);
    rig.advance(2499);
    assert_eq!(protocols(&rig), [VERSION]);
    rig.advance(1);
    assert_eq!(protocols(&rig), [VERSION; 2]);
    rig.advance(2500);
    assert_eq!(protocols(&rig), [VERSION; 3]);
    rig.advance(2499);
    assert_eq!(rig.host.take_events(), []);
    rig.advance(1);
    assert_eq!(rig.host.take_events(), [Event::LinkFailed { reason: LinkFailure::Silent }]);
    assert_eq!(rig.host.mux.link(), LinkState::Failed);
    rig.advance(60_000);
    assert_eq!(protocols(&rig), [VERSION; 3], "it waits for the shell");
    // The shell resets the port and attaches again.
    rig.phone.reset_port();
    rig.phone.knobs.silent_versions = 0;
    rig.bring_up();
    rig.check();
}

#[test]
fn a_late_answer_to_version_brings_the_link_up() {
    let mut rig = Rig::new(Config::HOST);
    rig.serve();
    rig.phone.knobs.silent_versions = 2;
    rig.attach();
    rig.advance(5000);
    assert_eq!(rig.host.take_events(), [Event::LinkUp { version: 2 }]);
    let (conn, _) = rig.open(7);
    check_echo(&mut rig, conn);
    rig.check();
}

#[test]
fn frames_of_a_stale_session_are_dropped_and_version_is_sent_again() {
    let mut rig = Rig::new(Config::HOST);
    rig.serve();
    rig.attach();
    assert_eq!(rig.host.take(), [hex(VERSION_2)]);
    let old = Segment {
        source: 22,
        dest: 77,
        seq: 0x100,
        ack: 0x200,
        flags: ACK,
        window_units: 0x200,
        payload: b"old bytes".to_vec(),
    };
    let stale = Frame::v2(TCP, 0xface_face, 291, 69, &old.bytes()).bytes();
    rig.host.give(&stale);
    assert_eq!(rig.host.mux.stats().stale, 1);
    assert_eq!(rig.host.delivered.len(), 0);
    let transfers = rig.host.take();
    assert!(transfers.contains(&hex(VERSION_2)), "{transfers:02x?}");
    rig.phone.out_transfer(&hex(VERSION_2));
    rig.settle();
    assert_eq!(rig.host.take_events(), [Event::LinkUp { version: 2 }]);
    let (conn, _) = rig.open(7);
    check_echo(&mut rig, conn);
}

#[test]
fn a_stale_segment_is_reset_by_its_ports_right_before_the_next_version() {
    let mut host = Engine::new(Role::Host, Config::HOST, 4);
    host.mux.attach(host.now, 512);
    assert_eq!(host.take(), [hex(VERSION_2)]);
    host.give(&hex(
        "00000006 00000024 faceface 0123 0045 0016 004d 00000100 00000200 5010 0200 00000000",
    ));
    // A stale reset needs no answer.
    host.give(&hex(
        "00000006 00000024 faceface 0124 0045 0016 004e 00000100 00000200 5004 0200 00000000",
    ));
    // A phone that heeded VERSION would take a frame of the old numbering for a duplicate: a reset may go out only
    // with a VERSION behind it.
    let transfers = [host.take(), host.advance(2500)].concat();
    let at = transfers.iter().position(|transfer| transfer.len() == 36).unwrap();
    let (reset, behind) = (&transfers[at], &transfers[at + 1..]);
    assert_eq!(reset[..20], hex("00000006 00000024 feedface 0046 ffff 004d 0016"));
    assert_eq!(reset[24..30], hex("00000100 5004"), "ack is the stale segment's seq");
    assert_eq!(behind, [hex(VERSION_2)]);
    assert!(transfers[..at].iter().all(|transfer| *transfer == hex(VERSION_2)));
    // The answer starts a new numbering, without further resets.
    host.give(&hex(VERSION_2));
    assert_eq!(host.take(), [hex("00000002 00000011 feedface 0000 ffff 07")]);
}

#[test]
fn a_flood_of_stale_frames_does_not_keep_the_link_from_coming_up() {
    let mut rig = Rig::new(Config::HOST);
    rig.serve();
    for tx_seq in 0..200 {
        let stale = Frame::v2(CONTROL, 0xface_face, tx_seq, 9, b"\x07old").bytes();
        rig.phone.say_raw(stale);
    }
    rig.attach();
    rig.advance(8000);
    assert_eq!(rig.host.mux.link(), LinkState::Up { version: 2 });
    assert_eq!(rig.host.mux.stats().stale, 200);
    let (conn, _) = rig.open(7);
    check_echo(&mut rig, conn);
    rig.check();
}

#[test]
fn stale_segments_behind_each_other_do_not_kill_the_new_session() {
    let mut rig = Rig::up(Config::HOST);
    let (_, one) = rig.open(8);
    let (_, two) = rig.open(8);
    // The phone has a lot to say when the session dies: all of it arrives while the host waits for VERSION's answer.
    rig.phone.write(one, &pattern(1, 0, 100_000));
    rig.phone.write(two, &pattern(2, 0, 100_000));
    rig.host.give(&Frame::v2(CONTROL, 0xface_face, 9, 9, DUPLICATE).bytes());
    rig.advance(10_000);
    let events = rig.host.take_events();
    let deaths = events.iter().filter(|event| matches!(event, Event::SessionDead { .. }));
    assert_eq!(deaths.count(), 1, "{events:?}");
    assert_eq!(events.last(), Some(&Event::LinkUp { version: 2 }));
    check_echo_on_new(&mut rig);
    rig.check();
}

#[test]
fn version_1_brings_the_link_up_without_setup() {
    let mut rig = Rig::new(Config::HOST);
    rig.serve();
    rig.phone.knobs.version = 1;
    rig.attach();
    rig.settle();
    assert_eq!(rig.host.take_events(), [Event::LinkUp { version: 1 }]);
    assert_eq!(rig.phone.session, Session::Up(1));
    let (conn, _) = rig.open(7);
    check_echo(&mut rig, conn);
    assert!(!protocols(&rig).contains(&SETUP));
    rig.check();
}

#[test]
fn version_2_draws_setup_and_the_link_is_up() {
    let mut rig = Rig::new(Config::HOST);
    rig.attach();
    rig.settle();
    assert_eq!(rig.host.take_events(), [Event::LinkUp { version: 2 }]);
    assert_eq!(rig.phone.session, Session::Up(2));
    assert_eq!(protocols(&rig), [VERSION, SETUP]);
    rig.check();
}

#[test]
fn any_other_version_fails_the_link_with_the_reason() {
    for version in [0, 3, 20, u32::MAX] {
        let mut rig = Rig::new(Config::HOST);
        rig.phone.knobs.odd_version = Some(version);
        rig.attach();
        rig.settle();
        let reason = LinkFailure::UnknownVersion(version);
        assert_eq!(rig.host.take_events(), [Event::LinkFailed { reason }]);
        assert_eq!(protocols(&rig), [VERSION]);
    }
}

#[test]
fn a_second_version_answer_in_a_session_changes_nothing() {
    let mut rig = Rig::up(Config::HOST);
    let (conn, _) = rig.open(7);
    rig.host.give(&hex(VERSION_2));
    rig.settle();
    assert_eq!(rig.host.take_events(), []);
    check_echo(&mut rig, conn);
    rig.check();
}

// ---- link up ------------------------------------------------------------------------------------

#[test]
fn the_duplicate_packet_text_ends_all_connections_and_runs_version_again() {
    let mut rig = Rig::up(Config::HOST);
    let (one, _) = rig.open(7);
    let (two, _) = rig.open(8);
    let pending = rig.host.mux.connect(rig.host.now, 9, 131_072).unwrap();
    let lost = rig.host.take();
    assert_eq!(lost.len(), 1, "a SYN that is lost after it was numbered");
    // The next frame arrives with a number too many.
    let (transfers, _) = rig.host.write(one, b"x");
    rig.out(transfers);
    assert_eq!(rig.phone.session, Session::Dead);
    rig.settle();
    let mut events = rig.host.take_events();
    assert_eq!(events.remove(0), Event::SessionDead { cause: DeathCause::DuplicatePacket });
    assert_eq!(events.pop(), Some(Event::LinkUp { version: 2 }));
    for conn in [one, two, pending] {
        assert!(events.contains(&Event::Closed { conn, reason: CloseReason::SessionDead }));
    }
    assert_eq!(events.len(), 3);
    assert_eq!(rig.host.mux.stats().dead_sessions, 1);
    assert_eq!(rig.host.mux.connections(), 0);
    assert_eq!(rig.host.said.len(), 1);
    assert_eq!(rig.phone.complaints.len(), 1, "the lost number, nothing after it");
    let (conn, _) = rig.open(7);
    check_echo(&mut rig, conn);
    assert_eq!(rig.phone.complaints.len(), 1);
}

/// A rig whose phone has taken all frames of the host's but the last, which was sent right now.
fn deaf_from_now(config: Config) -> (Rig, usbmux_core::ConnId, usize) {
    let mut rig = Rig::up(config);
    let (conn, index) = rig.open(8);
    rig.phone.write(index, b"a");
    rig.deliver_one();
    let acknowledgement = rig.host.take();
    assert_eq!(acknowledgement.len(), 1);
    rig.phone.knobs.stuck_rx_seq = Some(2);
    rig.out(acknowledgement);
    (rig, conn, index)
}

#[test]
fn rx_seq_standing_still_for_a_second_ends_the_session() {
    let (mut rig, conn, index) = deaf_from_now(IMMEDIATE);
    rig.advance(1001);
    // The first such frame could have been on its way for long; the second is the last straw.
    rig.phone.write(index, b"b");
    rig.settle();
    assert_eq!(rig.host.take_events(), []);
    rig.phone.write(index, b"c");
    rig.settle();
    let events = rig.host.take_events();
    assert_eq!(
        events,
        [
            Event::SessionDead { cause: DeathCause::StuckSequence },
            Event::Closed { conn, reason: CloseReason::SessionDead },
            Event::LinkUp { version: 2 },
        ]
    );
    assert_eq!(rig.host.delivered(conn), b"ab", "a dead session's frame is not believed");
}

#[test]
fn rx_seq_that_lags_less_than_a_second_is_no_death() {
    let (mut rig, conn, index) = deaf_from_now(IMMEDIATE);
    rig.advance(999);
    for _ in 0..5 {
        rig.phone.write(index, b"b");
        rig.settle();
    }
    assert_eq!(rig.host.take_events(), []);
    // One such frame after the second, and then it hears us again: everything begins anew.
    rig.advance(2);
    rig.phone.write(index, b"c");
    rig.settle();
    rig.phone.knobs.stuck_rx_seq = None;
    rig.phone.write(index, b"d");
    rig.settle();
    rig.advance(5000);
    rig.phone.write(index, b"e");
    rig.settle();
    assert_eq!(rig.host.take_events(), []);
    assert_eq!(rig.host.delivered(conn), b"abbbbbcde");
    rig.check();
}

#[test]
fn without_the_watch_only_the_phones_words_end_a_session() {
    let mut rig = Rig::up(Config { watch: false, ..IMMEDIATE });
    let (conn, index) = rig.open(8);
    rig.phone.knobs.stuck_rx_seq = Some(2);
    rig.send(conn, b"bytes");
    for _ in 0..5 {
        rig.advance(2000);
        rig.phone.write(index, b"a");
        rig.settle();
    }
    assert_eq!(rig.host.take_events(), []);
    assert_eq!(rig.host.delivered(conn), b"aaaaa");
}

#[test]
fn a_dead_session_that_version_does_not_revive_fails_the_link() {
    let mut rig = Rig::up(Config::HOST);
    let (conn, _) = rig.open(7);
    rig.phone.knobs.silent_versions = u32::MAX;
    rig.phone.say(CONTROL, DUPLICATE);
    rig.settle();
    let events = rig.host.take_events();
    assert_eq!(events[0], Event::SessionDead { cause: DeathCause::DuplicatePacket });
    assert_eq!(events[1], Event::Closed { conn, reason: CloseReason::SessionDead });
    rig.advance(7500);
    assert_eq!(rig.host.take_events(), [Event::LinkFailed { reason: LinkFailure::Silent }]);
}

#[test]
fn other_words_of_the_phone_are_passed_on_and_end_nothing() {
    let mut rig = Rig::up(Config::HOST);
    let (conn, _) = rig.open(7);
    rig.phone.say(CONTROL, b"\x05almost a detected duplicate");
    rig.phone.say(CONTROL, b"\x07");
    rig.settle();
    let texts = [(5, b"almost a detected duplicate".to_vec()), (7, vec![])];
    assert_eq!(rig.host.said, texts);
    assert_eq!(rig.host.take_events(), []);
    check_echo(&mut rig, conn);
    rig.check();
}

#[test]
fn a_gap_in_the_phones_numbers_is_counted_and_carried_on() {
    let mut rig = Rig::up(Config::HOST);
    let (conn, _) = rig.open(7);
    check_echo(&mut rig, conn);
    rig.phone.skip_numbers(5);
    check_echo(&mut rig, conn);
    assert_eq!(rig.host.mux.stats().sequence_gaps, 1);
    rig.phone.skip_numbers(u16::MAX - 1);
    check_echo(&mut rig, conn);
    assert_eq!(rig.host.mux.stats().sequence_gaps, 2);
    assert_eq!(rig.host.take_events(), []);
    assert_eq!(rig.host.mux.stats().dead_sessions, 0);
}

#[test]
fn frame_numbers_go_round() {
    let mut rig = Rig::up(IMMEDIATE);
    let (conn, _) = rig.open(9);
    for _ in 0..70_000 {
        let (transfers, taken) = rig.host.write(conn, b"x");
        assert_eq!(taken, 1);
        rig.out(transfers);
        rig.settle();
        rig.transfers.clear();
        rig.phone.seen.clear();
    }
    assert_eq!(rig.phone.connections[0].read.len(), 70_000);
    assert_eq!(rig.host.mux.stats().sequence_gaps, 0);
    check_echo_on_new(&mut rig);
    rig.check();
}

fn check_echo_on_new(rig: &mut Rig) {
    let (conn, _) = rig.open(7);
    check_echo(rig, conn);
}

#[test]
fn a_frame_of_an_unknown_protocol_is_ignored() {
    let mut rig = Rig::up(Config::HOST);
    let (conn, _) = rig.open(7);
    for protocol in [3, 4, 5, 7, 0x100, u32::MAX] {
        rig.phone.say(protocol, b"what is this");
        rig.settle();
    }
    assert_eq!(rig.host.take_events(), []);
    check_echo(&mut rig, conn);
    rig.check();
}

#[test]
fn unplugging_ends_every_connection() {
    let mut rig = Rig::up(Config::HOST);
    let (open, _) = rig.open(7);
    rig.phone.knobs.deaf = true;
    let pending = rig.host.mux.connect(rig.host.now, 8, 131_072).unwrap();
    rig.settle();
    rig.host.mux.detach(rig.host.now);
    let events = rig.host.take_events();
    assert_eq!(events.len(), 2);
    for conn in [open, pending] {
        assert!(events.contains(&Event::Closed { conn, reason: CloseReason::LinkLost }));
    }
    assert_eq!(rig.host.mux.link(), LinkState::Down);
    assert_eq!(rig.host.take(), Vec::<Vec<u8>>::new());
    assert_eq!(rig.host.mux.next_tick(), None);
}

// ---- SYN sent -----------------------------------------------------------------------------------

#[test]
fn syn_ack_is_acknowledged_and_the_connection_is_open() {
    let mut rig = Rig::up(Config::HOST);
    let conn = rig.host.mux.connect(rig.host.now, 7, 131_072).unwrap();
    rig.settle();
    assert_eq!(rig.host.take_events(), [Event::Connected { conn }]);
    assert_eq!(rig.phone.connections[0].state, State::Open);
    let flags: Vec<u8> = segments(&rig).iter().map(|segment| segment.flags).collect();
    assert_eq!(flags, [SYN, ACK]);
    rig.check();
}

#[test]
fn the_phones_first_number_need_not_be_0() {
    for isn in [1, 0x1234_5678, u32::MAX - 1, u32::MAX] {
        let mut rig = Rig::up(Config::HOST);
        rig.phone.knobs.isn = isn;
        let (conn, index) = rig.open(7);
        assert_eq!(rig.phone.connections[index].host_ack, isn.wrapping_add(1));
        check_echo(&mut rig, conn);
        rig.check();
    }
}

#[test]
fn a_reset_refuses_and_its_text_is_kept() {
    let mut rig = Rig::up(Config::HOST);
    let quiet = rig.host.mux.connect(rig.host.now, 99, 131_072).unwrap();
    rig.settle();
    let refused = Event::Refused { conn: quiet, reason: RefusedBy::Reset };
    assert_eq!(rig.host.take_events(), [refused]);
    rig.check();

    let conn = rig.host.mux.connect(rig.host.now, 99, 131_072).unwrap();
    let syn = rig.host.take();
    let source = u16::from(syn[0][16]) << 8 | u16::from(syn[0][17]);
    rig.phone.session = Session::Up(2);
    let refusal = Segment {
        source: 99,
        dest: source,
        seq: 0,
        ack: 1,
        flags: RST,
        window_units: 0,
        payload: b"no such service".to_vec(),
    };
    rig.phone.say_segment(&refusal);
    rig.deliver_one();
    assert_eq!(rig.host.take_events(), [Event::Refused { conn, reason: RefusedBy::Reset }]);
    assert_eq!(rig.host.reset_texts[&conn], b"no such service");
    assert_eq!(rig.host.mux.connections(), 0);
}

#[test]
fn anything_else_while_opening_is_reset_and_refused() {
    // A bare acknowledgement, data, a SYN, a SYN|ACK of something else, a FIN.
    let answers = [(ACK, 1), (ACK | PSH, 1), (SYN, 0), (SYN | ACK, 2), (SYN | ACK, 0), (FIN, 1)];
    for (flags, ack) in answers {
        let mut rig = Rig::up(Config::HOST);
        rig.phone.knobs.deaf = true;
        let (port, window) = (7, 131_072);
        let conn = rig.host.mux.connect(rig.host.now, port, window).unwrap();
        rig.settle();
        let syn = segments(&rig).pop().unwrap();
        let answer = Segment {
            source: 7,
            dest: syn.source,
            seq: 0,
            ack,
            flags,
            window_units: 512,
            payload: Vec::new(),
        };
        rig.phone.say_segment(&answer);
        rig.settle();
        let refused = Event::Refused { conn, reason: RefusedBy::Protocol };
        assert_eq!(rig.host.take_events(), [refused], "flags {flags:#04x} ack {ack}");
        let last = segments(&rig).pop().unwrap();
        assert_eq!((last.flags, last.source, last.dest), (RST, syn.source, 7));
        rig.check();
    }
}

#[test]
fn five_seconds_without_an_answer_are_a_timeout_and_a_reset() {
    let mut rig = Rig::up(Config::HOST);
    rig.phone.knobs.deaf = true;
    let conn = rig.host.mux.connect(rig.host.now, 7, 131_072).unwrap();
    rig.settle();
    rig.advance(4999);
    assert_eq!(rig.host.take_events(), []);
    assert_eq!(segments(&rig).len(), 1);
    rig.advance(1);
    assert_eq!(rig.host.take_events(), [Event::Refused { conn, reason: RefusedBy::Timeout }]);
    assert_eq!(segments(&rig).pop().unwrap().flags, RST);
    assert_eq!(rig.host.mux.connections(), 0);
    rig.check();
}

// ---- established: data --------------------------------------------------------------------------

#[test]
fn data_is_delivered_and_acknowledged_at_once_when_told_so() {
    let mut rig = Rig::up(IMMEDIATE);
    let (conn, index) = rig.open(8);
    for count in 1..=5 {
        rig.phone.write(index, b"abc");
        rig.settle();
        assert_eq!(bare_acks(&rig, 8), 1 + count);
        assert_eq!(rig.phone.connections[index].in_flight(), 0);
    }
    assert_eq!(rig.host.delivered(conn), b"abcabcabcabcabc");
    rig.check();
}

#[test]
fn prompt_acknowledgement_waits_2_ms_for_a_second_frame() {
    let mut rig = Rig::up(Config::HOST);
    let (_, index) = rig.open(8);
    rig.phone.write(index, b"abc");
    rig.settle();
    assert_eq!(bare_acks(&rig, 8), 1, "only the handshake's");
    rig.advance(1);
    assert_eq!(bare_acks(&rig, 8), 1);
    rig.advance(1);
    assert_eq!(bare_acks(&rig, 8), 2);
    // Two frames are acknowledged at once.
    rig.phone.write(index, b"abc");
    rig.settle();
    rig.phone.write(index, b"abc");
    rig.settle();
    assert_eq!(bare_acks(&rig, 8), 3);
    assert_eq!(rig.phone.connections[index].in_flight(), 0);
    rig.advance(100);
    assert_eq!(bare_acks(&rig, 8), 3);
    rig.check();
}

#[test]
fn prompt_acknowledgement_comes_at_half_the_window() {
    let mut rig = Rig::up(Config::HOST);
    let conn = rig.host.mux.connect(rig.host.now, 8, 8192).unwrap();
    rig.settle();
    rig.phone.write(0, &pattern(0, 0, 4096));
    rig.settle();
    rig.advance(2);
    rig.phone.seen.clear();
    rig.phone.write(0, &pattern(0, 4096, 4097));
    rig.settle();
    assert_eq!(bare_acks(&rig, 8), 1, "one frame, but more than half the window");
    assert!(rig.host.delivered(conn) == pattern(0, 0, 8193));
    rig.check();
}

#[test]
fn classic_acknowledgement_waits_30_ms() {
    let mut rig = Rig::up(Config { ack: AckPolicy::Classic, ..Config::HOST });
    let (_, index) = rig.open(8);
    rig.phone.write(index, b"abc");
    rig.phone.write(index, b"abc");
    rig.phone.write(index, b"abc");
    rig.advance(29);
    assert_eq!(bare_acks(&rig, 8), 1, "only the handshake's");
    rig.advance(1);
    assert_eq!(bare_acks(&rig, 8), 2);
    assert_eq!(rig.phone.connections[index].in_flight(), 0);
    rig.check();
}

#[test]
fn data_of_ours_carries_the_acknowledgement() {
    let mut rig = Rig::up(Config::HOST);
    let (conn, index) = rig.open(8);
    rig.phone.write(index, b"question");
    rig.settle();
    let (transfers, _) = rig.host.write(conn, b"answer");
    rig.out(transfers);
    assert_eq!(rig.phone.connections[index].in_flight(), 0);
    rig.advance(100);
    assert_eq!(bare_acks(&rig, 8), 1, "no further acknowledgement is due");
    rig.check();
}

#[test]
fn an_acknowledgement_is_never_acknowledged() {
    for window_style in [WindowStyle::Constant, WindowStyle::Credit] {
        let mut rig = Rig::up(Config { window_style, ..IMMEDIATE });
        let (conn, index) = rig.open(8);
        rig.send(conn, b"abc");
        for _ in 0..10 {
            let ack = rig.phone.plain(index);
            rig.phone.say_segment(&ack);
            rig.advance(50);
        }
        assert_eq!(bare_acks(&rig, 8), 1, "the handshake's");
        rig.check();
    }
}

#[test]
fn a_slow_reader_stops_only_its_own_connection() {
    for window_style in [WindowStyle::Constant, WindowStyle::Credit] {
        let mut rig = Rig::up(Config { window_style, ..Config::HOST });
        let (slow, slow_index) = rig.open(8);
        let (fast, fast_index) = rig.open(8);
        rig.host.held.insert(slow, 0);
        let bytes = pattern(1, 0, 300_000);
        rig.phone.write(slow_index, &bytes);
        rig.phone.write(fast_index, &bytes);
        rig.advance(1000);
        assert!(rig.host.delivered(fast) == bytes);
        assert!(rig.host.delivered(slow) == &bytes[..131_072]);
        assert_eq!(rig.host.mux.credit(slow), 0);
        // It reads a little: less than a step of 256 bytes need not open anything, more must.
        for consumed in [255, 1000, 5000] {
            let held = 131_072 - consumed;
            let before = rig.host.delivered(slow).len();
            rig.host.held.insert(slow, held);
            rig.host.mux.set_held(rig.host.now, slow, held).unwrap();
            rig.advance(50);
            let edge = before - held as usize + 131_072;
            let after = rig.host.delivered(slow).len();
            assert!((edge - 255..=edge).contains(&after), "{after} of {edge}");
        }
        // Reading everything from now on, the rest comes.
        rig.host.held.remove(&slow);
        rig.host.mux.set_held(rig.host.now, slow, 0).unwrap();
        rig.advance(1000);
        assert!(rig.host.delivered(slow) == bytes);
        assert_eq!(rig.host.take_events(), []);
        rig.check();
    }
}

#[test]
fn a_raised_window_is_announced() {
    let mut rig = Rig::up(Config::HOST);
    let conn = rig.host.mux.connect(rig.host.now, 8, 4096).unwrap();
    rig.settle();
    rig.host.held.insert(conn, 0);
    rig.phone.write(0, &pattern(2, 0, 20_000));
    rig.advance(50);
    assert_eq!(rig.host.delivered(conn).len(), 4096);
    rig.host.mux.set_window(rig.host.now, conn, 16_384).unwrap();
    rig.advance(50);
    assert_eq!(rig.host.delivered(conn).len(), 16_384);
    rig.host.mux.set_window(rig.host.now, conn, 4096).unwrap();
    rig.advance(50);
    assert_eq!(rig.host.mux.credit(conn), 0, "a window is only ever raised");
    rig.check();
}

#[test]
fn we_stay_within_the_phones_window() {
    let mut rig = Rig::up(Config::HOST);
    rig.phone.knobs.window = 10_000;
    let (conn, index) = rig.open(8);
    let bytes = pattern(3, 0, 50_000);
    let mut sent = 0;
    let (transfers, taken) = rig.host.write(conn, &bytes);
    rig.out(transfers);
    sent += taken;
    assert_eq!(sent, 10_000 / 256 * 256);
    assert_eq!(rig.host.mux.sendable(conn), 0);
    assert_eq!(rig.host.take_events(), []);
    while sent < bytes.len() {
        // More than half the window: less may wait for company.
        rig.phone.read(index, 6000);
        rig.settle();
        let sendable = Event::Sendable { conn };
        assert_eq!(rig.host.take_events(), [sendable], "room after none is told once, at {sent}");
        let (transfers, taken) = rig.host.write(conn, &bytes[sent..]);
        assert!(taken > 0);
        rig.out(transfers);
        sent += taken;
    }
    rig.phone.read(index, usize::MAX);
    rig.settle();
    assert!(rig.phone.connections[index].read == bytes);
    assert_eq!(rig.host.mux.unacknowledged(conn), 0);
    rig.check();
}

#[test]
fn a_little_room_is_told_after_2_ms() {
    let mut rig = Rig::up(Config::HOST);
    rig.phone.knobs.window = 10_000;
    let (conn, index) = rig.open(8);
    let (transfers, _) = rig.host.write(conn, &pattern(3, 0, 50_000));
    rig.out(transfers);
    // A program that reads a little and then waits for more must not wait for ever.
    rig.phone.read(index, 300);
    rig.settle();
    assert_eq!(rig.host.take_events(), [], "less than half a window may wait for company");
    rig.advance(2);
    assert_eq!(rig.host.take_events(), [Event::Sendable { conn }]);
    assert!((1..=300).contains(&rig.host.mux.sendable(conn)));
    rig.check();
}

#[test]
fn a_window_that_shrinks_below_what_is_in_flight_is_no_fault() {
    let mut rig = Rig::up(Config::HOST);
    let (conn, index) = rig.open(8);
    rig.send(conn, &pattern(4, 0, 20_000));
    let mut ack = rig.phone.plain(index);
    ack.window_units = 2;
    rig.phone.say_segment(&ack);
    rig.settle();
    assert_eq!(rig.host.mux.sendable(conn), 0);
    assert_eq!(rig.host.take_events(), []);
    rig.phone.read(index, usize::MAX);
    rig.settle();
    assert_eq!(rig.host.take_events(), [Event::Sendable { conn }]);
    rig.check();
}

#[test]
fn bytes_seen_before_are_dropped_and_acknowledged_again() {
    let mut rig = Rig::up(Config::HOST);
    let (conn, index) = rig.open(8);
    rig.phone.write(index, b"abcdef");
    rig.advance(50);
    let acks = bare_acks(&rig, 8);
    let mut again = rig.phone.plain(index);
    again.seq -= 6;
    again.payload = b"abcdef".to_vec();
    rig.phone.say_segment(&again);
    rig.advance(50);
    assert_eq!(rig.host.delivered(conn), b"abcdef");
    assert_eq!(bare_acks(&rig, 8), acks + 1);
    assert_eq!(rig.host.mux.stats().repeated, 1);
    // Half seen, half new.
    again.seq += 3;
    again.payload = b"defghi".to_vec();
    rig.phone.connections[index].next_seq += 3;
    rig.phone.say_segment(&again);
    rig.advance(50);
    assert_eq!(rig.host.delivered(conn), b"abcdefghi");
    rig.phone.write(index, b"jkl");
    rig.advance(50);
    assert_eq!(rig.host.delivered(conn), b"abcdefghijkl");
    assert_eq!(rig.host.take_events(), []);
    rig.check();
}

#[test]
fn a_gap_ends_the_connection_and_no_other() {
    let mut rig = Rig::up(Config::HOST);
    let (conn, index) = rig.open(8);
    let (other, _) = rig.open(7);
    rig.phone.write(index, b"abc");
    rig.settle();
    rig.phone.connections[index].next_seq += 1;
    rig.phone.write(index, b"efg");
    rig.settle();
    assert_eq!(rig.host.take_events(), [Event::Closed { conn, reason: CloseReason::Gap }]);
    assert_eq!(rig.host.delivered(conn), b"abc", "nothing after the gap");
    assert_eq!(rig.phone.connections[index].state, State::ResetByHost);
    assert_eq!(rig.host.mux.stats().gaps, 1);
    check_echo(&mut rig, other);
}

#[test]
fn a_gap_may_be_counted_instead() {
    let mut rig = Rig::up(Config { gap: GapPolicy::Count, ..Config::HOST });
    let (conn, index) = rig.open(8);
    rig.phone.write(index, b"abc");
    rig.settle();
    rig.phone.connections[index].next_seq += 1000;
    rig.phone.write(index, b"efg");
    rig.advance(50);
    assert_eq!(rig.host.delivered(conn), b"abcefg");
    assert_eq!(rig.host.mux.stats().gaps, 1);
    assert_eq!(rig.host.take_events(), []);
    assert_eq!(rig.phone.connections[index].in_flight(), 0, "what is lost counts as consumed");
}

#[test]
fn an_acknowledgement_beyond_what_was_sent_ends_this_connection_only() {
    let mut rig = Rig::up(Config::HOST);
    let (conn, index) = rig.open(8);
    let (other, _) = rig.open(7);
    rig.send(conn, b"abc");
    let mut ack = rig.phone.plain(index);
    ack.ack = 5;
    rig.phone.say_segment(&ack);
    rig.settle();
    assert_eq!(rig.host.take_events(), [Event::Closed { conn, reason: CloseReason::BadAck }]);
    assert_eq!(rig.phone.connections[index].state, State::ResetByHost);
    assert_eq!(rig.host.mux.stats().bad_acks, 1);
    check_echo(&mut rig, other);
    rig.check();
}

#[test]
fn an_acknowledgement_of_exactly_what_was_sent_is_fine_and_an_old_one_too() {
    let mut rig = Rig::up(Config::HOST);
    let (conn, index) = rig.open(8);
    rig.send(conn, b"abc");
    let mut ack = rig.phone.plain(index);
    for number in [4, 3, 1, 4] {
        ack.ack = number;
        rig.phone.say_segment(&ack);
        rig.settle();
        assert_eq!(rig.host.mux.unacknowledged(conn), 0, "all was acknowledged at first");
    }
    assert_eq!(rig.host.take_events(), []);
    check_echo_on_new(&mut rig);
    rig.check();
}

#[test]
fn payload_beyond_the_window_ends_this_connection_only() {
    for window_style in [WindowStyle::Constant, WindowStyle::Credit] {
        let mut rig = Rig::up(Config { window_style, ..Config::HOST });
        let conn = rig.host.mux.connect(rig.host.now, 8, 4096).unwrap();
        rig.settle();
        rig.host.take_events();
        let (other, _) = rig.open(7);
        rig.host.held.insert(conn, 0);
        rig.phone.knobs.ignores_window = true;
        rig.phone.write(0, &pattern(5, 0, 4096));
        rig.advance(50);
        assert_eq!(rig.host.take_events(), [], "exactly the window");
        rig.phone.write(0, b"!");
        rig.settle();
        let closed = Event::Closed { conn, reason: CloseReason::Overrun };
        assert_eq!(rig.host.take_events(), [closed]);
        assert!(rig.host.delivered(conn).len() <= 4096);
        assert_eq!(rig.phone.connections[0].state, State::ResetByHost);
        assert_eq!(rig.host.mux.stats().overruns, 1);
        check_echo(&mut rig, other);
        rig.check();
    }
}

#[test]
fn a_frame_larger_than_the_window_delivers_no_more_than_the_window() {
    let mut rig = Rig::up(Config::HOST);
    let conn = rig.host.mux.connect(rig.host.now, 8, 4096).unwrap();
    rig.settle();
    rig.host.take_events();
    rig.host.held.insert(conn, 0);
    rig.phone.knobs.ignores_window = true;
    rig.phone.write(0, &pattern(5, 0, 4097));
    rig.settle();
    let closed = Event::Closed { conn, reason: CloseReason::Overrun };
    assert_eq!(rig.host.take_events(), [closed]);
    assert!(rig.host.delivered(conn).len() <= 4096);
}

// ---- established: the end -----------------------------------------------------------------------

#[test]
fn a_reset_comes_after_everything_delivered_with_its_text() {
    let mut rig = Rig::up(Config::HOST);
    let (conn, index) = rig.open(8);
    let bytes = pattern(6, 0, 100_000);
    rig.phone.write(index, &bytes);
    rig.phone.finish(index);
    rig.settle();
    assert!(rig.host.delivered(conn) == bytes);
    assert_eq!(rig.host.take_events(), [Event::Closed { conn, reason: CloseReason::Reset }]);
    assert_eq!(rig.host.reset_texts[&conn], CLOSED_TEXT.as_bytes());
    assert_eq!(rig.host.said, [(3, SOCKET_CLOSED_TEXT.as_bytes().to_vec())]);
    assert_eq!(rig.host.mux.connections(), 0);
    rig.advance(5000);
    rig.check();
}

#[test]
fn a_reset_with_an_odd_text_tells_it() {
    let mut rig = Rig::up(Config::HOST);
    let (conn, index) = rig.open(8);
    rig.phone.reset(index, "the dog ate it");
    rig.settle();
    assert_eq!(rig.host.take_events(), [Event::Closed { conn, reason: CloseReason::Reset }]);
    assert_eq!(rig.host.reset_texts[&conn], b"the dog ate it");
    rig.check();
}

#[test]
fn data_with_other_flags_is_accepted_and_counted() {
    let mut rig = Rig::up(Config::HOST);
    rig.phone.knobs.data_flags = PSH | ACK;
    let (conn, index) = rig.open(8);
    rig.phone.write(index, b"pushed");
    rig.advance(50);
    assert_eq!(rig.host.delivered(conn), b"pushed");
    assert_eq!(rig.host.mux.stats().odd_flags, 1);
    assert_eq!(rig.host.take_events(), []);
    assert_eq!(rig.phone.connections[index].in_flight(), 0);
    rig.check();
}

#[test]
fn a_fin_is_end_of_file_and_we_may_still_send() {
    let mut rig = Rig::up(Config::HOST);
    let (conn, index) = rig.open(8);
    let mut fin = rig.phone.plain(index);
    fin.flags = FIN | ACK;
    fin.payload = b"last words".to_vec();
    rig.phone.say_segment(&fin);
    rig.settle();
    assert_eq!(rig.host.delivered(conn), b"last words");
    assert_eq!(rig.host.take_events(), [Event::Finished { conn }]);
    // The phone's numbers: ten bytes and the FIN, whichever way the host counts it.
    rig.phone.connections[index].next_seq += 11;
    rig.send(conn, b"more of ours");
    assert_eq!(rig.phone.connections[index].unread, b"more of ours");
    rig.host.mux.close(rig.host.now, conn);
    rig.phone.read(index, usize::MAX);
    rig.settle();
    assert_eq!(rig.host.take_events(), [Event::Closed { conn, reason: CloseReason::Drained }]);
    assert_eq!(rig.phone.connections[index].state, State::ResetByHost);
}

#[test]
fn close_waits_until_all_is_acknowledged_and_then_resets() {
    let mut rig = Rig::up(Config::HOST);
    let (conn, index) = rig.open(8);
    let bytes = pattern(7, 0, 60_000);
    rig.send(conn, &bytes);
    rig.host.mux.close(rig.host.now, conn);
    rig.advance(1000);
    assert_eq!(rig.phone.connections[index].state, State::Open);
    rig.phone.read(index, 59_999);
    rig.advance(1000);
    assert_eq!(rig.phone.connections[index].state, State::Open, "one byte is missing");
    assert_eq!(rig.host.take_events(), []);
    rig.phone.read(index, 1);
    rig.settle();
    assert_eq!(rig.phone.connections[index].state, State::ResetByHost);
    assert_eq!(rig.phone.connections[index].dropped, 0);
    assert!(rig.phone.connections[index].read == bytes);
    assert_eq!(rig.host.take_events(), [Event::Closed { conn, reason: CloseReason::Drained }]);
    rig.check();
}

#[test]
fn close_with_nothing_in_flight_resets_at_once() {
    let mut rig = Rig::up(Config::HOST);
    let (conn, index) = rig.open(8);
    rig.host.mux.close(rig.host.now, conn);
    rig.settle();
    assert_eq!(rig.phone.connections[index].state, State::ResetByHost);
    assert_eq!(rig.host.take_events(), [Event::Closed { conn, reason: CloseReason::Drained }]);
    rig.check();
}

#[test]
fn close_discards_and_renews_the_window_so_that_the_phones_program_comes_to_reading() {
    let styles = [WindowStyle::Constant, WindowStyle::Credit];
    let policies = [AckPolicy::Prompt, AckPolicy::Immediate, AckPolicy::Classic];
    for (window_style, ack) in styles.into_iter().flat_map(|style| policies.map(|ack| (style, ack)))
    {
        let mut rig = Rig::up(Config { window_style, ack, ..Config::HOST });
        let (conn, index) = rig.open(8);
        rig.host.held.insert(conn, 0);
        rig.send(conn, b"read this when you have written");
        // The program on the phone writes a megabyte before it reads.
        rig.phone.write(index, &pattern(8, 0, 1_000_000));
        rig.advance(100);
        assert!(!rig.phone.connections[index].unsent.is_empty());
        let delivered = rig.host.delivered(conn).len();
        rig.host.mux.close(rig.host.now, conn);
        rig.advance(1000);
        assert!(rig.phone.connections[index].unsent.is_empty(), "the window was not renewed");
        assert_eq!(rig.host.delivered(conn).len(), delivered, "discarded from close on");
        rig.phone.read(index, usize::MAX);
        rig.settle();
        assert_eq!(rig.phone.connections[index].read, b"read this when you have written");
        let closed = Event::Closed { conn, reason: CloseReason::Drained };
        assert_eq!(rig.host.take_events(), [closed]);
        rig.check();
    }
}

#[test]
fn close_gives_up_after_30_seconds() {
    let mut rig = Rig::up(Config::HOST);
    let (conn, index) = rig.open(8);
    let (other, _) = rig.open(7);
    rig.send(conn, b"never read");
    let closed_at = rig.host.now;
    rig.host.mux.close(closed_at, conn);
    rig.advance(29_999);
    assert_eq!(rig.host.take_events(), []);
    assert_eq!(rig.phone.connections[index].state, State::Open);
    rig.advance(1);
    let closed = Event::Closed { conn, reason: CloseReason::DrainTimeout };
    assert_eq!(rig.host.take_events(), [closed]);
    assert_eq!(rig.phone.connections[index].state, State::ResetByHost);
    assert_eq!(rig.host.mux.stats().drain_timeouts, 1);
    check_echo(&mut rig, other);
    rig.check();
}

#[test]
fn a_reset_while_draining_is_the_end() {
    let mut rig = Rig::up(Config::HOST);
    let (conn, index) = rig.open(8);
    rig.send(conn, b"never read");
    rig.host.mux.close(rig.host.now, conn);
    rig.phone.reset(index, "");
    rig.settle();
    assert_eq!(rig.host.take_events(), [Event::Closed { conn, reason: CloseReason::Reset }]);
    rig.advance(60_000);
    assert_eq!(rig.host.take_events(), []);
    rig.check();
}

#[test]
fn close_while_opening_ends_without_a_connection_left_on_the_phone() {
    let mut rig = Rig::up(Config::HOST);
    let conn = rig.host.mux.connect(rig.host.now, 8, 131_072).unwrap();
    let syn = rig.host.take();
    rig.host.mux.close(rig.host.now, conn);
    rig.out(syn);
    rig.advance(6000);
    assert_eq!(rig.host.mux.connections(), 0);
    assert!(rig.phone.connections.iter().all(|connection| !connection.alive()));
}

#[test]
fn abort_resets_at_once_and_no_event_follows() {
    let mut rig = Rig::up(Config::HOST);
    let (conn, index) = rig.open(8);
    let (other, _) = rig.open(7);
    rig.send(conn, b"never read");
    rig.host.mux.abort(rig.host.now, conn);
    rig.settle();
    assert_eq!(rig.phone.connections[index].state, State::ResetByHost);
    assert_eq!(rig.phone.connections[index].dropped, 10, "a phone drops what it has not handed on");
    assert_eq!(rig.host.take_events(), []);
    assert_eq!(rig.host.mux.sendable(conn), 0);
    assert!(rig.host.mux.set_held(rig.host.now, conn, 1).is_err());
    check_echo(&mut rig, other);
    rig.check();
}

#[test]
fn a_port_pair_rests_for_two_seconds_after_its_connection() {
    // Opened and aborted as fast as it goes: until every port was used once no port may come back, and then the
    // engine must say when to try again.
    let mut host = Engine::new(Role::Host, Config::HOST, 16_384);
    host.mux.attach(host.now, 512);
    host.take();
    host.give(&hex(VERSION_2));
    host.take();
    let mut used = HashMap::new();
    let mut told = 0;
    while told < 3 {
        match host.mux.connect(host.now, 8, 131_072) {
            Ok(conn) => {
                let syn = host.take().remove(0);
                let port = u16::from(syn[16]) << 8 | u16::from(syn[17]);
                assert_ne!(port, 0);
                host.mux.abort(host.now, conn);
                host.take();
                if let Some(before) = used.insert(port, host.now) {
                    assert!(host.now - before >= Duration::from_secs(2), "port {port}");
                }
                host.now = host.now + Duration::from_micros(1);
            }
            Err(ConnectError::NoPort { retry_at }) => {
                assert!(used.len() >= 32_768, "{} ports", used.len());
                assert!(retry_at > host.now && retry_at <= host.now + Duration::from_secs(2));
                host.now = retry_at;
                host.mux.tick(host.now);
                told += 1;
            }
            Err(error) => panic!("{error:?}"),
        }
    }
}

#[test]
fn a_port_pair_that_the_phone_ended_rests_too() {
    let mut rig = Rig::up(Config::HOST);
    let mut pairs: Vec<(u16, u64)> = Vec::new();
    for _ in 0..300 {
        let (_, index) = rig.open(8);
        let port = rig.phone.connections[index].host_port;
        let now = rig.host.now.as_micros();
        let young = |(used, at): &&(u16, u64)| *used == port && now < at + 2_000_000;
        assert_eq!(pairs.iter().find(young), None, "port {port} came back too early");
        rig.phone.finish(index);
        rig.settle();
        rig.host.take_events();
        pairs.push((port, rig.host.now.as_micros()));
        rig.advance(37);
    }
    rig.check();
}

#[test]
fn a_full_table_is_told_and_serves_again_when_somebody_left() {
    let mut rig = Rig::up(Config::HOST);
    let conns: Vec<_> = (0..64).map(|_| rig.open(8).0).collect();
    let now = rig.host.now;
    assert_eq!(rig.host.mux.connect(now, 8, 131_072), Err(ConnectError::NoSlot));
    assert_eq!(rig.host.mux.connect(now, 0, 131_072), Err(ConnectError::BadPort));
    rig.host.mux.abort(now, conns[17]);
    rig.settle();
    check_echo_on_new(&mut rig);
    rig.check();
}

// ---- unknown ------------------------------------------------------------------------------------

#[test]
fn a_segment_for_no_connection_is_reset_with_its_seq() {
    let mut rig = Rig::up(Config::HOST);
    let (conn, _) = rig.open(7);
    let stranger = Segment {
        source: 22,
        dest: 999,
        seq: 0x1234,
        ack: 0x5678,
        flags: ACK,
        window_units: 0x200,
        payload: b"who are you".to_vec(),
    };
    rig.phone.say_segment(&stranger);
    rig.settle();
    let reset = segments(&rig).pop().unwrap();
    assert_eq!((reset.source, reset.dest, reset.ack, reset.flags), (999, 22, 0x1234, RST));
    assert_eq!(rig.host.mux.stats().unknown_connection, 1);
    check_echo(&mut rig, conn);
    rig.check();
}

#[test]
fn a_reset_for_no_connection_is_not_answered() {
    let mut rig = Rig::up(Config::HOST);
    let before = rig.phone.seen.len();
    let (source, dest, payload) = (22, 999, b"bye".to_vec());
    let reset = Segment { source, dest, seq: 5, ack: 6, flags: RST, window_units: 0, payload };
    rig.phone.say_segment(&reset);
    rig.advance(1000);
    assert_eq!(rig.phone.seen.len(), before);
    rig.check();
}

#[test]
fn late_segments_of_one_connection_draw_one_reset() {
    let mut rig = Rig::up(Config::HOST);
    let before = rig.phone.seen.len();
    for seq in [100, 105, 110, 115, 120, 125] {
        let (source, dest, flags, payload) = (22, 999, ACK, b"later".to_vec());
        let segment = Segment { source, dest, seq, ack: 6, flags, window_units: 0, payload };
        let message = rig.phone.numbered(TCP, &segment.bytes());
        rig.host.give(&message);
    }
    rig.settle();
    assert_eq!(rig.phone.seen.len() - before, 1);
    assert_eq!(segments(&rig).pop().unwrap().ack, 125, "of the last one");
    assert_eq!(rig.host.mux.stats().resets_dropped, 0);
    rig.check();
}

#[test]
fn more_strangers_than_the_ring_holds_are_counted_and_harm_nobody() {
    let mut rig = Rig::up(Config::HOST);
    let (conn, _) = rig.open(7);
    let before = rig.phone.seen.len();
    for dest in 1000..1020 {
        let (source, flags, payload) = (22, ACK, Vec::new());
        let segment = Segment { source, dest, seq: 5, ack: 6, flags, window_units: 0, payload };
        let message = rig.phone.numbered(TCP, &segment.bytes());
        rig.host.give(&message);
    }
    rig.settle();
    assert_eq!(rig.host.mux.stats().unknown_connection, 20);
    assert_eq!(rig.host.mux.stats().resets_dropped, 16);
    assert_eq!(rig.phone.seen.len() - before, 4);
    check_echo(&mut rig, conn);
    rig.check();
}
