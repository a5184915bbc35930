//! Captures of usbmon, made byte by byte: what no run on a real stack gives.
#![allow(dead_code, unreachable_pub, reason = "shared by tests, each of which takes what it needs")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::time::Duration;

use usbmux_core::seq::SeqNumber;
use usbmux_core::wire::{Flags, HeaderV1, HeaderV2, Magic, Protocol, TcpHeader};
use usbmux_trace::read::{Item, Ladder, Mark, ReadError, Reader, Report};

pub const OUT: u8 = 0x04;
pub const IN: u8 = 0x85;
/// Length of a read.
pub const READ: u32 = 65536;

/// How a capture is written.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    pub big_endian: bool,
    /// 64 bytes in front of each transfer, else 48.
    pub mapped: bool,
    pub pcapng: bool,
    /// Bytes of a packet that are kept.
    pub snap: usize,
}

pub const USUAL: Form = Form { big_endian: false, mapped: true, pcapng: false, snap: 262_144 };

/// A capture that grows.
pub struct Capture {
    pub form: Form,
    pub bytes: Vec<u8>,
    pub now: Duration,
    pub device: u8,
    id: u64,
}

/// An event of a transfer.
pub struct Event<'d> {
    pub kind: u8,
    pub transfer: u8,
    pub endpoint: u8,
    pub id: u64,
    pub status: i32,
    pub length: u32,
    pub setup: Option<[u8; 8]>,
    pub flags: u32,
    pub data: &'d [u8],
}

impl Capture {
    pub fn new(form: Form) -> Self {
        let mut capture =
            Capture { form, bytes: Vec::new(), now: Duration::from_secs(1000), device: 7, id: 1 };
        let link = if form.mapped { 220 } else { 189 };
        if form.pcapng {
            let mut section = Vec::new();
            capture.u32(&mut section, 0x1a2b_3c4d);
            capture.u16(&mut section, 1);
            capture.u16(&mut section, 0);
            section.extend([0xff; 8]);
            capture.block(0x0a0d_0d0a, &section);
            let mut interface = Vec::new();
            capture.u16(&mut interface, link);
            capture.u16(&mut interface, 0);
            capture.u32(&mut interface, 0);
            capture.block(1, &interface);
        } else {
            let mut head = Vec::new();
            capture.u32(&mut head, 0xa1b2_c3d4);
            capture.u16(&mut head, 2);
            capture.u16(&mut head, 4);
            head.extend([0; 8]);
            capture.u32(&mut head, form.snap as u32);
            capture.u32(&mut head, u32::from(link));
            capture.bytes = head;
        }
        capture
    }

    fn u16(&self, to: &mut Vec<u8>, number: u16) {
        let bytes = number.to_be_bytes();
        self.put(to, &bytes);
    }

    fn u32(&self, to: &mut Vec<u8>, number: u32) {
        let bytes = number.to_be_bytes();
        self.put(to, &bytes);
    }

    fn put(&self, to: &mut Vec<u8>, big_endian: &[u8]) {
        match self.form.big_endian {
            true => to.extend(big_endian),
            false => to.extend(big_endian.iter().rev()),
        }
    }

    fn block(&mut self, kind: u32, body: &[u8]) {
        let padding = body.len().next_multiple_of(4) - body.len();
        let length = (12 + body.len() + padding) as u32;
        let mut block = Vec::new();
        self.u32(&mut block, kind);
        self.u32(&mut block, length);
        block.extend(body);
        block.extend(vec![0; padding]);
        self.u32(&mut block, length);
        self.bytes.extend(block);
    }

    pub fn event(&mut self, event: &Event<'_>) {
        let mut packet = Vec::new();
        self.put(&mut packet, &event.id.to_be_bytes());
        packet.extend([event.kind, event.transfer, event.endpoint, self.device]);
        self.u16(&mut packet, 1);
        packet.push(if event.setup.is_some() { 0 } else { b'-' });
        packet.push(if event.data.is_empty() { b'<' } else { 0 });
        self.put(&mut packet, &self.now.as_secs().to_be_bytes());
        self.u32(&mut packet, self.now.subsec_micros());
        self.u32(&mut packet, event.status.cast_unsigned());
        self.u32(&mut packet, event.length);
        self.u32(&mut packet, event.data.len() as u32);
        packet.extend(event.setup.unwrap_or([0; 8]));
        if self.form.mapped {
            self.u32(&mut packet, 0);
            self.u32(&mut packet, 0);
            self.u32(&mut packet, event.flags);
            self.u32(&mut packet, 0);
        }
        packet.extend(event.data);
        let original = packet.len() as u32;
        packet.truncate(self.form.snap);
        self.packet(&packet, original);
    }

    fn packet(&mut self, packet: &[u8], original: u32) {
        let mut out = Vec::new();
        if self.form.pcapng {
            let micros = self.now.as_micros() as u64;
            self.u32(&mut out, 0);
            self.u32(&mut out, (micros >> 32) as u32);
            self.u32(&mut out, micros as u32);
            self.u32(&mut out, packet.len() as u32);
            self.u32(&mut out, original);
            out.extend(packet);
            self.block(6, &out);
        } else {
            self.u32(&mut out, self.now.as_secs() as u32);
            self.u32(&mut out, self.now.subsec_micros());
            self.u32(&mut out, packet.len() as u32);
            self.u32(&mut out, original);
            out.extend(packet);
            self.bytes.extend(out);
        }
    }

    pub fn wait_ms(&mut self, millis: u64) -> &mut Self {
        self.now += Duration::from_millis(millis);
        self
    }

    fn next(&mut self) -> u64 {
        self.id += 1;
        self.now += Duration::from_micros(100);
        self.id
    }

    /// A transfer to the phone, which is done at once.
    pub fn out(&mut self, data: &[u8]) -> &mut Self {
        self.out_ending(data, 0, 0, data.len())
    }

    /// One that ends as it is said.
    pub fn out_ending(&mut self, data: &[u8], flags: u32, status: i32, passed: usize) -> &mut Self {
        let id = self.next();
        let (transfer, endpoint, length) = (3, OUT, data.len() as u32);
        let event = Event {
            kind: b'S',
            transfer,
            endpoint,
            id,
            status: -115,
            length,
            setup: None,
            flags,
            data,
        };
        self.event(&event);
        let length = passed as u32;
        self.event(&Event { kind: b'C', status, length, data: &[], ..event });
        self
    }

    /// One that is not done when the capture ends.
    pub fn out_pending(&mut self, data: &[u8]) -> &mut Self {
        let id = self.next();
        let (transfer, endpoint, length) = (3, OUT, data.len() as u32);
        let event = Event {
            kind: b'S',
            transfer,
            endpoint,
            id,
            status: -115,
            length,
            setup: None,
            flags: 0,
            data,
        };
        self.event(&event);
        self
    }

    /// A transfer from the phone, into a read of 65536 bytes.
    pub fn r#in(&mut self, data: &[u8]) -> &mut Self {
        self.in_read(data, READ, 0)
    }

    pub fn in_read(&mut self, data: &[u8], read: u32, status: i32) -> &mut Self {
        let id = self.next();
        let (transfer, endpoint) = (3, IN);
        let none: &[u8] = &[];
        let event = Event {
            kind: b'S',
            transfer,
            endpoint,
            id,
            status: -115,
            length: read,
            setup: None,
            flags: 0,
            data: none,
        };
        self.event(&event);
        self.event(&Event { kind: b'C', status, length: data.len() as u32, data, ..event });
        self
    }

    /// A control request to the device and its answer.
    pub fn control(&mut self, setup: [u8; 8], answer: &[u8]) -> &mut Self {
        let id = self.next();
        let none: &[u8] = &[];
        let event = Event {
            kind: b'S',
            transfer: 2,
            endpoint: 0x80,
            id,
            status: -115,
            length: 0,
            setup: Some(setup),
            flags: 0,
            data: none,
        };
        self.event(&event);
        let length = answer.len() as u32;
        self.event(&Event { kind: b'C', status: 0, length, setup: None, data: answer, ..event });
        self
    }

    /// VERSION 2 there and back, SETUP, SYN, SYN|ACK and ACK; tx 3 and 1 are next.
    pub fn opened(&mut self) -> &mut Self {
        self.out(&version(2)).r#in(&version(2)).out(&setup());
        self.out(&host(1, RX_NONE, SYN, (0, 0), 512, b""));
        self.r#in(&phone(0, 1, SYN_ACK, (0, 1), 512, b""));
        self.out(&host(2, 0, ACK, (1, 1), 512, b""))
    }

    pub fn read(&self) -> Read {
        read(&self.bytes)
    }
}

pub const RX_NONE: u16 = 0xffff;
pub const SYN: u8 = 0x02;
pub const RST: u8 = 0x04;
pub const ACK: u8 = 0x10;
pub const SYN_ACK: u8 = 0x12;
/// The only connection's ports.
pub const PORTS: (u16, u16) = (1, 7);

pub fn version(major: u8) -> Vec<u8> {
    let mut bytes = vec![0, 0, 0, 0, 0, 0, 0, 20, 0, 0, 0, major];
    bytes.extend([0; 8]);
    bytes
}

pub fn setup() -> Vec<u8> {
    frame(Protocol::SETUP, Magic::HOST, 0, RX_NONE, &[7])
}

pub fn frame(protocol: Protocol, magic: Magic, tx_seq: u16, rx_seq: u16, body: &[u8]) -> Vec<u8> {
    let length = 16 + body.len() as u32;
    let mut bytes = HeaderV2 { protocol, length, magic, tx_seq, rx_seq }.emit().to_vec();
    bytes.extend(body);
    bytes
}

pub fn segment(
    ports: (u16, u16),
    flags: u8,
    numbers: (u32, u32),
    window: u16,
    payload: &[u8],
) -> Vec<u8> {
    let (seq, ack) = (SeqNumber(numbers.0), SeqNumber(numbers.1));
    let mut bytes = TcpHeader::new(ports, seq, ack, Flags(flags), window).emit().to_vec();
    bytes.extend(payload);
    bytes
}

/// A version 2 segment of the host.
pub fn host(
    tx: u16,
    rx: u16,
    flags: u8,
    numbers: (u32, u32),
    window: u16,
    payload: &[u8],
) -> Vec<u8> {
    frame(Protocol::TCP, Magic::HOST, tx, rx, &segment(PORTS, flags, numbers, window, payload))
}

/// A version 2 segment of the phone.
pub fn phone(
    tx: u16,
    rx: u16,
    flags: u8,
    numbers: (u32, u32),
    window: u16,
    payload: &[u8],
) -> Vec<u8> {
    let ports = (PORTS.1, PORTS.0);
    frame(Protocol::TCP, Magic::PHONE, tx, rx, &segment(ports, flags, numbers, window, payload))
}

/// A text of the phone's.
pub fn control(tx: u16, rx: u16, kind: u8, text: &str) -> Vec<u8> {
    let body = [&[kind], text.as_bytes()].concat();
    frame(Protocol::CONTROL, Magic::PHONE, tx, rx, &body)
}

/// A version 1 frame.
pub fn short(protocol: Protocol, body: &[u8]) -> Vec<u8> {
    let mut bytes = HeaderV1 { protocol, length: 8 + body.len() as u32 }.emit().to_vec();
    bytes.extend(body);
    bytes
}

/// All that reading a trace gives.
pub struct Read {
    pub items: Vec<Item>,
    pub ladder: Vec<String>,
    pub report: Report,
    pub error: Option<ReadError>,
}

pub fn read(bytes: &[u8]) -> Read {
    let mut read = Read { items: vec![], ladder: vec![], report: Report::default(), error: None };
    let mut reader = match Reader::new(bytes) {
        Ok(reader) => reader,
        Err(error) => return Read { error: Some(error), ..read },
    };
    let mut ladder = Ladder::new();
    loop {
        match reader.next_item() {
            Ok(Some(item)) => {
                let lines = ladder.draw(&item);
                read.ladder.extend(lines.into_iter().map(|line| line.text));
                read.items.push(item);
            }
            Ok(None) => break,
            Err(error) => {
                assert_eq!(read.error, None, "an error comes once");
                read.error = Some(error);
            }
        }
    }
    read.ladder.extend(ladder.end().into_iter().map(|line| line.text));
    read.report = reader.report();
    read
}

impl Read {
    pub fn marks(&self) -> Vec<&Mark> {
        let mut marks = Vec::new();
        for item in &self.items {
            match item {
                Item::Frame(frame) => marks.extend(&frame.marks),
                Item::Note(note) => marks.push(&note.mark),
                Item::Phone(_) => {}
            }
        }
        marks
    }

    /// Names of the violations, in order.
    pub fn violations(&self) -> Vec<&'static str> {
        let marks = self.marks();
        marks.iter().filter(|mark| mark.is_violation()).map(|mark| mark.kind.name()).collect()
    }

    /// Names of the remarks, in order.
    pub fn remarks(&self) -> Vec<&'static str> {
        let marks = self.marks();
        marks.iter().filter(|mark| !mark.is_violation()).map(|mark| mark.kind.name()).collect()
    }

    /// The first violation's sentence.
    pub fn sentence(&self) -> &str {
        let marks = self.marks();
        marks.iter().find(|mark| mark.is_violation()).map_or("", |mark| mark.text.as_str())
    }

    pub fn frames(&self) -> usize {
        self.items.iter().filter(|item| matches!(item, Item::Frame(_))).count()
    }
}
