//! Where a transfer ends: zero-length packets trimmed away or explicit, at every packet size (PROTOCOL §4).

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use usbmux_core::{AckPolicy, Config, Zlp};
use usbmux_tests::engine::Rig;
use usbmux_tests::random::pattern;

const PACKETS: [usize; 3] = [64, 512, 1024];

fn rig(zlp: Zlp, max_packet: usize, version: u32) -> Rig {
    let mut rig = Rig::new(Config { zlp, ack: AckPolicy::Immediate, ..Config::HOST });
    rig.serve();
    rig.phone.max_packet = max_packet;
    rig.phone.knobs.version = version;
    rig.bring_up();
    rig
}

/// Payload lengths whose frames lie around multiples of the packet size.
fn lengths(max_packet: usize, header: usize) -> Vec<usize> {
    let mut lengths: Vec<usize> = (1..=3).collect();
    for packets in [1, 2, 3, 7, 47] {
        let whole = packets * max_packet;
        lengths.extend((whole.saturating_sub(header + 2)..=whole - header + 2).filter(|n| *n > 0));
    }
    lengths
}

#[test]
fn trimming_never_needs_a_zero_length_packet() {
    for max_packet in PACKETS {
        for version in [1, 2] {
            let mut rig = rig(Zlp::Trim, max_packet, version);
            let header = if version == 2 { 36 } else { 28 };
            let (conn, index) = rig.open(9);
            let mut total = 0;
            for length in lengths(max_packet, header) {
                rig.send(conn, &pattern(0, total, length));
                total += length;
            }
            assert_eq!(rig.phone.connections[index].read, pattern(0, 0, total));
            assert_eq!(rig.phone.zlps, 0);
            assert!(rig.transfers.iter().all(|transfer| transfer.len() % max_packet != 0));
            rig.check();
        }
    }
}

#[test]
fn a_frame_that_would_need_one_is_a_byte_shorter() {
    for max_packet in PACKETS {
        let mut rig = rig(Zlp::Trim, max_packet, 2);
        let (conn, index) = rig.open(9);
        let exact = max_packet * 3 - 36;
        let (transfers, taken) = rig.host.write(conn, &pattern(0, 0, exact));
        let sizes: Vec<usize> = transfers.iter().map(Vec::len).collect();
        assert_eq!(sizes, [max_packet * 3 - 1, 37], "the last byte goes in a frame of its own");
        assert_eq!(taken, exact);
        rig.out(transfers);
        assert_eq!(rig.phone.connections[index].read, pattern(0, 0, exact));
        rig.check();
    }
}

#[test]
fn an_explicit_zero_length_packet_follows_every_exact_multiple_and_nothing_else() {
    for max_packet in PACKETS {
        for version in [1, 2] {
            let mut rig = rig(Zlp::Explicit, max_packet, version);
            let header = if version == 2 { 36 } else { 28 };
            let (conn, index) = rig.open(9);
            let mut total = 0;
            let mut exact = 0;
            for length in lengths(max_packet, header) {
                rig.send(conn, &pattern(0, total, length));
                total += length;
                exact += u32::from((length + header) % max_packet == 0);
            }
            assert_eq!(rig.phone.connections[index].read, pattern(0, 0, total));
            assert_eq!(rig.phone.zlps, exact);
            for pair in rig.transfers.windows(2) {
                let full = !pair[0].is_empty() && pair[0].len() % max_packet == 0;
                assert_eq!(full, pair[1].is_empty(), "{} then {}", pair[0].len(), pair[1].len());
            }
            rig.check();
        }
    }
}

#[test]
fn the_largest_frame_is_offered_so_that_it_needs_none() {
    // 49152 is 96 times 512 and 48 times 1024: one byte less is offered where that would need a ZLP.
    let mut trimmed = rig(Zlp::Trim, 512, 2);
    let (conn, _) = trimmed.open(9);
    assert_eq!(trimmed.host.mux.sendable(conn), 49_115);
    let mut explicit = rig(Zlp::Explicit, 512, 2);
    let (conn, _) = explicit.open(9);
    assert_eq!(explicit.host.mux.sendable(conn), 49_116);
    let mut old = rig(Zlp::Trim, 512, 1);
    let (conn, _) = old.open(9);
    assert_eq!(old.host.mux.sendable(conn), 49_123);
}

#[test]
fn no_frame_is_longer_than_configured() {
    for max_frame in [128, 4096, 16_384, 49_152, 65_535] {
        let mut rig = Rig::new(Config { max_frame, ..Config::HOST });
        rig.serve();
        rig.bring_up();
        let (conn, index) = rig.open(9);
        rig.send(conn, &pattern(0, 0, 200_000));
        let longest = rig.transfers.iter().map(Vec::len).max().unwrap();
        assert!(longest <= usize::from(max_frame), "{longest} of {max_frame}");
        assert!(longest + 2 >= usize::from(max_frame), "{longest} of {max_frame}");
        assert_eq!(rig.phone.connections[index].read, pattern(0, 0, 200_000));
        rig.check();
    }
}

#[test]
fn one_byte_more_of_window_than_a_multiple_is_sent_without_getting_stuck() {
    // The phone's window leaves room for exactly one byte: trimming must not make that nothing for ever.
    for window in [256, 512, 768] {
        let mut rig = rig(Zlp::Trim, 64, 2);
        rig.phone.knobs.window = window;
        let (conn, index) = rig.open(9);
        rig.send(conn, &pattern(0, 0, 5000));
        assert_eq!(rig.phone.connections[index].read, pattern(0, 0, 5000));
        assert_eq!(rig.phone.zlps, 0);
        rig.check();
    }
}

#[test]
fn what_the_phone_ends_with_a_zero_length_packet_is_read_at_every_read_size() {
    for (max_packet, read_size) in
        [(64, 64), (512, 512), (512, 16_384), (512, 65_536), (1024, 1024)]
    {
        let mut rig = rig(Zlp::Trim, max_packet, 2);
        rig.read_size = read_size;
        rig.phone.knobs.max_frame = 4096;
        let (conn, index) = rig.open(8);
        let mut total = 0;
        // 4060 bytes of payload make 4096 bytes of frame.
        for length in [4060, 1, 4060 * 3, 4059, 28, 64 - 36, 512 - 36, 1024 - 36] {
            rig.phone.write(index, &pattern(0, total, length));
            total += length;
            rig.settle();
        }
        assert_eq!(rig.host.delivered(conn), pattern(0, 0, total));
        assert_eq!(rig.host.mux.stats().malformed, 0);
        assert_eq!(rig.host.mux.stats().trailing, 0);
        rig.check();
    }
}
