//! What is in no TCP header, as a packet comment: a kind and words `key=value`.

use std::fmt::{self, Write};

use super::record::{Attachment, Frame, Garbage, Head, Place, Sender, What};
use usbmux_core::deframe::Malformed;
use usbmux_core::wire::Flags;

/// A comment that is being written; it cannot fail, since memory takes everything.
struct Comment<'c>(&'c mut String);

impl Comment<'_> {
    fn word(&mut self, key: &str, value: impl fmt::Display) {
        let _ = write!(self.0, " {key}={value}");
    }

    fn quoted(&mut self, key: &str, bytes: &[u8]) {
        let _ = write!(self.0, " {key}=\"{}\"", bytes.escape_ascii());
    }

    fn place(&mut self, place: &Place) {
        self.word("transfer", place.transfer);
        self.word("at", place.at);
        if place.slices > 1 {
            self.word("slices", place.slices);
        }
    }
}

/// Writes the comment for programs into `text`, which is emptied before.
pub(super) fn write(text: &mut String, what: &What) {
    text.clear();
    text.push_str("usbmux ");
    let mut comment = Comment(text);
    match what {
        What::Attached(attachment) => attached(&mut comment, attachment),
        What::Frame(frame) => self::frame(&mut comment, frame),
        What::Garbage(garbage) => self::garbage(&mut comment, garbage),
        What::Zlp(place) => {
            comment.0.push_str("ZLP");
            comment.place(place);
        }
        What::Detached(why) => {
            comment.0.push_str("USB event=detached");
            comment.quoted("why", why.as_bytes());
        }
        What::Fault(why) => {
            comment.0.push_str("USB event=fault");
            comment.quoted("why", why.as_bytes());
        }
        What::Reset => comment.0.push_str("USB event=reset"),
        What::ResetDone => comment.0.push_str("USB event=reset-done"),
        What::SessionUp(version) => {
            comment.0.push_str("SESSION event=up");
            comment.word("version", version);
        }
        What::SessionFailed(why) => {
            comment.0.push_str("SESSION event=failed");
            comment.quoted("why", why.as_bytes());
        }
        What::SessionDead(why) => {
            comment.0.push_str("SESSION event=dead");
            comment.quoted("why", why.as_bytes());
        }
        What::Ended => comment.0.push_str("TRACE event=end"),
        What::Lost(records) => {
            comment.0.push_str("TRACE event=lost");
            comment.word("records", records);
        }
    }
}

/// A further comment, for people only, where a reader of the packet would be misled.
pub(super) fn hint(what: &What) -> Option<String> {
    match what {
        What::Frame(Frame { head: Head::Segment(tcp), .. }) if tcp.flags.contains(Flags::SYN) => {
            Some(format!(
                "The window of this SYN is {} bytes: usbmux counts 256 bytes in every segment, \
                 Wireshark in all but a SYN. The option is not on the wire.",
                tcp.window()
            ))
        }
        _ => None,
    }
}

fn attached(comment: &mut Comment<'_>, attachment: &Attachment) {
    let Attachment { udid, product_id, location_id, speed, max_packet } = attachment;
    comment.0.push_str("USB event=attached");
    comment.quoted("udid", udid.as_bytes());
    comment.word("product", format_args!("{product_id:#06x}"));
    comment.word("location", format_args!("{location_id:#x}"));
    comment.word("speed", speed);
    comment.word("max_packet", max_packet);
}

fn frame(comment: &mut Comment<'_>, frame: &Frame) {
    comment.0.push_str(match frame.head {
        Head::Version(_) => "VERSION",
        Head::Setup(_) => "SETUP",
        Head::Control(_) => "CONTROL",
        Head::Segment(_) => "TCP",
    });
    if let Some(numbers) = frame.numbers {
        comment.word("tx_seq", numbers.tx_seq);
        comment.word("rx_seq", numbers.rx_seq);
    }
    comment.word("length", frame.length());
    comment.place(&frame.place);
    if frame.missing > 0 {
        comment.word("missing", frame.missing);
    }
    let text = frame.body.get(..super::MAX_TEXT).unwrap_or(&frame.body);
    match frame.head {
        Head::Version(version) => {
            comment.word("major", version.major);
            comment.word("minor", version.minor);
        }
        Head::Setup(level) => comment.word("level", level),
        Head::Control(kind) => {
            comment.word("type", kind.0);
            comment.quoted("text", text);
        }
        Head::Segment(tcp) => {
            comment.word("window", tcp.window());
            if tcp.checksum != 0 {
                comment.word("checksum", format_args!("{:#06x}", tcp.checksum));
            }
            if tcp.reserved != 0 {
                comment.word("reserved", tcp.reserved);
            }
            if frame.is_text() && !text.is_empty() {
                comment.quoted("text", text);
            }
        }
    }
}

fn garbage(comment: &mut Comment<'_>, garbage: &Garbage) {
    comment.0.push_str("GARBAGE");
    comment.word("why", why(garbage));
    comment.word("bytes", garbage.bytes);
    comment.place(&garbage.place);
    if !garbage.first.is_empty() {
        comment.quoted("hex", hex(&garbage.first).as_bytes());
    }
}

fn why(garbage: &Garbage) -> &'static str {
    match garbage.why {
        None => "trailing",
        Some(Malformed::Header) => "header",
        Some(Malformed::Protocol) => "protocol",
        Some(Malformed::Length) => "length",
        Some(Malformed::Magic) => "magic",
        Some(Malformed::DataOffset) => "data-offset",
        Some(_) => "other",
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Writes what people read in a list of packets into `text`, which is emptied before; returns the
/// syslog priority. Segments are no messages and have none.
pub(super) fn message(text: &mut Vec<u8>, what: &What) -> Option<u8> {
    text.clear();
    let mut line = String::new();
    let facility = if sender(what).is_some() { KERN } else { DAEMON };
    let severity = match what {
        What::Frame(Frame { head: Head::Segment(_), .. }) => return None,
        What::Frame(Frame { head: Head::Control(kind), body, .. }) => {
            text.extend(body.iter().take(super::MAX_TEXT));
            if kind.0 <= DEBUG { kind.0 } else { DEBUG }
        }
        What::Frame(Frame { head: Head::Version(version), .. }) => {
            let _ = write!(line, "VERSION {}.{}", version.major, version.minor);
            INFO
        }
        What::Frame(Frame { head: Head::Setup(level), .. }) => {
            let _ = write!(line, "SETUP, level {level}");
            INFO
        }
        What::Garbage(garbage) => {
            let _ = write!(line, "{} bytes that are no frame: {}", garbage.bytes, why(garbage));
            WARNING
        }
        What::Zlp(_) => {
            line.push_str("zero-length packet");
            DEBUG
        }
        other => event(&mut line, other),
    };
    text.extend(line.as_bytes());
    Some(facility << 3 | severity)
}

/// What happened around the frames.
fn event(line: &mut String, what: &What) -> u8 {
    let _ = match what {
        What::Attached(Attachment { udid, max_packet, speed, .. }) => {
            write!(line, "USB: attached, {udid}, {speed} bit/s, packets of {max_packet} bytes")
        }
        What::Detached(why) => write!(line, "USB: detached: {why}"),
        What::Fault(why) => write!(line, "USB: {why}"),
        What::Reset => write!(line, "USB: the port is being reset"),
        What::ResetDone => write!(line, "USB: the port is back"),
        What::SessionUp(version) => write!(line, "session: up, version {version}"),
        What::SessionFailed(why) => write!(line, "session: the greeting failed: {why}"),
        What::SessionDead(why) => write!(line, "session: dead: {why}"),
        What::Ended => write!(line, "trace: the program ends it"),
        What::Lost(records) => write!(line, "trace: {records} records are missing here"),
        What::Frame(_) | What::Garbage(_) | What::Zlp(_) => Ok(()),
    };
    match what {
        What::Fault(_) | What::SessionFailed(_) | What::SessionDead(_) => ERROR,
        What::Lost(_) => WARNING,
        What::Attached(_) | What::Detached(_) => NOTICE,
        _ => INFO,
    }
}

/// Who sent it, if anybody did.
pub(super) fn sender(what: &What) -> Option<Sender> {
    match what {
        What::Frame(frame) => Some(frame.place.sender),
        What::Garbage(garbage) => Some(garbage.place.sender),
        What::Zlp(place) => Some(place.sender),
        _ => None,
    }
}

/// Syslog's facilities and severities (RFC 5424).
const KERN: u8 = 0;
const DAEMON: u8 = 3;
const ERROR: u8 = 3;
const WARNING: u8 = 4;
const NOTICE: u8 = 5;
const INFO: u8 = 6;
const DEBUG: u8 = 7;

/// The priority of what the trace says of itself.
pub(super) const OURS: u8 = DAEMON << 3 | NOTICE;
