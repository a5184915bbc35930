//! Notices at once when a client that has only shut down its sending side is gone altogether.
//!
//! Such a socket is readable for ever (end-of-file) and mostly writable too, so waiting for either
//! would spin. The kernel reports a hang-up without being asked: an epoll set of our own holds the
//! half-closed sockets with no interest but that, and one task waits for the set itself.
//! Leaves out: what a hang-up means for the connection (`relay`).

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use smol::Async;

/// How many hang-ups one look at the set takes along; the rest come with the next look.
const EVENTS_PER_LOOK: usize = 64;

/// The set of half-closed client sockets; clones are the same set.
#[derive(Clone)]
pub(crate) struct Hangups(Rc<Inner>);

struct Inner {
    set: Async<OwnedFd>,
    next_key: Cell<u64>,
    watched: RefCell<HashMap<u64, Rc<Watched>>>,
}

#[derive(Default)]
struct Watched {
    gone: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// One watched socket; it is watched until it is closed, and reported until this is dropped.
pub(crate) struct Watch {
    set: Hangups,
    key: u64,
    watched: Rc<Watched>,
}

impl Hangups {
    /// Makes an empty set.
    ///
    /// # Errors
    /// The process or the system has no file descriptor left.
    pub(crate) fn new() -> io::Result<Self> {
        let set = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Self(Rc::new(Inner {
            set: Async::new_nonblocking(set)?,
            next_key: Cell::new(0),
            watched: RefCell::default(),
        })))
    }

    /// Begins to watch a socket.
    ///
    /// # Errors
    /// The kernel has no memory for one more watch.
    pub(crate) fn watch(&self, socket: impl AsFd) -> io::Result<Watch> {
        let key = self.0.next_key.get();
        let flags = epoll::EventFlags::ONESHOT;
        epoll::add(&self.0.set, socket, epoll::EventData::new_u64(key), flags)?;
        self.0.next_key.set(key + 1);
        let watched = Rc::new(Watched::default());
        self.0.watched.borrow_mut().insert(key, Rc::clone(&watched));
        Ok(Watch { set: self.clone(), key, watched })
    }

    /// Serves the set for ever; one task does.
    pub(crate) async fn run(&self) -> io::Result<()> {
        let mut events: Vec<epoll::Event> = Vec::with_capacity(EVENTS_PER_LOOK);
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        loop {
            self.0.set.readable().await?;
            epoll::wait(&self.0.set, spare_capacity(&mut events), Some(&at_once))?;
            for event in events.drain(..) {
                if let Some(watched) = self.0.watched.borrow().get(&event.data.u64()) {
                    watched.gone.set(true);
                    if let Some(waker) = watched.waker.take() {
                        waker.wake();
                    }
                }
            }
        }
    }
}

impl Watch {
    /// Waits until the peer is gone.
    pub(crate) fn poll_gone(&self, cx: &Context<'_>) -> Poll<()> {
        if self.watched.gone.get() {
            return Poll::Ready(());
        }
        *self.watched.waker.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // The kernel forgets the socket when it is closed.
        self.set.0.watched.borrow_mut().remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)] // tests

    use std::future::poll_fn;
    use std::net::Shutdown;
    use std::os::unix::net::UnixStream;

    use futures_lite::future::or;

    use super::*;

    async fn until_gone(set: &Hangups, socket: &UnixStream) {
        let watch = set.watch(socket).unwrap();
        poll_fn(|cx| watch.poll_gone(cx)).await;
    }

    fn with_set(test: impl AsyncFnOnce(&Hangups)) {
        smol::block_on(async {
            let set = Hangups::new().unwrap();
            or(async { set.run().await.unwrap() }, test(&set)).await;
        });
    }

    #[test]
    fn hang_up_of_a_half_closed_socket_is_noticed() {
        with_set(async |set| {
            let (ours, theirs) = UnixStream::pair().unwrap();
            theirs.shutdown(Shutdown::Write).unwrap();
            let hang_up = async {
                // Let the watch begin first.
                smol::future::yield_now().await;
                drop(theirs);
                std::future::pending().await
            };
            or(until_gone(set, &ours), hang_up).await;
        });
    }

    #[test]
    fn hang_up_before_the_watch_is_noticed_too() {
        with_set(async |set| {
            let (ours, theirs) = UnixStream::pair().unwrap();
            drop(theirs);
            until_gone(set, &ours).await;
        });
    }

    #[test]
    fn dropped_watch_is_forgotten() {
        with_set(async |set| {
            let (ours, _theirs) = UnixStream::pair().unwrap();
            drop(set.watch(&ours).unwrap());
            assert!(set.0.watched.borrow().is_empty());
        });
    }
}
