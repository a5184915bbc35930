//! What `umuxd` costs from end to end: clients on a Unix socket, the release daemon as a process of
//! its own, a virtual phone inside of it.
//!
//! ```text
//! cargo bench -p usbmux-tests --bench daemon               the rows of the table
//! cargo bench -p usbmux-tests --bench daemon -- --short    the same with a tenth of the bytes
//! ```
//!
//! CPU time is that of all threads of the daemon, its share of the kernel's work included. The phone
//! works in the same process, so beside the daemon's stands what the same transfer costs without a
//! daemon (`phone-floor`): the phone, its plug and a socket served by a bare loop; and the phone
//! alone. Times and rates are those of this machine, of which the clients need a part: the best of
//! several rounds counts. Left out: real USB, which `tests/real-usb/compare` measures.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a bench stops where its daemon misbehaves")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use usbmux_tests::cpu::cpu_time;
use usbmux_tests::crowd::{LINGER, crowd};
use usbmux_tests::daemon_process::Daemon;
use usbmux_tests::figures::Row;
use usbmux_tests::random::pattern;

const ECHO: u16 = 7;
const DISCARD: u16 = 9;
const CHARGEN: u16 = 19;
/// The only phone.
const PHONE: u32 = 1;
/// Bytes in the megabyte of all figures.
const MEGABYTE: usize = 1_000_000;
/// Bytes moved by one call of a client's.
const PIECE: usize = 256 << 10;
/// Rounds; the best one counts.
const ROUNDS: usize = 5;
/// Connections that move bytes at the same time.
const CROWDS: [usize; 2] = [1, 8];
/// Bytes of a message that the echo sends back.
const MESSAGE: usize = 64;
/// Idle connections whose memory is measured, and the design's bound for one.
const IDLE: usize = 2_000;
const IDLE_BOUND: usize = 40 << 10;

/// How much is measured.
struct Extent {
    /// Of all connections together in one round.
    megabytes: usize,
    round_trips: usize,
    /// Of one client, of which there are as many as in [`CROWDS`].
    connects: usize,
}

const FULL: Extent = Extent { megabytes: 800, round_trips: 20_000, connects: 2_000 };
const SHORT: Extent = Extent { megabytes: 80, round_trips: 2_000, connects: 200 };

/// A direction of bytes.
#[derive(Clone, Copy)]
enum Way {
    Down,
    Up,
}

/// What a transfer took.
struct Cost {
    elapsed: Duration,
    cpu: Duration,
}

fn main() {
    let short = std::env::args().any(|argument| argument == "--short");
    let extent = if short { SHORT } else { FULL };
    println!("{}", idle_memory());
    let daemon = Daemon::start(1, &[LINGER]);
    for way in [Way::Down, Way::Up] {
        transfers(&daemon, way, extent.megabytes);
    }
    println!("{}", round_trips(&daemon, extent.round_trips));
    for clients in CROWDS {
        println!("{}", connects(&daemon, clients, extent.connects));
    }
}

fn idle_memory() -> Row {
    // A daemon of its own: what earlier connections left to the allocator would make these look cheap.
    let figures = crowd(&Daemon::start(1, &[LINGER]), PHONE..=PHONE, IDLE, 0);
    let kib = |bytes: usize| format!("{:.1} KiB", bytes as f64 / 1024.0);
    Row::new("daemon: idle connection's memory, phone's included", kib(figures.idle))
        .bound(format!("≤ {} KiB", IDLE_BOUND >> 10), figures.idle <= IDLE_BOUND)
}

// ---- bytes

/// Prints what one direction costs, with a daemon and without.
fn transfers(daemon: &Daemon, way: Way, megabytes: usize) {
    let name = match way {
        Way::Down => "from the phone",
        Way::Up => "to the phone",
    };
    let per_megabyte = |cpu: Duration| 1e6 * cpu.as_secs_f64() / megabytes as f64;
    for connections in CROWDS {
        let best = best(|| transfer(daemon, way, connections, megabytes));
        let rate = megabytes as f64 / best.elapsed.as_secs_f64();
        let cpu = per_megabyte(best.cpu);
        let noun = if connections == 1 { "connection" } else { "connections" };
        let figure = format!("{rate:.0} MB/s, CPU {cpu:.0} µs/MB");
        println!("{}", Row::new(format!("daemon: {name}, {connections} {noun}"), figure));
    }
    for (what, client) in [("without a daemon", true), ("the phone alone", false)] {
        let best = best(|| floor(daemon, way, megabytes, client));
        let figure = format!("CPU {:.0} µs/MB", per_megabyte(best.cpu));
        println!("{}", Row::new(format!("floor: {name}, {what}"), figure));
    }
}

/// The least of each figure.
fn best(mut round: impl FnMut() -> Cost) -> Cost {
    let mut best = round();
    for _ in 1..ROUNDS {
        let cost = round();
        best.elapsed = best.elapsed.min(cost.elapsed);
        best.cpu = best.cpu.min(cost.cpu);
    }
    best
}

/// Moves bytes over new connections, all at once.
fn transfer(daemon: &Daemon, way: Way, connections: usize, megabytes: usize) -> Cost {
    let port = match way {
        Way::Down => CHARGEN,
        Way::Up => DISCARD,
    };
    let streams: Vec<_> = (0..connections).map(|_| connect(daemon, port)).collect();
    let length = megabytes * MEGABYTE / connections;
    let cpu = cpu_time(daemon.id()).unwrap();
    let begun = Instant::now();
    let clients: Vec<_> = streams
        .into_iter()
        .map(|stream| thread::spawn(move || move_bytes(stream, way, length)))
        .collect();
    let streams: Vec<_> = clients.into_iter().map(|client| client.join().unwrap()).collect();
    let elapsed = begun.elapsed();
    if let Way::Up = way {
        until_taken(streams);
    }
    Cost { elapsed, cpu: cpu_time(daemon.id()).unwrap() - cpu }
}

/// A client's part. Up it ends when the last bytes are written, of which at most a window and a
/// socket's buffer are still on their way.
fn move_bytes(mut stream: UnixStream, way: Way, length: usize) -> UnixStream {
    let mut piece = pattern(0, 0, PIECE);
    let mut left = length;
    while left > 0 {
        let most = left.min(PIECE);
        left -= match way {
            Way::Down => stream.read(&mut piece[..most]).unwrap(),
            Way::Up => stream.write(&piece[..most]).unwrap(),
        };
    }
    stream
}

/// Waits until the phone has acknowledged everything: the daemon ends such connections soon after.
fn until_taken(streams: Vec<UnixStream>) {
    for stream in &streams {
        stream.shutdown(Shutdown::Write).unwrap();
    }
    for mut stream in streams {
        assert_eq!(stream.read(&mut [0]).unwrap(), 0, "the phone's discard has said something");
    }
}

/// The same over one connection without a daemon, or without a client too.
fn floor(daemon: &Daemon, way: Way, megabytes: usize, client: bool) -> Cost {
    let socket = daemon.folder().join("floor");
    let _ = std::fs::remove_file(&socket);
    let mut command = Command::new(env!("CARGO_BIN_EXE_phone-floor"));
    command.arg(match way {
        Way::Down => "down",
        Way::Up => "up",
    });
    command.arg(megabytes.to_string()).stdout(Stdio::piped());
    if client {
        command.arg("--listen").arg(&socket);
    }
    let begun = Instant::now();
    let mut process = command.spawn().unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
    if client {
        assert_eq!(lines.next().unwrap(), "listening");
        drop(move_bytes(UnixStream::connect(&socket).unwrap(), way, megabytes * MEGABYTE));
    }
    let line = lines.next().unwrap();
    let cpu = line.strip_prefix("CPU ").and_then(|rest| rest.strip_suffix(" ns")).unwrap();
    assert!(process.wait().unwrap().success());
    Cost { elapsed: begun.elapsed(), cpu: Duration::from_nanos(cpu.parse().unwrap()) }
}

// ---- round trips and connects

fn connect(daemon: &Daemon, port: u16) -> UnixStream {
    let mut client = daemon.client();
    assert_eq!(client.connect_port(PHONE, port).unwrap(), 0, "Connect to port {port}");
    client.stream
}

fn round_trips(daemon: &Daemon, count: usize) -> Row {
    let mut stream = connect(daemon, ECHO);
    let message = pattern(0, 0, MESSAGE);
    let mut back = vec![0; MESSAGE];
    let mut times: Vec<_> = (0..count)
        .map(|_| {
            let begun = Instant::now();
            stream.write_all(&message).unwrap();
            stream.read_exact(&mut back).unwrap();
            begun.elapsed()
        })
        .collect();
    assert_eq!(back, message);
    times.sort();
    let micros = |percent: usize| 1e6 * times[(count - 1) * percent / 100].as_secs_f64();
    let figure = format!("p50 {:.1} µs, p99 {:.1} µs", micros(50), micros(99));
    Row::new(format!("daemon: echo of {MESSAGE} bytes, there and back"), figure)
}

/// Each client makes a socket, asks for the echo and hangs up, over and over.
fn connects(daemon: &Daemon, clients: usize, each: usize) -> Row {
    let begun = Instant::now();
    thread::scope(|scope| {
        for _ in 0..clients {
            scope.spawn(|| {
                for _ in 0..each {
                    drop(connect(daemon, ECHO));
                }
            });
        }
    });
    let rate = (clients * each) as f64 / begun.elapsed().as_secs_f64();
    let noun = if clients == 1 { "client" } else { "clients" };
    Row::new(
        format!("daemon: connections opened, {clients} {noun}"),
        format!("{rate:.0} per second"),
    )
}
