//! One phone's cable: frames of both sides in order, the numbers of the mux, the handshake, and the
//! connections. Each direction is judged for itself, from what passed.

mod failure;
mod handshake;
mod headers;
mod numbers;
mod phone_says;
mod ports;
mod silence;

pub(super) use numbers::number;

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::connection::{Connection, ConnectionReport, Segment};
use super::mark::{Kind, Mark};
use super::model::{Body, Frame, Item, Note, Side};
use super::reader::index;
use super::scan::{Found, Piece, RawFrame, Scanner};
use super::words::{in_words, seconds};

/// How long a phone may take to answer VERSION, and a SYN (the engine's own timers).
pub(super) const VERSION_WAIT: Duration = Duration::from_millis(2500);
pub(super) const SYN_WAIT: Duration = Duration::from_secs(5);
/// How long a transfer to the phone may stay on the bus.
pub(super) const OUT_WAIT: Duration = Duration::from_secs(5);
/// How long a full last packet may stay without its zero-length packet.
const ZLP_WAIT: Duration = Duration::from_secs(1);
/// How old a frame must be that the phone ought to know of.
const STUCK: Duration = Duration::from_secs(1);
/// Frames of the host that are remembered, to say which one the phone missed.
const REMEMBERED: usize = 4096;
/// Transfers to the phone and SYNs that are watched at once; beyond, the oldest is not watched.
const WATCHED: usize = 4096;
/// Connections, closed ones among them, from which on the closed ones are forgotten.
const MOST_KEPT: usize = 16_384;
/// Connections that are reported one by one in the end; beyond, they are only counted.
pub(super) const MOST_REPORTED: usize = 65_536;

/// What is known of the version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    /// The trace began later, or nothing was said yet.
    Untold,
    /// VERSION was sent, so often.
    Asked { first: Duration, last: Duration, tries: u32, told: bool },
    /// VERSION was answered.
    Up { major: u32 },
}

/// The numbers of one direction.
#[derive(Debug, Default)]
struct Direction {
    scanner: Scanner,
    frames: u64,
    /// The next frame's tx_seq; none if none is known.
    next: Option<u16>,
    /// The last rx_seq.
    last_rx: Option<u16>,
    /// How many wrong rx_seqs in a row.
    stuck: u32,
}

/// A frame of the host's that went out.
#[derive(Clone, Debug)]
struct Sent {
    tx: u16,
    at: Duration,
    words: String,
}

/// A transfer to the phone that is not done yet.
#[derive(Clone, Debug)]
struct Outgoing {
    id: u64,
    at: Duration,
    words: String,
}

/// The phone said that it takes no more frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Death {
    pub(super) at: Duration,
    /// The number that it waited for, and the one that came.
    pub(super) numbers: Option<(u16, u16)>,
    /// The frame that it waited for, if the host sent it.
    pub(super) missed: Option<String>,
    /// How many frames were sent in vain afterwards.
    pub(super) in_vain: u64,
    /// After which time a new session worked.
    pub(super) repaired: Option<Duration>,
}

/// What is wanted to know about a session in the end.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    pub(super) major: Option<u32>,
    /// VERSIONs without an answer, and how long it took in all.
    pub(super) unanswered: (u32, Duration),
    pub(super) deaths: Vec<Death>,
    pub(super) frames: [u64; 2],
    pub(super) stale: u64,
    /// Silent SYNs that the phone never got: they were sent into a session that died of it.
    pub(super) lost_syns: u64,
    /// SYNs that had no answer when the trace ended, too soon to blame the phone.
    pub(super) open_syns: u64,
    /// What is to be said of the first of them.
    pub(super) open_syn: String,
}

/// Everything about one phone.
#[derive(Debug)]
pub(super) struct Session {
    phone: u32,
    link: Link,
    sides: [Direction; 2],
    connections: HashMap<(u16, u16), Connection>,
    finished: Vec<ConnectionReport>,
    /// SYNs whose answer is awaited.
    opening: VecDeque<((u16, u16), u32, Duration)>,
    /// The numbers of SYNs of this session that were told of as silent.
    silent: VecDeque<u16>,
    sent: VecDeque<Sent>,
    outgoing: VecDeque<Outgoing>,
    /// SETUP ought to be the host's next frame.
    setup_due: bool,
    /// What was said once and need not be again.
    told: Vec<Kind>,
    transfers: u64,
    /// wMaxPacketSize, and the host's last frame if it ended with a full packet (our own traces only).
    max_packet: Option<u16>,
    full: Option<(Duration, usize)>,
    pub(super) facts: Facts,
}

impl Session {
    pub(super) fn new(phone: u32) -> Self {
        Session {
            phone,
            link: Link::Untold,
            sides: [Direction::default(), Direction::default()],
            connections: HashMap::new(),
            finished: Vec::new(),
            opening: VecDeque::new(),
            silent: VecDeque::new(),
            sent: VecDeque::new(),
            outgoing: VecDeque::new(),
            setup_due: false,
            told: Vec::new(),
            transfers: 0,
            max_packet: None,
            full: None,
            facts: Facts::default(),
        }
    }

    /// Takes bytes of one direction; `conns` counts the connections of the whole trace.
    pub(super) fn bytes(
        &mut self,
        from: Side,
        id: u64,
        piece: Piece<'_>,
        conns: &mut u32,
        items: &mut VecDeque<Item>,
    ) {
        self.transfers += 1;
        let piece = Piece { transfer: self.transfers, ..piece };
        let mut found = Vec::new();
        let long = self.long();
        self.sides[index(from)].scanner.take(&piece, long, &mut found);
        let mut words = None;
        for one in found {
            match one {
                Found::Frame(raw) => {
                    let frame = self.frame(raw, from, conns);
                    words = words.or_else(|| Some(in_words(&frame)));
                    items.push_back(Item::Frame(frame));
                }
                Found::Odd { at, kind, text } => {
                    if kind != Kind::NotCaptured || self.once(kind) {
                        self.note(at, None, Mark::new(kind, from, text), items);
                    }
                }
            }
        }
        if from == Side::Host {
            if self.outgoing.len() >= WATCHED {
                self.outgoing.pop_front();
            }
            let words = words.unwrap_or_else(|| match piece.length {
                0 => "a zero-length packet".to_owned(),
                _ => "a part of a frame".to_owned(),
            });
            self.outgoing.push_back(Outgoing { id, at: piece.at, words });
        }
    }

    /// A transfer to the phone is done.
    pub(super) fn out_done(&mut self, id: u64) {
        self.outgoing.retain(|out| out.id != id);
    }

    /// A transfer failed.
    pub(super) fn failed(
        &mut self,
        from: Side,
        id: u64,
        status: i32,
        passed: usize,
        at: Duration,
        items: &mut VecDeque<Item>,
    ) {
        let place = self.outgoing.iter().position(|out| out.id == id);
        let out = place.and_then(|place| self.outgoing.remove(place));
        let what = out.map(|out| out.words).unwrap_or_else(|| "a transfer".to_owned());
        if let Some(mark) = failure::mark(from, status, passed, &what) {
            let once = mark.kind == Kind::Unplugged;
            if !once || self.once(mark.kind) {
                self.note(at, None, mark, items);
            }
        }
    }

    /// What is due by now without anything having happened.
    pub(super) fn clock(&mut self, now: Duration, items: &mut VecDeque<Item>) {
        if let Link::Asked { last, tries, told, .. } = &mut self.link
            && !*told
            && now.saturating_sub(*last) >= VERSION_WAIT
        {
            *told = true;
            let (at, tries) = (*last + VERSION_WAIT, *tries);
            let waited = seconds(VERSION_WAIT);
            let text = match tries {
                1 => format!("no answer to VERSION for {waited}"),
                tries => format!("no answer to VERSION for {waited}, the {} time", ordinal(tries)),
            };
            self.note(at, None, Mark::new(Kind::SilentVersion, Side::Phone, text), items);
        }
        self.silent_syns(now, items);
        while let Some(out) = self.outgoing.front()
            && now.saturating_sub(out.at) >= OUT_WAIT
        {
            let text =
                format!("the phone has not taken this for {}: {}", seconds(OUT_WAIT), out.words);
            let (at, mark) = (out.at + OUT_WAIT, Mark::new(Kind::OutStuck, Side::Phone, text));
            self.outgoing.pop_front();
            self.note(at, None, mark, items);
        }
    }

    /// The trace ends.
    pub(super) fn finish(&mut self, now: Duration, items: &mut VecDeque<Item>) {
        self.clock(now, items);
        for from in [Side::Host, Side::Phone] {
            let scanner = &self.sides[index(from)].scanner;
            if let Some(since) = scanner.waits_for_zlp_since()
                && now.saturating_sub(since) >= ZLP_WAIT
            {
                let mark = Mark::new(Kind::MissingZlp, from, scanner.no_zlp_text());
                self.note(since + ZLP_WAIT, None, mark, items);
            }
        }
        if let Link::Asked { first, last, tries, .. } = self.link {
            self.unanswered(first, tries, now.min(last + VERSION_WAIT));
        }
        let slow = |connection: &Connection| {
            let (since, count) = connection.unacknowledged()?;
            let waited = now.saturating_sub(since);
            (waited >= STUCK).then(|| (connection.conn(), waited, count))
        };
        let mut slow: Vec<_> = self.connections.values().filter_map(slow).collect();
        slow.sort_unstable();
        for (conn, waited, count) in slow {
            let count = super::words::bytes(count.unsigned_abs() as usize);
            let waited = seconds(waited);
            let text = format!(
                "{count} to the phone were never acknowledged, for {waited} until the trace ended: its program does \
                 not read, or their transfer was lost"
            );
            self.note(now, Some(conn), Mark::new(Kind::NoAck, Side::Phone, text), items);
        }
        self.last_syns(now, items);
    }

    /// All connections, those that ended first.
    pub(super) fn connections(&self) -> impl Iterator<Item = ConnectionReport> {
        let open = self.connections.values().map(Connection::report);
        self.finished.iter().cloned().chain(open)
    }

    // ---- from our own traces, where frames come whole -----------------------------------------

    /// Takes a frame of either side.
    pub(super) fn own_frame(
        &mut self,
        raw: RawFrame,
        from: Side,
        conns: &mut u32,
        items: &mut VecDeque<Item>,
    ) {
        if from == Side::Host
            && let Some((at, length)) = self.full.take()
        {
            let text = format!(
                "no zero-length packet follows the frame of {length} bytes, which ends with a full packet"
            );
            self.note(at, None, Mark::new(Kind::MissingZlp, from, text), items);
        }
        let is_full =
            self.max_packet.is_some_and(|full| raw.length.is_multiple_of(usize::from(full)));
        if from == Side::Host && is_full {
            self.full = Some((raw.at, raw.length));
        }
        let frame = self.frame(raw, from, conns);
        items.push_back(Item::Frame(frame));
    }

    /// A zero-length packet.
    pub(super) fn own_zlp(&mut self, from: Side) {
        if from == Side::Host {
            self.full = None;
        }
    }

    /// How long the packets are.
    pub(super) fn own_packets(&mut self, max_packet: Option<u16>) {
        self.max_packet = max_packet.filter(|bytes| *bytes > 0);
    }

    /// Something is missing here: the next numbers are taken as they come.
    pub(super) fn forget_numbers(&mut self) {
        for side in &mut self.sides {
            side.next = None;
            side.last_rx = None;
        }
        self.sent.clear();
        self.full = None;
        for connection in self.connections.values_mut() {
            connection.forget_numbers();
        }
    }

    /// Something from outside of frames, which the trace tells.
    pub(super) fn note(
        &mut self,
        at: Duration,
        conn: Option<u32>,
        mark: Mark,
        items: &mut VecDeque<Item>,
    ) {
        items.push_back(Item::Note(Note { phone: self.phone, at, conn, mark }));
    }

    /// Whether headers are known to be long.
    fn long(&self) -> Option<bool> {
        match self.link {
            Link::Up { major } => Some(major >= 2),
            _ => None,
        }
    }

    /// Whether something is said for the first time.
    fn once(&mut self, kind: Kind) -> bool {
        let first = !self.told.contains(&kind);
        if first {
            self.told.push(kind);
        }
        first
    }

    /// Takes a frame: reads its headers, and checks all that they say.
    pub(super) fn frame(&mut self, raw: RawFrame, from: Side, conns: &mut u32) -> Frame {
        let mut frame = headers::parse(self.phone, self.long(), raw, from);
        let began = self.link == Link::Untold && self.sides.iter().all(|side| side.frames == 0);
        self.sides[index(from)].frames += 1;
        self.facts.frames[index(from)] += 1;
        let mut marks = std::mem::take(&mut frame.marks);
        match frame.body.clone() {
            Body::Version(version) => self.version(&frame, version, &mut marks),
            body => {
                if began {
                    let text = "the trace begins in the middle of a session";
                    marks.push(Mark::new(Kind::Midway, None, text));
                }
                let is_stale = self.is_stale(&frame, &mut marks);
                if !is_stale {
                    self.numbers(&frame, &mut marks);
                }
                match body {
                    Body::Control { kind, text } => self.control(&frame, kind, &text, &mut marks),
                    Body::Segment { tcp, payload, text, .. } if !is_stale => {
                        let (rx, tx) = match frame.numbers {
                            Some(numbers) => (numbers.rx_seq, numbers.tx_seq),
                            None => (0, 0),
                        };
                        let numbers = frame.numbers.map(|_| (tx, rx));
                        let (at, text) = (frame.at, text.as_str());
                        let segment = Segment { at, from, tcp, payload, text, numbers };
                        let conn = self.segment(&segment, conns, &mut marks);
                        if let Body::Segment { conn: place, .. } = &mut frame.body {
                            *place = conn;
                        }
                    }
                    _ => {}
                }
            }
        }
        if from == Side::Host {
            self.remember(&frame);
        }
        frame.marks = marks;
        frame
    }
}

fn ordinal(count: u32) -> String {
    match count {
        2 => "2nd".to_owned(),
        3 => "3rd".to_owned(),
        count => format!("{count}th"),
    }
}
