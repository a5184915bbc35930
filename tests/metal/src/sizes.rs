//! The bounds on what the engine keeps in memory, checked wherever this is compiled, so on the
//! computer and on the microcontroller.

use usbmux_core::{Mux, Slot};

/// Most bytes that the state of one connection may take.
pub const SLOT_BYTES: usize = 72;

/// An engine with four connections takes fewer bytes than this.
pub const MUX_BYTES: usize = 640;

const _: () = assert!(size_of::<Slot>() <= SLOT_BYTES);
const _: () = assert!(size_of::<Mux<[Slot; 4]>>() < MUX_BYTES);

/// Their sizes as the sizes of symbols, which `check` can read out of an image.
pub static SLOT: [u8; size_of::<Slot>()] = [0; size_of::<Slot>()];
/// See [`SLOT`].
pub static MUX: [u8; size_of::<Mux<[Slot; 4]>>()] = [0; size_of::<Mux<[Slot; 4]>>()];
