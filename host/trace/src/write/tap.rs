//! What passes on USB, in any slicing, becomes frames.
//!
//! A tap listens to both directions of one phone. It reads headers with the engine's own deframer, so
//! what it takes for a frame is what the engine takes for one; what the frame means is not its
//! business. Of bodies it keeps no more than it was told to.

use usbmux_core::Transfer;
use usbmux_core::deframe::{Deframer, Form, Malformed, Numbers, Piece};
use usbmux_core::wire;

use super::MAX_TEXT;
use super::record::{Frame, Garbage, Head, Place, Sender, What};

/// How many bytes of garbage are kept at most.
const MAX_GARBAGE: usize = 64;

/// Listens to one phone.
#[derive(Debug)]
pub struct Tap {
    host: Direction,
    phone: Direction,
    payload: bool,
}

/// What one side sends.
#[derive(Debug)]
struct Direction {
    sender: Sender,
    deframer: Deframer,
    /// The number of the transfer that is under way, or was last.
    transfer: u32,
    /// Whether the transfer goes on.
    inside: bool,
    /// Bytes of the transfer that came so far, and those of them that belong to known frames.
    seen: usize,
    taken: usize,
    /// Slices of the transfer that came so far, and the one in which the next frame begins.
    slice: u32,
    first_slice: u32,
    /// A frame whose body is still coming, and how much of it has.
    open: Option<(Frame, usize)>,
    garbage: Option<Garbage>,
}

impl Tap {
    /// Makes a tap for a phone that was just plugged in; `payload` says whether payload is kept.
    pub fn new(payload: bool) -> Self {
        Tap { host: Direction::new(Sender::Host), phone: Direction::new(Sender::Phone), payload }
    }

    /// Begins anew after a reset of the port.
    pub fn reset(&mut self) {
        *self = Tap::new(self.payload);
    }

    /// Takes what passed: a transfer, or a part of it. `ended` says whether the transfer ended with it, so
    /// that no bytes and `true` is a zero-length packet. Calls `found` for what is complete with it.
    pub fn carried(
        &mut self,
        sender: Sender,
        bytes: &[u8],
        ended: bool,
        mut found: impl FnMut(What),
    ) {
        let payload = self.payload;
        self.direction(sender).begin(bytes, ended, &mut found);
        let mut transfer = if ended { Transfer::new(bytes) } else { Transfer::part(bytes) };
        while let Some(piece) = self.direction(sender).deframer.next(&mut transfer) {
            if let Piece::Version(version) = piece {
                self.agree(sender, version.major);
            }
            self.direction(sender).piece(piece, payload, &mut found);
        }
        self.direction(sender).end(bytes, ended, payload, &mut found);
    }

    fn direction(&mut self, sender: Sender) -> &mut Direction {
        match sender {
            Sender::Host => &mut self.host,
            Sender::Phone => &mut self.phone,
        }
    }

    /// The host's VERSION begins a greeting, the phone's ends it.
    fn agree(&mut self, sender: Sender, major: u32) {
        let form = match (sender, major) {
            (Sender::Host, _) => Form::Greeting,
            (Sender::Phone, 0 | 1) => Form::V1,
            (Sender::Phone, _) => Form::V2,
        };
        self.host.deframer.set_form(form);
        self.phone.deframer.set_form(form);
    }
}

impl Direction {
    fn new(sender: Sender) -> Self {
        Direction {
            sender,
            deframer: Deframer::new(Form::Greeting),
            transfer: 0,
            inside: false,
            seen: 0,
            taken: 0,
            slice: 0,
            first_slice: 1,
            open: None,
            garbage: None,
        }
    }

    fn begin(&mut self, bytes: &[u8], ended: bool, found: &mut impl FnMut(What)) {
        if !self.inside {
            self.transfer = self.transfer.wrapping_add(1);
            (self.seen, self.taken, self.slice, self.first_slice) = (0, 0, 0, 1);
        }
        self.inside = !ended;
        self.slice = self.slice.saturating_add(1);
        self.seen += bytes.len();
        if bytes.is_empty() && ended {
            let at = self.seen as u32;
            found(What::Zlp(Place { sender: self.sender, transfer: self.transfer, at, slices: 1 }));
        }
    }

    fn piece(&mut self, piece: Piece<'_>, payload: bool, found: &mut impl FnMut(What)) {
        match piece {
            Piece::Version(version) => self.head(None, Head::Version(version), 0, found),
            Piece::Setup { numbers, level } => self.head(numbers, Head::Setup(level), 0, found),
            Piece::Control { numbers, kind, text_len } => {
                self.head(numbers, Head::Control(kind), text_len, found);
            }
            Piece::Segment { numbers, tcp, payload_len } => {
                self.head(numbers, Head::Segment(tcp), payload_len, found);
            }
            Piece::Body { bytes, end } => self.body(bytes, end, payload, found),
            Piece::Truncated => self.truncated(found),
            Piece::Malformed(why) => self.garbage(Some(why)),
            Piece::Trailing => self.garbage(None),
        }
    }

    /// Where what begins behind all known frames begins.
    fn place(&self) -> Place {
        let slices = (self.slice + 1).saturating_sub(self.first_slice).max(1);
        Place { sender: self.sender, transfer: self.transfer, at: self.taken as u32, slices }
    }

    fn head(
        &mut self,
        numbers: Option<Numbers>,
        head: Head,
        body_len: u16,
        found: &mut impl FnMut(What),
    ) {
        let place = self.place();
        let mux = if numbers.is_some() { wire::HEADER_V2 } else { wire::HEADER_V1 };
        self.taken += mux + head.len();
        let frame = Frame { place, numbers, head, body_len, missing: 0, body: Vec::new() };
        if body_len == 0 {
            self.complete(frame, found);
        } else {
            self.open = Some((frame, 0));
        }
    }

    fn body(&mut self, bytes: &[u8], end: bool, payload: bool, found: &mut impl FnMut(What)) {
        self.taken += bytes.len();
        // A SETUP or VERSION frame that is longer than it should be has nobody to take the rest.
        let Some((mut frame, came)) = self.open.take() else { return };
        let most = match (payload, frame.is_text()) {
            (true, _) => usize::from(frame.body_len),
            (false, true) => MAX_TEXT,
            (false, false) => 0,
        };
        let room = most.saturating_sub(frame.body.len());
        frame.body.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        if end {
            self.complete(frame, found);
        } else {
            self.open = Some((frame, came + bytes.len()));
        }
    }

    fn truncated(&mut self, found: &mut impl FnMut(What)) {
        if let Some((mut frame, came)) = self.open.take() {
            frame.missing = frame.body_len.saturating_sub(came as u16);
            self.complete(frame, found);
        }
    }

    fn complete(&mut self, mut frame: Frame, found: &mut impl FnMut(What)) {
        frame.place.slices = self.place().slices;
        // With the last byte of a slice, the next frame begins in another.
        self.first_slice = if self.taken == self.seen { self.slice + 1 } else { self.slice };
        found(What::Frame(frame));
    }

    fn garbage(&mut self, why: Option<Malformed>) {
        let place = self.place();
        self.garbage = Some(Garbage { place, why, bytes: 0, first: Vec::new() });
    }

    fn end(&mut self, bytes: &[u8], ended: bool, payload: bool, found: &mut impl FnMut(What)) {
        let slice_begins = self.seen - bytes.len();
        if let Some(garbage) = &mut self.garbage {
            let begins = garbage.place.at as usize;
            if payload && garbage.bytes == 0 && begins >= slice_begins {
                let first = bytes.get(begins - slice_begins..).unwrap_or_default();
                garbage.first.extend(first.iter().take(MAX_GARBAGE));
            }
            garbage.bytes = self.seen.saturating_sub(begins) as u32;
        }
        if ended && let Some(garbage) = self.garbage.take() {
            found(What::Garbage(garbage));
        }
    }
}
