//! What the sockets' rings cost: bytes through engine and rings against two copies of the same bytes.
//!
//! ```text
//! cargo bench -p usbmux-tests --bench sockets     the rows of the table
//! ```
//!
//! A byte is copied twice each way (transfer and ring, ring and application), so two copies through a
//! buffer of the ring's size are the best that can be had; the design asks for 0.7 of their speed. Both
//! are measured in turns in one run, and the best round of each counts. Left out: USB.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a bench stops where its engine misbehaves")]

use std::hint::black_box;
use std::time::{Duration, Instant as Clock};

use usbmux_core::sockets::{Event, SocketId, Sockets};
use usbmux_core::{CONTROL_FRAME, Config, Instant, Role, Transfer};
use usbmux_tests::figures::Row;

/// Bytes of a frame, headers included: a phone's largest, a multiple of no packet size.
const FRAME: usize = 32764;
const HEADERS: usize = 36;
const PAYLOAD: usize = FRAME - HEADERS;
/// Two frames' worth, and no multiple of one: what is read and written begins anywhere in the ring.
const RING: usize = 65536;
/// Frames of one round.
const FRAMES: usize = 256;
/// Rounds; the best one counts.
const ROUNDS: usize = 60;
/// The design's bound on the ratio.
const BOUND: f64 = 0.7;
const NOW: Instant = Instant::ZERO;
const ACK: u8 = 0x10;

type Net = Sockets<1, RING, RING>;

/// A host's sockets with one open connection, and what a phone would remember of it.
struct Bench {
    net: Box<Net>,
    socket: SocketId,
    source: u16,
    tx_seq: u16,
    rx_seq: u16,
    next: u32,
    ack: u32,
}

impl Bench {
    fn new() -> Self {
        let config = Config { max_frame: FRAME as u16, ..Config::HOST };
        let mut net = Box::new(Net::new(Role::Host, config));
        net.attach(NOW, 512);
        transmit(&mut net);
        deliver(&mut net, &[0u32, 20, 2, 0, 0].map(u32::to_be_bytes).concat());
        transmit(&mut net);
        assert_eq!(net.poll_event(NOW), Some(Event::LinkUp { version: 2 }));
        let socket = net.connect(NOW, 7).unwrap();
        let syn = transmit(&mut net);
        let source = u16::from_be_bytes([syn[16], syn[17]]);
        let mut bench = Bench { net, socket, source, tx_seq: 0, rx_seq: 1, next: 0, ack: 1 };
        let answer = bench.header(0x12, 0);
        bench.next = 1;
        deliver(&mut bench.net, &answer);
        transmit(&mut bench.net);
        assert_eq!(bench.net.poll_event(NOW), Some(Event::Connected { socket }));
        bench
    }

    /// The phone's next frame without its payload, written from PROTOCOL.md §2 and §3 by hand.
    fn header(&mut self, flags: u8, payload: usize) -> [u8; HEADERS] {
        let mut bytes = [0; HEADERS];
        bytes[0..4].copy_from_slice(&6u32.to_be_bytes());
        bytes[4..8].copy_from_slice(&((HEADERS + payload) as u32).to_be_bytes());
        bytes[8..12].copy_from_slice(&0xface_faceu32.to_be_bytes());
        bytes[12..14].copy_from_slice(&self.tx_seq.to_be_bytes());
        bytes[14..16].copy_from_slice(&self.rx_seq.to_be_bytes());
        bytes[16..18].copy_from_slice(&7u16.to_be_bytes());
        bytes[18..20].copy_from_slice(&self.source.to_be_bytes());
        bytes[20..24].copy_from_slice(&self.next.to_be_bytes());
        bytes[24..28].copy_from_slice(&self.ack.to_be_bytes());
        bytes[28..30].copy_from_slice(&[0x50, flags]);
        bytes[30..32].copy_from_slice(&0xffffu16.to_be_bytes());
        self.tx_seq = self.tx_seq.wrapping_add(1);
        self.next = self.next.wrapping_add(payload as u32);
        bytes
    }

    /// Frames from the phone into the ring, and out of it into the application's buffer.
    fn incoming(&mut self, frame: &mut [u8], application: &mut [u8]) {
        for _ in 0..FRAMES {
            let header = self.header(ACK, PAYLOAD);
            frame[..HEADERS].copy_from_slice(&header);
            deliver(&mut self.net, frame);
            let count = self.net.socket(self.socket).try_read(application);
            assert_eq!(count, Ok(PAYLOAD));
            black_box(&application);
            transmit(&mut self.net);
        }
    }

    /// The application's bytes into the ring, and out of it into transfers.
    fn outgoing(&mut self, transfer: &mut [u8], application: &[u8]) {
        for _ in 0..FRAMES {
            let count = self.net.socket(self.socket).try_write(application);
            assert_eq!(count, Ok(PAYLOAD));
            let frame = self.net.poll_data(NOW, transfer).unwrap();
            assert_eq!(frame.len, FRAME);
            black_box(&transfer);
            self.ack = self.ack.wrapping_add(PAYLOAD as u32);
            self.rx_seq = self.rx_seq.wrapping_add(1);
            let acknowledgement = self.header(ACK, 0);
            deliver(&mut self.net, &acknowledgement);
        }
    }
}

fn deliver(net: &mut Net, bytes: &[u8]) {
    let mut transfer = Transfer::new(bytes);
    assert!(net.receive(NOW, &mut transfer).is_none());
}

/// Takes everything that is due; returns the last frame's first bytes.
fn transmit(net: &mut Net) -> [u8; CONTROL_FRAME] {
    let mut buf = [0; CONTROL_FRAME];
    while let Some(frame) = net.poll_transmit(NOW, &mut buf) {
        let _ = black_box(frame);
    }
    buf
}

/// The same bytes copied twice, by way of a buffer of the ring's size, place by place.
fn copies(from: &[u8], way: &mut [u8], to: &mut [u8]) {
    let mut at = 0;
    for _ in 0..FRAMES {
        let place = &mut way[at..at + from.len()];
        place.copy_from_slice(from);
        black_box(&place);
        to.copy_from_slice(place);
        black_box(&to);
        at = (at + from.len()) % (RING - from.len());
    }
}

fn timed(best: &mut Duration, work: impl FnOnce()) {
    let begun = Clock::now();
    work();
    *best = (*best).min(begun.elapsed());
}

fn main() {
    let mut bench = Bench::new();
    let (mut frame, mut application) = (vec![0x55; FRAME], vec![0xaa; PAYLOAD]);
    let mut way = vec![0; RING];
    let [mut twice, mut inward, mut outward] = [Duration::MAX; 3];
    for _ in 0..ROUNDS {
        timed(&mut twice, || copies(&frame[HEADERS..], &mut way, &mut application));
        timed(&mut inward, || bench.incoming(&mut frame, &mut application));
        timed(&mut outward, || bench.outgoing(&mut frame, &application));
    }
    let gigabytes = |time: Duration| (FRAMES * PAYLOAD) as f64 / time.as_nanos() as f64;
    for (name, time) in [("in", inward), ("out", outward)] {
        let ratio = gigabytes(time) / gigabytes(twice);
        let figure =
            format!("{:.1} GB/s, two copies {:.1}: {ratio:.2}", gigabytes(time), gigabytes(twice));
        let row = Row::new(format!("sockets: 32 KiB frames {name}"), figure);
        println!("{}", row.bound(format!("≥ {BOUND}"), ratio >= BOUND));
    }
}
