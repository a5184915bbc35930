//! An exchange as text: a line for each frame, an arrow between host and phone, its numbers beside it, and
//! under it what is to be said about it.

use std::time::Duration;

use super::bus::USUAL_PACKET;
use super::fold::Fold;
use super::mark::Mark;
use super::model::{Body, FoundBy, Frame, Item, Note, PhoneInfo, Side};
use super::session::number;
use super::words::in_words;

/// Characters of a line.
pub const WIDTH: usize = 100;
/// Characters for the time in front.
const TIME: usize = 11;
/// Characters from lifeline to lifeline.
const LANE: usize = 38;

/// What a line is, for who wants to colour it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// A frame, a table.
    Plain,
    /// A heading.
    Heading,
    /// Something worth knowing, or what a phone said.
    Remark,
    /// Something wrong.
    Violation,
}

/// A line of text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// What it is.
    pub tone: Tone,
    /// Its text, without a line end.
    pub text: String,
}

impl Line {
    pub(super) fn new(tone: Tone, text: impl Into<String>) -> Self {
        Line { tone, text: text.into() }
    }

    /// Stands for so many frames that are like those around it.
    pub(super) fn folded(count: u64) -> Self {
        Line::new(Tone::Remark, format!("{:TIME$}: {count} more of these :", ""))
    }
}

/// Draws one item after the other.
#[derive(Debug, Default)]
pub struct Ladder {
    /// Whether the heads of the columns were drawn.
    began: bool,
    /// More than one phone was seen: lines say whose they are.
    several: bool,
    /// Frames in a row with the same mark.
    fold: Fold,
}

impl Ladder {
    /// A ladder without a rung.
    pub fn new() -> Self {
        Ladder::default()
    }

    /// The lines of an item; of a long run of frames with the same mark, some come later or not at all.
    pub fn draw(&mut self, item: &Item) -> Vec<Line> {
        match item {
            Item::Phone(info) => {
                let mut lines = self.fold.end();
                lines.extend(self.phone(info));
                lines
            }
            Item::Frame(frame) => {
                let lines = self.frame(frame);
                self.fold.frame((frame.at, frame.phone, frame.from), &frame.marks, lines)
            }
            Item::Note(note) => self.note(note),
        }
    }

    /// The lines that were held back, when the last item was drawn.
    pub fn end(&mut self) -> Vec<Line> {
        self.fold.end()
    }

    fn phone(&mut self, info: &PhoneInfo) -> Vec<Line> {
        self.several |= info.phone > 1;
        let words = wrapped(&phone_in_words(info), WIDTH);
        let mut lines: Vec<Line> =
            words.into_iter().map(|text| Line::new(Tone::Heading, text)).collect();
        if !self.began {
            self.began = true;
            let head = format!(
                "{:>10}  host{:>width$} {:>5} {:>5} {:>5}{:>11}{:>11}{:>9}",
                "seconds",
                "phone",
                "tx",
                "rx",
                "conn",
                "seq",
                "ack",
                "window",
                width = LANE - 3,
            );
            lines.push(Line::new(Tone::Heading, ""));
            lines.push(Line::new(Tone::Heading, head));
        }
        lines
    }

    fn frame(&self, frame: &Frame) -> Vec<Line> {
        let whose = if self.several { frame.phone.to_string() } else { " ".to_owned() };
        let lane = arrow(&in_words(frame), frame.from);
        let (tx, rx) = match frame.numbers {
            Some(numbers) => (numbers.tx_seq.to_string(), rx_in_words(numbers.rx_seq)),
            None => (String::new(), String::new()),
        };
        let numbers = match &frame.body {
            Body::Segment { tcp, conn, .. } => {
                let conn = conn.map_or("-".to_owned(), |conn| format!("#{conn}"));
                format!("{conn:>5}{:>11}{:>11}{:>9}", tcp.seq.0, tcp.ack.0, tcp.window())
            }
            _ => String::new(),
        };
        let line = format!("{} |{lane}|{whose}{tx:>5} {rx:>5} {numbers}", time(frame.at));
        let mut lines = vec![Line::new(Tone::Plain, line.trim_end())];
        let said = match &frame.body {
            Body::Control { text, .. } | Body::Segment { text, .. } => text.as_str(),
            _ => "",
        };
        if !said.is_empty() {
            wrap(&format!("\"{said}\""), "  ", Tone::Remark, &mut lines);
        }
        for mark in &frame.marks {
            draw_mark(mark, None, &mut lines);
        }
        lines
    }

    fn note(&mut self, note: &Note) -> Vec<Line> {
        let mut lines = Vec::new();
        draw_mark(&note.mark, note.conn, &mut lines);
        // What was found behind a frame belongs to it.
        if self.fold.belongs(note.at, note.phone) {
            return self.fold.note(&note.mark, lines);
        }
        if let Some(first) = lines.first_mut() {
            let rest = first.text.get(TIME..).unwrap_or_default();
            first.text = format!("{} {rest}", time(note.at));
        }
        let mut out = self.fold.end();
        out.extend(lines);
        out
    }
}

/// A phone in one or two lines' words.
pub(super) fn phone_in_words(info: &PhoneInfo) -> String {
    let mut words = vec![format!("phone {}", info.phone)];
    if let Some(udid) = &info.udid {
        words.push(udid.clone());
    }
    if let Some((vendor, product)) = info.product {
        words.push(format!("{vendor:04x}:{product:04x}"));
    }
    if let Some((bus, address)) = info.place {
        words.push(format!("bus {bus} device {address}"));
    }
    let (out, r#in) = info.endpoints;
    let endpoints = [("OUT", out), ("IN", r#in)];
    let endpoints = endpoints
        .iter()
        .filter_map(|(name, address)| address.map(|address| format!("{name} {address:#04x}")));
    words.extend(endpoints);
    words.push(match info.max_packet {
        Some(bytes) => format!("packets of {bytes}"),
        None => format!("packets of {USUAL_PACKET} assumed"),
    });
    if info.found_by == FoundBy::Frames {
        words.push("found by its frames".to_owned());
    }
    words.join(", ")
}

fn rx_in_words(rx: u16) -> String {
    match number(rx) {
        none if none == "none" => "-".to_owned(),
        number => number,
    }
}

pub(super) fn time(at: Duration) -> String {
    format!("{:>3}.{:06}", at.as_secs(), at.subsec_micros())
}

fn arrow(label: &str, from: Side) -> String {
    let label: String = label.chars().take(LANE - 6).collect();
    let dashes = LANE - 4 - label.chars().count();
    match from {
        Side::Host => format!("- {label} {:-<dashes$}>", ""),
        Side::Phone => format!("<{:-<dashes$} {label} -", ""),
    }
}

fn draw_mark(mark: &Mark, conn: Option<u32>, lines: &mut Vec<Line>) {
    let (sign, tone) = match mark.is_violation() {
        true => ("! ", Tone::Violation),
        false => (": ", Tone::Remark),
    };
    let text = match conn {
        Some(conn) => format!("#{conn}: {}", mark.text),
        None => mark.text.clone(),
    };
    wrap(&text, sign, tone, lines);
}

/// Text under a frame; what does not fit goes to further lines.
fn wrap(text: &str, sign: &str, tone: Tone, lines: &mut Vec<Line>) {
    let mut sign = sign.to_owned();
    for part in wrapped(text, WIDTH - TIME - sign.len()) {
        lines.push(Line::new(tone, format!("{:TIME$}{sign}{part}", "")));
        sign = " ".repeat(sign.len());
    }
}

/// Cuts a text into lines of at most so many characters, between words.
pub fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
