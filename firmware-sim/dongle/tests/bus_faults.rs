//! Transfers that fail: what is lost with them, and that everything works again afterwards.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use common::bus::Clock;
use common::{CHARGEN, CONFIG, DISCARD, ECHO, World};
use smoltcp::socket::tcp::State;
use std::time::Duration;
use usbmux_core::LinkState;
use usbmux_phone::descriptors::{MUX_IN, MUX_OUT};
use usbmux_phone::device::Control;
use usbmux_phone::{Options, Quirk};

const SECOND: Duration = Duration::from_secs(1);

#[track_caller]
fn assert_works(world: &mut World<'_>) {
    let socket = world.open(ECHO);
    world.pc.send(socket, b"are you there?");
    assert_eq!(world.receive(socket, 14), b"are you there?");
}

/// Traffic both ways, then a fault: its connections end with a reset, the phone stays what it is, and
/// a new session carries new ones.
#[track_caller]
fn assert_new_session_after(fault: impl FnOnce(&mut World<'_>)) {
    let clock = Clock::default();
    let mut world = World::new(&clock);
    world.ready();
    let (down, up) = (world.open(CHARGEN), world.open(DISCARD));
    for _ in 0..10 {
        world.pass(Duration::from_millis(10));
        world.pc.receive(down);
        world.pc.send(up, &[0; 4000]);
    }
    fault(&mut world);
    world.until(5 * SECOND, |world| {
        world.pc.receive(down);
        world.pc.send(up, &[0; 100]);
        [down, up].map(|socket| world.pc.state(socket)) == [State::Closed; 2]
    });
    world.until(5 * SECOND, |world| world.dongle.phone().is_some());
    assert_eq!(world.dongle.phone().unwrap().device_id, 1, "it was never gone");
    assert_eq!(world.dongle.counters().unplugged, 0);
    assert_eq!(world.dongle.counters().bulk_failures, 1);
    assert_eq!(world.dongle.counters().bytes_lost, 0);
    assert_eq!(world.dongle.counters().recoveries, 0, "no port reset was needed");
    assert_works(&mut world);
    assert_eq!(world.dongle.engine_stats().dead_sessions, 0);
}

#[test]
fn lost_out_packet_is_a_numbered_frame_lost_and_begins_a_new_session() {
    assert_new_session_after(|world| world.bus.faults.lose_out = 1);
}

#[test]
fn lost_in_packet_begins_a_new_session() {
    assert_new_session_after(|world| world.bus.faults.lose_in = 1);
}

#[test]
fn stalled_out_endpoint_is_cleared() {
    assert_new_session_after(|world| world.bus.phone.halt(MUX_OUT));
}

#[test]
fn stalled_in_endpoint_is_cleared() {
    assert_new_session_after(|world| world.bus.phone.halt(MUX_IN));
}

#[test]
fn fault_at_any_packet_is_survived() {
    for packet in 0..120 {
        for lose_out in [true, false] {
            let clock = Clock::default();
            // At full speed a frame has many packets.
            let mut options = Options::new(1);
            options.max_packet = 64;
            let mut world = World::with(&clock, &options, CONFIG);
            world.ready();
            let socket = world.open(ECHO);
            world.pc.send(socket, &common::pattern(30_000));
            for _ in 0..packet {
                world.step();
            }
            if lose_out {
                world.bus.faults.lose_out = 1;
            } else {
                world.bus.faults.lose_in = 1;
            }
            world.until(10 * SECOND, |world| {
                world.pc.receive(socket);
                world.pc.state(socket) != State::Established
                    || world.dongle.counters().bytes_in == 30_000
            });
            assert_eq!(world.dongle.counters().bytes_lost, 0);
            world.pc.socket(socket).abort();
            world.until(5 * SECOND, |world| world.dongle.phone().is_some());
            (world.bus.faults.lose_out, world.bus.faults.lose_in) = (0, 0);
            assert_works(&mut world);
        }
    }
}

#[test]
fn phone_that_cannot_be_cleared_is_reset() {
    let clock = Clock::default();
    let mut world = World::new(&clock);
    world.ready();
    let socket = world.open(ECHO);
    world.bus.phone.halt(MUX_OUT);
    world.bus.faults.failed_control = 3;
    world.pc.send(socket, b"hello");
    world.until(5 * SECOND, |world| world.dongle.counters().recoveries == 1);
    assert!(world.dongle.phone().is_some(), "it stays shown while there is hope");
    world.until(5 * SECOND, |world| world.pc.state(socket) == State::Closed);
    world.pass(SECOND);
    assert_eq!(world.dongle.phone().unwrap().device_id, 1);
    assert_works(&mut world);
}

#[test]
fn phone_that_no_reset_brings_back_goes_visibly() {
    let clock = Clock::default();
    let mut world = World::new(&clock);
    world.ready();
    world.bus.phone.halt(MUX_IN);
    world.bus.faults.failed_control = u32::MAX;
    world.until(20 * SECOND, |world| world.dongle.phone().is_none());
    assert_eq!(world.dongle.counters().unplugged, 1);
    assert_eq!(world.dongle.counters().recoveries, 3);
}

#[test]
fn session_that_the_phone_finds_dead_begins_anew_by_itself() {
    let clock = Clock::default();
    let mut options = Options::new(1);
    options.quirks = [Quirk::LostTransfer { number: 12 }].into_iter().collect();
    let mut world = World::with(&clock, &options, CONFIG);
    world.ready();
    let socket = world.open(ECHO);
    world.until(10 * SECOND, |world| {
        world.pc.send(socket, &[7; 100]);
        world.pc.receive(socket);
        world.pc.state(socket) == State::Closed
    });
    assert_eq!(world.dongle.engine_stats().dead_sessions, 1);
    assert_eq!(world.bus.resets, 1, "no port reset");
    world.pass(SECOND);
    assert_eq!(world.dongle.phone().unwrap().device_id, 1);
    assert_works(&mut world);
}

#[test]
fn cable_that_carries_nothing_out_is_given_up_on() {
    let clock = Clock::default();
    let mut world = World::new(&clock);
    world.ready();
    let socket = world.open(ECHO);
    world.bus.faults.lose_out = u32::MAX;
    world.pc.send(socket, b"hello");
    world.until(20 * SECOND, |world| world.dongle.phone().is_none());
    // A new session, then three resets of the port; each gets as far as VERSION.
    assert_eq!(world.dongle.counters().recoveries, 3);
    assert_eq!(world.dongle.counters().bulk_failures, 5);
    world.pass(60 * SECOND);
    assert_eq!(world.dongle.counters().bulk_failures, 5, "no more");
}

#[test]
fn another_phone_behind_the_reset_is_another_phone() {
    let clock = Clock::default();
    let mut world = World::new(&clock);
    world.ready();
    world.bus.phone.halt(MUX_IN);
    world.bus.faults.failed_control = 3;
    world.bus.forger = Some(Box::new(|setup, answer| match (setup.value, answer) {
        (0x0303, Control::Data(mut serial)) => {
            serial[2] = b'7';
            Control::Data(serial)
        }
        (_, answer) => answer,
    }));
    world.until(5 * SECOND, |world| {
        world.dongle.phone().is_some_and(|phone| phone.serial.starts_with("7000"))
    });
    assert_eq!(world.dongle.phone().unwrap().device_id, 2);
    assert_eq!(world.dongle.counters().recoveries, 1);
}

#[test]
fn what_was_left_of_a_frame_goes_nowhere() {
    let clock = Clock::default();
    let mut options = Options::new(1);
    options.max_packet = 64;
    let mut world = World::with(&clock, &options, CONFIG);
    world.ready();
    let socket = world.open(DISCARD);
    world.pc.send(socket, &[0; 30_000]);
    world.until(SECOND, |world| world.dongle.counters().bytes_out > 5000);
    world.bus.faults.lose_out = 1; // in the middle of a frame of 33 packets
    world.until(SECOND, |world| world.dongle.counters().bulk_failures == 1);
    let before = world.bus.packets_out;
    world.until(SECOND, |world| matches!(world.dongle.link(), LinkState::Up { .. }));
    let packets = world.bus.packets_out - before;
    assert!(packets <= 2, "VERSION and SETUP, not {packets} packets");
}
