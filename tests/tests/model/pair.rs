//! A host engine and a device engine: both roles of the same code, with messages on their way in both directions.
//!
//! The naive phone answers at once and knows one style; here both sides have all styles and policies, both close,
//! drain and refuse, and the device's transfers are cut and glued as any.

use crate::Replay;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;
use usbmux_core::{
    AckPolicy, CloseReason, Config, ConnId, ConnectError, Event, Instant, LinkState, RefusedBy,
    ResetReason, Role, WindowStyle, Zlp,
};
use usbmux_tests::engine::Engine;
use usbmux_tests::naive::frame::u16_at;
use usbmux_tests::random::{Random, pattern, seeds};

const LIVES: u64 = 300;
const OPERATIONS: usize = 400;
/// Ports from here on are refused.
const REFUSED_PORTS: u16 = 30_000;

/// One side's view of a connection.
#[derive(Default)]
struct Side {
    conn: Option<ConnId>,
    connected: bool,
    sent: usize,
    checked: usize,
    closed_at: Option<Instant>,
    over: bool,
}

/// A connection; its port is its name.
struct Flow {
    port: u16,
    opened_at: Instant,
    sides: [Side; 2],
    blamed: bool,
}

const HOST: usize = 0;
const DEVICE: usize = 1;

struct Life {
    random: Random,
    engines: [Engine; 2],
    /// Transfers on their way from each side.
    cables: [VecDeque<Vec<u8>>; 2],
    flows: Vec<Flow>,
    next_port: u16,
    packet: usize,
    session_blamed: bool,
    plugged: bool,
    log: Vec<String>,
}

impl Drop for Life {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let from = self.log.len().saturating_sub(60);
            eprintln!("the last operations:\n{}", self.log[from..].join("\n"));
        }
    }
}

#[test]
fn random_lives_of_engine_pairs() {
    for seed in seeds(LIVES) {
        let _replay = Replay(seed);
        let mut life = Life::new(seed);
        for _ in 0..OPERATIONS {
            life.operation();
            life.check();
        }
        life.heal();
    }
}

impl Life {
    fn new(seed: u64) -> Life {
        let mut random = Random::new(seed);
        let slots = *random.pick(&[3, 16]);
        let mut log = Vec::new();
        let engines = [Role::Host, Role::Device].map(|role| {
            let base = if role == Role::Host { Config::HOST } else { Config::PHONE };
            let config = Config {
                ack: *random.pick(&[AckPolicy::Prompt, AckPolicy::Immediate, AckPolicy::Classic]),
                window_style: *random.pick(&[WindowStyle::Constant, WindowStyle::Credit]),
                zlp: *random.pick(&[Zlp::Trim, Zlp::Explicit]),
                max_frame: *random.pick(&[128, 4096, 32_764, 65_535]),
                version: if random.once_in(6) { 1 } else { 2 },
                ..base
            };
            log.push(format!("{role:?} {config:?}"));
            Engine::new(role, config, slots)
        });
        let packet = *random.pick(&[64, 512, 1024]);
        let mut life = Life {
            random,
            engines,
            cables: [VecDeque::new(), VecDeque::new()],
            flows: Vec::new(),
            next_port: 1,
            packet,
            session_blamed: false,
            plugged: false,
            log,
        };
        life.plug();
        life
    }

    fn note(&mut self, what: String) {
        self.log.push(format!("{:>9} {what}", self.engines[HOST].now.as_micros()));
    }

    // ---- operations -------------------------------------------------------------------------

    fn operation(&mut self) {
        match self.random.below(100) {
            0..8 => self.connect(),
            8..36 => self.write(),
            36..46 => self.read_or_not(),
            46..50 => self.end(),
            50..52 => self.widen(),
            52..92 => self.cable(),
            92..97 => self.time(),
            _ => self.fault(),
        }
    }

    fn connect(&mut self) {
        let window = *self.random.pick(&[256, 1000, 4096, 131_072, 600_000]);
        let refused = self.random.once_in(8);
        let port = if refused { self.next_port + REFUSED_PORTS } else { self.next_port };
        let host = &mut self.engines[HOST];
        match host.mux.connect(host.now, port, window) {
            Ok(conn) => {
                self.next_port += 1;
                let mut sides = [Side::default(), Side::default()];
                sides[HOST].conn = Some(conn);
                let opened_at = host.now;
                self.flows.push(Flow { port, opened_at, sides, blamed: false });
                self.note(format!("connect {port} window {window}"));
            }
            Err(ConnectError::LinkDown) => {
                assert!(!matches!(host.mux.link(), LinkState::Up { .. }));
            }
            Err(ConnectError::NoSlot | ConnectError::NoPort { .. }) => {}
            Err(error) => panic!("{error:?}"),
        }
    }

    /// A side, and a connection that this side may use.
    fn some_side(&mut self) -> Option<(usize, usize, ConnId)> {
        let who = self.random.below(2);
        let alive: Vec<(usize, ConnId)> = (self.flows.iter().enumerate())
            .filter(|(_, flow)| !flow.sides[who].over)
            .filter_map(|(index, flow)| Some((index, flow.sides[who].conn?)))
            .collect();
        (!alive.is_empty()).then(|| {
            let (index, conn) = *self.random.pick(&alive);
            (who, index, conn)
        })
    }

    fn write(&mut self) {
        let Some((who, index, conn)) = self.some_side() else { return };
        let flow = &mut self.flows[index];
        if flow.sides[who].closed_at.is_some() {
            return;
        }
        let count = self.random.length(60_000);
        let salt = u32::from(flow.port) ^ if who == HOST { 0 } else { u32::MAX };
        let bytes = pattern(salt, flow.sides[who].sent, count);
        let (transfers, taken) = self.engines[who].write(conn, &bytes);
        self.cables[who].extend(transfers);
        flow.sides[who].sent += taken;
        let port = flow.port;
        self.note(format!("{who} writes {taken} of {count} to {port}"));
    }

    fn read_or_not(&mut self) {
        let Some((who, index, conn)) = self.some_side() else { return };
        let engine = &mut self.engines[who];
        let held = match engine.held.get(&conn) {
            None => {
                engine.held.insert(conn, 0);
                return;
            }
            Some(held) if *held > 0 && self.random.once_in(2) => {
                let held = self.random.below(*held as usize) as u32;
                engine.held.insert(conn, held);
                held
            }
            Some(_) => {
                engine.held.remove(&conn);
                0
            }
        };
        let _ = engine.mux.set_held(engine.now, conn, held);
        let port = self.flows[index].port;
        self.note(format!("{who} holds {held} of {port}"));
    }

    fn widen(&mut self) {
        let Some((who, _, conn)) = self.some_side() else { return };
        let window = *self.random.pick(&[1, 5000, 200_000]);
        let engine = &mut self.engines[who];
        let _ = engine.mux.set_window(engine.now, conn, window);
    }

    fn end(&mut self) {
        self.look_at_events();
        let Some((who, index, conn)) = self.some_side() else { return };
        let engine = &mut self.engines[who];
        let now = engine.now;
        engine.held.remove(&conn);
        let side = &mut self.flows[index].sides[who];
        let what = if self.random.once_in(3) {
            engine.mux.abort(now, conn);
            side.over = true;
            "aborts"
        } else {
            engine.mux.close(now, conn);
            side.closed_at.get_or_insert(now);
            // A connection that is not open yet is aborted by that.
            side.over = !side.connected;
            "closes"
        };
        let port = self.flows[index].port;
        self.note(format!("{who} {what} {port}"));
    }

    // ---- the cable --------------------------------------------------------------------------

    fn cable(&mut self) {
        for _ in 0..self.random.between(1, 6) {
            let from = self.random.below(2);
            let transfers = self.engines[from].take();
            self.cables[from].extend(transfers);
            if let Some(transfer) = self.cables[from].pop_front() {
                self.give(1 - from, &transfer);
            }
        }
    }

    /// A transfer reaches a side in pieces; one that is a multiple of the packet size goes on with the next, as on USB.
    fn give(&mut self, to: usize, transfer: &[u8]) {
        let ends = !transfer.len().is_multiple_of(self.packet) || transfer.is_empty();
        let mut rest = transfer;
        while rest.len() > 1 && self.random.once_in(3) {
            let (piece, after) = rest.split_at(self.random.between(0, rest.len()));
            self.engines[to].give_part(piece);
            rest = after;
        }
        if ends {
            self.engines[to].give(rest);
        } else {
            self.engines[to].give_part(rest);
        }
        self.answer_incoming();
    }

    /// The device's application takes or refuses at once.
    fn answer_incoming(&mut self) {
        let device = &mut self.engines[DEVICE];
        let (incoming, others) = std::mem::take(&mut device.events)
            .into_iter()
            .partition(|event| matches!(event, Event::Incoming { .. }));
        device.events = others;
        let incoming: Vec<Event> = incoming;
        for event in incoming {
            let Event::Incoming { conn, port, .. } = event else { continue };
            let device = &mut self.engines[DEVICE];
            if port > REFUSED_PORTS {
                device.mux.refuse(device.now, conn, ResetReason::Refused);
                continue;
            }
            let window = *self.random.pick(&[256, 4096, 131_072]);
            device.mux.accept(device.now, conn, window).unwrap();
            let flow = self.flows.iter_mut().find(|flow| flow.port == port).unwrap();
            flow.sides[DEVICE].conn = Some(conn);
        }
    }

    fn settle(&mut self) {
        loop {
            let mut quiet = true;
            for from in [HOST, DEVICE] {
                let transfers = self.engines[from].take();
                self.cables[from].extend(transfers);
                while let Some(transfer) = self.cables[from].pop_front() {
                    self.give(1 - from, &transfer);
                    quiet = false;
                }
            }
            if quiet {
                return;
            }
        }
    }

    fn time(&mut self) {
        let ms = *self.random.pick(&[1, 2, 5, 30, 100, 1500, 6000, 31_000]);
        if ms > 5 {
            self.settle();
        }
        self.pass(ms);
        self.note(format!("{ms} ms"));
    }

    fn pass(&mut self, ms: u64) {
        let end = self.engines[HOST].now + Duration::from_millis(ms);
        loop {
            // Both clocks go to the earlier deadline.
            let next = self.engines.iter().filter_map(|engine| engine.mux.next_tick()).min();
            let until = next.unwrap_or(end).min(end).max(self.engines[HOST].now);
            let until = until.max(self.engines[HOST].now + Duration::from_micros(1));
            let mut moved = false;
            for engine in &mut self.engines {
                while engine.hop(until.min(end)) {
                    moved = true;
                }
            }
            if ms > 5 {
                self.settle();
            }
            if !moved {
                return;
            }
        }
    }

    fn plug(&mut self) {
        for engine in &mut self.engines {
            engine.mux.attach(engine.now, u16::try_from(self.packet).unwrap());
        }
        self.plugged = true;
        self.session_blamed = false;
        self.note("plugged in".into());
        if self.random.once_in(2) {
            self.settle();
        }
    }

    // ---- faults, all on the way to the host except the lost OUT transfer ----------------------

    fn fault(&mut self) {
        match self.random.below(8) {
            0 => self.unplug(),
            1 => {
                if self.cables[HOST].pop_front().is_some() {
                    self.session_blamed = true;
                    self.note("an OUT transfer is lost".into());
                }
            }
            2 => {
                if let Some(transfer) = self.take_whole_in() {
                    self.blame_for(&transfer);
                    self.note(format!("an IN transfer of {} is lost", transfer.len()));
                }
            }
            3 => {
                if let Some(transfer) = self.take_whole_in() {
                    self.note("an IN transfer comes twice".into());
                    self.give(HOST, &transfer);
                    self.give(HOST, &transfer);
                }
            }
            4 => {
                if let Some(transfer) = self.take_whole_in() {
                    self.blame_for(&transfer);
                    let cut = self.random.below(transfer.len());
                    self.note(format!("an IN transfer is cut to {cut}"));
                    self.engines[HOST].give(&transfer[..cut]);
                }
            }
            5 => {
                if let Some(mut transfer) = self.take_whole_in() {
                    transfer.extend([0xa5; 3]);
                    self.note("bytes behind an IN transfer".into());
                    self.engines[HOST].give(&transfer);
                }
            }
            6 => {
                if let Some(mut transfer) = self.take_whole_in() {
                    self.blame_for(&transfer);
                    let at = self.random.below(8);
                    transfer[at] ^= 0x80;
                    self.note(format!("byte {at} of an IN transfer is spoilt"));
                    self.engines[HOST].give(&transfer);
                }
            }
            _ => {
                let mut bytes: Vec<u8> = (0..40).map(|_| self.random.bits() as u8).collect();
                bytes[0] |= 0x80;
                // Only at the border of transfers, or it would be part of another.
                if !self.host_is_within_a_transfer() {
                    self.engines[HOST].give(&bytes);
                }
            }
        }
    }

    /// The next IN transfer, if it is one by itself: neither glued to the one before nor to the one behind.
    fn take_whole_in(&mut self) -> Option<Vec<u8>> {
        let next = self.cables[DEVICE].front()?;
        if next.is_empty()
            || next.len().is_multiple_of(self.packet)
            || self.host_is_within_a_transfer()
        {
            return None;
        }
        self.cables[DEVICE].pop_front()
    }

    /// The transfer given last to the host was a multiple of the packet size: its ZLP is on its way.
    fn host_is_within_a_transfer(&self) -> bool {
        self.cables[DEVICE].front().is_some_and(Vec::is_empty)
    }

    fn blame_for(&mut self, transfer: &[u8]) {
        let version_1 = self.engines[HOST].mux.link() == (LinkState::Up { version: 1 });
        let at = if version_1 { 8 } else { 16 };
        let port = (transfer.len() >= at + 4).then(|| u16_at(transfer, at));
        // VERSION's answer is asked for again; CONTROL texts concern nobody or a session that is blamed already.
        if let Some(flow) = self.flows.iter_mut().find(|flow| Some(flow.port) == port) {
            flow.blamed = true;
        }
    }

    fn unplug(&mut self) {
        self.note("unplugged".into());
        self.cables.iter_mut().for_each(VecDeque::clear);
        for engine in &mut self.engines {
            engine.mux.detach(engine.now);
            engine.collect_events();
        }
        self.plugged = false;
        self.look_at_events();
        for flow in &mut self.flows {
            // What the device never heard of, or refused, is over on its side too.
            assert!(flow.sides[HOST].over, "{}: unplugging ends it", flow.port);
            assert!(flow.sides[DEVICE].over || flow.sides[DEVICE].conn.is_none(), "{}", flow.port);
            flow.sides[DEVICE].over = true;
        }
        self.plug();
    }

    // ---- what must hold ---------------------------------------------------------------------

    fn check(&mut self) {
        self.look_at_events();
        for index in 0..self.flows.len() {
            self.check_bytes(index);
        }
    }

    fn check_bytes(&mut self, index: usize) {
        let flow = &mut self.flows[index];
        for who in [HOST, DEVICE] {
            let Some(conn) = flow.sides[who].conn else { continue };
            let delivered = self.engines[who].delivered(conn);
            let checked = flow.sides[who].checked;
            if delivered.len() > checked {
                assert!(delivered.len() <= flow.sides[1 - who].sent, "{}: too much", flow.port);
                let salt = u32::from(flow.port) ^ if who == HOST { u32::MAX } else { 0 };
                let expected = pattern(salt, checked, delivered.len() - checked);
                assert!(delivered[checked..] == expected, "{}: other bytes at {who}", flow.port);
                flow.sides[who].checked = delivered.len();
            }
        }
    }

    fn look_at_events(&mut self) {
        self.answer_incoming();
        for who in [DEVICE, HOST] {
            for event in self.engines[who].take_events() {
                self.note(format!("{who} {event:?}"));
                match event {
                    Event::Closed { conn, reason } => self.closed(who, conn, reason),
                    Event::Refused { conn, reason } => self.refused(who, conn, reason),
                    Event::Connected { conn } => {
                        let index = self.flow_of(who, conn);
                        self.flows[index].sides[who].connected = true;
                    }
                    Event::SessionDead { .. } => {
                        assert!(self.session_blamed, "the session died of nothing");
                    }
                    Event::LinkUp { .. } if who == HOST => self.session_blamed = false,
                    Event::LinkUp { .. } | Event::Sendable { .. } => {}
                    other => panic!("{who} {other:?}"),
                }
            }
        }
    }

    fn flow_of(&mut self, who: usize, conn: ConnId) -> usize {
        let is = |flow: &Flow| flow.sides[who].conn == Some(conn) && !flow.sides[who].over;
        let found = self.flows.iter().position(is);
        found.unwrap_or_else(|| panic!("an event of {who} for {conn}, which is over"))
    }

    fn closed(&mut self, who: usize, conn: ConnId, reason: CloseReason) {
        let index = self.flow_of(who, conn);
        self.check_bytes(index);
        let now = self.engines[who].now;
        let flow = &mut self.flows[index];
        flow.sides[who].over = true;
        let (mine, theirs) = (&flow.sides[who], &flow.sides[1 - who]);
        let excused = flow.blamed || self.session_blamed;
        let port = flow.port;
        match reason {
            // A device learns of a dead session's end by a VERSION in mid-session.
            CloseReason::LinkLost => assert!(!self.plugged || who == DEVICE && excused, "{port}"),
            CloseReason::SessionDead => assert!(excused, "{port}"),
            CloseReason::Reset => {
                assert!(theirs.over || theirs.closed_at.is_some() || excused, "{port}: by nobody");
            }
            CloseReason::Drained => {
                assert!(mine.closed_at.is_some(), "{port}: nobody closed it");
                let discarded = theirs.closed_at.is_some() || theirs.over;
                if !excused && !discarded {
                    assert_eq!(theirs.checked, mine.sent, "{port}: drained too early");
                }
            }
            CloseReason::DrainTimeout => {
                let waited = now - mine.closed_at.expect("nobody closed it");
                assert!(waited >= Duration::from_secs(30), "{port}: gave up early");
            }
            _ => assert!(excused, "{port}: {reason:?} without a fault"),
        }
    }

    fn refused(&mut self, who: usize, conn: ConnId, reason: RefusedBy) {
        assert_eq!(who, HOST);
        let index = self.flow_of(who, conn);
        let flow = &mut self.flows[index];
        flow.sides[HOST].over = true;
        let device = &flow.sides[DEVICE];
        let ended = device.over || device.closed_at.is_some();
        let excused = flow.blamed || self.session_blamed || ended;
        match reason {
            // A full table of the device, too, refuses.
            RefusedBy::Reset => {}
            RefusedBy::Timeout => {
                assert!(self.engines[HOST].now - flow.opened_at >= Duration::from_secs(5));
                // The device's ring for refusals is small, and a SYN comes only once.
                let dropped = self.engines[DEVICE].mux.stats().resets_dropped > 0;
                assert!(excused || dropped, "{}: nothing was lost and yet no answer", flow.port);
            }
            _ => assert!(excused, "{}: refused by {reason:?}", flow.port),
        }
    }

    // ---- the end ----------------------------------------------------------------------------

    fn heal(&mut self) {
        self.note("healing".into());
        if self.session_blamed {
            self.unplug();
        }
        let lost_ends: HashMap<u16, bool> =
            self.flows.iter().map(|flow| (flow.port, flow.blamed)).collect();
        for engine in &mut self.engines {
            for (conn, _) in engine.held.drain() {
                let _ = engine.mux.set_held(engine.now, conn, 0);
            }
        }
        let (mut moved, mut still) = (0, 0);
        while still < 100 {
            self.settle();
            self.pass(35);
            self.check();
            let before = moved;
            moved = self.flows.iter().flat_map(|flow| &flow.sides).map(|side| side.checked).sum();
            still = if moved == before { still + 1 } else { 0 };
        }
        assert!(matches!(self.engines[HOST].mux.link(), LinkState::Up { .. }));
        for flow in &self.flows {
            let [host, device] = &flow.sides;
            if lost_ends[&flow.port] || host.over || device.over {
                continue;
            }
            let port = flow.port;
            assert!(host.connected && device.connected, "{port}: opening hangs");
            assert!(host.closed_at.is_none() && device.closed_at.is_none(), "{port}: close hangs");
            assert_eq!(host.checked, device.sent, "{port}: bytes hang at the device");
            assert_eq!(device.checked, host.sent, "{port}: bytes hang at the host");
        }
        for flow in &mut self.flows {
            let side = &mut flow.sides[HOST];
            if let (false, Some(conn)) = (side.over, side.conn) {
                side.closed_at.get_or_insert(self.engines[HOST].now);
                side.over = !side.connected;
                self.engines[HOST].mux.close(self.engines[HOST].now, conn);
            }
        }
        for _ in 0..31 {
            self.settle();
            self.pass(1000);
            self.check();
        }
        assert!(self.flows.iter().all(|flow| flow.sides[HOST].over), "a connection never ends");
        assert_eq!(self.engines[HOST].mux.connections(), 0);
    }
}
