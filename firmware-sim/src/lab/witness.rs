//! What the two sides must believe, as somebody concludes who sees only the frames between them: the
//! states of link and connections, and how much each may still send.
//!
//! In the lab, where the engines can be asked, a test holds it against them; of a scene it is all that
//! can be known.

use super::seen::Seen;
use usbmux_core::wire::control::is_duplicate_packet;
use usbmux_core::wire::{Flags, HEADER_V1, MAX_FRAME, Protocol, TcpHeader};

/// Connections that are remembered; of more, the oldest that is closed goes first.
const CONNECTIONS: usize = 32;

/// Where one side's link stands; the engine's states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Link {
    /// No cable.
    #[default]
    Down,
    /// No version agreed yet.
    Greeting,
    /// Frames of connections may pass.
    Up,
    /// The phone found a wrong frame number: it takes nothing but VERSION.
    Dead,
    /// No version could be agreed.
    Failed,
}

/// Where one side's connection stands; the engine's states, as far as they show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum State {
    /// There is none, or it is over.
    #[default]
    Closed,
    /// A SYN is out.
    SynSent,
    /// A SYN arrived.
    Incoming,
    /// SYN|ACK is out.
    SynReceived,
    /// Bytes may pass.
    Established,
    /// Closed by this side's program; its last bytes are not acknowledged yet.
    Draining,
}

/// One direction of a connection, as its sender knows it. All in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Flow {
    /// Number of the next byte to be sent.
    pub next: u32,
    /// Number of the next byte that the receiver expects, as it said last.
    pub acked: u32,
    /// The window that the receiver announced with it.
    pub window: u32,
    /// The furthest number that the receiver ever admitted: a later announcement may fall back a little,
    /// for it counts in steps of 256. None before the first.
    pub edge: Option<u32>,
}

impl Flow {
    /// Sent and not acknowledged.
    pub fn in_flight(&self) -> u32 {
        let bytes = self.next.wrapping_sub(self.acked);
        if bytes.cast_signed() < 0 { 0 } else { bytes }
    }

    /// What may still be sent.
    pub fn room(&self) -> u32 {
        self.window.saturating_sub(self.in_flight())
    }

    /// Whether more was sent than the receiver ever admitted.
    pub fn is_overrun(&self) -> bool {
        self.edge.is_some_and(|edge| self.next.wrapping_sub(edge).cast_signed() > 0)
    }

    /// Takes what the receiver says.
    fn answered(&mut self, tcp: &TcpHeader) {
        (self.acked, self.window) = (tcp.ack.0, tcp.window());
        let edge = self.acked.wrapping_add(self.window);
        let is_further = |old: u32| edge.wrapping_sub(old).cast_signed() > 0;
        if self.edge.is_none_or(is_further) {
            self.edge = Some(edge);
        }
    }

    /// Takes what the sender says. A SYN counts as a byte.
    fn sent(&mut self, tcp: &TcpHeader, payload: usize) {
        let counted = u32::try_from(payload).unwrap_or(u32::MAX);
        let syn = u32::from(tcp.flags.contains(Flags::SYN));
        self.next = tcp.seq.0.wrapping_add(counted).wrapping_add(syn);
    }
}

/// One connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Connection {
    /// Port of the host's.
    pub host_port: u16,
    /// Port of the phone's.
    pub phone_port: u16,
    /// On the host's side.
    pub host: State,
    /// On the phone's side.
    pub phone: State,
    /// From the host to the phone.
    pub to_phone: Flow,
    /// From the phone to the host.
    pub to_host: Flow,
}

impl Connection {
    /// The flow that this side sends.
    pub fn sent_by(&self, phone: bool) -> &Flow {
        if phone { &self.to_host } else { &self.to_phone }
    }
}

/// What is known after some frames.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// The host's link.
    pub host: Link,
    /// The phone's link.
    pub phone: Link,
    /// 1 or 2, once agreed.
    pub version: Option<u32>,
    /// Number of the host's last frame.
    pub host_tx: Option<u16>,
    /// Number of the phone's last frame.
    pub phone_tx: Option<u16>,
    /// The connections, the oldest first.
    pub connections: Vec<Connection>,
}

impl View {
    /// A session whose beginning was not seen.
    pub fn linked() -> Self {
        View { host: Link::Up, phone: Link::Up, version: Some(2), ..View::default() }
    }

    /// The newest connection between two ports.
    pub fn between(&self, host_port: u16, phone_port: u16) -> Option<&Connection> {
        let same = |c: &&Connection| (c.host_port, c.phone_port) == (host_port, phone_port);
        self.connections.iter().rev().find(same)
    }

    /// Somebody pulls or plugs the cable.
    pub fn cable(&mut self, plugged: bool) {
        *self = View { connections: std::mem::take(&mut self.connections), ..View::default() };
        self.end_all();
        if plugged {
            (self.host, self.phone) = (Link::Greeting, Link::Greeting);
        }
    }

    /// A whole message arrives, as its receiver understands it: a phone reads one frame of it, and
    /// nothing of one that is too long; a host reads all.
    pub fn message(&mut self, from_phone: bool, message: &[u8]) {
        let mut rest = message;
        let mut arrives = from_phone || message.len() <= MAX_FRAME;
        // Bounded: a frame has at least a header.
        loop {
            let seen = Seen::new(rest);
            if seen.protocol.is_none_or(|protocol| !is_known(protocol)) {
                return;
            }
            self.take(from_phone, &seen, arrives);
            arrives &= from_phone;
            rest = rest.get(seen.length.max(HEADER_V1)..).unwrap_or_default();
        }
    }

    /// A frame goes out; unless it `arrives`, only its sender knows of it.
    pub fn take(&mut self, from_phone: bool, seen: &Seen, arrives: bool) {
        if let Some((tx, _)) = seen.numbers {
            let number = if from_phone { &mut self.phone_tx } else { &mut self.host_tx };
            *number = Some(tx);
        }
        match seen.protocol {
            Some(Protocol::VERSION) if arrives => self.version(from_phone, seen.version),
            Some(Protocol::VERSION) if !from_phone => self.host = Link::Greeting,
            Some(Protocol::CONTROL) if is_duplicate_packet(seen.text.as_bytes()) => {
                self.phone = Link::Dead;
                if arrives {
                    self.host = Link::Greeting;
                    self.end_all();
                }
            }
            Some(Protocol::TCP) => {
                if let Some(tcp) = &seen.tcp {
                    self.segment(from_phone, tcp, seen.payload, arrives);
                }
            }
            _ => {}
        }
    }

    fn version(&mut self, from_phone: bool, version: Option<u32>) {
        if from_phone {
            (self.host, self.phone) = (Link::Up, Link::Up);
            self.version = version;
        } else {
            self.end_all();
            (self.host, self.host_tx, self.phone_tx) = (Link::Greeting, None, None);
            self.phone = Link::Up;
        }
    }

    fn segment(&mut self, from_phone: bool, tcp: &TcpHeader, payload: usize, arrives: bool) {
        let (host_port, phone_port) =
            if from_phone { (tcp.dest, tcp.source) } else { (tcp.source, tcp.dest) };
        let is_syn = tcp.flags == Flags::SYN;
        let is_reset = tcp.flags.contains(Flags::RST);
        let known = self
            .connections
            .iter()
            .rposition(|c| (c.host_port, c.phone_port) == (host_port, phone_port))
            .filter(|_| !is_syn);
        let index = match known {
            Some(index) => index,
            None if is_reset => return,
            None => self.open(host_port, phone_port, is_syn),
        };
        let Some(connection) = self.connections.get_mut(index) else { return };
        connection.segment(from_phone, tcp, payload, arrives);
    }

    fn open(&mut self, host_port: u16, phone_port: u16, is_syn: bool) -> usize {
        if self.connections.len() >= CONNECTIONS {
            let closed = |c: &Connection| (c.host, c.phone) == (State::Closed, State::Closed);
            let oldest = self.connections.iter().position(closed).unwrap_or(0);
            self.connections.remove(oldest);
        }
        // Of one whose beginning was not seen, what is seen is that it is open.
        let state = if is_syn { State::Closed } else { State::Established };
        self.connections.push(Connection {
            host_port,
            phone_port,
            host: state,
            phone: state,
            ..Connection::default()
        });
        self.connections.len() - 1
    }

    fn end_all(&mut self) {
        for connection in &mut self.connections {
            (connection.host, connection.phone) = (State::Closed, State::Closed);
        }
    }
}

fn is_known(protocol: Protocol) -> bool {
    matches!(protocol, Protocol::VERSION | Protocol::SETUP | Protocol::CONTROL | Protocol::TCP)
}

impl Connection {
    fn segment(&mut self, from_phone: bool, tcp: &TcpHeader, payload: usize, arrives: bool) {
        let is_reset = tcp.flags.contains(Flags::RST);
        let has_ack = tcp.flags.contains(Flags::ACK);
        if !is_reset {
            let (sent, answered) = match from_phone {
                true => (&mut self.to_host, &mut self.to_phone),
                false => (&mut self.to_phone, &mut self.to_host),
            };
            sent.sent(tcp, payload);
            if arrives && has_ack {
                answered.answered(tcp);
            } else if arrives {
                // A SYN acknowledges nothing yet; the peer's own will count as one byte.
                answered.window = tcp.window();
            }
        }
        let (mine, other) = match from_phone {
            true => (&mut self.phone, &mut self.host),
            false => (&mut self.host, &mut self.phone),
        };
        match (is_reset, tcp.flags.contains(Flags::SYN), has_ack) {
            (true, ..) => {
                *mine = State::Closed;
                if arrives {
                    *other = State::Closed;
                }
            }
            (_, true, false) => {
                *mine = State::SynSent;
                if arrives {
                    *other = State::Incoming;
                }
            }
            (_, true, true) => {
                *mine = State::SynReceived;
                if arrives {
                    *other = State::Established;
                }
            }
            _ if arrives && *other == State::SynReceived => *other = State::Established,
            _ => {}
        }
    }
}
