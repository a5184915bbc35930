//! Phones that come, go, stay silent or lie: what is shown to clients, and what is tried.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use common::bus::Clock;
use common::{CHARGEN, CONFIG, DONGLE, ECHO, World};
use smoltcp::socket::tcp::State;
use std::time::Duration;
use usbmux_core::LinkState;
use usbmux_phone::{Options, Quirk, control, device};

const SECOND: Duration = Duration::from_secs(1);

fn with_quirk(quirk: Quirk) -> Options {
    let mut options = Options::new(1);
    options.quirks = [quirk].into_iter().collect();
    options
}

/// An echo over a forward: proof that everything works.
#[track_caller]
fn assert_works(world: &mut World<'_>) {
    let socket = world.open(ECHO);
    world.pc.send(socket, b"are you there?");
    assert_eq!(world.receive(socket, 14), b"are you there?");
    world.pc.socket(socket).close();
    world.until(60 * SECOND, |world| world.dongle.connections() == 0);
}

#[test]
fn phone_is_found_in_configuration_3() {
    let clock = Clock::default();
    let mut world = World::new(&clock);
    world.ready();
    let ask = control::Setup::parse(&[0x80, 8, 0, 0, 0, 0, 1, 0]); // GET_CONFIGURATION
    assert_eq!(world.bus.phone.control(clock.now(), 1, ask), device::Control::Data(vec![3]));
    assert_eq!(world.bus.resets, 1);
    assert_eq!(world.dongle.link(), LinkState::Up { version: 2 });
    let counters = world.dongle.counters();
    assert_eq!((counters.control_failures, counters.recoveries), (0, 0));
    assert_works(&mut world);
}

#[test]
fn phone_is_shown_a_fifth_of_a_second_after_it_was_plugged_in() {
    // 100 ms of debouncing, 50 of reset, 10 of recovery and 10 for the address are prescribed.
    let clock = Clock::default();
    let mut world = World::new(&clock);
    world.until(Duration::from_millis(200), |world| world.dongle.phone().is_some());
}

#[test]
fn replugged_phone_has_another_number() {
    let clock = Clock::default();
    let mut world = World::new(&clock);
    world.ready();
    for id in 1..4 {
        assert_eq!(world.dongle.phone().unwrap().device_id, id);
        assert_works(&mut world);
        world.bus.unplug();
        world.until(SECOND, |world| world.dongle.phone().is_none());
        world.pass(SECOND);
        world.bus.plug_in();
        world.ready();
    }
    assert_eq!((world.dongle.counters().plugged, world.dongle.counters().unplugged), (4, 3));
    assert_eq!(world.dongle.counters().recoveries, 0);
}

#[test]
fn out_and_in_between_two_looks_is_a_replug_all_the_same() {
    let clock = Clock::default();
    let mut world = World::new(&clock);
    world.ready();
    let socket = world.open(ECHO);
    world.bus.unplug();
    world.bus.plug_in();
    world.until(SECOND, |world| world.dongle.phone().is_none());
    world.ready();
    assert_eq!(world.dongle.phone().unwrap().device_id, 2);
    world.until(SECOND, |world| world.pc.state(socket) == State::Closed);
    assert_works(&mut world);
}

#[test]
fn unplugging_in_mid_traffic_ends_the_connection_with_a_reset_after_what_had_arrived() {
    let clock = Clock::default();
    let mut world = World::new(&clock);
    world.ready();
    let (down, up) = (world.open(CHARGEN), world.open(ECHO));
    let mut got = 0;
    for _ in 0..20 {
        world.pass(Duration::from_millis(10));
        got += world.pc.receive(down).len();
        world.pc.send(up, &[1; 1000]);
    }
    world.bus.unplug();
    world.until(5 * SECOND, |world| {
        got += world.pc.receive(down).len();
        world.pc.receive(up);
        [down, up].map(|socket| world.pc.state(socket)) == [State::Closed; 2]
    });
    let counters = *world.dongle.counters();
    assert!(got > 100_000, "{got}");
    let (arrived, lost) = (counters.bytes_in as usize, counters.bytes_lost);
    assert!(got <= arrived && arrived - got <= 20_000, "{got} of {arrived}, the echo's among them");
    assert_eq!(lost, 0);
    world.until(SECOND, |world| world.dongle.connections() == 0);
    world.bus.plug_in();
    world.ready();
    assert_works(&mut world);
}

#[test]
fn nothing_is_forwarded_without_a_phone() {
    let clock = Clock::default();
    let mut world = World::new(&clock);
    world.bus.unplug();
    world.until(20 * SECOND, |world| world.dongle.address().is_some());
    let socket = world.pc.connect(DONGLE, ECHO);
    world.until(SECOND, |world| world.pc.state(socket) == State::Closed);
    assert_eq!(world.dongle.counters().refused_phone, 1);
    assert_eq!(world.dongle.counters().accepted, 0);
}

#[test]
fn silent_phone_is_reset_and_works_then() {
    let clock = Clock::default();
    let mut world = World::new(&clock);
    world.bus.faults.swallow_out = 3;
    world.ready();
    // 3 questions of 2.5 s each went unanswered; it was not shown in that time.
    assert!(clock.now().as_micros() > 7_500_000);
    assert_eq!((world.bus.resets, world.dongle.counters().recoveries), (2, 1));
    assert_eq!(world.dongle.phone().unwrap().device_id, 1);
    assert_works(&mut world);
}

#[test]
fn version_1_works_too() {
    let clock = Clock::default();
    let mut world = World::with(&clock, &with_quirk(Quirk::V1), CONFIG);
    world.ready();
    assert_eq!(world.dongle.link(), LinkState::Up { version: 1 });
    assert_works(&mut world);
}

#[test]
fn old_session_and_trailing_bytes_do_not_matter() {
    for quirk in [Quirk::StaleSession, Quirk::TrailingBytes, Quirk::TinyWindow, Quirk::Slow] {
        let clock = Clock::default();
        let mut world = World::with(&clock, &with_quirk(quirk), CONFIG);
        world.ready();
        assert_works(&mut world);
        assert_eq!(world.dongle.counters().recoveries, 0, "{quirk:?}");
    }
}

#[test]
fn failed_control_transfers_are_repeated() {
    for failures in 1..=2 {
        let clock = Clock::default();
        let mut world = World::new(&clock);
        world.bus.faults.failed_control = failures;
        world.ready();
        assert_eq!(world.dongle.counters().control_failures, failures);
        assert_eq!(world.bus.resets, 1);
        assert_works(&mut world);
    }
}

#[test]
fn unanswered_control_transfer_is_repeated_and_then_the_port_is_reset() {
    let clock = Clock::default();
    let mut world = World::new(&clock);
    world.bus.faults.silent_control = 4;
    world.ready();
    assert_eq!(world.dongle.counters().control_failures, 4);
    assert_eq!((world.bus.resets, world.dongle.counters().recoveries), (2, 1));
    assert_works(&mut world);
}

#[test]
fn phone_that_never_answers_is_given_up_until_it_is_replugged() {
    let clock = Clock::default();
    let mut world = World::new(&clock);
    world.bus.faults.failed_control = u32::MAX;
    world.pass(60 * SECOND);
    let status = world.dongle.with_status(clock.now(), |status| status.link);
    assert_eq!(status, "what is plugged in is no phone, or does not answer");
    let tried = (world.bus.resets, world.dongle.counters().control_failures);
    assert_eq!(tried, (4, 12), "one enumeration and three more after port resets, 3 tries each");
    world.pass(60 * SECOND);
    assert_eq!((world.bus.resets, world.dongle.counters().control_failures), tried, "no more");
    world.bus.faults.failed_control = 0;
    world.bus.unplug();
    world.pass(SECOND);
    world.bus.plug_in();
    world.ready();
    assert_works(&mut world);
}

#[test]
fn port_that_does_not_come_back_from_its_reset_is_reset_again() {
    let clock = Clock::default();
    let mut world = World::new(&clock);
    world.bus.faults.dead_resets = 2;
    world.ready();
    assert_eq!((world.bus.resets, world.dongle.counters().recoveries), (3, 2));
    assert_works(&mut world);
}

#[test]
fn unplugging_in_the_middle_of_anything_is_survived() {
    // Every 2 ms of the first half second: debouncing, reset, each step of the enumeration, VERSION.
    for after in (0..500).step_by(2) {
        let clock = Clock::default();
        let mut world = World::new(&clock);
        world.pass(Duration::from_millis(after));
        world.bus.unplug();
        world.pass(Duration::from_millis(100));
        assert!(world.dongle.phone().is_none());
        assert_eq!(world.dongle.link(), LinkState::Down);
        world.bus.plug_in();
        world.ready();
    }
}

#[test]
fn dongle_without_anything_to_do_sleeps() {
    let clock = Clock::default();
    let mut world = World::new(&clock);
    world.ready();
    world.pass(10 * SECOND);
    let before = world.dongle.counters().turns;
    world.pass(10 * SECOND);
    let turns = world.dongle.counters().turns - before;
    assert!(turns < 600, "{turns} turns in 10 s of nothing");
}
