//! One connection in which the socket protocol is spoken, until it becomes a pipe.

use super::pipe::{self, End, Pipe, is_gone, passes};
use crate::link::Engine;
use crate::records::RecordStore;
use crate::talk::{Action, ConnectOutcome, Conversation, Shared};
use core::time::Duration;
use smoltcp::socket::tcp;
use usbmux_core::{CloseReason, ConnId, ConnectError, Instant};

/// How long a client may say nothing: in the middle of a message, or at all, unless it listens.
const PATIENCE_AMID: Duration = Duration::from_secs(20);
const PATIENCE: Duration = Duration::from_secs(120);

/// Room that a Connect's answer is given in the transmit buffer, beside the phone's window: a
/// Result as XML has less than 300 bytes.
const RESULT_ROOM: u32 = 512;

/// Rounds of read, write and action in one turn.
const ROUNDS: usize = 4;

/// How far a Connect is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Connect {
    None,
    /// The client asked; earlier answers are still on their way to it, or the engine has no place.
    Wanted {
        port: u16,
        until: Instant,
    },
    /// The phone is asked.
    Opening {
        port: u16,
        conn: ConnId,
    },
    /// The phone accepted; the client is being told.
    Open {
        port: u16,
        conn: Option<ConnId>,
    },
}

/// What a conversation became.
#[derive(Debug)]
pub(super) enum Became {
    /// Nothing else yet.
    Same,
    /// A byte pipe.
    Pipe(Pipe),
    /// Nothing more is said.
    Over(End),
}

/// One conversation and its socket's affairs.
#[derive(Debug)]
pub(super) struct Talking {
    pub(super) conversation: Conversation,
    connect: Connect,
    active_at: Instant,
}

impl Talking {
    pub(super) fn new(now: Instant) -> Self {
        Talking { conversation: Conversation::new(), connect: Connect::None, active_at: now }
    }

    /// The engine's connection, if there is one.
    pub(super) fn conn(&self) -> Option<ConnId> {
        match self.connect {
            Connect::Opening { conn, .. } => Some(conn),
            Connect::Open { conn, .. } => conn,
            Connect::None | Connect::Wanted { .. } => None,
        }
    }

    /// The port that is being connected to.
    pub(super) fn port(&self) -> u16 {
        match self.connect {
            Connect::None => 0,
            Connect::Wanted { port, .. }
            | Connect::Opening { port, .. }
            | Connect::Open { port, .. } => port,
        }
    }

    /// The phone accepted, or already sends.
    pub(super) fn connected(&mut self) {
        if let Connect::Opening { port, conn } = self.connect {
            self.conversation.answer_connect(ConnectOutcome::Connected);
            self.connect = Connect::Open { port, conn: Some(conn) };
        }
    }

    /// The phone refused, or did not answer.
    pub(super) fn refused(&mut self) {
        self.failed(ConnectOutcome::Refused);
    }

    /// The connection is over for the engine.
    pub(super) fn closed(&mut self, reason: CloseReason) {
        match &mut self.connect {
            Connect::Open { conn, .. } => *conn = None,
            _ if reason == CloseReason::LinkLost => self.failed(ConnectOutcome::NoPhone),
            _ => self.failed(ConnectOutcome::Refused),
        }
    }

    fn failed(&mut self, outcome: ConnectOutcome) {
        self.conversation.answer_connect(outcome);
        self.connect = Connect::None;
    }

    /// Says and hears what can be said and heard now.
    pub(super) fn turn(
        &mut self,
        now: Instant,
        socket: &mut tcp::Socket<'_>,
        engine: &mut Engine<'_>,
        shared: &mut Shared<'_, impl RecordStore>,
    ) -> Became {
        if is_gone(socket) {
            return self.over(now, engine, shared, End::Abort);
        }
        for _ in 0..ROUNDS {
            let moved = self.exchange(socket, shared);
            if moved {
                self.active_at = now;
            }
            match self.conversation.poll_action() {
                Some(Action::Connect { port }) => {
                    self.connect = Connect::Wanted { port, until: now + pipe::PATIENCE };
                }
                Some(Action::Pipe) => return self.pipe(now, shared),
                Some(Action::Close) => return self.over(now, engine, shared, End::Orderly),
                None if !moved => break,
                None => {}
            }
        }
        self.open(now, socket, engine, shared.phone.is_some());
        if self.is_tired(now) {
            return self.over(now, engine, shared, End::Orderly);
        }
        Became::Same
    }

    /// Moves bytes between conversation and socket; says whether any moved.
    fn exchange(
        &mut self,
        socket: &mut tcp::Socket<'_>,
        shared: &mut Shared<'_, impl RecordStore>,
    ) -> bool {
        let conversation = &mut self.conversation;
        let mut moved = 0;
        if socket.can_recv() {
            moved += socket
                .recv(|bytes| {
                    let taken = conversation.read(bytes, shared);
                    (taken, taken)
                })
                .unwrap_or(0);
        } else if !socket.may_recv() {
            conversation.end_of_input();
        }
        if socket.can_send() {
            // The last bytes of an answer wait for nothing.
            socket.set_nagle_enabled(false);
            moved += socket
                .send(|room| {
                    let written = conversation.write(room, shared);
                    (written, written)
                })
                .unwrap_or(0);
        }
        moved > 0
    }

    /// Asks the engine for the connection that the client wants, once earlier answers have left:
    /// from then on the transmit buffer is the phone's window, but for the answer's room.
    fn open(
        &mut self,
        now: Instant,
        socket: &tcp::Socket<'_>,
        engine: &mut Engine<'_>,
        has_phone: bool,
    ) {
        let Connect::Wanted { port, until } = self.connect else { return };
        if socket.send_queue() > 0 {
            return;
        }
        let capacity = u32::try_from(socket.send_capacity()).unwrap_or(u32::MAX);
        match engine.connect(now, port, capacity.saturating_sub(RESULT_ROOM)) {
            Ok(conn) => self.connect = Connect::Opening { port, conn },
            Err(error) if has_phone && now < until && passes(error) => {}
            Err(ConnectError::LinkDown) => self.failed(ConnectOutcome::NoPhone),
            Err(_) => self.failed(ConnectOutcome::Refused),
        }
    }

    fn pipe(&mut self, now: Instant, shared: &mut Shared<'_, impl RecordStore>) -> Became {
        self.conversation.end(shared);
        match self.connect {
            Connect::Open { port, conn: Some(conn) } => Became::Pipe(Pipe::opened(now, conn, port)),
            // The phone was quicker to end it than the client to be told of its beginning.
            _ => Became::Over(End::Orderly),
        }
    }

    fn over(
        &mut self,
        now: Instant,
        engine: &mut Engine<'_>,
        shared: &mut Shared<'_, impl RecordStore>,
        end: End,
    ) -> Became {
        if let Some(conn) = self.conn() {
            engine.abort(now, conn);
        }
        self.conversation.end(shared);
        Became::Over(end)
    }

    fn is_tired(&self, now: Instant) -> bool {
        self.due().is_some_and(|due| due <= now)
    }

    /// When [`turn`](Self::turn) is due without news.
    pub(super) fn due(&self) -> Option<Instant> {
        match self.connect {
            Connect::None if self.conversation.is_listening() => None,
            Connect::None if self.conversation.is_amid_message() => {
                Some(self.active_at + PATIENCE_AMID)
            }
            Connect::None => Some(self.active_at + PATIENCE),
            Connect::Wanted { until, .. } => Some(until),
            Connect::Opening { .. } | Connect::Open { .. } => None,
        }
    }
}
