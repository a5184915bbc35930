//! Two ends of sockets, one cable, no clock: the behaviour that a program sees which reads and writes.
//!
//! The cable cuts everything into full-speed packets. What the engine below does in detail is in `pair.rs`;
//! the ring by itself has its tests beside it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use embedded_io::{Read, ReadReady, Write, WriteReady};
use std::collections::VecDeque;
use std::time::Duration;
use usbmux_core::sockets::{AcceptError, Error, Event, SocketId, Sockets, Text};
use usbmux_core::{
    CONTROL_FRAME, CloseReason, Config, ConnectError, Frame, Instant, RefusedBy, ResetReason, Role,
    Transfer, WindowStyle,
};

const PACKET: usize = 64;
const SOCKETS: usize = 3;

/// One end: sockets with rings of these sizes, what they told, and their transfers on the way.
struct End<const RX: usize, const TX: usize> {
    net: Box<Sockets<SOCKETS, RX, TX>>,
    events: VecDeque<Event>,
    texts: Vec<Vec<u8>>,
    wire: VecDeque<Vec<u8>>,
    /// Payload bytes of each data frame that was sent.
    frames: Vec<usize>,
}

impl<const RX: usize, const TX: usize> End<RX, TX> {
    fn new(role: Role, config: Config) -> Self {
        let mut net = Box::new(Sockets::new(role, config));
        net.attach(Instant::ZERO, PACKET as u16);
        let (events, wire) = (VecDeque::new(), VecDeque::new());
        End { net, events, texts: Vec::new(), wire, frames: Vec::new() }
    }

    fn transmit(&mut self, now: Instant) -> bool {
        let before = self.wire.len();
        let mut buf = [0; CONTROL_FRAME];
        while let Some(frame) = self.net.poll_transmit(now, &mut buf) {
            self.send(&buf, frame);
        }
        let mut buf = [0; 4096];
        while let Some(frame) = self.net.poll_data(now, &mut buf) {
            self.frames.push(frame.len - self.net.mux().headroom());
            self.send(&buf, frame);
        }
        self.wire.len() > before
    }

    fn send(&mut self, buf: &[u8], frame: Frame) {
        assert!(!frame.needs_zlp && !frame.len.is_multiple_of(PACKET), "it would need a ZLP");
        self.wire.push_back(buf[..frame.len].to_vec());
    }

    fn receive(&mut self, now: Instant, bytes: &[u8]) {
        for packet in bytes.chunks(PACKET) {
            let mut transfer = match packet.len() {
                PACKET => Transfer::part(packet),
                _ => Transfer::new(packet),
            };
            while let Some(text) = self.net.receive(now, &mut transfer) {
                let (Text::Reset { text, .. } | Text::PhoneSays { text, .. }) = text;
                self.texts.push(text.to_vec());
            }
        }
    }

    /// Everything that can be read now.
    fn read(&mut self, id: SocketId) -> Vec<u8> {
        let mut all = Vec::new();
        let mut buf = [0; 100];
        loop {
            match self.net.socket(id).try_read(&mut buf) {
                Ok(0) | Err(_) => return all,
                Ok(count) => all.extend_from_slice(&buf[..count]),
            }
        }
    }

    /// As much of `data` as goes, and how much that is.
    fn write(&mut self, id: SocketId, data: &[u8]) -> usize {
        self.net.socket(id).try_write(data).unwrap_or(0)
    }

    fn error(&mut self, id: SocketId) -> Error {
        self.net.socket(id).try_read(&mut [0]).unwrap_err()
    }
}

/// A host and a phone; the phone's rings are smaller, so that both meet either's limits.
struct Pair {
    host: End<1000, 700>,
    phone: End<512, 300>,
    now: Instant,
}

/// What `Pair` announces as window to the phone: the full 256s of its receive ring.
const HOST_WINDOW: usize = 768;

impl Pair {
    fn with(config: Config) -> Self {
        let host = End::new(Role::Host, config);
        let phone = End::new(Role::Device, Config { ack: config.ack, ..Config::PHONE });
        let mut pair = Pair { host, phone, now: Instant::ZERO };
        pair.settle();
        assert_eq!(pair.host.events, [Event::LinkUp { version: 2 }]);
        pair.host.events.clear();
        pair.phone.events.clear();
        pair
    }

    fn up() -> Self {
        Pair::with(Config::DONGLE)
    }

    /// Everything that can happen without time passing.
    fn settle(&mut self) {
        loop {
            while let Some(event) = self.host.net.poll_event(self.now) {
                self.host.events.push_back(event);
            }
            while let Some(event) = self.phone.net.poll_event(self.now) {
                self.phone.events.push_back(event);
            }
            let mut busy = self.host.transmit(self.now) | self.phone.transmit(self.now);
            if let Some(bytes) = self.host.wire.pop_front() {
                self.phone.receive(self.now, &bytes);
                busy = true;
            }
            if let Some(bytes) = self.phone.wire.pop_front() {
                self.host.receive(self.now, &bytes);
                busy = true;
            }
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
            let next = [self.host.net.next_tick(), self.phone.net.next_tick()];
            self.now = next.into_iter().flatten().min().unwrap_or(end).min(end).max(self.now);
            self.host.net.tick(self.now);
            self.phone.net.tick(self.now);
            if self.now == end {
                break;
            }
        }
        self.settle();
    }

    /// A connection, seen from both ends.
    fn open(&mut self) -> (SocketId, SocketId) {
        let here = self.host.net.connect(self.now, 7).unwrap();
        self.settle();
        let Some(Event::Incoming { conn, port: 7, .. }) = self.phone.events.pop_front() else {
            panic!("no incoming connection")
        };
        let there = self.phone.net.accept(self.now, conn).unwrap();
        self.settle();
        assert_eq!(self.host.events.pop_front(), Some(Event::Connected { socket: here }));
        assert_eq!(self.phone.events.pop_front(), Some(Event::Connected { socket: there }));
        (here, there)
    }

    /// What the phone reads at last, in some turns with time between them.
    fn read_late(&mut self, there: SocketId) -> Vec<u8> {
        let mut got = Vec::new();
        for _ in 0..10 {
            got.extend(self.phone.read(there));
            self.pass(Duration::from_millis(5));
        }
        got
    }

    /// Moves `data` from the host to the phone, which reads as it comes; returns what it read.
    fn carry(&mut self, here: SocketId, there: SocketId, data: &[u8]) -> Vec<u8> {
        let (mut sent, mut got) = (0, Vec::new());
        for _ in 0..data.len() {
            sent += self.host.write(here, &data[sent..]);
            self.pass(Duration::from_millis(2));
            got.extend(self.phone.read(there));
            if got.len() == data.len() {
                break;
            }
        }
        got
    }
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 31 % 251) as u8).collect()
}

/// What a program does that knows nothing of this crate.
fn echo<T: Read + Write>(mut stream: T) -> Result<usize, T::Error> {
    let mut buf = [0; 97];
    let count = stream.read(&mut buf)?;
    stream.write_all(&buf[..count])?;
    Ok(count)
}

#[test]
fn bytes_come_back_through_rings_of_any_fill() {
    for style in [WindowStyle::Constant, WindowStyle::Credit] {
        let mut pair = Pair::with(Config { window_style: style, ..Config::DONGLE });
        let (here, there) = pair.open();
        let data = pattern(30_000);
        let (mut sent, mut got) = (0, Vec::new());
        // Steps of all sizes, so that the rings wrap at every place.
        for step in 1.. {
            let end = data.len().min(sent + step % 400);
            sent += pair.host.write(here, &data[sent..end]);
            pair.pass(Duration::from_millis(2));
            while pair.phone.net.socket(there).write_ready() == Ok(true) {
                match echo(pair.phone.net.socket(there)) {
                    Ok(_) => {}
                    Err(Error::WouldBlock) => break,
                    Err(error) => panic!("{error}"),
                }
                pair.settle();
                got.extend(pair.host.read(here));
            }
            pair.settle();
            got.extend(pair.host.read(here));
            assert!(step < 10_000, "stuck at {} of {sent}", got.len());
            if got.len() == data.len() {
                break;
            }
        }
        assert!(got == data);
        let stats = *pair.host.net.mux().stats();
        assert_eq!((stats.overruns, stats.gaps, stats.truncated), (0, 0, 0));
    }
}

#[test]
fn the_window_is_the_rings_full_256s() {
    let style = WindowStyle::Constant;
    let mut pair = Pair::with(Config { window_style: style, ..Config::DONGLE });
    let (here, there) = pair.open();
    let data = pattern(2000);
    let mut sent = 0;
    for _ in 0..10 {
        sent += pair.phone.write(there, &data[sent..]);
        pair.pass(Duration::from_millis(5));
    }
    assert_eq!(sent, HOST_WINDOW + 300, "one window arrived, one ring waits");
    assert_eq!(pair.host.net.mux().credit(here.conn()), 0);
    assert_eq!(pair.host.read(here), data[..HOST_WINDOW]);
    pair.pass(Duration::from_millis(5));
    assert_eq!(pair.host.read(here), data[HOST_WINDOW..sent]);
}

#[test]
fn slow_reader_stops_only_its_own_stream() {
    let mut pair = Pair::up();
    let (slow_here, slow_there) = pair.open();
    let (here, there) = pair.open();
    let data = pattern(5000);
    let mut stuck = 0;
    for _ in 0..10 {
        stuck += pair.host.write(slow_here, &data[stuck..]);
        pair.pass(Duration::from_millis(5));
    }
    assert_eq!(stuck, 512 + 700, "the phone's ring and ours");
    assert_eq!(pair.host.net.socket(slow_here).try_write(b"x"), Err(Error::WouldBlock));
    assert_eq!(pair.host.net.socket(slow_here).write_ready(), Ok(false));
    assert!(pair.carry(here, there, &data) == data);

    assert_eq!(pair.read_late(slow_there), data[..stuck]);
    assert_eq!(pair.host.net.socket(slow_here).write_ready(), Ok(true));
}

#[test]
fn a_small_room_is_not_worth_a_frame_at_once() {
    let mut pair = Pair::up();
    let (here, there) = pair.open();
    pair.host.write(here, &[0; 700]);
    pair.settle();
    assert_eq!(pair.host.frames, [512], "the phone's window is full");
    assert_eq!(pair.phone.net.socket(there).try_read(&mut [0; 100]), Ok(100));
    // The phone tells of it after 2 ms; the engine waits as long for more, as less than half is free.
    pair.pass(Duration::from_millis(2));
    assert_eq!(pair.host.net.mux().unacknowledged(here.conn()), 412);
    assert_eq!(pair.host.frames, [512]);
    pair.pass(Duration::from_millis(2));
    assert_eq!(pair.host.frames, [512, 100]);
}

#[test]
fn data_may_arrive_before_connected_is_told() {
    let mut pair = Pair::up();
    let here = pair.host.net.connect(pair.now, 7).unwrap();
    pair.settle();
    let Some(Event::Incoming { conn, .. }) = pair.phone.events.pop_front() else { panic!() };
    let there = pair.phone.net.accept(pair.now, conn).unwrap();
    assert_eq!(pair.phone.write(there, b"early"), 5);
    // Everything but the host's events.
    for _ in 0..3 {
        while pair.phone.net.poll_event(pair.now).is_some() {}
        pair.phone.transmit(pair.now);
        pair.host.transmit(pair.now);
        while let Some(bytes) = pair.phone.wire.pop_front() {
            pair.host.receive(pair.now, &bytes);
        }
        while let Some(bytes) = pair.host.wire.pop_front() {
            pair.phone.receive(pair.now, &bytes);
        }
    }
    assert_eq!(pair.host.read(here), b"early");
    let connected = Event::Connected { socket: here };
    assert_eq!(pair.host.net.poll_event(pair.now), Some(connected));
}

#[test]
fn a_peer_that_finished_can_still_be_written_to() {
    let mut pair = Pair::up();
    let (here, there) = pair.open();
    pair.phone.write(there, b"last");
    pair.phone.transmit(pair.now);
    // No phone is known to send one: the data frame gets a FIN (0x01) by hand.
    pair.phone.wire.back_mut().unwrap()[29] |= 0x01;
    let bytes = pair.phone.wire.pop_front().unwrap();
    pair.host.receive(pair.now, &bytes);
    let finished = Event::Finished { socket: here };
    assert_eq!(pair.host.net.poll_event(pair.now), Some(finished));
    let mut socket = pair.host.net.socket(here);
    assert_eq!(socket.try_read(&mut [0; 8]), Ok(4));
    assert_eq!((socket.try_read(&mut [0; 8]), socket.read_ready()), (Ok(0), Ok(true)));
    assert_eq!(socket.try_write(b"more"), Ok(4));
}

#[test]
fn senders_take_turns_frame_by_frame() {
    let mut pair = Pair::up();
    let open: Vec<(SocketId, SocketId)> = (0..SOCKETS).map(|_| pair.open()).collect();
    for (here, _) in &open {
        assert_eq!(pair.host.write(*here, &[here.place() as u8; 100]), 100);
    }
    // Room for 64 bytes of payload: two frames each.
    let mut buf = [0; 100];
    for expected in [0, 1, 2, 0, 1, 2] {
        let frame = pair.host.net.poll_data(pair.now, &mut buf).unwrap();
        assert_eq!(buf[36], expected);
        pair.host.send(&buf, frame);
    }
    assert_eq!(pair.host.net.poll_data(pair.now, &mut buf), None);
    pair.settle();
    for (here, there) in open {
        assert_eq!(pair.phone.read(there), [here.place() as u8; 100]);
    }
}

#[test]
fn a_closed_sockets_place_is_free_when_it_has_drained() {
    let mut pair = Pair::up();
    for _ in 0..3 * SOCKETS {
        let (here, there) = pair.open();
        assert_eq!(pair.host.write(here, b"once"), 4);
        pair.host.net.close(pair.now, here);
        assert_eq!(pair.read_late(there), b"once");
        let drained = Event::Closed { socket: here, reason: CloseReason::Drained };
        assert_eq!(pair.host.events.pop_front(), Some(drained));
        pair.phone.events.clear();
        pair.phone.net.close(pair.now, there);
    }
}

#[test]
fn a_trimmed_byte_stays_for_the_next_frame() {
    let mut pair = Pair::up();
    let (here, there) = pair.open();
    // Headers and 92 bytes are two full packets.
    assert_eq!(pair.host.write(here, &pattern(92)), 92);
    let mut buf = [0; 4096];
    let frame = pair.host.net.poll_data(pair.now, &mut buf).unwrap();
    assert_eq!(frame, Frame { len: 127, needs_zlp: false });
    assert_eq!(pair.host.net.socket(here).flush(), Err(Error::WouldBlock));
    pair.host.send(&buf, frame);
    pair.settle();
    assert_eq!(pair.host.net.socket(here).flush(), Ok(()));
    assert_eq!(pair.phone.read(there), pattern(92));
    assert_eq!(pair.host.frames, [1], "behind the one of 91");
}

#[test]
fn a_short_transfer_buffer_makes_short_frames() {
    let mut pair = Pair::up();
    let (here, there) = pair.open();
    pair.host.write(here, b"bytes");
    assert_eq!(pair.host.net.poll_data(pair.now, &mut []), None);
    assert_eq!(pair.host.net.poll_data(pair.now, &mut [0; 36]), None);
    let mut buf = [0; 38];
    for _ in 0..2 {
        let frame = pair.host.net.poll_data(pair.now, &mut buf).unwrap();
        assert_eq!(frame.len, 38);
        pair.host.send(&buf, frame);
    }
    pair.settle();
    assert_eq!(pair.phone.read(there), b"bytes");
}

#[test]
fn close_lets_everything_written_leave() {
    let mut pair = Pair::up();
    let (here, there) = pair.open();
    let data = pattern(512 + 700);
    let sent = pair.host.write(here, &data);
    pair.settle();
    assert_eq!(sent + pair.host.write(here, &data[sent..]), data.len(), "more than the window");
    pair.host.net.close(pair.now, here);
    assert_eq!(pair.host.error(here), Error::Closed);
    assert_eq!(pair.host.net.socket(here).try_write(b"x"), Err(Error::Closed));
    pair.pass(Duration::from_secs(1));
    assert!(pair.host.events.is_empty(), "the phone has not read");
    assert_eq!(pair.read_late(there), data);
    let drained = Event::Closed { socket: here, reason: CloseReason::Drained };
    assert_eq!(pair.host.events, [drained]);
    assert_eq!(pair.phone.net.socket(there).try_read(&mut [0]), Ok(0));
}

#[test]
fn a_closed_socket_still_takes_what_the_peer_must_get_rid_of() {
    let mut pair = Pair::up();
    let (here, there) = pair.open();
    let last = pattern(512 + 300);
    assert_eq!(pair.host.write(here, &last[..700]), 700);
    pair.settle();
    assert_eq!(pair.host.write(here, &last[700..]), 112);
    // Bytes that nobody will read shut the window; closing opens it again.
    let mut sent = 0;
    for _ in 0..5 {
        sent += pair.phone.write(there, &[9; 300]);
        pair.pass(Duration::from_millis(5));
    }
    assert_eq!(pair.phone.write(there, &[9]), 0, "the window is shut");
    pair.host.net.close(pair.now, here);
    // The phone's program writes first and reads afterwards.
    while sent < 5000 {
        pair.pass(Duration::from_millis(5));
        let count = pair.phone.write(there, &[9; 300]);
        assert_ne!(count, 0, "stuck after {sent}");
        sent += count;
    }
    assert_eq!(pair.read_late(there), last);
    let drained = Event::Closed { socket: here, reason: CloseReason::Drained };
    assert_eq!(pair.host.events, [drained]);
}

#[test]
fn a_closed_socket_gives_up_when_its_bytes_cannot_leave() {
    let mut pair = Pair::up();
    let (here, there) = pair.open();
    pair.host.write(here, &[0; 700]);
    pair.settle();
    pair.host.write(here, &[0; 700]);
    pair.host.net.close(pair.now, here);
    pair.pass(Duration::from_millis(29_999));
    assert_eq!(pair.host.net.next_tick(), Some(pair.now + Duration::from_millis(1)));
    assert!(pair.host.events.is_empty());
    pair.pass(Duration::from_millis(1));
    let timeout = Event::Closed { socket: here, reason: CloseReason::DrainTimeout };
    assert_eq!(pair.host.events, [timeout]);
    let reset = Event::Closed { socket: there, reason: CloseReason::Reset };
    assert_eq!(pair.phone.events, [reset]);
    assert_eq!(pair.host.net.mux().connections(), 0);
    pair.phone.events.clear();
    pair.host.events.clear();
    pair.open();
}

#[test]
fn written_and_closed_before_it_opened_still_arrives() {
    let mut pair = Pair::up();
    let here = pair.host.net.connect(pair.now, 7).unwrap();
    assert_eq!(pair.host.write(here, b"fire and forget"), 15);
    pair.host.net.close(pair.now, here);
    pair.settle();
    let Some(Event::Incoming { conn, .. }) = pair.phone.events.pop_front() else { panic!() };
    let there = pair.phone.net.accept(pair.now, conn).unwrap();
    pair.settle();
    assert_eq!(pair.phone.read(there), b"fire and forget");
    pair.pass(Duration::from_millis(5));
    let drained = Event::Closed { socket: here, reason: CloseReason::Drained };
    assert_eq!(pair.host.events, [drained], "no Connected: nobody is there any more");
}

#[test]
fn closed_before_it_opened_and_without_a_byte_it_is_forgotten() {
    let mut pair = Pair::up();
    for _ in 0..10 {
        let here = pair.host.net.connect(pair.now, 7).unwrap();
        pair.host.net.close(pair.now, here);
        pair.settle();
    }
    assert!(pair.host.events.is_empty() && pair.phone.events.is_empty());
    pair.open();
}

#[test]
fn what_the_peer_sent_last_is_readable_to_the_last_byte() {
    let mut pair = Pair::up();
    let (here, there) = pair.open();
    let data = pattern(300);
    assert_eq!(pair.phone.write(there, &data), 300);
    pair.phone.net.close(pair.now, there);
    pair.pass(Duration::from_millis(5));
    let reset = Event::Closed { socket: here, reason: CloseReason::Reset };
    assert_eq!(pair.host.events.pop_front(), Some(reset));
    let drained = Event::Closed { socket: there, reason: CloseReason::Drained };
    assert_eq!(pair.phone.events.pop_front(), Some(drained));
    let mut read = [0; 299];
    assert_eq!(pair.host.net.socket(here).try_read(&mut read), Ok(299));
    assert_eq!(read, data[..299]);

    // Another connection takes the engine's slot, once the others had their turn, and none of these
    // bytes.
    let (other_here, other_there) = loop {
        let (other_here, other_there) = pair.open();
        if other_here.conn().slot() == here.conn().slot() {
            break (other_here, other_there);
        }
        pair.host.net.abort(pair.now, other_here);
        pair.phone.net.abort(pair.now, other_there);
        pair.settle();
    };
    assert_ne!(other_here.place(), here.place());
    pair.phone.write(other_there, b"not yours");
    pair.settle();

    let mut socket = pair.host.net.socket(here);
    assert_eq!(socket.read_ready(), Ok(true));
    let mut last = [0; 10];
    assert_eq!(socket.try_read(&mut last), Ok(1));
    assert_eq!(last[0], data[299]);
    assert_eq!((socket.read_ready(), socket.try_read(&mut last)), (Ok(true), Ok(0)));
    assert_eq!(socket.try_read(&mut last), Ok(0), "the end stays the end");
    assert_eq!(socket.try_write(b"x"), Err(Error::Reset));
    pair.host.net.close(pair.now, here);
    assert_eq!(pair.host.error(here), Error::Closed);
    assert_eq!(pair.host.read(other_here), b"not yours");
}

#[test]
fn a_reset_with_other_words_is_an_error_behind_the_last_byte() {
    let words: [(&[u8], Result<usize, Error>); 4] = [
        (b"", Ok(0)),
        (b"sessionUpcall connection closed\0", Ok(0)),
        (b"handleMuxTCPInput th.th_flags = 0x18, not TH_ACK(0x10)", Err(Error::Reset)),
        (
            b"a text longer than what is kept of it, and than one packet: nobody knows",
            Err(Error::Reset),
        ),
    ];
    for (text, expected) in words {
        let mut pair = Pair::up();
        let (here, there) = pair.open();
        pair.phone.write(there, b"last");
        pair.phone.transmit(pair.now);
        // The reset is written by hand: the headers of a data frame, RST (0x04), the text.
        let mut reset = pair.phone.wire.back().unwrap()[..36].to_vec();
        reset[7] = (36 + text.len()) as u8;
        reset[15] += 1;
        reset[29] = 0x04;
        reset.extend_from_slice(text);
        pair.phone.wire.push_back(reset);
        pair.settle();
        let closed = Event::Closed { socket: here, reason: CloseReason::Reset };
        assert_eq!(pair.host.events, [closed]);
        assert_eq!(pair.host.texts.concat(), text);
        let mut socket = pair.host.net.socket(here);
        assert_eq!(socket.try_read(&mut [0; 8]), Ok(4));
        assert_eq!(socket.try_read(&mut [0; 8]), expected, "{}", text.escape_ascii());
    }
}

#[test]
fn a_refused_socket_says_so_until_it_is_closed() {
    let mut pair = Pair::up();
    let here = pair.host.net.connect(pair.now, 1).unwrap();
    assert_eq!(pair.host.error(here), Error::WouldBlock);
    assert_eq!(pair.host.net.socket(here).read_ready(), Ok(false));
    pair.settle();
    let Some(Event::Incoming { conn, .. }) = pair.phone.events.pop_front() else { panic!() };
    pair.phone.net.refuse(pair.now, conn, ResetReason::Refused);
    pair.settle();
    let refused = Event::Refused { socket: here, reason: RefusedBy::Reset };
    assert_eq!(pair.host.events, [refused]);
    assert_eq!(pair.host.error(here), Error::Refused(RefusedBy::Reset));
    pair.host.net.close(pair.now, here);
    assert_eq!(pair.host.error(here), Error::Closed);
}

#[test]
fn every_socket_keeps_its_place_until_it_is_closed() {
    let mut pair = Pair::up();
    let open: Vec<(SocketId, SocketId)> = (0..SOCKETS).map(|_| pair.open()).collect();
    assert_eq!(pair.host.net.connect(pair.now, 7), Err(ConnectError::NoSlot));
    let (here, there) = open[1];
    pair.host.net.abort(pair.now, here);
    assert_eq!(pair.host.error(here), Error::Closed, "stale at once");
    pair.settle();
    assert!(pair.host.events.is_empty(), "and silent");
    let reset = Event::Closed { socket: there, reason: CloseReason::Reset };
    assert_eq!(pair.phone.events.pop_front(), Some(reset));

    // The host has room again; the phone's program has not closed its end.
    let again = pair.host.net.connect(pair.now, 7).unwrap();
    assert_eq!(again.place(), here.place());
    assert_eq!(pair.host.error(here), Error::Closed, "not the new one");
    pair.settle();
    let Some(Event::Incoming { conn, .. }) = pair.phone.events.pop_front() else { panic!() };
    assert_eq!(pair.phone.net.accept(pair.now, conn), Err(AcceptError::NoSocket));
    pair.phone.net.close(pair.now, there);
    pair.phone.net.accept(pair.now, conn).unwrap();
    assert_eq!(pair.phone.net.accept(pair.now, conn), Err(AcceptError::NoSocket));
    pair.settle();
    assert_eq!(pair.host.events, [Event::Connected { socket: again }]);
}

#[test]
fn unplugging_leaves_what_arrived() {
    let mut pair = Pair::up();
    let (here, there) = pair.open();
    pair.phone.write(there, b"in time");
    pair.settle();
    pair.phone.write(there, b"too late");
    pair.host.net.detach(pair.now);
    pair.host.net.poll_event(pair.now).unwrap();
    let mut buf = [0; 100];
    assert_eq!(pair.host.net.socket(here).try_read(&mut buf), Ok(7));
    assert_eq!(pair.host.error(here), Error::Broken(CloseReason::LinkLost));
    let broken = Err(Error::Broken(CloseReason::LinkLost));
    assert_eq!(pair.host.net.socket(here).try_write(b"x"), broken);
    assert_eq!(pair.host.net.poll_event(pair.now), None);
}

#[test]
fn empty_reads_and_writes_are_no_end() {
    let mut pair = Pair::up();
    let (here, _) = pair.open();
    let mut socket = pair.host.net.socket(here);
    assert_eq!((socket.try_read(&mut []), socket.try_write(&[])), (Ok(0), Ok(0)));
    assert_eq!(socket.try_write(&[0; 1000]), Ok(700));
    assert_eq!((socket.try_write(&[]), socket.try_write(&[0])), (Ok(0), Err(Error::WouldBlock)));
}

#[cfg(feature = "async")]
mod asynchronous {
    //! The same with tasks, which are polled by hand.

    use super::*;
    use embedded_io_async::{Read as _, Write as _};
    use std::cell::RefCell;
    use std::future::Future;
    use std::pin::pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Poll, Wake, Waker};
    use usbmux_core::sockets::AsyncSocket;

    /// Counts how often its task was woken.
    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    impl Count {
        fn task() -> (Arc<Count>, Waker) {
            let count = Arc::new(Count::default());
            (count.clone(), Waker::from(count))
        }

        fn woken(&self) -> usize {
            self.0.load(Ordering::Relaxed)
        }
    }

    type Net = Sockets<2, 512, 256>;

    /// A host and a phone in cells, and their link up.
    struct Cells {
        host: RefCell<Net>,
        phone: RefCell<Net>,
    }

    impl Cells {
        fn up() -> Self {
            let cells = Cells {
                host: RefCell::new(Net::new(Role::Host, Config::DONGLE)),
                phone: RefCell::new(Net::new(Role::Device, Config::PHONE)),
            };
            cells.host.borrow_mut().attach(Instant::ZERO, 512);
            cells.phone.borrow_mut().attach(Instant::ZERO, 512);
            cells.settle();
            cells
        }

        /// Runs both loops until they are quiet; the phone accepts whatever comes, and returns it.
        fn settle(&self) -> Option<SocketId> {
            let mut accepted = None;
            loop {
                let (mut host, mut phone) = (self.host.borrow_mut(), self.phone.borrow_mut());
                while host.poll_event(Instant::ZERO).is_some() {}
                while let Some(event) = phone.poll_event(Instant::ZERO) {
                    if let Event::Incoming { conn, .. } = event {
                        accepted = phone.accept(Instant::ZERO, conn).ok();
                    }
                }
                if !(transmit(&mut host, &mut phone) | transmit(&mut phone, &mut host)) {
                    return accepted;
                }
            }
        }

        fn open(&self) -> (AsyncSocket<'_, 2, 512, 256>, AsyncSocket<'_, 2, 512, 256>) {
            let here = self.host.borrow_mut().connect(Instant::ZERO, 7).unwrap();
            let there = self.settle().unwrap();
            (AsyncSocket::new(&self.host, here), AsyncSocket::new(&self.phone, there))
        }
    }

    fn transmit(from: &mut Net, to: &mut Net) -> bool {
        let mut busy = false;
        let (mut control, mut data) = ([0; CONTROL_FRAME], [0; 600]);
        loop {
            let frame = from.poll_transmit(Instant::ZERO, &mut control);
            let bytes = match frame {
                Some(frame) => &control[..frame.len],
                None => match from.poll_data(Instant::ZERO, &mut data) {
                    Some(frame) => &data[..frame.len],
                    None => return busy,
                },
            };
            let mut transfer = Transfer::new(bytes);
            while to.receive(Instant::ZERO, &mut transfer).is_some() {}
            busy = true;
        }
    }

    fn poll<T>(future: impl Future<Output = T>, waker: &Waker) -> Poll<T> {
        pin!(future).poll(&mut Context::from_waker(waker))
    }

    #[test]
    fn a_reader_is_woken_once_for_what_it_waits_for() {
        let cells = Cells::up();
        let (mut here, mut there) = cells.open();
        let (reader, waker) = Count::task();
        let mut buf = [0; 64];
        assert_eq!(poll(here.read(&mut buf), &waker), Poll::Pending);
        assert_eq!(poll(here.read(&mut buf), &waker), Poll::Pending);
        assert_eq!(reader.woken(), 0);
        for _ in 0..3 {
            assert_eq!(poll(there.write(b"ab"), Waker::noop()), Poll::Ready(Ok(2)));
            cells.settle();
            assert_eq!(reader.woken(), 1, "once, however much comes until it asks again");
        }
        assert_eq!(poll(here.read(&mut buf), &waker), Poll::Ready(Ok(6)));
        cells.settle();
        assert_eq!(reader.woken(), 1);

        assert_eq!(poll(here.read(&mut buf), &waker), Poll::Pending);
        cells.phone.borrow_mut().abort(Instant::ZERO, there.id());
        cells.settle();
        assert_eq!(reader.woken(), 2, "the end wakes too");
        assert_eq!(poll(here.read(&mut buf), &waker), Poll::Ready(Ok(0)));
    }

    #[test]
    fn a_writer_is_woken_once_by_room_and_not_by_data() {
        let cells = Cells::up();
        let (mut here, mut there) = cells.open();
        let ((writer, write_waker), (reader, read_waker)) = (Count::task(), Count::task());
        let mut copy = here;
        let mut buf = [0; 512];
        assert_eq!(poll(copy.read(&mut buf), &read_waker), Poll::Pending);
        let mut sent = 0;
        while let Poll::Ready(count) = poll(here.write(&[7; 200]), Waker::noop()) {
            sent += count.unwrap();
            cells.settle();
        }
        assert_eq!(sent, 512 + 256, "the phone's ring and ours");
        assert_eq!(poll(here.write(&[7]), &write_waker), Poll::Pending);
        assert_eq!(poll(there.write(b"data"), Waker::noop()), Poll::Ready(Ok(4)));
        cells.settle();
        assert_eq!((writer.woken(), reader.woken()), (0, 1), "each direction has its own");
        assert_eq!(poll(there.read(&mut buf), Waker::noop()), Poll::Ready(Ok(512)));
        cells.settle();
        assert_eq!((writer.woken(), reader.woken()), (1, 1));
        assert_eq!(poll(here.flush(), Waker::noop()), Poll::Ready(Ok(())));
    }

    #[test]
    fn connected_waits_for_the_answer_and_closing_ends_every_wait() {
        let cells = Cells::up();
        let id = cells.host.borrow_mut().connect(Instant::ZERO, 7).unwrap();
        let mut here = AsyncSocket::new(&cells.host, id);
        let (opening, waker) = Count::task();
        assert_eq!(poll(here.connected(), &waker), Poll::Pending);
        cells.settle();
        assert_eq!(opening.woken(), 1);
        assert_eq!(poll(here.connected(), &waker), Poll::Ready(Ok(())));

        let mut buf = [0; 8];
        assert_eq!(poll(here.read(&mut buf), &waker), Poll::Pending);
        cells.host.borrow_mut().close(Instant::ZERO, id);
        assert_eq!(opening.woken(), 2);
        assert_eq!(poll(here.read(&mut buf), &waker), Poll::Ready(Err(Error::Closed)));
        assert_eq!(poll(here.connected(), &waker), Poll::Ready(Err(Error::Closed)));

        let (mut here, _) = cells.open();
        assert_eq!(poll(here.read(&mut buf), &waker), Poll::Pending);
        cells.host.borrow_mut().abort(Instant::ZERO, here.id());
        assert_eq!(opening.woken(), 3);
        assert_eq!(poll(here.read(&mut buf), &waker), Poll::Ready(Err(Error::Closed)));
    }

    #[test]
    fn the_loop_hears_of_work_that_applications_leave() {
        let cells = Cells::up();
        let (mut here, mut there) = cells.open();
        let (looper, waker) = Count::task();
        let work = || cells.host.borrow_mut().poll_work(&mut Context::from_waker(&waker));
        assert_eq!(work(), Poll::Ready(()), "a connection was opened");
        assert_eq!(work(), Poll::Pending);
        assert_eq!(poll(here.write(b"x"), Waker::noop()), Poll::Ready(Ok(1)));
        assert_eq!(poll(here.write(b"y"), Waker::noop()), Poll::Ready(Ok(1)));
        assert_eq!((looper.woken(), work(), work()), (1, Poll::Ready(()), Poll::Pending));
        assert_eq!(poll(there.write(b"z"), Waker::noop()), Poll::Ready(Ok(1)));
        cells.settle();
        assert_eq!((looper.woken(), work()), (1, Poll::Pending), "what the loop does is not news");
        assert_eq!(poll(here.read(&mut [0; 8]), Waker::noop()), Poll::Ready(Ok(1)));
        assert_eq!((looper.woken(), work()), (2, Poll::Ready(())));
    }

    #[test]
    fn a_borrow_held_elsewhere_is_an_error_and_no_panic() {
        let cells = Cells::up();
        let (mut here, _) = cells.open();
        let held = cells.host.borrow_mut();
        assert_eq!(poll(here.read(&mut [0]), Waker::noop()), Poll::Ready(Err(Error::Borrowed)));
        drop(held);
        assert_eq!(poll(here.read(&mut [0]), Waker::noop()), Poll::Pending);
    }
}
