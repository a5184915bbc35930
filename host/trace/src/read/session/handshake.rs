//! VERSION and its answer: how a session begins, and what is left of one before.

use std::time::Duration;

use usbmux_core::wire::Version;

use super::{Connection, Death, Link, MOST_REPORTED, STUCK, Session};
use crate::read::mark::{Kind, Mark};
use crate::read::model::{Frame, Side};
use crate::read::words::{plural, seconds};

impl Session {
    pub(super) fn version(&mut self, frame: &Frame, version: Version, marks: &mut Vec<Mark>) {
        let at = frame.at;
        match (frame.from, self.link) {
            (Side::Host, Link::Asked { first, last, tries, told }) => {
                let waited = at.saturating_sub(last);
                if !told && waited >= STUCK {
                    let text = format!(
                        "VERSION again: the phone has not answered for {}",
                        seconds(waited)
                    );
                    marks.push(Mark::new(Kind::SilentVersion, Side::Phone, text));
                }
                self.link = Link::Asked { first, last: at, tries: tries + 1, told: false };
            }
            (Side::Host, link) => {
                if link == Link::Untold && self.sides[0].frames == 1 && self.sides[1].frames > 0 {
                    self.facts.stale = self.sides[1].frames;
                    let count = plural(self.facts.stale, "frame");
                    let text =
                        format!("the phone sent {count} of an older session before anybody asked");
                    marks.push(Mark::new(Kind::StaleSession, Side::Phone, text));
                }
                if matches!(link, Link::Up { .. }) && self.dying().is_none() {
                    let text = "VERSION in the middle of a session: it begins anew";
                    marks.push(Mark::new(Kind::SessionAnew, Side::Host, text));
                }
                self.link = Link::Asked { first: at, last: at, tries: 1, told: false };
            }
            (Side::Phone, link) => {
                if let Link::Asked { first, tries, .. } = link
                    && tries > 1
                {
                    self.unanswered(first, tries - 1, at);
                }
                self.begin(frame, version, marks);
            }
        }
    }

    pub(super) fn unanswered(&mut self, first: Duration, tries: u32, now: Duration) {
        let took = now.saturating_sub(first);
        if took >= STUCK {
            self.facts.unanswered.0 += tries;
            self.facts.unanswered.1 += took;
        }
    }

    /// The phone answered VERSION: everything is new.
    fn begin(&mut self, frame: &Frame, version: Version, marks: &mut Vec<Mark>) {
        if !(1..=2).contains(&version.major) {
            let text = format!("version {}: there are 1 and 2", version.major);
            marks.push(Mark::new(Kind::UnknownVersion, Side::Phone, text));
        }
        if let Some(death) = self.facts.deaths.last_mut()
            && death.repaired.is_none()
        {
            let took = frame.at.saturating_sub(death.at);
            death.repaired = Some(took);
            let text = format!("a new session, {} after the old one died", seconds(took));
            marks.push(Mark::new(Kind::SessionRepaired, Side::Phone, text));
        }
        self.link = Link::Up { major: version.major };
        self.facts.major = Some(version.major);
        self.setup_due = version.major >= 2;
        self.sent.clear();
        self.silent.clear();
        self.told.clear();
        for side in &mut self.sides {
            side.next = Some(0);
            side.last_rx = None;
            side.stuck = 0;
        }
        let mut ended: Vec<_> =
            self.connections.drain().map(|(_, connection)| connection).collect();
        ended.sort_unstable_by_key(Connection::conn);
        for mut connection in ended {
            connection.end_with_session();
            self.retire(&connection);
        }
    }

    pub(super) fn retire(&mut self, connection: &Connection) {
        if self.finished.len() < MOST_REPORTED {
            self.finished.push(connection.report());
        }
    }

    /// A frame of a session that is over: the phone sends it although VERSION waits for its answer.
    pub(super) fn is_stale(&mut self, frame: &Frame, marks: &mut Vec<Mark>) -> bool {
        let Link::Asked { .. } = self.link else { return false };
        if frame.from == Side::Phone {
            self.facts.stale += 1;
            if self.once(Kind::StaleSession) {
                let text = "a frame of an older session: VERSION has no answer yet";
                marks.push(Mark::new(Kind::StaleSession, Side::Phone, text));
            }
        }
        true
    }

    /// The death of this session, if the phone declared it dead.
    pub(super) fn dying(&mut self) -> Option<&mut Death> {
        self.facts.deaths.last_mut().filter(|death| death.repaired.is_none())
    }
}
