//! How connections end: whatever was acknowledged is delivered, and nobody keeps a place for ever.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use common::bus::Clock;
use common::{CHARGEN, CONFIG, DISCARD, DONGLE, ECHO, NOBODY, World, pattern};
use smoltcp::socket::tcp::State;
use std::time::Duration;
use usbmux_phone::{Options, Quirk};

const SECOND: Duration = Duration::from_secs(1);

fn with_quirk(quirk: Quirk) -> Options {
    let mut options = Options::new(1);
    options.quirks = [quirk].into_iter().collect();
    options
}

#[test]
fn half_closed_connection_still_gets_its_answer() {
    let clock = Clock::default();
    let mut world = World::with(&clock, &with_quirk(Quirk::Slow), CONFIG);
    world.ready();
    let socket = world.open(ECHO);
    let sent = pattern(60_000);
    let mut offered = 0;
    let mut back = vec![];
    world.until(300 * SECOND, |world| {
        if offered < sent.len() {
            offered += world.pc.send(socket, &sent[offered..]);
            if offered == sent.len() {
                world.pc.socket(socket).close();
            }
        }
        back.extend(world.pc.receive(socket));
        back.len() == sent.len()
    });
    assert_eq!(back, sent);
    assert_eq!(world.pc.state(socket), State::FinWait2, "the answer came behind our end");
    // Nothing more comes: after the linger time the connection ends in order.
    let silent = clock.now();
    world.until(60 * SECOND, |world| world.pc.state(socket) == State::TimeWait);
    let lingered = clock.now() - silent;
    assert!((25 * SECOND..32 * SECOND).contains(&lingered), "{lingered:?}");
    world.until(SECOND, |world| world.dongle.connections() == 0);
}

#[test]
fn whole_upload_reaches_the_phone_though_its_sender_hung_up() {
    // `slow` programs read 1 KiB now and then, and a reset would lose what they have not read.
    let clock = Clock::default();
    let mut world = World::with(&clock, &with_quirk(Quirk::Slow), CONFIG);
    world.ready();
    let socket = world.open(DISCARD);
    let mut offered = 0;
    let total = 12_000;
    world.until(60 * SECOND, |world| {
        let most = (total - offered).min(1000);
        offered += world.pc.send(socket, &vec![0; most]);
        offered == total
    });
    // Everything is out of the machine's own buffer, then it is gone without a word.
    world.until(60 * SECOND, |world| world.pc.socket(socket).send_queue() == 0);
    world.pc.socket(socket).abort();
    world.until(60 * SECOND, |world| world.dongle.connections() == 0);
    assert_eq!(world.dongle.counters().bytes_out, 12_000);
    assert_eq!(world.dongle.engine_stats().drain_timeouts, 0);
    world.until(SECOND, |world| world.bus.phone.connections() == 0);
    assert_eq!(world.bus.phone.counters().unread_dropped, 0);
}

#[test]
fn reset_of_the_machine_ends_a_download_at_once() {
    let clock = Clock::default();
    let mut world = World::new(&clock);
    world.ready();
    let socket = world.open(CHARGEN);
    world.receive(socket, 50_000);
    world.pc.socket(socket).abort();
    world.until(SECOND, |world| world.dongle.connections() == 0);
    world.until(SECOND, |world| world.bus.phone.connections() == 0);
    assert_eq!(world.dongle.counters().bytes_lost, 0);
}

#[test]
fn both_ends_of_a_finished_download_close_in_order() {
    let clock = Clock::default();
    let mut world = World::new(&clock);
    world.ready();
    let socket = world.open(CHARGEN);
    world.receive(socket, 50_000);
    world.pc.socket(socket).close();
    // chargen never stops: the machine takes it, so the dongle delivers; nobody lingers on that.
    world.pass(40 * SECOND);
    assert_eq!(world.dongle.connections(), 1, "an end of sending is no end of receiving");
    world.pc.receive(socket);
    world.pc.socket(socket).abort();
    world.until(SECOND, |world| world.dongle.connections() == 0);
}

#[test]
fn reset_of_the_phone_comes_after_everything_it_sent() {
    let clock = Clock::default();
    let mut world = World::with(&clock, &with_quirk(Quirk::RstText), CONFIG);
    world.ready();
    let socket = world.open(CHARGEN);
    // The machine reads nothing until the phone has long reset.
    world.pass(2 * SECOND);
    let mut got = 0;
    world.until(10 * SECOND, |world| {
        got += world.pc.receive(socket).len();
        world.pc.state(socket) == State::CloseWait
    });
    got += world.pc.receive(socket).len();
    assert_eq!(got, world.dongle.counters().bytes_in as usize);
    assert!(got > 0);
    world.pc.socket(socket).close();
    world.until(SECOND, |world| world.dongle.connections() == 0);
}

#[test]
fn refused_port_is_a_reset() {
    let clock = Clock::default();
    let mut world = World::new(&clock);
    world.ready();
    let socket = world.pc.connect(DONGLE, NOBODY);
    world.until(SECOND, |world| world.pc.state(socket) == State::Closed);
    assert_eq!(world.dongle.counters().refused_phone, 1);
    assert_eq!(world.dongle.connections(), 0);
}

#[test]
fn slow_reader_stops_only_its_own_stream() {
    let clock = Clock::default();
    let mut world = World::new(&clock);
    world.ready();
    let stuck: Vec<_> = (0..3).map(|_| world.open(CHARGEN)).collect();
    // Their windows fill: 64 KiB in the machine, 4 KiB in the dongle.
    world.pass(5 * SECOND);
    let before = world.dongle.counters().bytes_in;
    world.pass(5 * SECOND);
    assert_eq!(world.dongle.counters().bytes_in, before, "nothing moves");
    let quick = world.open(ECHO);
    let sent = pattern(100_000);
    let (mut offered, mut back) = (0, vec![]);
    world.until(10 * SECOND, |world| {
        offered += world.pc.send(quick, &sent[offered..]);
        back.extend(world.pc.receive(quick));
        back.len() == sent.len()
    });
    assert_eq!(back, sent);
    for socket in stuck {
        world.receive(socket, 500_000);
    }
    assert_eq!(world.dongle.engine_stats().overruns, 0);
    assert_eq!(world.dongle.counters().bytes_lost, 0);
}

#[test]
fn machine_that_vanished_is_noticed() {
    let clock = Clock::default();
    let mut world = World::new(&clock);
    world.ready();
    let idle = world.open(ECHO);
    let busy = world.open(CHARGEN);
    world.pass(SECOND);
    world.pc.end.outward.borrow_mut().lose_every = 1;
    world.until(200 * SECOND, |world| world.dongle.connections() == 0);
    let _ = (idle, busy);
    world.until(SECOND, |world| world.bus.phone.connections() == 0);
}

#[test]
fn lossy_cable_loses_nothing() {
    let clock = Clock::default();
    let mut world = World::new(&clock);
    world.ready();
    world.pc.end.outward.borrow_mut().lose_every = 13;
    world.pc.end.inward.borrow_mut().lose_every = 17;
    let socket = world.open(ECHO);
    let sent = pattern(200_000);
    let (mut offered, mut back) = (0, vec![]);
    world.until(600 * SECOND, |world| {
        offered += world.pc.send(socket, &sent[offered..]);
        back.extend(world.pc.receive(socket));
        back.len() == sent.len()
    });
    assert_eq!(back, sent);
    assert_eq!(world.dongle.counters().bytes_lost, 0);
}

#[test]
fn half_closed_machine_may_read_as_slowly_as_it_likes() {
    let clock = Clock::default();
    let mut world = World::new(&clock);
    world.ready();
    let socket = world.open(CHARGEN);
    world.pc.socket(socket).close();
    // Its window is full: nothing moves for longer than a silent phone is waited for.
    world.pass(100 * SECOND);
    assert_eq!(world.dongle.connections(), 1);
    world.receive(socket, 500_000);
    assert_eq!(world.pc.state(socket), State::FinWait2);
}

#[test]
fn machine_that_goes_on_sending_after_the_end_may_close_in_order() {
    let clock = Clock::default();
    let mut world = World::with(&clock, &with_quirk(Quirk::RstText), CONFIG);
    world.ready();
    let socket = world.open(ECHO);
    world.until(5 * SECOND, |world| {
        world.pc.send(socket, &[1; 4000]);
        world.pc.receive(socket);
        world.pc.state(socket) == State::CloseWait
    });
    world.pc.send(socket, &[1; 20_000]);
    world.pc.socket(socket).close();
    world.until(SECOND, |world| world.pc.socket(socket).send_queue() == 0);
    world.until(SECOND, |world| world.dongle.connections() == 0);
}
