//! How another thread wakes the one that a reactor lives on.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::Wake;

use rustix::event::{EventfdFlags, eventfd};

/// Nobody has rung since the thread began its turn.
const AWAKE: u8 = 0;
/// Somebody has; the thread will not go to sleep.
const RUNG: u8 = 1;
/// The thread sleeps, or is about to: it hears only the kernel.
const ASLEEP: u8 = 2;

/// Wakes one thread; as a waker it may be called from all of them.
pub(super) struct Bell {
    state: AtomicU8,
    event: OwnedFd,
}

impl Bell {
    pub(super) fn new() -> io::Result<Self> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { state: AtomicU8::new(AWAKE), event })
    }

    /// A turn begins, in which everything is done that was rung for so far; to ring in it costs nothing.
    pub(super) fn awake(&self) {
        // By reading who rang, this thread sees what they did before.
        self.state.swap(AWAKE, Ordering::SeqCst);
    }

    /// The turn is over; says whether nobody has rung during it, so that the thread may sleep.
    pub(super) fn asleep(&self) -> bool {
        let order = Ordering::SeqCst;
        self.state.compare_exchange(AWAKE, ASLEEP, order, order).is_ok()
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.state.swap(RUNG, Ordering::SeqCst) == ASLEEP {
            // It fails only when the counter is full, and then the thread is awake.
            let _ = rustix::io::write(&self.event, &1_u64.to_ne_bytes());
        }
    }
}
