//! Time as the engine sees it: an argument, never a clock.

use core::fmt;
use core::ops::{Add, Sub};
use core::time::Duration;

/// A point in time, in microseconds since an origin of the caller's choice.
///
/// The engine only compares instants and adds durations to them, so any monotonic counter will do:
/// the time since boot on a microcontroller, `std::time::Instant` minus a start on a host, a plain
/// number in a test.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Instant(u64);

impl Instant {
    /// The origin.
    pub const ZERO: Instant = Instant(0);

    /// Later than anything that happens.
    pub(crate) const NEVER: Instant = Instant(u64::MAX);

    /// Makes an instant from microseconds since the origin.
    pub const fn from_micros(micros: u64) -> Self {
        Instant(micros)
    }

    /// Makes an instant from milliseconds since the origin; saturates.
    pub const fn from_millis(millis: u64) -> Self {
        Instant(millis.saturating_mul(1000))
    }

    /// Microseconds since the origin.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// The instant `millis` milliseconds later; saturates at the end of time.
    #[inline(never)] // 64-bit arithmetic is long on small targets
    pub(crate) const fn plus_millis(self, millis: u32) -> Self {
        Instant(self.0.saturating_add(millis as u64 * 1000))
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;
    /// The instant that much later; saturates at the end of time.
    fn add(self, rhs: Duration) -> Instant {
        let micros = u64::try_from(rhs.as_micros()).unwrap_or(u64::MAX);
        Instant(self.0.saturating_add(micros))
    }
}

impl Sub<Instant> for Instant {
    type Output = Duration;
    /// The time from `rhs` to `self`; zero if `rhs` is the later one.
    fn sub(self, rhs: Instant) -> Duration {
        Duration::from_micros(self.0.saturating_sub(rhs.0))
    }
}

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} µs", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates_at_both_ends() {
        assert_eq!(Instant::from_micros(5) + Duration::from_micros(3), Instant::from_micros(8));
        assert_eq!(Instant::from_micros(u64::MAX) + Duration::MAX, Instant::from_micros(u64::MAX));
        assert_eq!(Instant::ZERO - Instant::from_micros(1), Duration::ZERO);
        assert_eq!(Instant::from_millis(2) - Instant::ZERO, Duration::from_millis(2));
    }
}
