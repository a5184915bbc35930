//! What the lessons share: how text, bytes and frames look on a terminal, and two engines on a
//! cable.
//!
//! Left out is what a lesson is about: nothing here decides what the protocol does. Each lesson has
//! this module of its own, so that it is one program, and part of `usbmux-sim lessons` as well.

#![allow(dead_code, unused_imports, reason = "each lesson uses a part of it")]

mod cable;
mod frame;
mod side;
mod usb;

pub(crate) use cable::{Cable, End};
pub(crate) use frame::{Detail, Frame};
pub(crate) use usb::{Message, OutEndpoint, Packets, Phone};

use std::fmt::Display;
use std::io::Write;
use usbmux_core::SeqNumber;
use usbmux_core::wire::{Flags, HeaderV2, Magic, Protocol, TcpHeader};

/// Columns of a line at most.
const WIDTH: usize = 98;

/// Prints the title of a lesson, and what it shows.
pub(crate) fn begin(number: u8, title: &str, shows: &str) {
    let title = format!("Lesson {number}: {title}");
    line(&title);
    line("=".repeat(title.len()));
    wrapped("", shows);
}

/// Repeats the question at the end of the lesson before.
pub(crate) fn asked(question: &str) {
    line("");
    wrapped("Asked last: ", question);
}

/// Answers it.
pub(crate) fn answer(text: &str) {
    wrapped("", text);
}

/// Begins a part of the lesson.
pub(crate) fn part(heading: &str) {
    line("");
    line(heading);
    line("-".repeat(heading.chars().count()));
}

/// Prints a paragraph.
pub(crate) fn say(text: &str) {
    line("");
    wrapped("", text);
}

/// Prints a remark between two frames.
pub(crate) fn note(text: &str) {
    wrapped("  ", &format!("({text})"));
}

/// Ends a lesson with a question that the next one answers.
pub(crate) fn question(next: u8, text: &str) {
    line("");
    wrapped("Question: ", text);
    line(format!("Lesson {next} answers."));
}

/// Prints one line. A reader who has seen enough and hung up is no failure.
pub(crate) fn line(text: impl Display) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Prints the bytes of a field, its name, and what they mean.
pub(crate) fn field(bytes: &[u8], name: &str, meaning: impl Display) {
    let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    line(format!("    {:<13}{name:<15}{meaning}", hex.join(" ")));
}

/// A table that leaves out rows in the middle of many that say the same.
pub(crate) struct Rows {
    last: Vec<usize>,
    alike: usize,
}

impl Rows {
    pub(crate) fn new() -> Self {
        Rows { last: Vec::new(), alike: 0 }
    }

    /// Prints a row, unless it and the one before it have the same figures in the columns but the
    /// last; then a mark says so once.
    pub(crate) fn row(&mut self, turn: u64, figures: &[usize]) {
        let (_, told) = figures.split_last().expect("a row has figures");
        self.alike = if self.last == told { self.alike + 1 } else { 0 };
        self.last = told.to_vec();
        match self.alike {
            0 => {
                let cells = figures.iter().map(|figure| match figure {
                    0 => format!("{:>11}", "-"),
                    some => format!("{some:>11}"),
                });
                line(format!("    {turn:>4}{}", cells.collect::<String>()));
            }
            1 => line("       :"),
            _ => {}
        }
    }
}

/// A segment of the phone's, as the first behind the handshake.
pub(crate) fn segment(payload: &[u8]) -> Vec<u8> {
    let tcp = TcpHeader::new((62078, 1), SeqNumber(1), SeqNumber(1), Flags::ACK, 0x0200);
    let length = (16 + 20 + payload.len()) as u32;
    let (protocol, magic) = (Protocol::TCP, Magic::PHONE);
    let mux = HeaderV2 { protocol, length, magic, tx_seq: 1, rx_seq: 2 };
    [mux.emit().as_slice(), &tcp.emit(), payload].concat()
}

/// Bytes for a payload, of which no two neighbours are alike.
pub(crate) fn payload(len: usize) -> Vec<u8> {
    (b'a'..=b'z').cycle().take(len).collect()
}

fn wrapped(start: &str, text: &str) {
    let mut row = start.to_owned();
    for word in text.split_whitespace() {
        if row.len() + word.len() > WIDTH {
            line(row.trim_end());
            row.clear();
        }
        row.push_str(word);
        row.push(' ');
    }
    line(row.trim_end());
}
