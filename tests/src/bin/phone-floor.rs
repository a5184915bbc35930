//! The floor under the daemon's figures on a virtual phone in the same process: one connection between
//! the phone's plug and a Unix socket, by nothing but arithmetic.
//!
//! It moves what `umuxd --simulate` moves, over the same seam: three reads of 64 KiB in flight, frames
//! of 49152 bytes up, an acknowledgement for every second frame or half a window down. There is no
//! engine on the host's side, no client protocol and no second connection. Without a socket there is
//! no client either: what is left is the phone's own work.
//!
//! `phone-floor down|up MEGABYTES [--listen PATH]` says `listening` when it waits for its client, and
//! at the end what it spent: `CPU N ns`. Down it moves what it is told to move and hangs up; up it
//! ends with its client.

use clap::{Parser, ValueEnum};
use rustix::time::{ClockId, clock_gettime};
use smol::LocalExecutor;
use std::error::Error;
use std::future::poll_fn;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::ExitCode;
use usbmux_phone::{Options, Plug};
use usbmux_tests::floor::{
    HEADER, Numbers, PAYLOAD, READ, READS, SETUP, VERSION, WRITES, is_version,
};

/// The phone's programs at the other end.
const CHARGEN: u16 = 19;
const DISCARD: u16 = 9;
/// Bytes in the megabyte of all figures.
const MEGABYTE: usize = 1_000_000;

#[derive(Parser, Debug)]
#[command(
    name = "phone-floor",
    about = "One connection to a virtual phone, as a floor for figures"
)]
struct Arguments {
    way: Way,
    /// How much.
    megabytes: usize,
    /// The socket that becomes the connection; without it the bytes go nowhere and come from nowhere.
    #[arg(long)]
    listen: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Way {
    /// From the phone.
    Down,
    /// To the phone.
    Up,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("phone-floor: {error}");
            ExitCode::FAILURE
        }
    }
}

type Done<T = ()> = Result<T, Box<dyn Error>>;

fn run(arguments: &Arguments) -> Done {
    let executor = LocalExecutor::new();
    let (plug, life) = Plug::new(Options::new(1));
    executor.spawn(life).detach();
    smol::block_on(executor.run(async {
        let port = match arguments.way {
            Way::Down => CHARGEN,
            Way::Up => DISCARD,
        };
        let mut phone = Phone::open(plug, port).await?;
        let client = match &arguments.listen {
            Some(path) => Some(accept(path)?),
            None => None,
        };
        let begun = cpu_nanoseconds();
        let length = arguments.megabytes * MEGABYTE;
        match arguments.way {
            Way::Down => phone.down(client, length).await?,
            Way::Up => phone.up(client, length).await?,
        }
        println!("CPU {} ns", cpu_nanoseconds() - begun);
        Ok(())
    }))
}

/// What this process has spent so far. (What /proc tells of a running thread is a few milliseconds old.)
fn cpu_nanoseconds() -> i64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

fn accept(path: &PathBuf) -> Done<UnixStream> {
    let listener = UnixListener::bind(path)?;
    println!("listening");
    Ok(listener.accept()?.0)
}

/// A phone with one connection.
struct Phone {
    plug: Plug,
    numbers: Numbers,
    /// Buffers for OUT transfers that are not in flight, and how many are.
    spare: Vec<Vec<u8>>,
    in_flight: usize,
}

impl Phone {
    /// VERSION, SETUP, SYN and its answer.
    async fn open(mut plug: Plug, port: u16) -> Done<Self> {
        for _ in 0..READS {
            plug.submit_in(Vec::with_capacity(READ), READ);
        }
        let numbers = Numbers::new(port);
        let mut phone = Phone { plug, numbers, spare: Vec::new(), in_flight: 0 };
        phone.submit(&VERSION).await?;
        while !phone.frame(|_, bytes| is_version(bytes)).await? {}
        phone.submit(&SETUP).await?;
        let syn = phone.numbers.syn();
        phone.submit(&syn).await?;
        let ack = phone.frame(Numbers::opened).await?.ok_or("the phone refused the port")?;
        phone.submit(&ack).await?;
        Ok(phone)
    }

    /// From the phone to the client.
    async fn down(&mut self, mut client: Option<UnixStream>, length: usize) -> Done {
        let mut moved = 0;
        while moved < length {
            moved += self
                .frame(|numbers, bytes| {
                    let payload = numbers.hear(bytes);
                    client.as_mut().map_or(Ok(()), |client| client.write_all(payload))?;
                    std::io::Result::Ok(payload.len())
                })
                .await??;
            if let Some(ack) = self.numbers.acknowledgement() {
                self.submit(&ack).await?;
            }
        }
        Ok(())
    }

    /// From the client to the phone.
    async fn up(&mut self, mut client: Option<UnixStream>, length: usize) -> Done {
        let mut moved = 0;
        while moved < length {
            while !self.numbers.has_room() {
                self.frame(|numbers, bytes| numbers.hear(bytes).len()).await?;
            }
            let mut frame = self.buffer().await?;
            frame.resize(HEADER + PAYLOAD, 0);
            let count = match &mut client {
                Some(client) => client.read(&mut frame[HEADER..])?,
                None => PAYLOAD,
            };
            if count == 0 {
                break;
            }
            frame[..HEADER].copy_from_slice(&self.numbers.data(count));
            frame.truncate(HEADER + count);
            moved += count;
            let needs_zlp = frame.len().is_multiple_of(self.plug.max_packet().into());
            self.send(frame);
            if needs_zlp {
                self.send(Vec::new());
            }
        }
        Ok(())
    }

    /// Waits for a frame, shows it, and puts its buffer back into flight.
    async fn frame<T>(&mut self, show: impl FnOnce(&mut Numbers, &[u8]) -> T) -> Done<T> {
        let buffer = poll_fn(|cx| self.plug.poll_in(cx)).await?;
        let shown = show(&mut self.numbers, &buffer);
        self.plug.submit_in(buffer, READ);
        Ok(shown)
    }

    async fn submit(&mut self, frame: &[u8]) -> Done {
        let mut buffer = self.buffer().await?;
        buffer.clear();
        buffer.extend_from_slice(frame);
        self.send(buffer);
        Ok(())
    }

    fn send(&mut self, frame: Vec<u8>) {
        self.in_flight += 1;
        self.plug.submit_out(frame);
    }

    /// A buffer that is not in flight, when no more than [`WRITES`] are.
    async fn buffer(&mut self) -> Done<Vec<u8>> {
        while self.in_flight >= WRITES {
            let buffer = poll_fn(|cx| self.plug.poll_out(cx)).await?;
            self.in_flight -= 1;
            self.spare.push(buffer);
        }
        Ok(self.spare.pop().unwrap_or_else(|| Vec::with_capacity(HEADER + PAYLOAD)))
    }
}
