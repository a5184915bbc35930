//! The dongle's address, and whose connections it admits.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use common::bus::Clock;
use common::dhcp::Server;
use common::{CONFIG, DONGLE, ECHO, PC, World};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::socket::tcp::State;
use smoltcp::wire::{
    EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr, IpProtocol, Ipv4Address,
    Ipv4Cidr, Ipv4Packet, Ipv4Repr, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber,
};
use std::time::Duration;
use usbmux_dongle::{ConfigError, DongleConfig, Forward, Peers};
use usbmux_phone::Options;

const SECOND: Duration = Duration::from_secs(1);
const LEASED: Ipv4Address = Ipv4Address::new(10, 1, 2, 50);

/// A SYN for the echo's port, as a router or a neighbour would hand it to the dongle.
fn syn(from: Ipv4Address) -> Vec<u8> {
    let segment = TcpRepr {
        src_port: 40_000,
        dst_port: ECHO,
        control: TcpControl::Syn,
        seq_number: TcpSeqNumber(1),
        ack_number: None,
        window_len: 1000,
        window_scale: None,
        max_seg_size: Some(1460),
        sack_permitted: false,
        sack_ranges: [None; 3],
        timestamp: None,
        payload: &[],
    };
    let ip = Ipv4Repr {
        src_addr: from,
        dst_addr: DONGLE,
        next_header: IpProtocol::Tcp,
        payload_len: segment.buffer_len(),
        hop_limit: 64,
    };
    let ethernet = EthernetRepr {
        src_addr: EthernetAddress([2, 0, 0, 0, 0, 7]),
        dst_addr: EthernetAddress(CONFIG.mac),
        ethertype: EthernetProtocol::Ipv4,
    };
    let sums = ChecksumCapabilities::default();
    let mut bytes = vec![0; ethernet.buffer_len() + ip.buffer_len() + ip.payload_len];
    let mut frame = EthernetFrame::new_unchecked(&mut bytes);
    ethernet.emit(&mut frame);
    let mut packet = Ipv4Packet::new_unchecked(frame.payload_mut());
    ip.emit(&mut packet, &sums);
    let mut place = TcpPacket::new_unchecked(packet.payload_mut());
    segment.emit(&mut place, &from.into(), &DONGLE.into(), &sums);
    bytes
}

/// Whether a machine with this address is let in by a dongle with the fallback address.
fn is_admitted(peers: Peers<'static>, address: Ipv4Address) -> bool {
    let clock = Clock::default();
    let config = DongleConfig { peers, ..CONFIG };
    let mut world = World::with(&clock, &Options::new(1), config);
    world.ready();
    let before = world.pc.end.inward.borrow().sent;
    world.pc.end.put(syn(address));
    world.pass(Duration::from_micros(150)); // it arrives after 100
    let admitted = world.dongle.connections() == 1;
    world.pass(SECOND);
    assert_eq!(world.dongle.counters().refused_peer, u32::from(!admitted));
    if !admitted {
        let during = world.pc.end.inward.borrow().sent - before;
        assert_eq!(during, 0, "no answer at all");
    }
    admitted
}

#[test]
fn local_network_is_admitted_and_others_get_no_answer() {
    let elsewhere = Ipv4Address::new(10, 9, 8, 7);
    assert!(is_admitted(Peers::LocalNetwork, PC));
    assert!(!is_admitted(Peers::LocalNetwork, elsewhere));
    assert!(is_admitted(Peers::Everybody, PC));
    assert!(is_admitted(Peers::Everybody, elsewhere));
    const NOBODY: &[Ipv4Cidr] = &[];
    const TWO: &[Ipv4Cidr] =
        &[Ipv4Cidr::new(Ipv4Address::new(10, 9, 8, 0), 24), Ipv4Cidr::new(PC, 32)];
    assert!(!is_admitted(Peers::Only(NOBODY), PC));
    assert!(is_admitted(Peers::Only(TWO), PC));
    assert!(is_admitted(Peers::Only(TWO), elsewhere));
    assert!(!is_admitted(Peers::Only(TWO), Ipv4Address::new(169, 254, 1, 3)));
}

#[test]
fn admission_is_judged_by_network() {
    let own = Some(Ipv4Cidr::new(Ipv4Address::new(192, 168, 7, 9), 24));
    let admits = |a, b, c, d| Peers::LocalNetwork.admits(Ipv4Address::new(a, b, c, d), own);
    assert!(admits(192, 168, 7, 1) && admits(192, 168, 7, 254) && admits(169, 254, 3, 3));
    assert!(!admits(192, 168, 6, 255) && !admits(192, 168, 8, 0) && !admits(8, 8, 8, 8));
    assert!(!Peers::LocalNetwork.admits(Ipv4Address::new(192, 168, 7, 1), None));
    assert!(Peers::Everybody.admits(Ipv4Address::new(8, 8, 8, 8), None));
}

#[test]
fn fallback_comes_when_no_server_answers() {
    let clock = Clock::default();
    let mut world = World::new(&clock);
    world.pass(7 * SECOND);
    assert_eq!(world.dongle.address(), None);
    world.pass(2 * SECOND);
    assert_eq!(world.dongle.address(), Some(CONFIG.fallback));
    let source = world.dongle.with_status(clock.now(), |status| status.address_source);
    assert_eq!(source, "fallback, no DHCP server answered");
}

#[test]
fn lease_is_taken_renewed_and_given_back() {
    let clock = Clock::default();
    let mut world = World::new(&clock);
    let mut server = Server::new(Ipv4Cidr::new(LEASED, 24), 120);
    world.until(5 * SECOND, |world| {
        server.serve(&world.pc.end);
        world.dongle.address().is_some()
    });
    assert_eq!(world.dongle.address(), Some(Ipv4Cidr::new(LEASED, 24)));
    assert_eq!(server.hostname.as_deref(), Some("usbmux-dongle"));
    world.pc.readdress(Ipv4Cidr::new(Ipv4Address::new(10, 1, 2, 1), 24));
    world.until(5 * SECOND, |world| world.dongle.phone().is_some());
    let socket = world.pc.connect(LEASED, ECHO);
    world.until(5 * SECOND, |world| world.pc.state(socket) == State::Established);

    // The lease is renewed while the server answers: the connection never notices.
    let until = clock.now() + 300 * SECOND;
    while clock.now() < until {
        world.step();
        server.serve(&world.pc.end);
    }
    assert!(server.requests >= 4, "{}", server.requests);
    assert_eq!(world.dongle.address(), Some(Ipv4Cidr::new(LEASED, 24)));
    assert_eq!(world.pc.state(socket), State::Established);
    world.pc.send(socket, b"still the same");
    assert_eq!(world.receive(socket, 14), b"still the same");

    // The server dies: the lease ends, its connections with it, and the fallback comes.
    world.until(200 * SECOND, |world| world.dongle.address().is_none());
    world.until(SECOND, |world| world.dongle.connections() == 0);
    world.until(10 * SECOND, |world| world.dongle.address() == Some(CONFIG.fallback));
    // It comes back: so does the address.
    world.until(120 * SECOND, |world| {
        server.serve(&world.pc.end);
        world.dongle.address() == Some(Ipv4Cidr::new(LEASED, 24))
    });
}

#[test]
fn contradictions_are_told_at_the_start() {
    let check = |change: fn(&mut DongleConfig<'static>)| {
        let mut config = DongleConfig::DEFAULT;
        change(&mut config);
        config.check()
    };
    assert_eq!(check(|_| {}), Ok(()));
    assert_eq!(check(|config| config.mac[0] |= 1), Err(ConfigError::GroupMac));
    const MULTICAST: Ipv4Cidr = Ipv4Cidr::new(Ipv4Address::new(224, 0, 0, 1), 4);
    assert_eq!(check(|config| config.fallback = MULTICAST), Err(ConfigError::Fallback));
    assert_eq!(check(|config| config.talk_port = Some(0)), Err(ConfigError::PortZero));
    assert_eq!(check(|config| config.page_port = Some(27015)), Err(ConfigError::SamePort(27015)));
    assert_eq!(check(|config| config.talk_port = None), Ok(()));
    const SAME: &[Forward] = &[Forward { port: 80, device_port: 22 }];
    assert_eq!(check(|config| config.forwards = SAME), Err(ConfigError::SamePort(80)));
    const ZERO: &[Forward] = &[Forward { port: 81, device_port: 0 }];
    assert_eq!(check(|config| config.forwards = ZERO), Err(ConfigError::PortZero));
    const MANY: &[Forward] = &[Forward { port: 81, device_port: 22 }; 9];
    assert_eq!(check(|config| config.forwards = MANY), Err(ConfigError::TooManyForwards));
    assert_eq!(
        check(|config| config.hostname =
            "0123456789012345678901234567890123456789012345678901234567890123"),
        Err(ConfigError::LongHostname)
    );
}
