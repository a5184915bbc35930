//! One control transfer at a time, with a time limit and a few retries.

use crate::usb::{HostController, Setup};
use core::task::Poll;
use core::time::Duration;
use usbmux_core::Instant;

/// How often a control transfer is tried.
const TRIES: u8 = 3;

/// How long one try may take. USB 2.0 §9.2.6.4 allows 5 s; phones answer within milliseconds, and a
/// port reset cures what takes longer.
const PATIENCE: Duration = Duration::from_millis(1000);

/// How long a phone is left alone after a failure.
const PAUSE: Duration = Duration::from_millis(20);

/// All tries failed; the last one's kind does not matter to anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ControlFailed;

/// Whom a control transfer is for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    pub(crate) address: u8,
    pub(crate) max_packet: u8,
}

/// A control transfer in the making.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ControlTransfer {
    failures: u8,
    stage: Stage,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    Due { at: Instant },
    UnderWay { until: Instant },
}

impl ControlTransfer {
    /// Not begun.
    pub(crate) const fn new() -> Self {
        ControlTransfer { failures: 0, stage: Stage::Due { at: Instant::ZERO } }
    }

    /// Begins, asks, or begins again; to be called with the same `setup` until it is ready. After
    /// that the next call begins another transfer. `failed` counts the tries that failed.
    pub(crate) fn poll(
        &mut self,
        now: Instant,
        usb: &mut impl HostController,
        target: Target,
        setup: Setup,
        data: &mut [u8],
        failed: &mut u32,
    ) -> Poll<Result<usize, ControlFailed>> {
        match self.stage {
            Stage::Due { at } if now < at => return Poll::Pending,
            Stage::Due { .. } => {
                usb.start_control(target.address, target.max_packet, setup);
                self.stage = Stage::UnderWay { until: now + PATIENCE };
            }
            Stage::UnderWay { .. } => {}
        }
        match usb.poll_control(data) {
            Poll::Ready(Ok(length)) => {
                *self = Self::new();
                return Poll::Ready(Ok(length));
            }
            Poll::Pending if self.is_in_time(now) => return Poll::Pending,
            Poll::Pending | Poll::Ready(Err(_)) => {}
        }
        *failed = failed.wrapping_add(1);
        self.failures += 1;
        if self.failures >= TRIES {
            *self = Self::new();
            return Poll::Ready(Err(ControlFailed));
        }
        self.stage = Stage::Due { at: now + PAUSE };
        Poll::Pending
    }

    fn is_in_time(&self, now: Instant) -> bool {
        matches!(self.stage, Stage::UnderWay { until } if now < until)
    }

    /// When something is to be done without news from USB.
    pub(crate) fn due(&self) -> Instant {
        match self.stage {
            Stage::Due { at } => at,
            Stage::UnderWay { until } => until,
        }
    }
}
