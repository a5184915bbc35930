//! How long the microcontroller needs for what it does, counted in cycles.
//!
//! The firmware runs on this machine in no time; the model says how long the microcontroller would
//! have been busy: so much for a turn of the super-loop, and so much for every byte that it moves
//! over USB and over Ethernet. The figures are a guess at a Cortex-M3 without caches, on the slow
//! side; change them to see what becomes of the throughput.

use crate::time::Nanos;

/// A microcontroller's speed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cpu {
    /// Cycles in a second.
    pub clock_hz: u64,
    /// Cycles for one turn of the super-loop without any payload.
    pub turn_cycles: u64,
    /// Cycles for a byte over USB: from the FIFO to memory, and from there to the socket's buffer.
    pub usb_byte_cycles: u64,
    /// Cycles for a byte over Ethernet: the copy, and the checksum.
    pub ethernet_byte_cycles: u64,
}

impl Cpu {
    /// 72 MHz, as the STM32F107 has it: 64 KiB of RAM, full-speed USB, Ethernet.
    pub const MHZ_72: Cpu = Cpu {
        clock_hz: 72_000_000,
        turn_cycles: 1500,
        usb_byte_cycles: 3,
        ethernet_byte_cycles: 6,
    };

    /// 528 MHz, as the i.MX RT1060 has it, with caches: for high speed.
    pub const MHZ_528: Cpu = Cpu {
        clock_hz: 528_000_000,
        turn_cycles: 1500,
        usb_byte_cycles: 1,
        ethernet_byte_cycles: 2,
    };

    /// How long a turn takes that moved so many bytes.
    pub fn turn(&self, usb_bytes: u64, ethernet_bytes: u64) -> Nanos {
        let cycles = self.turn_cycles
            + usb_bytes * self.usb_byte_cycles
            + ethernet_bytes * self.ethernet_byte_cycles;
        Nanos(cycles * 1_000_000_000 / self.clock_hz.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_cost_cycles_and_cycles_cost_time() {
        assert_eq!(Cpu::MHZ_72.turn(0, 0), Nanos(20_833));
        assert_eq!(Cpu::MHZ_72.turn(512, 1460), Nanos((1500 + 1536 + 8760) * 1000 / 72));
    }
}
