//! Waits for everything that happens while bytes move: for sockets, for moments, and for other
//! threads, of which nusb's tells when a USB transfer is done.
//!
//! A round trip through the daemon is short enough for the waiting to be a large part of it. The
//! reactor under smol asks the kernel five things each time it waits and one more for each socket
//! that is waited for again. This one asks one: a socket is registered once, its changes are told as
//! they happen (edge-triggered), the alarm is set only when something is due earlier than what it is set
//! for, and a thread that wakes a sleeping one writes once into what need not be read.
//!
//! | file | subject |
//! |---|---|
//! | `reactor` | the kernel's set of what is waited for, and who looks at it |
//! | `reactor/source` | one socket: what is known of it, and who wants to know more |
//! | `reactor/timer` | moments |
//! | `reactor/bell` | waking this thread from another |
//!
//! There is one for each thread that needs one. [`block_on`] drives it and a future; under another
//! executor's `block_on` somebody has to serve it. Rare things (signals, files,
//! USB devices that come and go) are left to smol, whose own thread wakes this one.

mod bell;
mod source;
#[cfg(test)]
mod tests;
mod timer;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::{Future, pending};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::time::{TimerfdClockId, TimerfdFlags};
use smol::Async;

use self::bell::Bell;
use self::source::Readiness;
pub(crate) use self::source::Source;
pub(crate) use self::timer::Timer;

/// How many changes one look takes along; the rest come with the next look.
const EVENTS_PER_LOOK: usize = 64;

/// What the kernel tells with a change of the bell and of the alarm; sockets have smaller keys.
const BELL: u64 = u64::MAX;
const ALARM: u64 = u64::MAX - 1;

thread_local! {
    static HERE: RefCell<Weak<Inner>> = const { RefCell::new(Weak::new()) };
}

/// One thread's reactor; clones are the same.
#[derive(Clone)]
pub(crate) struct Reactor(Rc<Inner>);

struct Inner {
    set: OwnedFd,
    alarm: OwnedFd,
    bell: Arc<Bell>,
    events: RefCell<Vec<epoll::Event>>,
    sources: RefCell<Sources>,
    timers: RefCell<BTreeMap<(Instant, u64), Waker>>,
    last_timer: Cell<u64>,
    /// When the alarm goes off; nothing is due earlier.
    armed: Cell<Option<Instant>>,
    /// Whether `block_on` looks at the set.
    driven: Cell<bool>,
}

/// The registered sockets by their places, and the places that are free.
#[derive(Default)]
struct Sources {
    places: Vec<Option<Rc<Readiness>>>,
    free: Vec<usize>,
    /// How many there have been: a key is never used twice, for news of a socket may come late.
    registered: u32,
}

/// Runs a future on this thread to its end.
///
/// # Errors
/// The process or the system has no file descriptor left.
pub fn block_on<T>(future: impl Future<Output = T>) -> io::Result<T> {
    let reactor = Reactor::here()?;
    let _driving = Driving::begin(&reactor);
    let waker = Waker::from(Arc::clone(&reactor.0.bell));
    let mut cx = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        reactor.0.bell.awake();
        if let Poll::Ready(done) = future.as_mut().poll(&mut cx) {
            return Ok(done);
        }
        // Even if there is more to do at once, sockets and alarm are to be heard.
        let may_sleep = reactor.0.bell.asleep();
        reactor.look(may_sleep)?;
    }
}

/// That `block_on` looks at the set.
struct Driving<'r>(&'r Reactor);

impl<'r> Driving<'r> {
    fn begin(reactor: &'r Reactor) -> Self {
        reactor.0.driven.set(true);
        Self(reactor)
    }
}

impl Drop for Driving<'_> {
    fn drop(&mut self) {
        self.0.0.driven.set(false);
    }
}

impl Reactor {
    /// Returns this thread's reactor, or makes it.
    ///
    /// # Errors
    /// The process or the system has no file descriptor left.
    pub(crate) fn here() -> io::Result<Self> {
        HERE.with_borrow_mut(|here| {
            if let Some(inner) = here.upgrade() {
                return Ok(Self(inner));
            }
            let inner = Rc::new(Inner::new()?);
            *here = Rc::downgrade(&inner);
            Ok(Self(inner))
        })
    }

    /// Serves sockets and timers for ever, as a task of whatever executor runs on this thread; does
    /// nothing where [`block_on`] does it.
    pub(crate) async fn serve(&self) -> io::Result<()> {
        if self.0.driven.get() {
            return pending().await;
        }
        let set = Async::new_nonblocking(self.0.set.try_clone()?)?;
        loop {
            set.readable().await?;
            self.look(false)?;
        }
    }

    /// Takes along what has happened, and wakes who wants to know; waits for it if it may.
    fn look(&self, may_sleep: bool) -> io::Result<()> {
        const AT_ONCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
        let timeout = if may_sleep { None } else { Some(&AT_ONCE) };
        let mut events = self.0.events.take();
        match epoll::wait(&self.0.set, spare_capacity(&mut events), timeout) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        // What follows wakes tasks of this thread, which need not be told to the kernel.
        self.0.bell.awake();
        for event in events.drain(..) {
            match event.data.u64() {
                BELL => {}
                ALARM => self.0.ring_alarm()?,
                key => {
                    // Waking may end a task, and with it sockets: nothing is borrowed meanwhile.
                    let readiness = self.0.sources.borrow().get(key);
                    if let Some(readiness) = readiness {
                        readiness.changed(event.flags);
                    }
                }
            }
        }
        self.0.events.replace(events);
        Ok(())
    }
}

impl Inner {
    fn new() -> io::Result<Self> {
        let set = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let alarm = rustix::time::timerfd_create(TimerfdClockId::Monotonic, flags)?;
        let bell = Bell::new()?;
        // Told of at each change, neither of them has to be read.
        let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&set, &alarm, epoll::EventData::new_u64(ALARM), flags)?;
        epoll::add(&set, bell.as_fd(), epoll::EventData::new_u64(BELL), flags)?;
        Ok(Self {
            set,
            alarm,
            bell: Arc::new(bell),
            events: RefCell::new(Vec::with_capacity(EVENTS_PER_LOOK)),
            sources: RefCell::default(),
            timers: RefCell::default(),
            last_timer: Cell::new(0),
            armed: Cell::new(None),
            driven: Cell::new(false),
        })
    }
}

impl Sources {
    fn get(&self, key: u64) -> Option<Rc<Readiness>> {
        let place = self.places.get(place(key))?.as_ref()?;
        (place.key() == key).then(|| Rc::clone(place))
    }

    fn insert(&mut self) -> Rc<Readiness> {
        let at = self.free.pop().unwrap_or_else(|| {
            self.places.push(None);
            self.places.len() - 1
        });
        self.registered = self.registered.wrapping_add(1);
        // A process has fewer than 2^32 descriptors.
        let readiness = Rc::new(Readiness::new(u64::from(self.registered) << 32 | at as u64));
        if let Some(place) = self.places.get_mut(at) {
            *place = Some(Rc::clone(&readiness));
        }
        readiness
    }

    fn remove(&mut self, key: u64) {
        if let Some(gone) = self.places.get_mut(place(key)) {
            *gone = None;
            self.free.push(place(key));
        }
    }
}

/// The place in a key.
fn place(key: u64) -> usize {
    key as u32 as usize
}
