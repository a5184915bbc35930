//! Drives the whole of core on bare metal, with inputs of which the optimiser knows nothing.
//!
//! The images made of this (`src/bin`) link only if nothing in them can reach the panic handler,
//! because the handler calls a function that does not exist. So an image that links is the proof
//! that no call of the engine can panic, whatever bytes come in; `check` builds them, and proves
//! with a planted panic that the proof can fail.
//!
//! Every value goes through [`any`], which makes it opaque: the compiler must expect that it is any
//! value of its type, so it can leave no path out. Before each call the engine itself goes through it
//! as well: each call is proven for every state the fields could have, not only for those that
//! the calls before could have led to.
//!
//! The images are never run. Left out: `Debug` and `Display`, since core's formatting machinery
//! of the language can itself panic; a firmware that wants text uses defmt.
#![no_std]

pub mod descriptors;
pub mod engine;
pub mod session;
pub mod sizes;
pub mod sockets;

use core::hint::black_box;

/// A value of which the optimiser knows nothing but its type.
#[inline(always)]
pub fn any<T>(value: T) -> T {
    black_box(value)
}

/// Uses a value in full.
#[inline(always)]
pub fn sink<T>(value: T) {
    black_box(value);
}

/// What a panic would come to: nothing, since the image does not link then.
#[cfg(target_os = "none")]
mod panic {
    // The one way to name a function that does not exist. `safe`, so that no call needs `unsafe`.
    #[allow(unsafe_code)]
    unsafe extern "C" {
        safe fn a_panic_can_be_reached() -> !;
    }

    #[panic_handler]
    fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
        a_panic_can_be_reached()
    }
}
