//! Who waits for what: a waker, and a flag with a waker. Without the feature `async` they are
//! nothing and cost nothing, so that the code around them has no conditions.

#[cfg(feature = "async")]
use core::task::{Context, Poll, Waker};

/// The task that waits for one direction of one socket. The last one to ask is woken, once.
#[derive(Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub(super) struct Waiting {
    #[cfg(feature = "async")]
    #[cfg_attr(feature = "defmt", defmt(Debug2Format))]
    waker: Option<Waker>,
}

impl Waiting {
    pub(super) const NOBODY: Self = Waiting {
        #[cfg(feature = "async")]
        waker: None,
    };

    /// Wakes who waits.
    pub(super) fn wake(&mut self) {
        #[cfg(feature = "async")]
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Remembers whom to wake.
    #[cfg(feature = "async")]
    pub(super) fn remember(&mut self, cx: &Context<'_>) {
        match &mut self.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            None => self.waker = Some(cx.waker().clone()),
        }
    }
}

/// Whether an application left something to do for the run loop since the loop asked last.
#[derive(Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub(super) struct Work {
    #[cfg(feature = "async")]
    is_due: bool,
    #[cfg(feature = "async")]
    run_loop: Waiting,
}

impl Work {
    pub(super) const NONE: Self = Work {
        #[cfg(feature = "async")]
        is_due: false,
        #[cfg(feature = "async")]
        run_loop: Waiting::NOBODY,
    };

    /// An application did something.
    pub(super) fn is_left(&mut self) {
        #[cfg(feature = "async")]
        {
            self.is_due = true;
            self.run_loop.wake();
        }
    }

    /// Takes what is left to do, or waits for it.
    #[cfg(feature = "async")]
    pub(super) fn poll(&mut self, cx: &Context<'_>) -> Poll<()> {
        if core::mem::take(&mut self.is_due) {
            return Poll::Ready(());
        }
        self.run_loop.remember(cx);
        Poll::Pending
    }
}
