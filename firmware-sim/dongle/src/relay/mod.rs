//! The connections of other machines: which socket takes one, what is served on it, and its end.
//!
//! Socket and relay number N belong together. A relay is free when its socket is closed (or only
//! waits for stragglers) and the engine holds nothing for it.

mod pipe;
mod talking;

use crate::config::DongleConfig;
use crate::link::Engine;
use crate::net::{Opening, Sockets};
use crate::page::{ConnectionStatus, Page, Status};
use crate::records::RecordStore;
use crate::status::Counters;
use crate::talk::Shared;
use core::time::Duration;
use pipe::{End, Pipe, is_gone};
use smoltcp::socket::tcp;
use smoltcp::wire::IpAddress;
use talking::{Became, Talking};
use usbmux_core::{ConnId, Event, Instant};

/// How long a handshake may take.
const ACCEPT_PATIENCE: Duration = Duration::from_secs(10);

/// How long another machine may take to hang up after our last byte has arrived there.
const CLOSE_GRACE: Duration = Duration::from_secs(5);

/// How long it may take to accept anything of what is left for it.
const DELIVERY_PATIENCE: Duration = Duration::from_secs(60);

/// How long a reader of the status page may take.
const PAGE_PATIENCE: Duration = Duration::from_secs(20);

/// Places that are kept from those who only wait.
const PLACES_OF_A_PROGRAM: usize = 2;

/// How many connections the status page shows.
const MAX_SHOWN: usize = 16;

/// The connections that the status page shows.
pub(crate) type Connections = heapless::Vec<ConnectionStatus, MAX_SHOWN, u8>;

/// What is served on one socket.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "the place is budgeted for the largest")]
enum Service {
    /// Nothing.
    Free,
    /// The handshake is under way.
    Accepting { until: Instant },
    /// The socket protocol.
    Talking(Talking),
    /// The status page.
    Paging { page: Page, until: Instant },
    /// Bytes to and from the phone.
    Piping(Pipe),
    /// Nothing any more: the socket is closing.
    Closing { broken: bool, queue: usize, until: Instant },
}

/// What is served on one socket.
#[derive(Debug)]
pub(crate) struct Relay {
    service: Service,
}

impl Relay {
    /// Nothing is served.
    pub(crate) const FREE: Relay = Relay { service: Service::Free };

    fn conn(&self) -> Option<ConnId> {
        match &self.service {
            Service::Talking(talking) => talking.conn(),
            Service::Piping(pipe) => pipe.conn(),
            _ => None,
        }
    }

    /// Whether its machine sends no more and has heard everything so far: it gives up its place soon,
    /// now that others want it.
    fn is_leaving(&self, socket: &tcp::Socket<'_>) -> bool {
        let is_ending = matches!(self.service, Service::Piping(_) | Service::Closing { .. });
        is_ending && !socket.may_recv() && socket.send_queue() == 0
    }

    /// Ends what is served: the socket has the rest.
    fn end(&mut self, now: Instant, socket: &mut tcp::Socket<'_>, end: End) {
        match end {
            End::Orderly => socket.close(),
            End::Broken => {}
            End::Abort => socket.abort(),
        }
        let queue = socket.send_queue();
        let until = now + patience(queue);
        self.service = Service::Closing { broken: end == End::Broken, queue, until };
    }
}

/// The ports that are served.
#[derive(Clone, Copy, Debug)]
struct Ports<'a> {
    config: DongleConfig<'a>,
}

/// What is served on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Talk,
    Page,
    Forward { device_port: u16 },
}

impl Ports<'_> {
    fn purpose(&self, port: u16) -> Option<Purpose> {
        if self.config.talk_port == Some(port) {
            return Some(Purpose::Talk);
        }
        if self.config.page_port == Some(port) {
            return Some(Purpose::Page);
        }
        let forward = self.config.forwards.iter().find(|forward| forward.port == port)?;
        Some(Purpose::Forward { device_port: forward.device_port })
    }
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Relays<'a> {
    relays: &'a mut [Relay],
    ports: Ports<'a>,
    /// Whose turn it is to send to the phone.
    next: usize,
}

impl<'a> Relays<'a> {
    pub(crate) fn new(relays: &'a mut [Relay], config: &DongleConfig<'a>) -> Self {
        Relays { relays, ports: Ports { config: *config }, next: 0 }
    }

    /// How many there can be.
    pub(crate) fn capacity(&self) -> usize {
        self.relays.len()
    }

    /// How many are in use.
    pub(crate) fn used(&self) -> usize {
        self.relays.iter().filter(|relay| !matches!(relay.service, Service::Free)).count()
    }

    /// Whether the next program may find no place: most need two, one to ask and one to speak.
    fn is_crowded(&self) -> bool {
        self.used() + PLACES_OF_A_PROGRAM > self.capacity()
    }

    // ---- connections that come

    /// Another machine opens a connection: a free socket listens for it, if its port is served. Else
    /// the stack refuses it, at once. `false` when it should ask again: a place is about to be free.
    pub(crate) fn opening(
        &mut self,
        now: Instant,
        sockets: &mut Sockets<'a>,
        opening: Opening,
        has_phone: bool,
        counters: &mut Counters,
    ) -> bool {
        let Some(purpose) = self.ports.purpose(opening.port) else { return true };
        let is_known = |socket: &tcp::Socket<'_>| {
            !is_gone(socket)
                && socket.remote_endpoint() == Some(opening.peer)
                && socket.local_endpoint().is_some_and(|local| local.port == opening.port)
        };
        if sockets.iter().any(|socket| is_known(socket)) {
            return true;
        }
        if matches!(purpose, Purpose::Forward { .. }) && !has_phone {
            counters.refused_phone = counters.refused_phone.wrapping_add(1);
            return true;
        }
        let mut places = self.relays.iter_mut().enumerate();
        let free = places.find(|(_, relay)| matches!(relay.service, Service::Free));
        let Some((number, relay)) = free else {
            let mut both = self.relays.iter().zip(sockets.iter());
            if both.any(|(relay, socket)| relay.is_leaving(socket)) {
                return false;
            }
            counters.refused_full = counters.refused_full.wrapping_add(1);
            return true;
        };
        if sockets.get(number).is_some_and(|socket| socket.listen(opening.port).is_ok()) {
            relay.service = Service::Accepting { until: now + ACCEPT_PATIENCE };
        }
        true
    }

    // ---- what the engine says

    /// Payload of the phone's.
    pub(crate) fn deliver(
        &mut self,
        now: Instant,
        conn: ConnId,
        payload: &[u8],
        frame_end: bool,
        turn: &mut Turn<'_, '_, 'a, impl RecordStore>,
    ) {
        turn.counters.bytes_in = turn.counters.bytes_in.wrapping_add(payload.len() as u32);
        let found = self.relays.iter_mut().zip(turn.sockets.iter());
        let Some((relay, socket)) = found.into_iter().find(|(relay, _)| relay.conn() == Some(conn))
        else {
            return;
        };
        if let Service::Talking(talking) = &mut relay.service {
            // The phone speaks before the client knows that it accepted.
            talking.connected();
            let became = talking.turn(now, socket, turn.engine, &mut turn.shared);
            relay.become_(now, socket, became);
        }
        let Service::Piping(pipe) = &mut relay.service else { return };
        let lost = pipe.deliver(now, socket, turn.engine, payload, frame_end);
        if lost > 0 {
            turn.counters.bytes_lost = turn.counters.bytes_lost.wrapping_add(lost as u32);
            pipe.give_up(now, turn.engine);
            relay.end(now, socket, End::Broken);
        }
    }

    /// Something happened to a connection.
    pub(crate) fn happened(
        &mut self,
        now: Instant,
        event: Event,
        sockets: &mut Sockets<'a>,
        counters: &mut Counters,
    ) {
        let (Event::Connected { conn }
        | Event::Refused { conn, .. }
        | Event::Finished { conn }
        | Event::Closed { conn, .. }) = event
        else {
            return;
        };
        let found = self.relays.iter_mut().zip(sockets.iter());
        let Some((relay, socket)) = found.into_iter().find(|(relay, _)| relay.conn() == Some(conn))
        else {
            return;
        };
        if matches!(event, Event::Refused { .. }) {
            counters.refused_phone = counters.refused_phone.wrapping_add(1);
        }
        match (&mut relay.service, event) {
            (Service::Talking(talking), Event::Connected { .. }) => talking.connected(),
            (Service::Talking(talking), Event::Refused { .. }) => talking.refused(),
            (Service::Talking(talking), Event::Closed { reason, .. }) => talking.closed(reason),
            (Service::Piping(pipe), Event::Connected { .. }) => pipe.connected(),
            (Service::Piping(pipe), Event::Finished { .. }) => pipe.finished(),
            (Service::Piping(_), Event::Refused { .. }) => relay.end(now, socket, End::Abort),
            (Service::Piping(pipe), Event::Closed { reason, .. }) => {
                let end = pipe.closed(reason);
                relay.end(now, socket, end);
            }
            _ => {}
        }
    }

    // ---- time, and the other machines' side

    /// Gives every connection its turn.
    pub(crate) fn turn(&mut self, now: Instant, turn: &mut Turn<'_, '_, 'a, impl RecordStore>) {
        let (ports, crowded) = (self.ports, self.is_crowded());
        let both = self.relays.iter_mut().zip(turn.sockets.iter());
        for (relay, socket) in both {
            match &mut relay.service {
                Service::Free | Service::Paging { .. } => {}
                Service::Accepting { until } => {
                    let until = *until;
                    let accepted = relay.accept(now, socket, ports, until);
                    turn.counters.accepted =
                        turn.counters.accepted.wrapping_add(u32::from(accepted));
                }
                Service::Talking(talking) => {
                    let became = talking.turn(now, socket, turn.engine, &mut turn.shared);
                    relay.become_(now, socket, became);
                }
                Service::Piping(pipe) => {
                    let has_phone = turn.shared.phone.is_some();
                    let end = pipe.turn(now, socket, turn.engine, has_phone, crowded);
                    if let Some(end) = end {
                        relay.end(now, socket, end);
                    }
                }
                Service::Closing { .. } => relay.finish(now, socket),
            }
        }
    }

    /// When [`turn`](Self::turn) is due without news.
    pub(crate) fn due(&self, sockets: &mut Sockets<'a>) -> Option<Instant> {
        let crowded = self.is_crowded();
        let both = self.relays.iter().zip(sockets.iter());
        both.filter_map(|(relay, socket)| match &relay.service {
            Service::Free => None,
            Service::Accepting { until }
            | Service::Paging { until, .. }
            | Service::Closing { until, .. } => Some(*until),
            Service::Talking(talking) => talking.due(),
            Service::Piping(pipe) => pipe.due(socket, crowded),
        })
        .min()
    }

    // ---- towards the phone

    /// The next connection that may send, in turns, and how many bytes.
    pub(crate) fn next_to_send(
        &mut self,
        sockets: &mut Sockets<'a>,
        engine: &mut Engine<'a>,
    ) -> Option<(ConnId, usize)> {
        let count = self.relays.len();
        let sendable = |number: usize| {
            let Service::Piping(pipe) = &self.relays.get(number)?.service else { return None };
            let most = pipe.sendable(sockets.get(number)?, engine);
            (most > 0).then_some((number, pipe.conn()?, most))
        };
        let mut turns = (self.next..count).chain(0..self.next.min(count));
        let (number, conn, most) = turns.find_map(sendable)?;
        self.next = number + 1;
        Some((conn, most))
    }

    /// Takes payload of a frame under way out of its socket. All of it stands there, unless the
    /// connection has ended, or the stack dropped the socket with its address and the connection ends
    /// now: any bytes will do then.
    pub(crate) fn take_payload(
        &mut self,
        now: Instant,
        conn: ConnId,
        room: &mut [u8],
        turn: &mut Turn<'_, '_, 'a, impl RecordStore>,
    ) {
        let found = self.relays.iter_mut().zip(turn.sockets.iter());
        let found = found.into_iter().find(|(relay, _)| relay.conn() == Some(conn));
        let Some((relay, socket)) = found else { return room.fill(0) };
        let taken = socket.recv_slice(room).unwrap_or(0);
        turn.counters.bytes_out = turn.counters.bytes_out.wrapping_add(taken as u32);
        if let Service::Piping(pipe) = &mut relay.service {
            pipe.sent(now, taken);
        }
        if let Some(rest @ [_, ..]) = room.get_mut(taken..) {
            rest.fill(0);
            turn.engine.abort(now, conn);
            relay.end(now, socket, End::Abort);
        }
    }

    // ---- the status page

    /// Whether anybody reads the status page.
    pub(crate) fn has_readers(&self) -> bool {
        self.relays.iter().any(|relay| matches!(relay.service, Service::Paging { .. }))
    }

    /// Goes on with the pages that are being read.
    pub(crate) fn write_pages(
        &mut self,
        now: Instant,
        sockets: &mut Sockets<'a>,
        status: &Status<'_>,
    ) {
        for (relay, socket) in self.relays.iter_mut().zip(sockets.iter()) {
            let Service::Paging { page, until } = &mut relay.service else { continue };
            if *until <= now || is_gone(socket) {
                relay.end(now, socket, End::Abort);
                continue;
            }
            let _ = socket.recv(|bytes| (page.read(bytes), ()));
            let _ = socket.send(|room| (page.write(room, status), ()));
            if page.is_finished() {
                relay.end(now, socket, End::Orderly);
            }
        }
    }

    /// The connections that are in use, as many as there is room for.
    pub(crate) fn connections(&self, sockets: &mut Sockets<'a>) -> Connections {
        let both = self.relays.iter().zip(sockets.iter());
        both.filter_map(|(relay, socket)| relay.status(socket)).take(MAX_SHOWN).collect()
    }
}

/// What a turn of a connection's needs of the rest of the dongle.
pub(crate) struct Turn<'t, 's, 'a, R> {
    pub(crate) sockets: &'t mut Sockets<'a>,
    pub(crate) engine: &'t mut Engine<'a>,
    pub(crate) shared: Shared<'s, R>,
    pub(crate) counters: &'t mut Counters,
}

impl Relay {
    fn become_(&mut self, now: Instant, socket: &mut tcp::Socket<'_>, became: Became) {
        match became {
            Became::Same => {}
            Became::Pipe(pipe) => self.service = Service::Piping(pipe),
            Became::Over(end) => self.end(now, socket, end),
        }
    }

    fn status(&self, socket: &tcp::Socket<'_>) -> Option<ConnectionStatus> {
        let (what, phone_port, from_phone, to_phone) = match &self.service {
            Service::Free | Service::Accepting { .. } => return None,
            Service::Talking(talking) if talking.conversation.is_listening() => {
                ("listening", 0, 0, 0)
            }
            Service::Talking(talking) => ("talk", talking.port(), 0, 0),
            Service::Paging { .. } => ("page", 0, 0, 0),
            Service::Piping(pipe) => {
                let what = if pipe.forward { "forward" } else { "pipe" };
                (what, pipe.port, pipe.from_phone, pipe.to_phone)
            }
            Service::Closing { .. } => ("closing", 0, 0, 0),
        };
        let remote = socket.remote_endpoint();
        let peer = remote.map_or([0; 4], |remote| match remote.addr {
            IpAddress::Ipv4(address) => address.octets(),
        });
        let peer_port = remote.map_or(0, |remote| remote.port);
        Some(ConnectionStatus { peer, peer_port, what, phone_port, from_phone, to_phone })
    }

    /// Follows the handshake; says whether it is over and something is served now.
    fn accept(
        &mut self,
        now: Instant,
        socket: &mut tcp::Socket<'_>,
        ports: Ports<'_>,
        until: Instant,
    ) -> bool {
        match socket.state() {
            tcp::State::SynReceived if now < until => return false,
            // The frame was none after all, or its sender took it back.
            tcp::State::Listen | tcp::State::Closed => {
                socket.close();
                self.service = Service::Free;
                return false;
            }
            tcp::State::SynReceived => {
                self.end(now, socket, End::Abort);
                return false;
            }
            _ => {}
        }
        let port = socket.local_endpoint().map_or(0, |local| local.port);
        self.service = match ports.purpose(port) {
            Some(Purpose::Talk) => Service::Talking(Talking::new(now)),
            Some(Purpose::Page) => {
                Service::Paging { page: Page::new(), until: now + PAGE_PATIENCE }
            }
            Some(Purpose::Forward { device_port }) => {
                Service::Piping(Pipe::to_port(now, device_port))
            }
            None => Service::Free,
        };
        true
    }

    /// Follows a socket to its end.
    fn finish(&mut self, now: Instant, socket: &mut tcp::Socket<'_>) {
        let Service::Closing { broken, queue, until } = &mut self.service else { return };
        // What the other machine still says is not heard.
        while socket.can_recv() && socket.recv(|bytes| (bytes.len(), ())).is_ok() {}
        let left = socket.send_queue();
        if left != *queue {
            *queue = left;
            *until = now + patience(left);
        }
        if *until <= now || (*broken && left == 0) {
            socket.abort();
        }
        if is_gone(socket) {
            self.service = Service::Free;
        }
    }
}

/// How long a closing socket is waited for, with so many bytes left in it.
fn patience(queue: usize) -> Duration {
    if queue > 0 { DELIVERY_PATIENCE } else { CLOSE_GRACE }
}
