//! Four places, three services, many machines: who gets one, and what the others are told.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use common::bus::Clock;
use common::{CHARGEN, CONFIG, DISCARD, DONGLE, ECHO, World};
use smoltcp::socket::tcp::State;
use std::time::Duration;
use usbmux_phone::{Options, Quirk};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn fifty_connections_to_four_places() {
    let clock = Clock::default();
    let mut world = World::new(&clock);
    world.ready();
    let all: Vec<_> = (0..50).map(|_| world.pc.connect(DONGLE, ECHO)).collect();
    world.until(SECOND, |world| {
        all.iter().all(|s| matches!(world.pc.state(*s), State::Established | State::Closed))
    });
    let is_open = |world: &World<'_>, s: &_| world.pc.state(*s) == State::Established;
    let (open, refused): (Vec<_>, Vec<_>) = all.into_iter().partition(|s| is_open(&world, s));
    assert_eq!((open.len(), refused.len()), (4, 46));
    assert_eq!(world.dongle.counters().refused_full, 46);
    for socket in &open {
        world.pc.send(*socket, b"mine");
        assert_eq!(world.receive(*socket, 4), b"mine");
    }
    // Each that ends makes room for one, and only one.
    for socket in open {
        world.pc.socket(socket).abort();
        world.until(SECOND, |world| world.dongle.connections() == 3);
        let next = world.open(ECHO);
        world.pc.send(next, b"next");
        assert_eq!(world.receive(next, 4), b"next");
        let refused = world.pc.connect(DONGLE, ECHO);
        world.until(SECOND, |world| world.pc.state(refused) == State::Closed);
    }
}

#[test]
fn every_port_is_served_by_the_last_free_place() {
    for last in [ECHO, DISCARD, CHARGEN, 27015, 80] {
        let clock = Clock::default();
        let mut world = World::new(&clock);
        world.ready();
        for _ in 0..3 {
            world.open(ECHO);
        }
        world.open(last);
        assert_eq!(world.dongle.connections(), 4);
    }
}

#[test]
fn other_ports_are_refused_and_take_no_place() {
    let clock = Clock::default();
    let mut world = World::new(&clock);
    world.ready();
    for port in [1, 22, 7, 27014, 62078, 65535] {
        let socket = world.pc.connect(DONGLE, port);
        world.until(SECOND, |world| world.pc.state(socket) == State::Closed);
    }
    assert_eq!((world.dongle.counters().accepted, world.dongle.counters().refused_full), (0, 0));
}

#[test]
fn place_is_free_again_while_its_socket_still_waits_for_stragglers() {
    // The phone ends each connection first, so it is the dongle's socket that is in TIME-WAIT.
    let clock = Clock::default();
    let mut options = Options::new(1);
    options.quirks = [Quirk::RstText].into_iter().collect();
    let mut world = World::with(&clock, &options, CONFIG);
    world.ready();
    let began = clock.now();
    for _ in 0..20 {
        let socket = world.open(CHARGEN);
        world.until(SECOND, |world| {
            world.pc.receive(socket);
            world.pc.state(socket) == State::CloseWait
        });
        world.pc.socket(socket).close();
        world.until(SECOND, |world| world.dongle.connections() == 0);
        world.until(SECOND, |world| world.pc.state(socket) == State::Closed);
    }
    assert!(clock.now() - began < 5 * SECOND, "TIME-WAIT alone lasts 10 s");
}

#[test]
fn repeated_opening_takes_one_place() {
    let clock = Clock::default();
    let mut world = World::new(&clock);
    world.ready();
    let first = world.open(ECHO); // so that the two know each other's Ethernet addresses
    world.pc.socket(first).abort();
    world.until(SECOND, |world| world.dongle.connections() == 0);
    // Answers are lost: the machine repeats its SYN, and the dongle its SYN|ACK.
    world.pc.end.inward.borrow_mut().lose_every = 1;
    let socket = world.pc.connect(DONGLE, ECHO);
    world.pass(4 * SECOND);
    assert_eq!(world.dongle.connections(), 1);
    world.pc.end.inward.borrow_mut().lose_every = 0;
    world.until(8 * SECOND, |world| world.pc.state(socket) == State::Established);
    assert_eq!(world.dongle.connections(), 1);
}

#[test]
fn handshakes_that_nobody_finishes_are_forgotten() {
    let clock = Clock::default();
    let mut world = World::new(&clock);
    world.ready();
    // Four machines that vanish right after their SYN.
    let sockets: Vec<_> = (0..4).map(|_| world.pc.connect(DONGLE, ECHO)).collect();
    world.until(SECOND, |world| world.dongle.connections() == 4);
    world.pc.end.outward.borrow_mut().lose_every = 1;
    for socket in sockets {
        world.pc.sockets.remove(socket);
    }
    world.until(12 * SECOND, |world| world.dongle.connections() == 0);
    world.pc.end.outward.borrow_mut().lose_every = 0;
    let socket = world.open(ECHO);
    world.pc.send(socket, b"still there");
    assert_eq!(world.receive(socket, 11), b"still there");
}

#[test]
fn who_has_hung_up_leaves_soon_when_places_are_wanted() {
    // TCP tells no program that hung up from one that waits for its answer.
    let clock = Clock::default();
    let mut world = World::new(&clock);
    world.ready();
    for _ in 0..3 {
        let socket = world.open(ECHO);
        world.pc.send(socket, b"last");
        assert_eq!(world.receive(socket, 4), b"last");
        world.pc.socket(socket).close();
    }
    world.until(SECOND, |world| world.dongle.connections() <= 2);
    // With two places free those that are left may wait as long as ever.
    let waiting = world.dongle.connections();
    let late = clock.now() + 10 * SECOND;
    world.until(11 * SECOND, |_| clock.now() >= late);
    assert_eq!(world.dongle.connections(), waiting);
}

#[test]
fn who_comes_while_others_leave_gets_a_place_instead_of_a_refusal() {
    let clock = Clock::default();
    let mut world = World::new(&clock);
    world.ready();
    for _ in 0..4 {
        let socket = world.open(ECHO);
        world.pc.socket(socket).close();
    }
    let next = world.pc.connect(DONGLE, ECHO);
    // The first segment is dropped; TCP repeats it after a second.
    world.until(3 * SECOND, |world| world.pc.state(next) == State::Established);
    assert_eq!(world.dongle.counters().refused_full, 0);
}

#[test]
fn repeated_opening_is_not_taken_by_another_place() {
    let clock = Clock::default();
    let mut world = World::new(&clock);
    world.ready();
    let first = world.open(ECHO);
    world.pc.end.inward.borrow_mut().lose_every = 1;
    let second = world.pc.connect(DONGLE, ECHO);
    world.pass(Duration::from_millis(10));
    assert_eq!(world.dongle.connections(), 2);
    // The first place is free again when the SYN is repeated.
    world.pc.socket(first).abort();
    world.pass(3 * SECOND);
    assert_eq!(world.dongle.connections(), 1);
    world.pc.end.inward.borrow_mut().lose_every = 0;
    world.until(8 * SECOND, |world| world.pc.state(second) == State::Established);
    world.pc.send(second, b"it is me");
    assert_eq!(world.receive(second, 8), b"it is me");
    assert_eq!(world.dongle.counters().accepted, 2);
}
