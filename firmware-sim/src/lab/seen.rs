//! One message as somebody sees it who has only its bytes: its parts in words and numbers, and every
//! field with its place.
//!
//! Unlike the engine it asks nothing of the session: whether headers are short or long shows in the
//! bytes themselves.

use usbmux_core::wire::{
    Flags, HEADER_V1, HEADER_V2, HeaderV1, HeaderV2, MAX_FRAME, Magic, Protocol, TCP_HEADER,
    TcpHeader, VERSION_BODY, Version,
};

/// What a field is about: fields of a kind have one colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Protocol, length, magic: the frame's outside.
    Mux,
    /// tx_seq and rx_seq: frames, counted.
    Number,
    /// From which port to which.
    Port,
    /// Sequence and acknowledgement: bytes, counted.
    Sequence,
    /// What the segment is for.
    Flag,
    /// How much the sender still takes.
    Window,
    /// Always the same.
    Fixed,
    /// What programs say.
    Payload,
    /// What kernels say, and versions.
    Text,
    /// Behind the end of the frame.
    Behind,
}

/// A field of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its first byte.
    pub at: usize,
    /// Its bytes.
    pub length: usize,
    /// Its name.
    pub name: &'static str,
    /// Its value, and what that means.
    pub value: String,
    /// What it is about.
    pub kind: Kind,
}

/// A message's first frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// What it carries; none if it is too short for any header.
    pub protocol: Option<Protocol>,
    /// The declared length, at most the message's.
    pub length: usize,
    /// Bytes behind the declared length.
    pub behind: usize,
    /// tx_seq and rx_seq; none in short headers.
    pub numbers: Option<(u16, u16)>,
    /// The major version that a VERSION frame names.
    pub version: Option<u32>,
    /// The header of a segment.
    pub tcp: Option<TcpHeader>,
    /// Bytes of payload of a segment.
    pub payload: usize,
    /// A CONTROL text's kind.
    pub control: Option<u8>,
    /// The text of a CONTROL or RST.
    pub text: String,
}

impl Seen {
    /// Looks at a message.
    pub fn new(message: &[u8]) -> Self {
        let mut seen = Seen {
            protocol: None,
            length: message.len(),
            behind: 0,
            numbers: None,
            version: None,
            tcp: None,
            payload: 0,
            control: None,
            text: String::new(),
        };
        let Some(head) = message.first_chunk::<HEADER_V1>() else { return seen };
        let head = HeaderV1::parse(head);
        seen.protocol = Some(head.protocol);
        seen.length = usize::try_from(head.length).unwrap_or(MAX_FRAME).min(message.len());
        seen.behind = message.len() - seen.length;
        let frame = message.get(..seen.length).unwrap_or_default();
        let header = header_length(frame);
        if header == HEADER_V2 {
            let numbers = frame.first_chunk::<HEADER_V2>().map(HeaderV2::parse);
            seen.numbers = numbers.map(|header| (header.tx_seq, header.rx_seq));
        }
        seen.look_into(head.protocol, frame.get(header..).unwrap_or_default());
        seen
    }

    fn look_into(&mut self, protocol: Protocol, body: &[u8]) {
        match protocol {
            Protocol::VERSION => {
                self.version = body.first_chunk::<VERSION_BODY>().map(|b| Version::parse(b).major);
            }
            Protocol::CONTROL => {
                if let Some((kind, text)) = body.split_first() {
                    self.control = Some(*kind);
                    self.text = plain(text);
                }
            }
            Protocol::TCP => {
                self.tcp = body.first_chunk::<TCP_HEADER>().map(TcpHeader::parse);
                let rest = body.get(TCP_HEADER..).unwrap_or_default();
                self.payload = rest.len();
                if self.tcp.is_some_and(|tcp| tcp.flags.contains(Flags::RST)) {
                    self.text = plain(rest);
                }
            }
            _ => {}
        }
    }
}

/// Whether the header is the short or the long one; VERSION always has the short one.
fn header_length(frame: &[u8]) -> usize {
    let is_version = frame.first_chunk::<4>() == Some(&Protocol::VERSION.0.to_be_bytes());
    let magic = frame.get(8..).and_then(|rest| rest.first_chunk::<4>());
    let has_magic = magic.is_some_and(|magic| Magic(u32::from_be_bytes(*magic)).is_known());
    if has_magic && !is_version { HEADER_V2 } else { HEADER_V1 }
}

fn plain(text: &[u8]) -> String {
    String::from_utf8_lossy(text).trim_end_matches('\0').to_owned()
}

/// All fields of a message, in order and without gaps.
pub fn fields(message: &[u8]) -> Vec<Field> {
    let seen = Seen::new(message);
    let frame = message.get(..seen.length).unwrap_or_default();
    let mut cutter = Cutter { frame, at: 0, fields: Vec::new() };
    cutter.header(&seen);
    match seen.protocol {
        Some(Protocol::VERSION) => cutter.version(),
        Some(Protocol::SETUP) => {
            cutter.rest("level", Kind::Fixed, "always 7");
        }
        Some(Protocol::CONTROL) => {
            cutter.field(1, "kind", Kind::Text, |kind| control_kind(kind as u8).to_owned());
            cutter.rest("text", Kind::Text, &seen.text);
        }
        Some(Protocol::TCP) => cutter.segment(&seen),
        _ => {}
    }
    cutter.rest("unknown", Kind::Fixed, "");
    let mut fields = cutter.fields;
    if seen.behind > 0 {
        let value = format!("{} bytes behind the frame", seen.behind);
        let (at, length) = (seen.length, seen.behind);
        fields.push(Field { at, length, name: "behind", value, kind: Kind::Behind });
    }
    fields
}

fn control_kind(kind: u8) -> &'static str {
    match kind {
        3 => "3, an error",
        4 => "4, a warning",
        5 => "5, a notice",
        7 => "7, debugging talk",
        _ => "unknown",
    }
}

/// Cuts a frame into fields from its front.
struct Cutter<'a> {
    frame: &'a [u8],
    at: usize,
    fields: Vec<Field>,
}

impl Cutter<'_> {
    /// The next field; nothing if the frame ends before.
    fn field(
        &mut self,
        length: usize,
        name: &'static str,
        kind: Kind,
        value: impl FnOnce(u32) -> String,
    ) {
        let Some(bytes) = self.frame.get(self.at..self.at + length) else { return };
        let number = bytes.iter().fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
        self.fields.push(Field { at: self.at, length, name, value: value(number), kind });
        self.at += length;
    }

    /// All that is left.
    fn rest(&mut self, name: &'static str, kind: Kind, value: &str) {
        let length = self.frame.len() - self.at;
        if length > 0 {
            self.field(length, name, kind, |_| value.to_owned());
        }
    }

    fn header(&mut self, seen: &Seen) {
        self.field(4, "protocol", Kind::Mux, |n| format!("{n}, {}", Protocol(n)));
        self.field(4, "length", Kind::Mux, |n| format!("{n} bytes, this header included"));
        if seen.numbers.is_none() {
            return;
        }
        self.field(4, "magic", Kind::Mux, |n| match Magic(n) {
            Magic::HOST => "feedface, a host".to_owned(),
            _ => "faceface, a phone".to_owned(),
        });
        self.field(2, "tx_seq", Kind::Number, |n| format!("{n}, this frame's number"));
        self.field(2, "rx_seq", Kind::Number, |n| match n {
            0xffff => "ffff, none of yours so far".to_owned(),
            n => format!("{n}, the last of yours"),
        });
    }

    fn version(&mut self) {
        self.field(4, "major", Kind::Text, |n| n.to_string());
        self.field(4, "minor", Kind::Text, |n| n.to_string());
        self.field(4, "padding", Kind::Fixed, |n| n.to_string());
    }

    fn segment(&mut self, seen: &Seen) {
        let plain = |n: u32| n.to_string();
        self.field(2, "source", Kind::Port, |n| format!("port {n}"));
        self.field(2, "dest", Kind::Port, |n| format!("port {n}"));
        self.field(4, "seq", Kind::Sequence, |n| format!("{n}, number of the first byte"));
        self.field(4, "ack", Kind::Sequence, |n| format!("{n}, the next byte expected"));
        self.field(1, "offset", Kind::Fixed, |n| format!("{} words of header", n >> 4));
        self.field(1, "flags", Kind::Flag, |n| Flags(n as u8).to_string());
        self.field(2, "window", Kind::Window, |n| format!("{n} × 256 = {} bytes", n << 8));
        self.field(2, "checksum", Kind::Fixed, plain);
        self.field(2, "urgent", Kind::Fixed, plain);
        match seen.text.is_empty() {
            true => self.rest("payload", Kind::Payload, &format!("{} bytes", seen.payload)),
            false => self.rest("text", Kind::Text, &seen.text),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use usbmux_core::SeqNumber;

    fn segment(payload: &[u8]) -> Vec<u8> {
        let mut frame = HeaderV2 {
            protocol: Protocol::TCP,
            length: (36 + payload.len()) as u32,
            magic: Magic::PHONE,
            tx_seq: 5,
            rx_seq: 4,
        }
        .emit()
        .to_vec();
        let tcp = TcpHeader::new((7, 1), SeqNumber(1), SeqNumber(29), Flags::ACK, 512);
        frame.extend(tcp.emit());
        frame.extend(payload);
        frame
    }

    #[test]
    fn the_fields_of_every_prefix_cover_it_without_gaps() {
        let mut message = segment(b"hello");
        message.extend([0xee; 3]);
        for length in 0..=message.len() {
            let prefix = &message[..length];
            let covered = fields(prefix).iter().fold(0, |at, field| {
                assert_eq!(field.at, at, "{length}");
                at + field.length
            });
            assert!(covered == length || length < 8, "{length}: {covered}");
        }
    }

    #[test]
    fn a_segment_in_words() {
        let named: Vec<(&str, String)> =
            fields(&segment(b"hello")).into_iter().map(|field| (field.name, field.value)).collect();
        let value = |name| named.iter().find(|(n, _)| *n == name).unwrap().1.clone();
        assert_eq!(value("protocol"), "6, TCP");
        assert_eq!(value("window"), "512 × 256 = 131072 bytes");
        assert_eq!(value("payload"), "5 bytes");
        let seen = Seen::new(&segment(b"hello"));
        assert_eq!((seen.numbers, seen.payload, seen.behind), (Some((5, 4)), 5, 0));
    }

    #[test]
    fn a_short_header_is_recognised_by_the_missing_magic() {
        let version = [0, 0, 0, 0, 0, 0, 0, 20, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(Seen::new(&version).version, Some(2));
        let names: Vec<&str> = fields(&version).iter().map(|field| field.name).collect();
        assert_eq!(names, ["protocol", "length", "major", "minor", "padding"]);
    }
}
