//! A trace's connections as a table, and its phones in a line each.

use super::connection::{ConnectionReport, Ended};
use super::ladder::{Line, Tone, phone_in_words, time};
use super::report::Report;
use super::words::{plural, seconds};

/// Lines for a report: what `umux trace --summary` prints before the diagnosis.
pub fn summary(report: &Report) -> Vec<Line> {
    let mut lines = Vec::new();
    let plain = |text: String| Line::new(Tone::Plain, text);
    let heading = |text: String| Line::new(Tone::Heading, text);
    for phone in &report.phones {
        lines.push(heading(phone_in_words(&phone.info)));
        let version = match phone.major {
            Some(major) => format!("version {major}"),
            None => "a session that began before".to_owned(),
        };
        let [host, from_phone] = phone.frames;
        lines.push(plain(format!(
            "  {version}; {} of the host, {from_phone} of the phone",
            plural(host, "frame")
        )));
        for (kind, count) in phone.marks.iter().filter(|(kind, _)| kind.is_violation()) {
            lines.push(Line::new(Tone::Violation, format!("  {kind}: {}", plural(*count, "time"))));
        }
    }
    if report.connections.is_empty() {
        return lines;
    }
    lines.push(heading(String::new()));
    lines.push(heading(format!(
        "{:>5} {:>13} {:>11} {:>9} {:>9} {:>9} {:>8} {:>8} {:>4}  {}",
        "conn",
        "ports",
        "began at",
        "lasted",
        "to phone",
        "to host",
        "silence",
        "trip",
        "bad",
        "ended"
    )));
    for one in &report.connections {
        let tone = if one.violations > 0 { Tone::Violation } else { Tone::Plain };
        lines.push(Line::new(tone, row(one)));
    }
    lines
}

fn row(one: &ConnectionReport) -> String {
    let (first, last) = one.times;
    let (host, phone) = one.ports;
    let trip = one.round_trip.map_or("-".to_owned(), |[_, mean, _]| seconds(mean));
    format!(
        "{:>5} {:>13} {:>11} {:>9} {:>9} {:>9} {:>8} {:>8} {:>4}  {}",
        format!("#{}", one.conn),
        format!("{host} > {phone}"),
        time(first),
        seconds(last.saturating_sub(first)),
        amount(one.bytes[0]),
        amount(one.bytes[1]),
        seconds(one.longest_silence),
        trip,
        one.violations,
        end_in_words(&one.ended),
    )
}

/// How a connection ended, in two or three words.
pub(super) fn end_in_words(ended: &Ended) -> String {
    match ended {
        Ended::Open => "open".to_owned(),
        Ended::Refused(_) => "refused".to_owned(),
        Ended::Reset(side, _) => format!("by {side}"),
        Ended::Session => "session".to_owned(),
    }
}

fn amount(count: u64) -> String {
    match count {
        0..1_000_000 => format!("{count} B"),
        count => format!("{:.1} MB", count as f64 / 1e6),
    }
}
