//! From packets to messages to words: what went over the bus, as the phone understands it.

use crate::bus::{BusEvent, Happening};
use crate::time::Nanos;
use usbmux_core::wire::{
    Flags, HEADER_V1, HEADER_V2, HeaderV1, HeaderV2, MAX_FRAME, Protocol, TCP_HEADER, TcpHeader,
};

/// What went over one of the two bulk endpoints up to a short packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// When its first packet was over.
    pub began: Nanos,
    /// When its last packet was over.
    pub ended: Nanos,
    /// Whether it is the phone's.
    pub from_phone: bool,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// How long its packets were; the last is a short one.
    pub packets: Vec<usize>,
}

/// What a frame says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// VERSION.
    Version(u32),
    /// SETUP.
    Setup,
    /// The phone's kernel says something.
    Control(u8, String),
    /// A segment.
    Tcp {
        /// tx_seq of its frame; none in version 1.
        number: Option<u16>,
        /// Its header.
        header: TcpHeader,
        /// How many bytes of payload.
        payload: usize,
        /// The text of a reset.
        text: String,
    },
    /// What is no frame.
    Unknown,
}

impl Message {
    /// The frame at the beginning, and the bytes behind its declared length.
    pub fn frame(&self) -> (Frame, usize) {
        let Some(head) = self.bytes.first_chunk::<HEADER_V1>() else { return (Frame::Unknown, 0) };
        let head = HeaderV1::parse(head);
        let length = usize::try_from(head.length).unwrap_or(MAX_FRAME).min(self.bytes.len());
        let frame = self.bytes.get(..length).unwrap_or_default();
        (parse(head.protocol, frame), self.bytes.len() - length)
    }

    /// How many frames it holds, by their declared lengths.
    pub fn frames(&self) -> usize {
        let mut rest = &self.bytes[..];
        let mut count = 0;
        while let Some(head) = rest.first_chunk::<HEADER_V1>() {
            let length = usize::try_from(HeaderV1::parse(head).length).unwrap_or(MAX_FRAME);
            rest = rest.get(length.max(HEADER_V1)..).unwrap_or_default();
            count += 1;
        }
        count
    }

    /// How many of its packets were empty.
    pub fn zlps(&self) -> usize {
        self.packets.iter().filter(|length| **length == 0).count()
    }

    /// Its packets in a few words: `63 x 64 + 28`.
    pub fn packets_in_words(&self, full: usize) -> String {
        let whole = self.packets.iter().filter(|length| **length == full).count();
        let last = self.packets.last().copied().filter(|length| *length < full);
        let whole = match whole {
            0 => None,
            1 => Some(full.to_string()),
            count => Some(format!("{count} x {full}")),
        };
        let last = match last {
            Some(0) => Some("ZLP".to_owned()),
            Some(length) => Some(length.to_string()),
            None => None,
        };
        whole.into_iter().chain(last).collect::<Vec<_>>().join(" + ")
    }
}

/// The long header, where there is one, and what is behind the header. In the short one of version 1
/// there is no magic.
fn split(frame: &[u8]) -> (Option<HeaderV2>, &[u8]) {
    let long = frame.split_first_chunk::<HEADER_V2>();
    match long.map(|(header, body)| (HeaderV2::parse(header), body)) {
        Some((header, body)) if header.magic.is_known() => (Some(header), body),
        _ => (None, frame.get(HEADER_V1..).unwrap_or_default()),
    }
}

fn parse(protocol: Protocol, frame: &[u8]) -> Frame {
    let (numbered, body) = split(frame);
    match protocol {
        Protocol::VERSION => {
            let major = frame.get(HEADER_V1..).and_then(|rest| rest.first_chunk::<4>());
            Frame::Version(major.map_or(0, |major| u32::from_be_bytes(*major)))
        }
        Protocol::SETUP => Frame::Setup,
        Protocol::CONTROL => match body.split_first() {
            Some((kind, text)) => Frame::Control(*kind, String::from_utf8_lossy(text).into_owned()),
            None => Frame::Unknown,
        },
        Protocol::TCP => {
            let Some(tcp) = body.first_chunk::<TCP_HEADER>() else { return Frame::Unknown };
            let header = TcpHeader::parse(tcp);
            let rest = body.get(TCP_HEADER..).unwrap_or_default();
            let is_reset = header.flags.contains(Flags::RST);
            let text =
                if is_reset { String::from_utf8_lossy(rest).into_owned() } else { String::new() };
            Frame::Tcp {
                number: numbered.map(|header| header.tx_seq),
                header,
                payload: rest.len(),
                text,
            }
        }
        _ => Frame::Unknown,
    }
}

/// What a frame says, in a few words.
pub fn in_words(frame: &Frame) -> String {
    match frame {
        Frame::Version(major) => format!("VERSION {major}"),
        Frame::Setup => "SETUP".to_owned(),
        Frame::Control(kind, _) => format!("CONTROL {kind}"),
        Frame::Unknown => "?".to_owned(),
        Frame::Tcp { number, header, payload, .. } => {
            let kind = match header.flags {
                flags if flags.contains(Flags::RST) => "RST",
                flags if flags.contains(Flags::SYN) && flags.contains(Flags::ACK) => "SYN|ACK",
                flags if flags.contains(Flags::SYN) => "SYN",
                _ if *payload > 0 => "data",
                _ => "ACK",
            };
            let bytes = if kind == "data" { format!(" {payload} B") } else { String::new() };
            let number = number.map_or(String::new(), |number| format!("#{number} "));
            format!("{number}{kind}{bytes} win {}", header.window_units)
        }
    }
}

/// Joins packets to messages, each direction for itself.
#[derive(Debug)]
pub(crate) struct Gatherer {
    full: usize,
    /// From the dongle, from the phone.
    open: [Option<Message>; 2],
}

impl Gatherer {
    pub(crate) fn new(full: u16) -> Self {
        Gatherer { full: usize::from(full), open: [None, None] }
    }

    /// Takes what happened; returns the message that it ended.
    pub(crate) fn take(&mut self, event: &BusEvent) -> Option<Message> {
        let (from_phone, bytes) = match &event.what {
            Happening::In { bytes } => (true, bytes),
            Happening::Out { bytes } => (false, bytes),
            _ => return None,
        };
        let open = self.open.get_mut(usize::from(from_phone))?;
        let message = open.get_or_insert_with(|| Message {
            began: event.at,
            ended: event.at,
            from_phone,
            bytes: Vec::new(),
            packets: Vec::new(),
        });
        message.bytes.extend_from_slice(bytes);
        message.packets.push(bytes.len());
        message.ended = event.at;
        if bytes.len() < self.full { open.take() } else { None }
    }
}
