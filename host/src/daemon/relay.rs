//! One connection: a client's socket on one side, the engine's connection on the other.
//!
//! Towards the phone: when the client has something, the connection stands in line; in its turn
//! the link reads straight into a transfer buffer, no more than the engine lets one frame carry.
//! What makes no large frame *rests* in the client's socket while USB has bytes before it.
//! Towards the client: the link tries the write itself; what the socket does not take goes to the
//! *spill*, which the connection's own task drains. The engine always knows how much that is, so
//! the spill never outgrows the window, and a slow client slows nobody but its own phone program.
//!
//! How it ends:
//! - the phone resets: everything held is delivered, then end-of-file;
//! - the client shuts down its sending side: delivery goes on until the phone resets, the client
//!   hangs up, or all is acknowledged and the phone silent for the linger time;
//! - the client is gone: what it sent is still handed over and acknowledged, then the engine
//!   resets; when the phone takes nothing for the drain time, it resets with the rest unsent.
//!
//! What moves and what is known stands in `state`; when something moves, here. Leaves out: the order in which connections get their turn (`link`), and the socket protocol.

mod state;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::net::Shutdown;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use usbmux_core::{CloseReason, Config, ConnId, Instant};

use self::state::{Down, End, State, Up, discard};
pub(crate) use self::state::{Filled, Opening};
use super::ends::{self, Hearer};
use super::limits::MAX_RESET_TEXT;
use super::link::{Engine, Link};
use super::pool::Lease;
use super::registry::ConnectFailure;
use crate::stream::ClientStream;

/// How long a phone may take nothing of what a client that is gone left behind: the engine's time for
/// what is already on its way.
pub(crate) const DRAIN: Duration = Duration::from_millis(Config::HOST.drain_timeout_ms as u64);

/// While so many bytes of a connection are on their way to the phone, only a large frame follows
/// them; less rests in the client's socket until they have left. It could not overtake them, and
/// meanwhile a client that sends a lot, or a phone that acknowledges, makes more of it. (RFC 896
/// waits for an acknowledgement, which takes longer.) Behind fewer bytes everything goes at once:
/// those are messages.
pub(crate) const RESTS_BEHIND: usize = 4096;

/// The smallest large frame's payload: two of the largest frames and one of these are a phone's usual
/// window, so that a stream keeps all of it in use.
const LARGE: usize = 32_768;

/// One connection of a link, shared by the link's task, its own, and whoever opens it.
pub(crate) struct Relay {
    link: Rc<Link>,
    port: u16,
    state: RefCell<State>,
}

impl fmt::Display for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "phone {} port {}", self.link.device_id(), self.port)
    }
}

/// Called by the link's task, which holds the engine, and by who opens the connection.
impl Relay {
    pub(crate) fn new(link: Rc<Link>, conn: ConnId, port: u16, lease: Lease) -> Self {
        let state = State::new(conn, lease, link.now());
        Self { link, port, state: RefCell::new(state) }
    }

    /// Returns how far the opening is, and wakes the caller when that changes.
    pub(crate) fn opening(&self, cx: &Context<'_>) -> Opening {
        let mut state = self.state.borrow_mut();
        state.task = Some(cx.waker().clone());
        state.opening
    }

    /// The phone accepted.
    pub(crate) fn connected(&self) {
        log::debug!("{self}: connected");
        self.state.borrow_mut().opened(Opening::Open);
    }

    /// The phone refused, or did not answer.
    pub(crate) fn refused(&self) {
        self.state.borrow_mut().released(ConnectFailure::Refused);
    }

    /// The connection is over for the engine.
    pub(crate) fn closed(&self, reason: CloseReason) {
        log::debug!("{self}: closed: {reason:?}");
        let failure = match reason {
            CloseReason::LinkLost => ConnectFailure::NoDevice,
            _ => ConnectFailure::Refused,
        };
        let mut state = self.state.borrow_mut();
        if let Some(end) = state.end.take()
            && let Some(reason) = ends::reason(reason, &end.text)
        {
            self.link.ends().tell(end.hearer, reason);
        }
        state.released(failure);
    }

    /// Has somebody told the reason of its end.
    pub(crate) fn tell_end(&self, hearer: Hearer) {
        self.state.borrow_mut().end = Some(Box::new(End { hearer, text: Vec::new() }));
    }

    /// A piece of the text of the phone's reset.
    pub(crate) fn reset_text(&self, text: &[u8]) {
        if let Some(end) = &mut self.state.borrow_mut().end {
            let room = MAX_RESET_TEXT.saturating_sub(end.text.len());
            end.text.extend_from_slice(text.get(..room).unwrap_or(text));
        }
    }

    /// The phone has sent its last byte.
    pub(crate) fn finished(&self) {
        let mut state = self.state.borrow_mut();
        if state.down == Down::Open {
            state.down = Down::Finishing;
            state.wake();
        }
    }

    /// Gives the connection up without a client.
    pub(crate) fn abandon(&self) {
        let mut state = self.state.borrow_mut();
        self.give_up(&mut state);
        state.lease = None;
    }

    /// Resets the connection now.
    fn give_up(&self, state: &mut State) {
        if let Some(conn) = state.conn.take() {
            self.link.with_engine(|engine, now| engine.abort(now, conn));
            self.link.forget(conn);
        }
        state.released(ConnectFailure::Refused);
    }

    /// Takes the client over.
    pub(crate) fn join(self: &Rc<Self>, client: ClientStream, leftover: Vec<u8>) {
        let mut state = self.state.borrow_mut();
        state.client = Some(client);
        state.task = None;
        state.active_at = self.link.now();
        if !leftover.is_empty() {
            state.front = leftover;
            state.stand_in_line(self);
        }
    }

    /// The daemon is about to exit: reads what the client has sent so far, and no more.
    pub(crate) fn stop(self: &Rc<Self>) {
        let mut state = self.state.borrow_mut();
        if state.client.is_none() {
            drop(state);
            return self.abandon();
        }
        match state.up {
            Up::Waiting | Up::Resting => state.stand_in_line(self),
            Up::Ended => self.close(&mut state),
            // The turn, when it comes, sees that the daemon is stopping.
            Up::InLine | Up::Blocked => {}
        }
    }

    /// The phone's window has opened; says whether the connection is to stand in line.
    pub(crate) fn unblocked(&self) -> bool {
        let mut state = self.state.borrow_mut();
        let blocked = state.up == Up::Blocked;
        if blocked {
            state.up = Up::InLine;
        }
        blocked
    }

    /// A frame of so many bytes has left; says whether the connection is to stand in line.
    pub(crate) fn has_left(&self, length: usize) -> bool {
        let mut state = self.state.borrow_mut();
        state.leaving -= length;
        let resting = state.up == Up::Resting;
        if resting {
            state.up = Up::InLine;
        }
        resting
    }

    /// Delivers bytes of the phone to the client.
    pub(crate) fn deliver(&self, engine: &mut Engine, now: Instant, payload: &[u8]) {
        let mut state = self.state.borrow_mut();
        log::trace!("{self}: {} bytes in", payload.len());
        if state.down != Down::Deaf {
            state.active_at = now;
        }
        let rest = state.write_direct(payload);
        if rest.is_empty() {
            if state.has_run(payload.len(), now)
                && let (Some(conn), Some(lease)) = (state.conn, &state.lease)
            {
                log::debug!("{self}: window raised to {}", lease.window());
                let _ = engine.set_window(now, conn, lease.window());
            }
            return;
        }
        state.run = 0;
        state.run_since = now;
        state.spill.extend(rest);
        state.full = true;
        if let Some(conn) = state.conn {
            // A stale handle means that the connection has just ended; the spill outlives it.
            let _ = engine.set_held(now, conn, state.held());
        }
        state.wake();
    }

    /// How long the frame of its turn may be, headers included; 0 if it may not send, or has ended.
    pub(crate) fn room(&self, engine: &mut Engine) -> usize {
        let mut state = self.state.borrow_mut();
        let Some(conn) = state.conn.filter(|_| state.up == Up::InLine) else {
            return 0;
        };
        let room = engine.sendable(conn);
        if room == 0 {
            state.up = Up::Blocked;
            state.look_for_hang_up();
            return 0;
        }
        if state.leaving >= RESTS_BEHIND
            && !self.link.stopping()
            && (room < LARGE || state.available() < LARGE)
        {
            state.up = Up::Resting;
            state.look_for_hang_up();
            return 0;
        }
        engine.headroom() + room
    }

    /// Takes one turn: fills `frame`, which is as long as [`room`](Self::room) has said, with the
    /// client's next bytes behind the headroom and has the engine number it.
    pub(crate) fn fill(
        self: &Rc<Self>,
        engine: &mut Engine,
        now: Instant,
        frame: &mut [u8],
    ) -> Filled {
        let mut state = self.state.borrow_mut();
        let Some(conn) = state.conn else {
            return Filled::Nothing;
        };
        let headroom = engine.headroom();
        let payload = frame.get_mut(headroom..).unwrap_or_default();
        let (read, more) = state.read_client(payload, self.link.stopping());
        let filled = match read {
            0 => Filled::Nothing,
            read => state.send(engine, now, conn, frame, read),
        };
        if more || !state.front.is_empty() {
            return filled.with_more();
        }
        if !state.eof && state.leaving >= RESTS_BEHIND {
            state.up = Up::Resting;
            state.look_for_hang_up();
            return filled;
        }
        state.up = Up::Waiting;
        if state.eof {
            self.client_ended(&mut state, engine, now);
            state.wake();
        } else {
            state.await_more();
        }
        filled
    }

    /// Everything the client sent is numbered, and no more comes.
    fn client_ended(&self, state: &mut State, engine: &mut Engine, now: Instant) {
        state.up = Up::Ended;
        state.active_at = now;
        if state.client.as_ref().is_none_or(ClientStream::hung_up) {
            state.deafen();
        }
        if state.down != Down::Open || self.link.stopping() {
            log::debug!("{self}: the client is done");
            state.close(engine, now);
        } else {
            log::debug!("{self}: the client has shut down its sending side");
        }
    }
}

/// What tests of a link do to its connections.
#[cfg(test)]
impl Relay {
    /// Has the client's socket looked at, as if it had become readable.
    pub(crate) fn pretend_readable(self: &Rc<Self>) {
        self.state.borrow_mut().stand_in_line(self);
    }

    /// Whether the client's hang-up was noticed.
    pub(crate) fn is_gone(&self) -> bool {
        self.state.borrow().gone
    }

    /// Returns how many bytes the client has not taken.
    pub(crate) fn held(&self) -> u32 {
        self.state.borrow().held()
    }
}

/// The connection's own task.
impl Relay {
    /// Drives the client's side; ready when the connection is over.
    pub(crate) fn poll(self: &Rc<Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.state.borrow_mut();
        state.register(cx);
        self.drain_spill(&mut state, cx);
        if state.conn.is_none() {
            return self.finish(&mut state, cx);
        }
        state.finish_down();
        self.await_client(&mut state, cx);
        self.await_end(&mut state, cx);
        Poll::Pending
    }

    /// Writes held bytes until none is left or the socket is full.
    fn drain_spill(&self, state: &mut State, cx: &mut Context<'_>) {
        let before = state.spill.len();
        while !state.spill.is_empty() && state.write_spill(cx).is_ready() {}
        if state.spill.len() == before {
            return;
        }
        if state.spill.is_empty() {
            // An idle connection holds no buffer.
            state.spill = VecDeque::new();
        }
        let held = state.held();
        if let Some(conn) = state.conn {
            state.active_at = self.link.with_engine(|engine, now| {
                // A connection that is closing is past caring.
                let _ = engine.set_held(now, conn, held);
                now
            });
        }
    }

    /// Waits until the client has something to send.
    fn await_client(self: &Rc<Self>, state: &mut State, cx: &mut Context<'_>) {
        if state.up == Up::Waiting
            && let Some(client) = &state.client
            && client.poll_readable(cx).is_ready()
        {
            state.stand_in_line(self);
        }
    }

    /// Ends a connection whose client says nothing more, or hears nothing more, when it hangs up
    /// or when nothing has moved for the linger time. Where the phone keeps us from reading what a
    /// client left behind, nothing must have moved for the drain time.
    fn await_end(&self, state: &mut State, cx: &mut Context<'_>) {
        if state.closing {
            return;
        }
        if !state.gone
            && matches!(state.up, Up::Ended | Up::Blocked | Up::Resting)
            && state.poll_hung_up(cx).is_ready()
        {
            state.gone = true;
            state.active_at = self.link.now();
            state.deafen();
        }
        if state.up != Up::Ended && state.down != Down::Deaf {
            return;
        }
        if state.up == Up::Ended && matches!(state.down, Down::Finished | Down::Deaf) {
            log::debug!("{self}: both sides are done");
            return self.close(state);
        }
        loop {
            let now = self.link.now();
            if state.is_owed_something(&self.link) {
                state.active_at = now;
            }
            let due = state.active_at + if state.gone { DRAIN } else { self.link.linger() };
            if now >= due && state.gone {
                log::debug!("{self}: the client is gone, and the phone takes nothing");
                return self.give_up(state);
            }
            if now >= due {
                log::debug!("{self}: silent for {:?}, closing", self.link.linger());
                return self.close(state);
            }
            if state.sleep_until(&self.link, self.link.clock_at(due), cx).is_pending() {
                return;
            }
        }
    }

    /// Has the engine hand over what the client sent, then reset.
    fn close(&self, state: &mut State) {
        self.link.with_engine(|engine, now| state.close(engine, now));
    }

    /// The engine is done: once the spill is empty, the client gets its end-of-file.
    fn finish(&self, state: &mut State, cx: &mut Context<'_>) -> Poll<()> {
        if !state.spill.is_empty() {
            return Poll::Pending;
        }
        if let Some(client) = &state.client
            && state.down != Down::Deaf
        {
            if client.is_unix() {
                // The client's next write fails; what it has not read yet stays readable if
                // nothing of its own is left unread here.
                client.shutdown(Shutdown::Both);
                discard(client);
            } else if !self.link.stopping() && state.linger_tcp(&self.link, cx).is_pending() {
                return Poll::Pending;
            }
        }
        log::debug!("{self}: over");
        state.client = None;
        state.timer = None;
        state.lease = None;
        Poll::Ready(())
    }
}
