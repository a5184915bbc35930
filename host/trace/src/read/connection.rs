//! One connection: what both sides said about it, checked against each other. Everything is judged from
//! what passed, never from what an engine would do.

use std::time::Duration;

use usbmux_core::seq::SeqNumber;
use usbmux_core::wire::control::is_ordinary_close;
use usbmux_core::wire::{Flags, TcpHeader};

use super::mark::{Kind, Mark};
use super::model::Side;
use super::reader::index;
use super::words::{bytes, seconds};

/// How long the other side may not know of a reset, where its numbers do not tell.
const CROSSING: Duration = Duration::from_millis(100);
/// How soon the same two ports may be used again.
pub(super) const REST: Duration = Duration::from_secs(2);
/// From when on an acknowledgement is slow.
pub(super) const SLOW_ACK: Duration = Duration::from_secs(5);

/// A segment on its way into a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment<'t> {
    pub(super) at: Duration,
    pub(super) from: Side,
    pub(super) tcp: TcpHeader,
    /// Bytes of payload.
    pub(super) payload: usize,
    /// Of a reset.
    pub(super) text: &'t str,
    /// Its frame's numbers, tx and rx.
    pub(super) numbers: Option<(u16, u16)>,
}

/// How a connection came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opened {
    /// SYN and SYN|ACK.
    Handshake,
    /// Its SYN was not answered with SYN|ACK.
    Never,
    /// Before the trace began.
    Earlier,
}

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It is still there when the trace ends.
    Open,
    /// Its SYN was answered with a reset.
    Refused(String),
    /// A side reset it, with what it said.
    Reset(Side, String),
    /// The session ended under it.
    Session,
}

/// What is known of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionReport {
    /// Its number in this trace, from 1.
    pub conn: u32,
    /// Whose cable.
    pub phone: u32,
    /// The host's port and the phone's.
    pub ports: (u16, u16),
    /// When its first segment passed, and the last.
    pub times: (Duration, Duration),
    /// How it began.
    pub opened: Opened,
    /// How it ended.
    pub ended: Ended,
    /// Bytes of payload of host and phone.
    pub bytes: [u64; 2],
    /// Segments of host and phone.
    pub segments: [u64; 2],
    /// The longest time between two of its segments.
    pub longest_silence: Duration,
    /// How long the phone took to acknowledge: shortest, mean, longest; none if it never had to.
    pub round_trip: Option<[Duration; 3]>,
    /// Violations on it.
    pub violations: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    SynSent,
    SynReceived,
    Open,
    Closed { by: Side, at: Duration, tx: Option<u16> },
}

/// What one side has said.
#[derive(Clone, Copy, Debug, Default)]
struct Half {
    /// Number of its next byte.
    next: Option<SeqNumber>,
    /// What it acknowledged.
    acked: Option<SeqNumber>,
    /// The end of what it lets in: the largest sum of acknowledgement and window.
    edge: Option<SeqNumber>,
    /// Its last announced window.
    window: u32,
    /// The first byte after some that wait for an acknowledgement, and since when.
    waits: Option<(SeqNumber, Duration)>,
}

#[derive(Debug)]
pub(super) struct Connection {
    report: ConnectionReport,
    state: State,
    halves: [Half; 2],
    round_trips: (u32, Duration),
    /// The number of the frame with its SYN.
    syn_tx: Option<u16>,
    /// It was said that its SYN has no answer.
    silence_told: bool,
}

impl Connection {
    /// A connection whose first segment is this one.
    pub(super) fn new(conn: u32, phone: u32, ports: (u16, u16), first: &Segment<'_>) -> Self {
        let is_syn = first.tcp.flags == Flags::SYN;
        let report = ConnectionReport {
            conn,
            phone,
            ports,
            times: (first.at, first.at),
            opened: if is_syn { Opened::Never } else { Opened::Earlier },
            ended: Ended::Open,
            bytes: [0; 2],
            segments: [0; 2],
            longest_silence: Duration::ZERO,
            round_trip: None,
            violations: 0,
        };
        Connection {
            report,
            state: if is_syn { State::SynSent } else { State::Open },
            halves: [Half::default(); 2],
            round_trips: (0, Duration::ZERO),
            syn_tx: first.numbers.map(|(tx, _)| tx).filter(|_| is_syn),
            silence_told: false,
        }
    }

    pub(super) fn conn(&self) -> u32 {
        self.report.conn
    }

    pub(super) fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed { .. })
    }

    pub(super) fn closed_at(&self) -> Option<Duration> {
        match self.state {
            State::Closed { at, .. } => Some(at),
            _ => None,
        }
    }

    /// Whether its SYN has no answer yet.
    pub(super) fn waits_for_answer(&self) -> bool {
        self.state == State::SynSent
    }

    /// Since when payload of the host waits for an acknowledgement, and how much.
    pub(super) fn unacknowledged(&self) -> Option<(Duration, i32)> {
        if self.is_closed() {
            return None;
        }
        let (host, phone) = (&self.halves[0], &self.halves[1]);
        let (_, since) = host.waits?;
        Some((since, host.next?.since(phone.acked?)))
    }

    /// The number of the frame with its SYN; none in version 1, or if the trace began later.
    pub(super) fn syn_tx(&self) -> Option<u16> {
        self.syn_tx
    }

    /// Its SYN has no answer, and that was said.
    pub(super) fn silence_is_told(&mut self) {
        self.silence_told = true;
        self.report.violations += 1;
    }

    /// The session ended under it.
    pub(super) fn end_with_session(&mut self) {
        if !self.is_closed() {
            self.report.ended = Ended::Session;
        }
    }

    /// Segments are missing here: the next numbers are taken as they come.
    pub(super) fn forget_numbers(&mut self) {
        self.halves = [Half::default(); 2];
        if !self.is_closed() {
            self.state = State::Open;
        }
    }

    pub(super) fn report(&self) -> ConnectionReport {
        self.report.clone()
    }

    /// Takes a segment; returns what is to be said about it.
    pub(super) fn take(&mut self, segment: &Segment<'_>) -> Vec<Mark> {
        let mut marks = Vec::new();
        let before = self.report.times.1;
        self.report.times.1 = segment.at;
        let silence = segment.at.saturating_sub(before);
        self.report.longest_silence = self.report.longest_silence.max(silence);
        self.report.segments[index(segment.from)] += 1;
        let flags = segment.tcp.flags;
        if let State::Closed { by, at, tx } = self.state {
            marks.extend(after_the_end(segment, by, at, tx));
        } else if flags.contains(Flags::RST) {
            self.reset(segment, &mut marks);
        } else if flags == Flags::SYN {
            self.syn(segment, &mut marks);
        } else if flags == Flags::SYN | Flags::ACK {
            self.syn_ack(segment, &mut marks);
        } else {
            self.data(segment, &mut marks);
        }
        let violations = marks.iter().filter(|mark| mark.is_violation()).count();
        self.report.violations += violations as u64;
        marks
    }

    fn syn(&mut self, segment: &Segment<'_>, marks: &mut Vec<Mark>) {
        let Segment { from, tcp, .. } = *segment;
        if from == Side::Phone {
            marks.push(Mark::new(Kind::BadFlags, from, "a SYN of the phone's: it never opens one"));
            return;
        }
        let half = &mut self.halves[index(from)];
        half.next = Some(tcp.seq.plus(1));
        half.window = tcp.window();
        if segment.payload > 0 {
            marks.push(Mark::new(Kind::BadFlags, from, "a SYN with payload"));
        }
    }

    fn syn_ack(&mut self, segment: &Segment<'_>, marks: &mut Vec<Mark>) {
        let Segment { from, tcp, .. } = *segment;
        // Its SYN may have been before the trace.
        let is_first = self.report.opened == Opened::Earlier && self.report.segments == [0, 1];
        if from == Side::Host || self.state != State::SynSent && !is_first {
            let text = "a SYN|ACK that answers no SYN";
            marks.push(Mark::new(Kind::BadFlags, from, text));
            return;
        }
        self.state = State::SynReceived;
        self.report.opened = Opened::Handshake;
        if let Some(next) = self.halves[0].next
            && next != tcp.ack
        {
            let text = format!("it acknowledges {}, but the SYN asked for {next}", tcp.ack);
            marks.push(Mark::new(Kind::AckBeyond, from, text));
        }
        let first = tcp.seq.plus(1);
        self.halves[0].acked = Some(first);
        self.halves[0].edge = Some(first.plus(self.halves[0].window));
        let phone = &mut self.halves[1];
        phone.next = Some(first);
        phone.acked = Some(tcp.ack);
        phone.window = tcp.window();
        phone.edge = Some(tcp.ack.plus(tcp.window()));
    }

    fn reset(&mut self, segment: &Segment<'_>, marks: &mut Vec<Mark>) {
        let Segment { at, from, text, .. } = *segment;
        let refused = self.state == State::SynSent;
        let said = if text.is_empty() { String::new() } else { format!(": \"{text}\"") };
        match from {
            Side::Phone if refused => {
                let port = self.report.ports.1;
                let text = format!("port {port} of the phone refused");
                marks.push(Mark::new(Kind::Refused, from, text));
            }
            Side::Phone if !is_ordinary_close(text.as_bytes()) => {
                let text = format!("the phone broke the connection off{said}");
                marks.push(Mark::new(Kind::BrokenOff, from, text));
            }
            Side::Phone => {}
            Side::Host if refused && self.silence_told => {}
            Side::Host if refused => {
                let waited = seconds(at.saturating_sub(self.report.times.0));
                let text =
                    format!("the host gave up: the phone did not answer the SYN for {waited}");
                marks.push(Mark::new(Kind::SilentConnect, Side::Phone, text));
            }
            Side::Host => {
                let open = self.unacknowledged().map_or(0, |(_, count)| count);
                if open > 0 {
                    let text = format!(
                        "{} to the phone were not acknowledged yet: a reset makes it drop what its \
                         program has not read",
                        bytes(open as usize)
                    );
                    marks.push(Mark::new(Kind::ResetInFlight, from, text));
                }
            }
        }
        self.report.ended = match refused && from == Side::Phone {
            true => Ended::Refused(text.to_owned()),
            false => Ended::Reset(from, text.to_owned()),
        };
        self.state = State::Closed { by: from, at, tx: segment.numbers.map(|(tx, _)| tx) };
    }

    fn data(&mut self, segment: &Segment<'_>, marks: &mut Vec<Mark>) {
        let Segment { from, tcp, .. } = *segment;
        if tcp.flags != Flags::ACK {
            let what = match from {
                Side::Host => "a phone answers anything but ACK with a reset",
                Side::Phone => "only ACK is in use",
            };
            let text = format!("flags {} ({:#04x}): {what}", tcp.flags, tcp.flags.0);
            marks.push(Mark::new(Kind::BadFlags, from, text));
        }
        match (self.state, from) {
            (State::SynSent, _) => {
                let text = "the connection is not open: its SYN has no answer yet";
                marks.push(Mark::new(Kind::NotOpen, from, text));
                return;
            }
            (State::SynReceived, Side::Host) => self.state = State::Open,
            _ => {}
        }
        self.acknowledge(segment, marks);
        self.payload(segment, marks);
    }

    /// What a segment says about the other side's bytes.
    fn acknowledge(&mut self, segment: &Segment<'_>, marks: &mut Vec<Mark>) {
        let Segment { at, from, tcp, .. } = *segment;
        let other = &mut self.halves[index(from.other())];
        if let Some(next) = other.next
            && tcp.ack.since(next) > 0
        {
            let beyond = bytes(tcp.ack.since(next) as usize);
            let text = format!("it acknowledges {beyond} that the {} never sent", from.other());
            marks.push(Mark::new(Kind::AckBeyond, from, text));
        }
        if let Some((end, since)) = other.waits
            && tcp.ack.since(end) >= 0
        {
            other.waits = other.next.filter(|next| tcp.ack.since(*next) < 0).map(|next| (next, at));
            if from == Side::Phone {
                self.round_trip(at.saturating_sub(since), marks);
            }
        }
        let half = &mut self.halves[index(from)];
        if let Some(acked) = half.acked
            && tcp.ack.since(acked) < 0
        {
            let back = bytes(acked.since(tcp.ack) as usize);
            let text = format!("it takes back the acknowledgement of {back}");
            marks.push(Mark::new(Kind::AckBack, from, text));
        }
        let edge = tcp.ack.plus(tcp.window());
        half.acked = Some(tcp.ack);
        half.window = tcp.window();
        // What was let in once stays so: an edge may fall back while bytes are under way.
        half.edge = Some(half.edge.filter(|known| known.since(edge) > 0).unwrap_or(edge));
    }

    fn payload(&mut self, segment: &Segment<'_>, marks: &mut Vec<Mark>) {
        let Segment { at, from, tcp, payload, .. } = *segment;
        let edge = self.halves[index(from.other())].edge;
        let window = self.halves[index(from.other())].window;
        let half = &mut self.halves[index(from)];
        if let Some(next) = half.next {
            let gap = tcp.seq.since(next);
            if gap > 0 {
                let text = format!("{} are missing: seq {next} was due", bytes(gap as usize));
                marks.push(Mark::new(Kind::SeqGap, from, text));
            } else if gap < 0 {
                let text = format!(
                    "{} come again: seq {next} was due",
                    bytes(gap.unsigned_abs() as usize)
                );
                marks.push(Mark::new(Kind::SeqRepeat, from, text));
            }
        }
        let end = tcp.seq.plus(payload as u32);
        half.next = Some(end);
        if payload == 0 {
            return;
        }
        self.report.bytes[index(from)] += payload as u64;
        half.waits.get_or_insert((end, at));
        if let Some(edge) = edge
            && end.since(edge) > 0
        {
            let beyond = bytes(end.since(edge) as usize);
            let text = format!(
                "{beyond} more than the {} let in: it allows up to seq {edge} (window {window}), \
                 and this ends at {end}",
                from.other()
            );
            marks.push(Mark::new(Kind::Overrun, from, text));
        }
    }

    fn round_trip(&mut self, took: Duration, marks: &mut Vec<Mark>) {
        if took >= SLOW_ACK {
            let text = format!(
                "acknowledged after {}: the phone's program was slow to read",
                seconds(took)
            );
            marks.push(Mark::new(Kind::SlowAck, Side::Phone, text));
        }
        let (count, sum) = &mut self.round_trips;
        *count = count.saturating_add(1);
        *sum += took;
        let mean = *sum / *count;
        let [least, _, most] = self.report.round_trip.unwrap_or([took; 3]);
        self.report.round_trip = Some([least.min(took), mean, most.max(took)]);
    }
}

/// A segment after a reset: its sender may not have known yet.
fn after_the_end(segment: &Segment<'_>, by: Side, at: Duration, tx: Option<u16>) -> Option<Mark> {
    let Segment { from, tcp, .. } = *segment;
    if tcp.flags.contains(Flags::RST) {
        return None;
    }
    let rx = segment.numbers.map(|(_, rx)| rx);
    let knew = match (from, rx, tx) {
        _ if from == by => true,
        // A phone tells which frame it accepted last; a host's word is not worth much.
        (Side::Phone, Some(rx), Some(tx)) => rx.wrapping_sub(tx).cast_signed() >= 0,
        _ => segment.at.saturating_sub(at) > CROSSING,
    };
    let text = match from == by {
        true => format!("the {from} closed this connection itself"),
        false => format!(
            "the {by} reset this connection {} before",
            seconds(segment.at.saturating_sub(at))
        ),
    };
    knew.then(|| Mark::new(Kind::Closed, from, text))
}
