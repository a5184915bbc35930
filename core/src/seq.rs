//! Sequence numbers of the pseudo-TCP: 32 bits that wrap.

use core::fmt;

/// A sequence or acknowledgement number: a count of bytes modulo 2^32 (RFC 793 §3.3).
///
/// There is no retransmission in usbmux; the numbers exist for flow control alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct SeqNumber(pub u32);

impl SeqNumber {
    /// The number `bytes` further on.
    #[must_use]
    pub const fn plus(self, bytes: u32) -> Self {
        SeqNumber(self.0.wrapping_add(bytes))
    }

    /// The number `bytes` before.
    #[must_use]
    pub const fn minus(self, bytes: u32) -> Self {
        SeqNumber(self.0.wrapping_sub(bytes))
    }

    /// How many bytes `self` lies behind `earlier`; negative if it lies before it.
    ///
    /// Meaningful while the two are less than 2^31 apart.
    pub const fn since(self, earlier: SeqNumber) -> i32 {
        self.0.wrapping_sub(earlier.0).cast_signed()
    }
}

impl fmt::Display for SeqNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_survive_the_wrap() {
        let last = SeqNumber(u32::MAX);
        assert_eq!(last.plus(1), SeqNumber(0));
        assert_eq!(SeqNumber(0).minus(1), last);
        assert_eq!(SeqNumber(5).since(last), 6);
        assert_eq!(last.since(SeqNumber(5)), -6);
        assert_eq!(last.since(last), 0);
    }
}
