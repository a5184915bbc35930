//! A trace in the page: the rows of `usbmux-trace`'s reader, with its marks, and what a witness of the
//! frames makes of them.

use crate::row::{self, Row};
use std::collections::BTreeMap;
use usbmux_firmware_sim::Nanos;
use usbmux_firmware_sim::lab::witness::View;
use usbmux_firmware_sim::scenes::Message;
use usbmux_trace::read::{Body, Frame, Item, Mark, Reader, Side};

/// Rows that are shown; of a longer trace the beginning.
const MOST_ROWS: usize = 2000;
/// Bytes of a full packet where the trace does not tell.
const USUAL_PACKET: usize = 512;

/// The rows of a trace, and what is to be said of it as a whole.
pub(crate) fn read(bytes: &[u8]) -> Result<(Vec<Row>, Vec<String>), String> {
    let mut reader = Reader::new(bytes).map_err(|error| error.to_string())?;
    let mut shown = Shown::default();
    let mut damage = None;
    loop {
        match reader.next_item() {
            Ok(Some(item)) => shown.take(&item),
            Ok(None) => break,
            // What was read before it still comes.
            Err(error) if damage.is_none() => damage = Some(error.to_string()),
            Err(_) => break,
        }
    }
    let mut words = reader.report().diagnosis;
    words.extend(damage.map(|why| format!("Here the file ends early: {why}.")));
    if shown.left_out > 0 {
        words.push(format!(
            "Of this trace the first {MOST_ROWS} rows are shown; umux trace shows all."
        ));
    }
    Ok((shown.rows, words))
}

#[derive(Default)]
struct Shown {
    rows: Vec<Row>,
    left_out: usize,
    /// What is known of each phone, and the size of its packets.
    phones: BTreeMap<u32, (View, usize)>,
}

impl Shown {
    fn take(&mut self, item: &Item) {
        if self.rows.len() >= MOST_ROWS {
            self.left_out += 1;
            return;
        }
        match item {
            Item::Phone(info) => {
                let full = info.max_packet.map_or(USUAL_PACKET, usize::from);
                self.phones.insert(info.phone, (View::linked(), full));
                let name = info.udid.as_deref().unwrap_or("whose name the trace does not tell");
                self.rows.push(row::heading(&format!("{}. A phone, {name}", info.phone)));
            }
            Item::Frame(frame) => self.frame(frame),
            Item::Note(note) => {
                let at = Nanos::from(note.at);
                let view = self.phones.get(&note.phone).map(|(view, _)| view);
                self.rows.push(row::of_mark(
                    at,
                    note.mark.by == Some(Side::Phone),
                    &sentence(&note.mark),
                    note.mark.is_violation(),
                    view,
                ));
            }
        }
    }

    fn frame(&mut self, frame: &Frame) {
        let from_phone = frame.from == Side::Phone;
        let (view, full) =
            self.phones.entry(frame.phone).or_insert_with(|| (View::linked(), USUAL_PACKET));
        if matches!(frame.body, Body::Version(_)) && !from_phone {
            view.cable(true);
        }
        // Payload may have been left out of the trace; its length counts all the same.
        let mut bytes = frame.bytes.clone();
        let captured = bytes.len();
        bytes.resize(frame.length.max(captured), 0);
        let at = Nanos::from(frame.at);
        let message = Message { began: at, ended: at, from_phone, bytes, packets: Vec::new() };
        self.rows.push(row::of_message(&message, captured, view, *full));
        for mark in &frame.marks {
            self.rows.push(row::of_mark(
                at,
                mark.by == Some(Side::Phone),
                &sentence(mark),
                mark.is_violation(),
                Some(view),
            ));
        }
    }
}

fn sentence(mark: &Mark) -> String {
    let sign = if mark.is_violation() { "✗ " } else { "" };
    format!("{sign}{}: {}", mark.kind, mark.text)
}
