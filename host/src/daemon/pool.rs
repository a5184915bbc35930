//! The memory that one phone's connections may make the daemon hold, as windows.
//!
//! What a client's socket does not take waits in its connection's spill, never above its window;
//! so the sum of the windows is the bound on that memory. Half of the pool is reserved for the
//! smallest window of every connection the limit allows, so that admission never depends on what
//! others do; the other half is lent: generously while it is full, less as it empties.
//! Leaves out: who grows and when (`relay`), and the spills themselves.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// The smallest window of a connection, in bytes.
pub const LEAST_WINDOW: u32 = 4096;
/// The window of a new connection while the lent half has plenty: what every phone has seen from
/// every host (field 0x0200).
pub const USUAL_WINDOW: u32 = 131_072;
/// The largest window, for readers that empty theirs quickly.
pub const LARGEST_WINDOW: u32 = 524_288;
/// How many connections to one phone are open at once, unless told otherwise.
pub const DEFAULT_CONNECTIONS: usize = 10_000;
/// How many bytes one phone's windows may add up to, unless told otherwise.
pub const DEFAULT_WINDOW_BYTES: usize = 96 << 20;

/// Windows go by 256 bytes (PROTOCOL §3).
const STEP: usize = 256;
/// A connection gets at most this share of what is left to lend, so that the last ones to come
/// still find something.
const SHARE: usize = 64;
/// Nobody grows while less than this share of the lent half is left.
const GROWTH_RESERVE: usize = 4;

/// One phone's window memory; clones are the same pool.
#[derive(Clone, Debug)]
pub struct Pool(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    connections: usize,
    open: Cell<usize>,
    lendable: usize,
    lent: Cell<usize>,
    when_empty: RefCell<Option<Waker>>,
}

impl Pool {
    /// Makes a pool of `bytes` for at most `connections` at once; fewer when `bytes` does not
    /// hold twice their smallest windows.
    pub fn new(connections: usize, bytes: usize) -> Self {
        let lendable = bytes / 2;
        Self(Rc::new(Inner {
            connections: connections.min((bytes - lendable) / LEAST_WINDOW as usize),
            open: Cell::new(0),
            lendable,
            lent: Cell::new(0),
            when_empty: RefCell::new(None),
        }))
    }

    /// Admits one more connection, or none beyond the limit.
    pub fn admit(&self) -> Option<Lease> {
        let open = self.0.open.get();
        if open >= self.0.connections {
            return None;
        }
        self.0.open.set(open + 1);
        let mut lease = Lease { pool: Rc::clone(&self.0), window: LEAST_WINDOW };
        let share = (self.0.left() / SHARE).next_multiple_of(STEP);
        lease.borrow(share.min((USUAL_WINDOW - LEAST_WINDOW) as usize));
        Some(lease)
    }

    /// Counts the connections that hold a window.
    pub fn open(&self) -> usize {
        self.0.open.get()
    }

    /// Counts the bytes that are lent above the smallest windows.
    pub fn lent(&self) -> usize {
        self.0.lent.get()
    }

    /// Waits until no connection holds a window; one task at a time.
    pub fn poll_empty(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.0.open.get() == 0 {
            return Poll::Ready(());
        }
        *self.0.when_empty.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Inner {
    fn left(&self) -> usize {
        self.lendable.saturating_sub(self.lent.get())
    }
}

/// One connection's window; given back when dropped.
#[derive(Debug)]
pub struct Lease {
    pool: Rc<Inner>,
    window: u32,
}

impl Lease {
    /// Returns the window, in bytes: a multiple of 256, at least [`LEAST_WINDOW`].
    pub fn window(&self) -> u32 {
        self.window
    }

    /// Doubles the window, up to [`LARGEST_WINDOW`], if the pool has plenty left.
    pub fn grow(&mut self) -> bool {
        let more = self.window.min(LARGEST_WINDOW.saturating_sub(self.window)) as usize;
        let left = self.pool.left();
        if more == 0 || left < more + self.pool.lendable / GROWTH_RESERVE {
            return false;
        }
        self.borrow(more)
    }

    /// Takes `more` bytes of what is left, or all that is left, in whole steps.
    fn borrow(&mut self, more: usize) -> bool {
        let taken = more.min(self.pool.left()) / STEP * STEP;
        self.pool.lent.set(self.pool.lent.get() + taken);
        // A lease never exceeds LARGEST_WINDOW, which its callers keep to.
        self.window += taken as u32;
        taken > 0
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let borrowed = (self.window - LEAST_WINDOW) as usize;
        self.pool.lent.set(self.pool.lent.get() - borrowed);
        self.pool.open.set(self.pool.open.get() - 1);
        if self.pool.open.get() == 0
            && let Some(waker) = self.pool.when_empty.borrow_mut().take()
        {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)] // tests

    use super::*;

    fn default_pool() -> Pool {
        Pool::new(DEFAULT_CONNECTIONS, DEFAULT_WINDOW_BYTES)
    }

    #[test]
    fn first_connection_gets_the_usual_window() {
        let pool = default_pool();
        assert_eq!(pool.admit().unwrap().window(), USUAL_WINDOW);
    }

    #[test]
    fn windows_shrink_but_never_below_the_least_and_never_above_the_memory() {
        let pool = default_pool();
        let leases: Vec<_> = (0..DEFAULT_CONNECTIONS).map(|_| pool.admit().unwrap()).collect();
        let windows: Vec<_> = leases.iter().map(Lease::window).collect();
        assert!(windows.is_sorted_by(|a, b| a >= b));
        assert_eq!(*windows.first().unwrap(), USUAL_WINDOW);
        assert!(*windows.last().unwrap() >= LEAST_WINDOW);
        assert!(windows.iter().all(|window| window % 256 == 0));
        let sum: usize = windows.iter().map(|window| *window as usize).sum();
        assert!(sum <= DEFAULT_WINDOW_BYTES, "{sum}");
    }

    #[test]
    fn nobody_is_admitted_beyond_the_limit_until_one_leaves() {
        let pool = Pool::new(2, DEFAULT_WINDOW_BYTES);
        let first = pool.admit().unwrap();
        let _second = pool.admit().unwrap();
        assert!(pool.admit().is_none());
        drop(first);
        assert!(pool.admit().is_some());
    }

    #[test]
    fn too_little_memory_lowers_the_limit() {
        let pool = Pool::new(10, 2 * 3 * LEAST_WINDOW as usize);
        let leases: Vec<_> = std::iter::from_fn(|| pool.admit()).collect();
        assert_eq!(leases.len(), 3);
    }

    #[test]
    fn growth_doubles_to_the_largest_window_and_stops() {
        let pool = default_pool();
        let mut lease = pool.admit().unwrap();
        assert!(lease.grow());
        assert_eq!(lease.window(), 2 * USUAL_WINDOW);
        assert!(lease.grow());
        assert_eq!(lease.window(), LARGEST_WINDOW);
        assert!(!lease.grow());
        assert_eq!(lease.window(), LARGEST_WINDOW);
    }

    #[test]
    fn nobody_grows_out_of_the_last_quarter() {
        let pool = default_pool();
        let mut leases: Vec<_> =
            std::iter::repeat_with(|| pool.admit().unwrap()).take(200).collect();
        while leases.iter_mut().any(Lease::grow) {}
        assert!(pool.0.left() >= pool.0.lendable / GROWTH_RESERVE);
    }

    #[test]
    fn everything_is_given_back_at_the_end() {
        let pool = default_pool();
        let mut leases: Vec<_> =
            std::iter::repeat_with(|| pool.admit().unwrap()).take(50).collect();
        leases.iter_mut().for_each(|lease| {
            lease.grow();
        });
        assert!(pool.lent() > 0);
        drop(leases);
        assert_eq!((pool.open(), pool.lent()), (0, 0));
    }
}
