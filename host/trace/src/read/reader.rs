//! A trace from its first packet to its last, one item at a time, in bounded memory.

use std::collections::{BTreeMap, VecDeque};
use std::io::Read;
use std::time::Duration;

use super::bus::{Buses, Chunk, Happening};
use super::error::ReadError;
use super::file::{Entry, IPV6, Packet, Packets, USB_LINUX, USB_LINUX_MMAPPED};
use super::mark::{Kind, Mark};
use super::model::{FoundBy, Item, PhoneInfo, Side};
use super::own::{self, Record};
use super::report::{Report, Tally};
use super::scan::Piece;
use super::session::{Facts, Session};
use super::usbmon::Urb;

/// Phones that are told apart in one trace; a further one is passed over.
const MOST_PHONES: usize = 1024;
/// Times beyond are as good as this one; a damaged file may have any.
const LONGEST: Duration = Duration::from_secs(1_000_000_000);
/// Our own traces do not say which vendor: there is one.
const VENDOR: u16 = usbmux_core::descriptors::VENDOR_ID;

/// Reads a trace.
pub struct Reader<R: Read> {
    packets: Packets<R>,
    exchange: Exchange,
    ended: bool,
}

/// All phones of a trace.
#[derive(Default)]
struct Exchange {
    buses: Buses,
    sessions: BTreeMap<u32, Session>,
    items: VecDeque<Item>,
    tally: Tally,
    origin: Option<Duration>,
    now: Duration,
    packets: u64,
    lost: u64,
    conns: u32,
    /// Names of interfaces, which are UDIDs in our own traces.
    names: Vec<String>,
    /// Some packet was of a kind that is read here.
    known: bool,
    /// The link type of one that was not.
    other: Option<u32>,
}

impl<R: Read> Reader<R> {
    /// Looks at the beginning of a trace.
    ///
    /// # Errors
    ///
    /// If it is no capture.
    pub fn new(input: R) -> Result<Self, ReadError> {
        Ok(Reader { packets: Packets::new(input)?, exchange: Exchange::default(), ended: false })
    }

    /// The next thing in the trace; `None` at its end.
    ///
    /// # Errors
    ///
    /// If the file is damaged, or of something else. What was read before is in the report.
    pub fn next_item(&mut self) -> Result<Option<Item>, ReadError> {
        loop {
            if let Some(item) = self.exchange.items.pop_front() {
                self.exchange.tally.see(&item);
                return Ok(Some(item));
            }
            if self.ended {
                return Ok(None);
            }
            match self.packets.next() {
                Ok(Some(entry)) => self.exchange.take(entry),
                Ok(None) => {
                    self.ended = true;
                    self.exchange.finish();
                    if let Some(link) = self.exchange.only_others() {
                        return Err(ReadError::OtherLink(link));
                    }
                }
                Err(error) => {
                    self.ended = true;
                    self.exchange.finish();
                    return Err(error);
                }
            }
        }
    }

    /// What is to be said in the end; before the end, what is known until now.
    pub fn report(&self) -> Report {
        self.exchange.report()
    }
}

impl Exchange {
    fn take(&mut self, entry: Entry) {
        match entry {
            Entry::Packet(packet) => self.packet(&packet),
            Entry::Lost(lost) => self.lost = self.lost.max(lost),
            Entry::Interface { number, name, .. } => {
                let place = number as usize;
                if place < MOST_PHONES {
                    self.names.resize(self.names.len().max(place + 1), String::new());
                    self.names[place] = name;
                }
            }
        }
    }

    /// The link type, if nothing of what was read was for us.
    fn only_others(&self) -> Option<u32> {
        self.other.filter(|_| !self.known)
    }

    fn packet(&mut self, packet: &Packet) {
        self.packets += 1;
        let origin = *self.origin.get_or_insert(packet.at);
        let at = packet.at.saturating_sub(origin).min(LONGEST);
        self.now = self.now.max(at);
        for session in self.sessions.values_mut() {
            session.clock(at, &mut self.items);
        }
        let mapped = match packet.link {
            USB_LINUX => false,
            USB_LINUX_MMAPPED => true,
            IPV6 => match packet.comments.iter().find(|comment| own::is_ours(comment)) {
                Some(comment) => return self.own(packet, comment, at),
                None => return self.other = Some(packet.link),
            },
            other => return self.other = Some(other),
        };
        self.known = true;
        if let Some(urb) = Urb::parse(&packet.data, mapped, packet.big_endian) {
            self.urb(&urb, at);
        }
    }

    // ---- a capture of USB -------------------------------------------------------------------

    fn urb(&mut self, urb: &Urb<'_>, at: Duration) {
        match self.buses.take(urb) {
            Some(Happening::Bytes(chunk)) => {
                if !self.sessions.contains_key(&chunk.phone) {
                    let info = self.buses.info(urb.bus, urb.device);
                    self.items.extend(info.map(Item::Phone));
                }
                self.chunk(&chunk, at);
            }
            Some(Happening::OutDone { phone, id }) => {
                if let Some(session) = self.sessions.get_mut(&phone) {
                    session.out_done(id);
                }
            }
            Some(Happening::Failed { phone, from, id, status, passed }) => {
                if let Some(session) = self.sessions.get_mut(&phone) {
                    session.failed(from, id, status, passed, at, &mut self.items);
                }
            }
            None => {}
        }
    }

    fn chunk(&mut self, chunk: &Chunk<'_>, at: Duration) {
        if self.sessions.len() >= MOST_PHONES && !self.sessions.contains_key(&chunk.phone) {
            return;
        }
        let piece = Piece {
            at,
            packet: self.packets,
            transfer: 0,
            bytes: chunk.bytes,
            length: chunk.length,
            ends: chunk.ends,
        };
        let session = self.sessions.entry(chunk.phone);
        let session = session.or_insert_with(|| Session::new(chunk.phone));
        session.bytes(chunk.from, chunk.id, piece, &mut self.conns, &mut self.items);
    }

    // ---- a trace of ours --------------------------------------------------------------------

    fn own(&mut self, packet: &Packet, comment: &str, at: Duration) {
        self.known = true;
        let Some(record) = own::record(comment, &packet.data, at, self.packets) else { return };
        let phone = packet.interface + 1;
        if !self.sessions.contains_key(&phone) {
            if self.sessions.len() >= MOST_PHONES {
                return;
            }
            self.sessions.insert(phone, Session::new(phone));
            let name = self.names.get(packet.interface as usize).filter(|name| !name.is_empty());
            let info = own_phone(phone, name.cloned(), &record);
            self.items.push_back(Item::Phone(info));
        }
        let Some(session) = self.sessions.get_mut(&phone) else { return };
        match record {
            Record::Frame(from, raw) => {
                session.own_frame(raw, from, &mut self.conns, &mut self.items);
            }
            Record::Odd(from, kind, text) => {
                session.note(at, None, Mark::new(kind, from, text), &mut self.items);
            }
            Record::Zlp(from) => session.own_zlp(from),
            Record::Attached { max_packet, .. } => session.own_packets(max_packet),
            Record::Told(kind, text) => {
                session.note(at, None, Mark::new(kind, None, text), &mut self.items);
            }
            Record::Lost(records) => {
                session.forget_numbers();
                let text = format!("{records} records were lost here: numbers may jump");
                session.note(at, None, Mark::new(Kind::CaptureLost, None, text), &mut self.items);
            }
        }
    }

    // ---- the end ----------------------------------------------------------------------------

    fn finish(&mut self) {
        for session in self.sessions.values_mut() {
            session.finish(self.now, &mut self.items);
        }
    }

    fn report(&self) -> Report {
        let mut connections: Vec<_> =
            self.sessions.values().flat_map(Session::connections).collect();
        connections.sort_unstable_by_key(|one| one.conn);
        let facts = |phone: u32| -> Facts {
            self.sessions.get(&phone).map(|session| session.facts.clone()).unwrap_or_default()
        };
        let mut report = self.tally.report(&facts, &connections);
        report.packets = self.packets;
        report.lost = self.lost;
        report.length = self.now;
        report.devices = self.buses.devices();
        report.conclude();
        report
    }
}

fn own_phone(phone: u32, name: Option<String>, record: &Record) -> PhoneInfo {
    let (udid, product, location, max_packet) = match record {
        Record::Attached { udid, product, location, max_packet } => {
            (udid.clone(), *product, *location, *max_packet)
        }
        _ => (None, None, None, None),
    };
    let place = location.map(|location| ((location >> 16) as u16, location as u8));
    PhoneInfo {
        phone,
        place,
        product: product.map(|product| (VENDOR, product)),
        udid: udid.or(name),
        endpoints: (None, None),
        max_packet,
        found_by: FoundBy::Trace,
    }
}

/// Which of two directions, as an index.
pub(super) const fn index(side: Side) -> usize {
    match side {
        Side::Host => 0,
        Side::Phone => 1,
    }
}
