//! From the bytes of one direction to frames, and to what is wrong with how they were packed into
//! transfers. The rules are those of PROTOCOL §4; nothing is tolerated silently here.
//!
//! The engine has a deframer of its own, which makes the best of what comes. This one shares no code
//! with it but the headers' layout, keeps what it found odd, and knows of bytes that were not captured.

use std::time::Duration;

use usbmux_core::wire::{
    Flags, HEADER_V1, HEADER_V2, HeaderV1, HeaderV2, MAX_FRAME, Protocol, TCP_HEADER, TcpHeader,
    VERSION_BODY,
};

use super::bus::Ends;
use super::mark::Kind;

/// Bytes up to the end of the magic.
const UP_TO_MAGIC: usize = 12;
/// Bytes of what is no frame that are shown.
const SHOWN: usize = 16;

/// A frame as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RawFrame {
    pub(super) at: Duration,
    pub(super) packet: u64,
    /// From the header on, as far as captured.
    pub(super) bytes: Vec<u8>,
    /// By its own word.
    pub(super) length: usize,
    /// It did not begin a transfer.
    pub(super) glued: bool,
    /// So many of its bytes were not there when the transfer ended.
    pub(super) missing: usize,
    /// The transfer in which it began.
    pub(super) transfer: u64,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Frame(RawFrame),
    /// Something that is no frame.
    Odd {
        at: Duration,
        kind: Kind,
        text: String,
    },
}

/// A piece of a direction's bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece<'p> {
    pub(super) at: Duration,
    pub(super) packet: u64,
    /// The transfer that it belongs to.
    pub(super) transfer: u64,
    /// What of it was captured.
    pub(super) bytes: &'p [u8],
    /// How many bytes there were.
    pub(super) length: usize,
    pub(super) ends: Ends,
}

/// The scanner of one direction.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    /// A frame was found before: what comes now should be one.
    synced: bool,
    /// The frame that is being collected.
    frame: Option<Open>,
    /// Complete frames of this message.
    frames: usize,
    /// The length of the last one.
    last_length: usize,
    /// The rest of this message is of no interest.
    skips: bool,
    /// The last frame's end was the end of a full packet, and no zero-length packet came yet.
    boundary: Option<Boundary>,
}

#[derive(Debug)]
struct Open {
    at: Duration,
    packet: u64,
    transfer: u64,
    glued: bool,
    bytes: Vec<u8>,
    /// How many came, captured or not.
    came: usize,
    /// Its length, once its first eight bytes are known.
    length: Option<usize>,
}

#[derive(Clone, Copy, Debug)]
struct Boundary {
    at: Duration,
    certain: bool,
}

impl Scanner {
    /// Takes the next bytes. `long` tells whether headers are known to be long or short ones.
    pub(super) fn take(&mut self, piece: &Piece<'_>, long: Option<bool>, found: &mut Vec<Found>) {
        if let Some(boundary) = self.boundary.take()
            && piece.length > 0
            && is_plausible(piece.bytes, long)
        {
            found.push(self.no_zlp(boundary));
            self.frames = 0;
        }
        let mut pos = 0;
        // Each step takes a byte at least, opens a frame, or skips the rest.
        while pos < piece.length && !self.skips {
            pos += self.step(piece, pos, long, found);
        }
        match piece.ends {
            Ends::Yes => self.end(piece.at, found),
            // Nothing tells where the next message begins: let it be here.
            Ends::Untold if self.skips => self.end(piece.at, found),
            ends => {
                if self.frame.is_none() && self.frames > 0 && !self.skips {
                    self.boundary = Some(Boundary { at: piece.at, certain: ends == Ends::No });
                }
            }
        }
    }

    /// When a frame ended with a full packet, and nothing came after it yet.
    pub(super) fn waits_for_zlp_since(&self) -> Option<Duration> {
        self.boundary.filter(|boundary| boundary.certain).map(|boundary| boundary.at)
    }

    /// The sentence about the zero-length packet that did not come.
    pub(super) fn no_zlp_text(&self) -> String {
        format!(
            "no zero-length packet follows the frame of {} bytes, which ends with a full packet",
            self.last_length
        )
    }

    fn no_zlp(&self, Boundary { at, certain }: Boundary) -> Found {
        let length = self.last_length;
        match certain {
            true => {
                let text = format!("{}: the next frame sticks to it", self.no_zlp_text());
                Found::Odd { at, kind: Kind::MissingZlp, text }
            }
            false => {
                let text = format!(
                    "whether a zero-length packet follows the frame of {length} bytes is not in \
                     this capture"
                );
                Found::Odd { at, kind: Kind::ZlpUntold, text }
            }
        }
    }

    /// Takes some bytes from `pos` on; returns how many.
    fn step(
        &mut self,
        piece: &Piece<'_>,
        pos: usize,
        long: Option<bool>,
        found: &mut Vec<Found>,
    ) -> usize {
        let left = piece.length - pos;
        let captured = piece.bytes.get(pos..).unwrap_or_default();
        let Some(open) = &mut self.frame else {
            self.begin(piece, left, captured, long, found);
            return 0;
        };
        let goal = match open.length {
            None => HEADER_V1,
            Some(length) if open.came < UP_TO_MAGIC => length.min(UP_TO_MAGIC),
            Some(length) => length,
        };
        let taken = left.min(goal - open.came);
        // After a hole nothing is kept: it would stand in the wrong place.
        if open.bytes.len() == open.came {
            open.bytes.extend_from_slice(captured.get(..taken).unwrap_or(captured));
        }
        open.came += taken;
        if open.came < goal {
            return taken;
        }
        match open.judge(long) {
            Ok(()) if open.length == Some(open.came) => self.complete(0, found),
            Ok(()) => {}
            Err((kind, text)) => {
                let at = open.at;
                self.frame = None;
                self.skips = true;
                if self.synced || kind == Kind::NotCaptured {
                    found.push(Found::Odd { at, kind, text });
                }
            }
        }
        taken
    }

    /// Begins a frame, or finds that there is none.
    fn begin(
        &mut self,
        piece: &Piece<'_>,
        left: usize,
        captured: &[u8],
        long: Option<bool>,
        found: &mut Vec<Found>,
    ) {
        let glued = self.frames > 0;
        let odd = match () {
            () if !self.synced && !is_surely_a_frame(captured, left) => None,
            () if captured.is_empty() => {
                let text = format!("{left} bytes behind the frame were not captured");
                Some((Kind::NotCaptured, text))
            }
            () if glued && !is_plausible(captured, long) => Some((
                Kind::TrailingBytes,
                format!("{} the frame's end: {}", bytes_behind(left), hex(captured)),
            )),
            () => {
                self.synced = true;
                self.frame = Some(Open {
                    at: piece.at,
                    packet: piece.packet,
                    transfer: piece.transfer,
                    glued,
                    bytes: Vec::new(),
                    came: 0,
                    length: None,
                });
                return;
            }
        };
        self.skips = true;
        if let Some((kind, text)) = odd {
            found.push(Found::Odd { at: piece.at, kind, text });
        }
    }

    fn complete(&mut self, missing: usize, found: &mut Vec<Found>) {
        let Some(Open { at, packet, transfer, glued, bytes, length, .. }) = self.frame.take()
        else {
            return;
        };
        let length = length.unwrap_or(bytes.len());
        self.frames += 1;
        self.last_length = length;
        found.push(Found::Frame(RawFrame { at, packet, bytes, length, glued, missing, transfer }));
    }

    /// The message ends.
    fn end(&mut self, at: Duration, found: &mut Vec<Found>) {
        match &self.frame {
            Some(Open { length: Some(length), came, .. }) => {
                let missing = length - came;
                self.complete(missing, found);
            }
            Some(Open { came, bytes, .. }) => {
                let text =
                    format!("the transfer ends after {came} bytes of a header: {}", hex(bytes));
                found.push(Found::Odd { at, kind: Kind::CutShort, text });
            }
            None => {}
        }
        *self =
            Scanner { synced: self.synced, last_length: self.last_length, ..Scanner::default() };
    }
}

impl Open {
    /// Looks at as much of the header as is there.
    fn judge(&mut self, long: Option<bool>) -> Result<(), (Kind, String)> {
        let Some(head) = self.bytes.first_chunk::<HEADER_V1>() else {
            return Err((Kind::NotCaptured, "too little was captured for a header".to_owned()));
        };
        let HeaderV1 { protocol, length } = HeaderV1::parse(head);
        if self.length.is_none() {
            self.length = Some(check(protocol, length, long)?);
            return Ok(());
        }
        let magic = self.bytes.get(HEADER_V1..UP_TO_MAGIC);
        if let Some(magic) = magic
            && long == Some(true)
            && self.came == UP_TO_MAGIC
            && protocol != Protocol::VERSION
            && !has_magic(&self.bytes)
        {
            let text =
                format!("{} stands where the magic feedface or faceface belongs", hex(magic));
            return Err((Kind::BadMagic, text));
        }
        Ok(())
    }
}

/// Checks a header's protocol and length; returns the length.
fn check(protocol: Protocol, length: u32, long: Option<bool>) -> Result<usize, (Kind, String)> {
    let header = if long == Some(true) { HEADER_V2 } else { HEADER_V1 };
    let least = match protocol {
        Protocol::VERSION => HEADER_V1 + VERSION_BODY,
        Protocol::CONTROL | Protocol::SETUP => header + 1,
        Protocol::TCP => header + TCP_HEADER,
        Protocol(number) => {
            let text = format!("protocol {number:#x}, which nobody speaks: this is no frame");
            return Err((Kind::UnknownProtocol, text));
        }
    };
    let length = length as usize;
    match length {
        _ if length > MAX_FRAME => Err((
            Kind::BadLength,
            format!(
                "a {protocol} frame of {length} bytes by its own word; at most 65535 are allowed"
            ),
        )),
        _ if length < least => Err((
            Kind::BadLength,
            format!(
                "a {protocol} frame of {length} bytes by its own word; its headers have {least}"
            ),
        )),
        _ => Ok(length),
    }
}

fn has_magic(bytes: &[u8]) -> bool {
    bytes.first_chunk::<HEADER_V2>().map_or_else(
        || {
            let magic = bytes.get(HEADER_V1..UP_TO_MAGIC);
            matches!(magic, Some([0xfe, 0xed, 0xfa, 0xce] | [0xfa, 0xce, 0xfa, 0xce]))
        },
        |head| HeaderV2::parse(head).magic.is_known(),
    )
}

/// Whether bytes after a frame look like another one, as far as they are there.
fn is_plausible(bytes: &[u8], long: Option<bool>) -> bool {
    let Some(head) = bytes.first_chunk::<HEADER_V1>() else { return false };
    let HeaderV1 { protocol, length } = HeaderV1::parse(head);
    let short = long == Some(false) || protocol == Protocol::VERSION || bytes.len() < UP_TO_MAGIC;
    check(protocol, length, long).is_ok() && (short || has_magic(bytes))
}

/// Whether the first `bytes` of a transfer of `length` can hardly be anything but a frame.
pub(super) fn is_surely_a_frame(bytes: &[u8], length: usize) -> bool {
    let Some(head) = bytes.first_chunk::<HEADER_V1>() else { return false };
    let header = HeaderV1::parse(head);
    let declared = header.length as usize;
    if check(header.protocol, header.length, None).is_err() {
        return false;
    }
    let short = bytes.get(HEADER_V1..).and_then(|rest| rest.first_chunk::<TCP_HEADER>());
    match (header.protocol, short) {
        (Protocol::VERSION, _) => {
            declared == HEADER_V1 + VERSION_BODY
                && length >= declared
                && bytes.get(8..11) == Some(&[0; 3])
        }
        _ if has_magic(bytes) => true,
        (Protocol::TCP, Some(tcp)) => {
            let tcp = TcpHeader::parse(tcp);
            let usual = [Flags::SYN, Flags::SYN | Flags::ACK, Flags::ACK, Flags::RST];
            let plain = tcp.reserved == 0 && tcp.checksum == 0 && tcp.urgent == 0;
            tcp.data_offset_words == 5
                && plain
                && usual.contains(&tcp.flags)
                && declared >= length.min(28)
        }
        _ => false,
    }
}

fn bytes_behind(count: usize) -> String {
    match count {
        1 => "one byte behind".to_owned(),
        count => format!("{count} bytes behind"),
    }
}

/// The first bytes in hexadecimal, in groups of four.
pub(super) fn hex(bytes: &[u8]) -> String {
    let shown = bytes.get(..SHOWN).unwrap_or(bytes);
    let groups: Vec<String> = shown
        .chunks(4)
        .map(|group| group.iter().map(|byte| format!("{byte:02x}")).collect())
        .collect();
    groups.join(" ") + if bytes.len() > SHOWN { " …" } else { "" }
}
