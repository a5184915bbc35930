//! The naive phone: how a phone answers, written from PROTOCOL §2–4 alone.
//!
//! It is a judge as well as a partner: every frame of the host is kept in [`NaivePhone::seen`], every rule that the
//! host breaks becomes a sentence in [`NaivePhone::complaints`]. It has no clock: it answers at once or, where a test
//! plays the phone's program, when the test calls. It is not fast and does not try to be.

use super::cable::{Assembler, packets};
use super::frame::{
    ACK, CONTROL, FROM_HOST, FROM_PHONE, Frame, RST, SETUP, SYN, Segment, TCP, VERSION,
    control_body, u32_at, version_body,
};
use std::collections::{HashMap, VecDeque};

/// Longest message a phone takes.
pub const MAX_MESSAGE: usize = 65535;
/// Type of the CONTROL frame that announces a dead session.
pub const CONTROL_WARNING: u8 = 4;
/// Type of the CONTROL frame in front of a connection's end.
pub const CONTROL_ERROR: u8 = 3;
/// What a phone says when its program closes.
pub const CLOSED_TEXT: &str = "sessionUpcall connection closed";
/// What a phone says before [`CLOSED_TEXT`].
pub const SOCKET_CLOSED_TEXT: &str = "socketIsClosed sock_receive returned errno 54";
/// What a phone says to a message of 65536 bytes or more.
pub const TOO_LARGE_TEXT: &str =
    "asyncReadComplete, message was too large (65536 bytes, max = 65535)";

/// What listens on a port of the phone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Nothing happens by itself: the test calls [`NaivePhone::read`], `write` and `finish`.
    Manual,
    /// Reads everything and writes it back.
    Echo,
    /// Reads everything.
    Discard,
}

/// How the phone makes room for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Announce {
    /// Acknowledges what its program has read, under a constant window.
    Constant,
    /// Acknowledges what it received, and announces the room that is left.
    Room,
}

/// What the phone does differently from a good one.
#[derive(Clone, Debug)]
pub struct Knobs {
    /// Highest major version it speaks.
    pub version: u32,
    /// Answers this major version whatever was asked, and never gets further.
    pub odd_version: Option<u32>,
    /// So many VERSION frames stay unanswered.
    pub silent_versions: u32,
    /// Takes any tx_seq.
    pub lenient_seq: bool,
    /// Bytes its program may leave unread, per connection.
    pub window: u32,
    /// How it makes room.
    pub announce: Announce,
    /// Longest frame it sends, header included.
    pub max_frame: usize,
    /// Sends without looking at the host's window.
    pub ignores_window: bool,
    /// Stands behind every message's declared length.
    pub trailing: Vec<u8>,
    /// Flags on data.
    pub data_flags: u8,
    /// Its first sequence number.
    pub isn: u32,
    /// Its rx_seq never moves from this.
    pub stuck_rx_seq: Option<u16>,
    /// SYNs stay unanswered.
    pub deaf: bool,
}

impl Default for Knobs {
    fn default() -> Knobs {
        Knobs {
            version: 2,
            odd_version: None,
            silent_versions: 0,
            lenient_seq: false,
            window: 131_072,
            announce: Announce::Constant,
            max_frame: 32764,
            ignores_window: false,
            trailing: Vec::new(),
            data_flags: ACK,
            isn: 0,
            stuck_rx_seq: None,
            deaf: false,
        }
    }
}

/// Where the session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Session {
    /// No VERSION yet.
    None,
    /// VERSION 2 was answered, SETUP has not come.
    WaitsForSetup,
    /// Frames flow; the number is the major version.
    Up(u32),
    /// A wrong tx_seq came: nothing is taken until VERSION.
    Dead,
}

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// SYN came, SYN|ACK is out.
    Opening,
    /// The handshake is complete.
    Open,
    /// The host sent RST.
    ResetByHost,
    /// The phone sent RST.
    ResetByPhone,
    /// The session ended underneath.
    SessionOver,
}

/// One connection, kept after its end too.
#[derive(Clone, Debug)]
pub struct Connection {
    /// The host's port.
    pub host_port: u16,
    /// The phone's port.
    pub phone_port: u16,
    /// Where it stands.
    pub state: State,
    /// Taken from the host, not yet read by the phone's program.
    pub unread: Vec<u8>,
    /// Read by the phone's program.
    pub read: Vec<u8>,
    /// Bytes that were unread when the host reset: lost.
    pub dropped: usize,
    /// The text in the host's RST.
    pub reset_text: Option<Vec<u8>>,
    /// Written by the phone's program, waits for the host's window.
    pub unsent: VecDeque<u8>,
    /// The phone's program has closed; RST follows when all is sent.
    pub finished: bool,
    /// Number of the next byte for the host.
    pub next_seq: u32,
    /// Last acknowledgement of the host.
    pub host_ack: u32,
    /// Last window of the host, in bytes.
    pub host_window: u32,
    /// Number of the next byte expected from the host.
    pub expected: u32,
    /// First byte the host may not send yet.
    pub edge: u32,
    /// Segments of the host without payload that told nothing new.
    pub useless_acks: u32,
}

impl Connection {
    /// Bytes sent and not acknowledged by the host.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.next_seq.wrapping_sub(self.host_ack)
    }

    /// True until somebody ended it.
    #[must_use]
    pub fn alive(&self) -> bool {
        matches!(self.state, State::Opening | State::Open)
    }
}

/// The phone. See the module's text.
#[derive(Debug)]
pub struct NaivePhone {
    /// What it does wrong.
    pub knobs: Knobs,
    /// wMaxPacketSize of both endpoints.
    pub max_packet: usize,
    /// Listeners by port; every other port refuses.
    pub services: HashMap<u16, Service>,
    /// Where the session stands.
    pub session: Session,
    /// Connections in the order of their SYNs, ended ones included.
    pub connections: Vec<Connection>,
    /// Every frame of the host, in order.
    pub seen: Vec<Frame>,
    /// Rules of the protocol that the host broke.
    pub complaints: Vec<String>,
    /// Zero-length packets that came.
    pub zlps: u32,
    assembler: Assembler,
    for_host: VecDeque<Vec<u8>>,
    next_tx_seq: u16,
    next_expected: u16,
}

impl NaivePhone {
    /// A good phone with nothing listening.
    #[must_use]
    pub fn new(max_packet: usize) -> NaivePhone {
        NaivePhone {
            knobs: Knobs::default(),
            max_packet,
            services: HashMap::new(),
            session: Session::None,
            connections: Vec::new(),
            seen: Vec::new(),
            complaints: Vec::new(),
            zlps: 0,
            assembler: Assembler::default(),
            for_host: VecDeque::new(),
            next_tx_seq: 0,
            next_expected: 0,
        }
    }

    // ---- the cable's side -------------------------------------------------------------------

    /// Takes one OUT transfer; an empty one is a ZLP.
    pub fn out_transfer(&mut self, transfer: &[u8]) {
        for packet in packets(transfer, self.max_packet) {
            self.zlps += u32::from(packet.is_empty());
            if let Some(message) = self.assembler.packet(&packet, self.max_packet) {
                self.message(&message);
            }
        }
    }

    /// The next message for the host, if there is one. Its end on the wire is always marked properly.
    pub fn in_message(&mut self) -> Option<Vec<u8>> {
        self.for_host.pop_front()
    }

    /// A port reset: the phone forgets its session.
    pub fn reset_port(&mut self) {
        self.assembler = Assembler::default();
        self.for_host.clear();
        self.forget(Session::None);
    }

    // ---- the program's side -----------------------------------------------------------------

    /// The phone's program reads up to `most` bytes of a connection and thereby makes room.
    pub fn read(&mut self, index: usize, most: usize) -> Vec<u8> {
        let connection = &mut self.connections[index];
        let count = most.min(connection.unread.len());
        let bytes: Vec<u8> = connection.unread.drain(..count).collect();
        connection.read.extend(&bytes);
        if count > 0 && connection.alive() {
            self.acknowledge(index);
        }
        bytes
    }

    /// The phone's program writes.
    pub fn write(&mut self, index: usize, bytes: &[u8]) {
        self.connections[index].unsent.extend(bytes);
        self.pump(index);
    }

    /// The phone's program closes: what it wrote goes first, then CONTROL 3 and RST with the ordinary text.
    pub fn finish(&mut self, index: usize) {
        self.connections[index].finished = true;
        self.pump(index);
    }

    /// RST now, with a text (or none).
    pub fn reset(&mut self, index: usize, text: &str) {
        let connection = &mut self.connections[index];
        connection.state = State::ResetByPhone;
        let mut segment = self.plain(index);
        segment.flags = RST;
        segment.payload = text.as_bytes().to_vec();
        self.say_segment(&segment);
    }

    // ---- for tests that make the phone misbehave --------------------------------------------

    /// The segment the phone would send as a bare acknowledgement now.
    #[must_use]
    pub fn plain(&self, index: usize) -> Segment {
        let connection = &self.connections[index];
        let unread = u32::try_from(connection.unread.len()).unwrap_or(u32::MAX);
        let (ack, window) = match self.knobs.announce {
            Announce::Constant => (connection.expected.wrapping_sub(unread), self.knobs.window),
            Announce::Room => (connection.expected, self.knobs.window.saturating_sub(unread)),
        };
        Segment {
            source: connection.phone_port,
            dest: connection.host_port,
            seq: connection.next_seq,
            ack,
            flags: ACK,
            window_units: (window >> 8) as u16,
            payload: Vec::new(),
        }
    }

    /// Sends a segment in a properly numbered frame without touching the connection it names.
    pub fn say_segment(&mut self, segment: &Segment) {
        self.say(TCP, &segment.bytes());
    }

    /// Sends a properly numbered frame.
    pub fn say(&mut self, protocol: u32, body: &[u8]) {
        let mut message = self.numbered(protocol, body);
        message.extend(&self.knobs.trailing);
        self.say_raw(message);
    }

    /// Sends any bytes as one message.
    pub fn say_raw(&mut self, message: Vec<u8>) {
        self.for_host.push_back(message);
    }

    /// Takes the next number and builds a frame, without sending it.
    pub fn numbered(&mut self, protocol: u32, body: &[u8]) -> Vec<u8> {
        if self.session == Session::Up(1) {
            return Frame::v1(protocol, body).bytes();
        }
        let tx_seq = self.next_tx_seq;
        self.next_tx_seq = tx_seq.wrapping_add(1);
        let rx_seq = self.knobs.stuck_rx_seq.unwrap_or(self.next_expected.wrapping_sub(1));
        Frame::v2(protocol, FROM_PHONE, tx_seq, rx_seq, body).bytes()
    }

    /// Leaves out so many numbers.
    pub fn skip_numbers(&mut self, count: u16) {
        self.next_tx_seq = self.next_tx_seq.wrapping_add(count);
    }

    // ---- what frames do ---------------------------------------------------------------------

    fn message(&mut self, message: &[u8]) {
        if message.is_empty() {
            return;
        }
        if message.len() > MAX_MESSAGE {
            self.complaints.push(format!("a message of {} bytes", message.len()));
            self.say(CONTROL, &control_body(CONTROL_ERROR, TOO_LARGE_TEXT));
            return;
        }
        let v2 = matches!(self.session, Session::WaitsForSetup | Session::Up(2) | Session::Dead);
        match Frame::read(message, v2) {
            Err(sentence) => self.complaints.push(sentence),
            Ok((frame, rest)) => {
                if !rest.is_empty() {
                    self.complaints.push(format!("{} bytes behind a frame", rest.len()));
                }
                self.frame(frame);
            }
        }
    }

    fn frame(&mut self, frame: Frame) {
        self.seen.push(frame.clone());
        if frame.protocol == VERSION {
            return self.version(&frame);
        }
        if matches!(self.session, Session::WaitsForSetup | Session::Up(_)) && !self.in_order(&frame)
        {
            return;
        }
        match self.session {
            Session::None => self.complaints.push("a frame before VERSION".into()),
            Session::Dead => {}
            Session::WaitsForSetup if frame.protocol == SETUP => {
                if frame.body != [7] {
                    self.complaints.push(format!("SETUP body {:02x?}", frame.body));
                }
                self.session = Session::Up(2);
            }
            Session::WaitsForSetup => self.complaints.push("a frame before SETUP".into()),
            Session::Up(_) => self.established(&frame),
        }
    }

    fn established(&mut self, frame: &Frame) {
        if frame.protocol != TCP {
            return self.complaints.push(format!("protocol {} in a session", frame.protocol));
        }
        match frame.segment() {
            Ok(segment) => self.segment(&segment),
            Err(sentence) => self.complaints.push(sentence),
        }
    }

    fn version(&mut self, frame: &Frame) {
        if frame.body.len() != 12 || u32_at(&frame.body, 4) != 0 || u32_at(&frame.body, 8) != 0 {
            self.complaints.push(format!("VERSION body {:02x?}", frame.body));
        }
        if self.knobs.silent_versions > 0 {
            self.knobs.silent_versions -= 1;
            return;
        }
        let asked = u32_at(&frame.body, 0);
        let major = self.knobs.odd_version.unwrap_or(asked.min(self.knobs.version));
        self.forget(if major == 2 { Session::WaitsForSetup } else { Session::Up(1) });
        let mut message = Frame::v1(VERSION, &version_body(major, 0)).bytes();
        message.extend(&self.knobs.trailing);
        self.say_raw(message);
    }

    /// Checks magic and numbers of a v2 frame; a wrong tx_seq is the end of the session.
    fn in_order(&mut self, frame: &Frame) -> bool {
        let Some(numbers) = frame.numbers else { return true };
        if numbers.magic != FROM_HOST {
            self.complaints.push(format!("magic {:#010x}", numbers.magic));
        }
        // The host's rx_seq may lag behind what is still on its way, but never run ahead.
        let behind = self.next_tx_seq.wrapping_sub(1).wrapping_sub(numbers.rx_seq);
        if behind >= 0x8000 {
            self.complaints.push(format!("rx_seq {} is ahead of us", numbers.rx_seq));
        }
        if numbers.tx_seq != self.next_expected && !self.knobs.lenient_seq {
            let (expected, received) = (self.next_expected, numbers.tx_seq);
            let text =
                format!("detected duplicate packet. Expected {expected} received {received}");
            self.complaints.push(text.clone());
            self.say(CONTROL, &control_body(CONTROL_WARNING, &text));
            self.session = Session::Dead;
            return false;
        }
        self.next_expected = numbers.tx_seq.wrapping_add(1);
        true
    }

    fn forget(&mut self, session: Session) {
        for connection in &mut self.connections {
            if connection.alive() {
                connection.state = State::SessionOver;
            }
        }
        self.session = session;
        self.next_tx_seq = 0;
        self.next_expected = 0;
    }

    // ---- what segments do -------------------------------------------------------------------

    fn find(&self, segment: &Segment) -> Option<usize> {
        self.connections.iter().position(|connection| {
            connection.alive()
                && connection.host_port == segment.source
                && connection.phone_port == segment.dest
        })
    }

    fn segment(&mut self, segment: &Segment) {
        let known = self.find(segment);
        if segment.flags == SYN {
            if known.is_some() {
                return self.complaints.push("SYN for a connection that stands".into());
            }
            return self.syn(segment);
        }
        if segment.flags & RST != 0 {
            if segment.flags != RST {
                self.complaints.push(format!("flags {:#04x} on RST", segment.flags));
            }
            if let Some(index) = known {
                self.host_reset(index, segment);
            }
            return;
        }
        let Some(index) = known else { return self.answer_unknown(segment) };
        if segment.flags != ACK {
            let flags = segment.flags;
            let text = format!("handleMuxTCPInput th.th_flags = {flags:#x}, not TH_ACK(0x10)");
            self.complaints.push(text.clone());
            return self.reset(index, &text);
        }
        self.acknowledgement(index, segment);
        if self.connections[index].alive() && !segment.payload.is_empty() {
            self.payload(index, segment);
        }
        if self.connections[index].alive() {
            self.pump(index);
        }
    }

    fn syn(&mut self, segment: &Segment) {
        if segment.seq != 0 || segment.ack != 0 || !segment.payload.is_empty() {
            self.complaints.push(format!("an odd SYN: {segment:?}"));
        }
        if segment.source == 0 {
            self.complaints.push("source port 0".into());
        }
        if self.knobs.deaf {
            return;
        }
        if !self.services.contains_key(&segment.dest) {
            return self.say_segment(&Segment {
                source: segment.dest,
                dest: segment.source,
                seq: 0,
                ack: segment.seq.wrapping_add(1),
                flags: RST,
                window_units: 0,
                payload: Vec::new(),
            });
        }
        self.connections.push(Connection {
            host_port: segment.source,
            phone_port: segment.dest,
            state: State::Opening,
            unread: Vec::new(),
            read: Vec::new(),
            dropped: 0,
            reset_text: None,
            unsent: VecDeque::new(),
            finished: false,
            next_seq: self.knobs.isn,
            host_ack: self.knobs.isn,
            host_window: u32::from(segment.window_units) << 8,
            expected: segment.seq.wrapping_add(1),
            edge: 0,
            useless_acks: 0,
        });
        let index = self.connections.len() - 1;
        let mut answer = self.plain(index);
        answer.flags = SYN | ACK;
        let connection = &mut self.connections[index];
        connection.edge = announced_edge(&answer);
        connection.next_seq = connection.next_seq.wrapping_add(1);
        self.say_segment(&answer);
    }

    fn host_reset(&mut self, index: usize, segment: &Segment) {
        let connection = &mut self.connections[index];
        connection.state = State::ResetByHost;
        connection.reset_text = Some(segment.payload.clone());
        connection.dropped = connection.unread.len();
        connection.unread.clear();
        connection.unsent.clear();
    }

    fn answer_unknown(&mut self, segment: &Segment) {
        // What the host sent before it saw our RST is nobody's fault.
        let crossed = self.connections.iter().any(|connection| {
            connection.state == State::ResetByPhone
                && (connection.host_port, connection.phone_port) == (segment.source, segment.dest)
        });
        if !crossed {
            self.complaints.push(format!("a segment for no connection: {segment:?}"));
        }
        self.say_segment(&Segment {
            source: segment.dest,
            dest: segment.source,
            seq: segment.ack,
            ack: segment.seq,
            flags: RST,
            window_units: 0,
            payload: Vec::new(),
        });
    }

    fn acknowledgement(&mut self, index: usize, segment: &Segment) {
        let connection = &mut self.connections[index];
        let window = u32::from(segment.window_units) << 8;
        let newly = segment.ack.wrapping_sub(connection.host_ack);
        if newly > connection.in_flight() {
            self.complaints.push(format!(
                "ack {} where {} to {} were sent",
                segment.ack, connection.host_ack, connection.next_seq
            ));
            return;
        }
        let old_edge = connection.host_ack.wrapping_add(connection.host_window);
        let new_edge = segment.ack.wrapping_add(window);
        let shrunk = old_edge.wrapping_sub(new_edge);
        if shrunk < 0x8000_0000 && shrunk > 255 {
            self.complaints.push(format!("the host took back {shrunk} bytes of its window"));
        }
        let first = connection.state == State::Opening;
        if first && newly != 1 {
            self.complaints.push("the handshake's ACK does not acknowledge SYN|ACK".into());
        }
        let told_nothing = newly == 0 && window == connection.host_window;
        if segment.payload.is_empty() && told_nothing {
            connection.useless_acks += 1;
        }
        connection.state = State::Open;
        connection.host_ack = segment.ack;
        connection.host_window = window;
    }

    fn payload(&mut self, index: usize, segment: &Segment) {
        let connection = &mut self.connections[index];
        if segment.seq != connection.expected {
            self.complaints
                .push(format!("seq {} where {} was due", segment.seq, connection.expected));
            return;
        }
        let length = u32::try_from(segment.payload.len()).unwrap_or(u32::MAX);
        if connection.edge.wrapping_sub(segment.seq) < length {
            self.complaints.push(format!("{length} bytes beyond the window"));
            return self.reset(index, "window overrun, claiming amnesia");
        }
        connection.expected = connection.expected.wrapping_add(length);
        connection.unread.extend(&segment.payload);
        match self.services.get(&segment.dest) {
            Some(Service::Echo) => {
                let bytes = self.read(index, usize::MAX);
                self.write(index, &bytes);
            }
            Some(Service::Discard) => {
                self.read(index, usize::MAX);
            }
            _ if self.knobs.announce == Announce::Room => self.acknowledge(index),
            _ => {}
        }
    }

    fn acknowledge(&mut self, index: usize) {
        let segment = self.plain(index);
        self.announce(index, &segment);
        self.say_segment(&segment);
    }

    /// Moves the edge to what a segment announces. Steps of 256 bytes let an announcement fall back a little: who
    /// was allowed to send a byte may send it.
    fn announce(&mut self, index: usize, segment: &Segment) {
        let connection = &mut self.connections[index];
        let edge = announced_edge(segment);
        if edge.wrapping_sub(connection.edge) < 0x8000_0000 {
            connection.edge = edge;
        }
    }

    /// Sends what the program wrote as far as the host's window goes, then the end if the program has closed.
    fn pump(&mut self, index: usize) {
        let header = if self.session == Session::Up(1) { 28 } else { 36 };
        while self.connections[index].state == State::Open {
            let connection = &mut self.connections[index];
            let room = if self.knobs.ignores_window {
                usize::MAX
            } else {
                connection.host_window.saturating_sub(connection.in_flight()) as usize
            };
            let count = connection.unsent.len().min(room).min(self.knobs.max_frame - header);
            if count == 0 {
                break;
            }
            let payload: Vec<u8> = connection.unsent.drain(..count).collect();
            let mut segment = self.plain(index);
            segment.flags = self.knobs.data_flags;
            segment.payload = payload;
            self.announce(index, &segment);
            let connection = &mut self.connections[index];
            connection.next_seq = connection.next_seq.wrapping_add(count as u32);
            self.say_segment(&segment);
        }
        let connection = &self.connections[index];
        if connection.finished && connection.alive() && connection.unsent.is_empty() {
            self.say(CONTROL, &control_body(CONTROL_ERROR, SOCKET_CLOSED_TEXT));
            self.reset(index, CLOSED_TEXT);
        }
    }
}

fn announced_edge(segment: &Segment) -> u32 {
    segment.ack.wrapping_add(u32::from(segment.window_units) << 8)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::super::frame::{PSH, hex};
    use super::*;

    /// A phone with an echo on 7, past SETUP, and what it answered so far taken away.
    fn phone() -> NaivePhone {
        let mut phone = NaivePhone::new(512);
        phone.services.insert(7, Service::Echo);
        phone.services.insert(8, Service::Manual);
        phone.out_transfer(&hex("00000000 00000014 00000002 00000000 00000000"));
        assert_eq!(
            phone.in_message().unwrap(),
            hex("00000000 00000014 00000002 00000000 00000000")
        );
        phone.out_transfer(&hex("00000002 00000011 feedface 0000 ffff 07"));
        assert_eq!(phone.session, Session::Up(2));
        phone
    }

    fn host(tx_seq: u16, rx_seq: u16, segment: &Segment) -> Vec<u8> {
        Frame::v2(TCP, FROM_HOST, tx_seq, rx_seq, &segment.bytes()).bytes()
    }

    fn from_host(dest: u16, flags: u8, seq: u32, ack: u32, payload: &[u8]) -> Segment {
        let payload = payload.to_vec();
        Segment { source: 1, dest, seq, ack, flags, window_units: 0x200, payload }
    }

    fn open(phone: &mut NaivePhone, dest: u16) {
        phone.out_transfer(&host(1, 0xffff, &from_host(dest, SYN, 0, 0, &[])));
        let answer = phone.in_message().unwrap();
        let mut golden = hex("00000006 00000024 faceface 0000 0001");
        golden.extend(dest.to_be_bytes());
        golden.extend(hex("0001 00000000 00000001 5012 0200 0000 0000"));
        assert_eq!(answer, golden);
        phone.out_transfer(&host(2, 0, &from_host(dest, ACK, 1, 1, &[])));
        assert_eq!(phone.connections.last().unwrap().state, State::Open);
    }

    #[test]
    fn opens_echoes_and_takes_a_reset() {
        let mut phone = phone();
        open(&mut phone, 7);
        phone.out_transfer(&host(3, 0, &from_host(7, ACK, 1, 1, b"hi")));
        assert_eq!(
            phone.in_message().unwrap(),
            hex(
                "00000006 00000024 faceface 0001 0003 0007 0001 00000001 00000003 5010 0200 0000 0000"
            )
        );
        assert_eq!(
            phone.in_message().unwrap(),
            hex(
                "00000006 00000026 faceface 0002 0003 0007 0001 00000001 00000003 5010 0200 0000 0000 6869"
            )
        );
        phone.out_transfer(&host(4, 2, &from_host(7, RST, 3, 3, b"bye")));
        assert_eq!(phone.connections[0].state, State::ResetByHost);
        assert_eq!(phone.connections[0].reset_text.as_deref(), Some(&b"bye"[..]));
        assert_eq!(phone.in_message(), None);
        assert_eq!(phone.complaints, Vec::<String>::new());
    }

    #[test]
    fn a_repeated_number_kills_the_session_until_version() {
        let mut phone = phone();
        open(&mut phone, 7);
        phone.out_transfer(&host(2, 0, &from_host(7, ACK, 1, 1, b"hi")));
        let text = b"detected duplicate packet. Expected 3 received 2";
        let mut golden = hex("00000001 00000041 faceface 0001 0002 04");
        golden.extend(text);
        assert_eq!(phone.in_message().unwrap(), golden);
        phone.out_transfer(&host(3, 0, &from_host(7, ACK, 1, 1, b"hi")));
        assert_eq!((phone.session, phone.in_message()), (Session::Dead, None));
        phone.out_transfer(&hex("00000000 00000014 00000002 00000000 00000000"));
        assert_eq!(phone.session, Session::WaitsForSetup);
        assert_eq!(phone.connections[0].state, State::SessionOver);
    }

    #[test]
    fn a_push_flag_draws_the_phones_own_words() {
        let mut phone = phone();
        open(&mut phone, 7);
        phone.out_transfer(&host(3, 0, &from_host(7, PSH | ACK, 1, 1, b"hi")));
        let answer = phone.in_message().unwrap();
        assert_eq!(answer[29], RST);
        assert_eq!(&answer[36..], b"handleMuxTCPInput th.th_flags = 0x18, not TH_ACK(0x10)");
    }

    #[test]
    fn a_clean_end_is_control_then_reset_after_all_data() {
        let mut phone = phone();
        open(&mut phone, 8);
        phone.write(0, b"last");
        phone.finish(0);
        assert_eq!(&phone.in_message().unwrap()[36..], b"last");
        let control = phone.in_message().unwrap();
        assert_eq!((control[3], control[16]), (1, 3));
        assert_eq!(&control[17..], SOCKET_CLOSED_TEXT.as_bytes());
        let reset = phone.in_message().unwrap();
        assert_eq!(reset[29], RST);
        assert_eq!(&reset[36..], CLOSED_TEXT.as_bytes());
    }

    #[test]
    fn stays_within_the_hosts_window_and_loses_what_is_unread_at_a_reset() {
        let mut phone = phone();
        open(&mut phone, 8);
        phone.write(0, &[9; 200_000]);
        let mut sent = 0;
        while let Some(message) = phone.in_message() {
            assert!(message.len() <= 32764);
            sent += message.len() - 36;
        }
        assert_eq!(sent, 131_072);
        phone.out_transfer(&host(3, 4, &from_host(8, ACK, 1, 1, b"unread")));
        phone.out_transfer(&host(4, 4, &from_host(8, RST, 7, 1, b"")));
        assert_eq!(phone.connections[0].dropped, 6);
    }

    #[test]
    fn a_lost_zlp_glues_frames_until_the_phone_complains() {
        let mut phone = phone();
        open(&mut phone, 8);
        let full = host(3, 0, &from_host(8, ACK, 1, 1, &[1; 49152 - 36]));
        phone.out_transfer(&full);
        assert_eq!(phone.connections[0].unread.len(), 0);
        let next = host(4, 0, &from_host(8, ACK, 49117, 1, &[1; 20000]));
        phone.out_transfer(&next);
        let answer = phone.in_message().unwrap();
        assert_eq!(&answer[17..], TOO_LARGE_TEXT.as_bytes());
    }

    #[test]
    fn an_unknown_port_refuses_and_a_stray_segment_is_reset() {
        let mut phone = phone();
        phone.out_transfer(&host(1, 0xffff, &from_host(99, SYN, 0, 0, &[])));
        assert_eq!(
            phone.in_message().unwrap(),
            hex(
                "00000006 00000024 faceface 0000 0001 0063 0001 00000000 00000001 5004 0000 0000 0000"
            )
        );
        phone.out_transfer(&host(2, 0, &from_host(99, ACK, 5, 6, &[])));
        let stray = phone.in_message().unwrap();
        assert_eq!(stray[24..28], hex("00000005"));
        assert_eq!(stray[29], RST);
    }
}
