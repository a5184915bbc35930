//! What a trace holds as objects, a line each; `umux trace --help` lists the fields.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use usbmux_trace::read::{
    Body, ConnectionReport, Ended, FoundBy, Frame, Item, Mark, Note, Opened, PhoneInfo, Report,
    in_words,
};

pub(super) fn item(item: &Item) -> Value {
    match item {
        Item::Phone(info) => phone(info),
        Item::Frame(it) => frame(it),
        Item::Note(it) => note(it),
    }
}

/// Seconds with six digits behind the point, which is what captures have.
fn time(at: Duration) -> Value {
    json!((at.as_secs_f64() * 1e6).round() / 1e6)
}

fn phone(info: &PhoneInfo) -> Value {
    let found_by = match info.found_by {
        FoundBy::Descriptors => "descriptors",
        FoundBy::Frames => "frames",
        FoundBy::Trace => "trace",
    };
    json!({
        "type": "phone",
        "phone": info.phone,
        "udid": info.udid,
        "vendor": info.product.map(|(vendor, _)| vendor),
        "product": info.product.map(|(_, product)| product),
        "bus": info.place.map(|(bus, _)| bus),
        "device": info.place.map(|(_, device)| device),
        "out": info.endpoints.0,
        "in": info.endpoints.1,
        "max_packet": info.max_packet,
        "found_by": found_by,
    })
}

fn frame(frame: &Frame) -> Value {
    let mut object = json!({
        "type": "frame",
        "phone": frame.phone,
        "time": time(frame.at),
        "packet": frame.packet,
        "from": frame.from.name(),
        "frame": in_words(frame),
        "length": frame.length,
        "tx_seq": frame.numbers.map(|numbers| numbers.tx_seq),
        "rx_seq": frame.numbers.map(|numbers| numbers.rx_seq),
        "marks": frame.marks.iter().map(mark).collect::<Vec<_>>(),
    });
    let segment = match &frame.body {
        Body::Segment { tcp, payload, conn, text } => json!({
            "conn": conn,
            "source": tcp.source,
            "dest": tcp.dest,
            "flags": tcp.flags.to_string(),
            "seq": tcp.seq.0,
            "ack": tcp.ack.0,
            "window": tcp.window(),
            "payload": payload,
            "text": Some(text).filter(|text| !text.is_empty()),
        }),
        Body::Control { text, .. } => json!({ "text": text }),
        _ => json!({}),
    };
    let fields = ["conn", "source", "dest", "flags", "seq", "ack", "window", "payload", "text"];
    for name in fields {
        object[name] = segment.get(name).cloned().unwrap_or(Value::Null);
    }
    object
}

fn mark(mark: &Mark) -> Value {
    json!({
        "kind": mark.kind.name(),
        "violation": mark.is_violation(),
        "by": mark.by.map(|side| side.name()),
        "text": mark.text,
    })
}

fn note(note: &Note) -> Value {
    json!({
        "type": "note",
        "phone": note.phone,
        "time": time(note.at),
        "conn": note.conn,
        "kind": note.mark.kind.name(),
        "violation": note.mark.is_violation(),
        "by": note.mark.by.map(|side| side.name()),
        "text": note.mark.text,
    })
}

pub(super) fn payload(frame: &Frame, conn: u32, count: usize) -> Value {
    let seq = match &frame.body {
        Body::Segment { tcp, .. } => Some(tcp.seq.0),
        _ => None,
    };
    json!({
        "type": "payload",
        "conn": conn,
        "time": time(frame.at),
        "from": frame.from.name(),
        "seq": seq,
        "payload": count,
        "captured": frame.payload().len(),
        "base64": STANDARD.encode(frame.payload()),
    })
}

pub(super) fn connection(one: &ConnectionReport) -> Value {
    let opened = match one.opened {
        Opened::Handshake => "handshake",
        Opened::Never => "never",
        Opened::Earlier => "earlier",
    };
    let (ended, text) = match &one.ended {
        Ended::Open => ("open", None),
        Ended::Refused(text) => ("refused", Some(text)),
        Ended::Reset(side, text) => (side.name(), Some(text)),
        Ended::Session => ("session", None),
    };
    json!({
        "type": "connection",
        "conn": one.conn,
        "phone": one.phone,
        "source": one.ports.0,
        "dest": one.ports.1,
        "began": time(one.times.0),
        "ended_at": time(one.times.1),
        "opened": opened,
        "ended": ended,
        "text": text.filter(|text| !text.is_empty()),
        "to_phone": one.bytes[0],
        "to_host": one.bytes[1],
        "silence": time(one.longest_silence),
        "round_trip": one.round_trip.map(|trip| trip.map(time)),
        "violations": one.violations,
    })
}

pub(super) fn report(report: &Report) -> Value {
    json!({
        "type": "report",
        "violations": report.violations,
        "packets": report.packets,
        "lost": report.lost,
        "seconds": time(report.length),
        "diagnosis": report.diagnosis,
    })
}
