//! The whole of core in one image, both roles: what must not panic.
#![no_std]
#![no_main]

use usbmux_core::{Role, Slot};
use usbmux_metal::engine::{self, Slots};
use usbmux_metal::{any, descriptors, session, sink, sizes, sockets};

// Where the linker starts. An entry must have its plain name; that alone makes it `unsafe`.
#[allow(unsafe_code)]
#[unsafe(no_mangle)]
extern "C" fn _start() -> ! {
    let mut slots = [Slot::EMPTY; 4];
    loop {
        // Slots in an array, as a firmware holds them, and as a slice of any length.
        drive([Slot::EMPTY; 4]);
        drive(any(slots.as_mut_slice()));
        sockets::all();
        session::all();
        descriptors::all();
        sink((&sizes::SLOT, &sizes::MUX));
        #[cfg(feature = "planted-panic")]
        sink([1, 2, 3][any(0)]);
    }
}

fn drive<S: Slots>(slots: S) {
    let mut mux = engine::engine(any(Role::Host), slots);
    while let Some(conn) = engine::connect(&mut mux) {
        engine::both(&mut mux, conn);
        for call in [engine::accept, engine::refuse, engine::abort_because] {
            call(&mut mux, conn);
        }
    }
}
