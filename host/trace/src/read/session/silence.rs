//! SYNs without an answer: when that is too long, what a trace that ends early can tell of them, and which
//! of them the phone never got.

use std::collections::VecDeque;
use std::time::Duration;

use super::numbers::received_after;
use super::{SYN_WAIT, Session, WATCHED};
use crate::read::mark::{Kind, Mark};
use crate::read::model::{Item, Side};
use crate::read::words::seconds;

/// How much of a silence the end of a trace must show, to be the phone's fault: a host that gives up says so
/// with a reset or with nothing at all, and ours does after this time.
const PATIENCE: Duration = Duration::from_millis(4500);

impl Session {
    /// SYNs that have waited for too long by now.
    pub(super) fn silent_syns(&mut self, now: Duration, items: &mut VecDeque<Item>) {
        while let Some(&(ports, conn, since)) = self.opening.front()
            && now.saturating_sub(since) >= SYN_WAIT
        {
            self.opening.pop_front();
            if self.is_due(ports, conn) {
                let text =
                    format!("no answer to the SYN to port {} for {}", ports.1, seconds(SYN_WAIT));
                self.silent(ports, conn, since + SYN_WAIT, text, items);
            }
        }
    }

    /// The trace ends, and nothing tells how much longer the host would have waited.
    pub(super) fn last_syns(&mut self, now: Duration, items: &mut VecDeque<Item>) {
        for (ports, conn, since) in std::mem::take(&mut self.opening) {
            if !self.is_due(ports, conn) {
                continue;
            }
            let waited = now.saturating_sub(since);
            let port = ports.1;
            let text = match waited {
                Duration::ZERO => format!("the SYN to port {port} is the trace's last record"),
                waited => format!(
                    "no answer to the SYN to port {port} in the {} up to the trace's last record",
                    seconds(waited)
                ),
            };
            if waited >= PATIENCE {
                self.silent(ports, conn, now, text, items);
            } else {
                self.facts.open_syns += 1;
                if self.facts.open_syns == 1 {
                    self.facts.open_syn.clone_from(&text);
                }
                self.note(now, Some(conn), Mark::new(Kind::NoAck, Side::Phone, text), items);
            }
        }
    }

    /// Whether an answer to this SYN can be asked of the phone.
    fn is_due(&mut self, ports: (u16, u16), conn: u32) -> bool {
        let connection = self.connections.get(&ports).filter(|known| known.conn() == conn);
        match connection.filter(|known| known.waits_for_answer()).map(|known| known.syn_tx()) {
            Some(tx) => !self.is_lost(tx),
            None => false,
        }
    }

    fn silent(
        &mut self,
        ports: (u16, u16),
        conn: u32,
        at: Duration,
        text: String,
        items: &mut VecDeque<Item>,
    ) {
        let Some(connection) = self.connections.get_mut(&ports) else { return };
        connection.silence_is_told();
        let tx = connection.syn_tx();
        self.remember_silent(tx);
        self.note(at, Some(conn), Mark::new(Kind::SilentConnect, Side::Phone, text), items);
    }

    /// A silent SYN was told of: the phone may yet turn out not to have got it.
    pub(super) fn remember_silent(&mut self, tx: Option<u16>) {
        if self.is_lost(tx) {
            self.facts.lost_syns += 1;
            return;
        }
        if self.silent.len() >= WATCHED {
            self.silent.pop_front();
        }
        self.silent.extend(tx);
    }

    /// The session died: SYNs from the frame on that the phone waited for never reached it.
    pub(super) fn explain_silent(&mut self, expected: u16) {
        let lost = |tx: &&u16| received_after(expected, **tx) >= 0;
        self.facts.lost_syns += self.silent.iter().filter(lost).count() as u64;
        self.silent.clear();
    }

    /// Whether a frame belongs to those that a phone did not take, since its session is dead.
    fn is_lost(&mut self, tx: Option<u16>) -> bool {
        let Some(death) = self.dying() else { return false };
        match (death.numbers, tx) {
            (Some((expected, _)), Some(tx)) => received_after(expected, tx) >= 0,
            _ => true,
        }
    }
}
