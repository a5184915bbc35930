//! How much of the stack was ever used: it is painted at the start, and where the paint is gone
//! something stood.
//!
//! What is looked at is the stack of system mode, on which everything runs: no interrupt is ever
//! taken. A word that was used and happens to have the paint's value counts as unused, which one word
//! above it, in the same frame, makes good.
#![allow(unsafe_code)]

use aarch32_rt::stacks::Stack;
use core::ops::Range;
use core::ptr;
use core::time::Duration;
use usbmux_core::Instant;

const PAINT: u32 = 0x5afe_57ac;
/// Left unpainted below the caller's frame, in bytes: for what paints.
const OWN_FRAMES: usize = 256;
/// Between two looks.
const PAUSE: Duration = Duration::from_secs(1);

/// The stack of system mode, painted.
pub(crate) struct HighWater {
    stack: Range<*const u32>,
    seen: usize,
    look_at: Instant,
}

impl HighWater {
    /// Paints what is unused of the stack.
    #[inline(never)]
    pub(crate) fn paint() -> Self {
        let here = 0_u32;
        let stack = Stack::Sys.range(0).unwrap_or(ptr::null()..ptr::null());
        let used_from = ptr::from_ref(&here).addr().saturating_sub(OWN_FRAMES);
        let mut at = stack.start.cast_mut();
        while at.addr() < used_from.min(stack.end.addr()) {
            // SAFETY: the linker keeps this memory for the stack alone; all that was called stands
            // above `here`, what is called here takes less than OWN_FRAMES below it, and no
            // interrupt is taken. Volatile, so that it happens now.
            unsafe { at.write_volatile(PAINT) };
            at = at.wrapping_add(1);
        }
        HighWater { stack, seen: 0, look_at: Instant::ZERO }
    }

    /// Says in the log how much was used at most, when it has become more; looks once a second.
    pub(crate) fn tell(&mut self, now: Instant) {
        if now < self.look_at {
            return;
        }
        self.look_at = now + PAUSE;
        let used = self.used();
        if used > self.seen {
            self.seen = used;
            let size = self.stack.end.addr() - self.stack.start.addr();
            defmt::info!("stack high-water {=usize} bytes of {=usize}", used, size);
        }
    }

    fn used(&self) -> usize {
        let mut at = self.stack.start;
        // SAFETY: the memory is the stack's, aligned and in range; whatever stands there is a word.
        // Volatile, since frames come and go there behind the compiler's back.
        while at < self.stack.end && unsafe { at.read_volatile() } == PAINT {
            at = at.wrapping_add(1);
        }
        self.stack.end.addr() - at.addr()
    }
}
