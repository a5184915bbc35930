//! Quantities and frames in words.

use std::time::Duration;

use usbmux_core::wire::Flags;

use super::model::{Body, Frame};

/// `one byte`, `24 bytes`.
pub(super) fn bytes(count: usize) -> String {
    plural(count as u64, "byte")
}

/// `one frame`, `3 frames`.
pub(super) fn plural(count: u64, what: &str) -> String {
    match count {
        1 => format!("one {what}"),
        count => format!("{count} {what}s"),
    }
}

/// A time span with three digits that matter: `350 us`, `4.2 ms`, `2.50 s`, `3 min 20 s`.
pub(super) fn seconds(span: Duration) -> String {
    let micros = span.as_micros();
    match micros {
        0..1000 => format!("{micros} us"),
        1000..10_000 => format!("{:.1} ms", span.as_secs_f64() * 1e3),
        10_000..1_000_000 => format!("{} ms", span.as_millis()),
        1_000_000..10_000_000 => format!("{:.2} s", span.as_secs_f64()),
        10_000_000..120_000_000 => format!("{:.1} s", span.as_secs_f64()),
        _ => format!("{} min {} s", span.as_secs() / 60, span.as_secs() % 60),
    }
}

/// What a frame says, in a few words, without its numbers.
pub fn in_words(frame: &Frame) -> String {
    match &frame.body {
        Body::Version(version) => format!("VERSION {}.{}", version.major, version.minor),
        Body::Setup(level) => format!("SETUP {level:02x}"),
        Body::Control { kind, .. } => match kind {
            3 => "CONTROL 3 error".to_owned(),
            4 => "CONTROL 4 warning".to_owned(),
            5 => "CONTROL 5 notice".to_owned(),
            7 => "CONTROL 7 debug".to_owned(),
            kind => format!("CONTROL {kind}"),
        },
        Body::NotCaptured => format!("{}, not captured", bytes(frame.length)),
        Body::Segment { tcp, payload, .. } => match tcp.flags {
            flags if flags.contains(Flags::RST) => "RST".to_owned(),
            flags if flags == Flags::SYN => format!("SYN to port {}", tcp.dest),
            flags if flags == Flags::SYN | Flags::ACK => "SYN|ACK".to_owned(),
            flags if flags == Flags::ACK && *payload == 0 => "ACK".to_owned(),
            flags if flags == Flags::ACK => format!("data, {}", bytes(*payload)),
            flags if *payload == 0 => flags.to_string(),
            flags => format!("{flags}, {}", bytes(*payload)),
        },
    }
}

/// Text of somebody else's without line ends and other control characters, which also end it: old phones
/// pad with NULs.
pub(super) fn printable(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let text = text.trim_matches(|c: char| c.is_control() || c.is_whitespace());
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
