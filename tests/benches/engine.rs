//! What the engine costs: nanoseconds for each frame in and out, payload not copied, at 1, 100 and
//! 10,000 connections in random order, and instructions for each frame where valgrind is installed.
//!
//! ```text
//! cargo bench -p usbmux-tests --bench engine                     the table
//! cargo bench -p usbmux-tests --bench engine -- --instructions   the same under valgrind; exits 1
//!                                                                if they grow with the connections
//! ```
//!
//! Nanoseconds depend on the machine and on what else it does: the least of many rounds is shown,
//! and the ratio to one connection in the same run. Instructions repeat exactly. Left out: USB, sockets
//! and copying, which the daemon's own measurements are about.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a bench stops where its engine misbehaves")]

use std::hint::black_box;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant as Clock};

use usbmux_core::{
    AckPolicy, CONTROL_FRAME, Config, ConnId, Event, Instant, Mux, Role, Slot, Transfer,
};

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

fn nanoseconds() {
    let gigahertz = gigahertz();
    let best: Vec<[f64; 2]> = SIZES
        .iter()
        .map(|&(connections, slots)| {
            let mut bench = Bench::new(connections, slots, AckPolicy::Prompt);
            let mut best = [f64::MAX; 2];
            for _ in 0..ROUNDS {
                for (best, time) in best.iter_mut().zip(round(&mut bench, FRAMES)) {
                    *best = best.min(time.as_nanos() as f64 / FRAMES as f64);
                }
            }
            best
        })
        .collect();
    println!("engine: ns a frame, measured at {gigahertz:.2} GHz and as of {DESIGN_GHZ:.0} GHz");
    println!("engine:          open       in  as of  ratio      out  as of  ratio    bound");
    for ((&(connections, _), ns), bound) in SIZES.iter().zip(&best).zip(BOUNDS_NS) {
        let as_of = ns.map(|ns| ns * gigahertz / DESIGN_GHZ);
        println!(
            "engine: {connections:>13} {:>8.1} {:>6.1} {:>6.2} {:>8.1} {:>6.1} {:>6.2} {bound:>8.0} {}",
            ns[0],
            as_of[0],
            ns[0] / best[0][0],
            ns[1],
            as_of[1],
            ns[1] / best[0][1],
            if as_of.iter().all(|&ns| ns < bound) { "kept" } else { "MISSED" },
        );
    }
}

/// Instructions a frame, by running this program under valgrind for one round.
fn instructions() -> ExitCode {
    let mut table = Vec::new();
    for (place, _) in SIZES.iter().enumerate() {
        let count = |function: &str| {
            let output = Command::new("valgrind")
                .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
                .arg(format!("--toggle-collect=*::{function}"))
                .arg(std::env::current_exe().unwrap())
                .args(["--one-round", &place.to_string()])
                .output()
                .expect("valgrind is installed");
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "valgrind: {text}");
            let collected = text.lines().find_map(|line| line.split_once("Collected : "));
            let collected = collected.unwrap_or_else(|| panic!("no count in: {text}")).1;
            collected.trim().parse::<f64>().unwrap() / FRAMES as f64
        };
        table.push([count("frames_in"), count("frames_out")]);
    }
    println!("engine: instructions a frame; bound of the ratio {GROWTH}");
    println!("engine:          open       in  ratio      out  ratio");
    let mut grows = false;
    for (&(connections, _), row) in SIZES.iter().zip(&table) {
        let ratio = [row[0] / table[0][0], row[1] / table[0][1]];
        println!(
            "engine: {connections:>13} {:>8.1} {:>6.3} {:>8.1} {:>6.3}",
            row[0], ratio[0], row[1], ratio[1]
        );
        grows |= ratio.iter().any(|&ratio| ratio > GROWTH);
    }
    if grows { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let argument = |name: &str| arguments.iter().position(|argument| argument == name);
    if let Some(place) = argument("--one-round") {
        let (connections, slots) = SIZES[arguments[place + 1].parse::<usize>().unwrap()];
        // Each frame is acknowledged before the next comes, so that each finds its connection in the
        // same state, whether the connection is the only one or has waited for its turn.
        round(&mut Bench::new(connections, slots, AckPolicy::Immediate), 1);
        return ExitCode::SUCCESS;
    }
    if argument("--instructions").is_some() {
        return instructions();
    }
    nanoseconds();
    ExitCode::SUCCESS
}
