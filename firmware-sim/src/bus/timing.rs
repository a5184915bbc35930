//! How long things take on a USB cable (USB 2.0 §5.8.4, §5.11.3, §7.1.18).
//!
//! Everything is counted in byte times, as the specification's tables do. Bit stuffing is left out,
//! as it is there.

use crate::time::Nanos;
use usbmux_dongle::usb::Speed;

/// The byte times of one speed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Size of a full bulk packet, in bytes.
    pub max_packet: u16,
    /// Byte times in a frame of 1 ms, or in a microframe of 125 µs.
    frame_bytes: u64,
    /// How long such a frame is.
    frame: Nanos,
    /// What a bulk transaction needs beside its data: SYNC, PIDs, address, CRCs, turn-arounds.
    overhead_bytes: u64,
    /// A token and the NAK it gets, or a token and the silence after which the host gives up.
    refusal_bytes: u64,
    /// The start of a frame: its own packet.
    start_bytes: u64,
    /// How long an IN endpoint that had nothing to say is left alone: a choice of the driver's, for
    /// which controllers have a register. Each token that gets a NAK takes a tenth of a full-speed
    /// packet's time from OUT; asked after every packet, that is a tenth of the pipe. The price is that
    /// a phone's first words after a silence wait so long.
    pub(crate) in_pause: Nanos,
}

/// Full speed: table 5-9, 13 bytes of overhead in frames of 1500, so 19 packets of 64 bytes.
const FULL: Timing = Timing {
    max_packet: 64,
    frame_bytes: 1500,
    frame: Nanos::from_millis(1),
    overhead_bytes: 13,
    refusal_bytes: 8,
    start_bytes: 6,
    in_pause: Nanos::from_micros(250),
};

/// High speed: table 5-10, 55 bytes of overhead in microframes of 7500, so 13 packets of 512 bytes.
const HIGH: Timing = Timing {
    max_packet: 512,
    frame_bytes: 7500,
    frame: Nanos::from_micros(125),
    overhead_bytes: 55,
    refusal_bytes: 36,
    start_bytes: 36,
    in_pause: Nanos::from_micros(20),
};

impl Timing {
    /// Of this speed.
    pub const fn of(speed: Speed) -> Self {
        match speed {
            Speed::Full => FULL,
            Speed::High => HIGH,
        }
    }

    /// What bulk packets carry at most in a second, in bytes: full speed 1.216 MB/s.
    pub fn bulk_bytes_per_second(&self) -> u64 {
        let transaction = u64::from(self.max_packet) + self.overhead_bytes;
        let packets = (self.frame_bytes - self.start_bytes) / transaction;
        packets * u64::from(self.max_packet) * (1_000_000_000 / self.frame.0)
    }

    /// How long a transaction with so many bytes of data takes.
    pub fn transaction(&self, bytes: usize) -> Nanos {
        self.bytes(bytes as u64 + self.overhead_bytes)
    }

    /// How long a transaction takes that is answered by NAK or by nobody.
    pub fn refusal(&self) -> Nanos {
        self.bytes(self.refusal_bytes)
    }

    /// How long a control transfer takes whose data stage has so many bytes, in packets of
    /// `max_packet`.
    pub fn control(&self, bytes: usize, max_packet: u8) -> Nanos {
        const SETUP: usize = 8;
        let packets = bytes.div_ceil(usize::from(max_packet.max(1))) as u64;
        // The setup stage, the data stage, the status stage's empty packet.
        self.bytes((SETUP + bytes) as u64 + (2 + packets) * self.overhead_bytes)
    }

    /// The earliest time from `at` on at which a transaction with up to so many bytes may start: a
    /// host starts none that the frame could be too short for, and none before the frame's own
    /// packet is over.
    pub fn start(&self, at: Nanos, bytes: usize) -> Nanos {
        let begin = Nanos(at.0 / self.frame.0 * self.frame.0);
        let first = begin + self.bytes(self.start_bytes);
        let start = at.max(first);
        if start + self.transaction(bytes) <= begin + self.frame {
            return start;
        }
        begin + self.frame + self.bytes(self.start_bytes)
    }

    fn bytes(&self, bytes: u64) -> Nanos {
        Nanos(bytes * self.frame.0 / self.frame_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packets_in(timing: Timing, frames: u64) -> u64 {
        let (mut at, mut count) = (Nanos::ZERO, 0);
        let size = usize::from(timing.max_packet);
        loop {
            at = timing.start(at, size);
            if at >= Nanos(timing.frame.0 * frames) {
                return count;
            }
            at += timing.transaction(size);
            count += 1;
        }
    }

    #[test]
    fn a_frame_holds_as_many_packets_as_the_specification_says() {
        assert_eq!(packets_in(FULL, 1000), 19_000);
        assert_eq!(packets_in(HIGH, 8000), 13 * 8000);
        assert_eq!(FULL.bulk_bytes_per_second(), 1_216_000);
        assert_eq!(HIGH.bulk_bytes_per_second(), 53_248_000);
    }

    #[test]
    fn no_transaction_crosses_the_end_of_a_frame() {
        for at in (0..2_000_000).step_by(997) {
            let start = FULL.start(Nanos(at), 64);
            let end = start + FULL.transaction(64);
            assert!(start >= Nanos(at) && start.0 / 1_000_000 == (end.0 - 1) / 1_000_000);
        }
    }
}
