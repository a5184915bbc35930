//! The phone at the level of packets, spoken to with bytes spelled out here.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};
use std::time::Duration;
use usbmux_core::Instant;
use usbmux_phone::control::Setup;
use usbmux_phone::descriptors::{MUX_IN, MUX_OUT};
use usbmux_phone::device::{Control, Device, Handshake, Packet, Toggle};
use usbmux_phone::{DISCARD, ECHO, Options, Quirk};

const ADDRESS: u8 = 5;
const VERSION_2: [u8; 20] = [0, 0, 0, 0, 0, 0, 0, 20, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0];

/// A host with a bus of its own: toggles, numbers, and a clock that it moves by hand.
struct Host {
    phone: Device,
    now: Instant,
    out: Toggle,
    tx: u16,
}

impl Host {
    fn new(options: &Options) -> Self {
        let now = Instant::ZERO;
        let mut phone = Device::new(options);
        phone.plug_in(now);
        phone.bus_reset(now);
        let mut host = Host { phone, now, out: Toggle::Data0, tx: 0 };
        assert_eq!(host.request(0, [0, 5, ADDRESS, 0, 0, 0, 0, 0]), Control::Data(vec![]));
        host
    }

    fn configured(options: &Options) -> Self {
        let mut host = Host::new(options);
        let done = host.request(ADDRESS, [0, 9, 3, 0, 0, 0, 0, 0]);
        assert_eq!(done, Control::Data(vec![]));
        host
    }

    fn linked(options: &Options) -> Self {
        let mut host = Host::configured(options);
        host.send(&VERSION_2);
        assert_eq!(host.message()[..12], VERSION_2[..12]);
        host.frame(2, &[7]);
        host
    }

    fn request(&mut self, address: u8, setup: [u8; 8]) -> Control {
        self.phone.control(self.now, address, Setup::parse(&setup))
    }

    fn packet(&mut self, bytes: &[u8]) -> Handshake {
        let answer = self.phone.out_packet(self.now, ADDRESS, MUX_OUT, self.out, bytes);
        if answer == Handshake::Ack {
            self.out = self.out.next();
        }
        answer
    }

    /// One OUT transfer, with the ZLP where it needs one.
    fn send(&mut self, bytes: &[u8]) {
        let size = usize::from(self.phone.max_packet());
        for packet in bytes.chunks(size) {
            assert_eq!(self.packet(packet), Handshake::Ack);
        }
        if bytes.len().is_multiple_of(size) {
            assert_eq!(self.packet(&[]), Handshake::Ack);
        }
    }

    fn frame(&mut self, protocol: u8, body: &[u8]) {
        let length = (16 + body.len() as u32).to_be_bytes();
        let [high, low] = self.tx.to_be_bytes();
        let head = [0xfe, 0xed, 0xfa, 0xce, high, low, 0xff, 0xff];
        self.send(&[&[0, 0, 0, protocol][..], &length, &head, body].concat());
        self.tx += 1;
    }

    fn segment(&mut self, port: u16, seq: u32, ack: u32, flags: u8, payload: &[u8]) {
        let mut tcp = vec![0, 9];
        tcp.extend(port.to_be_bytes());
        tcp.extend(seq.to_be_bytes());
        tcp.extend(ack.to_be_bytes());
        tcp.extend([0x50, flags, 2, 0, 0, 0, 0, 0]);
        tcp.extend(payload);
        self.frame(6, &tcp);
    }

    fn connect(&mut self, port: u16) {
        self.segment(port, 0, 0, 0x02, &[]);
        assert_eq!(self.message()[29], 0x12, "SYN|ACK");
        self.segment(port, 1, 1, 0x10, &[]);
    }

    /// The next message, after as many ticks as the phone asks for.
    fn message(&mut self) -> Vec<u8> {
        let mut message = Vec::new();
        for _ in 0..10_000 {
            match self.phone.in_packet(self.now, ADDRESS, MUX_IN) {
                Packet::Data { bytes, .. } => {
                    message.extend_from_slice(bytes);
                    let ends = bytes.len() < usize::from(self.phone.max_packet());
                    self.phone.in_acknowledged(self.now);
                    if ends {
                        return message;
                    }
                }
                Packet::Nak => self.tick(),
                other => panic!("{other:?}"),
            }
        }
        panic!("the phone says nothing");
    }

    fn tick(&mut self) {
        self.now = self.phone.next_tick().unwrap().max(self.now);
        self.phone.tick(self.now);
    }
}

fn full_speed() -> Options {
    let mut options = Options::new(1);
    options.max_packet = 64;
    options
}

#[test]
fn nobody_answers_before_the_configuration_or_at_another_address() {
    let mut host = Host::new(&full_speed());
    assert_eq!(host.packet(&VERSION_2), Handshake::Silence);
    assert_eq!(host.phone.in_packet(host.now, ADDRESS, MUX_IN), Packet::Silence);
    assert_eq!(host.request(0, [0x80, 8, 0, 0, 0, 0, 1, 0]), Control::Silence);
    assert_eq!(host.request(ADDRESS, [0, 9, 3, 0, 0, 0, 0, 0]), Control::Data(vec![]));
    assert_eq!(host.packet(&VERSION_2), Handshake::Ack);
    assert_eq!(host.phone.in_packet(host.now, ADDRESS + 1, MUX_IN), Packet::Silence);
    assert_eq!(host.phone.in_packet(host.now, ADDRESS, 0x81), Packet::Nak, "the picture endpoint");
    host.phone.bus_reset(host.now);
    assert_eq!(host.packet(&VERSION_2), Handshake::Silence);
    assert_eq!(host.request(0, [0x80, 8, 0, 0, 0, 0, 1, 0]), Control::Data(vec![0]));
    host.phone.unplug(host.now);
    assert_eq!(host.request(0, [0x80, 8, 0, 0, 0, 0, 1, 0]), Control::Silence);
}

#[test]
fn an_echo_goes_through_packets_of_64_bytes() {
    let mut host = Host::linked(&full_speed());
    host.connect(ECHO);
    // 36 + 92 = 128: the frame needs a ZLP, and so does its echo.
    let payload: Vec<u8> = (0..92).collect();
    host.segment(ECHO, 1, 1, 0x10, &payload);
    assert_eq!(host.message()[36..], payload);
}

#[test]
fn a_repeated_packet_is_acknowledged_and_dropped() {
    let mut host = Host::linked(&full_speed());
    host.connect(ECHO);
    let toggle = host.out;
    host.segment(ECHO, 1, 1, 0x10, b"once");
    let again = host.phone.out_packet(host.now, ADDRESS, MUX_OUT, toggle, &[0; 40]);
    assert_eq!(again, Handshake::Ack, "its ACK was lost, so the host repeats it");
    assert_eq!(host.message()[36..], *b"once");
    host.segment(ECHO, 5, 5, 0x10, b"more");
    assert_eq!(host.message()[36..], *b"more", "the session lives");
}

#[test]
fn an_in_packet_comes_again_until_it_is_acknowledged() {
    let mut host = Host::configured(&full_speed());
    host.send(&VERSION_2);
    for _ in 0..3 {
        let packet = host.phone.in_packet(host.now, ADDRESS, MUX_IN);
        let Packet::Data { toggle, bytes } = packet else { panic!("{packet:?}") };
        assert_eq!((toggle, bytes.len()), (Toggle::Data0, 20));
    }
    host.phone.in_acknowledged(host.now);
    assert_eq!(host.phone.in_packet(host.now, ADDRESS, MUX_IN), Packet::Nak);
}

#[test]
fn a_halted_endpoint_stalls_until_it_is_cleared() {
    let mut host = Host::linked(&full_speed());
    host.phone.halt(MUX_OUT);
    assert_eq!(host.packet(&[0]), Handshake::Stall);
    let clear = [0x02, 1, 0, 0, MUX_OUT, 0, 0, 0];
    assert_eq!(host.request(ADDRESS, clear), Control::Data(vec![]));
    host.out = Toggle::Data0;
    host.connect(ECHO);
    host.phone.halt(MUX_IN);
    assert_eq!(host.phone.in_packet(host.now, ADDRESS, MUX_IN), Packet::Stall);
    let clear = [0x02, 1, 0, 0, MUX_IN, 0, 0, 0];
    assert_eq!(host.request(ADDRESS, clear), Control::Data(vec![]));
    assert_eq!(host.phone.in_packet(host.now, ADDRESS, MUX_IN), Packet::Nak);
}

#[test]
fn a_reset_loses_what_no_program_has_read_yet() {
    let mut host = Host::linked(&full_speed());
    host.connect(DISCARD);
    host.segment(DISCARD, 1, 1, 0x10, &[1; 500]);
    host.segment(DISCARD, 501, 1, 0x04, &[]);
    assert_eq!(host.phone.counters().unread_dropped, 500);
}

#[test]
fn a_lost_transfer_is_lost_with_all_its_packets() {
    let mut options = full_speed();
    // VERSION, SETUP, SYN, ACK, data.
    options.quirks = ["lost-transfer=5".parse().unwrap()].into_iter().collect();
    let mut host = Host::linked(&options);
    host.connect(ECHO);
    host.segment(ECHO, 1, 1, 0x10, &[1; 500]);
    host.segment(ECHO, 501, 1, 0x10, &[2; 10]);
    let said = host.message();
    assert!(String::from_utf8_lossy(&said).contains("Expected 3 received 4"), "{said:?}");
}

#[test]
fn the_cable_comes_out_when_the_quirk_says_so() {
    let mut options = full_speed();
    options.quirks = ["unplug=3".parse().unwrap()].into_iter().collect();
    let mut host = Host::configured(&options);
    assert_eq!(host.phone.next_tick(), Some(Instant::from_millis(3000)));
    host.tick();
    assert!(!host.phone.is_plugged());
    assert_eq!(host.phone.next_tick(), None);
}

#[test]
fn the_cable_goes_in_again_when_the_quirk_says_so_each_time() {
    let mut options = full_speed();
    options.quirks =
        ["unplug=3", "replug=1"].map(|name| name.parse().unwrap()).into_iter().collect();
    let mut host = Host::configured(&options);
    for round in 0..3 {
        host.tick();
        assert_eq!(host.now, Instant::from_millis(4000 * round + 3000));
        assert!(!host.phone.is_plugged());
        host.tick();
        assert_eq!(host.now, Instant::from_millis(4000 * round + 4000));
        assert!(host.phone.is_plugged());
        // At address 0 again, not configured.
        assert_eq!(host.request(ADDRESS, [0x80, 8, 0, 0, 0, 0, 1, 0]), Control::Silence);
        assert_eq!(host.request(0, [0x80, 8, 0, 0, 0, 0, 1, 0]), Control::Data(vec![0]));
    }
    // A hand that pulls it out is not the quirk's.
    host.tick();
    host.phone.unplug(host.now);
    assert_eq!(host.phone.next_tick(), None);
}

#[test]
fn a_switch_of_the_mode_takes_it_off_the_bus_for_a_while() {
    let mut host = Host::configured(&full_speed());
    let switch = [0xc0, 0x52, 0, 0, 3, 0, 1, 0];
    assert_eq!(host.request(ADDRESS, switch), Control::Data(vec![0]));
    assert!(!host.phone.is_plugged());
    host.tick();
    assert!(host.phone.is_plugged());
    assert_eq!(host.request(0, [0x80, 8, 0, 0, 0, 0, 1, 0]), Control::Data(vec![0]));
}

#[test]
fn mapped_ports_refuse_without_an_executor() {
    let mut options = full_speed();
    options.mapped = vec![(5000, ([127, 0, 0, 1], 9).into())];
    let mut host = Host::linked(&options);
    host.segment(5000, 0, 0, 0x02, &[]);
    assert_eq!(host.message()[29], 0x04, "RST");
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn mapped_ports_lead_to_a_server_with_one() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut options = full_speed();
    options.mapped = vec![(5000, listener.local_addr().unwrap())];
    let mut host = Host::linked(&options);
    let flag = Arc::new(Flag(AtomicBool::new(false)));
    let ports = host.phone.serve_mapped_ports(Waker::from(flag.clone()));
    let server = std::thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        let mut said = [0; 4];
        stream.read_exact(&mut said).unwrap();
        stream.write_all(b"pong").unwrap();
        said
    });
    let executor = smol::LocalExecutor::new();
    executor.spawn(ports).detach();
    host.segment(5000, 0, 0, 0x02, &[]);
    let talk = async {
        for part in 0.. {
            while let Packet::Nak = host.phone.in_packet(host.now, ADDRESS, MUX_IN) {
                if host.phone.next_tick().is_some() {
                    host.tick();
                } else if !flag.0.swap(false, Ordering::Relaxed) {
                    smol::future::yield_now().await;
                }
            }
            match (part, host.message()) {
                (0, syn_ack) => {
                    assert_eq!(syn_ack[29], 0x12);
                    host.segment(5000, 1, 1, 0x10, b"ping");
                }
                (_, message) if message[36..] == *b"pong" => return,
                _ => {}
            }
        }
    };
    let late = async {
        smol::Timer::after(Duration::from_secs(20)).await;
        panic!("nothing came of it");
    };
    smol::block_on(executor.run(smol::future::or(talk, late)));
    assert_eq!(server.join().unwrap(), *b"ping");
}

const GET_MODE: [u8; 8] = [0xc0, 0x45, 0, 0, 0, 0, 4, 0];

fn with(quirk: Quirk) -> Options {
    let mut options = Options::new(1);
    options.quirks.push(quirk);
    options
}

#[test]
fn stall_mode_stalls_only_what_is_asked_about_modes() {
    let mut host = Host::new(&with(Quirk::StallMode));
    assert_eq!(host.request(ADDRESS, GET_MODE), Control::Stall);
    assert_eq!(host.request(ADDRESS, [0, 9, 4, 0, 0, 0, 0, 0]), Control::Data(vec![]));
}

#[test]
fn silent_mode_never_answers_what_is_asked_about_modes() {
    let mut host = Host::new(&with(Quirk::SilentMode));
    assert_eq!(host.request(ADDRESS, GET_MODE), Control::Silence);
    assert_eq!(host.request(ADDRESS, [0, 9, 4, 0, 0, 0, 0, 0]), Control::Data(vec![]));
}

#[test]
fn no_mux_leaves_the_two_configurations_without_it() {
    let mut host = Host::new(&with(Quirk::NoMux));
    let Control::Data(device) = host.request(ADDRESS, [0x80, 6, 0, 1, 0, 0, 18, 0]) else {
        panic!("a phone has a device descriptor")
    };
    assert_eq!(device.last(), Some(&2), "bNumConfigurations");
    assert_eq!(host.request(ADDRESS, [0, 9, 3, 0, 0, 0, 0, 0]), Control::Stall);
}

#[test]
fn silent_version_outlasts_the_reset_that_begins_every_enumeration() {
    let mut host = Host::configured(&with(Quirk::SilentVersion { times: None }));
    host.send(&VERSION_2);
    assert_eq!(host.phone.in_packet(host.now, ADDRESS, MUX_IN), Packet::Nak);
    host.phone.bus_reset(host.now);
    host.out = Toggle::Data0;
    assert_eq!(host.request(0, [0, 5, ADDRESS, 0, 0, 0, 0, 0]), Control::Data(vec![]));
    assert_eq!(host.request(ADDRESS, [0, 9, 3, 0, 0, 0, 0, 0]), Control::Data(vec![]));
    host.send(&VERSION_2);
    assert_eq!(host.message()[..12], VERSION_2[..12]);
}
