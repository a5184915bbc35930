//! Which connection a segment belongs to.

use std::time::Duration;

use usbmux_core::wire::Flags;

use super::{Connection, MOST_KEPT, Segment, Session, WATCHED};
use crate::read::connection::REST;
use crate::read::mark::{Kind, Mark};
use crate::read::model::Side;
use crate::read::words::seconds;

impl Session {
    pub(super) fn segment(
        &mut self,
        segment: &Segment<'_>,
        conns: &mut u32,
        marks: &mut Vec<Mark>,
    ) -> Option<u32> {
        let Segment { at, from, tcp, .. } = *segment;
        let ports = match from {
            Side::Host => (tcp.source, tcp.dest),
            Side::Phone => (tcp.dest, tcp.source),
        };
        let is_syn = from == Side::Host && tcp.flags == Flags::SYN;
        if is_syn && let Some(before) = self.connections.remove(&ports) {
            self.again(&before, at, marks);
        }
        if !self.connections.contains_key(&ports) {
            let midway = self.facts.major.is_none();
            if !is_syn && (!midway || tcp.flags.contains(Flags::RST)) {
                if !tcp.flags.contains(Flags::RST) {
                    let text = format!("nobody opened a connection {} > {}", ports.0, ports.1);
                    marks.push(Mark::new(Kind::NoConnection, from, text));
                }
                return None;
            }
            *conns += 1;
            if self.connections.len() >= MOST_KEPT {
                self.forget_closed();
            }
            if is_syn {
                if self.opening.len() >= WATCHED {
                    self.opening.pop_front();
                }
                self.opening.push_back((ports, *conns, at));
            }
            self.connections.insert(ports, Connection::new(*conns, self.phone, ports, segment));
        }
        let connection = self.connections.get_mut(&ports)?;
        let (conn, tx) = (connection.conn(), connection.syn_tx());
        let found = connection.take(segment);
        if found.iter().any(|mark| mark.kind == Kind::SilentConnect) {
            self.remember_silent(tx);
        }
        marks.extend(found);
        Some(conn)
    }

    /// Makes room: closed connections are kept for late segments only.
    fn forget_closed(&mut self) {
        let closed = self.connections.extract_if(|_, connection| connection.is_closed());
        let mut closed: Vec<Connection> = closed.map(|(_, connection)| connection).collect();
        closed.sort_unstable_by_key(Connection::conn);
        for connection in &closed {
            self.retire(connection);
        }
    }

    /// The same two ports are used again.
    fn again(&mut self, before: &Connection, at: Duration, marks: &mut Vec<Mark>) {
        match before.closed_at() {
            None => {
                let text = format!("a SYN on connection #{}, which is open", before.conn());
                marks.push(Mark::new(Kind::SynReuse, Side::Host, text));
            }
            Some(closed) if at.saturating_sub(closed) < REST => {
                let text = format!(
                    "the ports of #{}, which was closed {} before: phones may refuse that",
                    before.conn(),
                    seconds(at.saturating_sub(closed))
                );
                marks.push(Mark::new(Kind::PortReused, Side::Host, text));
            }
            Some(_) => {}
        }
        self.retire(before);
    }
}
