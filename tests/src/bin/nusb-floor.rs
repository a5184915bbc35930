//! The floor under the daemon's figures: one connection between a phone and a Unix socket, by nothing
//! but nusb and arithmetic.
//!
//! It moves the transfers that `umuxd` moves: three reads of 64 KiB in flight, frames of 49152 bytes
//! up, an acknowledgement for every second frame or half a window down. But there is no engine, no
//! executor, no client protocol, no second connection and no check of anything: the headers are
//! counted by hand and the socket is read and written where it stands. What a daemon spends beyond
//! this, it spends on being one.
//!
//! `nusb-floor --port N --listen PATH` opens the first phone, connects to its port, says
//! `listening` on standard output and serves one client after the other.

use clap::Parser;
use nusb::transfer::{Buffer, Bulk, In, Out};
use nusb::{Endpoint, MaybeFuture};
use std::error::Error;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use usbmux_tests::floor::{
    HEADER, Numbers, PAYLOAD, READ, READS, SETUP, VERSION, WRITES, is_version,
};

/// Longest wait for the phone.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Parser, Debug)]
#[command(
    name = "nusb-floor",
    about = "One connection to a phone by nusb alone, as a floor for figures"
)]
struct Arguments {
    /// The phone's port.
    #[arg(long)]
    port: u16,
    /// The socket that becomes the connection.
    #[arg(long)]
    listen: PathBuf,
    /// Bytes flow to the phone; without it, from the phone.
    #[arg(long)]
    up: bool,
    /// Payload of a frame to the phone, at most. Of short ones the phone answers so many that it waits
    /// for its answers to be read, which they are only when its window is full: no less than 4060.
    #[arg(long, default_value_t = PAYLOAD)]
    payload: usize,
    /// Never send a zero-length packet, as hosts do that lose them.
    #[arg(long)]
    without_zlp: bool,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("nusb-floor: {error}");
            ExitCode::FAILURE
        }
    }
}

type Done<T = ()> = Result<T, Box<dyn Error>>;

fn run(arguments: &Arguments) -> Done {
    let mut phone = Phone::open(arguments.port)?;
    let listener = UnixListener::bind(&arguments.listen)?;
    println!("listening");
    let (client, _) = listener.accept()?;
    match arguments.up {
        true => phone.up(client, arguments.payload.min(PAYLOAD), !arguments.without_zlp),
        false => phone.down(client),
    }
}

/// A phone with one connection.
struct Phone {
    out: Endpoint<Bulk, Out>,
    input: Endpoint<Bulk, In>,
    /// Buffers for OUT transfers that are not in flight.
    spare: Vec<Buffer>,
    numbers: Numbers,
}

impl Phone {
    fn open(port: u16) -> Done<Self> {
        let mut devices = nusb::list_devices().wait()?;
        let info = devices.find(|device| device.vendor_id() == 0x05ac).ok_or("no phone")?;
        let device = info.open().wait()?;
        if device.active_configuration()?.configuration_value() != 4 {
            device.set_configuration(4).wait()?;
        }
        let interface = device.claim_interface(1).wait()?;
        let mut phone = Phone {
            out: interface.endpoint(0x04)?,
            input: interface.endpoint(0x85)?,
            spare: Vec::new(),
            numbers: Numbers::new(port),
        };
        for _ in 0..READS {
            let buffer = phone.input.allocate(READ);
            phone.input.submit(buffer);
        }
        phone.greet()?;
        Ok(phone)
    }

    /// VERSION, SETUP, SYN and its answer.
    fn greet(&mut self) -> Done {
        self.submit(&VERSION)?;
        // Frames of an older session may come first.
        while !self.frame(|_, bytes| Ok(is_version(bytes)))? {}
        self.submit(&SETUP)?;
        let syn = self.numbers.syn();
        self.submit(&syn)?;
        let ack = self.frame(|numbers, bytes| {
            numbers.opened(bytes).ok_or_else(|| "the phone refused the port".into())
        })?;
        self.submit(&ack)
    }

    /// From the phone to the client, until the client goes.
    fn down(&mut self, mut client: UnixStream) -> Done {
        loop {
            let written =
                self.frame(|numbers, bytes| Ok(client.write_all(numbers.hear(bytes)).is_ok()))?;
            if !written {
                return Ok(());
            }
            if let Some(ack) = self.numbers.acknowledgement() {
                self.submit(&ack)?;
            }
        }
    }

    /// From the client to the phone, and the one word that it says when it has everything.
    ///
    /// As `transfer up` sends it: 8 bytes say how many follow. So it is known when there is nothing
    /// more to wait for from the client, and one blocking loop will do.
    fn up(&mut self, mut client: UnixStream, payload: usize, with_zlp: bool) -> Done {
        let mut length = None;
        let mut sent = 0;
        while length.is_none_or(|length| sent < length) {
            while !self.numbers.has_room() {
                if self.hear(&mut client)? {
                    return Ok(());
                }
            }
            let mut buffer = self.buffer()?;
            buffer.clear();
            let frame = buffer.extend_fill(HEADER + payload, 0);
            let count = client.read(&mut frame[HEADER..])?;
            if count == 0 {
                return Ok(());
            }
            if length.is_none()
                && let Some(first) = frame.get(HEADER..HEADER + count).and_then(<[u8]>::first_chunk)
            {
                length = Some(8 + u64::from_le_bytes(*first));
            }
            sent += count as u64;
            frame[..HEADER].copy_from_slice(&self.numbers.data(count));
            let length = HEADER + count;
            let buffer = match count {
                _ if count == payload => buffer,
                // A buffer cannot be shortened: the rare short frame is copied.
                _ => {
                    let short = Buffer::from(buffer[..length].to_vec());
                    self.spare.push(buffer);
                    short
                }
            };
            self.out.submit(buffer);
            if with_zlp && length.is_multiple_of(self.out.max_packet_size()) {
                self.out.submit(Buffer::new(0));
            }
        }
        while !self.hear(&mut client)? {}
        Ok(())
    }

    /// One frame of the phone's while bytes flow up; says whether it was the phone's last word.
    fn hear(&mut self, client: &mut UnixStream) -> Done<bool> {
        self.frame(|numbers, bytes| {
            Ok(match numbers.hear(bytes) {
                [] => false,
                word => client.write_all(word).map(|()| true)?,
            })
        })
    }

    /// Waits for a frame, shows it, and puts its buffer back into flight.
    fn frame<T>(&mut self, mut show: impl FnMut(&mut Numbers, &[u8]) -> Done<T>) -> Done<T> {
        loop {
            let done = self.input.wait_next_complete(PATIENCE).ok_or("the phone is silent")?;
            done.status?;
            let buffer = done.buffer;
            let shown = match buffer.len() {
                0 => None,
                _ => Some(show(&mut self.numbers, &buffer)),
            };
            self.input.submit(buffer);
            if let Some(shown) = shown {
                return shown;
            }
        }
    }

    fn submit(&mut self, frame: &[u8]) -> Done {
        let mut buffer = self.buffer()?;
        buffer.clear();
        buffer.extend_from_slice(frame);
        self.out.submit(buffer);
        Ok(())
    }

    /// A buffer that is not in flight, when no more than [`WRITES`] are.
    fn buffer(&mut self) -> Done<Buffer> {
        while self.out.pending() >= WRITES {
            let done = self.out.wait_next_complete(PATIENCE).ok_or("the phone takes nothing")?;
            done.status?;
            if done.buffer.capacity() >= HEADER + PAYLOAD {
                self.spare.push(done.buffer);
            }
        }
        Ok(self.spare.pop().unwrap_or_else(|| self.out.allocate(HEADER + PAYLOAD)))
    }
}
