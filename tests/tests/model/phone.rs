//! A host engine and the naive phone, with messages on their way in both directions.

use crate::Replay;
use std::collections::VecDeque;
use std::time::Duration;
use usbmux_core::{
    AckPolicy, CloseReason, Config, ConnId, ConnectError, Event, Instant, LinkState, RefusedBy,
    Role, WindowStyle, Zlp,
};
use usbmux_tests::engine::Engine;
use usbmux_tests::naive::cable::completions;
use usbmux_tests::naive::frame::{ACK, CONTROL, FIN, PSH, RST, u16_at};
use usbmux_tests::naive::phone::Announce;
use usbmux_tests::naive::{NaivePhone, Segment, Service, Session, State};
use usbmux_tests::random::{Random, pattern, seeds};

/// Lives, and operations in each.
const LIVES: u64 = 400;
const OPERATIONS: usize = 400;

/// What the model knows of one connection; its port on the phone is its name.
struct Flow {
    conn: ConnId,
    port: u16,
    opened_at: Instant,
    /// Bytes the host's application gave, and the phone's program wrote.
    host_sent: usize,
    phone_sent: usize,
    /// Bytes compared so far at the phone and at the host.
    phone_checked: usize,
    host_checked: usize,
    connected: bool,
    closed_at: Option<Instant>,
    /// The phone's program closed or reset.
    phone_ended: bool,
    /// A fault hit it: it may end in any way and lose its end.
    blamed: bool,
    /// Its last event came, or it was aborted.
    over: bool,
}

struct Life {
    random: Random,
    host: Engine,
    phone: NaivePhone,
    /// OUT transfers on their way.
    outbound: VecDeque<Vec<u8>>,
    flows: Vec<Flow>,
    next_port: u16,
    /// Every connection of the session is blamed, and the phone may complain.
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
fn random_lives_with_the_naive_phone() {
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
        let config = Config {
            ack: *random.pick(&[AckPolicy::Prompt, AckPolicy::Immediate, AckPolicy::Classic]),
            window_style: *random.pick(&[WindowStyle::Constant, WindowStyle::Credit]),
            zlp: *random.pick(&[Zlp::Trim, Zlp::Explicit]),
            max_frame: *random.pick(&[128, 4096, 16_384, 49_152]),
            ..Config::HOST
        };
        let mut phone = NaivePhone::new(*random.pick(&[64, 512, 1024]));
        phone.knobs.max_frame = *random.pick(&[100, 4096, 32_764, 65_535]);
        phone.knobs.window = *random.pick(&[512, 5000, 131_072]);
        phone.knobs.announce = *random.pick(&[Announce::Constant, Announce::Room]);
        phone.knobs.version = if random.once_in(4) { 1 } else { 2 };
        let slots = *random.pick(&[2, 8, 64]);
        let mut life = Life {
            random,
            host: Engine::new(Role::Host, config, slots),
            phone,
            outbound: VecDeque::new(),
            flows: Vec::new(),
            next_port: 100,
            session_blamed: false,
            plugged: false,
            log: vec![format!("{config:?}, {slots} slots")],
        };
        life.plug();
        life
    }

    // ---- operations -------------------------------------------------------------------------

    fn operation(&mut self) {
        match self.random.below(100) {
            0..8 => self.connect(),
            8..24 => self.host_writes(),
            24..40 => self.phone_writes(),
            40..50 => self.phone_reads(),
            50..56 => self.host_reads_or_not(),
            56..60 => self.host_ends(),
            60..63 => self.phone_ends(),
            63..93 => self.cable(),
            93..97 => self.time(),
            _ => self.fault(),
        }
    }

    fn note(&mut self, what: String) {
        self.log.push(format!("{:>9} {what}", self.host.now.as_micros()));
    }

    /// A connection that is not over, as far as the host knows.
    fn some_flow(&mut self) -> Option<usize> {
        let alive: Vec<usize> =
            (0..self.flows.len()).filter(|index| !self.flows[*index].over).collect();
        (!alive.is_empty()).then(|| *self.random.pick(&alive))
    }

    /// The phone's side of a connection, if it has one.
    fn at_phone(&self, flow: usize) -> Option<usize> {
        let port = self.flows[flow].port;
        self.phone.connections.iter().position(|connection| connection.phone_port == port)
    }

    /// The same, if the phone's program may still use it.
    fn open_at_phone(&self, flow: usize) -> Option<usize> {
        let index = self.at_phone(flow)?;
        let connection = &self.phone.connections[index];
        (connection.state == State::Open && !connection.finished).then_some(index)
    }

    fn connect(&mut self) {
        let window = *self.random.pick(&[256, 4096, 131_072]);
        let port = self.next_port;
        match self.host.mux.connect(self.host.now, port, window) {
            Ok(conn) => {
                self.next_port += 1;
                self.phone.services.insert(port, Service::Manual);
                self.note(format!("connect {port} window {window}"));
                self.flows.push(Flow {
                    conn,
                    port,
                    opened_at: self.host.now,
                    host_sent: 0,
                    phone_sent: 0,
                    phone_checked: 0,
                    host_checked: 0,
                    connected: false,
                    closed_at: None,
                    phone_ended: false,
                    blamed: false,
                    over: false,
                });
            }
            Err(ConnectError::LinkDown) => {
                assert!(!matches!(self.host.mux.link(), LinkState::Up { .. }));
            }
            Err(ConnectError::NoSlot | ConnectError::NoPort { .. }) => {}
            Err(error) => panic!("{error:?}"),
        }
    }

    fn host_writes(&mut self) {
        let Some(index) = self.some_flow() else { return };
        if self.flows[index].closed_at.is_some() {
            return;
        }
        let count = self.random.length(60_000);
        let flow = &self.flows[index];
        let bytes = pattern(u32::from(flow.port), flow.host_sent, count);
        let (transfers, taken) = self.host.write(flow.conn, &bytes);
        self.outbound.extend(transfers);
        self.flows[index].host_sent += taken;
        let waiting = self.host.mux.unacknowledged(self.flows[index].conn);
        let port = self.flows[index].port;
        self.note(format!("host writes {taken} of {count} to {port}, {waiting} in flight"));
    }

    fn phone_writes(&mut self) {
        let Some(index) = self.some_flow() else { return };
        let Some(place) = self.open_at_phone(index) else { return };
        let count = self.random.length(60_000);
        let flow = &mut self.flows[index];
        let bytes = pattern(!u32::from(flow.port), flow.phone_sent, count);
        flow.phone_sent += count;
        let port = flow.port;
        self.phone.write(place, &bytes);
        self.note(format!("phone writes {count} to {port}"));
    }

    fn phone_reads(&mut self) {
        let Some(index) = self.some_flow() else { return };
        let Some(place) = self.at_phone(index) else { return };
        let count = self.random.length(60_000);
        let read = self.phone.read(place, count).len();
        self.note(format!("phone reads {read} of {}", self.flows[index].port));
    }

    fn host_reads_or_not(&mut self) {
        let Some(index) = self.some_flow() else { return };
        let conn = self.flows[index].conn;
        let held = match self.host.held.get(&conn) {
            None => {
                self.host.held.insert(conn, 0);
                return;
            }
            Some(held) if *held > 0 && self.random.once_in(2) => {
                let held = self.random.below(*held as usize) as u32;
                self.host.held.insert(conn, held);
                held
            }
            Some(_) => {
                self.host.held.remove(&conn);
                0
            }
        };
        let _ = self.host.mux.set_held(self.host.now, conn, held);
        self.host.collect_events();
        self.note(format!("host holds {held} of {}", self.flows[index].port));
    }

    fn host_ends(&mut self) {
        self.look_at_events();
        let Some(index) = self.some_flow() else { return };
        let (conn, now) = (self.flows[index].conn, self.host.now);
        self.host.held.remove(&conn);
        if self.random.once_in(3) {
            self.host.mux.abort(now, conn);
            self.flows[index].over = true;
            self.note(format!("host aborts {}", self.flows[index].port));
        } else {
            self.host.mux.close(now, conn);
            self.flows[index].closed_at.get_or_insert(now);
            // A connection that is not open yet is aborted by that.
            self.flows[index].over = !self.flows[index].connected;
            let waiting = self.host.mux.unacknowledged(conn);
            self.note(format!("host closes {}, {waiting} to drain", self.flows[index].port));
        }
        self.host.collect_events();
    }

    fn phone_ends(&mut self) {
        let Some(index) = self.some_flow() else { return };
        let Some(place) = self.open_at_phone(index) else { return };
        self.flows[index].phone_ended = true;
        if self.random.once_in(3) {
            // What its program wrote and the window held back is lost with a reset.
            let unsent = self.phone.connections[place].unsent.len();
            self.flows[index].phone_sent -= unsent;
            self.phone.connections[place].unsent.clear();
            self.phone.reset(place, "program failed");
        } else {
            self.phone.finish(place);
        }
        self.note(format!("phone ends {}", self.flows[index].port));
    }

    // ---- the cable --------------------------------------------------------------------------

    /// Some transfers move, in either direction.
    fn cable(&mut self) {
        for _ in 0..self.random.between(1, 6) {
            if self.random.once_in(2) {
                let transfers = self.host.take();
                self.outbound.extend(transfers);
                if let Some(transfer) = self.outbound.pop_front() {
                    self.phone.out_transfer(&transfer);
                }
            } else if let Some(message) = self.phone.in_message() {
                self.give(&message);
            }
        }
    }

    /// One message of the phone reaches the host, in reads of some size.
    fn give(&mut self, message: &[u8]) {
        let packet = self.phone.max_packet;
        let requested =
            if self.random.once_in(2) { 65_536 } else { packet * self.random.between(1, 40) };
        for read in completions(message, requested) {
            let cut = self.random.between(0, read.bytes.len());
            let (start, end) = read.bytes.split_at(cut);
            self.host.give_part(start);
            if read.ends {
                self.host.give(end);
            } else {
                self.host.give_part(end);
            }
        }
    }

    /// Everything that is on its way arrives, and what follows from it.
    fn settle(&mut self) {
        loop {
            let transfers = self.host.take();
            self.outbound.extend(transfers);
            let mut quiet = true;
            while let Some(transfer) = self.outbound.pop_front() {
                self.phone.out_transfer(&transfer);
                quiet = false;
            }
            while let Some(message) = self.phone.in_message() {
                self.give(&message);
                quiet = false;
            }
            if quiet {
                return;
            }
        }
    }

    fn time(&mut self) {
        let ms = *self.random.pick(&[1, 2, 5, 30, 100, 1500, 6000, 31_000]);
        // A cable is fast: nothing stays on its way for long.
        if ms > 5 {
            self.settle();
        }
        self.pass(ms);
        self.note(format!("{ms} ms"));
    }

    fn pass(&mut self, ms: u64) {
        let end = self.host.now + Duration::from_millis(ms);
        while self.host.hop(end) {
            if ms > 5 {
                self.settle();
            }
        }
    }

    fn plug(&mut self) {
        let packet = u16::try_from(self.phone.max_packet).unwrap();
        self.phone.knobs.silent_versions = if self.random.once_in(4) { 2 } else { 0 };
        self.host.mux.attach(self.host.now, packet);
        self.plugged = true;
        self.session_blamed = false;
        self.note("plugged in".into());
        if self.random.once_in(2) {
            self.settle();
            self.pass(5100);
        }
    }

    // ---- faults -----------------------------------------------------------------------------

    fn fault(&mut self) {
        match self.random.below(16) {
            0 => self.lose_a_message(),
            1 => self.repeat_a_message(),
            2 => self.cut_a_message(),
            3 => self.spoil_a_header(),
            4 => self.trail(),
            5 => self.garbage(),
            6 => self.phone_talks(),
            7 => self.stranger(),
            8 => self.odd_segment(),
            9 => self.bad_ack(),
            10 => self.gap(),
            11 => self.overrun(),
            12 => self.lose_a_transfer(),
            13 => self.unplug(),
            14 => self.phone.skip_numbers(3),
            _ => self.empty_transfers(),
        }
    }

    /// Blames the connection that a message is about.
    fn blame_for(&mut self, message: &[u8]) {
        let header = if self.phone.session == Session::Up(1) { 8 } else { 16 };
        let port = (message.len() >= header + 4).then(|| u16_at(message, header));
        if let Some(flow) = self.flows.iter_mut().find(|flow| Some(flow.port) == port) {
            flow.blamed = true;
        }
        // A VERSION answer that is lost will be asked for again; a text concerns nobody, except the one about a dead
        // session, which comes only when the session is blamed already.
    }

    fn lose_a_message(&mut self) {
        if let Some(message) = self.phone.in_message() {
            self.blame_for(&message);
            self.note(format!("a message of {} is lost", message.len()));
        }
    }

    fn repeat_a_message(&mut self) {
        if let Some(message) = self.phone.in_message() {
            self.note(format!("a message of {} comes twice", message.len()));
            self.give(&message);
            // A second answer to VERSION would restart what the phone thinks is running.
            self.give(&message);
        }
    }

    fn cut_a_message(&mut self) {
        if let Some(message) = self.phone.in_message() {
            self.blame_for(&message);
            let cut = self.random.below(message.len());
            self.note(format!("a message of {} is cut to {cut}", message.len()));
            self.give(&message[..cut]);
        }
    }

    fn spoil_a_header(&mut self) {
        if let Some(mut message) = self.phone.in_message() {
            self.blame_for(&message);
            // Its protocol, length or magic; VERSION has no magic, and another version would be the truth.
            let short = self.phone.session == Session::Up(1) || message[..4] == [0; 4];
            let at = self.random.below(if short { 8 } else { 12 });
            message[at] ^= 0x80;
            self.note(format!("byte {at} of a message is spoilt"));
            self.give(&message);
        }
    }

    fn trail(&mut self) {
        if let Some(mut message) = self.phone.in_message() {
            let count = self.random.between(1, 7);
            message.extend(vec![0xa5; count]);
            self.note(format!("{count} bytes behind a message"));
            self.give(&message);
        }
    }

    fn garbage(&mut self) {
        let count = self.random.between(1, 100);
        let mut bytes: Vec<u8> = (0..count).map(|_| self.random.bits() as u8).collect();
        bytes[0] |= 0x80; // no protocol has such a number
        self.note(format!("{count} bytes of garbage"));
        self.give(&bytes);
    }

    fn phone_talks(&mut self) {
        if matches!(self.phone.session, Session::Up(_)) {
            let kind = *self.random.pick(&[3, 4, 5, 7, 9]);
            self.phone.say(CONTROL, &[&[kind][..], b"nothing in particular"].concat());
            self.phone.say(5, b"an unknown protocol");
        }
    }

    fn stranger(&mut self) {
        if matches!(self.phone.session, Session::Up(_)) {
            let flags = *self.random.pick(&[ACK, RST, PSH | ACK]);
            let (source, dest) = (7, self.random.below(0x10000) as u16);
            let payload = b"who am I".to_vec();
            let segment = Segment { source, dest, seq: 1, ack: 1, flags, window_units: 1, payload };
            self.phone.say_segment(&segment);
        }
    }

    fn odd_segment(&mut self) {
        let Some(index) = self.some_flow() else { return };
        let Some(place) = self.open_at_phone(index) else { return };
        let mut segment = self.phone.plain(place);
        segment.flags = *self.random.pick(&[PSH | ACK, 0x30, 0x50]);
        self.phone.say_segment(&segment);
        if self.random.once_in(8) {
            segment.flags = FIN | ACK;
            self.phone.say_segment(&segment);
            // It takes a number, as in RFC 793. What a phone would say after it nobody knows.
            let connection = &mut self.phone.connections[place];
            connection.next_seq = connection.next_seq.wrapping_add(1);
            self.flows[index].blamed = true;
        }
        self.note(format!("odd flags {:#04x} for {}", segment.flags, self.flows[index].port));
    }

    fn bad_ack(&mut self) {
        let Some(index) = self.some_flow() else { return };
        let Some(place) = self.open_at_phone(index) else { return };
        let mut segment = self.phone.plain(place);
        segment.ack = segment.ack.wrapping_add(10_000_000);
        self.flows[index].blamed = true;
        self.phone.say_segment(&segment);
        self.note(format!("a bad acknowledgement for {}", self.flows[index].port));
    }

    fn gap(&mut self) {
        let Some(index) = self.some_flow() else { return };
        let Some(place) = self.open_at_phone(index) else { return };
        let connection = &mut self.phone.connections[place];
        connection.next_seq = connection.next_seq.wrapping_add(5);
        self.flows[index].blamed = true;
        self.note(format!("five bytes of {} are lost", self.flows[index].port));
    }

    fn overrun(&mut self) {
        let Some(index) = self.some_flow() else { return };
        let Some(place) = self.open_at_phone(index) else { return };
        self.flows[index].blamed = true;
        self.flows[index].phone_sent += 200_000;
        let from = self.flows[index].phone_sent - 200_000;
        let bytes = pattern(!u32::from(self.flows[index].port), from, 200_000);
        self.phone.knobs.ignores_window = true;
        self.phone.write(place, &bytes);
        self.phone.knobs.ignores_window = false;
        self.note(format!("{} is overrun", self.flows[index].port));
    }

    fn lose_a_transfer(&mut self) {
        if self.outbound.pop_front().is_some() {
            self.session_blamed = true;
            self.note("an OUT transfer is lost".into());
        }
    }

    fn unplug(&mut self) {
        self.note("unplugged".into());
        self.outbound.clear();
        self.phone.reset_port();
        self.phone.complaints.clear();
        self.host.mux.detach(self.host.now);
        self.plugged = false;
        self.host.collect_events();
        self.look_at_events();
        assert!(self.flows.iter().all(|flow| flow.over), "unplugging ends every connection");
        assert_eq!(self.host.mux.next_tick(), None);
        self.plug();
    }

    fn empty_transfers(&mut self) {
        self.host.give(&[]);
        self.host.give_part(&[]);
        self.host.give(&[]);
    }

    // ---- what must hold ---------------------------------------------------------------------

    fn check(&mut self) {
        self.look_at_events();
        if !self.session_blamed {
            assert_eq!(self.phone.complaints, Vec::<String>::new());
        }
        for index in 0..self.flows.len() {
            self.check_bytes(index);
        }
        let alive = self.flows.iter().filter(|flow| !flow.over).count();
        let slots = self.host.mux.connections();
        assert!(slots >= alive, "{slots} slots for {alive} connections");
    }

    /// Both sides have a beginning of what the other wrote, byte for byte.
    fn check_bytes(&mut self, index: usize) {
        let place = self.at_phone(index);
        let flow = &mut self.flows[index];
        if let Some(place) = place {
            let connection = &self.phone.connections[place];
            let count = connection.read.len() + connection.unread.len();
            if count > flow.phone_checked {
                assert!(count <= flow.host_sent, "{}: more arrived than was sent", flow.port);
                let got: Vec<u8> = (connection.read.iter().chain(&connection.unread).copied())
                    .skip(flow.phone_checked)
                    .collect();
                let expected = pattern(u32::from(flow.port), flow.phone_checked, got.len());
                assert!(got == expected, "{}: other bytes arrived at the phone", flow.port);
                flow.phone_checked = count;
            }
        }
        let delivered = self.host.delivered(flow.conn);
        if delivered.len() > flow.host_checked {
            assert!(delivered.len() <= flow.phone_sent, "{}: too much was delivered", flow.port);
            let new = &delivered[flow.host_checked..];
            let expected = pattern(!u32::from(flow.port), flow.host_checked, new.len());
            assert!(new == expected, "{}: other bytes were delivered", flow.port);
            flow.host_checked = delivered.len();
        }
    }

    fn look_at_events(&mut self) {
        for event in self.host.take_events() {
            self.note(format!("{event:?}"));
            match event {
                Event::Closed { conn, reason } => self.closed(conn, reason),
                Event::Refused { conn, reason } => self.refused(conn, reason),
                Event::SessionDead { .. } => {
                    assert!(
                        self.session_blamed,
                        "the session died of nothing: {:?}",
                        self.phone.complaints
                    );
                    // From now on the old session's faults are over.
                    self.phone.complaints.clear();
                }
                Event::LinkUp { .. } => {
                    self.session_blamed = false;
                    let complaints = std::mem::take(&mut self.phone.complaints);
                    self.note(format!("complaints until here: {complaints:?}"));
                }
                Event::LinkFailed { .. } => panic!("the phone answers the third VERSION"),
                Event::Connected { conn } => {
                    let flow = self.flows.iter_mut().find(|flow| flow.conn == conn && !flow.over);
                    flow.unwrap_or_else(|| panic!("{conn} is over")).connected = true;
                }
                Event::Sendable { .. } | Event::Finished { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    fn flow_of(&mut self, conn: ConnId) -> usize {
        let found = self.flows.iter().position(|flow| flow.conn == conn && !flow.over);
        let index = found.unwrap_or_else(|| panic!("an event for {conn}, which is over"));
        self.flows[index].over = true;
        index
    }

    fn closed(&mut self, conn: ConnId, reason: CloseReason) {
        let index = self.flow_of(conn);
        self.check_bytes(index);
        let place = self.at_phone(index);
        let flow = &self.flows[index];
        let excused = flow.blamed || self.session_blamed;
        match reason {
            CloseReason::LinkLost => assert!(!self.plugged),
            CloseReason::SessionDead => assert!(self.session_blamed),
            CloseReason::Reset => {
                assert!(flow.phone_ended || excused, "{}: reset by nobody", flow.port);
                // Everything that the phone sent before its end was delivered before, unless the host closed first.
                if !excused && flow.closed_at.is_none() {
                    assert_eq!(
                        flow.host_checked, flow.phone_sent,
                        "{}: bytes are missing",
                        flow.port
                    );
                }
            }
            CloseReason::Drained => {
                assert!(flow.closed_at.is_some(), "{}: nobody closed it", flow.port);
                if let Some(place) = place.filter(|_| !excused) {
                    let connection = &self.phone.connections[place];
                    let has = match self.phone.knobs.announce {
                        Announce::Constant => connection.read.len(),
                        // Acknowledged is not read: what was unread is dropped by the reset.
                        Announce::Room => {
                            connection.read.len() + connection.unread.len() + connection.dropped
                        }
                    };
                    assert_eq!(has, flow.host_sent, "{}: drained too early", flow.port);
                }
            }
            CloseReason::DrainTimeout => {
                let waited = self.host.now - flow.closed_at.expect("nobody closed it");
                assert!(waited >= Duration::from_secs(30), "{}: gave up early", flow.port);
            }
            _ => assert!(flow.blamed, "{}: {reason:?} without a fault", flow.port),
        }
    }

    fn refused(&mut self, conn: ConnId, reason: RefusedBy) {
        let index = self.flow_of(conn);
        let flow = &self.flows[index];
        let excused = flow.blamed || self.session_blamed || flow.phone_ended;
        match reason {
            RefusedBy::Timeout => {
                assert!(self.host.now - flow.opened_at >= Duration::from_secs(5));
                assert!(excused, "{}: nothing was lost and yet no answer", flow.port);
            }
            _ => assert!(excused, "{}: refused by {reason:?}", flow.port),
        }
    }

    // ---- the end ----------------------------------------------------------------------------

    /// No more faults; everybody reads; after a while everything is complete, and after closing nothing is left.
    fn heal(&mut self) {
        self.note("healing".into());
        if self.session_blamed {
            self.unplug();
        }
        self.settle();
        self.pass(5100);
        for index in 0..self.flows.len() {
            let conn = self.flows[index].conn;
            self.host.held.remove(&conn);
            let _ = self.host.mux.set_held(self.host.now, conn, 0);
        }
        // As long as anything moves; what stands still for three seconds hangs, or is complete.
        let (mut moved, mut still) = (0, 0);
        while still < 100 {
            self.settle();
            for place in 0..self.phone.connections.len() {
                self.phone.read(place, usize::MAX);
            }
            self.settle();
            self.pass(35);
            self.check();
            let before = moved;
            moved = self.flows.iter().map(|flow| flow.host_checked + flow.phone_checked).sum();
            still = if moved == before { still + 1 } else { 0 };
        }
        assert!(matches!(self.host.mux.link(), LinkState::Up { .. }), "{:?}", self.host.mux.link());
        for index in 0..self.flows.len() {
            let flow = &self.flows[index];
            if flow.over || flow.blamed {
                continue;
            }
            assert!(flow.closed_at.is_none(), "{}: close hangs", flow.port);
            assert_eq!(
                flow.host_checked, flow.phone_sent,
                "{}: bytes hang at the phone",
                flow.port
            );
            assert_eq!(flow.phone_checked, flow.host_sent, "{}: bytes hang at the host", flow.port);
            assert_eq!(self.host.mux.unacknowledged(flow.conn), 0, "{}", flow.port);
        }
        for flow in &mut self.flows {
            if !flow.over {
                assert!(flow.connected, "{}: opening hangs", flow.port);
                flow.closed_at.get_or_insert(self.host.now);
                self.host.mux.close(self.host.now, flow.conn);
            }
        }
        self.settle();
        for _ in 0..31 {
            self.pass(1000);
            self.settle();
            self.check();
        }
        assert!(self.flows.iter().all(|flow| flow.over), "a connection never ends");
        assert_eq!(self.host.mux.connections(), 0);
    }
}
