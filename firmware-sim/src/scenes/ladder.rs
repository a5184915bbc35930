//! Drawing: three lifelines, and arrows between them with words on them.

use super::WIDTH;
use super::messages::{Frame, Message};
use crate::time::Nanos;
use usbmux_core::wire::{Flags, MAX_FRAME};

/// Characters for the time in front.
const TIME: usize = 11;
/// Characters between PC and dongle, and between dongle and phone.
const ETHERNET: usize = 26;
const USB: usize = 56;

/// A picture that grows downwards.
#[derive(Debug)]
pub(super) struct Ladder {
    lines: Vec<String>,
    /// Whether there is a PC in it.
    pc: bool,
    /// When the act began.
    origin: Nanos,
}

impl Ladder {
    pub(super) fn new(pc: bool) -> Self {
        Ladder { lines: Vec::new(), pc, origin: Nanos::ZERO }
    }

    pub(super) fn into_lines(self) -> Vec<String> {
        debug_assert!(self.lines.iter().all(|line| line.chars().count() <= WIDTH));
        self.lines
    }

    /// Text across the whole width, wrapped.
    pub(super) fn text(&mut self, text: &str) {
        let mut line = String::new();
        for word in text.split_whitespace() {
            if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > WIDTH {
                self.lines.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        self.lines.push(line);
    }

    pub(super) fn blank(&mut self) {
        self.lines.push(String::new());
    }

    /// Counts the time from here.
    pub(super) fn begin_at(&mut self, at: Nanos) {
        self.origin = at;
    }

    /// A heading, and the names above the lifelines.
    pub(super) fn act(&mut self, heading: &str) {
        self.blank();
        self.lines.push(heading.to_owned());
        self.blank();
        let names = match self.pc {
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
        self.lines.push(names);
    }

    /// An arrow between dongle and phone.
    pub(super) fn usb(&mut self, at: Nanos, from_phone: bool, label: &str) {
        let arrow = arrow(label, USB, from_phone);
        let pc = if self.pc { format!("|{:ETHERNET$}", "") } else { String::new() };
        self.lines.push(format!("{}{pc}|{arrow}|", self.time(at)));
    }

    /// An arrow between PC and dongle.
    pub(super) fn ethernet(&mut self, at: Nanos, from_dongle: bool, label: &str) {
        let arrow = arrow(label, ETHERNET, from_dongle);
        self.lines.push(format!("{}|{arrow}|{:USB$}|", self.time(at), ""));
    }

    /// A remark at the side of somebody: 0 PC, 1 dongle, 2 phone.
    pub(super) fn remark(&mut self, who: usize, text: &str) {
        let text: String = text.chars().take(USB - 4).collect();
        let blank = format!("{:TIME$}", "");
        let line = match (self.pc, who) {
            (true, 0) => {
                let text: String = text.chars().take(ETHERNET - 2).collect();
                format!("{blank}| {text:<width$}|{:USB$}|", "", width = ETHERNET - 1)
            }
            (true, 1) => format!("{blank}|{:ETHERNET$}| {text:<width$}|", "", width = USB - 1),
            (true, _) => format!("{blank}|{:ETHERNET$}|{text:>width$} |", "", width = USB - 1),
            (false, 2) => format!("{blank}|{text:>width$} |", width = USB - 1),
            (false, _) => format!("{blank}| {text:<width$}|", width = USB - 1),
        };
        self.lines.push(line);
    }

    /// A message of either side, in words.
    pub(super) fn message(&mut self, message: &Message, full: u16) {
        let (frame, behind) = message.frame();
        let full = usize::from(full);
        let too_large = behind > 0 && message.bytes.len() > MAX_FRAME;
        let mut label = match too_large {
            true => format!("{} frames stuck together", message.frames()),
            false => in_words(&frame),
        };
        if message.packets.len() > 1 {
            label = format!("{label}: {}", message.packets_in_words(full));
        }
        self.usb(message.ended, message.from_phone, &label);
        if let Frame::Control(_, text) | Frame::Tcp { text, .. } = &frame
            && !text.is_empty()
        {
            for part in wrapped(text, USB - 6) {
                self.remark(2, &part);
            }
        }
        if too_large {
            self.remark(2, "nothing of this is understood");
        } else if behind > 0 {
            self.remark(2, &format!("{behind} bytes behind the frame are dropped"));
        }
    }

    fn time(&self, at: Nanos) -> String {
        format!("{:>8.2}ms ", (at - self.origin).as_millis_f64())
    }

    /// Says that lines were left out.
    pub(super) fn left_out(&mut self, what: &str) {
        self.remark(1, &format!(": {what} :"));
    }
}

/// What a frame says, in a few words.
pub(super) fn in_words(frame: &Frame) -> String {
    match frame {
        Frame::Version(major) => format!("VERSION {major}"),
        Frame::Setup => "SETUP".to_owned(),
        Frame::Control(kind, _) => format!("CONTROL {kind}"),
        Frame::Unknown => "?".to_owned(),
        Frame::Tcp { number, header, payload, .. } => {
            let kind = match header.flags {
                flags if flags.contains(Flags::RST) => "RST",
                flags if flags.contains(Flags::SYN) && flags.contains(Flags::ACK) => "SYN|ACK",
                flags if flags.contains(Flags::SYN) => "SYN",
                _ if *payload > 0 => "data",
                _ => "ACK",
            };
            let bytes = if kind == "data" { format!(" {payload} B") } else { String::new() };
            format!("#{number} {kind}{bytes} win {}", header.window_units)
        }
    }
}

fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let fits = lines.last().is_some_and(|line| line.len() + 1 + word.len() <= width);
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if fits => line.extend([" ", word]),
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

fn arrow(label: &str, width: usize, left: bool) -> String {
    let label: String = label.chars().take(width - 6).collect();
    let dashes = width - 3 - label.chars().count();
    match left {
        true => format!("<{:-<dashes$} {label} ", "", dashes = dashes - 1) + "-",
        false => format!("- {label} {:->dashes$}>", "", dashes = dashes - 1),
    }
}
