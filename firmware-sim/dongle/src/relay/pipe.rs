//! One connection as a byte pipe: a TCP socket on one side, the engine's connection on the other.
//!
//! Neither side is copied into a buffer of its own. What the phone sends goes straight into the
//! socket's transmit buffer, which is the window that the phone was given: it always fits. What the
//! other machine sends stays in the socket's receive buffer until a frame takes it; when that buffer
//! is full TCP's own window says so.
//!
//! How it ends, after DESIGN §3:
//! - the phone resets: everything held is delivered, then end-of-file; if bytes are missing, a reset;
//! - the other machine shuts down its sending side: delivery goes on until the phone resets, or
//!   everything is acknowledged and the phone is silent for the linger time;
//! - the other machine is gone: what it sent is still handed over and acknowledged, then the engine
//!   resets.

use crate::link::Engine;
use core::time::Duration;
use smoltcp::socket::tcp;
use usbmux_core::{CloseReason, ConnId, ConnectError, Instant};

/// How long a connection stays open for a phone that is silent, when the other machine has sent its
/// last byte.
const LINGER: Duration = Duration::from_secs(30);

/// The same when hardly a place is left for others. A program that has hung up altogether looks no
/// different in TCP from one that waits for an answer, until something is sent to it.
const LINGER_WHEN_CROWDED: Duration = Duration::from_millis(250);

/// How long a silent phone is waited for.
pub(crate) const fn linger(crowded: bool) -> Duration {
    if crowded { LINGER_WHEN_CROWDED } else { LINGER }
}

/// How long the engine is waited for: a place of a connection that just ended may need to send its
/// reset first, and a phone that is here may be about to get another session.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// How a connection's end looks to the other machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Everything delivered, then end-of-file.
    Orderly,
    /// Everything delivered, then a reset: bytes are missing.
    Broken,
    /// A reset at once: nothing was open yet, or nobody is there.
    Abort,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The engine is asked for a connection.
    Wanted { until: Instant },
    /// The phone is asked.
    Opening(ConnId),
    /// Bytes move.
    Open(ConnId),
    /// The engine hands over what was sent, then resets.
    Closing(ConnId),
}

/// One connection as a byte pipe.
#[derive(Debug)]
pub(crate) struct Pipe {
    state: State,
    /// The port of the phone's.
    pub(crate) port: u16,
    /// Whether it is a forward's.
    pub(crate) forward: bool,
    /// What the engine was told last.
    held: u32,
    pub(crate) from_phone: u64,
    pub(crate) to_phone: u64,
    /// When something last moved.
    active_at: Instant,
    /// Whether the phone sent its last byte.
    finished: bool,
}

impl Pipe {
    /// A forward: the connection to the phone is yet to be made.
    pub(crate) fn to_port(now: Instant, port: u16) -> Self {
        let state = State::Wanted { until: now + PATIENCE };
        Pipe { forward: true, ..Pipe::with(now, state, port) }
    }

    /// A connection that the phone has accepted.
    pub(crate) fn opened(now: Instant, conn: ConnId, port: u16) -> Self {
        Pipe::with(now, State::Open(conn), port)
    }

    fn with(now: Instant, state: State, port: u16) -> Self {
        Pipe {
            state,
            port,
            forward: false,
            held: 0,
            from_phone: 0,
            to_phone: 0,
            active_at: now,
            finished: false,
        }
    }

    /// The engine's connection, if there is one.
    pub(crate) fn conn(&self) -> Option<ConnId> {
        match self.state {
            State::Wanted { .. } => None,
            State::Opening(conn) | State::Open(conn) | State::Closing(conn) => Some(conn),
        }
    }

    // ---- the engine's events

    /// The phone accepted, or already sends.
    pub(crate) fn connected(&mut self) {
        if let State::Opening(conn) = self.state {
            self.state = State::Open(conn);
        }
    }

    /// The phone sends no more.
    pub(crate) fn finished(&mut self) {
        self.finished = true;
    }

    /// The connection is over for the engine: how it is to end for the other machine.
    pub(crate) fn closed(&self, reason: CloseReason) -> End {
        match reason {
            _ if matches!(self.state, State::Opening(_)) => End::Abort,
            CloseReason::Reset | CloseReason::Drained => End::Orderly,
            _ => End::Broken,
        }
    }

    /// Takes bytes of the phone's; returns how many found no room, which is never any.
    pub(crate) fn deliver(
        &mut self,
        now: Instant,
        socket: &mut tcp::Socket<'_>,
        engine: &mut Engine<'_>,
        payload: &[u8],
        frame_end: bool,
    ) -> usize {
        self.connected();
        // Nobody hears it any more: it counts as consumed.
        if !socket.may_send() {
            return 0;
        }
        self.active_at = now;
        // Segments are filled while a frame is arriving; its last bytes wait for nothing.
        socket.set_nagle_enabled(!frame_end);
        let taken = socket.send_slice(payload).unwrap_or(0);
        self.from_phone += taken as u64;
        self.tell_held(now, socket, engine);
        payload.len() - taken
    }

    // ---- the other machine's side

    /// Does what is due; says how it ends, once it does. `has_phone`: a phone is here, with a session
    /// or about to get one. `crowded`: others want the place.
    pub(crate) fn turn(
        &mut self,
        now: Instant,
        socket: &mut tcp::Socket<'_>,
        engine: &mut Engine<'_>,
        has_phone: bool,
        crowded: bool,
    ) -> Option<End> {
        let gone = is_gone(socket);
        match self.state {
            State::Wanted { .. } | State::Opening(_) if gone => {
                self.give_up(now, engine);
                return Some(End::Abort);
            }
            State::Wanted { until } => {
                let may_wait = has_phone && now < until;
                return self.open(now, socket, engine, may_wait);
            }
            State::Opening(_) | State::Closing(_) => {}
            State::Open(conn) => {
                self.tell_held(now, socket, engine);
                if self.finished {
                    socket.close();
                }
                let waits_until = self.active_at(now, socket, engine, conn) + linger(crowded);
                let is_done = gone || self.finished || now >= waits_until;
                // Payload of a frame under way is still in the socket.
                if !socket.may_recv() && is_done {
                    engine.close(now, conn);
                    self.state = State::Closing(conn);
                }
            }
        }
        None
    }

    /// When something last moved; now, while anything is under way in either direction.
    fn active_at(
        &mut self,
        now: Instant,
        socket: &tcp::Socket<'_>,
        engine: &mut Engine<'_>,
        conn: ConnId,
    ) -> Instant {
        if engine.unacknowledged(conn) > 0 || socket.send_queue() > 0 {
            self.active_at = now;
        }
        self.active_at
    }

    /// When [`turn`](Self::turn) is due without news.
    pub(crate) fn due(&self, socket: &tcp::Socket<'_>, crowded: bool) -> Option<Instant> {
        match self.state {
            State::Wanted { until } => Some(until),
            State::Open(_) if !socket.may_recv() => Some(self.active_at + linger(crowded)),
            _ => None,
        }
    }

    /// Asks the engine for a connection.
    fn open(
        &mut self,
        now: Instant,
        socket: &tcp::Socket<'_>,
        engine: &mut Engine<'_>,
        may_wait: bool,
    ) -> Option<End> {
        match engine.connect(now, self.port, capacity(socket)) {
            Ok(conn) => self.state = State::Opening(conn),
            Err(error) if may_wait && passes(error) => {}
            Err(_) => return Some(End::Abort),
        }
        None
    }

    /// Forgets the connection without waiting for anything.
    pub(crate) fn give_up(&self, now: Instant, engine: &mut Engine<'_>) {
        if let Some(conn) = self.conn() {
            engine.abort(now, conn);
        }
    }

    /// Tells the engine how many bytes of the phone's stand in the socket, and raises the window
    /// once the answer to a Connect, which went before them, is out of it.
    fn tell_held(&mut self, now: Instant, socket: &tcp::Socket<'_>, engine: &mut Engine<'_>) {
        let State::Open(conn) = self.state else { return };
        let queue = if is_gone(socket) { 0 } else { socket.send_queue() as u64 };
        let held = queue.min(self.from_phone) as u32;
        if held != self.held {
            self.held = held;
            // A stale handle means that its end is about to be told.
            let _ = engine.set_held(now, conn, held);
        }
        if queue <= self.from_phone {
            let _ = engine.set_window(now, conn, capacity(socket));
        }
    }

    // ---- towards the phone

    /// How many bytes a frame may take now.
    pub(crate) fn sendable(&self, socket: &tcp::Socket<'_>, engine: &mut Engine<'_>) -> usize {
        match self.state {
            State::Open(conn) if socket.can_recv() => {
                engine.sendable(conn).min(socket.recv_queue())
            }
            _ => 0,
        }
    }

    /// A frame took bytes.
    pub(crate) fn sent(&mut self, now: Instant, bytes: usize) {
        self.to_phone += bytes as u64;
        self.active_at = now;
    }
}

/// Whether a connection that cannot be made now may be made soon, if the phone stays.
pub(super) fn passes(error: ConnectError) -> bool {
    use ConnectError::{LinkDown, NoPort, NoSlot};
    matches!(error, LinkDown | NoSlot | NoPort { .. })
}

/// Whether the other machine can neither send nor hear any more.
pub(crate) fn is_gone(socket: &tcp::Socket<'_>) -> bool {
    matches!(socket.state(), tcp::State::Closed | tcp::State::TimeWait | tcp::State::Listen)
}

/// The socket's room for the phone's bytes.
fn capacity(socket: &tcp::Socket<'_>) -> u32 {
    u32::try_from(socket.send_capacity()).unwrap_or(u32::MAX)
}
