//! What leaves: headers in front of the caller's bytes, and frames of the engine's own.

use super::Mux;
use super::config::{Role, Zlp};
use super::event::{ConnId, ResetReason, SendError};
use super::link::{LinkState, due as link_due};
use super::table::Slot;
use crate::conn::{Conn, State, due};
use crate::seq::SeqNumber;
use crate::time::Instant;
use crate::wire::{
    self, ControlKind, Flags, HeaderV1, HeaderV2, Magic, Protocol, RX_SEQ_NONE, SETUP_LEVEL,
    TcpHeader, Version, control,
};

/// Longest frame that [`poll_transmit`](super::Mux::poll_transmit) makes, in bytes: headers and the text
/// of a reset. In host role no frame has more than 36: one packet at any speed.
pub const CONTROL_FRAME: usize = 128;

/// Room for the longest pair of headers.
const HEADERS: usize = wire::HEADER_V2 + wire::TCP_HEADER;

/// Room for the longest text of the engine's own, which has 54 bytes.
const RESET_TEXT: usize = 64;

/// Smallest usable [`Config::max_frame`](super::Config::max_frame).
const LEAST_MAX_FRAME: u16 = 128;

/// A frame of the engine's own: the first `len` bytes of the caller's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[must_use = "a numbered frame that is not sent ends the session"]
pub struct Frame {
    /// Its bytes.
    pub len: usize,
    /// Whether an empty transfer must follow right behind.
    pub needs_zlp: bool,
}

/// What became of the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[must_use = "a numbered frame that is not sent ends the session"]
pub struct Sent {
    /// Bytes of payload in the frame: all, or one less so that no zero-length packet is needed. The
    /// frame is header and payload together.
    pub taken: usize,
    /// Whether an empty transfer must follow right behind.
    pub needs_zlp: bool,
}

/// A frame's header, for a target that streams the payload behind it packet by packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[must_use = "a numbered frame that is not sent ends the session"]
pub struct SentHeader {
    bytes: [u8; HEADERS],
    len: u8,
    /// Bytes of payload that must follow: all, or one less.
    pub taken: usize,
    /// Whether an empty transfer must follow right behind.
    pub needs_zlp: bool,
}

impl SentHeader {
    /// The header's bytes: 36 in version 2, 28 in version 1.
    pub fn header(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or(&self.bytes)
    }
}

/// An RST to a segment that belongs to no connection.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub(super) struct Stray {
    pub(super) source: u16,
    pub(super) dest: u16,
    pub(super) ack: SeqNumber,
}

/// A frame in the making, in the caller's buffer.
struct Writer<'b> {
    left: &'b mut [u8],
    written: usize,
}

impl<'b> Writer<'b> {
    fn new(left: &'b mut [u8]) -> Self {
        Writer { left, written: 0 }
    }

    /// Appends what fits.
    fn put(&mut self, bytes: &[u8]) {
        let count = bytes.len().min(self.left.len());
        let left = core::mem::take(&mut self.left);
        let Some((head, tail)) = left.split_at_mut_checked(count) else { return };
        for (to, from) in head.iter_mut().zip(bytes) {
            *to = *from;
        }
        self.left = tail;
        self.written = self.written.saturating_add(count);
    }
}

impl<S: AsRef<[Slot]> + AsMut<[Slot]>> Mux<S> {
    // ---- payload

    /// Bytes of payload that one frame may carry now: bounded by the peer's window, the largest frame,
    /// and the rule about zero-length packets. 0 for a stale handle, a connection that is not open yet or
    /// any more, or no room.
    ///
    /// Where an open connection has no room, [`Event::Sendable`](super::Event::Sendable) is owed: at once
    /// when half the window is free, after the acknowledgement delay when less is. Asking before it comes
    /// is allowed, but makes small frames.
    pub fn sendable(&mut self, conn: ConnId) -> usize {
        let most = self.max_payload();
        let Some(slot) = self.table.live(conn) else { return 0 };
        let room = slot.conn.room().min(most);
        if room == 0 {
            slot.conn.arm();
        }
        room as usize
    }

    /// Payload of the largest frame: never one that needs a zero-length packet, if trimming.
    fn max_payload(&self) -> u32 {
        let max_frame = u32::from(self.config.max_frame.max(LEAST_MAX_FRAME));
        let trimmed = self.config.zlp == Zlp::Trim && self.fills_packets(max_frame as usize);
        max_frame.saturating_sub(self.headroom() as u32).saturating_sub(trimmed.into())
    }

    /// Whether a frame of this length ends with a packet of full size. (wMaxPacketSize is a power of 2.)
    fn fills_packets(&self, len: usize) -> bool {
        len & usize::from(self.link.max_packet.wrapping_sub(1)) == 0
    }

    /// Numbers a frame of `len` bytes of payload that stand at `frame[headroom..headroom + len]`, and
    /// writes its header in front of them.
    ///
    /// The transfer to submit **now**, in this order, is `frame[..headroom + taken]`. Numbering a frame
    /// and handing it to USB are one step: a numbered frame that is not sent kills the session, so
    /// [`detach`](Mux::detach) and [`attach`](Mux::attach) if that happens. Where `taken` is `len - 1`,
    /// the last byte is to be carried to the front of the next frame.
    ///
    /// # Errors
    /// [`SendError`]; nothing was numbered, `frame` is as it was.
    pub fn send_in_place(
        &mut self,
        now: Instant,
        conn: ConnId,
        frame: &mut [u8],
        len: usize,
    ) -> Result<Sent, SendError> {
        if frame.len().saturating_sub(self.headroom()) < len {
            return Err(SendError::ShortBuffer);
        }
        self.number_payload(now, conn, len, &mut Writer::new(frame))
    }

    /// The same for a target that streams: numbers the frame and returns its header, behind which
    /// exactly `taken` bytes must follow in the same transfer.
    ///
    /// Until they are out, nothing else may go to USB: neither a frame of
    /// [`poll_transmit`](Mux::poll_transmit) nor another `send`. They must follow even if the connection or
    /// the session ends meanwhile; any bytes will do then, for nobody reads them. Only
    /// [`detach`](Mux::detach) frees from it.
    ///
    /// # Errors
    /// [`SendError`]; nothing was numbered.
    pub fn send(
        &mut self,
        now: Instant,
        conn: ConnId,
        len: usize,
    ) -> Result<SentHeader, SendError> {
        let mut bytes = [0; HEADERS];
        let mut writer = Writer::new(&mut bytes);
        let Sent { taken, needs_zlp } = self.number_payload(now, conn, len, &mut writer)?;
        let len = writer.written as u8;
        Ok(SentHeader { bytes, len, taken, needs_zlp })
    }

    fn number_payload(
        &mut self,
        now: Instant,
        conn: ConnId,
        len: usize,
        writer: &mut Writer<'_>,
    ) -> Result<Sent, SendError> {
        let most = self.max_payload();
        let full = self.fills_packets(self.headroom().saturating_add(len));
        let trim = full && self.config.zlp == Zlp::Trim;
        let slot = self.table.live(conn).ok_or(SendError::Gone)?;
        if slot.conn.state != State::Established {
            return Err(SendError::Gone);
        }
        if len == 0 || len > slot.conn.room().min(most) as usize {
            return Err(SendError::NoRoom);
        }
        // At least one byte is left: no headers alone are a multiple of a packet size.
        let taken = len.saturating_sub(trim.into());
        let tcp = self.segment_header(conn.index, Flags::ACK, taken as u32);
        self.put_headers(now, writer, Protocol::TCP, Some(&tcp), taken);
        self.table.settle(now, conn.index, &self.config);
        trace!("sending {} bytes for {:?}", taken, conn);
        Ok(Sent { taken, needs_zlp: full && !trim })
    }

    /// The header of a connection's next segment; the state counts it as sent.
    fn segment_header(&mut self, index: u16, flags: Flags, bytes: u32) -> TcpHeader {
        let style = self.config.window_style;
        let Some(slot) = self.table.slot(index) else {
            return TcpHeader::new((0, 0), SeqNumber(0), SeqNumber(0), flags, 0);
        };
        let ports = (slot.local, slot.remote);
        let conn = &mut slot.conn;
        let (ack, units) = conn.announcement(style);
        let seq = conn.snd_nxt;
        conn.sent(bytes);
        conn.announced(ack, units);
        TcpHeader::new(ports, seq, ack, flags, units)
    }

    /// Writes the mux header, and the TCP header of a segment, of a frame with `body` bytes behind them.
    /// The frame is numbered now.
    fn put_headers(
        &mut self,
        now: Instant,
        writer: &mut Writer<'_>,
        protocol: Protocol,
        tcp: Option<&TcpHeader>,
        body: usize,
    ) {
        let after_mux = if tcp.is_some() { body.saturating_add(wire::TCP_HEADER) } else { body };
        if self.link.is_numbered() {
            let watch = self.config.watch && self.role() == Role::Host;
            let numbers = self.link.number(now, watch);
            self.put_numbered(writer, protocol, after_mux, numbers);
        } else {
            self.put_short(writer, protocol, after_mux);
        }
        if let Some(tcp) = tcp {
            writer.put(&tcp.emit());
        }
    }

    fn put_numbered(
        &mut self,
        writer: &mut Writer<'_>,
        protocol: Protocol,
        after_mux: usize,
        (tx_seq, rx_seq): (u16, u16),
    ) {
        let magic = if self.role() == Role::Host { Magic::HOST } else { Magic::PHONE };
        let length = after_mux.saturating_add(wire::HEADER_V2) as u32;
        writer.put(&HeaderV2 { protocol, length, magic, tx_seq, rx_seq }.emit());
        self.count(|stats| &mut stats.frames_out);
    }

    fn put_short(&mut self, writer: &mut Writer<'_>, protocol: Protocol, after_mux: usize) {
        let length = after_mux.saturating_add(wire::HEADER_V1) as u32;
        writer.put(&HeaderV1 { protocol, length }.emit());
        self.count(|stats| &mut stats.frames_out);
    }

    // ---- the engine's own frames

    /// Makes the next frame of the engine's own (handshakes, acknowledgements, resets), if one is due.
    ///
    /// To be called only when USB can take it: the frame is numbered, and must be sent now, in this
    /// order. May change after every other call that takes `now`.
    pub fn poll_transmit(&mut self, now: Instant, buf: &mut [u8; CONTROL_FRAME]) -> Option<Frame> {
        let mut writer = Writer::new(buf);
        if !self.link_frame(now, &mut writer) && !self.connection_frame(now, &mut writer) {
            return None;
        }
        let len = writer.written;
        Some(Frame { len, needs_zlp: self.fills_packets(len) })
    }

    /// A frame that belongs to no open connection.
    fn link_frame(&mut self, now: Instant, writer: &mut Writer<'_>) -> bool {
        match self.link.state() {
            LinkState::Greeting if self.stale_reset(writer) => return true,
            _ => {}
        }
        if self.link.due & link_due::VERSION != 0 {
            self.version_frame(now, writer);
            true
        } else if self.link.due & link_due::SETUP != 0 {
            let numbers = self.setup_numbers();
            self.put_numbered(writer, Protocol::SETUP, 1, numbers);
            writer.put(&[SETUP_LEVEL]);
            true
        } else if self.link.due & link_due::DUPLICATE != 0 {
            self.duplicate_frame(now, writer);
            true
        } else {
            self.link.carries() && self.stray_reset(now, writer)
        }
    }

    fn version_frame(&mut self, now: Instant, writer: &mut Writer<'_>) {
        self.link.version_sent(now, self.role(), self.config.version_timeout_ms);
        let version = Version { major: self.own_version(), minor: 0, padding: 0 };
        self.put_short(writer, Protocol::VERSION, wire::VERSION_BODY);
        writer.put(&version.emit());
    }

    fn duplicate_frame(&mut self, now: Instant, writer: &mut Writer<'_>) {
        let (expected, received) = self.link.duplicate;
        self.link.due &= !link_due::DUPLICATE;
        let mut text = [0; RESET_TEXT];
        let mut text_writer = Writer::new(&mut text);
        text_writer.put(control::DUPLICATE_PACKET);
        text_writer.put(b". Expected ");
        put_decimal(&mut text_writer, expected);
        text_writer.put(b" received ");
        put_decimal(&mut text_writer, received);
        let len = text_writer.written;
        self.put_control(now, writer, ControlKind::WARNING, text.get(..len).unwrap_or(&[]));
    }

    fn put_control(
        &mut self,
        now: Instant,
        writer: &mut Writer<'_>,
        kind: ControlKind,
        text: &[u8],
    ) {
        let text = self.fitting(text, self.mux_header() + 1);
        self.put_headers(now, writer, Protocol::CONTROL, None, text.len().saturating_add(1));
        writer.put(&[kind.0]);
        writer.put(text);
    }

    const fn mux_header(&self) -> usize {
        self.headroom() - wire::TCP_HEADER
    }

    /// A text, one byte shorter if the frame would need a zero-length packet.
    fn fitting<'a>(&self, text: &'a [u8], headers: usize) -> &'a [u8] {
        match text.split_last() {
            Some((_, shorter))
                if self.config.zlp == Zlp::Trim
                    && self.fills_packets(headers.saturating_add(text.len())) =>
            {
                shorter
            }
            _ => text,
        }
    }

    /// An RST in the session of a host before us, numbered as the phone expects it: only once a VERSION
    /// went unanswered, and right before the next. To a phone that heeds VERSION its number is wrong.
    fn stale_reset(&mut self, writer: &mut Writer<'_>) -> bool {
        if !self.link.repeats_version() {
            return false;
        }
        let Some(tx_seq) = self.link.stale_tx else { return false };
        let Some(stray) = self.strays.pop() else { return false };
        self.link.stale_tx = Some(tx_seq.wrapping_add(1));
        self.put_numbered(writer, Protocol::TCP, wire::TCP_HEADER, (tx_seq, RX_SEQ_NONE));
        writer.put(&stray.header().emit());
        true
    }

    fn stray_reset(&mut self, now: Instant, writer: &mut Writer<'_>) -> bool {
        let Some(stray) = self.strays.pop() else { return false };
        self.put_headers(now, writer, Protocol::TCP, Some(&stray.header()), 0);
        true
    }

    /// A frame of a connection. While no version is agreed none has anything due.
    fn connection_frame(&mut self, now: Instant, writer: &mut Writer<'_>) -> bool {
        // Bounded: each turn takes an entry out of the list.
        while let Some(index) = self.table.pop_ready() {
            let made = self.frame_for(now, index, writer);
            self.table.settle(now, index, &self.config);
            if made {
                return true;
            }
        }
        false
    }

    /// The first frame that is due on a connection; `false` if none is.
    fn frame_for(&mut self, now: Instant, index: u16, writer: &mut Writer<'_>) -> bool {
        let style = self.config.window_style;
        let Some(slot) = self.table.slot(index) else { return false };
        let conn = &mut slot.conn;
        let (flags, bytes) = if conn.due & due::CONTROL != 0 {
            conn.due &= !due::CONTROL;
            self.put_control(now, writer, ControlKind::ERROR, control::SOCKET_CLOSED);
            return true;
        } else if conn.due & due::RST != 0 {
            conn.due = 0;
            let mut text = [0; RESET_TEXT];
            let mut text_writer = Writer::new(&mut text);
            reset_text(conn, &mut text_writer);
            let len = text_writer.written;
            self.put_reset(now, index, writer, text.get(..len).unwrap_or(&[]));
            return true;
        } else if conn.due & due::SYN != 0 {
            conn.due &= !due::SYN;
            (Flags::SYN, 1)
        } else if conn.due & due::SYN_ACK != 0 {
            conn.due &= !due::SYN_ACK;
            (Flags::SYN | Flags::ACK, 1)
        } else if conn.due & (due::ACK | due::REACK) != 0 {
            if !conn.ack_is_news(style) {
                conn.due = 0;
                return false;
            }
            self.count(|stats| &mut stats.pure_acks);
            (Flags::ACK, 0)
        } else {
            return false;
        };
        let tcp = self.segment_header(index, flags, bytes);
        self.put_headers(now, writer, Protocol::TCP, Some(&tcp), 0);
        true
    }

    fn put_reset(&mut self, now: Instant, index: u16, writer: &mut Writer<'_>, text: &[u8]) {
        let text = if self.role() == Role::Device { text } else { &[] };
        let text = self.fitting(text, self.headroom());
        let tcp = self.segment_header(index, Flags::RST, 0);
        self.put_headers(now, writer, Protocol::TCP, Some(&tcp), text.len());
        writer.put(text);
    }
}

impl Stray {
    /// Whether it goes to the connection that this segment came on.
    pub(super) const fn answers(&self, tcp: &TcpHeader) -> bool {
        self.source == tcp.dest && self.dest == tcp.source
    }

    fn header(&self) -> TcpHeader {
        TcpHeader::new((self.source, self.dest), SeqNumber(0), self.ack, Flags::RST, 0)
    }
}

/// What an RST of a phone's says. The first two are seen on real phones; the others are ours.
fn reset_text(conn: &Conn, text: &mut Writer<'_>) {
    text.put(match conn.reset {
        ResetReason::None => b"",
        ResetReason::Closed => control::ORDINARY_CLOSE,
        ResetReason::BadFlags => b"handleMuxTCPInput th.th_flags = 0x",
        ResetReason::Refused => b"connection refused",
        ResetReason::NoRoom => b"no room",
        ResetReason::Overrun => b"window overrun",
        ResetReason::Failed => b"connection failed",
    });
    if conn.reset == ResetReason::BadFlags {
        let digit = |value: u8| if value < 10 { b'0' + value } else { b'a' + value - 10 };
        text.put(&[digit(conn.bad_flags >> 4), digit(conn.bad_flags & 0x0f)]);
        text.put(b", not TH_ACK(0x10)");
    }
}

fn put_decimal(writer: &mut Writer<'_>, number: u16) {
    let mut digits = [b' '; 5];
    let (mut left, mut used) = (number, 0);
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (left % 10) as u8;
        left /= 10;
        used += 1;
        if left == 0 {
            break;
        }
    }
    writer.put(digits.get(digits.len().saturating_sub(used)..).unwrap_or(&[]));
}
