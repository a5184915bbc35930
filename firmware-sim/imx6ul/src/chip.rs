//! The i.MX6UL's memory map and interrupts, as far as a dongle uses them (i.MX 6UltraLite reference
//! manual, chapters 2 and 3), and what makes the processor wait.
//!
//! No interrupt is ever taken: they stay masked, and their level alone ends a `wfi`. So the interrupt
//! controller is told to pass them on, and nothing else; each driver takes its own level back.
#![allow(unsafe_code)]

use crate::registers::Registers;
use aarch32_cpu::asm;
use aarch32_cpu::register::generic_timer::{CntVct, Cntfrq, CntvCtl, CntvCval};
use usbmux_core::Instant;

/// USB OTG controller 1: ChipIdea, EHCI as a host.
pub(crate) type UsbRegisters = Registers<0x200>;
/// Ethernet controller 1.
pub(crate) type EnetRegisters = Registers<0x200>;
/// Distributor and processor interface of the interrupt controller (GICv2).
type GicRegisters = Registers<0x3000>;

const MICROS: u64 = 1_000_000;
/// Interrupt numbers of what ends the waiting: the virtual timer, and the two controllers.
const WAKING: [usize; 3] = [27, 32 + 43, 32 + 118];

/// Everything of the chip that a dongle uses.
pub(crate) struct Chip {
    /// USB controller 1.
    pub(crate) usb: UsbRegisters,
    /// Ethernet controller 1.
    pub(crate) ethernet: EnetRegisters,
    /// What time it is, and how to wait.
    pub(crate) clock: Clock,
}

impl Chip {
    /// The chip, once, by the one call of `main`.
    ///
    /// # Safety
    ///
    /// To be called once, on an i.MX6UL.
    pub(crate) unsafe fn take() -> Chip {
        // SAFETY: the addresses are those of the memory map; only here are they named, and this is
        // called once. What the controllers do to memory is their drivers' affair.
        let (usb, ethernet, gic) = unsafe {
            (
                UsbRegisters::at(0x0218_4000),
                EnetRegisters::at(0x0218_8000),
                GicRegisters::at(0x00a0_0000),
            )
        };
        pass_on_interrupts(&gic);
        Chip { usb, ethernet, clock: Clock }
    }
}

/// Offsets in the interrupt controller (GIC architecture specification 2.0, tables 4-1 and 4-2; the
/// Cortex-A7 has the distributor at 0x1000 and the processor interface at 0x2000).
mod gic {
    pub(super) const DISTRIBUTOR_CONTROL: usize = 0x1000;
    pub(super) const SET_ENABLE: usize = 0x1100;
    pub(super) const INTERFACE_CONTROL: usize = 0x2000;
    pub(super) const PRIORITY_MASK: usize = 0x2004;
}

fn pass_on_interrupts(gic: &GicRegisters) {
    for number in WAKING {
        gic.write(gic::SET_ENABLE + number / 32 * 4, 1 << (number % 32));
    }
    gic.write(gic::DISTRIBUTOR_CONTROL, 1);
    gic.write(gic::PRIORITY_MASK, 0xff);
    gic.write(gic::INTERFACE_CONTROL, 1);
}

/// The processor's generic timer: the time, and the alarm that ends a sleep.
pub(crate) struct Clock;

/// Time since the timer began to count.
pub(crate) fn now() -> Instant {
    let hertz = u64::from(Cntfrq::read().0).max(1);
    let ticks = CntVct::read().0;
    Instant::from_micros(ticks / hertz * MICROS + ticks % hertz * MICROS / hertz)
}

impl Clock {
    /// Sleeps until an interrupt or until `due`; not at all if that is past.
    pub(crate) fn sleep(&mut self, due: Option<Instant>) {
        if due.is_some_and(|due| due <= now()) {
            return;
        }
        if let Some(due) = due {
            CntvCval::write(CntvCval(ticks(due)));
        }
        CntvCtl::modify(|control| {
            control.set_enable(true);
            control.set_imask(due.is_none());
        });
        asm::dsb();
        asm::wfi();
    }
}

/// What the timer shows at a time; one tick more, so that it is past then.
fn ticks(at: Instant) -> u64 {
    let hertz = u64::from(Cntfrq::read().0);
    let micros = at.as_micros();
    let whole = (micros / MICROS).saturating_mul(hertz);
    whole.saturating_add(micros % MICROS * hertz / MICROS + 1)
}
