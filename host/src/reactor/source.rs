//! One socket as its reactor knows it.
//!
//! The kernel tells of changes, so what it told before is remembered: a socket counts as readable
//! until a read found less than it asked for, and as writable until a write did.
//! Leaves out: reading and writing.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use rustix::event::epoll::{self, EventData, EventFlags};

use super::Reactor;

/// Something to wait for, or several of them.
type What = u8;
/// Bytes, a client, end-of-file or an error can be read.
const READABLE: What = 1;
/// There is room to write, or an error to be told of.
const WRITABLE: What = 2;
/// The peer is gone in both directions.
const HUNG_UP: What = 4;
/// Nothing follows what can be read: then a short read is no sign of having read it all.
const ENDED: What = 8;

/// What the kernel tells of each socket; of room to write only while somebody waits for it, for else
/// each of the peer's reads would wake us.
const ALWAYS: EventFlags = EventFlags::IN.union(EventFlags::RDHUP).union(EventFlags::ET);

/// One socket's readiness. It is registered when it is waited for first, and until it is closed, which
/// has to follow the drop of this.
#[derive(Default)]
pub(crate) struct Source {
    registered: RefCell<Option<Registered>>,
    /// What is not so before the first registration.
    lacking: Cell<What>,
}

struct Registered {
    reactor: Reactor,
    readiness: Rc<Readiness>,
}

/// What is known of a socket, and who wants to know more.
pub(super) struct Readiness {
    key: u64,
    ready: Cell<What>,
    wanted: Cell<What>,
    /// Whether the kernel tells of room to write.
    tells_room: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Source {
    /// Waits until a read may find something; one task at a time waits for a socket.
    pub(crate) fn poll_readable(
        &self,
        socket: impl AsFd,
        cx: &Context<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll(socket, READABLE, cx)
    }

    /// Waits until a write may find room.
    pub(crate) fn poll_writable(
        &self,
        socket: impl AsFd,
        cx: &Context<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll(socket, WRITABLE, cx)
    }

    /// Waits until the peer is gone in both directions.
    pub(crate) fn poll_hung_up(&self, socket: impl AsFd, cx: &Context<'_>) -> Poll<io::Result<()>> {
        self.poll(socket, HUNG_UP, cx)
    }

    /// A read has found nothing, or less than it asked for.
    pub(crate) fn was_read(&self, found_nothing: bool) {
        let known = self.registered.borrow();
        let Some(Registered { readiness, .. }) = &*known else {
            self.lacking.set(self.lacking.get() | READABLE);
            return;
        };
        // What the socket says goes before what the kernel told of it.
        if found_nothing || readiness.ready.get() & ENDED == 0 {
            readiness.ready.set(readiness.ready.get() & !(READABLE | ENDED));
        }
    }

    /// A write has found less room than it asked for.
    pub(crate) fn was_filled(&self) {
        match &*self.registered.borrow() {
            Some(Registered { readiness, .. }) => {
                readiness.ready.set(readiness.ready.get() & !WRITABLE);
            }
            None => self.lacking.set(self.lacking.get() | WRITABLE),
        }
    }

    fn poll(&self, socket: impl AsFd, what: What, cx: &Context<'_>) -> Poll<io::Result<()>> {
        let mut registered = self.registered.borrow_mut();
        let known = match &mut *registered {
            Some(known) => known,
            // Whoever has not tried yet may find that there is nothing to wait for.
            None if (READABLE | WRITABLE) & !self.lacking.get() & what != 0 => {
                return Poll::Ready(Ok(()));
            }
            none => none.insert(Registered::new(&socket, self.lacking.get())?),
        };
        known.readiness.wait(&known.reactor, socket, what, cx)
    }
}

impl Registered {
    /// Registers a socket; what it is ready for is told with the next look.
    fn new(socket: impl AsFd, lacking: What) -> io::Result<Self> {
        let reactor = Reactor::here()?;
        let readiness = reactor.0.sources.borrow_mut().insert();
        // The kernel does not tell of room that was there before.
        readiness.ready.set(WRITABLE & !lacking);
        let registered = Self { reactor, readiness };
        let data = EventData::new_u64(registered.readiness.key);
        epoll::add(&registered.reactor.0.set, socket, data, ALWAYS)?;
        Ok(registered)
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        // The kernel forgets the socket when it is closed.
        self.reactor.0.sources.borrow_mut().remove(self.readiness.key);
    }
}

impl Readiness {
    pub(super) fn new(key: u64) -> Self {
        Self {
            key,
            ready: Cell::new(0),
            wanted: Cell::new(0),
            tells_room: Cell::new(false),
            waker: RefCell::new(None),
        }
    }

    pub(super) fn key(&self) -> u64 {
        self.key
    }

    /// The kernel has told of changes.
    pub(super) fn changed(&self, flags: EventFlags) {
        let gone = flags.intersects(EventFlags::HUP | EventFlags::ERR);
        let ended = gone || flags.contains(EventFlags::RDHUP);
        let mut ready = self.ready.get();
        for (so, what) in [
            (ended || flags.contains(EventFlags::IN), READABLE),
            (gone || flags.contains(EventFlags::OUT), WRITABLE),
            (gone, HUNG_UP),
            (ended, ENDED),
        ] {
            ready |= if so { what } else { 0 };
        }
        self.ready.set(ready);
        let wanted = self.wanted.get();
        if wanted & ready != 0 {
            self.wanted.set(wanted & !ready);
            let waker = self.waker.take();
            if let Some(waker) = &waker {
                waker.wake_by_ref();
            }
            self.waker.replace(waker);
        }
    }

    fn wait(
        &self,
        reactor: &Reactor,
        socket: impl AsFd,
        what: What,
        cx: &Context<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ready.get() & what != 0 {
            return Poll::Ready(Ok(()));
        }
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        self.wanted.set(self.wanted.get() | what);
        let wants_room = self.wanted.get() & WRITABLE != 0;
        if wants_room != self.tells_room.get() {
            let flags = if wants_room { ALWAYS | EventFlags::OUT } else { ALWAYS };
            let data = EventData::new_u64(self.key);
            epoll::modify(&reactor.0.set, socket, data, flags)?;
            self.tells_room.set(wants_room);
        }
        Poll::Pending
    }
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source").finish_non_exhaustive()
    }
}
