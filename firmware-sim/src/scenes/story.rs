//! What a scene tells, entry by entry, before anybody draws it: the terminal and the page show the
//! same one.

use super::messages::{Frame, Message, in_words};
use crate::time::Nanos;
use usbmux_core::wire::MAX_FRAME;

/// Who stands at a lifeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Who {
    /// The PC, at the far end of the Ethernet cable.
    Pc,
    /// The USB host: the dongle, or a host without Ethernet.
    Host,
    /// The phone.
    Phone,
}

/// One thing that a scene tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A paragraph across the whole width.
    Text(String),
    /// Another act begins.
    Act(String),
    /// Something went from one lifeline to another.
    Arrow(Arrow),
    /// A remark at the side of somebody.
    Remark(Who, String),
}

/// Something on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrow {
    /// When its last packet arrived, since the act began.
    pub at: Nanos,
    /// Whose it is; it goes to the neighbour.
    pub from: Who,
    /// Whether it goes over USB; else over Ethernet.
    pub is_usb: bool,
    /// In words.
    pub label: String,
    /// What went over USB; none of what the driver only pretended to send.
    pub message: Option<Message>,
}

/// A scene's entries as they come.
#[derive(Debug)]
pub(super) struct Story {
    entries: Vec<Entry>,
    /// When the act began.
    origin: Nanos,
}

impl Story {
    pub(super) fn new() -> Self {
        Story { entries: Vec::new(), origin: Nanos::ZERO }
    }

    pub(super) fn into_entries(self) -> Vec<Entry> {
        self.entries
    }

    /// A paragraph.
    pub(super) fn text(&mut self, text: &str) {
        self.entries.push(Entry::Text(text.to_owned()));
    }

    /// A heading.
    pub(super) fn act(&mut self, heading: &str) {
        self.entries.push(Entry::Act(heading.to_owned()));
    }

    /// Counts the time from here.
    pub(super) fn begin_at(&mut self, at: Nanos) {
        self.origin = at;
    }

    /// A remark at the side of somebody.
    pub(super) fn remark(&mut self, who: Who, text: &str) {
        self.entries.push(Entry::Remark(who, text.to_owned()));
    }

    /// Says that entries were left out.
    pub(super) fn left_out(&mut self, what: &str) {
        self.remark(Who::Host, &format!(": {what} :"));
    }

    /// Something between PC and dongle.
    pub(super) fn ethernet(&mut self, at: Nanos, from_dongle: bool, label: &str) {
        let from = if from_dongle { Who::Host } else { Who::Pc };
        self.arrow(at, from, false, label.to_owned(), None);
    }

    /// A message of either side, in words.
    pub(super) fn message(&mut self, message: &Message, full: u16) {
        let (frame, behind) = message.frame();
        let too_large = behind > 0 && message.bytes.len() > MAX_FRAME;
        let mut label = match too_large {
            true => format!("{} frames stuck together", message.frames()),
            false => in_words(&frame),
        };
        if message.packets.len() > 1 {
            label = format!("{label}: {}", message.packets_in_words(usize::from(full)));
        }
        let from = if message.from_phone { Who::Phone } else { Who::Host };
        self.arrow(message.ended, from, true, label, Some(message.clone()));
        if let Frame::Control(_, text) | Frame::Tcp { text, .. } = &frame
            && !text.is_empty()
        {
            self.remark(Who::Phone, text);
        }
        if too_large {
            self.remark(Who::Phone, "nothing of this is understood");
        } else if behind > 0 {
            self.remark(Who::Phone, &format!("{behind} bytes behind the frame are dropped"));
        }
    }

    fn arrow(
        &mut self,
        at: Nanos,
        from: Who,
        is_usb: bool,
        label: String,
        message: Option<Message>,
    ) {
        let at = at - self.origin;
        self.entries.push(Entry::Arrow(Arrow { at, from, is_usb, label, message }));
    }
}
