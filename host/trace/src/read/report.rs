//! What is left of a trace in the end: who was there, what was wrong, and in one or two sentences why.

use std::collections::BTreeMap;
use std::time::Duration;

use super::connection::{ConnectionReport, Ended};
use super::mark::{Kind, Mark};
use super::model::{Item, PhoneInfo, Side};
use super::reader::index;
use super::session::{Death, Facts};
use super::words::{plural, seconds};

/// A trace in the end.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Report {
    /// The phones, in the order in which they came.
    pub phones: Vec<PhoneReport>,
    /// Connections, in the order of their numbers; of very many, not all.
    pub connections: Vec<ConnectionReport>,
    /// Violations in all.
    pub violations: u64,
    /// Packets of the file.
    pub packets: u64,
    /// Packets that were lost in capturing.
    pub lost: u64,
    /// Devices that a capture of USB shows.
    pub devices: usize,
    /// From the first packet to the last.
    pub length: Duration,
    /// What is wrong, in plain words; if nothing is, that.
    pub diagnosis: Vec<String>,
}

impl Report {
    /// Adds what is to be said about the trace as a whole.
    pub(super) fn conclude(&mut self) {
        if self.phones.is_empty() {
            self.diagnosis.push(format!(
                "No usbmux frame is in this trace ({} of {}): was the bus of the phone captured, and was there \
                 a program that talked to it?",
                plural(self.packets, "packet"),
                plural(self.devices as u64, "device")
            ));
        }
        if self.lost > 0 {
            self.diagnosis.push(format!(
                "The capture itself lost {}: gaps may come from that. A larger buffer helps (dumpcap -B 64).",
                plural(self.lost, "packet")
            ));
        }
    }

    /// Whether frames were found and nothing is wrong with them.
    pub fn is_sound(&self) -> bool {
        self.violations == 0 && !self.phones.is_empty()
    }
}

/// A phone in the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PhoneReport {
    /// Who it is.
    pub info: PhoneInfo,
    /// The version that it answered; none if it answered none in this trace.
    pub major: Option<u32>,
    /// Frames of host and phone.
    pub frames: [u64; 2],
    /// How many marks of each kind there were.
    pub marks: BTreeMap<Kind, u64>,
}

/// Marks as they come by.
#[derive(Debug, Default)]
pub(super) struct Tally {
    phones: Vec<Phone>,
    pub(super) violations: u64,
}

#[derive(Debug)]
struct Phone {
    info: PhoneInfo,
    seen: BTreeMap<Kind, Seen>,
}

/// The first mark of a kind, and how many there were.
#[derive(Clone, Debug)]
struct Seen {
    count: u64,
    at: Duration,
    conn: Option<u32>,
    mark: Mark,
}

impl Tally {
    pub(super) fn see(&mut self, item: &Item) {
        match item {
            Item::Phone(info) => {
                self.phones.push(Phone { info: info.clone(), seen: BTreeMap::new() });
            }
            Item::Frame(frame) => {
                let conn = match &frame.body {
                    super::model::Body::Segment { conn, .. } => *conn,
                    _ => None,
                };
                for mark in &frame.marks {
                    self.mark(frame.phone, frame.at, conn, mark);
                }
            }
            Item::Note(note) => self.mark(note.phone, note.at, note.conn, &note.mark),
        }
    }

    fn mark(&mut self, phone: u32, at: Duration, conn: Option<u32>, mark: &Mark) {
        self.violations += u64::from(mark.is_violation());
        let Some(phone) = self.phones.iter_mut().find(|known| known.info.phone == phone) else {
            return;
        };
        let seen = || Seen { count: 0, at, conn, mark: mark.clone() };
        phone.seen.entry(mark.kind).or_insert_with(seen).count += 1;
    }

    /// The report, from what the sessions know besides.
    pub(super) fn report(
        &self,
        facts: &dyn Fn(u32) -> Facts,
        connections: &[ConnectionReport],
    ) -> Report {
        let mut report = Report { violations: self.violations, ..Report::default() };
        let several = self.phones.len() > 1;
        for phone in &self.phones {
            let facts = facts(phone.info.phone);
            let own: Vec<&ConnectionReport> =
                connections.iter().filter(|one| one.phone == phone.info.phone).collect();
            let lines = phone.diagnose(&facts, &own);
            let name = format!("phone {}: ", phone.info.phone);
            let name = if several { name.as_str() } else { "" };
            report.diagnosis.extend(lines.into_iter().map(|line| format!("{name}{line}")));
            report.phones.push(PhoneReport {
                info: phone.info.clone(),
                major: facts.major,
                frames: facts.frames,
                marks: phone.seen.iter().map(|(kind, seen)| (*kind, seen.count)).collect(),
            });
        }
        report.connections = connections.to_vec();
        report
    }
}

/// Sentences of a diagnosis, at most.
const MOST_SENTENCES: usize = 3;

impl Phone {
    fn diagnose(&self, facts: &Facts, connections: &[&ConnectionReport]) -> Vec<String> {
        let mut lines = Vec::new();
        let mut explained: Vec<Kind> = Vec::new();
        for (kinds, sentence) in self.causes(facts, connections) {
            lines.extend(sentence);
            explained.extend(kinds);
        }
        let others =
            self.seen.iter().filter(|(kind, _)| kind.is_violation() && !explained.contains(kind));
        for (kind, seen) in others {
            lines.push(in_general(*kind, seen));
        }
        if lines.len() > MOST_SENTENCES {
            let more = match lines.len() - MOST_SENTENCES {
                1 => "one other kind of violation".to_owned(),
                more => format!("{more} other kinds of violations"),
            };
            lines.truncate(MOST_SENTENCES);
            lines.push(format!("And {more}."));
        }
        let open = (facts.open_syns > 0).then(|| no_answer(facts));
        if lines.is_empty() {
            let what = if open.is_some() { "Nothing else is wrong" } else { "Nothing is wrong" };
            lines.extend(open);
            lines.push(format!("{what}: {}", self.all_in_all(facts, connections)));
            lines.extend(self.no_ack(facts));
        } else {
            lines.extend(open);
        }
        lines
    }

    /// What explains other things as well, most telling first, with the kinds that it explains; some need no
    /// sentence of their own.
    fn causes(
        &self,
        facts: &Facts,
        connections: &[&ConnectionReport],
    ) -> Vec<(Vec<Kind>, Option<String>)> {
        let mut causes = Vec::new();
        if let Some(seen) = self.seen.get(&Kind::MissingZlp) {
            let mut kinds =
                vec![Kind::MissingZlp, Kind::PhoneComplains, Kind::SessionDead, Kind::RxStuck];
            kinds.extend([Kind::Stall, Kind::OutStuck]);
            causes.push((kinds, Some(self.missing_zlp(seen, facts))));
        } else if let Some(death) = facts.deaths.first() {
            let kinds = vec![Kind::SessionDead, Kind::RxStuck, Kind::TxGap];
            causes.push((kinds, Some(self.death(death, facts.deaths.len()))));
        }
        if facts.stale > 0 && self.seen.contains_key(&Kind::StaleSession) {
            let kinds =
                vec![Kind::StaleSession, Kind::SilentVersion, Kind::NoConnection, Kind::TxGap];
            causes.push((kinds, Some(stale(facts))));
        } else if let Some(seen) = self.seen.get(&Kind::SilentVersion) {
            causes.push((vec![Kind::SilentVersion], Some(silent_version(facts, seen))));
        }
        if let Some(seen) = self.seen.get(&Kind::Overrun) {
            causes.push((vec![Kind::Overrun], Some(overrun(seen, connections))));
        }
        if let Some(seen) = self.seen.get(&Kind::TrailingBytes) {
            causes.push((vec![Kind::TrailingBytes], Some(trailing(seen, facts))));
        }
        if let Some(seen) = self.seen.get(&Kind::SilentConnect) {
            causes.push((vec![Kind::SilentConnect], silent_connect(facts, seen)));
        }
        causes
    }

    fn missing_zlp(&self, seen: &Seen, facts: &Facts) -> String {
        let who = seen.mark.by.map_or("host", Side::name);
        let other = seen.mark.by.map_or("phone", |side| side.other().name());
        let complaint = match self.seen.get(&Kind::PhoneComplains) {
            Some(_) => " The phone complains of the length.",
            None => "",
        };
        let death = match facts.deaths.first() {
            Some(death) => {
                format!(" The phone reports a duplicate packet.{}", afterwards(death))
            }
            None => String::new(),
        };
        format!(
            "The {who} leaves out the zero-length packet after frames that end with a full packet ({} times, \
             first at {} s): the {other} takes the next frame for a part of them.{complaint}{death}",
            seen.count,
            secs(seen.at)
        )
    }

    fn death(&self, death: &Death, deaths: usize) -> String {
        let what = match (death.numbers, &death.missed) {
            (Some((expected, _)), Some(missed)) => format!(
                "The phone reports a duplicate packet after frame {}: the transfer with frame {expected} \
                 ({missed}) was lost on its way, though the host sent it.",
                expected.wrapping_sub(1)
            ),
            (Some((expected, received)), None) if self.seen.contains_key(&Kind::TxGap) => format!(
                "The phone reports a duplicate packet: it waited for frame {expected}, and the host's own \
                 numbering went to {received}."
            ),
            (Some((expected, received)), None) => format!(
                "The phone reports a duplicate packet: it waited for frame {expected} and got {received}."
            ),
            (None, _) => "The phone reports a duplicate packet.".to_owned(),
        };
        let then = afterwards(death);
        let again =
            if deaths > 1 { format!(" That happened {deaths} times.") } else { String::new() };
        format!("{what}{then}{again}")
    }

    /// Payload without an acknowledgement in the end; SYNs come after it.
    fn no_ack(&self, facts: &Facts) -> Option<String> {
        let seen = self.seen.get(&Kind::NoAck)?;
        let count = seen.count.saturating_sub(facts.open_syns);
        (count > 0).then(|| in_general(Kind::NoAck, &Seen { count, ..seen.clone() }))
    }

    /// How much a phone and its host said.
    fn all_in_all(&self, facts: &Facts, connections: &[&ConnectionReport]) -> String {
        let version = match facts.major {
            Some(1) => "version 1 (no frame numbers), ".to_owned(),
            Some(major) => format!("version {major}, "),
            None => "a session that began before, ".to_owned(),
        };
        let refused =
            connections.iter().filter(|one| matches!(one.ended, Ended::Refused(_))).count();
        let refused = match refused {
            0 => String::new(),
            refused => format!(" ({refused} refused)"),
        };
        format!(
            "{version}{}{refused}, {} of the host and {} of the phone.",
            plural(connections.len() as u64, "connection"),
            plural(facts.frames[0], "frame"),
            facts.frames[1],
        )
    }
}

/// What became of a session after the phone declared it dead.
fn afterwards(death: &Death) -> String {
    match death.repaired {
        Some(took) => format!(" A new session worked {} later.", seconds(took)),
        None if death.in_vain > 0 => format!(
            " The session is dead, and {} sent in vain after it: it takes a new VERSION, or a replug.",
            match death.in_vain {
                1 => "one frame was".to_owned(),
                count => format!("{count} frames were"),
            }
        ),
        None => " The session is dead: it takes a new VERSION, or a replug.".to_owned(),
    }
}

fn secs(at: Duration) -> String {
    format!("{:.6}", at.as_secs_f64())
}

fn stale(facts: &Facts) -> String {
    let then = match facts.major {
        Some(_) => "VERSION was answered in the end.",
        None => "VERSION was never answered.",
    };
    let verb = if facts.stale == 1 { "was" } else { "were" };
    format!(
        "The phone was still in an older session, whose host had gone without an end: {} of it {verb} sent \
         before VERSION was answered, and must be dropped. {then}",
        plural(facts.stale, "frame")
    )
}

fn silent_version(facts: &Facts, seen: &Seen) -> String {
    let (tries, took) = facts.unanswered;
    let tries = u64::from(tries).max(seen.count);
    match facts.major {
        None => format!(
            "The phone answers no VERSION: {} in {} were in vain. It is deaf until its port is reset or it is \
             replugged.",
            tries_in_words(tries),
            seconds(took)
        ),
        Some(_) => format!(
            "The phone did not answer VERSION at once: {} in {} in vain, then an answer.",
            tries_in_words(tries),
            seconds(took)
        ),
    }
}

fn tries_in_words(tries: u64) -> String {
    match tries {
        1 => "one try".to_owned(),
        tries => format!("{tries} tries"),
    }
}

/// Nothing, if the phone got none of the SYNs.
fn silent_connect(facts: &Facts, seen: &Seen) -> Option<String> {
    let count = seen.count.saturating_sub(facts.lost_syns);
    let first = match facts.lost_syns {
        0 => format!(" (first: {})", seen.mark.text),
        // The first one may be among those that were lost.
        _ => String::new(),
    };
    let syns = plural(count, "SYN");
    (count > 0).then(|| {
        format!("The phone neither accepts nor refuses connections: {syns} had no answer{first}.")
    })
}

fn no_answer(facts: &Facts) -> String {
    let first = if facts.open_syns > 1 { "first: " } else { "" };
    let syns = match facts.open_syns {
        1 => "One SYN".to_owned(),
        count => format!("{count} SYNs"),
    };
    format!(
        "{syns} had no answer before the trace ended ({first}{}): whether the phone was silent, or the trace \
         was ended too soon, cannot be told from it.",
        facts.open_syn
    )
}

fn overrun(seen: &Seen, connections: &[&ConnectionReport]) -> String {
    let who = seen.mark.by.unwrap_or(Side::Phone);
    let conn = seen.conn.map_or(String::new(), |conn| format!(" on #{conn}"));
    let ended = connections.iter().find(|one| Some(one.conn) == seen.conn).map(|one| &one.ended);
    // After a reset no window is judged: it came later.
    let then = match ended {
        Some(Ended::Reset(side, _)) => format!("The {side} then reset the connection."),
        Some(Ended::Session) => "The connection then ended with its session.".to_owned(),
        Some(Ended::Open) => "The connection was still open when the trace ended.".to_owned(),
        Some(Ended::Refused(_)) | None => {
            "Bytes that find no room are lost, or the connection is.".to_owned()
        }
    };
    format!(
        "The {who} sends more than the {}'s window lets in: {}{conn}, first at {} s. {then}",
        who.other(),
        plural(seen.count, "time"),
        secs(seen.at)
    )
}

fn trailing(seen: &Seen, facts: &Facts) -> String {
    let who = seen.mark.by.unwrap_or(Side::Phone);
    format!(
        "The {who} appends bytes to {} of its {} (first at {} s: {}). Who reads by the length field alone \
         takes them for the next frame.",
        seen.count,
        plural(facts.frames[index(who)], "frame"),
        secs(seen.at),
        seen.mark.text
    )
}

/// A kind that nothing else explains.
fn in_general(kind: Kind, seen: &Seen) -> String {
    let conn = seen.conn.map_or(String::new(), |conn| format!(", #{conn}"));
    let often = match seen.count {
        1 => "at".to_owned(),
        count => format!("{count} times, first at"),
    };
    let text = match (seen.mark.text.strip_prefix("the "), seen.mark.by) {
        (Some(rest), _) => format!("The {rest}"),
        (None, Some(side)) if kind.is_violation() => format!("The {side}: {}", seen.mark.text),
        (None, _) => format!("But {}", seen.mark.text),
    };
    format!("{text} ({kind}{conn}, {often} {} s).", secs(seen.at))
}
