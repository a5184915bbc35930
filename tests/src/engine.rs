//! The engine on a test's desk: virtual time, everything it says collected, nothing decided.
//!
//! [`Engine`] is one engine with its inputs and outputs as vectors. [`Rig`] puts a host engine and the naive phone on
//! one cable and moves transfers between them until both are quiet.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test helper: failing loudly is its job")]

use crate::naive::NaivePhone;
use crate::naive::cable::completions;
use std::collections::HashMap;
use std::time::Duration;
use usbmux_core::{
    CONTROL_FRAME, Config, ConnId, Event, Instant, LinkState, Mux, Received, Role, Slot, Transfer,
};

/// More control frames than any test's engine may want to send at one moment.
const FLOOD: usize = 20_000;

/// One engine.
pub struct Engine {
    /// The engine itself.
    pub mux: Mux<Box<[Slot]>>,
    /// Virtual time.
    pub now: Instant,
    /// Every event so far.
    pub events: Vec<Event>,
    /// Payload delivered so far, by connection.
    pub delivered: HashMap<ConnId, Vec<u8>>,
    /// Data pieces that were the last of their frame.
    pub frame_ends: usize,
    /// Texts of resets, by connection.
    pub reset_texts: HashMap<ConnId, Vec<u8>>,
    /// Texts of CONTROL frames.
    pub said: Vec<(u8, Vec<u8>)>,
    /// Connections whose application reads nothing, and how many bytes each holds unread.
    pub held: HashMap<ConnId, u32>,
    saying: Vec<u8>,
    spinning: u32,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("now", &self.now).field("events", &self.events).finish()
    }
}

impl Engine {
    /// An engine with so many slots, its link down, at time 1 s.
    #[must_use]
    pub fn new(role: Role, config: Config, slots: usize) -> Engine {
        let slots = vec![Slot::EMPTY; slots].into_boxed_slice();
        Engine {
            mux: Mux::new(role, config, slots),
            now: Instant::from_micros(1_000_000),
            events: Vec::new(),
            delivered: HashMap::new(),
            frame_ends: 0,
            reset_texts: HashMap::new(),
            said: Vec::new(),
            held: HashMap::new(),
            saying: Vec::new(),
            spinning: 0,
        }
    }

    /// Gives the engine a read that ended its transfer.
    pub fn give(&mut self, bytes: &[u8]) {
        self.receive(Transfer::new(bytes));
    }

    /// Gives the engine a read that was filled: the transfer goes on.
    pub fn give_part(&mut self, bytes: &[u8]) {
        self.receive(Transfer::part(bytes));
    }

    fn receive(&mut self, mut transfer: Transfer<'_>) {
        while let Some(received) = self.mux.receive(self.now, &mut transfer) {
            match received {
                Received::Data { conn, payload, frame_end } => {
                    self.delivered.entry(conn).or_default().extend(payload);
                    self.frame_ends += usize::from(frame_end);
                    if let Some(held) = self.held.get_mut(&conn) {
                        *held += u32::try_from(payload.len()).unwrap();
                        self.mux.set_held(self.now, conn, *held).unwrap();
                    }
                }
                Received::ResetText { conn, text } => {
                    self.reset_texts.entry(conn).or_default().extend(text);
                }
                Received::PhoneSays { kind, text, end } => {
                    self.saying.extend(text);
                    if end {
                        self.said.push((kind, std::mem::take(&mut self.saying)));
                    }
                }
            }
        }
        self.collect_events();
    }

    /// Polls all events into [`Engine::events`].
    pub fn collect_events(&mut self) {
        while let Some(event) = self.mux.poll_event(self.now) {
            self.events.push(event);
        }
    }

    /// The events since the last call.
    pub fn take_events(&mut self) -> Vec<Event> {
        self.collect_events();
        std::mem::take(&mut self.events)
    }

    /// All OUT transfers that are due now without payload of ours; a ZLP is an empty one.
    pub fn take(&mut self) -> Vec<Vec<u8>> {
        let mut transfers = Vec::new();
        let mut buffer = [0; CONTROL_FRAME];
        while let Some(frame) = self.mux.poll_transmit(self.now, &mut buffer) {
            transfers.push(buffer[..frame.len].to_vec());
            if frame.needs_zlp {
                transfers.push(Vec::new());
            }
            assert!(transfers.len() < FLOOD, "the engine never stops sending");
        }
        self.collect_events();
        transfers
    }

    /// Sends as much payload as the engine takes now; returns the OUT transfers and how many bytes went.
    pub fn write(&mut self, conn: ConnId, bytes: &[u8]) -> (Vec<Vec<u8>>, usize) {
        let mut transfers = Vec::new();
        let mut taken = 0;
        while taken < bytes.len() {
            let count = self.mux.sendable(conn).min(bytes.len() - taken);
            if count == 0 {
                break;
            }
            let headroom = self.mux.headroom();
            let mut frame = vec![0xee; headroom];
            frame.extend(&bytes[taken..taken + count]);
            let sent = self.mux.send_in_place(self.now, conn, &mut frame, count).unwrap();
            assert!(sent.taken == count || sent.taken + 1 == count, "{} of {count}", sent.taken);
            frame.truncate(headroom + sent.taken);
            transfers.push(frame);
            if sent.needs_zlp {
                transfers.push(Vec::new());
            }
            taken += sent.taken;
        }
        (transfers, taken)
    }

    /// Lets time pass, stopping at every deadline of the engine; returns what became due to be sent.
    pub fn advance(&mut self, ms: u64) -> Vec<Vec<u8>> {
        let end = self.now + Duration::from_millis(ms);
        let mut transfers = Vec::new();
        while self.hop(end) {
            transfers.extend(self.take());
        }
        transfers
    }

    /// Goes to the next deadline, or to `end`; false when `end` was reached before the call.
    pub fn hop(&mut self, end: Instant) -> bool {
        if self.now >= end {
            return false;
        }
        let next = self.mux.next_tick().unwrap_or(end).min(end);
        // A deadline in the past is due now; time itself must go on. An engine that is due again and again spins.
        self.spinning = if next <= self.now { self.spinning + 1 } else { 0 };
        assert!(self.spinning < 100, "the engine's deadline stays in the past");
        self.now = next.max(self.now + Duration::from_micros(1));
        self.mux.tick(self.now);
        self.collect_events();
        true
    }

    /// What a connection has delivered so far.
    #[must_use]
    pub fn delivered(&self, conn: ConnId) -> &[u8] {
        self.delivered.get(&conn).map_or(&[], Vec::as_slice)
    }
}

/// A host engine and a naive phone on one cable.
#[derive(Debug)]
pub struct Rig {
    /// The host.
    pub host: Engine,
    /// The phone.
    pub phone: NaivePhone,
    /// Requested length of the host's reads, a multiple of the packet size.
    pub read_size: usize,
    /// Every OUT transfer so far.
    pub transfers: Vec<Vec<u8>>,
}

impl Rig {
    /// Both at 512-byte packets, link down.
    #[must_use]
    pub fn new(config: Config) -> Rig {
        Rig {
            host: Engine::new(Role::Host, config, 64),
            phone: NaivePhone::new(512),
            read_size: 65536,
            transfers: Vec::new(),
        }
    }

    /// Plugs the phone in without letting anything happen yet.
    pub fn attach(&mut self) {
        let max_packet = u16::try_from(self.phone.max_packet).unwrap();
        self.host.mux.attach(self.host.now, max_packet);
    }

    /// A rig whose link is up, with services on the phone's ports 7, 8 and 9: echo, manual, discard.
    #[must_use]
    pub fn up(config: Config) -> Rig {
        let mut rig = Rig::new(config);
        rig.serve();
        rig.bring_up();
        rig
    }

    /// Puts services on the phone's ports 7, 8 and 9: echo, manual, discard.
    pub fn serve(&mut self) {
        use crate::naive::Service::{Discard, Echo, Manual};
        self.phone.services.extend([(7, Echo), (8, Manual), (9, Discard)]);
    }

    /// Attaches and waits for the link.
    pub fn bring_up(&mut self) {
        self.attach();
        self.settle();
        assert!(matches!(self.host.mux.link(), LinkState::Up { .. }), "{:?}", self.host.events);
        self.host.events.clear();
    }

    /// Moves transfers both ways until nothing more happens at this moment.
    pub fn settle(&mut self) {
        loop {
            let transfers = self.host.take();
            let quiet = transfers.is_empty();
            self.out(transfers);
            if !self.deliver_one() && quiet {
                return;
            }
        }
    }

    /// Puts OUT transfers on the cable.
    pub fn out(&mut self, transfers: Vec<Vec<u8>>) {
        for transfer in transfers {
            self.phone.out_transfer(&transfer);
            self.transfers.push(transfer);
        }
    }

    /// Moves one message of the phone to the host, if there is one.
    pub fn deliver_one(&mut self) -> bool {
        let Some(message) = self.phone.in_message() else { return false };
        for read in completions(&message, self.read_size) {
            if read.ends {
                self.host.give(&read.bytes);
            } else {
                self.host.give_part(&read.bytes);
            }
        }
        true
    }

    /// Lets time pass, moving transfers at every deadline.
    pub fn advance(&mut self, ms: u64) {
        let end = self.host.now + Duration::from_millis(ms);
        self.settle();
        while self.host.hop(end) {
            self.settle();
        }
    }

    /// Opens a connection; its handle and its place among the phone's connections.
    pub fn open(&mut self, port: u16) -> (ConnId, usize) {
        let conn = self.host.mux.connect(self.host.now, port, 131_072).unwrap();
        self.settle();
        let connected = Event::Connected { conn };
        let at = self.host.events.iter().position(|event| *event == connected);
        self.host.events.remove(at.unwrap_or_else(|| panic!("{:?}", self.host.events)));
        (conn, self.phone.connections.len() - 1)
    }

    /// Sends all bytes, letting both sides talk in between; panics when that gets stuck.
    pub fn send(&mut self, conn: ConnId, bytes: &[u8]) {
        let mut rest = bytes;
        let mut stuck = 0;
        while !rest.is_empty() {
            let (transfers, taken) = self.host.write(conn, rest);
            self.out(transfers);
            rest = &rest[taken..];
            self.advance(1);
            stuck = if taken == 0 { stuck + 1 } else { 0 };
            assert!(stuck < 1000, "{} bytes do not go out", rest.len());
        }
        self.settle();
    }

    /// Asserts that the host broke no rule.
    pub fn check(&self) {
        assert_eq!(self.phone.complaints, Vec::<String>::new());
    }
}
