//! A frame taken apart: its fields by name, in one line or byte by byte.

use super::field;
use usbmux_core::wire::{
    ControlKind, Flags, HeaderV1, HeaderV2, Magic, Protocol, RX_SEQ_NONE, TcpHeader, Version,
};

/// Which fields of a frame a line names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Detail {
    /// Those of the mux header, and of the segment what it is.
    Mux,
    /// Those of the segment.
    Segment,
}

/// A frame as it crossed the cable.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) bytes: Vec<u8>,
    pub(crate) protocol: Protocol,
    /// tx_seq and rx_seq; none in version 1 and in VERSION.
    pub(crate) numbers: Option<(u16, u16)>,
    pub(crate) tcp: Option<TcpHeader>,
    /// What is behind all headers: payload or text.
    pub(crate) body: Vec<u8>,
}

impl Frame {
    /// Takes a whole frame apart. The engine's own frames are sound.
    pub(crate) fn parse(bytes: &[u8]) -> Frame {
        let short = HeaderV1::parse(bytes.first_chunk().expect("a frame has 8 bytes"));
        let long = bytes.first_chunk().map(HeaderV2::parse);
        let long = long.filter(|it| it.magic.is_known() && it.protocol != Protocol::VERSION);
        let rest = bytes.get(if long.is_some() { 16 } else { 8 }..).unwrap_or_default();
        let is_segment = short.protocol == Protocol::TCP;
        let segment = rest.split_first_chunk().filter(|_| is_segment);
        Frame {
            bytes: bytes.to_vec(),
            protocol: short.protocol,
            numbers: long.map(|it| (it.tx_seq, it.rx_seq)),
            tcp: segment.map(|(header, _)| TcpHeader::parse(header)),
            body: segment.map_or(rest, |(_, body)| body).to_vec(),
        }
    }

    /// What its length field says.
    pub(crate) fn length(&self) -> usize {
        HeaderV1::parse(self.bytes.first_chunk().expect("8 bytes")).length as usize
    }

    /// What the frame is for, in a word.
    pub(crate) fn name(&self) -> String {
        match &self.tcp {
            Some(tcp) if tcp.flags == Flags::ACK && !self.body.is_empty() => "data".to_owned(),
            Some(tcp) => tcp.flags.to_string(),
            None => self.protocol.to_string(),
        }
    }

    /// The segment's header; a frame of another kind is a mistake of the lesson's.
    pub(crate) fn segment(&self) -> TcpHeader {
        self.tcp.expect("it is a segment")
    }

    /// The text of a CONTROL frame or of a reset.
    pub(crate) fn text(&self) -> String {
        let text = self.body.get(usize::from(self.tcp.is_none())..).unwrap_or_default();
        String::from_utf8_lossy(text).into_owned()
    }

    /// Its fields in one line.
    pub(crate) fn in_words(&self, detail: Detail) -> String {
        let numbers = match self.numbers {
            Some((tx, rx)) => format!("tx_seq {tx}, rx_seq {}", rx_in_words(rx)),
            None => "no numbers".to_owned(),
        };
        match (&self.tcp, detail) {
            (Some(tcp), Detail::Segment) => self.segment_in_words(tcp),
            (Some(_), Detail::Mux) => format!("{} bytes, {numbers}", self.bytes.len()),
            (None, _) => match self.protocol {
                Protocol::VERSION => {
                    let version = Version::parse(self.body.first_chunk().expect("12 bytes"));
                    let len = self.bytes.len();
                    format!("{len} bytes, major {}, minor {}", version.major, version.minor)
                }
                Protocol::SETUP => format!("17 bytes, {numbers}, level {:02x}", self.body[0]),
                _ if detail == Detail::Mux => {
                    format!("{numbers}, type {}, \"{}\"", self.body[0], self.text())
                }
                _ => format!("type {}, \"{}\"", self.body[0], self.text()),
            },
        }
    }

    fn segment_in_words(&self, tcp: &TcpHeader) -> String {
        if tcp.flags.contains(Flags::RST) {
            let text = match self.body.is_empty() {
                true => "no text".to_owned(),
                false => format!("\"{}\"", self.text()),
            };
            return format!("seq {}, ack {}, {text}", tcp.seq, tcp.ack);
        }
        let mut words = format!("seq {}, ack {}, window {}", tcp.seq, tcp.ack, tcp.window_units);
        if tcp.flags.contains(Flags::SYN) {
            words = format!("port {} to port {}, {words}", tcp.source, tcp.dest);
        }
        if !self.body.is_empty() {
            words = format!("{words}, payload {} bytes", self.body.len());
        }
        words
    }

    /// Prints each field: bytes, name, meaning.
    pub(crate) fn print_fields(&self) {
        let bytes = &self.bytes;
        field(&bytes[0..4], "protocol", self.protocol);
        field(&bytes[4..8], "length", format!("{} bytes, all headers included", self.length()));
        let mut at = 8;
        if let Some((tx, rx)) = self.numbers {
            let host = bytes[8..12] == Magic::HOST.0.to_be_bytes();
            field(&bytes[8..12], "magic", if host { "a host speaks" } else { "a phone speaks" });
            field(&bytes[12..14], "tx_seq", format!("number {tx} of this sender's frames"));
            field(&bytes[14..16], "rx_seq", format!("the last one it got: {}", rx_in_words(rx)));
            at = 16;
        }
        match &self.tcp {
            Some(tcp) => print_segment(tcp, &bytes[at..], &self.body),
            None => self.print_body(&bytes[at..]),
        }
    }

    fn print_body(&self, body: &[u8]) {
        match self.protocol {
            Protocol::VERSION => {
                field(&body[0..4], "major", "the highest version that the sender speaks");
                field(&body[4..8], "minor", "0");
                field(&body[8..12], "padding", "0");
            }
            Protocol::SETUP => field(body, "level", "most likely how much the phone is to log"),
            _ => {
                let kind = match ControlKind(body[0]) {
                    ControlKind::ERROR => "error",
                    ControlKind::WARNING => "warning",
                    ControlKind::NOTICE => "notice",
                    _ => "other",
                };
                field(&body[..1], "type", kind);
                field(&[], "text", format!("\"{}\"", self.text()));
            }
        }
    }
}

fn print_segment(tcp: &TcpHeader, bytes: &[u8], body: &[u8]) {
    field(&bytes[0..2], "source port", tcp.source);
    field(&bytes[2..4], "dest port", tcp.dest);
    field(&bytes[4..8], "seq", format!("{}: number of the first payload byte", tcp.seq));
    field(&bytes[8..12], "ack", format!("{}: number of the next byte expected", tcp.ack));
    field(&bytes[12..13], "data offset", format!("{} words of 4 bytes", tcp.data_offset_words));
    field(&bytes[13..14], "flags", tcp.flags);
    let window = format!("{} x 256 = {} bytes", tcp.window_units, tcp.window());
    field(&bytes[14..16], "window", window);
    field(&bytes[16..20], "check, urgent", "0, and nobody looks");
    if tcp.flags.contains(Flags::RST) && !body.is_empty() {
        field(&[], "text", format!("\"{}\"", String::from_utf8_lossy(body)));
    } else if !body.is_empty() {
        field(&body[..body.len().min(4)], "payload", format!("{} bytes", body.len()));
    }
}

fn rx_in_words(rx_seq: u16) -> String {
    if rx_seq == RX_SEQ_NONE { "none (ffff)".to_owned() } else { rx_seq.to_string() }
}
