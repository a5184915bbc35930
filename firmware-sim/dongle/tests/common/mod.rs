//! A dongle, a virtual phone on its USB port, and a machine at the other end of its Ethernet cable,
//! all in virtual time.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

pub(crate) mod bus;
pub(crate) mod cable;
pub(crate) mod dhcp;

use bus::{Bus, Clock};
use cable::{End, cable};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::socket::tcp;
use smoltcp::time::Duration as NetDuration;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpCidr, Ipv4Address, Ipv4Cidr};
use std::time::Duration;
use usbmux_core::Instant;
use usbmux_dongle::records::NoStore;
use usbmux_dongle::{Dongle, DongleConfig, Forward, Storage};
use usbmux_phone::Options;

/// The dongle's fallback address, which it has in tests without a DHCP server.
pub(crate) const DONGLE: Ipv4Address = Ipv4Address::new(169, 254, 27, 15);
pub(crate) const PC: Ipv4Address = Ipv4Address::new(169, 254, 1, 2);

/// Forwards that every test's dongle has.
pub(crate) const ECHO: u16 = 2007;
pub(crate) const DISCARD: u16 = 2009;
pub(crate) const CHARGEN: u16 = 2019;
pub(crate) const NOBODY: u16 = 2001;
pub(crate) const FORWARDS: [Forward; 4] = [
    Forward { port: ECHO, device_port: 7 },
    Forward { port: DISCARD, device_port: 9 },
    Forward { port: CHARGEN, device_port: 19 },
    Forward { port: NOBODY, device_port: 1 },
];

/// The dongle's own time for one turn, so that turns are never free.
const TURN_NANOS: u64 = 2_000;

/// A machine with a TCP stack that acknowledges late, as desktops do.
pub(crate) struct Machine<'c> {
    pub(crate) end: End<'c>,
    interface: Interface,
    pub(crate) sockets: SocketSet<'static>,
    next_port: u16,
}

impl<'c> Machine<'c> {
    pub(crate) fn new(clock: &Clock, end: End<'c>, address: Ipv4Cidr) -> Self {
        let mut end = end;
        let mac = HardwareAddress::Ethernet(EthernetAddress([2, 0, 0, 0, 0, 9]));
        let mut config = Config::new(mac);
        config.random_seed = 7;
        let mut interface = Interface::new(config, &mut end, net(clock.now()));
        interface.update_ip_addrs(|all| all.push(IpCidr::Ipv4(address)).unwrap());
        Machine { end, interface, sockets: SocketSet::new(vec![]), next_port: 40_000 }
    }

    /// Has another address from now on.
    pub(crate) fn readdress(&mut self, address: Ipv4Cidr) {
        self.interface.update_ip_addrs(|all| {
            all.clear();
            all.push(IpCidr::Ipv4(address)).unwrap();
        });
    }

    pub(crate) fn connect(&mut self, to: Ipv4Address, port: u16) -> SocketHandle {
        let buffer = || tcp::SocketBuffer::new(vec![0; 65_536]);
        let mut socket = tcp::Socket::new(buffer(), buffer());
        socket.set_ack_delay(Some(NetDuration::from_millis(40)));
        socket.set_nagle_enabled(false);
        self.next_port += 1;
        socket.connect(self.interface.context(), (to, port), self.next_port).unwrap();
        self.sockets.add(socket)
    }

    pub(crate) fn socket(&mut self, handle: SocketHandle) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(handle)
    }

    pub(crate) fn state(&self, handle: SocketHandle) -> tcp::State {
        self.sockets.get::<tcp::Socket<'_>>(handle).state()
    }

    /// Sends what fits.
    pub(crate) fn send(&mut self, handle: SocketHandle, bytes: &[u8]) -> usize {
        self.socket(handle).send_slice(bytes).unwrap_or(0)
    }

    /// Takes what has arrived.
    pub(crate) fn receive(&mut self, handle: SocketHandle) -> Vec<u8> {
        let mut all = vec![];
        let socket = self.socket(handle);
        while let Ok(bytes @ 1..) = socket.recv(|bytes| {
            all.extend_from_slice(bytes);
            (bytes.len(), bytes.len())
        }) {
            let _ = bytes;
        }
        all
    }
}

/// All of it.
pub(crate) struct World<'c> {
    pub(crate) clock: &'c Clock,
    pub(crate) bus: Bus<'c>,
    pub(crate) dongle: Dongle<'static, NoStore>,
    ethernet: End<'c>,
    pub(crate) pc: Machine<'c>,
    /// When the dongle asked for its next turn.
    dongle_due: u64,
}

/// The usual configuration of tests.
pub(crate) const CONFIG: DongleConfig<'static> =
    DongleConfig { forwards: &FORWARDS, ..DongleConfig::DEFAULT };

impl<'c> World<'c> {
    /// A dongle with 4 connections, and a phone at high speed that was just plugged in.
    pub(crate) fn new(clock: &'c Clock) -> Self {
        Self::with(clock, &Options::new(1), CONFIG)
    }

    pub(crate) fn with(clock: &'c Clock, phone: &Options, config: DongleConfig<'static>) -> Self {
        let (mut ethernet, end) = cable(clock);
        let storage = Box::leak(Box::new(Storage::<'_, 4, 4096, 2048>::new()));
        let dongle = Dongle::new(clock.now(), &config, storage, NoStore, &mut ethernet).unwrap();
        World {
            clock,
            bus: Bus::new(clock, phone),
            dongle,
            ethernet,
            pc: Machine::new(clock, end, Ipv4Cidr::new(PC, 16)),
            dongle_due: 0,
        }
    }

    /// Lets everybody do what is due now, then goes to the next time at which something is.
    pub(crate) fn step(&mut self) {
        self.bus.live();
        let now = self.clock.now();
        let due = self.dongle.poll(now, &mut self.bus, &mut self.ethernet);
        self.dongle_due = due.map_or(u64::MAX, |due| due.as_micros() * 1000);
        let pc = &mut self.pc;
        pc.interface.poll(net(now), &mut pc.end, &mut pc.sockets);
        let pc_due = pc.interface.poll_at(net(now), &pc.sockets);
        let pc_due = pc_due.map(|due| u64::try_from(due.total_micros()).unwrap() * 1000);
        let others = [self.bus.due(), pc_due, self.ethernet.due(), self.pc.end.due()];
        let next = others.into_iter().flatten().fold(self.dongle_due, u64::min);
        self.clock.advance_to(next.max(self.clock.nanos() + TURN_NANOS));
    }

    /// Steps until `done` says so.
    ///
    /// # Panics
    /// After so much virtual time.
    #[track_caller]
    pub(crate) fn until(&mut self, limit: Duration, mut done: impl FnMut(&mut Self) -> bool) {
        let end = self.clock.now() + limit;
        while !done(self) {
            assert!(self.clock.now() < end, "not within {limit:?}: {:?}", self.dongle.counters());
            self.step();
        }
    }

    /// Steps for so much virtual time.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.clock.now() + time;
        while self.clock.now() < end {
            self.step();
        }
    }

    /// Waits until the phone is shown and the dongle has its address.
    #[track_caller]
    pub(crate) fn ready(&mut self) {
        self.until(Duration::from_secs(20), |world| {
            world.dongle.phone().is_some() && world.dongle.address().is_some()
        });
    }

    /// Opens a connection from the PC and waits until it is established.
    #[track_caller]
    pub(crate) fn open(&mut self, port: u16) -> SocketHandle {
        let handle = self.pc.connect(DONGLE, port);
        self.until(Duration::from_secs(5), |world| {
            assert_ne!(world.pc.state(handle), tcp::State::Closed, "refused");
            world.pc.state(handle) == tcp::State::Established
        });
        handle
    }

    /// Receives on a connection until there are so many bytes.
    #[track_caller]
    pub(crate) fn receive(&mut self, handle: SocketHandle, count: usize) -> Vec<u8> {
        let mut all = vec![];
        self.until(Duration::from_secs(60), |world| {
            all.extend(world.pc.receive(handle));
            all.len() >= count
        });
        all
    }
}

pub(crate) fn net(now: Instant) -> smoltcp::time::Instant {
    smoltcp::time::Instant::from_micros(i64::try_from(now.as_micros()).unwrap())
}

/// Bytes without a short period.
pub(crate) fn pattern(count: usize) -> Vec<u8> {
    (0..count as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

/// Numbers that look random and repeat with the seed (splitmix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % end as u64) as usize
    }
}
