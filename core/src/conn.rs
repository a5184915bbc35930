//! One connection: its state, its credit, every transition.
//!
//! What is to be sent (`due`), told (`events`) and waited for ([`Conn::timer`]) is computed from this
//! state; the lists that find it quickly are [`mux::table`](crate::mux)'s. No method here knows about
//! other connections, ports or frames' numbers.
//!
//! The invariants, in bytes: `snd_una ≤ snd_nxt ≤ snd_una + peer's window` (a window that shrinks is "no
//! room", not a fault), `rcv_nxt ≤ edge()`, and the announced edge lies at most 255 below the true one.
//!
//! To be watched in lessons 4 to 8 (`core/examples`).

use crate::mux::{AckPolicy, CloseReason, GapPolicy, RefusedBy, ResetReason, Stats, WindowStyle};
use crate::seq::SeqNumber;
use crate::wire::{Flags, TcpHeader};

/// Frames to send, as bits of [`Conn::due`].
pub(crate) mod due {
    pub(crate) const SYN: u8 = 1;
    pub(crate) const SYN_ACK: u8 = 2;
    /// Acknowledge, if there is anything new to say.
    pub(crate) const ACK: u8 = 4;
    /// Acknowledge in any case.
    pub(crate) const REACK: u8 = 8;
    /// The CONTROL text of an ordinary end (device role).
    pub(crate) const CONTROL: u8 = 16;
    pub(crate) const RST: u8 = 32;
}

/// Events to tell, as bits of [`Conn::events`], in the order in which they are told.
pub(crate) mod told {
    pub(crate) const INCOMING: u8 = 1;
    pub(crate) const CONNECTED: u8 = 2;
    pub(crate) const SENDABLE: u8 = 4;
    pub(crate) const FINISHED: u8 = 8;
    /// Over: closed or refused, as [`Conn::why`](super::Conn::why) says.
    pub(crate) const ENDED: u8 = 16;
}

/// Where a connection stands; RFC 793's names where it has one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub(crate) enum State {
    /// The slot is free.
    #[default]
    Free,
    /// Our SYN is due or out.
    SynSent,
    /// The peer's SYN is in, the application has not decided.
    Incoming,
    /// Our SYN|ACK is due or out.
    SynReceived,
    Established,
    /// Closed by us; waits for the peer to acknowledge everything.
    Draining,
    /// Over; waits for its last event to be told and its RST to be sent.
    Closed,
}

/// What a connection waits for. Timers of one kind have one duration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub(crate) enum TimerKind {
    #[default]
    None,
    /// Acknowledgements, and room in the peer's window, that can wait a little.
    Short,
    Syn,
    Drain,
    Quarantine,
}

impl TimerKind {
    /// The timers of connections that are in use.
    pub(crate) const ALL: [TimerKind; 3] = [TimerKind::Short, TimerKind::Syn, TimerKind::Drain];
}

/// What becomes of a segment's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is for nobody.
    Drop,
    /// It is in sequence behind the first `skip` bytes; a FIN follows it or not.
    Take { skip: u16, fin: bool },
    /// It is the text of a reset: [`Conn::peer_reset`] is to be called behind it.
    ResetText,
}

/// Largest window that the 16-bit field can announce.
const MAX_WINDOW: u32 = (u16::MAX as u32) << TcpHeader::WINDOW_SHIFT;
/// Windows move in steps of this many bytes.
const WINDOW_STEP: u32 = 1 << TcpHeader::WINDOW_SHIFT;

/// Rounds a window down to what can be announced; at least one step.
pub(crate) const fn whole_window(bytes: u32) -> u32 {
    if bytes >= MAX_WINDOW {
        MAX_WINDOW
    } else if bytes < WINDOW_STEP {
        WINDOW_STEP
    } else {
        bytes & !(WINDOW_STEP - 1)
    }
}

/// The state of one connection.
#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub(crate) struct Conn {
    pub(crate) state: State,
    /// Bits of [`due`].
    pub(crate) due: u8,
    /// Bits of [`told`].
    pub(crate) events: u8,
    pub(crate) why: Ending,
    pub(crate) reset: ResetReason,
    /// The flags that [`ResetReason::BadFlags`] complains of.
    pub(crate) bad_flags: u8,
    /// Data frames since the last acknowledgement; saturates.
    frames: u8,
    wish: Wish,
    /// Something new waits for the short timer to be acknowledged.
    ack_waits: bool,
    /// The window announced last, in 256-byte units.
    announced_units: u16,
    /// Number of our next byte.
    pub(crate) snd_nxt: SeqNumber,
    /// The peer's last acknowledgement.
    snd_una: SeqNumber,
    /// The peer's window in bytes.
    snd_wnd: u32,
    /// Number of the next byte that we expect.
    pub(crate) rcv_nxt: SeqNumber,
    /// Delivered bytes that the application has not consumed.
    held: u32,
    /// Our window in bytes: a multiple of 256, only ever raised.
    window: u32,
    /// The acknowledgement announced last.
    announced_ack: SeqNumber,
}

/// Whether the application is owed [`told::SENDABLE`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
enum Wish {
    #[default]
    None,
    /// `sendable()` said 0.
    Room,
    /// There is room, not worth an event at once: the short timer decides.
    RoomWaits,
}

/// Why a connection ended, kept until it was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub(crate) enum Ending {
    Closed(CloseReason),
    Refused(RefusedBy),
}

impl Default for Ending {
    fn default() -> Self {
        Ending::Closed(CloseReason::LinkLost)
    }
}

impl Conn {
    /// A free one.
    pub(crate) const EMPTY: Conn = Conn {
        state: State::Free,
        due: 0,
        events: 0,
        why: Ending::Closed(CloseReason::LinkLost),
        reset: ResetReason::None,
        bad_flags: 0,
        frames: 0,
        wish: Wish::None,
        ack_waits: false,
        announced_units: 0,
        snd_nxt: SeqNumber(0),
        snd_una: SeqNumber(0),
        snd_wnd: 0,
        rcv_nxt: SeqNumber(0),
        held: 0,
        window: 0,
        announced_ack: SeqNumber(0),
    };

    // ---- opening

    /// The application connects: a SYN is due.
    pub(crate) fn connect(window: u32) -> Conn {
        let window = whole_window(window);
        Conn { state: State::SynSent, due: due::SYN, window, ..Conn::EMPTY }
    }

    /// A SYN arrived: the application is asked.
    pub(crate) fn incoming(syn: &TcpHeader) -> Conn {
        Conn {
            state: State::Incoming,
            events: told::INCOMING,
            rcv_nxt: syn.seq.plus(1),
            snd_wnd: syn.window(),
            ..Conn::EMPTY
        }
    }

    /// The application accepts: a SYN|ACK is due.
    pub(crate) fn accept(&mut self, window: u32) {
        self.state = State::SynReceived;
        self.window = whole_window(window);
        self.due = due::SYN_ACK;
    }

    /// The application refuses: an RST is due, no event follows.
    pub(crate) fn refuse(&mut self, why: ResetReason) {
        self.reset = why;
        self.state = State::Closed;
        self.events = 0;
        self.due = due::RST;
    }

    // ---- segments in

    /// A segment arrived, with `len` bytes of payload still to come.
    pub(crate) fn segment(
        &mut self,
        tcp: &TcpHeader,
        len: u16,
        rules: Rules,
        stats: &mut Stats,
    ) -> Verdict {
        if tcp.flags.contains(Flags::RST) {
            return Verdict::ResetText;
        }
        match self.state {
            State::SynSent => self.syn_answered(tcp),
            State::SynReceived if tcp.flags == Flags::ACK && tcp.ack == self.snd_nxt => {
                self.state = State::Established;
                self.events |= told::CONNECTED;
                self.established(tcp, len, rules, stats)
            }
            State::Established | State::Draining => self.established(tcp, len, rules, stats),
            State::Incoming | State::SynReceived => {
                self.fail(CloseReason::Protocol);
                Verdict::Drop
            }
            State::Free | State::Closed => Verdict::Drop,
        }
    }

    fn syn_answered(&mut self, tcp: &TcpHeader) -> Verdict {
        if tcp.flags == Flags::SYN | Flags::ACK && tcp.ack == self.snd_nxt && self.due == 0 {
            self.state = State::Established;
            self.events |= told::CONNECTED;
            self.rcv_nxt = tcp.seq.plus(1);
            self.announced_ack = self.rcv_nxt;
            self.snd_una = tcp.ack;
            self.snd_wnd = tcp.window();
            self.due |= due::REACK;
        } else {
            self.reset_with(Ending::Refused(RefusedBy::Protocol));
        }
        Verdict::Drop
    }

    fn established(
        &mut self,
        tcp: &TcpHeader,
        len: u16,
        rules: Rules,
        stats: &mut Stats,
    ) -> Verdict {
        if tcp.flags != Flags::ACK {
            stats.odd_flags = stats.odd_flags.wrapping_add(1);
            if rules.strict_flags {
                self.reset = ResetReason::BadFlags;
                self.bad_flags = tcp.flags.0;
                self.fail(CloseReason::Protocol);
                return Verdict::Drop;
            }
        }
        if tcp.flags.contains(Flags::ACK) && !self.peer_acknowledges(tcp) {
            stats.bad_acks = stats.bad_acks.wrapping_add(1);
            self.fail(CloseReason::BadAck);
            return Verdict::Drop;
        }
        let fin = tcp.flags.contains(Flags::FIN);
        if self.state == State::Closed || (len == 0 && !fin) {
            return Verdict::Drop;
        }
        self.payload_announced(tcp.seq, len, fin, rules.gap, stats)
    }

    /// Takes an acknowledgement and a window; `false` if it acknowledges what was never sent.
    fn peer_acknowledges(&mut self, tcp: &TcpHeader) -> bool {
        if tcp.ack.since(self.snd_nxt) > 0 {
            return false;
        }
        // There is no reordering; an older acknowledgement says nothing new.
        if tcp.ack.since(self.snd_una) >= 0 {
            self.snd_una = tcp.ack;
            self.snd_wnd = tcp.window();
        }
        if self.state == State::Draining && self.unacknowledged() == 0 {
            self.finish(CloseReason::Drained);
        } else if self.wish != Wish::None && self.room() > 0 {
            if self.worth_waking() {
                self.tell_room();
            } else {
                self.wish = Wish::RoomWaits;
            }
        }
        true
    }

    fn tell_room(&mut self) {
        self.wish = Wish::None;
        self.events |= told::SENDABLE;
    }

    /// Decides about `len` bytes of payload that begin at `seq`.
    fn payload_announced(
        &mut self,
        seq: SeqNumber,
        len: u16,
        fin: bool,
        gap: GapPolicy,
        stats: &mut Stats,
    ) -> Verdict {
        let ahead = seq.since(self.rcv_nxt);
        if ahead > 0 {
            stats.gaps = stats.gaps.wrapping_add(1);
            if gap == GapPolicy::End {
                self.reset = ResetReason::Failed;
                self.fail(CloseReason::Gap);
                return Verdict::Drop;
            }
            self.rcv_nxt = seq;
        }
        let seen = ahead.min(0).unsigned_abs();
        let skip = seen.min(u32::from(len)) as u16;
        if seen > 0 {
            stats.repeated = stats.repeated.wrapping_add(1);
            self.due |= due::REACK;
        }
        let fresh = u32::from(len.saturating_sub(skip));
        if fresh > self.credit() {
            stats.overruns = stats.overruns.wrapping_add(1);
            self.reset = ResetReason::Overrun;
            self.fail(CloseReason::Overrun);
            return Verdict::Drop;
        }
        Verdict::Take { skip, fin: fin && seen <= u32::from(len) }
    }

    /// `bytes` of payload in sequence arrived.
    pub(crate) fn payload(&mut self, bytes: u32) {
        self.rcv_nxt = self.rcv_nxt.plus(bytes);
    }

    /// The segment that [`Verdict::Take`] was about is complete.
    pub(crate) fn segment_end(&mut self, fin: bool, rules: Rules) {
        self.frames = self.frames.saturating_add(1);
        if fin {
            // A FIN takes a number of its own (RFC 793 §3.3).
            self.rcv_nxt = self.rcv_nxt.plus(1);
            self.due |= due::REACK;
            if self.state == State::Established {
                self.events |= told::FINISHED;
            }
        }
        self.reconsider_ack(rules);
    }

    /// The peer's RST is complete.
    pub(crate) fn peer_reset(&mut self) {
        let all_read = self.unacknowledged() == 0;
        self.end(match self.state {
            State::SynSent => Ending::Refused(RefusedBy::Reset),
            State::Draining if all_read => Ending::Closed(CloseReason::Drained),
            _ => Ending::Closed(CloseReason::Reset),
        });
    }

    // ---- credit

    /// The acknowledgement and window field that say all we know.
    pub(crate) fn announcement(&self, style: WindowStyle) -> (SeqNumber, u16) {
        let (ack, window) = match style {
            WindowStyle::Constant => (self.rcv_nxt.minus(self.held), self.window),
            WindowStyle::Credit => (self.rcv_nxt, self.window.saturating_sub(self.held)),
        };
        (ack, (window >> TcpHeader::WINDOW_SHIFT).min(u32::from(u16::MAX)) as u16)
    }

    /// Bytes that may still arrive and must find room: up to the true edge, or to the announced one
    /// while the application's report lags behind.
    pub(crate) fn credit(&self) -> u32 {
        self.window.saturating_sub(self.held).max(self.peer_left())
    }

    /// Bytes that the peer may still send as far as it knows.
    fn peer_left(&self) -> u32 {
        let units = u32::from(self.announced_units);
        let edge = self.announced_ack.plus(units << TcpHeader::WINDOW_SHIFT);
        edge.since(self.rcv_nxt).max(0).unsigned_abs()
    }

    /// The application reports what it holds; nothing, once it has closed.
    pub(crate) fn set_held(&mut self, bytes: u32, rules: Rules) {
        if self.held != bytes && self.state != State::Draining {
            self.held = bytes;
            self.reconsider_ack(rules);
        }
    }

    /// The application raises the window.
    pub(crate) fn set_window(&mut self, bytes: u32, rules: Rules) {
        let window = whole_window(bytes);
        if window > self.window {
            self.window = window;
            self.reconsider_ack(rules);
        }
    }

    /// Decides whether an acknowledgement is due now, soon, or not at all.
    fn reconsider_ack(&mut self, rules: Rules) {
        if !matches!(self.state, State::Established | State::Draining) {
            return;
        }
        let (ack, units) = self.announcement(rules.style);
        if (ack, units) == (self.announced_ack, self.announced_units) {
            return;
        }
        let rise = self.window.saturating_sub(self.held).saturating_sub(self.peer_left());
        let starving = rise >= WINDOW_STEP && self.peer_left() < self.window / 2;
        let at_once = match rules.ack {
            _ if self.state == State::Draining => true,
            AckPolicy::Prompt => starving || self.frames >= 2,
            AckPolicy::Immediate => true,
            AckPolicy::Classic => false,
        };
        if at_once {
            self.due |= due::ACK;
        } else {
            self.ack_waits = true;
        }
    }

    /// Whether a due acknowledgement says anything.
    pub(crate) fn ack_is_news(&self, style: WindowStyle) -> bool {
        self.due & due::REACK != 0
            || self.announcement(style) != (self.announced_ack, self.announced_units)
    }

    /// A frame with this announcement was numbered.
    pub(crate) fn announced(&mut self, ack: SeqNumber, units: u16) {
        (self.announced_ack, self.announced_units) = (ack, units);
        self.forget_ack();
    }

    /// No acknowledgement is due any more.
    pub(crate) fn forget_ack(&mut self) {
        self.due &= !(due::ACK | due::REACK);
        self.ack_waits = false;
        self.frames = 0;
    }

    // ---- sending

    /// Bytes that the peer's window has room for.
    pub(crate) fn room(&self) -> u32 {
        if self.state == State::Established {
            self.snd_wnd.saturating_sub(self.unacknowledged())
        } else {
            0
        }
    }

    /// Bytes sent and not acknowledged; a SYN counts as one.
    pub(crate) fn unacknowledged(&self) -> u32 {
        self.snd_nxt.since(self.snd_una).max(0).unsigned_abs()
    }

    /// The application found no room and wants to be told.
    pub(crate) fn arm(&mut self) {
        if self.state == State::Established {
            self.wish = Wish::Room;
        }
        self.events &= !told::SENDABLE;
    }

    /// Whether the room is worth an event now: half a window, or all that there will be. Less waits for
    /// the short timer (RFC 1122 §4.2.3.4: the cure for silly windows, and its override).
    fn worth_waking(&self) -> bool {
        self.unacknowledged() == 0 || self.room() >= self.snd_wnd / 2
    }

    /// `bytes` of sequence space were numbered.
    pub(crate) fn sent(&mut self, bytes: u32) {
        self.snd_nxt = self.snd_nxt.plus(bytes);
    }

    // ---- ending

    /// The application closes: what arrives is discarded from now on.
    pub(crate) fn close(&mut self, rules: Rules) {
        match self.state {
            State::Established => {
                self.state = State::Draining;
                self.events &= !(told::SENDABLE | told::FINISHED);
                self.held = 0;
                if self.unacknowledged() == 0 {
                    self.finish(CloseReason::Drained);
                } else {
                    self.reconsider_ack(rules);
                }
            }
            State::SynSent | State::SynReceived | State::Incoming => self.abort(),
            State::Free | State::Draining | State::Closed => {}
        }
    }

    /// The application gives up: an RST is due, no event follows.
    pub(crate) fn abort(&mut self) {
        let silent = self.state == State::SynSent && self.due & due::SYN != 0;
        self.state = State::Closed;
        self.events = 0;
        self.due = if silent { 0 } else { due::RST };
        self.farewell();
    }

    /// In device role an ordinary end says so before its RST.
    fn farewell(&mut self) {
        if self.reset == ResetReason::Closed && self.due & due::RST != 0 {
            self.due |= due::CONTROL;
        }
    }

    /// Ends a drained connection with the RST that is its only end, and in device role with its texts.
    fn finish(&mut self, why: CloseReason) {
        self.reset_with(Ending::Closed(why));
        self.farewell();
    }

    /// The peer misbehaved: this connection ends, and no other.
    pub(crate) fn fail(&mut self, why: CloseReason) {
        self.reset_with(Ending::Closed(why));
    }

    fn reset_with(&mut self, why: Ending) {
        self.end(why);
        self.due = due::RST;
    }

    /// Ends without an RST: the peer sent its own, or cannot be reached.
    pub(crate) fn end(&mut self, why: Ending) {
        let unheard = self.events & told::INCOMING != 0;
        self.state = State::Closed;
        self.why = why;
        self.due = 0;
        self.events &= told::CONNECTED;
        if !unheard {
            self.events |= told::ENDED;
        }
    }

    // ---- time

    /// What the connection waits for.
    pub(crate) fn timer(&self) -> TimerKind {
        match self.state {
            State::SynSent | State::SynReceived => TimerKind::Syn,
            State::Draining => TimerKind::Drain,
            State::Established if self.ack_waits || self.wish == Wish::RoomWaits => {
                TimerKind::Short
            }
            _ => TimerKind::None,
        }
    }

    /// The wait is over.
    pub(crate) fn expired(&mut self, kind: TimerKind, stats: &mut Stats) {
        match kind {
            TimerKind::Short => {
                if core::mem::take(&mut self.ack_waits) {
                    self.due |= due::ACK;
                }
                if self.wish == Wish::RoomWaits {
                    self.tell_room();
                }
            }
            TimerKind::Syn if self.state == State::SynSent => {
                let silent = self.due & due::SYN != 0;
                self.reset_with(Ending::Refused(RefusedBy::Timeout));
                if silent {
                    self.due = 0;
                }
            }
            TimerKind::Syn => self.fail(CloseReason::Protocol),
            TimerKind::Drain => {
                stats.drain_timeouts = stats.drain_timeouts.wrapping_add(1);
                self.finish(CloseReason::DrainTimeout);
            }
            TimerKind::None | TimerKind::Quarantine => {}
        }
    }
}

/// The policies that a connection's decisions need.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) style: WindowStyle,
    pub(crate) ack: AckPolicy,
    pub(crate) gap: GapPolicy,
    /// Flags other than a lone ACK draw an RST: a phone's nature.
    pub(crate) strict_flags: bool,
}
