//! Our own traces: a packet of one becomes a frame again, as it passed on USB. The format is described
//! where it is written, in `write`.

use std::time::Duration;

use usbmux_core::seq::SeqNumber;
use usbmux_core::wire::{
    Flags, HeaderV1, HeaderV2, Magic, Protocol, TCP_HEADER, TcpHeader, Version,
};

use super::mark::Kind;
use super::model::Side;
use super::scan::RawFrame;
use super::words::bytes;

/// Bytes of an IPv6 header, and what its next-header field says.
const IPV6_HEADER: usize = 40;
const TCP: u8 = 6;
/// What our comments begin with.
const PREFIX: &str = "usbmux ";

/// What a packet of our own trace tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Record {
    /// A frame.
    Frame(Side, RawFrame),
    /// Bytes that are none.
    Odd(Side, Kind, String),
    /// A zero-length packet.
    Zlp(Side),
    /// A phone was plugged in.
    Attached {
        udid: Option<String>,
        product: Option<u16>,
        location: Option<u32>,
        max_packet: Option<u16>,
    },
    /// The phone went, a transfer failed, or our engine found something.
    Told(Kind, String),
    /// Records are missing.
    Lost(u64),
}

/// The words of a comment.
struct Words<'c> {
    kind: &'c str,
    pairs: Vec<(&'c str, String)>,
}

impl<'c> Words<'c> {
    fn parse(comment: &'c str) -> Option<Self> {
        let rest = comment.strip_prefix(PREFIX)?;
        let (kind, mut rest) = rest.split_once(' ').unwrap_or((rest, ""));
        let mut pairs = Vec::new();
        while let Some((key, after)) = rest.trim_start().split_once('=') {
            let (value, next) = match after.strip_prefix('"') {
                Some(quoted) => unquote(quoted)?,
                None => {
                    let (value, next) = after.split_once(' ').unwrap_or((after, ""));
                    (value.to_owned(), next)
                }
            };
            pairs.push((key, value));
            rest = next;
        }
        Some(Words { kind, pairs })
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.pairs.iter().find(|(name, _)| *name == key).map(|(_, value)| value.as_str())
    }

    fn number(&self, key: &str) -> Option<u64> {
        let text = self.text(key)?;
        match text.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16).ok(),
            None => text.parse().ok(),
        }
    }

    fn small<T: TryFrom<u64>>(&self, key: &str) -> Option<T> {
        T::try_from(self.number(key)?).ok()
    }

    /// A text in Latin-1, as its bytes.
    fn bytes(&self, key: &str) -> Vec<u8> {
        let text = self.text(key).unwrap_or_default();
        text.chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')).collect()
    }

    fn has_numbers(&self) -> bool {
        self.text("tx_seq").is_some()
    }
}

/// Reads up to the closing quote, with Rust's ASCII escapes; a byte becomes the character of its number.
fn unquote(quoted: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, quoted.get(at + 1..)?)),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                'r' => value.push('\r'),
                't' => value.push('\t'),
                'x' => {
                    let high = chars.next()?.1.to_digit(16)?;
                    let low = chars.next()?.1.to_digit(16)?;
                    value.push(char::from_u32(high * 16 + low)?);
                }
                other => value.push(other),
            },
            c => value.push(c),
        }
    }
    None
}

/// Whether a comment is one of ours.
pub(super) fn is_ours(comment: &str) -> bool {
    comment.starts_with(PREFIX)
}

/// Reads a packet with its comment; `None` if it is not one of ours.
pub(super) fn record(comment: &str, data: &[u8], at: Duration, packet: u64) -> Option<Record> {
    let words = Words::parse(comment)?;
    let from = match data.get(IPV6_HEADER - 17)? {
        1 => Side::Host,
        2 => Side::Phone,
        _ => return event(&words),
    };
    let body = match words.kind {
        "TCP" => segment(&words, data)?,
        "CONTROL" => {
            let mut body = vec![words.small("type")?];
            body.extend(words.bytes("text"));
            body
        }
        "SETUP" => vec![words.small("level")?],
        "VERSION" => {
            let version = Version {
                major: words.small("major")?,
                minor: words.small("minor").unwrap_or(0),
                padding: 0,
            };
            version.emit().to_vec()
        }
        "GARBAGE" => return Some(garbage(&words, from)),
        "ZLP" => return Some(Record::Zlp(from)),
        _ => return None,
    };
    let protocol = match words.kind {
        "TCP" => Protocol::TCP,
        "CONTROL" => Protocol::CONTROL,
        "SETUP" => Protocol::SETUP,
        _ => Protocol::VERSION,
    };
    let length: u32 = words.small("length")?;
    let mut bytes = match words.has_numbers() {
        true => {
            let magic = if from == Side::Host { Magic::HOST } else { Magic::PHONE };
            let (tx_seq, rx_seq) = (words.small("tx_seq")?, words.small("rx_seq")?);
            HeaderV2 { protocol, length, magic, tx_seq, rx_seq }.emit().to_vec()
        }
        false => HeaderV1 { protocol, length }.emit().to_vec(),
    };
    bytes.extend(body);
    bytes.truncate(length as usize);
    Some(Record::Frame(
        from,
        RawFrame {
            at,
            packet,
            bytes,
            length: length as usize,
            glued: words.number("at").unwrap_or(0) > 0,
            missing: words.small("missing").unwrap_or(0),
            transfer: words.number("transfer").unwrap_or(0),
        },
    ))
}

/// The TCP header as it passed, and what follows it.
fn segment(words: &Words<'_>, data: &[u8]) -> Option<Vec<u8>> {
    if *data.get(6)? != TCP {
        return None;
    }
    let head: &[u8; TCP_HEADER] = data.get(IPV6_HEADER..)?.first_chunk()?;
    let shown = TcpHeader::parse(head);
    let options = usize::from(shown.data_offset_words) * 4;
    let tcp = TcpHeader {
        data_offset_words: 5,
        reserved: words.small("reserved").unwrap_or(0),
        checksum: words.small("checksum").unwrap_or(0),
        ..TcpHeader::new(
            (shown.source, shown.dest),
            SeqNumber(shown.seq.0),
            SeqNumber(shown.ack.0),
            Flags(shown.flags.0),
            shown.window_units,
        )
    };
    let mut body = tcp.emit().to_vec();
    let payload = data.get(IPV6_HEADER + options..).unwrap_or_default();
    match words.text("text") {
        Some(_) if payload.is_empty() => body.extend(words.bytes("text")),
        _ => body.extend(payload),
    }
    Some(body)
}

fn garbage(words: &Words<'_>, from: Side) -> Record {
    let count = words.number("bytes").unwrap_or(0);
    let (kind, what) = match words.text("why").unwrap_or_default() {
        "header" => (Kind::CutShort, "the transfer ends inside a header"),
        "protocol" => (Kind::UnknownProtocol, "a protocol that nobody speaks: this is no frame"),
        "length" => (Kind::BadLength, "a length that no frame has"),
        "magic" => (Kind::BadMagic, "no magic where one belongs"),
        "data-offset" => (Kind::BadHeader, "a pseudo-TCP header that is not 20 bytes long"),
        _ => {
            let text = format!("{} behind the frame's end", bytes(count as usize));
            return Record::Odd(from, Kind::TrailingBytes, text);
        }
    };
    Record::Odd(from, kind, format!("{what} ({count} up to the transfer's end)"))
}

/// What a packet from nobody tells.
fn event(words: &Words<'_>) -> Option<Record> {
    let why = words.text("why").unwrap_or_default();
    let because = if why.is_empty() { String::new() } else { format!(": {why}") };
    let event = words.text("event")?;
    Some(match (words.kind, event) {
        ("USB", "attached") => Record::Attached {
            udid: words.text("udid").map(str::to_owned),
            product: words.small("product"),
            location: words.small("location"),
            max_packet: words.small("max_packet"),
        },
        ("USB", "detached") => Record::Told(Kind::Unplugged, format!("the phone went{because}")),
        ("USB", "fault") => Record::Told(Kind::UsbError, format!("a transfer failed{because}")),
        ("USB", "reset") => Record::Told(Kind::Told, "the port is reset".to_owned()),
        ("USB", "reset-done") => Record::Told(Kind::Told, "the port was reset".to_owned()),
        ("SESSION", "dead") => {
            Record::Told(Kind::Told, format!("our engine takes the session for dead{because}"))
        }
        ("SESSION", "failed") => {
            Record::Told(Kind::Told, format!("our engine got no session{because}"))
        }
        ("SESSION", "up") => return None,
        ("TRACE", "lost") => Record::Lost(words.number("records").unwrap_or(1)),
        ("TRACE", "end") => {
            let text = "the trace ends here, with the program that wrote it";
            Record::Told(Kind::Told, text.to_owned())
        }
        ("TRACE", "limit") => {
            let text = "the trace ends here: it reached its limit";
            Record::Told(Kind::CaptureLost, text.to_owned())
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn words_are_read_with_their_quotes() {
        let words =
            Words::parse(r#"usbmux CONTROL type=3 text="a \"b\" \x00\\" tx_seq=0xff"#).unwrap();
        assert_eq!(words.kind, "CONTROL");
        assert_eq!(words.number("type"), Some(3));
        assert_eq!(words.bytes("text"), b"a \"b\" \0\\");
        assert_eq!(words.small::<u16>("tx_seq"), Some(255));
        assert!(Words::parse("somebody else's").is_none());
        assert!(Words::parse(r#"usbmux CONTROL text="open"#).is_none());
    }
}
