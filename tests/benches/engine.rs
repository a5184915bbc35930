//! What the engine costs: nanoseconds for each frame in and out, payload not copied, at 1, 100 and
//! 10,000 connections in random order; instructions for each frame, counted by valgrind; and the size of
//! its state.
//!
//! ```text
//! cargo bench -p usbmux-tests --bench engine     the rows of the table; exits 1 if a bound is missed
//!                                                on what repeats exactly: instructions and sizes
//! ```
//!
//! Nanoseconds depend on the machine and on what else it does: the least of many rounds is shown, as of
//! the clock that the design's bounds are meant for. Left out: USB, sockets and copying, which the
//! daemon's own measurements are about.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a bench stops where its engine misbehaves")]

use std::hint::black_box;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant as Clock};

use usbmux_core::{
    AckPolicy, CONTROL_FRAME, Config, ConnId, Event, Instant, Mux, Role, Slot, Transfer,
};
use usbmux_tests::figures::Row;

/// Bytes of payload in each frame; any number would do, since none of them is touched.
const PAYLOAD: usize = 64;
/// Frames of one round, the same for any number of connections, so that they take the same cache.
const FRAMES: usize = 8192;
/// Rounds; the best one is shown.
const ROUNDS: usize = 40;
/// The largest window there is: 65535 steps of 256 bytes.
const WINDOW: u32 = 0xffff << 8;
/// Connections and the slots of the engine that holds them.
const SIZES: [(usize, usize); 3] = [(1, 16), (100, 128), (10_000, 16_384)];
/// The design's bounds in nanoseconds for each of `SIZES`, and the clock they are meant for.
const BOUNDS_NS: [f64; 3] = [100.0, 100.0, 150.0];
const DESIGN_GHZ: f64 = 3.0;
/// How much more instructions a frame may take at 10,000 connections than at one.
const GROWTH: f64 = 1.05;
/// The design's bounds on memory, in bytes.
const SLOT_BOUND: usize = 72;
const MUX_BOUND: usize = 640;
const NOW: Instant = Instant::ZERO;

const HEADERS: usize = 36;
const SYN: u8 = 0x02;
const SYN_ACK: u8 = 0x12;
const ACK: u8 = 0x10;

/// One connection as the phone's side sees it.
#[derive(Clone, Copy)]
struct Peer {
    conn: ConnId,
    /// Port on the host's side; the phone's is 7.
    source: u16,
    /// Next byte of the phone's.
    next: u32,
    /// Next byte of the host's.
    ack: u32,
}

/// A host's engine with open connections, and what a phone would remember of them.
struct Bench {
    mux: Mux<Box<[Slot]>>,
    peers: Vec<Peer>,
    /// Number of the phone's next frame, and of the last one it had from us.
    tx_seq: u16,
    rx_seq: u16,
    random: u64,
}

impl Bench {
    /// Brings the link up and opens the connections.
    fn new(connections: usize, slots: usize, ack: AckPolicy) -> Self {
        let slots = vec![Slot::EMPTY; slots].into_boxed_slice();
        let mut mux = Mux::new(Role::Host, Config { ack, ..Config::HOST }, slots);
        mux.attach(NOW, 512);
        let mut bench = Bench { mux, peers: Vec::new(), tx_seq: 0, rx_seq: 0, random: 1 };
        bench.transmit();
        let version = [0u32, 20, 2, 0, 0].map(u32::to_be_bytes).concat();
        bench.deliver(&version);
        bench.transmit();
        assert_eq!(bench.mux.poll_event(NOW), Some(Event::LinkUp { version: 2 }));
        for _ in 0..connections {
            bench.open();
        }
        bench
    }

    fn open(&mut self) {
        let conn = self.mux.connect(NOW, 7, WINDOW).unwrap();
        let syn = self.transmit();
        assert_eq!(syn[29], SYN);
        let source = u16::from_be_bytes([syn[16], syn[17]]);
        let place = self.peers.len();
        self.peers.push(Peer { conn, source, next: 0, ack: 1 });
        let answer = self.frame(place, SYN_ACK, 0);
        self.peers[place].next = 1;
        self.deliver(&answer);
        self.transmit();
        assert_eq!(self.mux.poll_event(NOW), Some(Event::Connected { conn }));
    }

    /// Takes everything that is due; returns the last frame.
    fn transmit(&mut self) -> Vec<u8> {
        let mut last = Vec::new();
        let mut buf = [0; CONTROL_FRAME];
        while let Some(frame) = self.mux.poll_transmit(NOW, &mut buf) {
            last = buf[..frame.len].to_vec();
            if frame.len >= 16 && last[8..12] == [0xfe, 0xed, 0xfa, 0xce] {
                self.rx_seq = u16::from_be_bytes([last[12], last[13]]);
            }
        }
        last
    }

    fn deliver(&mut self, frame: &[u8]) {
        let mut transfer = Transfer::new(frame);
        while let Some(received) = self.mux.receive(NOW, &mut transfer) {
            black_box(received);
        }
    }

    /// The phone's next frame, written from PROTOCOL.md §2 and §3 by hand.
    fn frame(&mut self, place: usize, flags: u8, payload: usize) -> Vec<u8> {
        let peer = self.peers[place];
        let mut bytes = Vec::with_capacity(HEADERS + payload);
        bytes.extend(6u32.to_be_bytes());
        bytes.extend(((HEADERS + payload) as u32).to_be_bytes());
        bytes.extend(0xface_faceu32.to_be_bytes());
        bytes.extend(self.tx_seq.to_be_bytes());
        bytes.extend(self.rx_seq.to_be_bytes());
        bytes.extend(7u16.to_be_bytes());
        bytes.extend(peer.source.to_be_bytes());
        bytes.extend(peer.next.to_be_bytes());
        bytes.extend(peer.ack.to_be_bytes());
        bytes.extend([0x50, flags]);
        bytes.extend(0xffffu16.to_be_bytes());
        bytes.extend([0; 4]);
        bytes.resize(HEADERS + payload, 0x55);
        self.tx_seq = self.tx_seq.wrapping_add(1);
        bytes
    }

    /// Which connection is next: xorshift, the same in every run.
    fn any_peer(&mut self) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random % self.peers.len() as u64) as usize
    }

    /// A round of frames with data from the phone.
    fn incoming(&mut self) -> Vec<Vec<u8>> {
        (0..FRAMES)
            .map(|_| {
                let place = self.any_peer();
                let frame = self.frame(place, ACK, PAYLOAD);
                self.peers[place].next = self.peers[place].next.wrapping_add(PAYLOAD as u32);
                frame
            })
            .collect()
    }

    /// A round of handles to send on, and what is needed to acknowledge it afterwards.
    fn outgoing(&mut self) -> Vec<ConnId> {
        (0..FRAMES)
            .map(|_| {
                let place = self.any_peer();
                let peer = &mut self.peers[place];
                peer.ack = peer.ack.wrapping_add(PAYLOAD as u32);
                peer.conn
            })
            .collect()
    }

    /// The phone acknowledges everything on every connection.
    fn acknowledge(&mut self) {
        for place in 0..self.peers.len() {
            let frame = self.frame(place, ACK, 0);
            self.deliver(&frame);
        }
    }
}

/// The part that counts, a function by itself so that valgrind finds it.
#[inline(never)]
fn frames_in(mux: &mut Mux<Box<[Slot]>>, frames: &[Vec<u8>]) -> usize {
    let mut payloads = 0;
    for frame in frames {
        let mut transfer = Transfer::new(frame);
        while let Some(received) = mux.receive(NOW, &mut transfer) {
            black_box(received);
            payloads += 1;
        }
    }
    payloads
}

/// The part that counts, as above.
#[inline(never)]
fn frames_out(mux: &mut Mux<Box<[Slot]>>, conns: &[ConnId]) -> usize {
    let mut buf = [0x55; HEADERS + PAYLOAD];
    let mut sent = 0;
    for &conn in conns {
        if mux.sendable(conn) >= PAYLOAD && mux.send_in_place(NOW, conn, &mut buf, PAYLOAD).is_ok()
        {
            black_box(&buf);
            sent += 1;
        }
    }
    sent
}

/// One round each way; between bursts of frames the engine sends what it owes, outside of the time
/// that counts.
fn round(bench: &mut Bench, burst: usize) -> [Duration; 2] {
    let frames = bench.incoming();
    let (mut payloads, mut inward) = (0, Duration::ZERO);
    for frames in frames.chunks(burst) {
        let begun = Clock::now();
        payloads += frames_in(&mut bench.mux, frames);
        inward += begun.elapsed();
        bench.transmit();
    }
    assert_eq!(payloads, FRAMES, "a frame was not delivered");

    let conns = bench.outgoing();
    let begun = Clock::now();
    let sent = frames_out(&mut bench.mux, &conns);
    let outward = begun.elapsed();
    assert_eq!(sent, FRAMES, "a frame was not sent");
    bench.rx_seq = bench.rx_seq.wrapping_add(FRAMES as u16);
    bench.acknowledge();
    assert_eq!(bench.mux.unacknowledged(conns[0]), 0);
    [inward, outward]
}

/// How fast this machine's clock is right now: in a chain of operations of which each waits for the
/// one before, a multiplication takes 3 cycles and an exclusive or takes one, on every core of the
/// last decade.
fn gigahertz() -> f64 {
    const LINKS: u32 = 100_000;
    const CYCLES: f64 = 4.0;
    let factor = black_box(0x9e37_79b9_7f4a_7c15_u64);
    let mut best = Duration::MAX;
    for _ in 0..ROUNDS {
        let begun = Clock::now();
        let mut product = black_box(1_u64);
        for _ in 0..LINKS {
            product = product.wrapping_mul(factor) ^ (product >> 7);
        }
        black_box(product);
        best = best.min(begun.elapsed());
    }
    CYCLES * f64::from(LINKS) / best.as_nanos() as f64
}

fn nanoseconds() -> Vec<Row> {
    let gigahertz = gigahertz();
    let as_of = |time: Duration| time.as_nanos() as f64 / FRAMES as f64 * gigahertz / DESIGN_GHZ;
    SIZES
        .iter()
        .zip(BOUNDS_NS)
        .map(|(&(connections, slots), bound)| {
            let mut bench = Bench::new(connections, slots, AckPolicy::Prompt);
            let mut best = [Duration::MAX; 2];
            for _ in 0..ROUNDS {
                for (best, time) in best.iter_mut().zip(round(&mut bench, FRAMES)) {
                    *best = time.min(*best);
                }
            }
            let [inward, outward] = best.map(as_of);
            let figure = format!("in {inward:.0} ns, out {outward:.0} ns at {DESIGN_GHZ:.0} GHz");
            Row::new(format!("engine: one frame, {}", open(connections)), figure)
                .bound(format!("< {bound:.0} ns"), inward < bound && outward < bound)
        })
        .collect()
}

fn open(connections: usize) -> String {
    match connections {
        1 => "1 connection".into(),
        _ => format!("{connections} connections"),
    }
}

/// Instructions a frame, by running this program under valgrind for one round of each size.
fn instructions() -> Vec<Row> {
    let counts: Vec<[f64; 2]> = (0..SIZES.len())
        .map(|place| ["frames_in", "frames_out"].map(|function| count(function, place)))
        .collect();
    let rows = SIZES.iter().zip(&counts).map(|(&(connections, _), row)| {
        let ratio = [row[0] / counts[0][0], row[1] / counts[0][1]];
        let figure =
            format!("in {:.0}, out {:.0}; × {:.3}, × {:.3}", row[0], row[1], ratio[0], ratio[1]);
        Row::new(format!("engine: instructions, {}", open(connections)), figure)
            .bound(format!("≤ × {GROWTH}"), ratio.iter().all(|&ratio| ratio <= GROWTH))
    });
    rows.collect()
}

/// Instructions that one function spends on a frame of one round.
fn count(function: &str, place: usize) -> f64 {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(format!("--toggle-collect=*::{function}"))
        .arg(std::env::current_exe().unwrap())
        .args(["--one-round", &place.to_string()])
        .output()
        .expect("valgrind has started before");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "valgrind: {text}");
    let collected = text.lines().find_map(|line| line.split_once("Collected : "));
    let collected = collected.unwrap_or_else(|| panic!("no count in: {text}")).1;
    collected.trim().parse::<f64>().unwrap() / FRAMES as f64
}

fn sizes() -> [Row; 2] {
    let row = |what: &str, size: usize, bound: String, kept: bool| {
        Row::new(format!("engine: {what}"), format!("{size} bytes")).bound(bound, kept)
    };
    let (slot, mux) = (size_of::<Slot>(), size_of::<Mux<[Slot; 4]>>());
    [
        row("state of a connection", slot, format!("≤ {SLOT_BOUND}"), slot <= SLOT_BOUND),
        row("whole state with 4 connections", mux, format!("< {MUX_BOUND}"), mux < MUX_BOUND),
    ]
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(place) = arguments.iter().position(|argument| argument == "--one-round") {
        let (connections, slots) = SIZES[arguments[place + 1].parse::<usize>().unwrap()];
        // Each frame is acknowledged before the next comes, so that each finds its connection in the
        // same state, whether the connection is the only one or has waited for its turn.
        round(&mut Bench::new(connections, slots, AckPolicy::Immediate), 1);
        return ExitCode::SUCCESS;
    }
    for row in nanoseconds() {
        println!("{row}");
    }
    let mut exact = Vec::new();
    match Command::new("valgrind").arg("--version").output() {
        Ok(_) => exact.extend(instructions()),
        Err(error) => {
            println!("{}", Row::new("engine: instructions", format!("valgrind: {error}")));
        }
    }
    exact.extend(sizes());
    for row in &exact {
        println!("{row}");
    }
    if exact.iter().any(Row::is_missed) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
