//! Two engines, one cable, no clock: the behaviour of connections as an application sees it.
//!
//! The cable hands over whole transfers, in the slicing that a test asks for. What the engine says to a
//! phone that is not of this crate's making is tested in `tests/`, against a naive one.

#![allow(clippy::panic, clippy::unwrap_used, reason = "tests")]

use std::collections::VecDeque;
use std::time::Duration;
use usbmux_core::{
    AckPolicy, CONTROL_FRAME, CloseReason, Config, ConnId, ConnectError, Event, Gone, Instant,
    LinkState, Mux, Received, RefusedBy, ResetReason, Role, Slot, Transfer, WindowStyle, Zlp,
};

type Engine = Mux<Vec<Slot>>;

/// What a side's application has seen of one connection.
#[derive(Default, Clone, Debug, PartialEq)]
struct Seen {
    data: Vec<u8>,
    text: Vec<u8>,
}

struct Side {
    mux: Engine,
    seen: Vec<Seen>,
    events: VecDeque<Event>,
    said: Vec<Vec<u8>>,
    /// Report every delivered byte as held.
    hoards: bool,
    wire: VecDeque<Vec<u8>>,
}

impl Side {
    fn new(role: Role, config: Config, slots: usize) -> Self {
        Side {
            mux: Mux::new(role, config, vec![Slot::EMPTY; slots]),
            seen: vec![Seen::default(); slots],
            events: VecDeque::new(),
            said: Vec::new(),
            hoards: false,
            wire: VecDeque::new(),
        }
    }

    fn data(&self, conn: ConnId) -> &[u8] {
        &self.seen[conn.slot()].data
    }
}

struct Pair {
    host: Side,
    phone: Side,
    now: Instant,
    /// The cable cuts transfers into reads of this many bytes.
    slice: usize,
}

impl Pair {
    fn new(host: Config, phone: Config) -> Self {
        Pair::with_slots(host, phone, 8)
    }

    fn with_slots(host: Config, phone: Config, slots: usize) -> Self {
        let mut pair = Pair {
            host: Side::new(Role::Host, host, slots),
            phone: Side::new(Role::Device, phone, slots),
            now: Instant::ZERO,
            slice: usize::MAX,
        };
        pair.host.mux.attach(pair.now, 512);
        pair.phone.mux.attach(pair.now, 512);
        pair
    }

    fn up() -> Self {
        let mut pair = Pair::new(Config::HOST, Config::PHONE);
        pair.settle();
        pair.host.events.clear();
        pair.phone.events.clear();
        pair
    }

    /// Everything that can happen without time passing.
    fn settle(&mut self) {
        loop {
            let mut busy = false;
            for _ in 0..2 {
                busy |= transmit(&mut self.host, self.now);
                busy |= transmit(&mut self.phone, self.now);
                busy |= deliver(&mut self.host, &mut self.phone, self.now, self.slice);
                busy |= deliver(&mut self.phone, &mut self.host, self.now, self.slice);
            }
            events(&mut self.host, self.now);
            events(&mut self.phone, self.now);
            if !busy {
                return;
            }
        }
    }

    /// Lets time pass, timer by timer.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            self.settle();
            let next = [self.host.mux.next_tick(), self.phone.mux.next_tick()];
            let next = next.into_iter().flatten().min().unwrap_or(end).min(end).max(self.now);
            self.now = next;
            self.host.mux.tick(next);
            self.phone.mux.tick(next);
            if next == end {
                break;
            }
        }
        self.settle();
    }

    fn open(&mut self, port: u16) -> (ConnId, ConnId) {
        self.open_with(port, 131_072, 131_072)
    }

    fn open_with(&mut self, port: u16, host: u32, phone: u32) -> (ConnId, ConnId) {
        let here = self.host.mux.connect(self.now, port, host).unwrap();
        self.settle();
        let Some(Event::Incoming { conn: there, port: asked, .. }) = self.phone.events.pop_front()
        else {
            panic!("no incoming connection")
        };
        assert_eq!(asked, port);
        self.phone.mux.accept(self.now, there, phone).unwrap();
        self.settle();
        assert_eq!(self.host.events.pop_front(), Some(Event::Connected { conn: here }));
        assert_eq!(self.phone.events.pop_front(), Some(Event::Connected { conn: there }));
        (self.host.seen[here.slot()], self.phone.seen[there.slot()]) = Default::default();
        (here, there)
    }
}

fn transmit(side: &mut Side, now: Instant) -> bool {
    let mut buf = [0; CONTROL_FRAME];
    let mut busy = false;
    while let Some(frame) = side.mux.poll_transmit(now, &mut buf) {
        side.wire.push_back(buf[..frame.len].to_vec());
        if frame.needs_zlp {
            side.wire.push_back(Vec::new());
        }
        busy = true;
    }
    busy
}

fn deliver(from: &mut Side, to: &mut Side, now: Instant, slice: usize) -> bool {
    let Some(bytes) = from.wire.pop_front() else { return false };
    let mut parts = bytes.chunks(slice).peekable();
    if bytes.is_empty() {
        receive(to, now, Transfer::new(&[]));
    }
    while let Some(part) = parts.next() {
        let last = parts.peek().is_none();
        receive(to, now, if last { Transfer::new(part) } else { Transfer::part(part) });
    }
    true
}

fn receive(side: &mut Side, now: Instant, mut transfer: Transfer<'_>) {
    while let Some(received) = side.mux.receive(now, &mut transfer) {
        match received {
            Received::Data { conn, payload, .. } => {
                let seen = &mut side.seen[conn.slot()];
                seen.data.extend_from_slice(payload);
                if side.hoards {
                    side.mux.set_held(now, conn, seen.data.len() as u32).unwrap();
                }
            }
            Received::ResetText { conn, text } => {
                side.seen[conn.slot()].text.extend_from_slice(text);
            }
            Received::PhoneSays { text, .. } => side.said.push(text.to_vec()),
        }
    }
}

fn events(side: &mut Side, now: Instant) {
    while let Some(event) = side.mux.poll_event(now) {
        side.events.push_back(event);
    }
}

/// Sends as much of `data` as goes, and says how much went.
fn send(side: &mut Side, now: Instant, conn: ConnId, data: &[u8]) -> usize {
    let headroom = side.mux.headroom();
    let mut sent = 0;
    loop {
        let len = side.mux.sendable(conn).min(data.len() - sent);
        if len == 0 {
            return sent;
        }
        let mut frame = vec![0; headroom];
        frame.extend_from_slice(&data[sent..sent + len]);
        let outcome = side.mux.send_in_place(now, conn, &mut frame, len).unwrap();
        frame.truncate(headroom + outcome.taken);
        assert_eq!(frame.len().is_multiple_of(512), outcome.needs_zlp);
        side.wire.push_back(frame);
        if outcome.needs_zlp {
            side.wire.push_back(Vec::new());
        }
        sent += outcome.taken;
    }
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 31 % 251) as u8).collect()
}

#[test]
fn both_sides_agree_on_a_version_and_connect() {
    let mut pair = Pair::new(Config::HOST, Config::PHONE);
    pair.settle();
    assert_eq!(pair.host.events, [Event::LinkUp { version: 2 }]);
    assert_eq!(pair.phone.events, [Event::LinkUp { version: 2 }]);
    pair.phone.events.clear();
    pair.host.events.clear();
    let (here, there) = pair.open(62078);
    let now = pair.now;
    assert_eq!(send(&mut pair.host, now, here, b"hello"), 5);
    pair.settle();
    assert_eq!(pair.phone.data(there), b"hello");
    assert_eq!(send(&mut pair.phone, now, there, b"hello yourself"), 14);
    pair.settle();
    assert_eq!(pair.host.data(here), b"hello yourself");
}

#[test]
fn version_1_works_the_same_without_numbers() {
    let mut pair = Pair::new(Config::HOST, Config { version: 1, ..Config::PHONE });
    pair.settle();
    assert_eq!(pair.host.mux.link(), LinkState::Up { version: 1 });
    assert_eq!(pair.host.mux.headroom(), 28);
    pair.phone.events.clear();
    pair.host.events.clear();
    let (here, there) = pair.open(7);
    let now = pair.now;
    let data = pattern(60_000);
    assert_eq!(send(&mut pair.host, now, here, &data), data.len());
    pair.settle();
    assert_eq!(pair.phone.data(there), data);
}

#[test]
fn bulk_flows_in_any_slicing_and_stays_within_the_window() {
    for (slice, style, ack) in [
        (usize::MAX, WindowStyle::Constant, AckPolicy::Prompt),
        (64, WindowStyle::Credit, AckPolicy::Immediate),
        (1, WindowStyle::Constant, AckPolicy::Classic),
    ] {
        let config = Config { window_style: style, ack, ..Config::HOST };
        let mut pair = Pair::new(config, Config { window_style: style, ack, ..Config::PHONE });
        pair.slice = slice;
        pair.settle();
        pair.phone.events.clear();
        pair.host.events.clear();
        let (here, there) = pair.open_with(7, 4096, 8192);
        let data = pattern(if slice == 1 { 30_000 } else { 300_000 });
        let (mut down, mut up) = (0, 0);
        while up < data.len() || down < data.len() {
            let now = pair.now;
            up += send(&mut pair.host, now, here, &data[up..]);
            down += send(&mut pair.phone, now, there, &data[down..]);
            assert!(pair.host.mux.unacknowledged(here) <= 8192);
            assert!(pair.phone.mux.unacknowledged(there) <= 4096);
            pair.pass(Duration::from_millis(30));
        }
        assert!(pair.phone.data(there) == data && pair.host.data(here) == data);
        assert_eq!(pair.host.mux.unacknowledged(here), 0);
        assert_eq!(pair.phone.mux.unacknowledged(there), 0);
    }
}

#[test]
fn slow_reader_stops_only_its_own_stream() {
    let mut pair = Pair::up();
    let (slow_here, slow_there) = pair.open_with(7, 131_072, 4096);
    pair.phone.hoards = true;
    let now = pair.now;
    let data = pattern(10_000);
    assert_eq!(send(&mut pair.host, now, slow_here, &data), 4096);
    pair.pass(Duration::from_secs(1));
    assert_eq!(send(&mut pair.host, pair.now, slow_here, &data), 0, "its window is shut");
    pair.phone.hoards = false;
    let (here, there) = pair.open(7);
    let now = pair.now;
    assert_eq!(send(&mut pair.host, now, here, &data), data.len());
    pair.settle();
    assert_eq!(pair.phone.data(there), data);
    // The slow one reads, and its sender is woken.
    pair.phone.mux.set_held(now, slow_there, 0).unwrap();
    pair.pass(Duration::from_millis(5));
    assert_eq!(pair.host.events.pop_front(), Some(Event::Sendable { conn: slow_here }));
    assert_eq!(send(&mut pair.host, pair.now, slow_here, &data[4096..]), 4096);
}

#[test]
fn a_little_room_is_told_after_a_moment() {
    let mut pair = Pair::up();
    let (here, there) = pair.open_with(7, 131_072, 8192);
    pair.phone.hoards = true;
    let data = pattern(20_000);
    assert_eq!(send(&mut pair.host, pair.now, here, &data), 8192);
    pair.pass(Duration::from_secs(1));
    assert_eq!(send(&mut pair.host, pair.now, here, &data), 0);
    // The phone's program reads a quarter of the window, and waits for more.
    pair.phone.mux.set_held(pair.now, there, 6144).unwrap();
    pair.settle();
    assert!(pair.host.events.is_empty(), "not worth an event at once");
    pair.pass(Duration::from_millis(2));
    assert_eq!(pair.host.events.pop_front(), Some(Event::Sendable { conn: here }));
    assert_eq!(send(&mut pair.host, pair.now, here, &data), 2048);
}

#[test]
fn phone_says_goodbye_when_it_aborts_in_the_ordinary_way() {
    let mut pair = Pair::up();
    let (here, there) = pair.open(7);
    pair.phone.mux.abort_because(pair.now, there, ResetReason::Closed);
    pair.settle();
    assert_eq!(pair.host.said, [b"socketIsClosed sock_receive returned errno 54"]);
    assert_eq!(pair.host.seen[here.slot()].text, b"sessionUpcall connection closed");
}

#[test]
fn refused_port_says_so_with_its_text() {
    let mut pair = Pair::up();
    let here = pair.host.mux.connect(pair.now, 1, 4096).unwrap();
    pair.settle();
    let Some(Event::Incoming { conn, .. }) = pair.phone.events.pop_front() else { panic!() };
    pair.phone.mux.refuse(pair.now, conn, ResetReason::Refused);
    pair.settle();
    let refused = Event::Refused { conn: here, reason: RefusedBy::Reset };
    assert_eq!(pair.host.events, [refused]);
    assert_eq!(pair.host.seen[here.slot()].text, b"connection refused");
    assert_eq!((pair.host.mux.connections(), pair.phone.mux.connections()), (0, 0));
}

#[test]
fn close_drains_before_it_resets() {
    let mut pair = Pair::up();
    let (here, there) = pair.open(7);
    pair.phone.hoards = true;
    let data = pattern(5000);
    assert_eq!(send(&mut pair.host, pair.now, here, &data), data.len());
    pair.settle();
    pair.host.mux.close(pair.now, here);
    pair.pass(Duration::from_secs(1));
    assert!(pair.host.events.is_empty(), "5000 bytes are not read yet");
    pair.phone.mux.set_held(pair.now, there, 0).unwrap();
    pair.pass(Duration::from_millis(10));
    let drained = Event::Closed { conn: here, reason: CloseReason::Drained };
    assert_eq!(pair.host.events, [drained]);
    let reset = Event::Closed { conn: there, reason: CloseReason::Reset };
    assert_eq!(pair.phone.events, [reset]);
    assert_eq!(pair.host.mux.set_held(pair.now, here, 0), Err(Gone));
}

#[test]
fn close_keeps_the_other_side_writing_until_it_has_read() {
    let mut pair = Pair::up();
    let (here, there) = pair.open_with(7, 4096, 131_072);
    pair.phone.hoards = true;
    send(&mut pair.host, pair.now, here, b"last words");
    pair.host.mux.close(pair.now, here);
    // A report that comes late does not shut the window again.
    pair.host.mux.set_held(pair.now, here, 4096).unwrap();
    let data = pattern(100_000);
    let mut sent = 0;
    while sent < data.len() {
        let now = pair.now;
        sent += send(&mut pair.phone, now, there, &data[sent..]);
        pair.pass(Duration::from_millis(1));
    }
    assert!(pair.host.data(here).is_empty(), "it is discarded");
    pair.phone.mux.set_held(pair.now, there, 0).unwrap();
    pair.pass(Duration::from_millis(5));
    let drained = Event::Closed { conn: here, reason: CloseReason::Drained };
    assert_eq!(pair.host.events, [drained]);
}

#[test]
fn drain_gives_up_after_thirty_seconds() {
    let mut pair = Pair::up();
    let (here, _) = pair.open(7);
    pair.phone.hoards = true;
    send(&mut pair.host, pair.now, here, b"x");
    pair.settle();
    pair.host.mux.close(pair.now, here);
    pair.pass(Duration::from_millis(29_999));
    assert!(pair.host.events.is_empty());
    pair.pass(Duration::from_millis(1));
    let timeout = Event::Closed { conn: here, reason: CloseReason::DrainTimeout };
    assert_eq!(pair.host.events, [timeout]);
    assert_eq!(pair.host.mux.stats().drain_timeouts, 1);
}

#[test]
fn phone_says_goodbye_before_its_ordinary_reset() {
    let mut pair = Pair::up();
    let (here, there) = pair.open(7);
    send(&mut pair.phone, pair.now, there, b"bye");
    pair.phone.mux.close(pair.now, there);
    pair.pass(Duration::from_millis(5));
    assert_eq!(pair.host.data(here), b"bye");
    assert_eq!(pair.host.said, [b"socketIsClosed sock_receive returned errno 54"]);
    assert_eq!(pair.host.seen[here.slot()].text, b"sessionUpcall connection closed");
    let reset = Event::Closed { conn: here, reason: CloseReason::Reset };
    assert_eq!(pair.host.events, [reset]);
}

#[test]
fn abort_is_silent_here_and_a_reset_there() {
    let mut pair = Pair::up();
    let (here, there) = pair.open(7);
    pair.host.mux.abort(pair.now, here);
    assert_eq!(pair.host.mux.set_window(pair.now, here, 1 << 20), Err(Gone));
    pair.settle();
    assert!(pair.host.events.is_empty());
    let reset = Event::Closed { conn: there, reason: CloseReason::Reset };
    assert_eq!(pair.phone.events, [reset]);
    assert_eq!((pair.host.mux.connections(), pair.phone.mux.connections()), (0, 0));
}

#[test]
fn source_ports_rest_after_the_last_of_a_slots_cycle() {
    // 32768 slots leave one port each, so every released slot rests; two are enough to see it.
    let mut host = Side::new(Role::Host, Config::HOST, 40_000);
    let mut phone = Side::new(Role::Device, Config::PHONE, 4);
    host.mux.attach(Instant::ZERO, 512);
    phone.mux.attach(Instant::ZERO, 512);
    let mut pair = Pair { host, phone, now: Instant::ZERO, slice: usize::MAX };
    pair.settle();
    let ids: Vec<ConnId> =
        (0..40_000).map(|_| pair.host.mux.connect(pair.now, 9, 256).unwrap()).collect();
    assert_eq!(pair.host.mux.connect(pair.now, 9, 256), Err(ConnectError::NoSlot));
    pair.host.mux.abort(pair.now, ids[7]);
    let retry_at = pair.now + Duration::from_secs(2);
    assert_eq!(pair.host.mux.connect(pair.now, 9, 256), Err(ConnectError::NoPort { retry_at }));
    let again = pair.host.mux.connect(retry_at, 9, 256).unwrap();
    assert_eq!(again.slot(), 7);
    assert_ne!(again, ids[7]);
}

#[test]
fn four_slots_open_and_close_all_day() {
    let mut pair = Pair::with_slots(Config::DONGLE, Config::PHONE, 4);
    pair.settle();
    pair.host.events.clear();
    pair.phone.events.clear();
    for _ in 0..1000 {
        let (here, there) = pair.open(7);
        send(&mut pair.host, pair.now, here, b"x");
        pair.settle();
        assert_eq!(pair.phone.data(there), b"x");
        pair.host.mux.close(pair.now, here);
        pair.pass(Duration::from_millis(3));
        pair.host.events.clear();
        pair.phone.events.clear();
    }
    assert_eq!((pair.host.mux.connections(), pair.phone.mux.connections()), (0, 0));
}

#[test]
fn unplugging_ends_everything_at_once() {
    let mut pair = Pair::up();
    let (here, _) = pair.open(7);
    let opening = pair.host.mux.connect(pair.now, 8, 4096).unwrap();
    pair.host.mux.detach(pair.now);
    events(&mut pair.host, pair.now);
    let lost = |conn| Event::Closed { conn, reason: CloseReason::LinkLost };
    assert_eq!(pair.host.events, [lost(here), lost(opening)]);
    assert_eq!(pair.host.mux.connect(pair.now, 7, 4096), Err(ConnectError::LinkDown));
    assert_eq!(pair.host.mux.next_tick(), None);
    pair.host.mux.attach(pair.now, 512);
    pair.host.events.clear();
    pair.pass(Duration::from_millis(1));
    assert_eq!(pair.host.events, [Event::LinkUp { version: 2 }]);
}

#[test]
fn a_lost_frame_kills_the_session_and_the_host_revives_it() {
    let mut pair = Pair::up();
    let (here, there) = pair.open(7);
    send(&mut pair.host, pair.now, here, b"lost");
    pair.host.wire.clear();
    send(&mut pair.host, pair.now, here, b"kept");
    pair.settle();
    let expected = [
        Event::SessionDead { cause: usbmux_core::DeathCause::DuplicatePacket },
        Event::Closed { conn: here, reason: CloseReason::SessionDead },
        Event::LinkUp { version: 2 },
    ];
    assert_eq!(pair.host.events, expected);
    assert!(pair.phone.data(there).is_empty());
    assert_eq!(pair.host.said, [b"detected duplicate packet. Expected 3 received 4"]);
    assert_eq!(pair.host.mux.stats().dead_sessions, 1);
    pair.host.events.clear();
    pair.phone.events.clear();
    pair.open(7);
}

#[test]
fn frames_of_the_old_session_do_not_harm_the_new_one() {
    let mut pair = Pair::up();
    let (_, there) = pair.open(7);
    // The phone's frames are on their way when the host crashes and a new one attaches.
    for _ in 0..6 {
        send(&mut pair.phone, pair.now, there, b"for a host that is gone");
    }
    pair.host.mux = Mux::new(Role::Host, Config::HOST, vec![Slot::EMPTY; 8]);
    pair.host.mux.attach(pair.now, 512);
    pair.phone.events.clear();
    pair.settle();
    assert_eq!(pair.host.events, [Event::LinkUp { version: 2 }]);
    assert_eq!(pair.host.mux.stats().stale, 6);
    assert_eq!(pair.phone.mux.stats().dead_sessions, 0);
    pair.host.events.clear();
    pair.phone.events.clear();
    pair.open(7);
}

#[test]
fn late_segments_of_one_connection_draw_one_reset() {
    let mut pair = Pair::up();
    let (here, there) = pair.open(7);
    pair.host.mux.abort(pair.now, here);
    transmit(&mut pair.host, pair.now);
    let now = pair.now;
    for _ in 0..6 {
        send(&mut pair.phone, now, there, b"late");
    }
    while deliver(&mut pair.phone, &mut pair.host, now, usize::MAX) {}
    let before = pair.host.mux.stats().frames_out;
    transmit(&mut pair.host, now);
    assert_eq!(pair.host.mux.stats().frames_out - before, 1);
    assert_eq!(pair.host.mux.stats().resets_dropped, 0);
}

#[test]
fn explicit_zero_length_packets_follow_full_frames() {
    let config = Config { zlp: Zlp::Explicit, ..Config::HOST };
    let mut pair = Pair::new(config, Config::PHONE);
    pair.settle();
    pair.phone.events.clear();
    pair.host.events.clear();
    let (here, there) = pair.open(7);
    let headroom = pair.host.mux.headroom();
    let mut frame = vec![1; 1024];
    let sent = pair.host.mux.send_in_place(pair.now, here, &mut frame, 1024 - headroom).unwrap();
    assert_eq!((sent.taken, sent.needs_zlp), (1024 - headroom, true));
    pair.host.wire.extend([frame, Vec::new()]);
    pair.settle();
    assert_eq!(pair.phone.data(there).len(), 1024 - headroom);
}
