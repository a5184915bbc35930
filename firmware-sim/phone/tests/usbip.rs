//! The USB/IP cable, byte by byte: this file is the kernel, and shares no code with what answers it.
//!
//! Every message is built here from the 48 bytes of Linux's usbip_protocol.rst; a frame of a session
//! where one is needed from PROTOCOL §2–3.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use smol::Async;
use std::collections::HashSet;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::thread::{self, JoinHandle};
use std::time::Duration;
use usbmux_phone::usbip::{Ended, Malformed, UsbIp, UsbIpError};
use usbmux_phone::{Options, Quirk};

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(20);

const OUT: u32 = 0;
const IN: u32 = 1;
const NO_SETUP: [u8; 8] = [0; 8];
const VERSION_2: [u8; 20] = [0, 0, 0, 0, 0, 0, 0, 20, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0];
const SETUP: [u8; 17] = [0, 0, 0, 2, 0, 0, 0, 17, 0xfe, 0xed, 0xfa, 0xce, 0, 0, 0xff, 0xff, 7];
const SET_CONFIGURATION_4: [u8; 8] = [0x00, 9, 4, 0, 0, 0, 0, 0];
const GET_MODE: [u8; 8] = [0xc0, 0x45, 0, 0, 0, 0, 4, 0];

/// The kernel's end of the cable.
struct Kernel {
    socket: UnixStream,
    phone: JoinHandle<(UsbIp, Result<Ended, UsbIpError>)>,
    /// The number of the last request.
    seqnum: u32,
    /// IN transfers: the answer itself does not say whether data follows.
    reads: HashSet<u32>,
}

/// An answer, taken apart.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Submitted { seqnum: u32, status: i32, actual: u32, data: Vec<u8> },
    Unlinked { seqnum: u32, status: i32 },
}

fn done(seqnum: u32, data: &[u8]) -> Answer {
    Answer::Submitted { seqnum, status: 0, actual: data.len() as u32, data: data.to_vec() }
}

fn failed(seqnum: u32, status: i32) -> Answer {
    Answer::Submitted { seqnum, status, actual: 0, data: vec![] }
}

fn sent(seqnum: u32, actual: u32) -> Answer {
    Answer::Submitted { seqnum, status: 0, actual, data: vec![] }
}

/// The 48 bytes of a request: its ten numbers and the SETUP packet.
fn header(numbers: [u32; 10], setup: [u8; 8]) -> Vec<u8> {
    let mut bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_be_bytes()).collect();
    bytes.extend(setup);
    assert_eq!(bytes.len(), 48);
    bytes
}

fn plug_in(mut phone: UsbIp) -> Kernel {
    let (socket, other) = UnixStream::pair().unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let phone = thread::spawn(move || {
        let ended = smol::block_on(async { phone.serve(Async::new(other).unwrap()).await });
        (phone, ended)
    });
    Kernel { socket, phone, seqnum: 0, reads: HashSet::new() }
}

fn kernel() -> Kernel {
    plug_in(UsbIp::new(Options::new(1)))
}

/// A kernel that has chosen the configuration with the mux.
fn configured() -> Kernel {
    let mut kernel = kernel();
    let seqnum = kernel.submit(OUT, 0, 0, 0, SET_CONFIGURATION_4, &[]);
    assert_eq!(kernel.answer(), sent(seqnum, 0));
    kernel
}

impl Kernel {
    /// The bytes of a CMD_SUBMIT with the next number.
    fn request(
        &mut self,
        direction: u32,
        endpoint: u32,
        flags: u32,
        length: u32,
        setup: [u8; 8],
    ) -> Vec<u8> {
        self.seqnum += 1;
        if direction == IN {
            self.reads.insert(self.seqnum);
        }
        header([1, self.seqnum, 1, direction, endpoint, flags, length, 0, 0, 0], setup)
    }

    /// Sends a CMD_SUBMIT; its number.
    fn submit(
        &mut self,
        direction: u32,
        endpoint: u32,
        flags: u32,
        length: u32,
        setup: [u8; 8],
        data: &[u8],
    ) -> u32 {
        let mut bytes = self.request(direction, endpoint, flags, length, setup);
        bytes.extend(data);
        self.socket.write_all(&bytes).unwrap();
        self.seqnum
    }

    fn bulk_out(&mut self, flags: u32, data: &[u8]) -> u32 {
        self.submit(OUT, 4, flags, data.len() as u32, NO_SETUP, data)
    }

    fn bulk_in(&mut self, flags: u32, length: u32) -> u32 {
        self.submit(IN, 5, flags, length, NO_SETUP, &[])
    }

    fn unlink(&mut self, target: u32) -> u32 {
        self.seqnum += 1;
        let numbers = [2, self.seqnum, 1, 0, 0, target, 0, 0, 0, 0];
        self.socket.write_all(&header(numbers, NO_SETUP)).unwrap();
        self.seqnum
    }

    /// The next answer.
    fn answer(&mut self) -> Answer {
        let mut bytes = [0; 48];
        self.socket.read_exact(&mut bytes).unwrap();
        let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
        let (seqnum, status) = (number(4), number(20) as i32);
        assert_eq!([number(8), number(12), number(16)], [0; 3], "a request's fields alone");
        match number(0) {
            3 => {
                let actual = number(24);
                let follows = if self.reads.contains(&seqnum) { actual } else { 0 };
                let mut data = vec![0; follows as usize];
                self.socket.read_exact(&mut data).unwrap();
                assert_eq!(bytes[28..], [0; 20]);
                Answer::Submitted { seqnum, status, actual, data }
            }
            4 => {
                assert_eq!(bytes[24..], [0; 24]);
                Answer::Unlinked { seqnum, status }
            }
            other => panic!("command {other}"),
        }
    }

    /// The next two answers, in the order of their requests: endpoints do not wait for each other.
    fn both(&mut self) -> [Answer; 2] {
        let mut answers = [self.answer(), self.answer()];
        answers.sort_by_key(|answer| match answer {
            Answer::Submitted { seqnum, .. } | Answer::Unlinked { seqnum, .. } => *seqnum,
        });
        answers
    }

    /// Sends an OUT transfer and takes its completion.
    fn out(&mut self, data: &[u8]) {
        let seqnum = self.bulk_out(0, data);
        assert_eq!(self.answer(), sent(seqnum, data.len() as u32));
    }

    /// A read, awaited.
    fn read(&mut self, length: u32) -> Vec<u8> {
        let seqnum = self.bulk_in(0, length);
        match self.answer() {
            Answer::Submitted { seqnum: answered, status: 0, data, .. } if answered == seqnum => {
                data
            }
            other => panic!("{other:?}"),
        }
    }

    /// VERSION, SETUP and a connection from port 1 to port 7 (echo), the phone's window 128 KiB.
    fn open_echo(&mut self) {
        self.out(&VERSION_2);
        assert_eq!(self.read(65536), VERSION_2);
        self.out(&SETUP);
        self.out(&segment(1, 0, 0, 2, &[]));
        let answer = self.read(65536);
        assert_eq!(
            answer[16..],
            [0, 7, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0x50, 0x12, 2, 0, 0, 0, 0, 0]
        );
        self.out(&segment(2, 1, 1, 0x10, &[]));
    }

    /// The phone's end after the cable is out: everything it still says, how it ended, itself.
    fn rest(mut self) -> (Vec<u8>, Result<Ended, UsbIpError>, UsbIp) {
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

#[test]
fn a_phone_is_enumerated() {
    let mut kernel = kernel();
    let seqnum = kernel.submit(IN, 0, 0, 64, [0x80, 6, 0, 1, 0, 0, 64, 0], &[]);
    #[rustfmt::skip]
    let device = [18, 1, 0, 2, 0, 0, 0, 64, 0xac, 0x05, 0xa8, 0x12, 0x05, 0x12, 1, 2, 3, 4];
    assert_eq!(kernel.answer(), done(seqnum, &device));
    // No more than the transfer has room for, whatever the SETUP packet says.
    let seqnum = kernel.submit(IN, 0, 0, 8, [0x80, 6, 0, 1, 0, 0, 64, 0], &[]);
    assert_eq!(kernel.answer(), done(seqnum, &device[..8]));
    let seqnum = kernel.submit(IN, 0, 0, 4, GET_MODE, &[]);
    assert_eq!(kernel.answer(), done(seqnum, &[3, 3, 3, 0]));
    let seqnum = kernel.submit(OUT, 0, 0, 0, SET_CONFIGURATION_4, &[]);
    assert_eq!(kernel.answer(), sent(seqnum, 0));
    let seqnum = kernel.submit(IN, 0, 0, 1, [0x80, 8, 0, 0, 0, 0, 1, 0], &[]);
    assert_eq!(kernel.answer(), done(seqnum, &[4]));
    // BOS, which only newer devices have; and a class request with data to the phone.
    let seqnum = kernel.submit(IN, 0, 0, 5, [0x80, 6, 0, 15, 0, 0, 5, 0], &[]);
    assert_eq!(kernel.answer(), failed(seqnum, -32));
    let seqnum = kernel.submit(OUT, 0, 0, 3, [0x21, 9, 0, 0, 0, 0, 3, 0], &[1, 2, 3]);
    assert_eq!(kernel.answer(), failed(seqnum, -32));
}

#[test]
fn transfers_complete_in_order_each_endpoint_for_itself() {
    let mut kernel = configured();
    let reads = [kernel.bulk_in(0, 65536), kernel.bulk_in(0, 65536)];
    let out = kernel.bulk_out(0, &VERSION_2);
    assert_eq!(kernel.both(), [done(reads[0], &VERSION_2), sent(out, 20)]);
    let out = kernel.bulk_out(0, &VERSION_2);
    assert_eq!(kernel.both(), [done(reads[1], &VERSION_2), sent(out, 20)]);
    let outs = [0; 3].map(|_| kernel.bulk_out(0, &VERSION_2));
    assert_eq!([0; 3].map(|_| kernel.answer()), outs.map(|seqnum| sent(seqnum, 20)));
}

#[test]
fn messages_are_cut_where_a_read_is_full() {
    let mut kernel = configured();
    kernel.open_echo();
    // Echoed, 36 + 988 bytes are two full packets and a ZLP.
    kernel.bulk_out(0x40, &segment(3, 1, 1, 0x10, &[7; 988]));
    kernel.answer();
    let parts = [kernel.read(512), kernel.read(512), kernel.read(512)];
    assert_eq!(parts.map(|part| part.len()), [512, 512, 0]);
    kernel.bulk_out(0x40, &segment(4, 989, 1, 0x10, &[8; 988]));
    kernel.answer();
    assert_eq!(kernel.read(65536).len(), 1024);
}

#[test]
fn a_short_read_fails_where_the_kernel_forbids_it_and_so_does_a_babble() {
    let mut kernel = configured();
    kernel.out(&VERSION_2);
    let short = kernel.bulk_in(1, 512);
    let data = VERSION_2.to_vec();
    let due = Answer::Submitted { seqnum: short, status: -121, actual: 20, data };
    assert_eq!(kernel.answer(), due);
    kernel.out(&VERSION_2);
    let small = kernel.bulk_in(0, 4);
    let due = Answer::Submitted { seqnum: small, status: -75, actual: 4, data: vec![0; 4] };
    assert_eq!(kernel.answer(), due);
}

#[test]
fn a_full_packet_ends_a_message_only_with_its_zlp() {
    let mut kernel = configured();
    kernel.open_echo();
    let echoed = |byte| {
        let payload = [byte; 476];
        move |kernel: &mut Kernel| assert_eq!(kernel.read(65536)[36..], payload)
    };
    // The ZLP as a transfer of its own.
    kernel.out(&segment(3, 1, 1, 0x10, &[1; 476]));
    kernel.out(&[]);
    echoed(1)(&mut kernel);
    // As a flag of the transfer, which then completes behind it.
    let seqnum = kernel.bulk_out(0x40, &segment(4, 477, 1, 0x10, &[2; 476]));
    assert_eq!(kernel.answer(), sent(seqnum, 512));
    echoed(2)(&mut kernel);
    // The flag means nothing where a short packet ends the transfer: no empty message follows.
    let seqnum = kernel.bulk_out(0x40, &segment(5, 953, 1, 0x10, &[3; 475]));
    assert_eq!(kernel.answer(), sent(seqnum, 511));
    assert_eq!(kernel.read(65536)[36..], [3; 475]);
    // Without either, two frames are one message: the second is never seen.
    kernel.out(&segment(6, 1428, 1, 0x10, &[4; 476]));
    kernel.out(&segment(7, 1904, 1, 0x10, &[5; 100]));
    echoed(4)(&mut kernel);
    let read = kernel.bulk_in(0, 65536);
    let unlink = kernel.unlink(read);
    assert_eq!(kernel.answer(), Answer::Unlinked { seqnum: unlink, status: -104 });
}

/// The phone counts transfers, and loses one of them by its number.
#[test]
fn the_zlp_flag_adds_a_transfer_only_behind_a_full_packet() {
    let lost = |number: u32, flagged: &[u8]| {
        let mut options = Options::new(1);
        options.quirks.push(format!("lost-transfer={number}").parse().unwrap());
        let mut kernel = plug_in(UsbIp::new(options));
        kernel.submit(OUT, 0, 0, 0, SET_CONFIGURATION_4, &[]);
        kernel.answer();
        kernel.bulk_out(0x40, flagged);
        kernel.answer();
        // Ends the flagged message, should it have no end yet.
        kernel.out(&[]);
        kernel.out(&VERSION_2);
        kernel.out(&VERSION_2);
        // Reads until one is still there when the phone has taken another transfer.
        for answers in 0.. {
            let read = kernel.bulk_in(0, 512);
            let later = kernel.bulk_out(0, &[]);
            let first = kernel.answer();
            if first == sent(later, 0) {
                return answers;
            }
            assert_eq!([first, kernel.answer()], [done(read, &VERSION_2), sent(later, 0)]);
        }
        unreachable!()
    };
    // Full: the transfer, its ZLP, the empty one, and two VERSIONs of which number 4 is lost.
    let full = [0; 512];
    assert_eq!([lost(3, &full), lost(4, &full), lost(5, &full), lost(6, &full)], [2, 1, 1, 2]);
    // Otherwise there is one less.
    for not_full in [&[0; 511][..], &[]] {
        assert_eq!([lost(2, not_full), lost(3, not_full), lost(4, not_full)], [2, 1, 1]);
    }
}

#[test]
fn an_unlinked_read_takes_nothing() {
    let mut kernel = configured();
    let reads = [0; 3].map(|_| kernel.bulk_in(0, 65536));
    let unlink = kernel.unlink(reads[1]);
    assert_eq!(kernel.answer(), Answer::Unlinked { seqnum: unlink, status: -104 });
    for read in [reads[0], reads[2]] {
        let out = kernel.bulk_out(0, &VERSION_2);
        assert_eq!(kernel.both(), [done(read, &VERSION_2), sent(out, 20)]);
    }
    // What has completed, or never was, cannot be taken back.
    for target in [reads[1], reads[2], 4711] {
        let unlink = kernel.unlink(target);
        assert_eq!(kernel.answer(), Answer::Unlinked { seqnum: unlink, status: 0 });
    }
}

/// A phone whose IN queue is full answers OUT packets with NAK, so that transfers wait to be
/// unlinked.
#[test]
fn unlinked_out_transfers_never_reach_the_phone() {
    let mut kernel = configured();
    // VERSION is answered each time; 16 answers fill the phone's queue.
    for _ in 0..16 {
        kernel.out(&VERSION_2);
    }
    // 512 bytes with a ZLP are two transfers on the bus and one to be unlinked.
    let with_zlp = [&VERSION_2[..], &[0; 492]].concat();
    let submits: [(u32, &[u8]); 5] =
        [(0, &VERSION_2), (0x40, &with_zlp), (0, &VERSION_2), (0, &VERSION_2), (0x40, &with_zlp)];
    let waiting = submits.map(|(flags, bytes)| kernel.bulk_out(flags, bytes));
    for target in [waiting[2], waiting[4]] {
        let unlink = kernel.unlink(target);
        assert_eq!(kernel.answer(), Answer::Unlinked { seqnum: unlink, status: -104 });
    }
    // 16 answers wait, and those to the three that are left.
    let mut completed = Vec::new();
    for _ in 0..19 {
        let read = kernel.bulk_in(0, 512);
        loop {
            match kernel.answer() {
                Answer::Submitted { seqnum, status: 0, actual: 20, data } if seqnum == read => {
                    assert_eq!(data, VERSION_2);
                    break;
                }
                Answer::Submitted { seqnum, status: 0, actual, .. } => {
                    completed.push((seqnum, actual));
                }
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(completed, [(waiting[0], 20), (waiting[1], 512), (waiting[3], 20)]);
}

#[test]
fn endpoints_without_anything_to_say_wait_to_be_unlinked() {
    let mut kernel = kernel();
    // The mux before there is a configuration, and pictures.
    let reads = [(IN, 5), (IN, 1), (IN, 3)];
    let waiting = reads.map(|(way, endpoint)| kernel.submit(way, endpoint, 0, 64, NO_SETUP, &[]));
    let out = kernel.submit(OUT, 2, 0, 5, NO_SETUP, b"hello");
    for target in [waiting[2], out, waiting[0], waiting[1]] {
        let unlink = kernel.unlink(target);
        assert_eq!(kernel.answer(), Answer::Unlinked { seqnum: unlink, status: -104 });
    }
}

#[test]
fn a_request_that_gets_no_answer_waits_to_be_unlinked() {
    let mut options = Options::new(1);
    options.quirks.push(Quirk::SilentMode);
    let mut kernel = plug_in(UsbIp::new(options));
    let asked = kernel.submit(IN, 0, 0, 4, GET_MODE, &[]);
    let set = kernel.submit(OUT, 0, 0, 0, SET_CONFIGURATION_4, &[]);
    assert_eq!(kernel.answer(), sent(set, 0), "others do not wait for it");
    let unlink = kernel.unlink(asked);
    assert_eq!(kernel.answer(), Answer::Unlinked { seqnum: unlink, status: -104 });
}

#[test]
fn choosing_the_configuration_again_ends_the_session() {
    let mut kernel = configured();
    kernel.open_echo();
    kernel.out(&segment(3, 1, 1, 0x10, b"never read"));
    let seqnum = kernel.submit(OUT, 0, 0, 0, SET_CONFIGURATION_4, &[]);
    assert_eq!(kernel.answer(), sent(seqnum, 0));
    kernel.out(&VERSION_2);
    assert_eq!(kernel.read(65536), VERSION_2, "the echo is gone with its session");
}

#[test]
fn a_switched_mode_outlives_the_cable() {
    let mut kernel = configured();
    let seqnum = kernel.submit(IN, 0, 0, 1, [0xc0, 0x52, 0, 0, 3, 0, 1, 0], &[]);
    assert_eq!(kernel.answer(), done(seqnum, &[0]));
    let (rest, ended, phone) = kernel.rest();
    assert_eq!((rest, ended.unwrap()), (vec![], Ended::ModeSwitched));

    let mut kernel = plug_in(phone);
    let seqnum = kernel.submit(IN, 0, 0, 1, [0x80, 8, 0, 0, 0, 0, 1, 0], &[]);
    assert_eq!(kernel.answer(), done(seqnum, &[0]), "not configured any more");
    let seqnum = kernel.submit(IN, 0, 0, 4, GET_MODE, &[]);
    assert_eq!(kernel.answer(), done(seqnum, &[5, 3, 3, 0]));
}

#[test]
fn the_cable_is_out_when_either_end_says_so() {
    let kernel = configured();
    kernel.socket.shutdown(std::net::Shutdown::Write).unwrap();
    let (rest, ended, phone) = kernel.rest();
    assert_eq!((rest, ended.unwrap()), (vec![], Ended::HungUp));

    // Plugged in again it is not configured; and this time the host hangs up on its answer.
    let mut kernel = plug_in(phone);
    let seqnum = kernel.submit(IN, 0, 0, 1, [0x80, 8, 0, 0, 0, 0, 1, 0], &[]);
    assert_eq!(kernel.answer(), done(seqnum, &[0]));
    kernel.submit(IN, 0, 0, 4, GET_MODE, &[]);
    kernel.socket.read_exact(&mut [0]).unwrap();
    drop(kernel.socket);
    assert_eq!(kernel.phone.join().unwrap().1.unwrap(), Ended::HungUp);

    let mut options = Options::new(1);
    options.quirks.push("unplug=0".parse().unwrap());
    let (rest, ended, _) = plug_in(UsbIp::new(options)).rest();
    assert_eq!((rest, ended.unwrap()), (vec![], Ended::Unplugged));
}

#[test]
fn what_is_no_usb_ip_ends_it() {
    let good = [1, 1, 1, IN, 5, 0, 512, 0, 0, 0];
    let with = |at: usize, number: u32| {
        let mut numbers = good;
        numbers[at] = number;
        header(numbers, NO_SETUP)
    };
    for (bytes, what) in [
        (with(0, 0), Malformed::Command(0)),
        (with(0, 3), Malformed::Command(3)),
        (with(3, 2), Malformed::Direction(2)),
        (with(4, 16), Malformed::Endpoint(16)),
        (with(6, 0x0100_0001), Malformed::Length(0x0100_0001)),
        (with(8, 1025), Malformed::Packets(1025)),
    ] {
        let mut kernel = configured();
        kernel.socket.write_all(&bytes).unwrap();
        let (rest, ended, _) = kernel.rest();
        assert_eq!(rest, []);
        assert!(matches!(ended, Err(UsbIpError::Malformed(found)) if found == what), "{ended:?}");
    }
}

#[test]
fn isochronous_transfers_stall_and_their_packets_are_skipped() {
    let mut kernel = kernel();
    for (direction, body) in [(IN, 0), (OUT, 192)] {
        let _ = kernel.request(direction, 1, 0, 192, NO_SETUP);
        let numbers = [1, kernel.seqnum, 1, direction, 1, 0, 192, 0, 8, 0];
        kernel.socket.write_all(&header(numbers, NO_SETUP)).unwrap();
        kernel.socket.write_all(&vec![0xff; body + 8 * 16]).unwrap();
        assert_eq!(kernel.answer(), failed(kernel.seqnum, -32));
    }
    let seqnum = kernel.submit(IN, 0, 0, 4, GET_MODE, &[]);
    assert_eq!(kernel.answer(), done(seqnum, &[3, 3, 3, 0]));
}

#[test]
fn one_transfer_too_many_finds_no_memory() {
    let mut kernel = configured();
    for _ in 0..1024 {
        kernel.bulk_in(0, 512);
    }
    let read = kernel.bulk_in(0, 512);
    assert_eq!(kernel.answer(), failed(read, -12));
    let write = kernel.bulk_out(0, &VERSION_2);
    assert_eq!(kernel.answer(), failed(write, -12));
    // Its bytes were skipped, and endpoint zero works on, within the same limit.
    kernel.unlink(1000);
    kernel.answer();
    let seqnum = kernel.submit(IN, 0, 0, 4, GET_MODE, &[]);
    assert_eq!(kernel.answer(), done(seqnum, &[3, 3, 3, 0]));
}

#[test]
fn out_bytes_waiting_for_the_phone_have_a_limit() {
    let mut kernel = configured();
    for _ in 0..16 {
        kernel.out(&VERSION_2);
    }
    let big = vec![0; 16 << 20];
    let waiting = [0; 4].map(|_| kernel.bulk_out(0, &big));
    let seqnum = kernel.bulk_out(0, &[0]);
    assert_eq!(kernel.answer(), failed(seqnum, -12));
    // What is taken back counts no more …
    kernel.unlink(waiting[3]);
    kernel.answer();
    let small = kernel.bulk_out(0, &[0]);
    let unlink = kernel.unlink(small);
    assert_eq!(kernel.answer(), Answer::Unlinked { seqnum: unlink, status: -104 });
    // … nor what the phone has taken.
    let mut kernel = configured();
    for _ in 0..5 {
        kernel.out(&big);
    }
}

#[test]
fn a_kernel_that_does_not_read_is_not_read_either() {
    let mut kernel = configured();
    kernel.socket.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    let mut asked = 0_u32;
    loop {
        let request = kernel.request(IN, 0, 0, 4, GET_MODE);
        match kernel.socket.write(&request) {
            Ok(48) => asked += 1,
            // Cut in the middle, or not taken at all.
            Ok(_) | Err(_) => break,
        }
        assert!(asked < 1_000_000, "the phone takes requests without end");
    }
    let first = kernel.seqnum - asked;
    for number in 0..asked {
        assert_eq!(kernel.answer(), done(first + number, &[3, 3, 3, 0]));
    }
}

#[test]
fn requests_may_come_a_byte_at_a_time() {
    let mut kernel = configured();
    let mut bytes = kernel.request(OUT, 4, 0, 20, NO_SETUP);
    bytes.extend(VERSION_2);
    bytes.extend(kernel.request(IN, 5, 0, 512, NO_SETUP));
    for byte in bytes {
        kernel.socket.write_all(&[byte]).unwrap();
    }
    assert_eq!(kernel.both(), [sent(2, 20), done(3, &VERSION_2)]);
}

/// Whatever the numbers are, the phone answers or ends; it neither panics nor hangs.
#[test]
fn random_requests_are_survived() {
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
        let mut kernel = configured();
        let socket = kernel.socket.try_clone().unwrap();
        // Its answers are read beside, so that it never waits for that.
        let reader = thread::spawn(move || {
            let _ = std::io::copy(&mut &socket, &mut std::io::sink());
        });
        for _ in 0..100 {
            let endpoint = [0, 0, 4, 4, 5, 5, 1, random(20)][random(8) as usize] as u32;
            let length = [0, 1, 20, 512, 65536][random(5) as usize];
            let numbers = [
                if random(50) == 0 { random(5) as u32 } else { 1 + random(2) as u32 },
                random(40) as u32,
                1,
                random(2) as u32,
                endpoint,
                random(128) as u32,
                length,
                0,
                if random(10) == 0 { random(4) as u32 } else { 0 },
                0,
            ];
            let setup = [0, 0, 0, 0, 0, 0, 0, 0].map(|_: u8| random(16) as u8 * 0x11);
            let mut bytes = header(numbers, setup);
            bytes.extend((0..random(100)).map(|_| random(256) as u8));
            if kernel.socket.write_all(&bytes).is_err() {
                break;
            }
        }
        kernel.socket.shutdown(std::net::Shutdown::Write).unwrap();
        reader.join().unwrap();
        assert!(kernel.phone.join().is_ok(), "the phone panicked");
    }
}
