//! The engine: many pseudo-TCP connections over one pair of bulk endpoints, in either role.
//!
//! [`Mux`] owns no payload. Bytes go in as the slices that USB delivered and come out as slices of the
//! same bytes; bytes to send lie in the caller's transfer buffer, and the engine writes the header in
//! front of them. What it keeps is state: 72 bytes for each connection, plus one header.
//!
//! Reading order: [`Config`] and [`Event`], then `link` (handshake), `ingress` (what arrives), `egress`
//! (what leaves), `table` (the lists that make each call cost the same for one connection and for ten
//! thousand). A connection's own transitions are in `conn`.
//!
//! To be watched in lessons 3 and 10 (the link) and driven as in 11 and 12 (`core/examples`).

mod config;
mod egress;
mod event;
mod ingress;
mod link;
mod stats;
mod table;

pub use crate::deframe::Transfer;
pub use config::{AckPolicy, Config, GapPolicy, Role, SequencePolicy, WindowStyle, Zlp};
pub use egress::{CONTROL_FRAME, Frame, Sent, SentHeader};
pub use event::{
    CloseReason, ConnId, ConnectError, DeathCause, Event, Gone, LinkFailure, RefusedBy,
    ResetReason, SendError,
};
pub use ingress::Received;
pub use link::LinkState;
pub use stats::Stats;
pub use table::Slot;

use crate::conn::{Conn, Ending, Rules, State, TimerKind, told};
use crate::deframe::{Deframer, Form};
use crate::time::Instant;
use egress::Stray;
use ingress::Body;
use link::Link;
use table::Table;

/// The engine for one phone (host role) or for one host (device role).
///
/// `S` is where the connections live: `[Slot; 4]` in a static, `Box<[Slot]>` on a host, `&mut [Slot]`.
/// At most 65,534 slots are used. Nothing is allocated, nothing blocks, and no call takes longer for
/// more connections, but for [`attach`](Mux::attach), [`detach`](Mux::detach) and the death of a
/// session, which end them all.
///
/// See the [crate's documentation](crate) for the loop that drives it.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Mux<S> {
    config: Config,
    link: Link,
    deframer: Deframer,
    body: Body,
    table: Table<S>,
    /// Resets to segments of unknown connections: at most this many wait, more are counted and dropped.
    strays: heapless::Vec<Stray, 4, u8>,
    stats: Stats,
}

// The figure of DESIGN §6.
const _: () = assert!(size_of::<Mux<[Slot; 4]>>() < 640);

impl<S> Mux<S> {
    /// Makes an engine whose link is down until [`attach`](Mux::attach).
    pub const fn new(role: Role, config: Config, slots: S) -> Self {
        Mux {
            config,
            link: Link::down(),
            deframer: Deframer::new(Form::Greeting),
            body: Body::Discard,
            table: Table::new(role, slots),
            strays: heapless::Vec::new(),
            stats: Stats::ZERO,
        }
    }

    /// What the engine has counted since it was made.
    pub const fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Where the link stands.
    pub const fn link(&self) -> LinkState {
        self.link.state()
    }

    /// Slots in use: connections that are open, opening, or ending.
    pub const fn connections(&self) -> usize {
        self.table.used() as usize
    }

    /// Bytes to leave free in front of the payload of [`send_in_place`](Mux::send_in_place): 36 in
    /// version 2, 28 in version 1. Changes only with [`Event::LinkUp`].
    pub const fn headroom(&self) -> usize {
        self.link.headroom()
    }

    const fn role(&self) -> Role {
        self.table.role()
    }

    const fn rules(&self) -> Rules {
        Rules {
            style: self.config.window_style,
            ack: self.config.ack,
            gap: self.config.gap,
            strict_flags: matches!(self.role(), Role::Device),
        }
    }
}

impl<S: AsRef<[Slot]> + AsMut<[Slot]>> Mux<S> {
    // ---- the application's side

    /// Opens a connection to a port of the phone's (host role).
    ///
    /// `window` is how many bytes may arrive before the application consumes any: rounded down to
    /// 256, at least 256 (a smaller buffer cannot be used), at most 16,776,960. What the application keeps
    /// for a connection is best made here: payload may arrive before `Connected` was polled. Ends in [`Event::Connected`] or [`Event::Refused`], or in
    /// [`Event::Closed`] if the link goes down.
    ///
    /// # Errors
    /// [`ConnectError`]; nothing was sent.
    pub fn connect(
        &mut self,
        now: Instant,
        port: u16,
        window: u32,
    ) -> Result<ConnId, ConnectError> {
        if port == 0 {
            return Err(ConnectError::BadPort);
        }
        if !matches!(self.link(), LinkState::Up { .. }) || self.role() == Role::Device {
            return Err(ConnectError::LinkDown);
        }
        let conn = self.table.open(now, port, Conn::connect(window), &self.config)?;
        debug!("connection {:?} to port {}", conn, port);
        Ok(conn)
    }

    /// Accepts a connection after [`Event::Incoming`] (device role); `window` as in
    /// [`connect`](Mux::connect).
    ///
    /// # Errors
    /// [`Gone`] if the connection ended meanwhile, or was decided before.
    pub fn accept(&mut self, now: Instant, conn: ConnId, window: u32) -> Result<(), Gone> {
        let slot = self.table.live(conn).filter(|slot| slot.conn.state == State::Incoming);
        slot.ok_or(Gone)?.conn.accept(window);
        self.table.settle(now, conn.index, &self.config);
        Ok(())
    }

    /// Refuses a connection after [`Event::Incoming`] (device role). A stale handle is ignored.
    pub fn refuse(&mut self, now: Instant, conn: ConnId, why: ResetReason) {
        self.change(now, conn, |conn| conn.refuse(why));
    }

    /// Says how many delivered bytes of this connection the application still holds.
    ///
    /// Absolute and idempotent. Bytes that were delivered and are not held count as consumed, so an
    /// application that takes everything never needs this call; one that could not take a piece calls
    /// it before any other call.
    ///
    /// # Errors
    /// [`Gone`] if the handle is stale: never right behind a piece of data; elsewhere it means that
    /// [`Event::Closed`] waits to be polled, and may be ignored.
    pub fn set_held(&mut self, now: Instant, conn: ConnId, bytes: u32) -> Result<(), Gone> {
        let rules = self.rules();
        self.table.live(conn).ok_or(Gone)?.conn.set_held(bytes, rules);
        self.table.settle(now, conn.index, &self.config);
        Ok(())
    }

    /// Raises the connection's window to `bytes`, in steps of 256. A smaller one changes nothing.
    ///
    /// # Errors
    /// [`Gone`] if the handle is stale.
    pub fn set_window(&mut self, now: Instant, conn: ConnId, bytes: u32) -> Result<(), Gone> {
        let rules = self.rules();
        self.table.live(conn).ok_or(Gone)?.conn.set_window(bytes, rules);
        self.table.settle(now, conn.index, &self.config);
        Ok(())
    }

    /// Bytes that may still arrive and must find room; 0 for a stale handle.
    pub fn credit(&self, conn: ConnId) -> u32 {
        self.table.peek(conn).map_or(0, Conn::credit)
    }

    /// Bytes sent and not yet acknowledged; 0 for a stale handle.
    pub fn unacknowledged(&self, conn: ConnId) -> u32 {
        self.table.peek(conn).map_or(0, Conn::unacknowledged)
    }

    /// Closes a connection without loss: what still arrives is discarded and acknowledged, what was
    /// sent is waited for (30 s by default), then it is reset, which is the protocol's only end.
    ///
    /// Ends in [`Event::Closed`], with [`CloseReason::Drained`] if the peer acknowledged everything.
    /// A connection that is not open yet is aborted. A stale handle is ignored.
    pub fn close(&mut self, now: Instant, conn: ConnId) {
        let rules = self.rules();
        let device = self.role() == Role::Device;
        self.change(now, conn, |conn| {
            if device {
                conn.reset = ResetReason::Closed;
            }
            conn.close(rules);
        });
    }

    /// Resets a connection now. The handle is stale at once, no event follows; a stale one is ignored.
    ///
    /// A phone drops what it has received and not yet handed on.
    pub fn abort(&mut self, now: Instant, conn: ConnId) {
        self.abort_because(now, conn, ResetReason::None);
    }

    /// The same, with a reason in words (device role; a host's reset carries none).
    pub fn abort_because(&mut self, now: Instant, conn: ConnId, why: ResetReason) {
        self.change(now, conn, |conn| {
            conn.reset = why;
            conn.abort();
        });
    }

    fn change(&mut self, now: Instant, id: ConnId, change: impl FnOnce(&mut Conn)) {
        if let Some(slot) = self.table.live(id) {
            change(&mut slot.conn);
            debug!("connection {:?} is {:?}", id, slot.conn.state);
            self.table.settle(now, id.index, &self.config);
        }
    }

    // ---- events

    /// Tells the next event; `None` when all are told.
    ///
    /// May change after every other call that takes `now`.
    pub fn poll_event(&mut self, now: Instant) -> Option<Event> {
        if let Some(event) = self.link.take_event() {
            return Some(event);
        }
        // Bounded: each turn takes an entry out of the list.
        while let Some(index) = self.table.pop_told() {
            let event = self.tell(index);
            self.table.settle(now, index, &self.config);
            if event.is_some() {
                return event;
            }
        }
        None
    }

    fn tell(&mut self, index: u16) -> Option<Event> {
        let id = self.table.id(index)?;
        let slot = self.table.slot(index)?;
        let events = &mut slot.conn.events;
        // The lowest bit is the one to tell first.
        let first = *events & events.wrapping_neg();
        *events &= !first;
        Some(match first {
            told::INCOMING => Event::Incoming { conn: id, source: slot.remote, port: slot.local },
            told::CONNECTED => Event::Connected { conn: id },
            told::SENDABLE => Event::Sendable { conn: id },
            told::FINISHED => Event::Finished { conn: id },
            told::ENDED => match slot.conn.why {
                Ending::Refused(reason) => Event::Refused { conn: id, reason },
                Ending::Closed(reason) => Event::Closed { conn: id, reason },
            },
            _ => return None,
        })
    }

    // ---- time

    /// Does what is due by now. To be called at [`next_tick`](Mux::next_tick), or more often.
    pub fn tick(&mut self, now: Instant) {
        self.link_tick(now);
        for kind in TimerKind::ALL {
            // Bounded: an expired connection leaves the list, or moves to its end with a later time.
            while let Some(index) = self.table.expired(now, kind) {
                if let Some(slot) = self.table.slot(index) {
                    slot.conn.expired(kind, &mut self.stats);
                }
                self.table.settle(now, index, &self.config);
            }
        }
    }

    /// When [`tick`](Mux::tick) is due; `None` if nothing is waited for.
    ///
    /// May change after every other call.
    pub fn next_tick(&self) -> Option<Instant> {
        let next = self.link.deadline.min(self.table.next_deadline());
        (next != Instant::NEVER).then_some(next)
    }
}
