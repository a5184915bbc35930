//! The super-loop: one bounded turn over USB, the engine and Ethernet.

use crate::config::{ConfigError, DongleConfig};
use crate::link::{Link, Next, Outgoing};
use crate::net::Net;
use crate::page::Status;
use crate::records::RecordStore;
use crate::relay::{Connections, Relays, Turn};
use crate::status::{Counters, NamedCounters};
use crate::storage::{Places, Storage};
use crate::talk::{Listeners, PhoneInfo, Shared};
use crate::usb::HostController;
use smoltcp::phy::Device;
use smoltcp::wire::Ipv4Cidr;
use usbmux_core::{CONTROL_FRAME, Event, Instant, LinkState, Received, Stats, Transfer};

/// Pieces that one turn gives to USB at most: a controller with a queue takes several.
const PIECES_OUT: usize = 4;

/// The firmware of a dongle: a phone on USB, its ports on Ethernet.
///
/// ```
/// use usbmux_core::Instant;
/// use usbmux_dongle::records::NoStore;
/// use usbmux_dongle::usb::HostController;
/// use usbmux_dongle::{Dongle, DongleConfig, Storage};
///
/// /// The body of an image's `main`: `clock` reads the time, `sleep` waits for an interrupt.
/// fn run(
///     usb: &mut impl HostController,
///     ethernet: &mut impl smoltcp::phy::Device,
///     storage: &'static mut Storage<'static, 4, 4096, 2048>,
///     clock: impl Fn() -> Instant,
///     sleep: impl Fn(Option<Instant>),
/// ) -> ! {
///     let config = DongleConfig::default();
///     let mut dongle = Dongle::new(clock(), &config, storage, NoStore, ethernet).expect("a sound config");
///     loop {
///         let due = dongle.poll(clock(), usb, ethernet);
///         sleep(due); // not at all if `due` is past
///     }
/// }
/// ```
pub struct Dongle<'a, R> {
    link: Link<'a>,
    net: Net<'a>,
    relays: Relays<'a>,
    listeners: &'a mut Listeners,
    records: R,
    buid: &'a str,
    started: Instant,
    memory: &'a [(&'static str, u32)],
    counters: Counters,
}

impl<'a, R: RecordStore> Dongle<'a, R> {
    /// Makes a dongle in the given memory. The Ethernet device is the one that is polled later.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] says what to change.
    pub fn new<const CONNECTIONS: usize, const TO_ETHERNET: usize, const TO_PHONE: usize>(
        now: Instant,
        config: &DongleConfig<'a>,
        storage: &'a mut Storage<'a, CONNECTIONS, TO_ETHERNET, TO_PHONE>,
        records: R,
        ethernet: &mut impl Device,
    ) -> Result<Self, ConfigError> {
        config.check()?;
        let Places { net, slots, relays, listeners } = storage.prepare();
        Ok(Dongle {
            link: Link::new(config.engine, slots),
            net: Net::new(stack_time(now), config, net, ethernet),
            relays: Relays::new(relays, config),
            listeners,
            records,
            buid: config.buid,
            started: now,
            memory: config.memory,
            counters: Counters::default(),
        })
    }

    /// Does one turn: a bounded piece of the work that is due now.
    ///
    /// To be called whenever USB or Ethernet may have something new, and at the latest when the
    /// answer says; an answer that is not later than `now` means that there is more to do.
    pub fn poll(
        &mut self,
        now: Instant,
        usb: &mut impl HostController,
        ethernet: &mut impl Device,
    ) -> Option<Instant> {
        self.counters.turns = self.counters.turns.wrapping_add(1);
        let mut more = self.link.turn(now, usb, &mut self.counters);
        more |= self.take_piece(now, usb);
        self.tell_events(now, usb);
        more |= self.take_frame(now, ethernet);
        let (relays, mut turn) = self.split();
        relays.turn(now, &mut turn);
        self.write_pages(now);
        more |= self.send_pieces(now, usb);
        self.net.send(stack_time(now), ethernet);
        if more { Some(now) } else { Some(self.due(now)) }
    }

    /// When the next turn is due without news from USB or Ethernet.
    fn due(&mut self, now: Instant) -> Instant {
        let net = self.net.due(stack_time(now)).map(engine_time);
        let relays = self.relays.due(&mut self.net.sockets);
        net.into_iter().chain(relays).fold(self.link.due(now), Instant::min)
    }

    /// The connections, and what their turn needs of the rest.
    fn split(&mut self) -> (&mut Relays<'a>, Turn<'_, '_, 'a, R>) {
        let (phone, engine) = self.link.split();
        let shared =
            Shared { phone, store: &mut self.records, listeners: self.listeners, buid: self.buid };
        let sockets = &mut self.net.sockets;
        (&mut self.relays, Turn { sockets, engine, shared, counters: &mut self.counters })
    }

    // ---- from the phone

    /// Takes one piece that USB delivered; says whether there was one.
    fn take_piece(&mut self, now: Instant, usb: &mut impl HostController) -> bool {
        let Some(piece) = self.link.piece(now, usb, &mut self.counters) else { return false };
        let mut transfer = if piece.ends_transfer {
            Transfer::new(piece.bytes)
        } else {
            Transfer::part(piece.bytes)
        };
        // Bounded: each turn takes at least a byte or the end out of the piece.
        while let Some(received) = self.link.mux.receive(now, &mut transfer) {
            match received {
                Received::Data { conn, payload, frame_end } => {
                    let (relays, mut turn) = self.split();
                    relays.deliver(now, conn, payload, frame_end, &mut turn);
                }
                Received::PhoneSays { kind, end: true, .. } => {
                    debug!("the phone says something, kind {}", kind);
                }
                _ => {}
            }
        }
        self.link.request(usb);
        true
    }

    /// Tells what happened in the engine to whom it concerns.
    fn tell_events(&mut self, now: Instant, usb: &mut impl HostController) {
        // Bounded: each turn takes an event of the link's or of one of its connections.
        while let Some(event) = self.link.mux.poll_event(now) {
            match event {
                Event::LinkUp { .. } | Event::LinkFailed { .. } | Event::SessionDead { .. } => {
                    self.link.happened(now, usb, &mut self.counters, event);
                }
                _ => {
                    let sockets = &mut self.net.sockets;
                    self.relays.happened(now, event, sockets, &mut self.counters);
                }
            }
        }
    }

    // ---- to the phone

    /// Gives USB what it takes; says whether anything went.
    fn send_pieces(&mut self, now: Instant, usb: &mut impl HostController) -> bool {
        for sent in 0..PIECES_OUT {
            if !self.link.can_send(now, usb, &mut self.counters) || !self.send_piece(now, usb) {
                return sent > 0;
            }
        }
        true
    }

    /// Gives USB the next piece; says whether there was one.
    fn send_piece(&mut self, now: Instant, usb: &mut impl HostController) -> bool {
        let Some(space) = usb.space() else { return false };
        let length = match self.link.outgoing.next(space.len()) {
            Next::Payload(conn, length) => {
                let (relays, mut turn) = self.split();
                let room = space.get_mut(..length).unwrap_or_default();
                relays.take_payload(now, conn, room, &mut turn);
                Some(length)
            }
            Next::ZeroLength => Some(0),
            Next::Frame => self.begin_frame(now, space),
        };
        let Some(length) = length else { return false };
        usb.send(length);
        self.counters.pieces_out = self.counters.pieces_out.wrapping_add(1);
        true
    }

    /// Numbers the next frame and places its first piece; none if nothing is to be sent.
    fn begin_frame(&mut self, now: Instant, space: &mut [u8]) -> Option<usize> {
        let mut own = [0; CONTROL_FRAME];
        if let Some(frame) = self.link.mux.poll_transmit(now, &mut own) {
            // A host's frames without payload are shorter than any packet that enumeration admits:
            // they need no zero-length packet.
            let own = own.get(..frame.len).unwrap_or_default();
            space.get_mut(..own.len())?.copy_from_slice(own);
            return Some(own.len());
        }
        let sockets = &mut self.net.sockets;
        let (conn, most) = self.relays.next_to_send(sockets, &mut self.link.mux)?;
        let sent = self.link.mux.send(now, conn, most).ok()?;
        let header = sent.header();
        let (head, room) = space.split_at_mut_checked(header.len())?;
        head.copy_from_slice(header);
        let first = sent.taken.min(room.len());
        self.link.outgoing = Outgoing::new(conn, sent.taken - first, sent.needs_zlp);
        let (relays, mut turn) = self.split();
        relays.take_payload(now, conn, room.get_mut(..first).unwrap_or_default(), &mut turn);
        Some(header.len() + first)
    }

    // ---- from Ethernet

    /// Takes one frame that Ethernet delivered; says whether there was one.
    fn take_frame(&mut self, now: Instant, ethernet: &mut impl Device) -> bool {
        let (relays, has_phone) = (&mut self.relays, self.link.phone().is_some());
        let counters = &mut self.counters;
        self.net.receive(stack_time(now), ethernet, counters, |sockets, opening, counters| {
            relays.opening(now, sockets, opening, has_phone, counters)
        })
    }

    // ---- what it tells

    /// Shows what it has to say of itself, as the status page does.
    pub fn with_status<T>(&mut self, now: Instant, show: impl FnOnce(&Status<'_>) -> T) -> T {
        let seen = self.look(now);
        show(&status(&self.link, &self.net, &seen, self.memory))
    }

    fn write_pages(&mut self, now: Instant) {
        if self.relays.has_readers() {
            let seen = self.look(now);
            let status = status(&self.link, &self.net, &seen, self.memory);
            self.relays.write_pages(now, &mut self.net.sockets, &status);
        }
    }

    /// Looks at what a status is made of.
    fn look(&mut self, now: Instant) -> Seen {
        Seen {
            uptime_s: u32::try_from((now - self.started).as_secs()).unwrap_or(u32::MAX),
            connections: self.relays.connections(&mut self.net.sockets),
            connections_max: u32::try_from(self.relays.capacity()).unwrap_or(u32::MAX),
            counters: self.counters.named(self.link.mux.stats()),
        }
    }

    /// What it has counted.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// What the engine has counted.
    pub fn engine_stats(&self) -> &Stats {
        self.link.mux.stats()
    }

    /// The pair records.
    pub fn records(&mut self) -> &mut R {
        &mut self.records
    }

    /// Where the link to the phone stands.
    pub fn link(&self) -> LinkState {
        self.link.mux.link()
    }

    /// The phone, as far as clients may see it.
    pub fn phone(&self) -> Option<&PhoneInfo> {
        self.link.phone()
    }

    /// The dongle's address; none while no DHCP server has answered and the fallback is not due.
    pub fn address(&self) -> Option<Ipv4Cidr> {
        self.net.address().0
    }

    /// Connections in use.
    pub fn connections(&self) -> usize {
        self.relays.used()
    }
}

/// The stack that the status page takes at most: what it shows is put together there.
pub(crate) const PAGE_STACK: u32 = (size_of::<Seen>() + size_of::<Status<'_>>()) as u32;

/// What of a status is computed when it is asked for.
struct Seen {
    uptime_s: u32,
    connections: Connections,
    connections_max: u32,
    counters: NamedCounters,
}

fn status<'s>(
    link: &'s Link<'_>,
    net: &Net<'_>,
    seen: &'s Seen,
    memory: &'s [(&'static str, u32)],
) -> Status<'s> {
    let (address, source) = net.address();
    Status {
        phone: link.phone(),
        link: link.describe(),
        address: address.map_or([0; 4], |address| address.address().octets()),
        address_source: source.describe(),
        uptime_s: seen.uptime_s,
        connections: &seen.connections,
        connections_max: seen.connections_max,
        counters: &seen.counters,
        memory,
    }
}

fn stack_time(now: Instant) -> smoltcp::time::Instant {
    smoltcp::time::Instant::from_micros(i64::try_from(now.as_micros()).unwrap_or(i64::MAX))
}

fn engine_time(at: smoltcp::time::Instant) -> Instant {
    Instant::from_micros(u64::try_from(at.total_micros()).unwrap_or(0))
}
