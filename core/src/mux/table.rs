//! The slots, and the lists that find a connection without looking at the others.
//!
//! All lists are intrusive and first in, first out: ready to send, with events to tell, one for each
//! kind of timer (one kind has one duration, so the head is the next to expire), free slots, and free
//! slots whose port rests. A link is an index plus one; zero is the end. Chains of a hash table hang in
//! the slots too, for the device role; a host finds its connection from the source port alone.
//!
//! Source ports: `1 + slot + cycle × slots`, where the cycle moves with each use of the slot. A port
//! comes back only after the slot went through all cycles, and a slot that finished its last cycle rests
//! for the quarantine: so every port rests at least that long between two uses, and a table of four
//! slots is not held up by it (its ports last for 16,383 connections each).

use super::config::{Config, Role};
use super::event::{ConnId, ConnectError};
use crate::conn::{Conn, State, TimerKind, due};
use crate::time::Instant;

/// Storage for one connection.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Slot {
    pub(crate) conn: Conn,
    deadline: Instant,
    generation: u32,
    pub(super) local: u16,
    pub(super) remote: u16,
    next_ready: u16,
    next_told: u16,
    previous_timer: u16,
    next_timer: u16,
    /// First of the chain of connections that hash to this slot's index (device role).
    bucket: u16,
    next_in_bucket: u16,
    timer: TimerKind,
    is_ready: bool,
    is_told: bool,
}

impl Slot {
    /// A free slot: what an array of them is made from.
    pub const EMPTY: Slot = Slot {
        conn: Conn::EMPTY,
        deadline: Instant::ZERO,
        generation: 0,
        local: 0,
        remote: 0,
        next_ready: 0,
        next_told: 0,
        previous_timer: 0,
        next_timer: 0,
        bucket: 0,
        next_in_bucket: 0,
        timer: TimerKind::None,
        is_ready: false,
        is_told: false,
    };
}

impl Default for Slot {
    fn default() -> Self {
        Slot::EMPTY
    }
}

// The figure of DESIGN §6.
const _: () = assert!(size_of::<Slot>() <= 72);

/// Ends of a list, as links.
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
struct List {
    head: u16,
    tail: u16,
}

impl List {
    const EMPTY: List = List { head: 0, tail: 0 };
}

/// The highest usable number of slots: links are 16 bits with zero for the end, ports too.
const MAX_SLOTS: usize = 65_534;

/// The slots and their lists.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub(super) struct Table<S> {
    role: Role,
    slots: S,
    ready: List,
    told: List,
    short_timers: List,
    syn_timers: List,
    drain_timers: List,
    free: List,
    resting: List,
    /// Slots below this have been used at least once; the others are free and in no list.
    touched: u16,
    used: u16,
}

const fn link(index: u16) -> u16 {
    index.saturating_add(1)
}

impl<S> Table<S> {
    pub(super) const fn new(role: Role, slots: S) -> Self {
        Table {
            role,
            slots,
            ready: List::EMPTY,
            told: List::EMPTY,
            short_timers: List::EMPTY,
            syn_timers: List::EMPTY,
            drain_timers: List::EMPTY,
            free: List::EMPTY,
            resting: List::EMPTY,
            touched: 0,
            used: 0,
        }
    }

    pub(super) const fn role(&self) -> Role {
        self.role
    }

    /// Slots in use.
    pub(super) const fn used(&self) -> u16 {
        self.used
    }
}

impl<S: AsRef<[Slot]> + AsMut<[Slot]>> Table<S> {
    // ---- finding

    fn count(&self) -> u16 {
        self.slots.as_ref().len().min(MAX_SLOTS) as u16
    }

    pub(super) fn slot(&mut self, index: u16) -> Option<&mut Slot> {
        self.slots.as_mut().get_mut(usize::from(index))
    }

    /// The slot that a link names; zero names none.
    fn linked(&mut self, link: u16) -> Option<&mut Slot> {
        self.slot(link.checked_sub(1)?)
    }

    /// The slot of an open connection.
    pub(super) fn live(&mut self, conn: ConnId) -> Option<&mut Slot> {
        self.slot(conn.index).filter(|slot| is_live(slot, conn))
    }

    /// The same, to look at.
    pub(super) fn peek(&self, conn: ConnId) -> Option<&Conn> {
        let slot = self.slots.as_ref().get(conn.slot()).filter(|slot| is_live(slot, conn))?;
        Some(&slot.conn)
    }

    pub(super) fn id(&mut self, index: u16) -> Option<ConnId> {
        self.slot(index).map(|slot| ConnId { index, generation: slot.generation })
    }

    /// The connection between our port and the peer's, ended ones with something to say included.
    pub(super) fn find(&mut self, local: u16, remote: u16) -> Option<u16> {
        let matches = |slot: &mut Slot| {
            slot.local == local && slot.remote == remote && slot.conn.state != State::Free
        };
        if self.role == Role::Host {
            let index = u32::from(local.checked_sub(1)?).checked_rem(self.count().into())? as u16;
            return self.slot(index).is_some_and(matches).then_some(index);
        }
        let bucket = self.bucket_of(local, remote);
        let mut at = self.slot(bucket)?.bucket;
        // Bounded: a chain holds each slot at most once.
        while let Some(slot) = self.linked(at) {
            if matches(slot) {
                return at.checked_sub(1);
            }
            at = slot.next_in_bucket;
        }
        None
    }

    fn bucket_of(&self, local: u16, remote: u16) -> u16 {
        // Fibonacci hashing of the port pair, scaled to the number of slots.
        let pair = u32::from(remote) << 16 | u32::from(local);
        let hash = pair.wrapping_mul(0x9e37_79b9);
        ((u64::from(hash) * u64::from(self.count())) >> 32) as u16
    }

    // ---- opening and releasing

    /// Places a connection of ours to `remote` and chooses its source port.
    pub(super) fn open(
        &mut self,
        now: Instant,
        remote: u16,
        conn: Conn,
        config: &Config,
    ) -> Result<ConnId, ConnectError> {
        self.end_quarantines(now);
        let Some(index) = self.allocate() else {
            let Some(first) = self.linked(self.resting.head) else {
                return Err(ConnectError::NoSlot);
            };
            return Err(ConnectError::NoPort { retry_at: first.deadline });
        };
        let (count, cycles) = (u32::from(self.count()), self.cycles());
        let slot = self.slot(index).ok_or(ConnectError::NoSlot)?;
        slot.generation = slot.generation.wrapping_add(1);
        let cycle = slot.generation.checked_rem(cycles).unwrap_or(0);
        slot.local = (1 + u32::from(index) + cycle * count) as u16;
        slot.remote = remote;
        slot.conn = conn;
        let id = ConnId { index, generation: slot.generation };
        self.settle(now, index, config);
        Ok(id)
    }

    /// Places a connection of the peer's; `None` if all slots are taken.
    pub(super) fn admit(&mut self, local: u16, remote: u16, conn: Conn) -> Option<u16> {
        let index = self.allocate()?;
        let bucket = self.bucket_of(local, remote);
        let first = core::mem::replace(&mut self.slot(bucket)?.bucket, link(index));
        let slot = self.slot(index)?;
        slot.generation = slot.generation.wrapping_add(1);
        (slot.local, slot.remote, slot.conn) = (local, remote, conn);
        slot.next_in_bucket = first;
        Some(index)
    }

    /// How many source ports one slot goes through.
    fn cycles(&self) -> u32 {
        u32::from(u16::MAX).checked_div(self.count().into()).unwrap_or(1)
    }

    fn allocate(&mut self) -> Option<u16> {
        let index = if self.touched < self.count() {
            self.touched = self.touched.saturating_add(1);
            self.touched.checked_sub(1)?
        } else {
            let index = self.free.head.checked_sub(1)?;
            self.unlink_timer(index, TimerKind::None);
            index
        };
        self.used = self.used.saturating_add(1);
        Some(index)
    }

    fn release(&mut self, now: Instant, index: u16, config: &Config) {
        if self.role == Role::Device {
            self.leave_bucket(index);
        }
        let (role, cycles) = (self.role, self.cycles());
        let Some(slot) = self.slot(index) else { return };
        slot.conn.state = State::Free;
        let last_cycle = slot.generation.wrapping_add(1).checked_rem(cycles) == Some(0);
        let kind = if role == Role::Host && last_cycle {
            slot.deadline = now.plus_millis(config.quarantine_ms);
            TimerKind::Quarantine
        } else {
            TimerKind::None
        };
        self.link_timer(index, kind);
        self.used = self.used.saturating_sub(1);
    }

    fn leave_bucket(&mut self, index: u16) {
        let Some(slot) = self.slot(index) else { return };
        let (local, remote, next) = (slot.local, slot.remote, slot.next_in_bucket);
        let bucket = self.bucket_of(local, remote);
        let Some(head) = self.slot(bucket) else { return };
        if head.bucket == link(index) {
            head.bucket = next;
            return;
        }
        let mut at = head.bucket;
        while let Some(slot) = self.linked(at) {
            if slot.next_in_bucket == link(index) {
                slot.next_in_bucket = next;
                return;
            }
            at = slot.next_in_bucket;
        }
    }

    fn end_quarantines(&mut self, now: Instant) {
        // Bounded by the number of slots that rest.
        while let Some(index) = self.resting.head.checked_sub(1) {
            match self.slot(index) {
                Some(slot) if slot.deadline <= now => {}
                _ => return,
            }
            self.unlink_timer(index, TimerKind::Quarantine);
            self.link_timer(index, TimerKind::None);
        }
    }

    // ---- what the state calls for

    /// Puts a connection into the lists that its state calls for, and frees an ended one.
    ///
    /// To be called after every change; costs the same whatever the number of connections.
    pub(super) fn settle(&mut self, now: Instant, index: u16, config: &Config) {
        let Some(slot) = self.slot(index) else { return };
        let conn = &slot.conn;
        if conn.state == State::Free {
            return;
        }
        let (ready, told) = (conn.due != 0, conn.events != 0);
        let over = conn.state == State::Closed && !ready && !told;
        let (wanted, current) = (conn.timer(), slot.timer);
        if ready && !core::mem::replace(&mut slot.is_ready, true) {
            self.push_ready(index);
        }
        if told {
            self.push_told(index);
        }
        if wanted != current {
            self.change_timer(now, index, wanted, current, config);
        }
        if over {
            self.release(now, index, config);
        }
    }

    fn change_timer(
        &mut self,
        now: Instant,
        index: u16,
        wanted: TimerKind,
        current: TimerKind,
        config: &Config,
    ) {
        if current != TimerKind::None {
            self.unlink_timer(index, current);
        }
        let wait = match wanted {
            TimerKind::None => return,
            TimerKind::Short => config.ack.delay_ms(),
            TimerKind::Syn => config.syn_timeout_ms,
            TimerKind::Drain => config.drain_timeout_ms,
            TimerKind::Quarantine => config.quarantine_ms,
        };
        if let Some(slot) = self.slot(index) {
            slot.deadline = now.plus_millis(wait);
        }
        self.link_timer(index, wanted);
    }

    // ---- ready to send, events to tell

    fn push_ready(&mut self, index: u16) {
        let tail = core::mem::replace(&mut self.ready.tail, link(index));
        match self.linked(tail) {
            Some(last) => last.next_ready = link(index),
            None => self.ready.head = link(index),
        }
    }

    fn push_told(&mut self, index: u16) {
        match self.slot(index) {
            Some(slot) if !slot.is_told => slot.is_told = true,
            _ => return,
        }
        let tail = core::mem::replace(&mut self.told.tail, link(index));
        match self.linked(tail) {
            Some(last) => last.next_told = link(index),
            None => self.told.head = link(index),
        }
    }

    /// Takes the connection that has waited longest to send. It may have nothing to send any more.
    pub(super) fn pop_ready(&mut self) -> Option<u16> {
        let index = self.ready.head.checked_sub(1)?;
        let slot = self.slot(index)?;
        slot.is_ready = false;
        let next = core::mem::take(&mut slot.next_ready);
        self.ready.head = next;
        if next == 0 {
            self.ready.tail = 0;
        }
        Some(index)
    }

    /// Takes the connection that has waited longest to tell something.
    pub(super) fn pop_told(&mut self) -> Option<u16> {
        let index = self.told.head.checked_sub(1)?;
        let slot = self.slot(index)?;
        slot.is_told = false;
        let next = core::mem::take(&mut slot.next_told);
        self.told.head = next;
        if next == 0 {
            self.told.tail = 0;
        }
        Some(index)
    }

    // ---- timers

    fn timers(&mut self, kind: TimerKind) -> &mut List {
        match kind {
            TimerKind::None => &mut self.free,
            TimerKind::Short => &mut self.short_timers,
            TimerKind::Syn => &mut self.syn_timers,
            TimerKind::Drain => &mut self.drain_timers,
            TimerKind::Quarantine => &mut self.resting,
        }
    }

    /// Appends to the list of a kind; [`TimerKind::None`] means the free slots.
    fn link_timer(&mut self, index: u16, kind: TimerKind) {
        let tail = core::mem::replace(&mut self.timers(kind).tail, link(index));
        match self.linked(tail) {
            Some(last) => last.next_timer = link(index),
            None => self.timers(kind).head = link(index),
        }
        if let Some(slot) = self.slot(index) {
            slot.timer = kind;
            slot.previous_timer = tail;
            slot.next_timer = 0;
        }
    }

    fn unlink_timer(&mut self, index: u16, kind: TimerKind) {
        let Some(slot) = self.slot(index) else { return };
        slot.timer = TimerKind::None;
        let previous = core::mem::take(&mut slot.previous_timer);
        let next = core::mem::take(&mut slot.next_timer);
        match self.linked(previous) {
            Some(slot) => slot.next_timer = next,
            None => self.timers(kind).head = next,
        }
        match self.linked(next) {
            Some(slot) => slot.previous_timer = previous,
            None => self.timers(kind).tail = previous,
        }
    }

    /// The connection whose wait of this kind is over first, if it is over.
    pub(super) fn expired(&mut self, now: Instant, kind: TimerKind) -> Option<u16> {
        let index = self.timers(kind).head.checked_sub(1)?;
        self.slot(index).is_some_and(|slot| slot.deadline <= now).then_some(index)
    }

    /// When the next connection's wait is over; never, if none waits.
    pub(super) fn next_deadline(&self) -> Instant {
        let mut next = Instant::NEVER;
        for list in [&self.short_timers, &self.syn_timers, &self.drain_timers] {
            let head = usize::from(list.head).wrapping_sub(1);
            if let Some(slot) = self.slots.as_ref().get(head) {
                next = next.min(slot.deadline);
            }
        }
        next
    }

    // ---- the link went away

    /// Calls `end` for each connection, and forgets what was to be sent.
    pub(super) fn end_all(&mut self, now: Instant, config: &Config, end: impl Fn(&mut Conn)) {
        for index in 0..self.touched {
            let Some(slot) = self.slot(index) else { return };
            match slot.conn.state {
                State::Free => continue,
                State::Closed => slot.conn.due = 0,
                _ => end(&mut slot.conn),
            }
            debug_assert!(slot.conn.due & due::RST == 0);
            self.settle(now, index, config);
        }
    }
}

fn is_live(slot: &Slot, conn: ConnId) -> bool {
    slot.generation == conn.generation && !matches!(slot.conn.state, State::Free | State::Closed)
}
