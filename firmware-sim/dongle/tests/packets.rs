//! Frames and packets: every length, both rules about zero-length packets, controllers that take one
//! packet or several.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use common::bus::Clock;
use common::{CONFIG, ECHO, World, pattern};
use std::time::Duration;
use usbmux_core::{Config, Zlp};
use usbmux_dongle::DongleConfig;
use usbmux_phone::Options;

const SECOND: Duration = Duration::from_secs(1);

/// Echoes messages of these lengths, one after the other, and compares.
fn assert_echoes(max_packet: u16, zlp: Zlp, packets_a_piece: usize, lengths: &[usize]) {
    let clock = Clock::default();
    let mut options = Options::new(1);
    options.max_packet = max_packet;
    let config = DongleConfig { engine: Config { zlp, ..Config::DONGLE }, ..CONFIG };
    let mut world = World::with(&clock, &options, config);
    world.bus.packets_a_piece = packets_a_piece;
    world.ready();
    let socket = world.open(ECHO);
    for length in lengths {
        let sent = pattern(*length);
        assert_eq!(world.pc.send(socket, &sent), *length);
        let mut back = vec![];
        world.until(SECOND, |world| {
            back.extend(world.pc.receive(socket));
            back.len() >= *length
        });
        assert_eq!(back, sent, "{max_packet} {zlp:?} {packets_a_piece} {length}");
    }
    let phone = world.bus.phone.counters();
    assert_eq!((phone.glued_bytes, phone.too_large), (0, 0), "a message ended where it should");
    assert_eq!(world.dongle.counters().bulk_failures, 0);
}

#[test]
fn every_length_around_full_packets_arrives() {
    for zlp in [Zlp::Trim, Zlp::Explicit] {
        for packets_a_piece in [1, 3] {
            // Header and payload together fill whole packets, and one more or less.
            let edges = |packet: usize| {
                let around = |n: usize| [n * packet - 37, n * packet - 36, n * packet - 35];
                (1..5).flat_map(around).filter(|n| *n > 0 && *n < 4000).collect::<Vec<_>>()
            };
            assert_echoes(64, zlp, packets_a_piece, &edges(64));
            assert_echoes(512, zlp, packets_a_piece, &edges(512));
            let all: Vec<_> = (1..200).collect();
            assert_echoes(64, zlp, packets_a_piece, &all);
        }
    }
}

#[test]
fn explicit_zero_length_packets_are_sent_as_such() {
    let clock = Clock::default();
    let config = DongleConfig { engine: Config { zlp: Zlp::Explicit, ..Config::DONGLE }, ..CONFIG };
    let mut world = World::with(&clock, &Options::new(1), config);
    world.ready();
    let socket = world.open(ECHO);
    world.pass(SECOND);
    let before = world.bus.packets_out;
    assert_eq!(world.pc.send(socket, &[1; 512 - 36]), 476);
    world.receive(socket, 476);
    // The frame, its zero-length packet; the acknowledgement of the echo comes later.
    assert_eq!(world.bus.packets_out - before, 2);
}
