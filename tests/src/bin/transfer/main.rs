//! Moves bytes through a daemon, checks every one of them, and says what it took.
//!
//! - `down` reads from the phone's character generator and compares with RFC 864.
//! - `up` writes to a port of the phone's that a `confirm` stands behind, and is done when that has
//!   seen every byte and said so: what a socket has swallowed has not arrived.
//! - `confirm` is the TCP server for the phone's mapped port.
//! - `chargen` prints what `down` expects.
//! - `echoes`, `connects` and `hold` are about time and memory: see `times`.
//!
//! `down` and `up` print one line: bytes, seconds, and the CPU time that the process `--daemon` spent
//! meanwhile. They use one connection or several at once. They speak the socket protocol, or with `--raw` talk to something that has connected
//! already, as `nusb-floor` and forwarded ports have.

mod times;

use clap::{Args, Parser, Subcommand};
use std::error::Error;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};
use usbmux_tests::cpu::cpu_time;
use usbmux_tests::random::pattern;
use usbmux_tests::socket::Client;

/// The phone's character generator.
const CHARGEN: u16 = 19;
/// Bytes moved by one call.
const PIECE: usize = 64 << 10;
/// Bytes in the megabyte of all figures.
const MEGABYTE: usize = 1_000_000;
/// What `confirm` answers when every byte was right.
const CONFIRMED: u8 = b'y';
/// Salt of the pattern.
const SALT: u32 = 17;

#[derive(Parser, Debug)]
#[command(name = "transfer", about = "Moves bytes through a daemon and checks every one of them")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand, Debug)]
enum Task {
    /// From the phone.
    Down(Way),
    /// To the phone.
    Up {
        #[command(flatten)]
        way: Way,
        /// The phone's port that is mapped to a `confirm`.
        #[arg(long)]
        port: u16,
    },
    /// Counts and checks what `up` sends, for ever.
    Confirm {
        /// Where to listen; with port 0, a line says which one it became.
        address: SocketAddr,
    },
    /// Sends a few bytes to the phone's echo, again and again.
    Echoes(Many),
    /// Connects to the phone's echo and hangs up, again and again.
    Connects(Many),
    /// Connects to the phone's echo many times at once, says so, and waits for the end of its input.
    Hold(Many),
    /// Prints what a phone's character generator sends.
    Chargen {
        /// How much.
        megabytes: usize,
    },
}

#[derive(Args, Debug)]
struct Many {
    /// The daemon's socket.
    socket: PathBuf,
    /// How many.
    count: usize,
}

#[derive(Args, Debug)]
struct Way {
    /// The daemon's socket: a path; with `--raw` also ADDRESS:PORT.
    socket: PathBuf,
    /// How much, on each connection.
    megabytes: usize,
    /// How many connections at once.
    #[arg(long, default_value_t = 1)]
    connections: usize,
    /// The socket is the connection already.
    #[arg(long)]
    raw: bool,
    /// The process whose CPU time counts.
    #[arg(long, value_name = "PID")]
    daemon: Option<u32>,
}

fn main() -> ExitCode {
    let done = match Arguments::parse().task {
        Task::Down(way) => way.measure("down", CHARGEN, down),
        Task::Up { way, port } => way.measure("up", port, up),
        Task::Confirm { address } => confirm(address),
        Task::Echoes(Many { socket, count }) => times::echoes(&socket, count),
        Task::Connects(Many { socket, count }) => times::connects(&socket, count),
        Task::Hold(Many { socket, count }) => times::hold(&socket, count),
        Task::Chargen { megabytes } => chargen(megabytes * MEGABYTE),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("transfer: {error}");
            ExitCode::FAILURE
        }
    }
}

type Moved = Result<(), Box<dyn Error>>;

/// What bytes are moved through.
trait Stream: Read + Write + Send {}
impl<S: Read + Write + Send> Stream for S {}

impl Way {
    fn measure(&self, name: &str, port: u16, work: fn(&mut dyn Stream, usize) -> Moved) -> Moved {
        let streams: Result<Vec<_>, _> =
            (0..self.connections).map(|_| self.connect(port)).collect();
        let each = self.megabytes * MEGABYTE;
        let length = each * self.connections;
        let cpu = self.cpu()?;
        let begun = Instant::now();
        thread::scope(|scope| {
            let start = |mut stream: Box<dyn Stream>| {
                scope.spawn(move || work(&mut *stream, each).map_err(|error| error.to_string()))
            };
            let all: Vec<_> = streams?.into_iter().map(start).collect();
            let mut done = all.into_iter().map(|one| one.join().map_err(|_| "a thread died")?);
            done.try_for_each(|moved: Result<(), String>| Ok::<_, Box<dyn Error>>(moved?))
        })?;
        let seconds = begun.elapsed().as_secs_f64();
        let cpu = self.cpu()?.saturating_sub(cpu);
        let megabytes = (self.megabytes * self.connections) as f64;
        print!("{name} {length} bytes in {seconds:.3} s, {:.1} MB/s", megabytes / seconds);
        match self.daemon {
            Some(_) => println!(", CPU {:.3} ms/MB", 1000.0 * cpu.as_secs_f64() / megabytes),
            None => println!(),
        }
        Ok(())
    }

    /// What the daemon has spent so far.
    fn cpu(&self) -> std::io::Result<Duration> {
        self.daemon.map_or(Ok(Duration::ZERO), cpu_time)
    }

    /// The connection to a port of the only phone, or whatever stands behind the socket.
    fn connect(&self, port: u16) -> Result<Box<dyn Stream>, Box<dyn Error>> {
        if self.raw {
            let address = self.socket.to_str().and_then(|text| text.parse::<SocketAddr>().ok());
            return Ok(match address {
                Some(address) => Box::new(TcpStream::connect(address)?),
                None => Box::new(UnixStream::connect(&self.socket)?),
            });
        }
        Ok(Box::new(connect(&self.socket, only_phone(&self.socket)?, port)?))
    }
}

/// The number that the daemon has given to its only phone.
fn only_phone(socket: &Path) -> Result<u32, Box<dyn Error>> {
    let answer = Client::connect(socket)?.ask(0, "ListDevices", &[])?;
    let list = answer.dictionary().get("DeviceList").and_then(plist::Value::as_array);
    let [phone] = list.map_or(&[][..], Vec::as_slice) else {
        return Err("the daemon has no phone, or several".into());
    };
    let id = phone.as_dictionary().and_then(|phone| phone.get("DeviceID"));
    let id = id.and_then(plist::Value::as_unsigned_integer).ok_or("no DeviceID")?;
    Ok(u32::try_from(id)?)
}

/// A connection to a port of this phone.
fn connect(socket: &Path, phone: u32, port: u16) -> Result<UnixStream, Box<dyn Error>> {
    let mut client = Client::connect(socket)?;
    match client.connect_port(phone, port)? {
        0 => Ok(client.stream),
        number => Err(format!("Connect to port {port}: Result {number}").into()),
    }
}

/// The lines of RFC 864, repeated: 95 of them, each 72 characters and CR LF.
fn rfc_864() -> Vec<u8> {
    let mut lines = Vec::new();
    for line in 0..95 {
        lines.extend((0..72).map(|column| b' ' + (line + column) % 95));
        lines.extend(b"\r\n");
    }
    lines
}

fn chargen(length: usize) -> Moved {
    let period = rfc_864();
    let bytes: Vec<u8> = period.iter().copied().cycle().take(length).collect();
    Ok(std::io::stdout().lock().write_all(&bytes)?)
}

fn down(stream: &mut dyn Stream, length: usize) -> Moved {
    // Long enough that a piece can begin anywhere in the first round.
    let period = rfc_864();
    let expected: Vec<u8> = period.iter().copied().cycle().take(period.len() + PIECE).collect();
    let mut bytes = vec![0; PIECE];
    let mut seen = 0;
    while seen < length {
        let most = PIECE.min(length - seen);
        let count = stream.read(&mut bytes[..most])?;
        let at = seen % period.len();
        if count == 0 || bytes[..count] != expected[at..at + count] {
            return Err(format!("byte {seen} or one soon after it is wrong or missing").into());
        }
        seen += count;
    }
    Ok(())
}

fn up(stream: &mut dyn Stream, length: usize) -> Moved {
    stream.write_all(&(length as u64).to_le_bytes())?;
    let piece = pattern(SALT, 0, PIECE);
    let mut left = length;
    while left > 0 {
        let count = left.min(PIECE);
        stream.write_all(&piece[..count])?;
        left -= count;
    }
    let mut answer = [0];
    match stream.read(&mut answer)? {
        1 if answer == [CONFIRMED] => Ok(()),
        0 => Err("the phone hung up instead of confirming".into()),
        _ => Err("the phone got other bytes than were sent".into()),
    }
}

fn confirm(address: SocketAddr) -> Moved {
    let listener = TcpListener::bind(address)?;
    println!("confirms at {}", listener.local_addr()?);
    for stream in listener.incoming() {
        let stream = stream?;
        thread::spawn(move || {
            if let Err(error) = confirm_one(stream) {
                eprintln!("transfer: confirm: {error}");
            }
        });
    }
    Ok(())
}

fn confirm_one(mut stream: TcpStream) -> Moved {
    let mut length = [0; 8];
    stream.read_exact(&mut length)?;
    let mut left = usize::try_from(u64::from_le_bytes(length))?;
    let expected = pattern(SALT, 0, PIECE);
    let (mut bytes, mut at, mut right) = (vec![0; PIECE], 0, true);
    while left > 0 {
        let most = left.min(PIECE - at);
        let count = stream.read(&mut bytes[..most])?;
        if count == 0 {
            return Err(format!("the stream ended {left} bytes early").into());
        }
        right &= bytes[..count] == expected[at..at + count];
        at = (at + count) % PIECE;
        left -= count;
    }
    stream.write_all(&[if right { CONFIRMED } else { b'n' }])?;
    Ok(())
}
