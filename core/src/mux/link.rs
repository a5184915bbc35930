//! The link: VERSION and SETUP in both roles, frame numbers, dead sessions; lessons 3 and 10.

use super::config::{Role, SequencePolicy};
use super::event::{CloseReason, DeathCause, Event, LinkFailure};
use super::ingress::Body;
use super::table::Slot;
use super::{Mux, Stats};
use crate::conn::Ending;
use crate::deframe::{Deframer, Form, Numbers};
use crate::time::Instant;
use crate::wire::{self, RX_SEQ_NONE, Version};

/// Where the link stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum LinkState {
    /// Nothing is plugged in.
    Down,
    /// Plugged in, no version agreed yet.
    Greeting,
    /// Connections can be opened.
    Up {
        /// 1 or 2.
        version: u32,
    },
    /// No version could be agreed; attach again.
    Failed,
    /// Device role: a frame of the host's had the wrong number; nothing is accepted until VERSION.
    Dead {
        /// 1 or 2.
        version: u32,
    },
}

/// Frames of the link's own to send, as bits of [`Link::due`].
pub(super) mod due {
    pub(in super::super) const VERSION: u8 = 1;
    pub(in super::super) const SETUP: u8 = 2;
    /// The CONTROL text about a wrong frame number (device role).
    pub(in super::super) const DUPLICATE: u8 = 4;
}

const TOLD_DEAD: u8 = 1;
const TOLD_FAILED: u8 = 2;
const TOLD_UP: u8 = 4;

/// A frame of the phone's that old counts against the session (DESIGN §3).
const WATCH_MS: u32 = 1000;
/// So many of them, one after the other, are a dead session.
const WATCH_STRIKES: u8 = 2;

/// The state of the link.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub(super) struct Link {
    state: LinkState,
    /// Bits of [`due`].
    pub(super) due: u8,
    told: u8,
    /// VERSION frames sent by the timer since `attach`.
    tries: u8,
    /// VERSION was repeated for a stale frame since the last try.
    repeated: bool,
    strikes: u8,
    cause: DeathCause,
    failure: LinkFailure,
    /// Number of our next frame.
    pub(super) tx_seq: u16,
    /// Number of the peer's last frame.
    pub(super) rx_seq: u16,
    /// What our next frame in the old session would be numbered, once a stale frame has told.
    pub(super) stale_tx: Option<u16>,
    /// The numbers that [`due::DUPLICATE`] complains of: expected, received.
    pub(super) duplicate: (u16, u16),
    /// wMaxPacketSize.
    pub(super) max_packet: u16,
    /// When the answer to VERSION is overdue; never, if none is waited for.
    pub(super) deadline: Instant,
    /// A frame of ours that the phone has not accepted as far as we know,
    watch: Option<u16>,
    /// and when it was sent.
    watched_since: Instant,
}

impl Link {
    pub(super) const fn down() -> Self {
        Link {
            state: LinkState::Down,
            due: 0,
            told: 0,
            tries: 0,
            repeated: false,
            strikes: 0,
            cause: DeathCause::DuplicatePacket,
            failure: LinkFailure::Silent,
            tx_seq: 0,
            rx_seq: RX_SEQ_NONE,
            stale_tx: None,
            duplicate: (0, 0),
            max_packet: 512,
            deadline: Instant::NEVER,
            watch: None,
            watched_since: Instant::ZERO,
        }
    }

    pub(super) const fn state(&self) -> LinkState {
        self.state
    }

    /// Whether frames carry numbers.
    pub(super) const fn is_numbered(&self) -> bool {
        matches!(self.state, LinkState::Up { version: 2 } | LinkState::Dead { version: 2 })
    }

    /// Whether connections may send.
    pub(super) const fn carries(&self) -> bool {
        matches!(self.state, LinkState::Up { .. } | LinkState::Dead { .. })
    }

    pub(super) const fn headroom(&self) -> usize {
        match self.state {
            LinkState::Up { version: 1 } | LinkState::Dead { version: 1 } => {
                wire::HEADER_V1 + wire::TCP_HEADER
            }
            _ => wire::HEADER_V2 + wire::TCP_HEADER,
        }
    }

    pub(super) fn take_event(&mut self) -> Option<Event> {
        if self.told & TOLD_DEAD != 0 {
            self.told &= !TOLD_DEAD;
            return Some(Event::SessionDead { cause: self.cause });
        }
        if self.told & TOLD_FAILED != 0 {
            self.told &= !TOLD_FAILED;
            return Some(Event::LinkFailed { reason: self.failure });
        }
        if self.told & TOLD_UP != 0 {
            self.told &= !TOLD_UP;
            if let LinkState::Up { version } = self.state {
                return Some(Event::LinkUp { version });
            }
        }
        None
    }

    /// Takes the next frame number for a frame that goes to USB now.
    pub(super) fn number(&mut self, now: Instant, watch: bool) -> (u16, u16) {
        let tx_seq = self.tx_seq;
        self.tx_seq = tx_seq.wrapping_add(1);
        if watch && self.watch.is_none() {
            self.watch = Some(tx_seq);
            self.watched_since = now;
        }
        (tx_seq, self.rx_seq)
    }

    /// Whether VERSION is due because the one before was not answered.
    pub(super) const fn repeats_version(&self) -> bool {
        self.tries > 1 && self.due & due::VERSION != 0
    }

    /// VERSION went out.
    pub(super) fn version_sent(&mut self, now: Instant, role: Role, timeout_ms: u32) {
        self.due &= !due::VERSION;
        if role == Role::Host {
            self.deadline = now.plus_millis(timeout_ms);
        }
    }

    /// Whether a phone's frame with this `rx_seq` is the last straw: twice in a row it did not know of
    /// a frame that we sent more than a second before.
    fn is_stuck(&mut self, now: Instant, rx_seq: u16) -> bool {
        let Some(sent) = self.watch else { return false };
        if rx_seq.wrapping_sub(sent).cast_signed() >= 0 {
            self.watch = None;
            self.strikes = 0;
        } else if now > self.watched_since.plus_millis(WATCH_MS) {
            self.strikes = self.strikes.saturating_add(1);
        }
        self.strikes >= WATCH_STRIKES
    }
}

/// wMaxPacketSize as a power of two from 8 to 1024. Anything else counts as 64: a frame that is no
/// multiple of 64 is none of 512 either.
fn packet_size(max_packet: u16) -> u16 {
    if max_packet.is_power_of_two() && (8..=1024).contains(&max_packet) { max_packet } else { 64 }
}

impl<S: AsRef<[Slot]> + AsMut<[Slot]>> Mux<S> {
    /// A phone was plugged in, or its session is to begin anew: as host, VERSION is due; as device, it
    /// is waited for.
    ///
    /// `max_packet` is the wMaxPacketSize of the bulk endpoint that we send on, in bytes, from its
    /// descriptor: a power of two from 8 to 1024; anything else counts as 64. Connections of an older session end with [`CloseReason::LinkLost`].
    pub fn attach(&mut self, now: Instant, max_packet: u16) {
        self.restart(now, CloseReason::LinkLost);
        self.deframer = Deframer::new(Form::Greeting);
        self.link.max_packet = packet_size(max_packet);
        self.greet();
    }

    /// The phone was unplugged, or a numbered frame could not be sent: all connections end with
    /// [`CloseReason::LinkLost`], nothing more is sent or accepted.
    pub fn detach(&mut self, now: Instant) {
        self.restart(now, CloseReason::LinkLost);
    }

    /// Ends all connections, and the link is down.
    #[inline(never)]
    fn restart(&mut self, now: Instant, why: CloseReason) {
        self.strays.clear();
        self.body = Body::Discard;
        self.link = Link { max_packet: self.link.max_packet, ..Link::down() };
        self.table.end_all(now, &self.config, |conn| conn.end(Ending::Closed(why)));
    }

    fn greet(&mut self) {
        self.link.state = LinkState::Greeting;
        if self.role() == Role::Host {
            self.link.due = due::VERSION;
            self.link.tries = 1;
        }
        debug!("link is greeting");
    }

    pub(super) fn link_tick(&mut self, now: Instant) {
        if now < self.link.deadline {
            return;
        }
        self.link.deadline = Instant::NEVER;
        if self.link.tries < self.config.version_tries {
            self.link.tries = self.link.tries.saturating_add(1);
            self.link.repeated = false;
            self.link.due |= due::VERSION;
        } else {
            self.link_failed(LinkFailure::Silent);
        }
    }

    fn link_failed(&mut self, reason: LinkFailure) {
        warning!("no version agreed: {:?}", reason);
        self.link.state = LinkState::Failed;
        self.link.due = 0;
        self.link.deadline = Instant::NEVER;
        self.link.failure = reason;
        self.link.told |= TOLD_FAILED;
    }

    /// A VERSION frame arrived.
    pub(super) fn version_arrived(&mut self, now: Instant, version: Version) {
        match (self.role(), self.link.state) {
            (_, LinkState::Down | LinkState::Failed) => self.count(|stats| &mut stats.ignored),
            (Role::Host, LinkState::Greeting) => self.version_answered(version.major),
            // The answer to a VERSION that was sent twice.
            (Role::Host, _) => self.count(|stats| &mut stats.ignored),
            (Role::Device, _) => self.version_asked(now, version.major),
        }
    }

    fn version_answered(&mut self, major: u32) {
        self.link.deadline = Instant::NEVER;
        match major {
            1 => self.link_up(1),
            2 => {
                self.link_up(2);
                self.link.due = due::SETUP;
            }
            other => self.link_failed(LinkFailure::UnknownVersion(other)),
        }
    }

    /// A host begins a session, whatever there was before.
    fn version_asked(&mut self, now: Instant, major: u32) {
        self.restart(now, CloseReason::LinkLost);
        self.link_up(major.min(self.config.version).clamp(1, 2));
        self.link.due = due::VERSION;
    }

    fn link_up(&mut self, version: u32) {
        debug!("link is up, version {}", version);
        // Resets that were meant for an older session.
        self.strays.clear();
        self.link.state = LinkState::Up { version };
        self.link.due = 0;
        self.link.told |= TOLD_UP;
        self.deframer.set_form(if version == 1 { Form::V1 } else { Form::V2 });
    }

    /// The version that a VERSION frame of ours names.
    pub(super) fn own_version(&self) -> u32 {
        match self.link.state {
            LinkState::Up { version } => version,
            _ => self.config.version.clamp(1, 2),
        }
    }

    /// A SETUP frame arrived: both numbers begin anew.
    pub(super) fn setup_arrived(&mut self, numbers: Option<Numbers>) {
        if self.role() == Role::Device && self.link.is_numbered() {
            self.link.tx_seq = 0;
            self.link.rx_seq = numbers.map_or(0, |numbers| numbers.tx_seq);
        } else {
            self.count(|stats| &mut stats.ignored);
        }
    }

    /// SETUP goes out: it is number 0, and ours to come count from there.
    pub(super) fn setup_numbers(&mut self) -> (u16, u16) {
        self.link.due &= !due::SETUP;
        self.link.rx_seq = RX_SEQ_NONE;
        self.link.tx_seq = 1;
        (0, RX_SEQ_NONE)
    }

    /// A frame of a session before ours: the phone has not heard of VERSION yet.
    pub(super) fn stale_arrived(&mut self, numbers: Numbers) {
        self.count(|stats| &mut stats.stale);
        let next = numbers.rx_seq.wrapping_add(1);
        self.link.stale_tx.get_or_insert(next);
        // Once per try, so that a phone full of old frames does not draw as many answers.
        if !core::mem::replace(&mut self.link.repeated, true) {
            self.link.due |= due::VERSION;
        }
    }

    /// Takes a frame's numbers; `false` if the frame is not to be looked at.
    pub(super) fn number_arrived(&mut self, now: Instant, numbers: Numbers) -> bool {
        let expected = self.link.rx_seq.wrapping_add(1);
        if numbers.tx_seq != expected {
            self.count(|stats| &mut stats.sequence_gaps);
            if self.config.peer_sequence == SequencePolicy::Strict {
                self.own_session_dies(expected, numbers.tx_seq);
                return false;
            }
        }
        self.link.rx_seq = numbers.tx_seq;
        if self.config.watch && self.link.is_stuck(now, numbers.rx_seq) {
            self.session_died(now, DeathCause::StuckSequence);
            return false;
        }
        true
    }

    /// Device role: the host lost or repeated a frame; nothing of it is believed until VERSION.
    fn own_session_dies(&mut self, expected: u16, received: u16) {
        warning!("frame {} expected, {} received: session is dead", expected, received);
        self.count(|stats| &mut stats.dead_sessions);
        if let LinkState::Up { version } = self.link.state {
            self.link.state = LinkState::Dead { version };
        }
        self.link.duplicate = (expected, received);
        self.link.due |= due::DUPLICATE;
    }

    /// Host role: the phone stopped accepting our frames. All connections end, VERSION is due.
    pub(super) fn session_died(&mut self, now: Instant, cause: DeathCause) {
        warning!("session is dead: {:?}", cause);
        self.count(|stats| &mut stats.dead_sessions);
        self.restart(now, CloseReason::SessionDead);
        self.deframer.skip_transfer();
        self.deframer.set_form(Form::Greeting);
        self.link.cause = cause;
        self.link.told = TOLD_DEAD;
        self.greet();
    }

    pub(super) fn count(&mut self, counter: impl FnOnce(&mut Stats) -> &mut u32) {
        let counter = counter(&mut self.stats);
        *counter = counter.wrapping_add(1);
    }
}
