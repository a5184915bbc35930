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

/// Header of a frame: mux and TCP.
const HEADER: usize = 36;
/// Payload of a full frame up: 49152 bytes and one less, so that no ZLP is needed.
const PAYLOAD: usize = 49_115;
/// Length of a read, and how many are in flight.
const READ: usize = 65_536;
const READS: usize = 3;
/// OUT transfers in flight.
const WRITES: usize = 4;
/// The window of both sides, in bytes, and in the units of the header.
const WINDOW: u32 = 131_072;
const WINDOW_UNITS: u16 = 512;
/// The only connection's source port.
const SOURCE: u16 = 1;
/// Longest wait for the phone.
const PATIENCE: Duration = Duration::from_secs(20);
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

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
    if arguments.up { phone.up(client) } else { phone.down(client) }
}

/// A phone with one connection.
struct Phone {
    out: Endpoint<Bulk, Out>,
    input: Endpoint<Bulk, In>,
    /// Buffers for OUT transfers that are not in flight.
    spare: Vec<Buffer>,
    port: u16,
    tx_seq: u16,
    rx_seq: u16,
    seq: u32,
    ack: u32,
    /// What the phone has acknowledged.
    acknowledged: u32,
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
            port,
            tx_seq: 0,
            rx_seq: 0xffff,
            seq: 0,
            ack: 0,
            acknowledged: 0,
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
        let version = [0, 0, 0, 0, 0, 0, 0, 20, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0];
        self.submit(&version)?;
        // Frames of an older session may come first.
        while !self.frame(|_, bytes| Ok(bytes[..4] == [0; 4]))? {}
        self.submit(&[0, 0, 0, 2, 0, 0, 0, 17, 0xfe, 0xed, 0xfa, 0xce, 0, 0, 0xff, 0xff, 7])?;
        (self.tx_seq, self.rx_seq) = (1, 0xffff);
        let syn = self.header(SYN, 0);
        self.submit(&syn)?;
        self.seq = 1;
        self.frame(|phone, bytes| match bytes.get(29) {
            Some(0x12) => {
                phone.acknowledged = 1;
                Ok(())
            }
            _ => Err("the phone refused the port".into()),
        })?;
        self.ack = 1;
        let ack = self.header(ACK, 0);
        self.submit(&ack)
    }

    /// From the phone to the client, until the client goes.
    fn down(&mut self, mut client: UnixStream) -> Done {
        let (mut frames, mut unacknowledged) = (0, 0);
        loop {
            let written = self.frame(|phone, bytes| {
                let Some(payload) = bytes.get(HEADER..) else { return Ok(Some(0)) };
                phone.ack = phone.ack.wrapping_add(payload.len() as u32);
                Ok(client.write_all(payload).ok().map(|()| payload.len()))
            })?;
            let Some(length) = written else { return Ok(()) };
            unacknowledged += length as u32;
            frames += 1;
            if frames == 2 || unacknowledged >= WINDOW / 2 {
                (frames, unacknowledged) = (0, 0);
                let ack = self.header(ACK, 0);
                self.submit(&ack)?;
            }
        }
    }

    /// From the client to the phone, and the one word that it says when it has everything.
    ///
    /// As `transfer up` sends it: 8 bytes say how many follow. So it is known when there is nothing
    /// more to wait for from the client, and one blocking loop will do.
    fn up(&mut self, mut client: UnixStream) -> Done {
        let mut length = None;
        let mut sent = 0;
        while length.is_none_or(|length| sent < length) {
            while WINDOW - self.seq.wrapping_sub(self.acknowledged) < PAYLOAD as u32 {
                if self.hear(&mut client)? {
                    return Ok(());
                }
            }
            let mut buffer = self.buffer()?;
            buffer.clear();
            let frame = buffer.extend_fill(HEADER + PAYLOAD, 0);
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
            frame[..HEADER].copy_from_slice(&self.header(ACK, count));
            self.seq = self.seq.wrapping_add(count as u32);
            let length = HEADER + count;
            let buffer = match count {
                PAYLOAD => buffer,
                // A buffer cannot be shortened: the rare short frame is copied.
                _ => {
                    let short = Buffer::from(buffer[..length].to_vec());
                    self.spare.push(buffer);
                    short
                }
            };
            self.out.submit(buffer);
            if length.is_multiple_of(self.out.max_packet_size()) {
                self.out.submit(Buffer::new(0));
            }
        }
        while !self.hear(&mut client)? {}
        Ok(())
    }

    /// One frame of the phone's while bytes flow up; says whether it was the phone's last word.
    fn hear(&mut self, client: &mut UnixStream) -> Done<bool> {
        self.frame(|phone, bytes| {
            let ack = bytes.get(24..28).and_then(|ack| ack.first_chunk());
            phone.acknowledged = u32::from_be_bytes(*ack.ok_or("a frame without TCP")?);
            Ok(match &bytes[HEADER..] {
                [] => false,
                word => client.write_all(word).map(|()| true)?,
            })
        })
    }

    /// Waits for a frame, shows it, and puts its buffer back into flight.
    fn frame<T>(&mut self, mut show: impl FnMut(&mut Self, &[u8]) -> Done<T>) -> Done<T> {
        loop {
            let done = self.input.wait_next_complete(PATIENCE).ok_or("the phone is silent")?;
            done.status?;
            let buffer = done.buffer;
            let shown = match buffer.len() {
                0 => None,
                _ => {
                    if let Some(&[high, low]) = buffer.get(12..14).and_then(|tx| tx.first_chunk()) {
                        self.rx_seq = u16::from_be_bytes([high, low]);
                    }
                    Some(show(self, &buffer))
                }
            };
            self.input.submit(buffer);
            if let Some(shown) = shown {
                return shown;
            }
        }
    }

    /// The header of the next frame.
    fn header(&mut self, flags: u8, payload: usize) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        let mut at = 0;
        let mut put = |field: &[u8]| {
            bytes[at..at + field.len()].copy_from_slice(field);
            at += field.len();
        };
        put(&6_u32.to_be_bytes());
        put(&((HEADER + payload) as u32).to_be_bytes());
        put(&0xfeed_face_u32.to_be_bytes());
        put(&self.tx_seq.to_be_bytes());
        put(&self.rx_seq.to_be_bytes());
        put(&SOURCE.to_be_bytes());
        put(&self.port.to_be_bytes());
        put(&self.seq.to_be_bytes());
        put(&self.ack.to_be_bytes());
        put(&[0x50, flags]);
        put(&WINDOW_UNITS.to_be_bytes());
        self.tx_seq = self.tx_seq.wrapping_add(1);
        bytes
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
