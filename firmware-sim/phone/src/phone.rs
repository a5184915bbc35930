//! The phone without its cable: engine, programs, quirks. It reads no clock and no socket; `now`
//! is an argument, and TCP connections for mapped ports are asked for and handed in.
//!
//! ```text
//! OUT packets → message → engine → receive buffer → program → frame → queue → IN packets
//! ```
//!
//! Work per frame does not depend on the number of connections: programs that can do something
//! stand in a list, once each.

use crate::endpoint::{Gathered, InEndpoint, OutEndpoint};
use crate::frames::{self, Numbering};
use crate::identity::Identity;
use crate::options::{Options, Quirk};
use crate::services::{self, Next, Program, Turn};
use log::{debug, info, trace, warn};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;
use usbmux_core::wire::{ControlKind, Protocol};
use usbmux_core::{
    CONTROL_FRAME, CloseReason, Config, ConnId, Event, Instant, LinkState, Mux, Received,
    ResetReason, Role, SequencePolicy, Slot, Transfer, Zlp,
};

/// Connections at once; one more is refused.
const CONNECTIONS: usize = 16_384;
/// Receive window of an ordinary connection, in bytes: what every phone announces.
const WINDOW: u32 = 131_072;
/// Bytes that a `slow` program reads at a time, and the time until it reads again.
const SLOW_READ: usize = 2048;
const SLOW_PERIOD: Duration = Duration::from_millis(5);
/// Bytes in both directions after which `rst-text` resets a connection.
const RESET_AFTER: u64 = 65_536;
/// The bytes that `trailing-bytes` appends; a different number of them each time.
const TRAILING: [u8; 12] = [0xee; 12];

/// What quirks change, resolved once from their list.
#[derive(Clone, Debug, Default)]
struct Oddities {
    lenient_seq: bool,
    stale_session: bool,
    trailing_bytes: bool,
    v1: bool,
    tiny_window: bool,
    overrun: bool,
    silent_connect: bool,
    slow: bool,
    rst_text: bool,
    /// VERSION frames still to be ignored.
    ignored_versions: u32,
    /// One was ignored: the fault has shown, and a port reset cures it. The reset with which every
    /// host begins does not.
    version_ignored: bool,
    /// OUT transfers until one is lost, that one included; 0 for none.
    until_lost: u32,
}

/// How the packets of an OUT transfer that come one at a time are counted as one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Transit {
    /// The next packet begins a transfer.
    #[default]
    Between,
    /// The last packet was a full one: the next belongs to the same transfer.
    Within,
    /// The same, and the transfer is being lost.
    Losing,
}

impl Oddities {
    fn new(options: &Options) -> Self {
        let mut odd = Oddities::default();
        for quirk in options.quirks.iter() {
            match *quirk {
                Quirk::LenientSeq => odd.lenient_seq = true,
                Quirk::StaleSession => odd.stale_session = true,
                Quirk::TrailingBytes => odd.trailing_bytes = true,
                Quirk::V1 => odd.v1 = true,
                Quirk::TinyWindow => odd.tiny_window = true,
                Quirk::Overrun => odd.overrun = true,
                Quirk::SilentVersion { times } => odd.ignored_versions = times.unwrap_or(u32::MAX),
                Quirk::SilentConnect => odd.silent_connect = true,
                Quirk::Slow => odd.slow = true,
                Quirk::RstText => odd.rst_text = true,
                Quirk::LostTransfer { number } => odd.until_lost = number,
                // The cable's affair, that of the hand that holds it, and endpoint zero's.
                Quirk::Unplug { .. } | Quirk::Replug { .. } => {}
                Quirk::StallMode | Quirk::SilentMode | Quirk::NoMux => {}
            }
        }
        odd
    }

    fn config(&self, max_frame: u16) -> Config {
        let peer_sequence =
            if self.lenient_seq { SequencePolicy::Count } else { SequencePolicy::Strict };
        let version = if self.v1 { 1 } else { 2 };
        // A phone sends what it has; the ZLP comes from its USB controller, here from InEndpoint.
        Config { max_frame, peer_sequence, version, zlp: Zlp::Explicit, ..Config::PHONE }
    }
}

/// What happened on the phone, for tests and for people who look into it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// OUT messages that ran over the read buffer.
    pub too_large: u64,
    /// Bytes behind the declared length of an OUT message, dropped: frames glued by a lost ZLP.
    pub glued_bytes: u64,
    /// Bytes that had arrived but that no program had read when their connection ended.
    pub unread_dropped: u64,
    /// Connections accepted.
    pub accepted: u64,
    /// Connections refused.
    pub refused: u64,
}

/// A connection as its program sees it.
struct Connection {
    id: ConnId,
    /// None while its TCP connection is being made.
    program: Option<Box<dyn Program>>,
    /// Stands in the list of those that can do something.
    ready: bool,
    /// Stands in the list of `slow` programs that wait for their time.
    asleep: bool,
    /// When a `slow` program may read again.
    reads_at: Instant,
    /// Payload bytes in both directions.
    traffic: u64,
}

/// A TCP connection to be made for a mapped port; answered with [`Phone::dialled`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dial {
    pub(crate) conn: ConnId,
    pub(crate) address: SocketAddr,
}

pub(crate) struct Phone {
    identity: Identity,
    mapped: Vec<(u16, SocketAddr)>,
    max_packet: u16,
    odd: Oddities,
    mux: Mux<Box<[Slot]>>,
    /// Version of the session; 0 before the first VERSION.
    version: u32,
    numbering: Numbering,
    /// By [`ConnId::slot`]; grows as slots are used.
    connections: Vec<Option<Connection>>,
    ready: VecDeque<ConnId>,
    /// In the order of their times, since all wait equally long.
    asleep: VecDeque<(Instant, ConnId)>,
    dials: VecDeque<Dial>,
    out: OutEndpoint,
    transit: Transit,
    queue: InEndpoint,
    /// Messages sent, for the length of `trailing-bytes`.
    sent: usize,
    counters: Counters,
}

impl Phone {
    pub(crate) fn new(options: &Options) -> Self {
        let odd = Oddities::new(options);
        let slots = vec![Slot::EMPTY; CONNECTIONS].into_boxed_slice();
        Phone {
            identity: Identity::new(options.number),
            mapped: options.mapped.clone(),
            max_packet: options.max_packet.max(1),
            mux: Mux::new(Role::Device, odd.config(options.max_frame), slots),
            odd,
            version: 0,
            numbering: Numbering::new(),
            connections: Vec::new(),
            ready: VecDeque::new(),
            asleep: VecDeque::new(),
            dials: VecDeque::new(),
            out: OutEndpoint::new(options.max_packet),
            transit: Transit::Between,
            queue: InEndpoint::new(options.max_packet),
            sent: 0,
            counters: Counters::default(),
        }
    }

    pub(crate) fn counters(&self) -> Counters {
        self.counters
    }

    /// Connections that have not ended.
    pub(crate) fn connections(&self) -> usize {
        self.mux.connections()
    }

    pub(crate) fn link(&self) -> LinkState {
        self.mux.link()
    }

    /// Whether it looks at the host's windows from now on.
    pub(crate) fn overrun(&mut self, overruns: bool) {
        self.odd.overrun = overruns;
    }

    /// The cable goes in.
    pub(crate) fn plug_in(&mut self, now: Instant) {
        self.mux.attach(now, self.max_packet);
        if self.odd.stale_session {
            for frame in frames::stale_session() {
                self.queue.push(frame);
            }
        }
    }

    /// The cable goes out: everything ends.
    pub(crate) fn unplug(&mut self, now: Instant) {
        self.mux.detach(now);
        self.handle_events(now);
        self.connections.clear();
        self.ready.clear();
        self.asleep.clear();
        self.dials.clear();
        self.out.reset();
        self.transit = Transit::Between;
        self.queue.reset();
        self.numbering = Numbering::new();
        self.version = 0;
    }

    /// A USB port reset: the session is forgotten, and with it the quirk that a reset cures.
    pub(crate) fn port_reset(&mut self, now: Instant) {
        info!("phone {}: port reset", self.identity.number());
        self.unplug(now);
        if self.odd.version_ignored {
            self.odd.ignored_versions = 0;
        }
        self.mux.attach(now, self.max_packet);
    }

    /// Whether OUT packets are taken now; otherwise the phone answers them with NAK.
    pub(crate) fn takes_out(&self) -> bool {
        self.queue.has_room()
    }

    /// Takes the packets of one OUT transfer.
    pub(crate) fn take_out(&mut self, now: Instant, transfer: &mut [u8]) {
        if !self.loses_transfer() {
            self.take(now, transfer);
        }
    }

    /// Takes one OUT packet.
    pub(crate) fn take_packet(&mut self, now: Instant, packet: &mut [u8]) {
        let full = packet.len() >= usize::from(self.max_packet);
        let losing = match self.transit {
            Transit::Between => self.loses_transfer(),
            Transit::Within => false,
            Transit::Losing => true,
        };
        self.transit = match (full, losing) {
            (false, _) => Transit::Between,
            (true, false) => Transit::Within,
            (true, true) => Transit::Losing,
        };
        if !losing {
            self.take(now, packet);
        }
    }

    /// Counts a transfer for the quirk that loses one; says whether it is this one.
    fn loses_transfer(&mut self) -> bool {
        if self.odd.until_lost == 0 {
            return false;
        }
        self.odd.until_lost -= 1;
        let lost = self.odd.until_lost == 0;
        if lost {
            warn!("phone {}: an OUT transfer is lost", self.identity.number());
        }
        lost
    }

    fn take(&mut self, now: Instant, packets: &mut [u8]) {
        match self.out.take(packets) {
            Gathered::Incomplete => return,
            Gathered::TooLarge => return self.complain_of_size(),
            Gathered::Message(message) => {
                let Some((protocol, declared)) = frames::head(message) else { return };
                if protocol == Protocol::VERSION && self.odd.ignored_versions > 0 {
                    debug!("phone {}: VERSION ignored", self.identity.number());
                    self.odd.version_ignored = true;
                    if self.odd.ignored_versions != u32::MAX {
                        self.odd.ignored_versions -= 1;
                    }
                    return;
                }
                if self.odd.overrun {
                    frames::open_window(message, self.version);
                }
                // One message is one frame: the phone never looks behind it.
                let length = declared.min(message.len());
                self.counters.glued_bytes += (message.len() - length) as u64;
                let mut transfer = Transfer::new(message.get(..length).unwrap_or_default());
                let programs =
                    &mut Programs { connections: &mut self.connections, ready: &mut self.ready };
                while let Some(received) = self.mux.receive(now, &mut transfer) {
                    match received {
                        Received::Data { conn, payload, .. } => {
                            let unread = programs.deliver(conn, payload);
                            let _ = self.mux.set_held(now, conn, unread);
                        }
                        Received::ResetText { conn, text } => {
                            debug!("{conn} reset: {}", String::from_utf8_lossy(text));
                        }
                        Received::PhoneSays { kind, text, .. } => {
                            debug!("host says {kind}: {}", String::from_utf8_lossy(text));
                        }
                    }
                }
            }
        }
        self.handle_events(now);
        // Each message is answered before the next one is taken.
        self.answer(now);
    }

    fn complain_of_size(&mut self) {
        warn!("phone {}: {}", self.identity.number(), frames::TOO_LARGE);
        self.counters.too_large += 1;
        if self.version != 0 {
            let frame = self.numbering.control(ControlKind::ERROR, frames::TOO_LARGE, self.version);
            self.push(frame);
        }
    }

    /// Sends packets into an IN transfer; says whether that completed it.
    pub(crate) fn fill_in(&mut self, buffer: &mut Vec<u8>, requested: usize) -> bool {
        self.queue.fill(buffer, requested)
    }

    /// The next IN packet, if there is one; the engine's own answers are among them at once.
    pub(crate) fn in_packet(&mut self, now: Instant) -> Option<&[u8]> {
        self.answer(now);
        self.queue.packet()
    }

    /// The host has the next IN packet.
    pub(crate) fn in_packet_arrived(&mut self) {
        self.queue.advance();
    }

    /// Whether a program could run and its frame be queued.
    pub(crate) fn has_work(&self) -> bool {
        !self.ready.is_empty() && self.queue.has_room()
    }

    /// Lets time pass.
    pub(crate) fn tick(&mut self, now: Instant) {
        self.mux.tick(now);
        while let Some(&(at, conn)) = self.asleep.front()
            && at <= now
        {
            self.asleep.pop_front();
            if let Some(connection) = find(&mut self.connections, conn) {
                connection.asleep = false;
            }
            self.wake(conn);
        }
        self.handle_events(now);
    }

    /// When [`tick`](Self::tick) is due.
    pub(crate) fn next_tick(&self) -> Option<Instant> {
        let wake = self.asleep.front().map(|(at, _)| *at);
        [self.mux.next_tick(), wake].into_iter().flatten().min()
    }

    /// Something happened to a program outside of the phone: its socket is ready.
    pub(crate) fn wake(&mut self, conn: ConnId) {
        Programs { connections: &mut self.connections, ready: &mut self.ready }.wake(conn);
    }

    /// The next TCP connection to be made.
    pub(crate) fn next_dial(&mut self) -> Option<Dial> {
        self.dials.pop_front()
    }

    /// Whether a TCP connection is to be made.
    pub(crate) fn has_dials(&self) -> bool {
        !self.dials.is_empty()
    }

    /// A TCP connection was made, or could not be.
    pub(crate) fn dialled(
        &mut self,
        now: Instant,
        conn: ConnId,
        program: Option<Box<dyn Program>>,
    ) {
        // The host may have given up meanwhile.
        if find(&mut self.connections, conn).is_none() {
            return;
        }
        match program {
            Some(program) => self.accept(now, conn, program),
            None => self.refuse(now, conn),
        }
        self.handle_events(now);
    }

    /// Lets the programs run, and queues what is to be sent, until the queue is full or nobody has
    /// anything to say.
    pub(crate) fn run(&mut self, now: Instant) {
        loop {
            self.answer(now);
            if !self.queue.has_room() {
                return;
            }
            let Some(conn) = self.ready.pop_front() else { return };
            self.run_program(now, conn);
            self.handle_events(now);
        }
    }

    /// Queues the engine's own frames, while there is room.
    fn answer(&mut self, now: Instant) {
        let mut control = [0; CONTROL_FRAME];
        while self.queue.has_room()
            && let Some(frame) = self.mux.poll_transmit(now, &mut control)
        {
            let mut message = self.queue.buffer();
            message.extend_from_slice(control.get(..frame.len).unwrap_or_default());
            self.pass(message);
            self.handle_events(now);
        }
    }

    fn run_program(&mut self, now: Instant, conn: ConnId) {
        let Some(connection) = find(&mut self.connections, conn) else { return };
        connection.ready = false;
        let Some(program) = &mut connection.program else { return };
        let budget = match self.odd.slow {
            true if now < connection.reads_at => 0,
            true => SLOW_READ,
            false => usize::MAX,
        };
        let room = if program.has_output() { self.mux.sendable(conn) } else { 0 };
        let headroom = self.mux.headroom();
        let mut frame = self.queue.buffer();
        frame.resize(headroom, 0);
        let before = program.unread();
        let next = program.run(&mut Turn { budget, room, frame: &mut frame });
        let unread = program.unread();
        let (read, written) = (before - unread.min(before), frame.len() - headroom);
        connection.traffic += written as u64;
        if read > 0 && self.odd.slow {
            connection.reads_at = now + SLOW_PERIOD;
        }
        if self.odd.slow && unread > 0 && !connection.asleep {
            connection.asleep = true;
            self.asleep.push_back((connection.reads_at, conn));
        }
        let traffic = connection.traffic;
        if read > 0 {
            // Before the frame is written, so that it carries the acknowledgement.
            let _ = self.mux.set_held(now, conn, u32::try_from(unread).unwrap_or(u32::MAX));
        }
        self.send(now, conn, frame, written);
        if self.odd.rst_text && traffic >= RESET_AFTER {
            self.mux.abort_because(now, conn, ResetReason::Failed);
            return self.forget(conn);
        }
        match next {
            Next::Again if read > 0 || written > 0 => self.wake(conn),
            Next::Again | Next::Wait => {}
            Next::Close => {
                self.mux.close(now, conn);
                self.forget(conn);
            }
            Next::Abort => {
                self.mux.abort_because(now, conn, ResetReason::Failed);
                self.forget(conn);
            }
        }
    }

    /// Hands a frame with `length` payload bytes behind its headroom to the engine and the queue.
    fn send(&mut self, now: Instant, conn: ConnId, mut frame: Vec<u8>, length: usize) {
        if length == 0 {
            return self.queue.recycle(frame);
        }
        match self.mux.send_in_place(now, conn, &mut frame, length) {
            // With explicit ZLPs the engine takes all; the ZLP itself is InEndpoint's.
            Ok(sent) => {
                debug_assert_eq!(sent.taken, length);
                self.pass(frame);
            }
            Err(error) => {
                debug!("{conn}: {length} bytes not sent: {error}");
                self.queue.recycle(frame);
            }
        }
    }

    /// A frame of the engine's on its way to the queue.
    fn pass(&mut self, mut frame: Vec<u8>) {
        match frames::head(&frame) {
            Some((Protocol::VERSION, _)) => self.numbering = Numbering::new(),
            _ if self.version == 2 => self.numbering.pass(&mut frame),
            _ => {}
        }
        self.push(frame);
    }

    fn push(&mut self, mut message: Vec<u8>) {
        self.sent = self.sent.wrapping_add(1);
        if self.odd.trailing_bytes {
            let count = 1 + self.sent % TRAILING.len();
            message.extend_from_slice(TRAILING.get(..count).unwrap_or_default());
        }
        self.queue.push(message);
    }

    fn handle_events(&mut self, now: Instant) {
        while let Some(event) = self.mux.poll_event(now) {
            trace!("phone {}: {event:?}", self.identity.number());
            match event {
                Event::LinkUp { version } => self.version = version,
                Event::Incoming { conn, port, .. } => self.incoming(now, conn, port),
                Event::Connected { conn } | Event::Sendable { conn } => self.wake(conn),
                Event::Refused { conn, .. } => self.forget(conn),
                Event::Closed { conn, reason } => {
                    if reason != CloseReason::Drained {
                        debug!("phone {}: {conn} closed: {reason:?}", self.identity.number());
                    }
                    self.forget(conn);
                }
                Event::SessionDead { .. } => {
                    warn!("phone {}: the session is dead", self.identity.number());
                }
                // A FIN is not among them: it draws a reset, as any flags but ACK do.
                _ => {}
            }
        }
        if self.mux.link() == LinkState::Down {
            self.version = 0;
        }
    }

    fn incoming(&mut self, now: Instant, conn: ConnId, port: u16) {
        if self.odd.silent_connect {
            return debug!("phone {}: {conn} gets no answer", self.identity.number());
        }
        let connection = Connection {
            id: conn,
            program: None,
            ready: false,
            asleep: false,
            reads_at: now,
            traffic: 0,
        };
        let slot = conn.slot();
        if slot >= self.connections.len() {
            self.connections.resize_with(slot + 1, || None);
        }
        if let Some(place) = self.connections.get_mut(slot) {
            *place = Some(connection);
        }
        let mapped = self.mapped.iter().rev().find(|(mapped, _)| *mapped == port);
        if let Some(&(_, address)) = mapped {
            self.dials.push_back(Dial { conn, address });
        } else if let Some(program) = services::start(port, &self.identity) {
            self.accept(now, conn, program);
        } else {
            self.refuse(now, conn);
        }
    }

    fn accept(&mut self, now: Instant, conn: ConnId, program: Box<dyn Program>) {
        let window = match self.odd.tiny_window {
            // 256, 512, 768, 1024: all that differ in their window field up to 1 KiB.
            true => 256 * (1 + (conn.slot() as u32) % 4),
            false => WINDOW,
        };
        if self.mux.accept(now, conn, window).is_err() {
            return self.forget(conn);
        }
        self.counters.accepted += 1;
        if let Some(connection) = find(&mut self.connections, conn) {
            connection.program = Some(program);
        }
        self.wake(conn);
    }

    fn refuse(&mut self, now: Instant, conn: ConnId) {
        self.counters.refused += 1;
        self.mux.refuse(now, conn, ResetReason::Refused);
        self.forget(conn);
    }

    /// A connection is over for its program: what it has not read is lost.
    fn forget(&mut self, conn: ConnId) {
        if find(&mut self.connections, conn).is_none() {
            return;
        }
        let over = self.connections.get_mut(conn.slot()).and_then(Option::take);
        let unread = over.and_then(|connection| connection.program).map_or(0, |p| p.unread());
        if unread > 0 {
            debug!("phone {}: {conn} over, {unread} bytes unread", self.identity.number());
            self.counters.unread_dropped += unread as u64;
        }
    }
}

/// The parts of the phone that a message on its way through the engine touches.
struct Programs<'a> {
    connections: &'a mut Vec<Option<Connection>>,
    ready: &'a mut VecDeque<ConnId>,
}

impl Programs<'_> {
    /// Puts bytes into a receive buffer; how many its program has not read.
    fn deliver(&mut self, conn: ConnId, payload: &[u8]) -> u32 {
        let Some(connection) = find(self.connections, conn) else { return 0 };
        let Some(program) = &mut connection.program else { return 0 };
        program.deliver(payload);
        connection.traffic += payload.len() as u64;
        let unread = program.unread();
        self.wake(conn);
        u32::try_from(unread).unwrap_or(u32::MAX)
    }

    fn wake(&mut self, conn: ConnId) {
        if let Some(connection) = find(self.connections, conn)
            && !connection.ready
        {
            connection.ready = true;
            self.ready.push_back(conn);
        }
    }
}

/// The connection with this handle; none if it is over, even where another took its place.
fn find(connections: &mut [Option<Connection>], conn: ConnId) -> Option<&mut Connection> {
    let connection = connections.get_mut(conn.slot())?.as_mut()?;
    (connection.id == conn).then_some(connection)
}
