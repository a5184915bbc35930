//! Drawing for a terminal: two or three lifelines, and arrows between them with words on them.

use super::WIDTH;
use super::story::{Arrow, Entry, Who};
use crate::time::Nanos;

/// Characters for the time in front.
const TIME: usize = 11;
/// Characters between PC and dongle, and between dongle and phone.
const ETHERNET: usize = 26;
const USB: usize = 56;
/// Characters of a remark on the USB side, on one line.
const REMARK: usize = USB - 6;

/// Draws a scene.
pub(super) fn draw(entries: &[Entry]) -> Vec<String> {
    let has_pc = entries.iter().any(|entry| match entry {
        Entry::Arrow(arrow) => !arrow.is_usb,
        Entry::Remark(who, _) => *who == Who::Pc,
        Entry::Text(_) | Entry::Act(_) => false,
    });
    let mut drawing = Drawing { lines: Vec::new(), has_pc };
    for (index, entry) in entries.iter().enumerate() {
        match entry {
            Entry::Text(text) => {
                if index > 0 {
                    drawing.lines.push(String::new());
                }
                drawing.text(text);
            }
            Entry::Act(heading) => drawing.act(heading),
            Entry::Arrow(arrow) => drawing.arrow(arrow),
            Entry::Remark(who, text) => drawing.remark(*who, text),
        }
    }
    debug_assert!(drawing.lines.iter().all(|line| line.chars().count() <= WIDTH));
    drawing.lines
}

struct Drawing {
    lines: Vec<String>,
    /// Whether there is a PC in it.
    has_pc: bool,
}

impl Drawing {
    /// Text across the whole width.
    fn text(&mut self, text: &str) {
        self.lines.extend(wrapped(text, WIDTH));
    }

    /// A heading, and the names above the lifelines.
    fn act(&mut self, heading: &str) {
        let names = match self.has_pc {
            true => [
                (TIME, "PC"),
                (TIME + ETHERNET - 2, "dongle"),
                (TIME + ETHERNET + USB - 2, "phone"),
            ]
            .to_vec(),
            false => [(TIME, "host"), (TIME + USB - 3, "phone")].to_vec(),
        };
        let names = names
            .iter()
            .fold(String::new(), |line, (column, name)| format!("{line:<column$}{name}"));
        self.lines.extend([String::new(), heading.to_owned(), String::new(), names]);
    }

    fn arrow(&mut self, arrow: &Arrow) {
        let time = time(arrow.at);
        self.lines.push(match (arrow.is_usb, self.has_pc) {
            (true, has_pc) => {
                let pc = if has_pc { format!("|{:ETHERNET$}", "") } else { String::new() };
                format!("{time}{pc}|{}|", shaft(&arrow.label, USB, arrow.from == Who::Phone))
            }
            (false, _) => {
                let shaft = shaft(&arrow.label, ETHERNET, arrow.from == Who::Host);
                format!("{time}|{shaft}|{:USB$}|", "")
            }
        });
    }

    fn remark(&mut self, who: Who, text: &str) {
        match who {
            Who::Pc => self.remark_line(who, &text.chars().take(ETHERNET - 2).collect::<String>()),
            Who::Host | Who::Phone => {
                for line in wrapped(text, REMARK) {
                    self.remark_line(who, &line.chars().take(USB - 4).collect::<String>());
                }
            }
        }
    }

    fn remark_line(&mut self, who: Who, text: &str) {
        let blank = format!("{:TIME$}", "");
        let line = match (self.has_pc, who) {
            (_, Who::Pc) => {
                format!("{blank}| {text:<width$}|{:USB$}|", "", width = ETHERNET - 1)
            }
            (true, Who::Host) => {
                format!("{blank}|{:ETHERNET$}| {text:<width$}|", "", width = USB - 1)
            }
            (true, Who::Phone) => {
                format!("{blank}|{:ETHERNET$}|{text:>width$} |", "", width = USB - 1)
            }
            (false, Who::Phone) => format!("{blank}|{text:>width$} |", width = USB - 1),
            (false, Who::Host) => format!("{blank}| {text:<width$}|", width = USB - 1),
        };
        self.lines.push(line);
    }
}

fn time(at: Nanos) -> String {
    format!("{:>8.2}ms ", at.as_millis_f64())
}

fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let count = |text: &str| text.chars().count();
        let fits = lines.last().is_some_and(|line| count(line) + 1 + count(word) <= width);
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if fits => line.extend([" ", word]),
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

fn shaft(label: &str, width: usize, left: bool) -> String {
    let label: String = label.chars().take(width - 6).collect();
    let dashes = width - 3 - label.chars().count();
    match left {
        true => format!("<{:-<dashes$} {label} ", "", dashes = dashes - 1) + "-",
        false => format!("- {label} {:->dashes$}>", "", dashes = dashes - 1),
    }
}
