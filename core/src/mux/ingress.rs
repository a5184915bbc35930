//! What arrives: transfers in, slices of their own bytes out.

use super::Mux;
use super::config::Role;
use super::egress::Stray;
use super::event::{CloseReason, ConnId, DeathCause};
use super::link::LinkState;
use super::table::Slot;
use crate::conn::{Conn, State, Verdict};
use crate::deframe::{Numbers, Piece, Transfer};
use crate::time::Instant;
use crate::wire::{ControlKind, Flags, TcpHeader, control};

/// A piece of what a transfer held for the application. Slices of one frame follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Received<'t> {
    /// Payload of a connection, in order and without gaps; never empty. The first may come before
    /// [`Connected`](super::Event::Connected) was polled.
    Data {
        /// Whose.
        conn: ConnId,
        /// The bytes, where USB put them.
        payload: &'t [u8],
        /// Whether the frame ends with them.
        frame_end: bool,
    },
    /// A piece of the text of the reset that ends a connection; its
    /// [`Closed`](super::Event::Closed) or [`Refused`](super::Event::Refused) follows.
    ResetText {
        /// Whose.
        conn: ConnId,
        /// The bytes; no terminator is certain.
        text: &'t [u8],
    },
    /// A piece of a CONTROL text.
    PhoneSays {
        /// Its [`ControlKind`](crate::wire::ControlKind)'s number.
        kind: u8,
        /// The bytes; no terminator is certain. Empty if the text is.
        text: &'t [u8],
        /// Whether the text ends with them.
        end: bool,
    },
}

/// Bytes of a CONTROL text that are kept to recognise a dead session.
const TEXT_PREFIX: usize = 48;

/// Whom the body of the current frame is for.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub(super) enum Body {
    Discard,
    Data { conn: ConnId, skip: u16, fin: bool, begun: bool },
    Reset { conn: ConnId },
    Text { kind: ControlKind, prefix: heapless::Vec<u8, TEXT_PREFIX, u8> },
}

impl<S: AsRef<[Slot]> + AsMut<[Slot]>> Mux<S> {
    /// Takes the next piece out of what USB delivered; to be called until `None`.
    ///
    /// Nothing is copied: a piece is a slice of the transfer's own bytes. Bytes that the application
    /// cannot take are to be reported with [`set_held`](Mux::set_held) before the next call. Text about
    /// the link comes as [`Received::PhoneSays`]; everything else shows in
    /// [`poll_event`](Mux::poll_event) and [`poll_transmit`](Mux::poll_transmit).
    pub fn receive<'t>(
        &mut self,
        now: Instant,
        transfer: &mut Transfer<'t>,
    ) -> Option<Received<'t>> {
        // Bounded: each turn takes at least a byte or the end out of the transfer.
        while let Some(piece) = self.deframer.next(transfer) {
            let received = match piece {
                Piece::Body { bytes, end } => self.body_piece(now, bytes, end),
                head => self.head_piece(now, head),
            };
            if received.is_some() {
                return received;
            }
        }
        None
    }

    fn head_piece(&mut self, now: Instant, piece: Piece<'_>) -> Option<Received<'static>> {
        trace!("received {:?}", piece);
        self.count(|stats| match piece {
            Piece::Malformed(_) => &mut stats.malformed,
            Piece::Truncated => &mut stats.truncated,
            Piece::Trailing => &mut stats.trailing,
            _ => &mut stats.frames_in,
        });
        match piece {
            Piece::Truncated => self.frame_cut_short(now),
            Piece::Malformed(why) => warning!("malformed frame: {:?}", why),
            Piece::Trailing | Piece::Body { .. } => {}
            Piece::Version(version) => {
                self.body = Body::Discard;
                self.version_arrived(now, version);
            }
            Piece::Setup { numbers, .. } => {
                self.body = Body::Discard;
                self.setup_arrived(numbers);
            }
            Piece::Control { numbers, kind, text_len } => {
                return self.control_arrived(now, numbers, kind, text_len);
            }
            Piece::Segment { numbers, tcp, payload_len } => {
                self.body = Body::Discard;
                self.segment_arrived(now, numbers, &tcp, payload_len);
            }
        }
        None
    }

    // ---- heads

    /// Whether the link's state has a use for a numbered frame; takes its numbers.
    fn admits(&mut self, now: Instant, numbers: Option<Numbers>) -> bool {
        match (self.link.state(), numbers) {
            (LinkState::Up { version: 2 }, Some(numbers)) => self.number_arrived(now, numbers),
            (LinkState::Up { version: 1 }, None) => true,
            (LinkState::Greeting, Some(numbers)) if self.role() == Role::Host => {
                self.stale_arrived(numbers);
                false
            }
            _ => {
                self.count(|stats| &mut stats.ignored);
                false
            }
        }
    }

    fn control_arrived(
        &mut self,
        now: Instant,
        numbers: Option<Numbers>,
        kind: ControlKind,
        text_len: u16,
    ) -> Option<Received<'static>> {
        self.body = Body::Discard;
        if !self.admits(now, numbers) {
            return None;
        }
        self.count(|stats| &mut stats.control_texts);
        if text_len > 0 {
            self.body = Body::Text { kind, prefix: heapless::Vec::new() };
            return None;
        }
        Some(Received::PhoneSays { kind: kind.0, text: &[], end: true })
    }

    fn segment_arrived(
        &mut self,
        now: Instant,
        numbers: Option<Numbers>,
        tcp: &TcpHeader,
        payload_len: u16,
    ) {
        let is_stale = self.link.state() == LinkState::Greeting;
        if !self.admits(now, numbers) {
            if is_stale && numbers.is_some() && self.role() == Role::Host {
                self.stray(tcp);
            }
            return;
        }
        match self.table.find(tcp.dest, tcp.source) {
            Some(index) => self.segment_for(now, index, tcp, payload_len),
            None if tcp.flags == Flags::SYN && self.role() == Role::Device => {
                self.syn_arrived(now, tcp);
            }
            None => {
                self.count(|stats| &mut stats.unknown_connection);
                self.stray(tcp);
            }
        }
    }

    fn syn_arrived(&mut self, now: Instant, tcp: &TcpHeader) {
        match self.table.admit(tcp.dest, tcp.source, Conn::incoming(tcp)) {
            Some(index) => self.table.settle(now, index, &self.config),
            None => self.stray(tcp),
        }
    }

    /// Answers a segment that belongs to no connection with an RST that has ack = its seq, one more
    /// for a SYN (RFC 793 §3.4). An RST is never answered.
    fn stray(&mut self, tcp: &TcpHeader) {
        if tcp.flags.contains(Flags::RST) {
            return;
        }
        let syn = u32::from(tcp.flags.contains(Flags::SYN));
        let stray = Stray { source: tcp.dest, dest: tcp.source, ack: tcp.seq.plus(syn) };
        // One answer is enough for all that is under way on a connection that just ended.
        if let Some(waiting) = self.strays.iter_mut().find(|waiting| waiting.answers(tcp)) {
            *waiting = stray;
        } else if self.strays.push(stray).is_err() {
            self.count(|stats| &mut stats.resets_dropped);
        }
    }

    fn segment_for(&mut self, now: Instant, index: u16, tcp: &TcpHeader, payload_len: u16) {
        let rules = self.rules();
        let Some(id) = self.table.id(index) else { return };
        let Some(slot) = self.table.slot(index) else { return };
        let verdict = slot.conn.segment(tcp, payload_len, rules, &mut self.stats);
        match verdict {
            Verdict::Drop => {}
            Verdict::Take { skip, fin } if payload_len > 0 => {
                self.body = Body::Data { conn: id, skip, fin, begun: false };
            }
            Verdict::Take { fin, .. } => slot.conn.segment_end(fin, rules),
            Verdict::ResetText if payload_len > 0 => self.body = Body::Reset { conn: id },
            Verdict::ResetText => {
                if slot.conn.state != State::Closed {
                    slot.conn.peer_reset();
                }
            }
        }
        self.table.settle(now, index, &self.config);
    }

    // ---- bodies

    fn body_piece<'t>(&mut self, now: Instant, bytes: &'t [u8], end: bool) -> Option<Received<'t>> {
        match &mut self.body {
            Body::Discard => None,
            Body::Text { kind, prefix } => {
                let room = prefix.capacity().saturating_sub(prefix.len());
                let _ = prefix.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
                let kind = kind.0;
                if end && control::is_duplicate_packet(prefix) && self.role() == Role::Host {
                    self.session_died(now, DeathCause::DuplicatePacket);
                }
                Some(Received::PhoneSays { kind, text: bytes, end })
            }
            Body::Reset { conn } => {
                let conn = *conn;
                self.table.live(conn)?;
                if end {
                    self.change(now, conn, Conn::peer_reset);
                }
                Some(Received::ResetText { conn, text: bytes })
            }
            Body::Data { .. } => self.payload_piece(now, bytes, end),
        }
    }

    fn payload_piece<'t>(
        &mut self,
        now: Instant,
        bytes: &'t [u8],
        frame_end: bool,
    ) -> Option<Received<'t>> {
        let rules = self.rules();
        let Body::Data { conn, skip, fin, begun } = &mut self.body else { return None };
        let (conn, fin) = (*conn, *fin);
        let seen = usize::from(*skip).min(bytes.len());
        *skip = skip.saturating_sub(seen as u16);
        let payload = bytes.get(seen..).unwrap_or(&[]);
        *begun |= !payload.is_empty();
        let slot = self.table.live(conn)?;
        slot.conn.payload(payload.len() as u32);
        let wanted = slot.conn.state == State::Established && !payload.is_empty();
        if frame_end {
            slot.conn.segment_end(fin, rules);
            self.table.settle(now, conn.index, &self.config);
        }
        wanted.then_some(Received::Data { conn, payload, frame_end })
    }

    /// A transfer ended inside a frame. If part of its payload was delivered, its connection ends.
    fn frame_cut_short(&mut self, now: Instant) {
        match core::mem::replace(&mut self.body, Body::Discard) {
            Body::Data { conn, begun: true, .. } => {
                self.change(now, conn, |conn| conn.fail(CloseReason::Truncated));
            }
            Body::Reset { conn } => self.change(now, conn, Conn::peer_reset),
            Body::Data { .. } | Body::Text { .. } | Body::Discard => {}
        }
    }
}
