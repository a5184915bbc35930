//! One phone: what its task and its connections share, and how a connection is opened.
//!
//! | file | subject |
//! |---|---|
//! | `link` | the engine and what stands beside it; connecting |
//! | `link/task` | the one task that runs the engine between USB pipe and connections |
//!
//! Leaves out: what a connection does with its bytes (`relay`), and who sees the phone (`registry`).

mod task;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant as Clock};

use smol::future::or;
use usbmux_core::{Config, ConnId, ConnectError, Instant, Mux, Role, Slot};

use super::ends::Ends;
use super::pool::Pool;
use super::registry::{ConnectFailure, Limits};
use super::relay::{Opening, Relay};
use crate::reactor::{Reactor, Timer};
pub(crate) use task::{LinkEnd, LinkTask};

/// The engine as a link uses it.
pub(crate) type Engine = Mux<Box<[Slot]>>;

/// Engine slots for each connection that the limit allows, as a fraction: a slot rests after its
/// connection, so the table is larger than the limit (16,384 for 10,000).
const SLOTS_PER_CONNECTION: (usize, usize) = (16_384, 10_000);
/// The smallest table, so that a low limit does not make clients wait for a slot to have rested.
const LEAST_SLOTS: usize = 256;
/// The largest table: one slot for each source port but 0.
const MOST_SLOTS: usize = 65_535;

/// How long a Connect may take in all: waiting for a link that greets its phone again, for a source
/// port, and for the phone. libusbmuxd gives up after 5 s (PROTOCOL §5) and is to hear a Result before.
const CONNECT_PATIENCE: Duration = Duration::from_millis(4500);

/// What one phone's task and its connections share.
pub(crate) struct Link {
    device_id: u32,
    /// Where the engine's time begins.
    origin: Cell<Clock>,
    pool: Pool,
    linger: Duration,
    reactor: Reactor,
    ends: Ends,
    stopping: Cell<bool>,
    /// Whether the log has heard that there are too many connections.
    limit_told: Cell<bool>,
    gone: Cell<bool>,
    shared: RefCell<Shared>,
    task: RefCell<Option<Waker>>,
    /// Connects that wait for the link to change.
    waiting: RefCell<Vec<Waker>>,
}

/// The engine and what stands beside it.
pub(crate) struct Shared {
    pub(crate) engine: Engine,
    /// The connection in each slot of the engine.
    relays: Vec<Option<Rc<Relay>>>,
    /// Connections that have, or may have, something to send, first come, first served. At most
    /// one entry each.
    ready: VecDeque<Rc<Relay>>,
}

impl Link {
    /// Makes the shared part of a link; nothing happens before its [`LinkTask`] runs.
    pub(crate) fn new(device_id: u32, limits: Limits, reactor: Reactor, ends: Ends) -> Rc<Self> {
        let (more, per) = SLOTS_PER_CONNECTION;
        let slots = limits.connections.saturating_mul(more).div_ceil(per);
        let slots = slots.clamp(LEAST_SLOTS, MOST_SLOTS);
        let engine = Mux::new(Role::Host, Config::HOST, vec![Slot::EMPTY; slots].into());
        let relays = std::iter::repeat_with(|| None).take(slots).collect();
        Rc::new(Self {
            device_id,
            origin: Cell::new(Clock::now()),
            pool: Pool::new(limits.connections, limits.window_bytes),
            linger: limits.linger,
            reactor,
            ends,
            stopping: Cell::new(false),
            limit_told: Cell::new(false),
            gone: Cell::new(false),
            shared: RefCell::new(Shared { engine, relays, ready: VecDeque::new() }),
            task: RefCell::new(None),
            waiting: RefCell::default(),
        })
    }

    /// Returns the phone's number, for the log.
    pub(crate) fn device_id(&self) -> u32 {
        self.device_id
    }

    /// Returns the memory for its connections' windows.
    pub(crate) fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Returns how long a phone may be silent towards a half-closed client.
    pub(crate) fn linger(&self) -> Duration {
        self.linger
    }

    /// Returns where the reasons of ends are kept.
    pub(crate) fn ends(&self) -> &Ends {
        &self.ends
    }

    /// Returns what its timers run on.
    pub(crate) fn reactor(&self) -> &Reactor {
        &self.reactor
    }

    /// Whether the daemon is about to exit: what clients have sent so far is all there is.
    pub(crate) fn stopping(&self) -> bool {
        self.stopping.get()
    }

    /// Returns the engine's time.
    pub(crate) fn now(&self) -> Instant {
        Instant::from_micros(self.origin.get().elapsed().as_micros() as u64)
    }

    /// Lets time pass at once.
    #[cfg(test)]
    fn skip(&self, time: Duration) {
        self.origin.set(self.origin.get() - time);
    }

    /// Returns a moment of the engine's time on the timers' clock.
    pub(crate) fn clock_at(&self, at: Instant) -> Clock {
        self.origin.get() + Duration::from_micros(at.as_micros())
    }

    /// Lets a connection do something with the engine, and the task act on what it did.
    pub(crate) fn with_engine<T>(&self, act: impl FnOnce(&mut Engine, Instant) -> T) -> T {
        let done = act(&mut self.shared.borrow_mut().engine, self.now());
        self.wake();
        done
    }

    /// Puts a connection in line for sending; it must not be in line already.
    pub(crate) fn enqueue(&self, relay: Rc<Relay>) {
        self.shared.borrow_mut().ready.push_back(relay);
        self.wake();
    }

    /// Connects to a port of the phone. Dropping the future gives the attempt up.
    pub(crate) async fn connect(self: &Rc<Self>, port: u16) -> Result<Rc<Relay>, ConnectFailure> {
        let give_up = async {
            Timer::after(&self.reactor, CONNECT_PATIENCE).await;
            Err(ConnectFailure::Refused)
        };
        or(self.open(port), give_up).await
    }

    async fn open(self: &Rc<Self>, port: u16) -> Result<Rc<Relay>, ConnectFailure> {
        let attempt = Attempt(Some(self.dial(port).await?));
        poll_fn(|cx| attempt.poll(cx)).await?;
        attempt.done().ok_or(ConnectFailure::Refused)
    }

    /// Has the engine begin a connection, as soon as it can.
    async fn dial(self: &Rc<Self>, port: u16) -> Result<Rc<Relay>, ConnectFailure> {
        loop {
            let retry_at = match self.begin(port) {
                Ok(relay) => return Ok(relay),
                Err(ConnectError::LinkDown) => None,
                Err(ConnectError::NoPort { retry_at }) => Some(retry_at),
                Err(error) => {
                    log::debug!("phone {}: port {port}: {error}", self.device_id);
                    return Err(ConnectFailure::Refused);
                }
            };
            if self.gone.get() {
                return Err(ConnectFailure::NoDevice);
            }
            if self.stopping.get() {
                return Err(ConnectFailure::Refused);
            }
            match retry_at {
                Some(at) => Timer::at(&self.reactor, self.clock_at(at)).await,
                None => self.changed().await,
            }
        }
    }

    fn begin(self: &Rc<Self>, port: u16) -> Result<Rc<Relay>, ConnectError> {
        if self.gone.get() || self.stopping.get() {
            return Err(ConnectError::LinkDown);
        }
        let Some(lease) = self.pool.admit() else {
            if !self.limit_told.replace(true) {
                log::warn!("phone {}: the limit of connections is reached", self.device_id);
            }
            return Err(ConnectError::NoSlot);
        };
        let conn = self.with_engine(|engine, now| engine.connect(now, port, lease.window()))?;
        let relay = Rc::new(Relay::new(Rc::clone(self), conn, port, lease));
        if let Some(place) = self.shared.borrow_mut().relays.get_mut(conn.slot()) {
            *place = Some(Rc::clone(&relay));
        }
        Ok(relay)
    }

    /// Forgets a connection whose handle is stale.
    pub(crate) fn forget(&self, conn: ConnId) {
        self.shared.borrow_mut().take(conn);
    }

    /// Ends all connections in an orderly way and admits no more.
    pub(crate) fn stop(&self) {
        self.stopping.set(true);
        let relays: Vec<_> = self.shared.borrow().relays.iter().flatten().cloned().collect();
        for relay in relays {
            relay.stop();
        }
    }

    /// Waits until the link comes up, fails or ends; bounded by the caller.
    async fn changed(&self) {
        let mut registered = false;
        poll_fn(|cx| {
            if registered {
                return Poll::Ready(());
            }
            registered = true;
            self.waiting.borrow_mut().push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    fn tell_waiting(&self) {
        for waker in self.waiting.take() {
            waker.wake();
        }
    }

    fn wake(&self) {
        if let Some(task) = &*self.task.borrow() {
            task.wake_by_ref();
        }
    }
}

impl Shared {
    fn relay(&self, conn: ConnId) -> Option<&Rc<Relay>> {
        self.relays.get(conn.slot())?.as_ref()
    }

    fn take(&mut self, conn: ConnId) -> Option<Rc<Relay>> {
        self.relays.get_mut(conn.slot())?.take()
    }
}

/// A connection that is being opened; given up when dropped before it is done.
struct Attempt(Option<Rc<Relay>>);

impl Attempt {
    fn poll(&self, cx: &mut Context<'_>) -> Poll<Result<(), ConnectFailure>> {
        match self.0.as_ref().map(|relay| relay.opening(cx)) {
            Some(Opening::Pending) => Poll::Pending,
            Some(Opening::Open) => Poll::Ready(Ok(())),
            Some(Opening::Failed(failure)) => Poll::Ready(Err(failure)),
            None => Poll::Ready(Err(ConnectFailure::Refused)),
        }
    }

    fn done(mut self) -> Option<Rc<Relay>> {
        self.0.take()
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if let Some(relay) = self.0.take() {
            relay.abandon();
        }
    }
}
