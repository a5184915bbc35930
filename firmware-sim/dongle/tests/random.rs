//! Anything, in any order: machines that come and go, phones that are pulled, packets that are lost.
//! What is delivered is right, what was promised is kept, and in the end everything is as it was.
//!
//! `SEED=n cargo test --test random` repeats one run.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use common::bus::Clock;
use common::{CONFIG, ECHO, Random, World, pattern};
use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp::State;
use std::time::Duration;
use usbmux_phone::Options;

const SECOND: Duration = Duration::from_secs(1);
const RUNS: u64 = 40;

/// One machine's connection to the echo.
struct Client {
    socket: SocketHandle,
    offered: usize,
    returned: usize,
}

fn run(seed: u64) {
    println!("SEED={seed}");
    let clock = Clock::default();
    let mut random = Random(seed);
    let mut options = Options::new(1);
    options.max_packet = if random.below(2) == 0 { 64 } else { 512 };
    let mut world = World::with(&clock, &options, CONFIG);
    world.bus.packets_a_piece = 1 + random.below(4);
    world.ready();
    let stream = pattern(1_000_000);
    let mut clients: Vec<Client> = vec![];
    for _ in 0..400 {
        match random.below(100) {
            0 => world.bus.unplug(),
            1..5 => world.bus.plug_in_if_out(),
            5 => world.bus.faults.lose_out = 1,
            6 => world.bus.faults.lose_in = 1,
            7 => world.bus.phone.halt([4, 0x85][random.below(2)]),
            8 => world.bus.faults.failed_control = random.below(4) as u32,
            9 => world.pc.end.outward.borrow_mut().lose_every = random.below(2) as u32 * 11,
            10 => world.pc.end.inward.borrow_mut().lose_every = random.below(2) as u32 * 7,
            11..20 => {
                let socket = world.pc.connect(common::DONGLE, ECHO);
                clients.push(Client { socket, offered: 0, returned: 0 });
            }
            20..24 if !clients.is_empty() => {
                let client = clients.swap_remove(random.below(clients.len()));
                world.pc.socket(client.socket).abort();
            }
            24..28 if !clients.is_empty() => {
                let client = &clients[random.below(clients.len())];
                world.pc.socket(client.socket).close();
            }
            28..70 if !clients.is_empty() => {
                let at = random.below(clients.len());
                let client = &mut clients[at];
                let end = (client.offered + random.below(9000)).min(stream.len());
                client.offered += world.pc.send(client.socket, &stream[client.offered..end]);
            }
            _ => world.pass(Duration::from_micros(random.below(30_000) as u64)),
        }
        for client in &mut clients {
            let got = world.pc.receive(client.socket);
            let end = client.returned + got.len();
            assert!(end <= client.offered && got == stream[client.returned..end], "SEED={seed}");
            client.returned = end;
        }
        assert_eq!(world.dongle.counters().bytes_lost, 0, "SEED={seed}");
        assert_eq!(world.dongle.engine_stats().overruns, 0, "SEED={seed}");
    }
    // Peace: whoever is still connected gets everything back, then all is as it was. A machine whose
    // connection was reset by a frame that was lost asks, as machines do.
    for client in &clients {
        let asks = smoltcp::time::Duration::from_secs(10);
        world.pc.socket(client.socket).set_keep_alive(Some(asks));
    }
    world.bus.faults = Default::default();
    world.pc.end.outward.borrow_mut().lose_every = 0;
    world.pc.end.inward.borrow_mut().lose_every = 0;
    world.bus.plug_in_if_out();
    replug_if_given_up(&mut world);
    world.until(120 * SECOND, |world| {
        clients.iter_mut().all(|client| {
            client.returned += world.pc.receive(client.socket).len();
            let open = world.pc.state(client.socket);
            !matches!(open, State::Established | State::FinWait2 | State::FinWait1)
                || client.returned == client.offered
        })
    });
    for client in clients {
        world.pc.socket(client.socket).abort();
    }
    world.until(180 * SECOND, |world| world.dongle.connections() == 0);
    world.pass(SECOND); // so that a phone that was pulled just now is seen to be gone
    replug_if_given_up(&mut world);
    world.until(60 * SECOND, |world| world.dongle.phone().is_some());
    // An endpoint that was halted shows only when it is used.
    let works = (0..3).any(|_| {
        let socket = world.open(ECHO);
        world.pc.send(socket, b"all is well");
        let mut back = vec![];
        world.until(60 * SECOND, |world| {
            back.extend(world.pc.receive(socket));
            back == b"all is well" || world.pc.state(socket) != State::Established
        });
        back == b"all is well"
    });
    assert!(works, "SEED={seed}");
}

/// Does what the dongle says is to be done.
fn replug_if_given_up(world: &mut World<'_>) {
    let now = world.clock.now();
    if world.dongle.with_status(now, |status| status.link.contains("no phone, or")) {
        world.bus.unplug();
        world.pass(SECOND);
        world.bus.plug_in();
    }
}

#[test]
fn anything_in_any_order() {
    if let Ok(seed) = std::env::var("SEED") {
        return run(seed.parse().unwrap());
    }
    (0..RUNS).for_each(run);
}
