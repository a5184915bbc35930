//! A host made by hand: every byte it sends or reads is spelled out here from PROTOCOL §2–3, so that
//! it shares no misreading with the engine inside the phone.

#![allow(dead_code, clippy::unwrap_used, clippy::panic, unreachable_pub, reason = "tests")]

use smol::LocalExecutor;
use std::future::poll_fn;
use std::time::Duration;
use usbmux_phone::{Options, PhoneTask, Plug};

pub const READ: usize = 65536;
/// How long a test may take; all of them together take a fraction of a second.
const LIMIT: Duration = Duration::from_secs(20);
pub const VERSION_2: [u8; 20] = [0, 0, 0, 0, 0, 0, 0, 20, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0];
pub const SYN: u8 = 0x02;
pub const RST: u8 = 0x04;
pub const ACK: u8 = 0x10;

/// A phone with these options and quirks.
pub fn options(quirks: &[&str]) -> Options {
    let mut options = Options::new(1);
    options.quirks = quirks.iter().map(|name| name.parse().unwrap()).collect();
    options
}

/// Runs a test against a phone.
pub fn with_phone<F: AsyncFnOnce(Host)>(options: Options, test: F) {
    let executor = LocalExecutor::new();
    let (plug, task) = Plug::new(options);
    executor.spawn(task).detach();
    smol::block_on(executor.run(within_limit(test(Host::new(plug)))));
}

/// The same with the phone's task in the test's own hands.
pub fn with_task<F: AsyncFnOnce(Host, PhoneTask)>(options: Options, test: F) {
    let (plug, task) = Plug::new(options);
    smol::block_on(within_limit(test(Host::new(plug), task)));
}

/// A test that waits for what never comes fails instead of hanging.
async fn within_limit<T>(test: impl Future<Output = T>) -> T {
    let late = async {
        smol::Timer::after(LIMIT).await;
        panic!("nothing came of it for {LIMIT:?}");
    };
    smol::future::or(test, late).await
}

/// What a frame of the phone's says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    Version(Vec<u8>),
    Control { kind: u8, text: String },
    Tcp(Segment),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    pub source: u16,
    pub dest: u16,
    pub seq: u32,
    pub ack: u32,
    pub flags: u8,
    pub window_units: u16,
    pub payload: Vec<u8>,
}

impl Segment {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.payload).into_owned()
    }
}

pub struct Host {
    pub plug: Plug,
    pub version: u32,
    /// Number of the next frame.
    pub tx: u16,
    /// Number of the phone's last frame.
    pub rx: u16,
    pub reads: usize,
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

impl Host {
    pub fn new(plug: Plug) -> Self {
        Host { plug, version: 2, tx: 0, rx: 0xffff, reads: 0 }
    }

    /// Submits one OUT transfer without waiting.
    pub fn post(&mut self, bytes: &[u8]) {
        self.plug.submit_out(bytes.to_vec());
    }

    /// Submits one OUT transfer and waits for its completion.
    pub async fn out(&mut self, bytes: &[u8]) {
        self.post(bytes);
        self.completed().await;
    }

    pub async fn completed(&mut self) {
        poll_fn(|cx| self.plug.poll_out(cx)).await.unwrap();
    }

    /// One IN transfer of this length.
    pub async fn read(&mut self, requested: usize) -> Vec<u8> {
        self.plug.submit_in(Vec::new(), requested);
        poll_fn(|cx| self.plug.poll_in(cx)).await.unwrap()
    }

    /// The next frame that is not empty, raw, with its numbers checked.
    pub async fn raw(&mut self) -> Vec<u8> {
        loop {
            let bytes = self.read(READ).await;
            if bytes.is_empty() {
                continue;
            }
            if bytes[..4] != [0; 4] && self.version == 2 {
                assert_eq!(bytes[8..12], [0xfa, 0xce, 0xfa, 0xce], "the phone's magic");
                assert_eq!(u16_at(&bytes, 12), self.rx.wrapping_add(1), "the phone's tx_seq");
                self.rx = u16_at(&bytes, 12);
            }
            return bytes;
        }
    }

    /// The next frame of the phone's, parsed; its length field must be its length.
    pub async fn next(&mut self) -> Said {
        let bytes = self.raw().await;
        assert_eq!(u32_at(&bytes, 4) as usize, bytes.len(), "the frame's length field");
        self.parse(&bytes)
    }

    pub fn parse(&self, bytes: &[u8]) -> Said {
        let body = &bytes[if self.version == 2 { 16 } else { 8 }..];
        match u32_at(bytes, 0) {
            0 => Said::Version(bytes.to_vec()),
            1 => Said::Control {
                kind: body[0],
                text: String::from_utf8_lossy(&body[1..]).into_owned(),
            },
            6 => {
                assert_eq!(body[12], 0x50, "data offset");
                Said::Tcp(Segment {
                    source: u16_at(body, 0),
                    dest: u16_at(body, 2),
                    seq: u32_at(body, 4),
                    ack: u32_at(body, 8),
                    flags: body[13],
                    window_units: u16_at(body, 14),
                    payload: body[20..].to_vec(),
                })
            }
            other => panic!("protocol {other}"),
        }
    }

    pub async fn segment(&mut self) -> Segment {
        match self.next().await {
            Said::Tcp(segment) => segment,
            other => panic!("{other:?}"),
        }
    }

    pub async fn control(&mut self) -> (u8, String) {
        match self.next().await {
            Said::Control { kind, text } => (kind, text),
            other => panic!("{other:?}"),
        }
    }

    /// VERSION and, in version 2, SETUP.
    pub async fn greet(&mut self) {
        self.out(&VERSION_2).await;
        let answer = self.read(READ).await;
        self.version = u32_at(&answer, 8);
        if self.version == 2 {
            self.out(&[0, 0, 0, 2, 0, 0, 0, 17, 0xfe, 0xed, 0xfa, 0xce, 0, 0, 0xff, 0xff, 7]).await;
            (self.tx, self.rx) = (1, 0xffff);
        }
    }

    /// A numbered frame.
    pub fn frame(&mut self, protocol: u32, body: &[u8]) -> Vec<u8> {
        let header = if self.version == 2 { 16 } else { 8 };
        let mut bytes = protocol.to_be_bytes().to_vec();
        bytes.extend(((header + body.len()) as u32).to_be_bytes());
        if self.version == 2 {
            bytes.extend([0xfe, 0xed, 0xfa, 0xce]);
            bytes.extend(self.tx.to_be_bytes());
            bytes.extend(self.rx.to_be_bytes());
            self.tx = self.tx.wrapping_add(1);
        }
        bytes.extend(body);
        bytes
    }
}

/// The host's side of one connection.
#[derive(Clone, Debug)]
pub struct Conn {
    pub source: u16,
    pub dest: u16,
    pub seq: u32,
    pub ack: u32,
    pub window_units: u16,
}

impl Conn {
    pub fn new(source: u16, dest: u16) -> Self {
        Conn { source, dest, seq: 0, ack: 0, window_units: 512 }
    }

    /// A frame of this connection; `seq` moves on.
    pub fn frame(&mut self, host: &mut Host, flags: u8, payload: &[u8]) -> Vec<u8> {
        let mut body = Vec::new();
        body.extend(self.source.to_be_bytes());
        body.extend(self.dest.to_be_bytes());
        body.extend(self.seq.to_be_bytes());
        body.extend(self.ack.to_be_bytes());
        body.extend([0x50, flags]);
        body.extend(self.window_units.to_be_bytes());
        body.extend([0; 4]);
        body.extend(payload);
        self.seq = self.seq.wrapping_add(payload.len() as u32 + u32::from(flags & SYN != 0));
        host.frame(6, &body)
    }

    pub async fn send(&mut self, host: &mut Host, flags: u8, payload: &[u8]) {
        let frame = self.frame(host, flags, payload);
        host.out(&frame).await;
    }

    /// SYN, SYN|ACK, ACK.
    pub async fn open(host: &mut Host, source: u16, dest: u16, window_units: u16) -> Conn {
        let mut conn = Conn { window_units, ..Conn::new(source, dest) };
        conn.send(host, SYN, &[]).await;
        let answer = host.segment().await;
        assert_eq!((answer.flags, answer.source, answer.dest), (SYN | ACK, dest, source));
        assert_eq!((answer.seq, answer.ack), (0, 1));
        conn.ack = 1;
        conn.send(host, ACK, &[]).await;
        conn
    }

    /// Reads `count` payload bytes, each frame acknowledged.
    pub async fn receive(&mut self, host: &mut Host, count: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while bytes.len() < count {
            let segment = host.segment().await;
            assert_eq!(segment.flags, ACK, "{segment:?}");
            if !segment.payload.is_empty() {
                assert_eq!(segment.seq, self.ack, "the phone's sequence number");
                self.ack = self.ack.wrapping_add(segment.payload.len() as u32);
                bytes.extend(segment.payload);
                self.send(host, ACK, &[]).await;
            }
        }
        bytes
    }

    /// Waits for a frame that acknowledges everything sent.
    pub async fn acknowledged(&mut self, host: &mut Host) {
        while host.segment().await.ack != self.seq {}
    }
}

/// Bytes that differ from their neighbours and from each other's frames.
pub fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_u32;
    let step = |state: &mut u32| {
        *state ^= *state << 13;
        *state ^= *state >> 17;
        *state ^= *state << 5;
        *state as u8
    };
    (0..length).map(|_| step(&mut state)).collect()
}
