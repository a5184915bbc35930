//! Deframing: bytes from USB in any slicing become headers and slices of bodies.
//!
//! At most one header (36 bytes) is ever held; a body is handed on as slices of the caller's own
//! bytes. So a 65535-byte frame flows through a target that reads 64-byte packets. The state of
//! connections, and what a piece means for them, is [`mux`](crate::mux)'s business.
//!
//! The rules (PROTOCOL §4): a phone's message ends where its transfer ends. What follows a whole frame
//! in the same transfer is tried as a header and, if it is none, dropped to the transfer's end. After
//! a malformed frame the next transfer is the place to resume.
//!
//! To be watched in lesson 2 (`core/examples/02_any_slicing.rs`); lesson 9 shows the phone's side of it.

use crate::wire::mux::{HeaderV1, HeaderV2, Protocol};
use crate::wire::{self, ControlKind, Magic, TcpHeader, Version};
use heapless::Vec;

/// A USB transfer, or a part of one, as it came from the bus; the cursor of [`Deframer::next`].
#[derive(Clone, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Transfer<'t> {
    bytes: &'t [u8],
    ends: bool,
}

impl<'t> Transfer<'t> {
    /// Bytes with which the transfer ends: it was short, or this is its zero-length packet.
    pub const fn new(bytes: &'t [u8]) -> Self {
        Transfer { bytes, ends: true }
    }

    /// Bytes after which more of the same transfer follows: a read that was filled to its last byte,
    /// or a packet of full size.
    pub const fn part(bytes: &'t [u8]) -> Self {
        Transfer { bytes, ends: false }
    }

    /// Whether everything has been taken, the end included.
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty() && !self.ends
    }

    fn take(&mut self, most: usize) -> &'t [u8] {
        let (taken, rest) = self.bytes.split_at_checked(most).unwrap_or((self.bytes, &[]));
        self.bytes = rest;
        taken
    }
}

/// Which mux headers to expect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Form {
    /// No version is agreed yet: VERSION, or frames of an older session in either form, told apart by
    /// the magic.
    Greeting,
    /// 8-byte headers.
    V1,
    /// 16-byte headers, but for VERSION.
    V2,
}

/// The sequence numbers of a version 2 header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Numbers {
    /// Number of this frame.
    pub tx_seq: u16,
    /// The last of our frames that its sender accepted.
    pub rx_seq: u16,
}

/// Why a frame was dropped. The peer, or the cable, is at fault; the rest of the transfer is skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Malformed {
    /// The transfer ended inside the header.
    Header,
    /// A protocol that nobody speaks.
    Protocol,
    /// A length shorter than the frame's own headers, or above 65535.
    Length,
    /// A version 2 header without one of the two magics.
    Magic,
    /// A pseudo-TCP header that is not 20 bytes long.
    DataOffset,
}

/// What [`Deframer::next`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Piece<'t> {
    /// A VERSION frame.
    Version(Version),
    /// A SETUP frame.
    Setup {
        /// Its numbers; none in version 1.
        numbers: Option<Numbers>,
        /// Its byte.
        level: u8,
    },
    /// Head of a CONTROL frame.
    Control {
        /// Its numbers; none in version 1.
        numbers: Option<Numbers>,
        /// Its type.
        kind: ControlKind,
        /// Bytes of text that follow as [`Piece::Body`]; if zero, none follows.
        text_len: u16,
    },
    /// Head of a pseudo-TCP segment.
    Segment {
        /// Its numbers; none in version 1.
        numbers: Option<Numbers>,
        /// Its header.
        tcp: TcpHeader,
        /// Bytes of payload that follow as [`Piece::Body`]; if zero, none follows.
        payload_len: u16,
    },
    /// A slice of the body of the frame announced last.
    Body {
        /// The bytes; never empty.
        bytes: &'t [u8],
        /// Whether the frame is complete with them.
        end: bool,
    },
    /// The transfer ended inside a body; what is missing is gone for ever.
    Truncated,
    /// A frame that is none. The rest of the transfer is skipped.
    Malformed(Malformed),
    /// Bytes after a whole frame that are no header. The rest of the transfer is skipped.
    Trailing,
}

/// The longest pair of headers: version 2 and pseudo-TCP.
const LONGEST_HEADER: usize = wire::HEADER_V2 + wire::TCP_HEADER;

#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
enum State {
    Header,
    Body { left: u16 },
    Skip,
}

/// The deframer of one direction of one phone.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Deframer {
    header: Vec<u8, LONGEST_HEADER, u8>,
    state: State,
    form: Form,
    /// No frame of this transfer was complete yet.
    first: bool,
}

impl Deframer {
    /// Makes a deframer that expects a new transfer.
    pub const fn new(form: Form) -> Self {
        Deframer { header: Vec::new(), state: State::Header, form, first: true }
    }

    /// Expects other headers from the next frame on.
    pub fn set_form(&mut self, form: Form) {
        self.form = form;
    }

    /// Drops everything up to the current transfer's end.
    pub fn skip_transfer(&mut self) {
        self.header.clear();
        self.state = State::Skip;
    }

    /// Takes the next piece out of `transfer`; `None` once it is used up.
    ///
    /// Never holds back a byte of a body; pieces of one frame follow each other without others between.
    pub fn next<'t>(&mut self, transfer: &mut Transfer<'t>) -> Option<Piece<'t>> {
        while !transfer.bytes.is_empty() {
            match self.state {
                State::Skip => transfer.bytes = &[],
                State::Body { left } => return Some(self.body(left, transfer)),
                State::Header => {
                    let piece = if self.header.is_empty() { self.whole(transfer) } else { None };
                    let piece = piece.or_else(|| self.gather(transfer));
                    if piece.is_some() {
                        return piece;
                    }
                }
            }
        }
        if core::mem::take(&mut transfer.ends) { self.end_of_transfer() } else { None }
    }

    fn body<'t>(&mut self, left: u16, transfer: &mut Transfer<'t>) -> Piece<'t> {
        let bytes = transfer.take(usize::from(left));
        let left = left.saturating_sub(bytes.len() as u16);
        self.state = if left == 0 { State::Header } else { State::Body { left } };
        self.first = self.first && left != 0;
        Piece::Body { bytes, end: left == 0 }
    }

    fn end_of_transfer(&mut self) -> Option<Piece<'static>> {
        let piece = match self.state {
            State::Body { .. } => Some(Piece::Truncated),
            State::Header if self.header.is_empty() => None,
            State::Header if self.first => Some(Piece::Malformed(Malformed::Header)),
            State::Header => Some(Piece::Trailing),
            State::Skip => None,
        };
        self.header.clear();
        self.state = State::Header;
        self.first = true;
        piece
    }

    /// Takes headers that lie whole in the transfer, as they do almost always, without copying them.
    fn whole(&mut self, transfer: &mut Transfer<'_>) -> Option<Piece<'static>> {
        let head = Head::of(transfer.bytes, self.form).ok()?;
        let (headers, rest) = transfer.bytes.split_at_checked(head.needed)?;
        // Not all is known: `needed` is what the decision takes.
        if head.mux == 0 {
            return None;
        }
        transfer.bytes = rest;
        Some(self.complete(&head, head.piece(headers)))
    }

    /// Collects header bytes until the header is whole, wrong, or the input is used up.
    fn gather(&mut self, transfer: &mut Transfer<'_>) -> Option<Piece<'static>> {
        loop {
            let head = match Head::of(&self.header, self.form) {
                Err(why) => return Some(self.reject(why)),
                Ok(head) => head,
            };
            let missing = head.needed.saturating_sub(self.header.len());
            if missing == 0 {
                let piece = head.piece(&self.header);
                return Some(self.complete(&head, piece));
            }
            let bytes = transfer.take(missing);
            // Cannot overflow: no header needs more than LONGEST_HEADER.
            let _ = self.header.extend_from_slice(bytes);
            if bytes.len() < missing {
                return None;
            }
        }
    }

    fn reject(&mut self, why: Malformed) -> Piece<'static> {
        self.header.clear();
        self.state = State::Skip;
        if self.first { Piece::Malformed(why) } else { Piece::Trailing }
    }

    /// Expects the body behind whole headers. They are none if the pseudo-TCP header has options.
    fn complete(&mut self, head: &Head, piece: Option<Piece<'static>>) -> Piece<'static> {
        let Some(piece) = piece else { return self.reject(Malformed::DataOffset) };
        self.header.clear();
        self.state = match head.body {
            0 => State::Header,
            left => State::Body { left },
        };
        self.first = self.first && head.body != 0;
        piece
    }
}

/// What the first bytes of a frame tell about the rest of its headers.
struct Head {
    protocol: Protocol,
    /// Bytes of all headers, or of as many as are needed to know more.
    needed: usize,
    /// Bytes of the mux header.
    mux: usize,
    /// Bytes behind all headers.
    body: u16,
}

impl Head {
    fn of(bytes: &[u8], form: Form) -> Result<Head, Malformed> {
        let protocol = Protocol::VERSION;
        let unknown = |needed| Ok(Head { protocol, needed, mux: 0, body: 0 });
        let Some(short) = bytes.first_chunk() else { return unknown(wire::HEADER_V1) };
        let HeaderV1 { protocol, length } = HeaderV1::parse(short);
        let after_mux = match protocol {
            Protocol::VERSION => wire::VERSION_BODY,
            Protocol::CONTROL | Protocol::SETUP => 1,
            Protocol::TCP => wire::TCP_HEADER,
            _ => return Err(Malformed::Protocol),
        };
        let magic = bytes.get(wire::HEADER_V1..).and_then(<[u8]>::first_chunk);
        let magic = magic.map(|magic| Magic(u32::from_be_bytes(*magic)).is_known());
        let long = match form {
            _ if protocol == Protocol::VERSION => false,
            Form::V1 => false,
            Form::V2 => true,
            // In the greeting the magic tells, unless the frame is too short to have one.
            Form::Greeting if (length as usize) < wire::HEADER_V2 => false,
            Form::Greeting => match magic {
                Some(known) => known,
                None => return unknown(wire::HEADER_V1 + size_of::<Magic>()),
            },
        };
        let mux = if long { wire::HEADER_V2 } else { wire::HEADER_V1 };
        let needed = mux.saturating_add(after_mux);
        let length = length as usize;
        match length.checked_sub(needed) {
            Some(_) if long && magic == Some(false) => Err(Malformed::Magic),
            Some(body) if length <= wire::MAX_FRAME => {
                Ok(Head { protocol, needed, mux, body: body as u16 })
            }
            _ => Err(Malformed::Length),
        }
    }

    /// Parses the headers once they are whole; `None` if the pseudo-TCP header has options.
    fn piece(&self, bytes: &[u8]) -> Option<Piece<'static>> {
        let (mux, rest) = bytes.split_at_checked(self.mux)?;
        let numbers = mux.first_chunk().map(|long| {
            let HeaderV2 { tx_seq, rx_seq, .. } = HeaderV2::parse(long);
            Numbers { tx_seq, rx_seq }
        });
        Some(match self.protocol {
            Protocol::VERSION => Piece::Version(Version::parse(rest.first_chunk()?)),
            Protocol::CONTROL => {
                Piece::Control { numbers, kind: ControlKind(*rest.first()?), text_len: self.body }
            }
            Protocol::SETUP => Piece::Setup { numbers, level: *rest.first()? },
            _ => {
                let tcp = TcpHeader::parse(rest.first_chunk()?);
                if tcp.data_offset_words != 5 {
                    return None;
                }
                Piece::Segment { numbers, tcp, payload_len: self.body }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seq::SeqNumber;
    use crate::wire::Flags;
    extern crate std;
    use std::vec::Vec;

    /// A version 2 frame.
    fn frame(protocol: Protocol, body: &[u8]) -> Vec<u8> {
        let length = (16 + body.len()) as u32;
        let header = HeaderV2 { protocol, length, magic: Magic::PHONE, tx_seq: 7, rx_seq: 3 };
        [header.emit().as_slice(), body].concat()
    }

    fn data(payload: &[u8]) -> Vec<u8> {
        let tcp = TcpHeader::new((80, 1), SeqNumber(1), SeqNumber(1), Flags::ACK, 512);
        frame(Protocol::TCP, &[tcp.emit().as_slice(), payload].concat())
    }

    /// Everything found in one transfer cut into parts at `cuts`, bodies joined.
    fn pieces(form: Form, bytes: &[u8], cuts: &[usize]) -> Vec<std::string::String> {
        let mut deframer = Deframer::new(form);
        let (mut found, mut body, mut from) = (Vec::new(), Vec::new(), 0);
        let ends = cuts.iter().copied().chain([bytes.len()]);
        for end in ends {
            let part = &bytes[from..end];
            from = end;
            let mut transfer =
                if end == bytes.len() { Transfer::new(part) } else { Transfer::part(part) };
            while let Some(piece) = deframer.next(&mut transfer) {
                match piece {
                    Piece::Body { bytes, end } => {
                        assert!(!bytes.is_empty());
                        body.extend_from_slice(bytes);
                        if end {
                            found.push(std::format!("body {:?}", core::mem::take(&mut body)));
                        }
                    }
                    other => found.push(std::format!("{other:?}")),
                }
            }
            assert!(transfer.is_empty());
        }
        found
    }

    #[test]
    fn every_slicing_finds_the_same() {
        let mut bytes = data(b"hello");
        bytes.extend(frame(Protocol::CONTROL, b"\x05text"));
        bytes.extend(data(b""));
        bytes.extend([0xde, 0xad, 0xbe]);
        let whole = pieces(Form::V2, &bytes, &[]);
        assert_eq!(whole.len(), 6, "{whole:#?}");
        assert_eq!(whole[5], "Trailing");
        for a in 0..=bytes.len() {
            for b in a..=bytes.len() {
                assert_eq!(pieces(Form::V2, &bytes, &[a, b]), whole, "cut at {a} and {b}");
            }
        }
        let single: Vec<usize> = (1..bytes.len()).collect();
        assert_eq!(pieces(Form::V2, &bytes, &single), whole);
    }

    #[test]
    fn every_prefix_ends_in_a_complaint_but_the_whole() {
        let bytes = data(b"hello");
        for len in 1..bytes.len() {
            let found = pieces(Form::V2, &bytes[..len], &[]);
            let last = found.last().unwrap();
            let expected = if len < 36 { "Malformed(Header)" } else { "Truncated" };
            assert_eq!(last, expected, "prefix of {len}");
        }
    }

    #[test]
    fn lengths_are_bounded_from_both_sides() {
        for length in [0u32, 1, 7, 8, 16, 35, 65536, u32::MAX] {
            let mut bytes = data(b"");
            bytes[4..8].copy_from_slice(&length.to_be_bytes());
            assert_eq!(pieces(Form::V2, &bytes, &[]), ["Malformed(Length)"], "length {length}");
        }
        let longest = data(&std::vec![9; 65535 - 36]);
        let found = pieces(Form::V2, &longest, &[100, 40000]);
        assert!(found[0].contains("payload_len: 65499"), "{}", found[0]);
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn a_malformed_frame_costs_its_transfer_and_no_more() {
        let mut deframer = Deframer::new(Form::V2);
        let mut bad = frame(Protocol(9), b"xyz");
        bad.extend(data(b"lost"));
        let mut transfer = Transfer::new(&bad);
        assert_eq!(deframer.next(&mut transfer), Some(Piece::Malformed(Malformed::Protocol)));
        assert_eq!(deframer.next(&mut transfer), None);
        let good = data(b"");
        let mut transfer = Transfer::new(&good);
        assert!(matches!(deframer.next(&mut transfer), Some(Piece::Segment { .. })));
        assert_eq!(deframer.next(&mut transfer), None);
    }

    #[test]
    fn the_greeting_tells_both_forms_apart() {
        let found = pieces(Form::Greeting, &data(b""), &[]);
        assert!(found[0].contains("tx_seq: 7"), "{found:?}");
        let version = [0, 0, 0, 0, 0, 0, 0, 0x14, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0];
        let found = pieces(Form::Greeting, &version, &[]);
        assert_eq!(found, ["Version(Version { major: 2, minor: 0, padding: 0 })"]);
        let control_v1 = [0, 0, 0, 1, 0, 0, 0, 9, 5];
        let found = pieces(Form::Greeting, &control_v1, &[]);
        assert_eq!(found, ["Control { numbers: None, kind: ControlKind(5), text_len: 0 }"]);
    }

    #[test]
    fn options_magic_and_zero_length_packets() {
        let mut options = data(b"");
        options[16 + 12] = 0x60;
        assert_eq!(pieces(Form::V2, &options, &[]), ["Malformed(DataOffset)"]);
        let mut magic = data(b"");
        magic[8] = 0;
        assert_eq!(pieces(Form::V2, &magic, &[]), ["Malformed(Magic)"]);
        let mut deframer = Deframer::new(Form::V2);
        assert_eq!(deframer.next(&mut Transfer::new(&[])), None);
    }
}
