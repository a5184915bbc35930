//! Simulated time, in nanoseconds: one packet at high speed takes nine of a microsecond's tenths,
//! too few for the microseconds in which engine and TCP count.

use std::ops::{Add, AddAssign, Sub};
use std::time::Duration;
use usbmux_core::Instant;

/// A point in simulated time, or a stretch of it, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nanos(pub u64);

impl Nanos {
    /// The start of the simulation.
    pub const ZERO: Nanos = Nanos(0);

    /// Makes a time of microseconds.
    pub const fn from_micros(micros: u64) -> Self {
        Nanos(micros.saturating_mul(1000))
    }

    /// Makes a time of milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Nanos(millis.saturating_mul(1_000_000))
    }

    /// The engine's clock at this time: whole microseconds that have passed.
    pub const fn instant(self) -> Instant {
        Instant::from_micros(self.0 / 1000)
    }

    /// TCP's clock at this time.
    pub fn tcp_instant(self) -> smoltcp::time::Instant {
        smoltcp::time::Instant::from_micros(i64::try_from(self.0 / 1000).unwrap_or(i64::MAX))
    }

    /// The same as the standard library has it.
    pub const fn duration(self) -> Duration {
        Duration::from_nanos(self.0)
    }

    /// In milliseconds, with fractions.
    pub fn as_millis_f64(self) -> f64 {
        self.0 as f64 / 1e6
    }
}

impl From<Instant> for Nanos {
    fn from(at: Instant) -> Self {
        Nanos::from_micros(at.as_micros())
    }
}

impl From<smoltcp::time::Instant> for Nanos {
    fn from(at: smoltcp::time::Instant) -> Self {
        Nanos::from_micros(u64::try_from(at.total_micros()).unwrap_or(0))
    }
}

impl From<Duration> for Nanos {
    fn from(time: Duration) -> Self {
        Nanos(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
    }
}

impl Add for Nanos {
    type Output = Nanos;
    fn add(self, rhs: Nanos) -> Nanos {
        Nanos(self.0.saturating_add(rhs.0))
    }
}

impl AddAssign for Nanos {
    fn add_assign(&mut self, rhs: Nanos) {
        *self = *self + rhs;
    }
}

impl Sub for Nanos {
    type Output = Nanos;
    /// The time from `rhs` to `self`; zero if `rhs` is the later one.
    fn sub(self, rhs: Nanos) -> Nanos {
        Nanos(self.0.saturating_sub(rhs.0))
    }
}
