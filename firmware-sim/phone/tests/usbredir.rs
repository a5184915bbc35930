//! The usbredir cable, byte by byte: this file is QEMU, and shares no code with what answers it.
//!
//! Every message is built here from the numbers of the protocol's own document (version 0.7); a frame of
//! a session where one is needed from PROTOCOL §2–3.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use smol::Async;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::thread::{self, JoinHandle};
use std::time::Duration;
use usbmux_phone::Options;
use usbmux_phone::usbredir::{Ended, Malformed, UsbRedir, UsbRedirError};

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// The phone's capabilities: device version, packet sizes, 64-bit ids, 32-bit lengths.
const THE_PHONES: u32 = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 6;
/// What QEMU 7.2 sends: streams, device version, filter, disconnect acknowledgement, packet sizes,
/// 64-bit ids, 32-bit lengths, bulk receiving.
const QEMUS: u32 = 0xff;

const HELLO: u32 = 0;
const DEVICE_CONNECT: u32 = 1;
const DEVICE_DISCONNECT: u32 = 2;
const RESET: u32 = 3;
const INTERFACE_INFO: u32 = 4;
const EP_INFO: u32 = 5;
const CONTROL: u32 = 100;
const BULK: u32 = 101;

const VERSION_2: [u8; 20] = [0, 0, 0, 0, 0, 0, 0, 20, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0];
const SETUP: [u8; 17] = [0, 0, 0, 2, 0, 0, 0, 17, 0xfe, 0xed, 0xfa, 0xce, 0, 0, 0xff, 0xff, 7];
const OUT: u8 = 0x04;
const IN: u8 = 0x85;

/// QEMU's end of the cable.
struct Qemu {
    socket: UnixStream,
    phone: JoinHandle<(UsbRedir, Result<Ended, UsbRedirError>)>,
    /// Whether ids have 8 bytes and bulk packets a high half of the length.
    modern: bool,
}

/// A message of the phone's: its type, its id, what follows.
type Message = (u32, u64, Vec<u8>);

fn plug_in(mut phone: UsbRedir) -> Qemu {
    let (socket, other) = UnixStream::pair().unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let phone = thread::spawn(move || {
        let ended = smol::block_on(async { phone.serve(Async::new(other).unwrap()).await });
        (phone, ended)
    });
    Qemu { socket, phone, modern: false }
}

/// The phone's `hello` read, QEMU's sent.
fn greeted(phone: UsbRedir, capabilities: u32) -> Qemu {
    let mut qemu = plug_in(phone);
    let (kind, id, body) = qemu.receive();
    assert_eq!((kind, id, body.len()), (HELLO, 0, 68));
    assert_eq!(body[64..], THE_PHONES.to_le_bytes());
    let mut hello = b"qemu usb-redir guest 7.2.22".to_vec();
    hello.resize(64, 0);
    hello.extend(capabilities.to_le_bytes());
    qemu.send(HELLO, 0, &hello);
    qemu.modern = capabilities & 1 << 5 != 0;
    qemu
}

/// A QEMU whose guest has chosen the configuration with the mux.
fn configured_as(phone: UsbRedir, capabilities: u32) -> Qemu {
    let mut qemu = greeted(phone, capabilities);
    assert_eq!([0; 3].map(|_| qemu.receive().0), [INTERFACE_INFO, EP_INFO, DEVICE_CONNECT]);
    qemu.set_configuration(4, 3);
    qemu
}

fn configured() -> Qemu {
    configured_as(UsbRedir::new(Options::new(1)), QEMUS)
}

impl Qemu {
    fn send(&mut self, kind: u32, id: u64, body: &[u8]) {
        let bytes = self.message(kind, id, body);
        self.socket.write_all(&bytes).unwrap();
    }

    fn message(&self, kind: u32, id: u64, body: &[u8]) -> Vec<u8> {
        let mut bytes = kind.to_le_bytes().to_vec();
        bytes.extend((body.len() as u32).to_le_bytes());
        bytes.extend(&id.to_le_bytes()[..if self.modern { 8 } else { 4 }]);
        bytes.extend(body);
        bytes
    }

    fn receive(&mut self) -> Message {
        let mut header = vec![0; if self.modern { 16 } else { 12 }];
        self.socket.read_exact(&mut header).unwrap();
        let word = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().unwrap());
        let high = if self.modern { u64::from(word(12)) << 32 } else { 0 };
        let mut body = vec![0; word(4) as usize];
        self.socket.read_exact(&mut body).unwrap();
        (word(0), u64::from(word(8)) | high, body)
    }

    fn set_configuration(&mut self, id: u64, value: u8) {
        self.send(6, id, &[value]);
        assert_eq!([self.receive().0, self.receive().0], [INTERFACE_INFO, EP_INFO]);
        assert_eq!(self.receive(), (8, id, vec![0, value]));
    }

    /// A control transfer: the SETUP packet in USB's order, the answer as status, length and data.
    fn control(&mut self, id: u64, setup: [u8; 8], data: &[u8]) -> (u8, u16, Vec<u8>) {
        let [request_type, request, rest @ ..] = setup;
        let mut body = vec![request_type & 0x80, request, request_type, 0];
        body.extend(rest);
        body.extend(data);
        self.send(CONTROL, id, &body);
        let (kind, answered, answer) = self.receive();
        assert_eq!((kind, answered), (CONTROL, id));
        assert_eq!(answer[..3], body[..3]);
        assert_eq!(answer[4..8], rest[..4]);
        (answer[3], u16::from_le_bytes([answer[8], answer[9]]), answer[10..].to_vec())
    }

    /// What stands in front of a bulk packet's data.
    fn bulk(&self, endpoint: u8, status: u8, length: u32) -> Vec<u8> {
        let [a, b, c, d] = length.to_le_bytes();
        let mut body = vec![endpoint, status, a, b, 0, 0, 0, 0];
        if self.modern {
            body.extend([c, d]);
        }
        body
    }

    fn submit_out(&mut self, id: u64, data: &[u8]) {
        let body = [self.bulk(OUT, 0, data.len() as u32), data.to_vec()].concat();
        self.send(BULK, id, &body);
    }

    fn submit_in(&mut self, id: u64, length: u32) {
        let body = self.bulk(IN, 0, length);
        self.send(BULK, id, &body);
    }

    fn sent(&self, id: u64, length: u32) -> Message {
        (BULK, id, self.bulk(OUT, 0, length))
    }

    fn arrived(&self, id: u64, data: &[u8]) -> Message {
        (BULK, id, [self.bulk(IN, 0, data.len() as u32), data.to_vec()].concat())
    }

    fn cancelled(&self, id: u64, endpoint: u8) -> Message {
        (BULK, id, self.bulk(endpoint, 1, 0))
    }

    /// The next two messages, in the order of their ids: endpoints do not wait for each other.
    fn both(&mut self) -> [Message; 2] {
        let mut messages = [self.receive(), self.receive()];
        messages.sort_by_key(|message| message.1);
        messages
    }

    fn out(&mut self, data: &[u8]) {
        self.submit_out(70, data);
        assert_eq!(self.receive(), self.sent(70, data.len() as u32));
    }

    fn read(&mut self, length: u32) -> Vec<u8> {
        self.submit_in(80, length);
        let (kind, id, body) = self.receive();
        let front = if self.modern { 10 } else { 8 };
        assert_eq!((kind, id, &body[..2]), (BULK, 80, &[IN, 0][..]));
        body[front..].to_vec()
    }

    /// VERSION, SETUP and a connection from port 1 to port 7 (echo).
    fn open_echo(&mut self) {
        self.out(&VERSION_2);
        assert_eq!(self.read(65024), VERSION_2);
        self.out(&SETUP);
        self.out(&segment(1, 0, 0, 2, &[]));
        assert_eq!(self.read(65024)[28..30], [0x50, 0x12]);
        self.out(&segment(2, 1, 1, 0x10, &[]));
    }

    /// What the phone still says, how it ended, and itself.
    fn rest(mut self) -> (Vec<u8>, Result<Ended, UsbRedirError>, UsbRedir) {
        let mut rest = Vec::new();
        match self.socket.read_to_end(&mut rest) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
        drop(self.socket);
        let (phone, ended) = self.phone.join().unwrap();
        (rest, ended, phone)
    }
}

/// A frame of the connection from port 1 to port 7.
fn segment(tx_seq: u16, seq: u32, ack: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 0, 6];
    bytes.extend((36 + payload.len() as u32).to_be_bytes());
    bytes.extend([0xfe, 0xed, 0xfa, 0xce]);
    bytes.extend(tx_seq.to_be_bytes());
    bytes.extend([0xff, 0xff, 0, 1, 0, 7]);
    bytes.extend(seq.to_be_bytes());
    bytes.extend(ack.to_be_bytes());
    bytes.extend([0x50, flags, 2, 0, 0, 0, 0, 0]);
    bytes.extend(payload);
    bytes
}

/// `ep_info` with these endpoints: index, type, interval, interface, packet size.
fn ep_info(endpoints: &[(usize, u8, u8, u8, u16)]) -> Vec<u8> {
    let mut body = [vec![255; 32], vec![0; 64], vec![0; 64]].concat();
    for (index, kind, interval, interface, size) in endpoints {
        (body[*index], body[32 + index], body[64 + index]) = (*kind, *interval, *interface);
        body[96 + 2 * index..98 + 2 * index].copy_from_slice(&size.to_le_bytes());
    }
    body
}

/// `interface_info` with these: number, class, subclass, protocol.
fn interface_info(interfaces: &[[u8; 4]]) -> Vec<u8> {
    let mut body = (interfaces.len() as u32).to_le_bytes().to_vec();
    body.resize(4 + 4 * 32, 0);
    for (row, interface) in interfaces.iter().enumerate() {
        for (column, value) in interface.iter().enumerate() {
            body[4 + 32 * column + row] = *value;
        }
    }
    body
}

const ENDPOINT_ZERO: [(usize, u8, u8, u8, u16); 2] = [(0, 0, 0, 0, 64), (16, 0, 0, 0, 64)];

#[test]
fn a_phone_greets_and_is_plugged_in() {
    let mut qemu = greeted(UsbRedir::new(Options::new(1)), QEMUS);
    assert_eq!(qemu.receive(), (INTERFACE_INFO, 0, interface_info(&[])));
    assert_eq!(qemu.receive(), (EP_INFO, 0, ep_info(&ENDPOINT_ZERO)));
    // High speed, class of each interface, Apple's iPhone, version 12.05.
    let device = vec![2, 0, 0, 0, 0xac, 0x05, 0xa8, 0x12, 0x05, 0x12];
    assert_eq!(qemu.receive(), (DEVICE_CONNECT, 0, device));
}

#[test]
fn the_configuration_tells_its_interfaces_and_endpoints() {
    let mut qemu = greeted(UsbRedir::new(Options::new(1)), QEMUS);
    let _ = [0; 3].map(|_| qemu.receive());
    qemu.send(6, 9, &[4]);
    let (ptp, mux) = ([0, 6, 1, 1], [1, 255, 254, 2]);
    let all = [ptp, mux, [2, 255, 253, 1]];
    assert_eq!(qemu.receive(), (INTERFACE_INFO, 0, interface_info(&all)));
    // The packets of bulk IN endpoints are not told: QEMU is not to ask ahead.
    let pictures = [(2, 2, 0, 0, 512), (17, 2, 0, 0, 0), (19, 3, 10, 0, 64)];
    let muxed = [(4, 2, 0, 1, 512), (21, 2, 0, 1, 0)];
    let idle = [&ENDPOINT_ZERO[..], &pictures, &muxed].concat();
    assert_eq!(qemu.receive(), (EP_INFO, 0, ep_info(&idle)));
    assert_eq!(qemu.receive(), (8, 9, vec![0, 4]));
    qemu.send(7, 10, &[]);
    assert_eq!(qemu.receive(), (8, 10, vec![0, 4]));

    // Tethering's endpoints exist in alternate 1 alone.
    qemu.send(9, 11, &[2, 1]);
    assert_eq!(qemu.receive(), (INTERFACE_INFO, 0, interface_info(&all)));
    let tethering = [&idle[..], &[(22, 2, 0, 2, 0), (5, 2, 0, 2, 512)]].concat();
    assert_eq!(qemu.receive(), (EP_INFO, 0, ep_info(&tethering)));
    assert_eq!(qemu.receive(), (11, 11, vec![0, 2, 1]));
    qemu.send(10, 12, &[2]);
    assert_eq!(qemu.receive(), (11, 12, vec![0, 2, 1]));

    // What there is not: a configuration, an alternate, an interface.
    qemu.send(6, 13, &[9]);
    assert_eq!([0; 3].map(|_| qemu.receive())[2], (8, 13, vec![4, 4]));
    qemu.send(9, 14, &[1, 1]);
    assert_eq!([0; 3].map(|_| qemu.receive())[2], (11, 14, vec![4, 1, 0]));
    qemu.send(10, 15, &[7]);
    assert_eq!(qemu.receive(), (11, 15, vec![2, 7, 0]));
}

#[test]
fn control_transfers_are_answered_or_stall() {
    let mut qemu = configured();
    let device = qemu.control(1 << 40, [0x80, 6, 0, 1, 0, 0, 18, 0], &[]);
    #[rustfmt::skip]
    let due = vec![18, 1, 0, 2, 0, 0, 0, 64, 0xac, 0x05, 0xa8, 0x12, 0x05, 0x12, 1, 2, 3, 4];
    assert_eq!(device, (0, 18, due.clone()));
    let head = qemu.control(2, [0x80, 6, 0, 1, 0, 0, 8, 0], &[]);
    assert_eq!(head, (0, 8, due[..8].to_vec()));
    // The halt of an endpoint cleared; BOS; a class request with data to the phone.
    assert_eq!(qemu.control(3, [0x02, 1, 0, 0, 0x85, 0, 0, 0], &[]), (0, 0, vec![]));
    assert_eq!(qemu.control(4, [0x80, 6, 0, 15, 0, 0, 5, 0], &[]), (4, 0, vec![]));
    assert_eq!(qemu.control(5, [0x21, 9, 0, 0, 0, 0, 3, 0], &[1, 2, 3]), (4, 0, vec![]));
}

#[test]
fn an_old_host_speaks_with_short_ids_and_lengths() {
    let mut qemu = greeted(UsbRedir::new(Options::new(1)), 0);
    let [interfaces, endpoints, device] = [0; 3].map(|_| qemu.receive());
    assert_eq!((interfaces.2.len(), endpoints.2.len(), device.2.len()), (132, 96, 8));
    qemu.set_configuration(4, 3);
    qemu.open_echo();
    qemu.out(&segment(3, 1, 1, 0x10, b"short"));
    assert_eq!(qemu.read(512)[36..], *b"short");
    // The longest that 16 bits can say.
    let long = [segment(4, 6, 1, 0x10, &[7; 65499])].concat();
    qemu.out(&long);
}

#[test]
fn transfers_complete_in_order_each_endpoint_for_itself() {
    let mut qemu = configured();
    qemu.submit_in(1, 65024);
    qemu.submit_in(2, 65024);
    qemu.submit_out(3, &VERSION_2);
    assert_eq!(qemu.both(), [qemu.arrived(1, &VERSION_2), qemu.sent(3, 20)]);
    qemu.submit_out(4, &VERSION_2);
    assert_eq!(qemu.both(), [qemu.arrived(2, &VERSION_2), qemu.sent(4, 20)]);
}

#[test]
fn a_read_completes_when_it_is_full_or_at_a_short_packet() {
    let mut qemu = configured();
    qemu.open_echo();
    // Echoed, 36 + 988 bytes are two full packets and a ZLP.
    qemu.out(&segment(3, 1, 1, 0x10, &[7; 988]));
    qemu.out(&[]);
    assert_eq!(
        [qemu.read(512), qemu.read(512), qemu.read(512)].map(|part| part.len()),
        [512, 512, 0]
    );
    qemu.out(&segment(4, 989, 1, 0x10, &[8; 988]));
    qemu.out(&[]);
    assert_eq!(qemu.read(1536).len(), 1024, "the ZLP ends a read that is not full");
    qemu.out(&segment(5, 1977, 1, 0x10, &[9; 100]));
    assert_eq!(qemu.read(512).len(), 136);
}

#[test]
fn a_full_packet_ends_a_message_only_with_its_zlp() {
    let mut qemu = configured();
    qemu.open_echo();
    qemu.out(&segment(3, 1, 1, 0x10, &[1; 476]));
    qemu.submit_in(1, 65024);
    // Nothing is echoed before the message has its end.
    qemu.send(21, 1, &[]);
    assert_eq!(qemu.receive(), qemu.cancelled(1, IN));
    qemu.out(&[]);
    assert_eq!(qemu.read(65024)[36..], [1; 476]);
}

#[test]
fn more_than_was_asked_for_is_a_babble() {
    let mut qemu = configured();
    qemu.out(&VERSION_2);
    qemu.submit_in(1, 4);
    let due = [qemu.bulk(IN, 6, 4), vec![0; 4]].concat();
    assert_eq!(qemu.receive(), (BULK, 1, due));
}

#[test]
fn a_cancelled_transfer_is_answered_once_and_takes_nothing() {
    let mut qemu = configured();
    for id in 1..=3 {
        qemu.submit_in(id, 65024);
    }
    qemu.send(21, 2, &[]);
    assert_eq!(qemu.receive(), qemu.cancelled(2, IN));
    for id in [1, 3] {
        qemu.submit_out(10, &VERSION_2);
        assert_eq!(qemu.both(), [qemu.arrived(id, &VERSION_2), qemu.sent(10, 20)]);
    }
    // What has completed, or never was, is not answered: the next answer is another one's.
    for id in [2, 3, 4711] {
        qemu.send(21, id, &[]);
    }
    assert_eq!(qemu.control(5, [0x80, 8, 0, 0, 0, 0, 1, 0], &[]), (0, 1, vec![3]));
    // Endpoints without anything to say wait to be cancelled.
    let (pictures, to_pictures) = (qemu.bulk(0x81, 0, 512), [qemu.bulk(2, 0, 1), vec![9]].concat());
    qemu.send(BULK, 20, &pictures);
    qemu.send(BULK, 21, &to_pictures);
    for (id, endpoint) in [(21, 2), (20, 0x81)] {
        qemu.send(21, id, &[]);
        assert_eq!(qemu.receive(), qemu.cancelled(id, endpoint));
    }
}

#[test]
fn a_reset_ends_transfers_session_and_configuration() {
    let mut qemu = configured();
    qemu.open_echo();
    qemu.out(&segment(3, 1, 1, 0x10, b"never read"));
    qemu.read(512);
    qemu.submit_in(1, 512);
    qemu.submit_in(2, 512);
    qemu.send(RESET, 0, &[]);
    assert_eq!(qemu.both(), [qemu.cancelled(1, IN), qemu.cancelled(2, IN)]);
    assert_eq!(qemu.receive(), (INTERFACE_INFO, 0, interface_info(&[])));
    assert_eq!(qemu.receive(), (EP_INFO, 0, ep_info(&ENDPOINT_ZERO)));
    assert_eq!(qemu.control(3, [0x80, 8, 0, 0, 0, 0, 1, 0], &[]), (0, 1, vec![0]));
    // The phone has forgotten the session, too: it answers VERSION, and not with what waited.
    qemu.set_configuration(4, 3);
    qemu.out(&VERSION_2);
    assert_eq!(qemu.read(65024), VERSION_2);
}

#[test]
fn streams_are_refused_and_interrupts_never_come() {
    let mut qemu = configured();
    qemu.send(12, 1, &[0x81, 8, 4]);
    assert_eq!(qemu.receive(), (14, 1, vec![4, 0x81]));
    qemu.send(15, 2, &[0x83]);
    assert_eq!(qemu.receive(), (17, 2, vec![0, 0x83]));
    qemu.send(16, 3, &[0x83]);
    assert_eq!(qemu.receive(), (17, 3, vec![0, 0x83]));
    // A bulk stream, which the phone has not offered; and what it need not know: a filter.
    let mut stream = qemu.bulk(IN, 0, 512);
    stream[4] = 1;
    qemu.send(BULK, 4, &stream);
    assert_eq!(qemu.receive(), (BULK, 4, qemu.bulk(IN, 2, 0)));
    qemu.send(23, 5, b"-1,-1,-1,-1,1\0");
    assert_eq!(qemu.control(6, [0x80, 8, 0, 0, 0, 0, 1, 0], &[]), (0, 1, vec![3]));
}

#[test]
fn one_transfer_too_many_is_invalid() {
    let mut qemu = configured();
    for id in 0..1024 {
        qemu.submit_in(id, 512);
    }
    qemu.submit_in(2000, 512);
    assert_eq!(qemu.receive(), (BULK, 2000, qemu.bulk(IN, 2, 0)));
    qemu.submit_out(2001, &VERSION_2);
    assert_eq!(qemu.receive(), (BULK, 2001, qemu.bulk(OUT, 2, 0)));
}

#[test]
fn a_switched_mode_says_goodbye_and_outlives_the_cable() {
    let mut qemu = configured();
    assert_eq!(qemu.control(1, [0xc0, 0x52, 0, 0, 3, 0, 1, 0], &[]), (0, 1, vec![0]));
    assert_eq!(qemu.receive(), (DEVICE_DISCONNECT, 0, vec![]));
    let (rest, ended, phone) = qemu.rest();
    assert_eq!((rest, ended.unwrap()), (vec![], Ended::ModeSwitched));
    let mut qemu = configured_as(phone, QEMUS);
    assert_eq!(qemu.control(1, [0xc0, 0x45, 0, 0, 0, 0, 4, 0], &[]), (0, 4, vec![5, 3, 3, 0]));
}

#[test]
fn the_cable_is_out_when_either_end_says_so() {
    let qemu = configured();
    qemu.socket.shutdown(std::net::Shutdown::Write).unwrap();
    let (rest, ended, phone) = qemu.rest();
    assert_eq!((rest, ended.unwrap()), (vec![], Ended::HungUp));
    // Plugged in again it is not configured.
    let mut qemu = greeted(phone, QEMUS);
    let _ = [0; 3].map(|_| qemu.receive());
    qemu.send(7, 1, &[]);
    assert_eq!(qemu.receive(), (8, 1, vec![0, 0]));

    let mut options = Options::new(1);
    options.quirks.push("unplug=0.2".parse().unwrap());
    let mut qemu = greeted(UsbRedir::new(options), QEMUS);
    let _ = [0; 3].map(|_| qemu.receive());
    assert_eq!(qemu.receive(), (DEVICE_DISCONNECT, 0, vec![]));
    let (rest, ended, _) = qemu.rest();
    assert_eq!((rest, ended.unwrap()), (vec![], Ended::Unplugged));
}

#[test]
fn what_is_no_usbredir_ends_it() {
    let ends_with = |what: Malformed, qemu: Qemu| {
        let (_, ended, _) = qemu.rest();
        assert!(
            matches!(ended, Err(UsbRedirError::Malformed(found)) if found == what),
            "{ended:?}"
        );
    };
    let mut qemu = plug_in(UsbRedir::new(Options::new(1)));
    qemu.send(RESET, 0, &[]);
    ends_with(Malformed::NoHello(RESET), qemu);
    let mut qemu = configured();
    let length = (16 << 20) + 11;
    let header = [BULK.to_le_bytes(), u32::to_le_bytes(length), [0; 4], [0; 4]].concat();
    qemu.socket.write_all(&header).unwrap();
    ends_with(Malformed::Length(length), qemu);
    // Too short for its fields; less data than the fields say; data behind a read; too long a read.
    let fields: [(u32, Vec<u8>); 6] = [
        (6, vec![]),
        (9, vec![1]),
        (CONTROL, vec![0; 9]),
        (BULK, vec![OUT, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1]),
        (BULK, vec![IN, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1]),
        (BULK, vec![IN, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]),
    ];
    for (kind, body) in fields {
        let mut qemu = configured();
        qemu.send(kind, 1, &body);
        ends_with(Malformed::Fields(kind), qemu);
    }
}

#[test]
fn messages_may_come_a_byte_at_a_time() {
    let mut qemu = configured();
    let submit = [qemu.bulk(OUT, 0, 20), VERSION_2.to_vec()].concat();
    let ask = qemu.bulk(IN, 0, 512);
    let bytes = [qemu.message(BULK, 1, &submit), qemu.message(BULK, 2, &ask)].concat();
    for byte in bytes {
        qemu.socket.write_all(&[byte]).unwrap();
    }
    assert_eq!(qemu.both(), [qemu.sent(1, 20), qemu.arrived(2, &VERSION_2)]);
}

/// Whatever the numbers are, the phone answers or ends; it neither panics nor hangs.
#[test]
fn random_messages_are_survived() {
    let seed = std::env::var("USBMUX_SEED").ok().and_then(|text| text.parse().ok());
    let seed: u64 = seed.unwrap_or(20);
    println!("USBMUX_SEED={seed}");
    let mut state = seed | 1;
    let mut random = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 16) % below
    };
    for _ in 0..100 {
        let mut qemu = configured();
        let socket = qemu.socket.try_clone().unwrap();
        let reader = thread::spawn(move || {
            let _ = std::io::copy(&mut &socket, &mut std::io::sink());
        });
        for _ in 0..100 {
            let kind = [RESET, 6, 9, 10, 12, 15, 21, CONTROL, BULK, BULK][random(10) as usize];
            let data = vec![random(256) as u8; [0, 1, 20, 512][random(4) as usize]];
            let endpoint = [OUT, IN, 2, 0x81, random(256) as u8][random(5) as usize];
            let body = match kind {
                BULK if random(20) > 0 && endpoint & 0x80 == 0 => {
                    [qemu.bulk(endpoint, 0, data.len() as u32), data].concat()
                }
                BULK if random(20) > 0 => qemu.bulk(endpoint, 0, random(70_000) as u32),
                CONTROL if random(20) > 0 => (0..10).map(|_| random(16) as u8 * 0x11).collect(),
                RESET => vec![],
                _ => [random(5) as u8, random(5) as u8, random(5) as u8].to_vec(),
            };
            let bytes = qemu.message(kind, random(40), &body);
            if qemu.socket.write_all(&bytes).is_err() {
                break;
            }
        }
        qemu.socket.shutdown(std::net::Shutdown::Write).unwrap();
        reader.join().unwrap();
        assert!(qemu.phone.join().is_ok(), "the phone panicked");
    }
}
