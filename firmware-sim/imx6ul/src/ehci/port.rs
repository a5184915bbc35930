//! The root port: plugged, reset, enabled.
//!
//! The register's change bits are cleared by writing them back as they are read.

use super::register;
use crate::chip::{UsbRegisters, now};
use core::time::Duration;
use usbmux_core::Instant;
use usbmux_dongle::usb::{Port, Speed};

/// How long a root port is held in reset (USB 2.0 §7.1.7.5: TDRSTR).
const RESET: Duration = Duration::from_millis(50);
/// How long the controller may take to end the reset after that (EHCI §2.3.9: 2 ms), with a margin.
const RESET_ENDS: Duration = Duration::from_millis(5);

/// Bits of the port's register (EHCI §2.3.9).
mod bit {
    pub(super) const CONNECTED: u32 = 1 << 0;
    pub(super) const CONNECT_CHANGED: u32 = 1 << 1;
    pub(super) const ENABLED: u32 = 1 << 2;
    pub(super) const RESET: u32 = 1 << 8;
    pub(super) const POWER: u32 = 1 << 12;
}

#[derive(Clone, Copy)]
enum State {
    /// `again`: the device is gone, but there is another already.
    Empty {
        again: bool,
    },
    Attached,
    /// The reset is held until then.
    Held(Instant),
    /// The controller ends the reset, until then at the latest.
    Ending(Instant),
    Enabled,
}

/// The port and what was done to it.
pub(super) struct RootPort {
    state: State,
}

impl RootPort {
    pub(super) fn new() -> Self {
        RootPort { state: State::Empty { again: false } }
    }

    pub(super) fn power(&self, registers: &UsbRegisters) {
        registers.write(register::PORT, registers.read(register::PORT) | bit::POWER);
    }

    pub(super) fn is_connected(&self, registers: &UsbRegisters) -> bool {
        registers.read(register::PORT) & (bit::CONNECTED | bit::CONNECT_CHANGED) == bit::CONNECTED
    }

    /// Begins a reset, if there is a device.
    pub(super) fn reset(&mut self, registers: &UsbRegisters) {
        let bits = registers.read(register::PORT);
        if bits & bit::CONNECTED != 0 {
            registers.write(register::PORT, bits & !bit::ENABLED | bit::RESET);
            self.state = State::Held(now() + RESET);
        }
    }

    /// What the port shows now, and whether the device that was there before is gone.
    pub(super) fn poll(&mut self, registers: &UsbRegisters) -> (Port, bool) {
        let bits = registers.read(register::PORT);
        let connected = bits & bit::CONNECTED != 0;
        let changed = bits & bit::CONNECT_CHANGED != 0;
        if changed {
            registers.write(register::PORT, bits);
        }
        let was_empty = matches!(self.state, State::Empty { .. });
        self.state = match self.state {
            State::Empty { .. } if connected => State::Attached,
            _ if !connected || changed => State::Empty { again: connected },
            State::Held(until) if now() >= until => {
                registers.write(register::PORT, bits & !bit::RESET);
                State::Ending(now() + RESET_ENDS)
            }
            State::Ending(_) if bits & bit::RESET == 0 && bits & bit::ENABLED != 0 => {
                State::Enabled
            }
            State::Ending(until) if now() >= until => State::Attached,
            // The controller disables a port by itself when the device babbles (EHCI §4.2.2).
            State::Enabled if bits & bit::ENABLED == 0 => State::Attached,
            unchanged => unchanged,
        };
        let port = match self.state {
            State::Empty { .. } => Port::Empty,
            State::Attached => Port::Attached,
            State::Held(_) | State::Ending(_) => Port::Resetting,
            State::Enabled => Port::Enabled(Speed::High),
        };
        (port, port == Port::Empty && !was_empty)
    }

    /// When the port needs a look although nothing interrupts.
    pub(super) fn due(&self) -> Option<Instant> {
        match self.state {
            State::Held(until) => Some(until),
            State::Ending(_) => Some(Instant::ZERO),
            State::Empty { again: true } => Some(Instant::ZERO),
            State::Empty { again: false } | State::Attached | State::Enabled => None,
        }
    }
}
