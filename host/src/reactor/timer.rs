//! Moments that are waited for.
//!
//! Most of them go away before they come, so the kernel hears of one only if it is earlier than
//! all others, and of none that went away.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use rustix::time::{Itimerspec, TimerfdTimerFlags, Timespec, timerfd_settime};

use super::{Inner, Reactor};

/// The shortest time that an alarm can be set for: 0 would switch it off.
const SHORTEST: Duration = Duration::from_nanos(1);

/// A future that is ready at a moment, and from then on.
pub(crate) struct Timer {
    reactor: Reactor,
    at: Option<Instant>,
    /// Where it waits among the reactor's timers.
    key: Option<(Instant, u64)>,
}

impl Timer {
    /// Makes one that is ready at this moment.
    pub(crate) fn at(reactor: &Reactor, at: Instant) -> Self {
        Self { reactor: reactor.clone(), at: Some(at), key: None }
    }

    /// Makes one that is ready after this time.
    pub(crate) fn after(reactor: &Reactor, time: Duration) -> Self {
        Self::at(reactor, Instant::now() + time)
    }

    /// Makes one that is never ready, until it is set.
    pub(crate) fn never(reactor: &Reactor) -> Self {
        Self { reactor: reactor.clone(), at: None, key: None }
    }

    /// Chooses another moment.
    pub(crate) fn set_at(&mut self, at: Instant) {
        self.forget();
        self.at = Some(at);
    }

    fn forget(&mut self) {
        if let Some(key) = self.key.take() {
            // A waker may end a task with other timers: it is dropped when nothing is borrowed.
            let waker = self.reactor.0.timers.borrow_mut().remove(&key);
            drop(waker);
        }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.forget();
    }
}

impl Future for Timer {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(at) = self.at else {
            return Poll::Pending;
        };
        let now = Instant::now();
        if now >= at {
            self.forget();
            return Poll::Ready(());
        }
        let inner = &self.reactor.0;
        let key = self.key.unwrap_or_else(|| {
            inner.last_timer.set(inner.last_timer.get() + 1);
            (at, inner.last_timer.get())
        });
        let other = inner.timers.borrow_mut().insert(key, cx.waker().clone());
        drop(other);
        if inner.armed.get().is_none_or(|armed| at < armed)
            && let Err(error) = inner.arm(at, now)
        {
            log::warn!("a timer cannot be set: {error}");
        }
        self.key = Some(key);
        Poll::Pending
    }
}

impl Inner {
    /// The alarm has gone off: wakes whose time has come, and sets it for the next.
    pub(super) fn ring_alarm(&self) -> io::Result<()> {
        self.armed.set(None);
        let now = Instant::now();
        for waker in self.due(now) {
            waker.wake();
        }
        let next = self.timers.borrow().keys().next().map(|(at, _)| *at);
        next.map_or(Ok(()), |at| self.arm(at, now))
    }

    fn due(&self, now: Instant) -> Vec<Waker> {
        let mut timers = self.timers.borrow_mut();
        let later = timers.split_off(&(now + SHORTEST, 0));
        std::mem::replace(&mut *timers, later).into_values().collect()
    }

    fn arm(&self, at: Instant, now: Instant) -> io::Result<()> {
        let left = at.saturating_duration_since(now).max(SHORTEST);
        // Further away than the clock goes is never.
        let it_value =
            Timespec::try_from(left).unwrap_or(Timespec { tv_sec: i64::MAX, tv_nsec: 0 });
        let it_interval = Timespec { tv_sec: 0, tv_nsec: 0 };
        let value = Itimerspec { it_interval, it_value };
        timerfd_settime(&self.alarm, TimerfdTimerFlags::empty(), &value)?;
        self.armed.set(Some(at));
        Ok(())
    }
}
