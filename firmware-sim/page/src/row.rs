//! What happened, with everything that the page shows of it.

use serde::Serialize;
use usbmux_firmware_sim::Nanos;
use usbmux_firmware_sim::lab::seen::{self, Kind};
use usbmux_firmware_sim::lab::witness::{Connection, Flow, Link, State, View};
use usbmux_firmware_sim::lab::{self, Fate, Line, Told, What, Whose};
use usbmux_firmware_sim::scenes::{Arrow, Entry, Message, Who};

/// Bytes of a message that are shown; of the rest only its length.
const SHOWN: usize = 160;

/// One row of a ladder, or what stands between rows.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Row {
    /// `message`, `ethernet`, `note`, `text` or `act`.
    kind: &'static str,
    /// `pc`, `host`, `phone`, `you` or `hand`.
    from: &'static str,
    /// Milliseconds since the start.
    at: f64,
    label: String,
    sentence: String,
    /// Whether a rule is broken here.
    #[serde(skip_serializing_if = "is_false")]
    bad: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    frame: Option<Frame>,
    #[serde(skip_serializing_if = "Option::is_none")]
    view: Option<Standing>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks like that")]
fn is_false(flag: &bool) -> bool {
    !flag
}

/// A message's bytes and fields.
#[derive(Clone, Debug, Serialize)]
struct Frame {
    /// `arrived`, `lost`, or the name of the damaged field.
    fate: &'static str,
    length: usize,
    packets: Vec<usize>,
    /// The first of its bytes, in hexadecimal.
    bytes: String,
    fields: Vec<Field>,
}

#[derive(Clone, Debug, Serialize)]
struct Field {
    at: usize,
    length: usize,
    name: &'static str,
    value: String,
    kind: &'static str,
}

/// How things stand after a row.
#[derive(Clone, Debug, Serialize)]
struct Standing {
    host: &'static str,
    phone: &'static str,
    version: Option<u32>,
    host_tx: Option<u16>,
    phone_tx: Option<u16>,
    connections: Vec<Pair>,
}

/// A connection, from both sides.
#[derive(Clone, Debug, Serialize)]
struct Pair {
    host_port: u16,
    phone_port: u16,
    service: &'static str,
    host: &'static str,
    phone: &'static str,
    to_phone: Way,
    to_host: Way,
    /// The host's program, where there is one to be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    program: Option<Program>,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Way {
    sent: u32,
    acked: u32,
    window: u32,
    in_flight: u32,
    room: u32,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Program {
    reads: bool,
    wants: Option<u64>,
    queued: u64,
    held: u32,
    read: u64,
    sent: u64,
    window: u32,
}

/// The rows of a scene's entries. The ladder of each act begins with a session that is up.
pub(crate) fn of_entries(entries: &[Entry], full: usize) -> Vec<Row> {
    let mut view = View::linked();
    entries
        .iter()
        .map(|entry| match entry {
            Entry::Text(text) => Row { kind: "text", label: text.clone(), ..Row::default() },
            Entry::Act(text) => {
                view = View::linked();
                heading(text)
            }
            Entry::Remark(who, text) => Row {
                kind: "note",
                from: who_name(*who),
                label: text.clone(),
                view: Some(standing(&view, &[])),
                ..Row::default()
            },
            Entry::Arrow(arrow) => of_arrow(arrow, &mut view, full),
        })
        .collect()
}

fn of_arrow(arrow: &Arrow, view: &mut View, full: usize) -> Row {
    let base = Row {
        from: who_name(arrow.from),
        at: millis(arrow.at),
        label: arrow.label.clone(),
        ..Row::default()
    };
    let Some(message) = &arrow.message else {
        let sentence = ethernet(arrow);
        return Row { kind: "ethernet", sentence, view: Some(standing(view, &[])), ..base };
    };
    Row { label: base.label, at: base.at, ..of_message(message, message.bytes.len(), view, full) }
}

/// The row of a message of which so many bytes are known; the rest are filled up.
pub(crate) fn of_message(message: &Message, known: usize, view: &mut View, full: usize) -> Row {
    let before = view.clone();
    view.message(message.from_phone, &message.bytes);
    let sentence = lab::sentences(&Told {
        from_phone: message.from_phone,
        message: &message.bytes,
        packets: &message.packets,
        full,
        before: &before,
        after: view,
    });
    let mut frame = frame(message, Fate::Arrived);
    frame.bytes.truncate(2 * known);
    Row {
        kind: "message",
        from: if message.from_phone { "phone" } else { "host" },
        at: millis(message.ended),
        label: lab::label(message, full),
        sentence,
        bad: false,
        frame: Some(frame),
        view: Some(standing(view, &[])),
    }
}

/// Something that is to be said between frames.
pub(crate) fn of_mark(
    at: Nanos,
    by_phone: bool,
    text: &str,
    bad: bool,
    view: Option<&View>,
) -> Row {
    Row {
        kind: "note",
        from: if by_phone { "phone" } else { "host" },
        at: millis(at),
        label: text.to_owned(),
        bad,
        view: view.map(|view| standing(view, &[])),
        ..Row::default()
    }
}

/// A heading.
pub(crate) fn heading(text: &str) -> Row {
    Row { kind: "act", label: text.to_owned(), ..Row::default() }
}

fn ethernet(arrow: &Arrow) -> String {
    let (from, to) = match arrow.from {
        Who::Pc => ("The program on the PC", "the dongle"),
        _ => ("The dongle", "the PC"),
    };
    let what = match arrow.label.as_str() {
        "SYN" => "opens a TCP connection to",
        "FIN" => "sends no more (FIN) to",
        "RST" => "resets the TCP connection to",
        _ if arrow.label.starts_with("ACK") => "tells its TCP window to",
        _ => "sends payload by TCP to",
    };
    format!("{from} {what} {to}, over Ethernet. That is ordinary TCP, not usbmux.")
}

/// The row of something that happened in the lab.
pub(crate) fn of_lab(row: &lab::Row) -> Row {
    let (kind, from, shown) = match &row.what {
        What::Message(message, fate) => {
            let from = if message.from_phone { "phone" } else { "host" };
            ("message", from, Some(frame(message, *fate)))
        }
        What::Note(whose) => ("note", whose_name(*whose), None),
    };
    Row {
        kind,
        from,
        at: millis(row.at),
        label: row.label.clone(),
        sentence: row.sentence.clone(),
        bad: false,
        frame: shown,
        view: Some(standing(&row.view, &row.lines)),
    }
}

fn millis(at: Nanos) -> f64 {
    at.as_millis_f64()
}

fn frame(message: &Message, fate: Fate) -> Frame {
    let shown = message.bytes.get(..SHOWN).unwrap_or(&message.bytes);
    let fields = seen::fields(&message.bytes).into_iter().map(|field| Field {
        at: field.at,
        length: field.length,
        name: field.name,
        value: field.value,
        kind: kind_name(field.kind),
    });
    Frame {
        fate: match fate {
            Fate::Arrived => "arrived",
            Fate::Lost => "lost",
            Fate::Damaged(field) => field.name(),
        },
        length: message.bytes.len(),
        packets: message.packets.clone(),
        bytes: shown.iter().map(|byte| format!("{byte:02x}")).collect(),
        fields: fields.collect(),
    }
}

fn standing(view: &View, lines: &[Line]) -> Standing {
    let program = |connection: &Connection| {
        let ports = (connection.host_port, connection.phone_port);
        let line = lines.iter().rev().find(|line| (line.host_port, line.port) == ports)?;
        let Line { reads, wants, queued, held, read, sent, window, .. } = *line;
        Some(Program { reads, wants, queued, held, read, sent, window })
    };
    let connections = view.connections.iter().map(|connection| Pair {
        host_port: connection.host_port,
        phone_port: connection.phone_port,
        service: lab::service(connection.phone_port),
        host: state_name(connection.host),
        phone: state_name(connection.phone),
        to_phone: way(&connection.to_phone),
        to_host: way(&connection.to_host),
        program: program(connection),
    });
    Standing {
        host: link_name(view.host),
        phone: link_name(view.phone),
        version: view.version,
        host_tx: view.host_tx,
        phone_tx: view.phone_tx,
        connections: connections.collect(),
    }
}

fn way(flow: &Flow) -> Way {
    Way {
        sent: flow.next,
        acked: flow.acked,
        window: flow.window,
        in_flight: flow.in_flight(),
        room: flow.room(),
    }
}

fn who_name(who: Who) -> &'static str {
    match who {
        Who::Pc => "pc",
        Who::Host => "host",
        Who::Phone => "phone",
    }
}

fn whose_name(whose: Whose) -> &'static str {
    match whose {
        Whose::Yours => "you",
        Whose::Host => "host",
        Whose::Phone => "phone",
        Whose::Hand => "hand",
    }
}

fn link_name(link: Link) -> &'static str {
    match link {
        Link::Down => "Down",
        Link::Greeting => "Greeting",
        Link::Up => "Up",
        Link::Dead => "Dead",
        Link::Failed => "Failed",
    }
}

fn state_name(state: State) -> &'static str {
    match state {
        State::Closed => "Closed",
        State::SynSent => "SynSent",
        State::Incoming => "Incoming",
        State::SynReceived => "SynReceived",
        State::Established => "Established",
        State::Draining => "Draining",
    }
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Mux => "mux",
        Kind::Number => "number",
        Kind::Port => "port",
        Kind::Sequence => "sequence",
        Kind::Flag => "flag",
        Kind::Window => "window",
        Kind::Fixed => "fixed",
        Kind::Payload => "payload",
        Kind::Text => "text",
        Kind::Behind => "behind",
    }
}
