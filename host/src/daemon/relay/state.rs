//! What one connection knows, and how its bytes move: the client's socket, the spill, the bytes
//! that go first, and how far each direction is.
//!
//! Leaves out: when any of this happens, which is the relay's.

use std::collections::VecDeque;
use std::io;
use std::net::Shutdown;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant as Clock};

use usbmux_core::{ConnId, Instant};

use super::Relay;
use crate::daemon::ends::Hearer;
use crate::daemon::link::{Engine, Link};
use crate::daemon::pool::Lease;
use crate::daemon::registry::ConnectFailure;
use crate::reactor::Timer;
use crate::stream::ClientStream;

/// A client is a quick one, and may get a larger window, when it takes so many whole windows in a
/// row: one alone may just have filled the buffer of its socket.
const QUICK_WINDOWS: usize = 2;
/// The time it may take for them: 13 MB/s with the usual window.
const QUICK: Duration = Duration::from_millis(20);

/// How long a TCP client that goes on sending after the phone's end may take to see it. Closing
/// such a socket sooner would throw away what it has not read yet.
const CLOSE_GRACE: Duration = Duration::from_secs(5);

/// How much of a client's unwanted input is thrown away in one go.
const DISCARD: usize = 16_384;
/// How many such goes one wake takes.
const DISCARDS_PER_WAKE: usize = 16;

/// One connection, without its link.
pub(super) struct State {
    /// The engine's handle, until the engine has no more to say.
    pub(super) conn: Option<ConnId>,
    pub(super) opening: Opening,
    pub(super) lease: Option<Lease>,
    pub(super) client: Option<ClientStream>,
    /// The connection's own task, or who opens it.
    pub(super) task: Option<Waker>,
    pub(super) up: Up,
    /// Whether the client has no more to send.
    pub(super) eof: bool,
    /// Bytes that go before those in the client's socket: what it sent behind its Connect, and a
    /// byte that a frame was shortened by. Those before `front_at` are gone.
    pub(super) front: Vec<u8>,
    pub(super) front_at: usize,
    /// Bytes of frames that USB has and that have not left.
    pub(super) leaving: usize,
    pub(super) down: Down,
    pub(super) spill: VecDeque<u8>,
    /// Whether the client's socket was full when last tried.
    pub(super) full: bool,
    /// How much the client took without a spill, and since when.
    pub(super) run: usize,
    pub(super) run_since: Instant,
    /// When something last moved in either direction.
    pub(super) active_at: Instant,
    /// Whether the client is known to have hung up.
    pub(super) gone: bool,
    /// Whether the engine was told to close.
    pub(super) closing: bool,
    pub(super) timer: Option<Timer>,
    /// What the client will want to know after the end; boxed, since few do.
    pub(super) end: Option<Box<End>>,
}

/// Who is to hear why the connection ended, and the text of the phone's reset so far.
pub(super) struct End {
    pub(super) hearer: Hearer,
    pub(super) text: Vec<u8>,
}

/// How far the opening is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opening {
    /// Neither side has said.
    Pending,
    /// The phone has accepted.
    Open,
    /// It will not be.
    Failed(ConnectFailure),
}

/// The direction from the client to the phone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Up {
    /// There is no client yet, or it has nothing to send; its socket is waited for.
    Waiting,
    /// Stands in the link's line.
    InLine,
    /// What the client has sent does not fill a frame; it is looked at again when one has left.
    Resting,
    /// The phone's window is full; the engine says when it opens.
    Blocked,
    /// Everything the client sent is numbered.
    Ended,
}

/// The direction from the phone to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Down {
    /// Bytes may come.
    Open,
    /// The phone has sent its last byte; end-of-file follows the spill.
    Finishing,
    /// The client has its end-of-file.
    Finished,
    /// The client takes no more; what comes is thrown away.
    Deaf,
}

/// What a connection did with its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filled {
    /// It had nothing, or may not send; it is out of the line.
    Nothing,
    /// So many bytes are a numbered frame that must go to USB now, perhaps with a zero-length
    /// packet behind it; with `more` the connection stays in line.
    Frame { length: usize, needs_zlp: bool, more: bool },
}

impl State {
    pub(super) fn new(conn: ConnId, lease: Lease, now: Instant) -> Self {
        Self {
            conn: Some(conn),
            opening: Opening::Pending,
            lease: Some(lease),
            client: None,
            task: None,
            up: Up::Waiting,
            eof: false,
            front: Vec::new(),
            front_at: 0,
            leaving: 0,
            down: Down::Open,
            spill: VecDeque::new(),
            full: false,
            run: 0,
            run_since: now,
            active_at: now,
            gone: false,
            closing: false,
            timer: None,
            end: None,
        }
    }
}

impl Filled {
    pub(super) fn with_more(self) -> Self {
        match self {
            Self::Frame { length, needs_zlp, .. } => Self::Frame { length, needs_zlp, more: true },
            Self::Nothing => Self::Nothing,
        }
    }
}

/// Opening and ending.
impl State {
    pub(super) fn opened(&mut self, opening: Opening) {
        if self.opening == Opening::Pending {
            self.opening = opening;
        }
        self.wake();
    }

    /// The engine has no more to say.
    pub(super) fn released(&mut self, failure: ConnectFailure) {
        self.conn = None;
        self.timer = None;
        self.opened(Opening::Failed(failure));
    }

    pub(super) fn close(&mut self, engine: &mut Engine, now: Instant) {
        if let Some(conn) = self.conn.filter(|_| !self.closing) {
            self.closing = true;
            engine.close(now, conn);
        }
    }

    /// The client takes nothing any more.
    pub(super) fn deafen(&mut self) {
        self.down = Down::Deaf;
        self.spill.clear();
    }

    /// Hands the client the phone's end-of-file when everything before it is delivered.
    pub(super) fn finish_down(&mut self) {
        if self.down == Down::Finishing
            && self.spill.is_empty()
            && let Some(client) = &self.client
        {
            client.shutdown(Shutdown::Write);
            self.down = Down::Finished;
        }
    }

    /// Waits until the client is gone.
    pub(super) fn poll_hung_up(&self, cx: &Context<'_>) -> Poll<()> {
        let Some(client) = &self.client else {
            return Poll::Ready(());
        };
        ready!(client.poll_hung_up(cx)).unwrap_or_else(|error| {
            // Then it counts as gone: nobody would ever notice.
            log::warn!("a client's socket cannot be waited for: {error}");
        });
        Poll::Ready(())
    }

    /// Whether silence does not count yet: somebody is there and has not got everything.
    pub(super) fn is_owed_something(&self, link: &Link) -> bool {
        let unacknowledged =
            self.conn.map_or(0, |conn| link.with_engine(|engine, _| engine.unacknowledged(conn)));
        self.down != Down::Deaf && (unacknowledged > 0 || !self.spill.is_empty())
    }

    /// Gives a TCP client its end-of-file and waits until it has closed too, for a while.
    pub(super) fn linger_tcp(&mut self, link: &Link, cx: &mut Context<'_>) -> Poll<()> {
        let Some(client) = &self.client else {
            return Poll::Ready(());
        };
        if self.down != Down::Finished {
            client.shutdown(Shutdown::Write);
            self.down = Down::Finished;
        }
        loop {
            match discard(client) {
                Discarded::Everything => return Poll::Ready(()),
                Discarded::SoFar if client.poll_readable(cx).is_pending() => break,
                Discarded::SoFar => {}
                Discarded::Enough => {
                    cx.waker().wake_by_ref();
                    break;
                }
            }
        }
        self.sleep_until(link, Clock::now() + CLOSE_GRACE, cx)
    }

    /// Waits on the connection's only timer: until `at`, if it is not running yet.
    pub(super) fn sleep_until(&mut self, link: &Link, at: Clock, cx: &mut Context<'_>) -> Poll<()> {
        let timer = self.timer.get_or_insert_with(|| Timer::at(link.reactor(), at));
        ready!(Pin::new(timer).poll(cx));
        self.timer = None;
        Poll::Ready(())
    }
}

/// Moving bytes.
impl State {
    /// Returns how many bytes the client has not taken.
    pub(super) fn held(&self) -> u32 {
        // Never more than the window, which is a u32.
        self.spill.len() as u32
    }

    /// Writes to the client past the spill, if nothing is in it; returns what is to be held.
    pub(super) fn write_direct<'p>(&mut self, payload: &'p [u8]) -> &'p [u8] {
        let Some(client) = self.client.as_ref().filter(|_| self.spill.is_empty()) else {
            return if self.down == Down::Deaf { &[] } else { payload };
        };
        if self.down == Down::Deaf {
            return &[];
        }
        match client.try_write(payload) {
            Ok(written) => payload.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => payload,
            Err(_) => {
                self.deafen();
                self.wake();
                &[]
            }
        }
    }

    /// Counts what the client took at once; true when it has earned and got a larger window.
    pub(super) fn has_run(&mut self, taken: usize, now: Instant) -> bool {
        let Some(lease) = self.lease.as_mut().filter(|_| self.down == Down::Open) else {
            return false;
        };
        self.run += taken;
        if self.run < QUICK_WINDOWS * lease.window() as usize {
            return false;
        }
        let quick = now - self.run_since <= QUICK;
        self.run = 0;
        self.run_since = now;
        quick && lease.grow()
    }

    /// Writes some of the spill; pending while the socket is full.
    pub(super) fn write_spill(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(client) = &self.client else {
            return Poll::Pending;
        };
        if self.full {
            // An error shows in the write.
            let _ = ready!(client.poll_writable(cx));
            self.full = false;
        }
        match client.try_write(self.spill.as_slices().0) {
            Ok(written) => drop(self.spill.drain(..written)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.full = true,
            Err(_) => self.deafen(),
        }
        Poll::Ready(())
    }

    /// Fills a frame's payload with bytes of the client, those kept in front first; says how many
    /// there are, and whether there may be more.
    pub(super) fn read_client(&mut self, payload: &mut [u8], stopping: bool) -> (usize, bool) {
        let taken = self.take_front(payload);
        let rest = payload.get_mut(taken..).unwrap_or_default();
        let client = self.client.as_ref().filter(|_| !rest.is_empty() && !self.eof);
        let Some(client) = client else {
            return (taken, !self.eof);
        };
        match client.try_read(rest) {
            Ok(0) => self.eof = true,
            // A short read has emptied the socket, and a new byte will be noticed; but when the
            // daemon is stopping, only an empty socket ends the reading.
            Ok(read) => return (taken + read, read == rest.len() || stopping),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.eof = stopping,
            Err(_) => {
                self.eof = true;
                self.deafen();
            }
        }
        (taken, false)
    }

    /// How many bytes the client has ready; any number where the socket cannot tell.
    pub(super) fn available(&self) -> usize {
        let front = self.front.len() - self.front_at;
        let socket = self.client.as_ref().map(ClientStream::available);
        front.saturating_add(socket.unwrap_or_default())
    }

    /// Copies what goes first into a frame's payload; returns how much that is.
    fn take_front(&mut self, payload: &mut [u8]) -> usize {
        let kept = self.front.get(self.front_at..).unwrap_or_default();
        let taken = kept.len().min(payload.len());
        if let (Some(to), Some(from)) = (payload.get_mut(..taken), kept.get(..taken)) {
            to.copy_from_slice(from);
        }
        self.front_at += taken;
        if self.front_at >= self.front.len() {
            self.front = Vec::new();
            self.front_at = 0;
        }
        taken
    }

    /// Has the engine number a frame with `payload` bytes behind the headroom.
    pub(super) fn send(
        &mut self,
        engine: &mut Engine,
        now: Instant,
        conn: ConnId,
        frame: &mut [u8],
        payload: usize,
    ) -> Filled {
        let sent = match engine.send_in_place(now, conn, frame, payload) {
            Ok(sent) => sent,
            Err(error) => {
                // The engine has just offered the room; its Closed event is on the way.
                log::debug!("a frame could not be sent: {error}");
                return Filled::Nothing;
            }
        };
        self.active_at = now;
        let length = engine.headroom() + sent.taken;
        self.leaving += length;
        if sent.taken < payload
            && let Some(&odd) = frame.get(length)
        {
            self.put_back(odd);
        }
        Filled::Frame { length, needs_zlp: sent.needs_zlp, more: false }
    }

    /// Keeps the byte that a frame was shortened by for the front of the next.
    pub(super) fn put_back(&mut self, odd: u8) {
        match self.front_at.checked_sub(1) {
            // The frame was filled from here alone, and this byte is still there.
            Some(before) => self.front_at = before,
            None => self.front.insert(0, odd),
        }
    }

    pub(super) fn stand_in_line(&mut self, relay: &Rc<Relay>) {
        self.up = Up::InLine;
        relay.link.enqueue(Rc::clone(relay));
    }

    pub(super) fn register(&mut self, cx: &Context<'_>) {
        if !self.task.as_ref().is_some_and(|task| task.will_wake(cx.waker())) {
            self.task = Some(cx.waker().clone());
        }
    }

    /// Nobody reads the client for a while: has its task woken when it is gone.
    pub(super) fn look_for_hang_up(&self) {
        if let Some(task) = &self.task
            && self.poll_hung_up(&Context::from_waker(task)).is_ready()
        {
            task.wake_by_ref();
        }
    }

    /// The client has sent nothing more yet: has its task woken when it has. The task itself has
    /// nothing to do before.
    pub(super) fn await_more(&self) {
        match (&self.client, &self.task) {
            (Some(client), Some(task))
                if self.down != Down::Deaf
                    && client.poll_readable(&Context::from_waker(task)).is_pending() => {}
            _ => self.wake(),
        }
    }

    pub(super) fn wake(&self) {
        if let Some(task) = &self.task {
            task.wake_by_ref();
        }
    }
}

/// How far a client's unwanted input was thrown away.
pub(super) enum Discarded {
    /// To its end.
    Everything,
    /// All that is there.
    SoFar,
    /// As much as one wake may.
    Enough,
}

pub(super) fn discard(client: &ClientStream) -> Discarded {
    let mut buffer = [0; DISCARD];
    for _ in 0..DISCARDS_PER_WAKE {
        match client.try_read(&mut buffer) {
            Ok(0) => return Discarded::Everything,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Discarded::SoFar,
            Err(_) => return Discarded::Everything,
        }
    }
    Discarded::Enough
}
