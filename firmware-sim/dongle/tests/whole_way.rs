//! From USB to Ethernet and back: the whole way, once, at both speeds.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use common::bus::Clock;
use common::{CHARGEN, CONFIG, DISCARD, ECHO, World, pattern};
use std::time::Duration;
use usbmux_phone::Options;

#[test]
fn forwarded_port_echoes_at_both_speeds() {
    for max_packet in [64, 512] {
        let clock = Clock::default();
        let mut options = Options::new(3);
        options.max_packet = max_packet;
        let mut world = World::with(&clock, &options, CONFIG);
        world.ready();
        let phone = world.dongle.phone().unwrap();
        assert_eq!(phone.serial.as_str(), "00008030-0000000000000003");
        assert_eq!((phone.device_id, phone.location_id, phone.product_id), (1, 0x10001, 0x12a8));
        assert_eq!(phone.speed, if max_packet == 64 { 12_000_000 } else { 480_000_000 });

        let socket = world.open(ECHO);
        let sent = pattern(20_000);
        let mut offered = 0;
        let mut back = vec![];
        world.until(Duration::from_secs(10), |world| {
            offered += world.pc.send(socket, &sent[offered..]);
            back.extend(world.pc.receive(socket));
            back.len() >= sent.len()
        });
        assert_eq!(back, sent);
        let counters = world.dongle.counters();
        assert_eq!(
            (counters.bytes_in, counters.bytes_out, counters.bytes_lost),
            (20_000, 20_000, 0)
        );
        assert_eq!((counters.control_failures, counters.bulk_failures), (0, 0));
    }
}

/// Bytes a second that a full-speed bulk pipe carries.
const FULL_SPEED: f64 = 1_216_000.0;

fn full_speed() -> Options {
    let mut options = Options::new(1);
    options.max_packet = 64;
    options
}

#[test]
fn four_downloads_fill_a_full_speed_pipe() {
    let clock = Clock::default();
    let mut world = World::with(&clock, &full_speed(), CONFIG);
    world.ready();
    let sockets = [CHARGEN; 4].map(|port| world.open(port));
    world.pass(Duration::from_millis(200));
    let before: Vec<usize> = sockets.map(|socket| world.pc.receive(socket).len()).into();
    assert!(before.iter().all(|count| *count > 0), "{before:?}");
    let began = clock.now();
    let mut got = [0; 4];
    while clock.now() - began < Duration::from_secs(4) {
        world.step();
        for (got, socket) in got.iter_mut().zip(sockets) {
            *got += world.pc.receive(socket).len();
        }
    }
    let rate = got.iter().sum::<usize>() as f64 / (clock.now() - began).as_secs_f64();
    println!("{got:?}: {:.3} MB/s, {:.1} %", rate / 1e6, 100.0 * rate / FULL_SPEED);
    println!("{:?}", world.dongle.counters());
    assert!(rate >= 0.9 * FULL_SPEED, "{rate}");
    let (least, most) = (got.iter().min().unwrap(), got.iter().max().unwrap());
    assert!(least * 4 > most * 3, "no fair shares: {got:?}");
}

#[test]
fn four_uploads_fill_a_full_speed_pipe() {
    let clock = Clock::default();
    let mut world = World::with(&clock, &full_speed(), CONFIG);
    world.ready();
    let sockets = [DISCARD; 4].map(|port| world.open(port));
    let began = clock.now();
    let mut sent = [0; 4];
    let zeros = [0; 4096];
    while clock.now() - began < Duration::from_secs(4) {
        world.step();
        for (sent, socket) in sent.iter_mut().zip(sockets) {
            *sent += world.pc.send(socket, &zeros);
        }
    }
    let bytes = f64::from(world.dongle.counters().bytes_out);
    let rate = bytes / (clock.now() - began).as_secs_f64();
    println!("{sent:?}: {:.3} MB/s, {:.1} %", rate / 1e6, 100.0 * rate / FULL_SPEED);
    assert!(rate >= 0.9 * FULL_SPEED, "{rate}");
    let (least, most) = (sent.iter().min().unwrap(), sent.iter().max().unwrap());
    assert!(least * 2 > *most, "no fair shares: {sent:?}");
}

#[test]
fn packets_of_64_bytes_become_full_segments() {
    let clock = Clock::default();
    let mut world = World::with(&clock, &full_speed(), CONFIG);
    world.ready();
    let socket = world.open(CHARGEN);
    world.receive(socket, 50_000);
    let frames = world.pc.end.inward.borrow().sent;
    let got = world.receive(socket, 200_000).len();
    let frames = world.pc.end.inward.borrow().sent - frames;
    println!("{} bytes a frame", got / frames as usize);
    assert!(got / frames as usize > 700);
}

#[test]
fn last_bytes_of_an_answer_wait_for_nothing() {
    let clock = Clock::default();
    let mut world = World::with(&clock, &full_speed(), CONFIG);
    world.ready();
    let socket = world.open(ECHO);
    for length in [1, 28, 29, 500, 1488, 1489, 2000] {
        let sent = pattern(length);
        let began = clock.now();
        assert_eq!(world.pc.send(socket, &sent), length);
        assert_eq!(world.receive(socket, length), sent);
        let took = clock.now() - began;
        // The machine acknowledges after 40 ms only.
        assert!(took < Duration::from_millis(10), "{length} bytes took {took:?}");
        world.pass(Duration::from_millis(100));
    }
}
