//! Words that hardware reads and writes at the same time: the `unsafe` of the image's drivers. (The
//! rest of it: the addresses in `chip`, and the paint of `stack`.)
//!
//! [`Registers`] are a peripheral's, at an address of the chip's memory map; [`Shared`] words are
//! ordinary memory that a controller's DMA uses. Both are accessed volatile, so that each access
//! happens, once and in order. Payload buffers need neither: see [`hand_over`].
#![allow(unsafe_code)]

use core::cell::UnsafeCell;
use core::ptr;

/// The registers of one peripheral, 32 bits each.
#[derive(Debug)]
pub(crate) struct Registers<const LENGTH: usize> {
    base: usize,
}

impl<const LENGTH: usize> Registers<LENGTH> {
    /// The registers that begin at an address of the memory map and fill `LENGTH` bytes.
    ///
    /// # Safety
    ///
    /// There must be such a peripheral, whose registers may be read and written in any order without
    /// harm to Rust's memory: where one of them is an address for the peripheral's DMA, its driver
    /// answers for what is written there. Nobody else may use them.
    pub(crate) const unsafe fn at(base: usize) -> Self {
        assert!(base.is_multiple_of(4) && LENGTH.is_multiple_of(4));
        Registers { base }
    }

    /// Reads the register at this offset.
    pub(crate) fn read(&self, offset: usize) -> u32 {
        assert!(offset.is_multiple_of(4) && offset < LENGTH);
        let register = ptr::with_exposed_provenance(self.base + offset);
        // SAFETY: by the promise of `at`, the address is that of a register, which is no part of any
        // object of Rust's; it is aligned and in range as asserted.
        unsafe { ptr::read_volatile(register) }
    }

    /// Writes the register at this offset.
    pub(crate) fn write(&self, offset: usize, value: u32) {
        assert!(offset.is_multiple_of(4) && offset < LENGTH);
        let register = ptr::with_exposed_provenance_mut(self.base + offset);
        // SAFETY: as in `read`; by the promise of `at`, writing it changes no memory of Rust's but
        // what its driver has handed over.
        unsafe { ptr::write_volatile(register, value) }
    }
}

/// A word of memory that a controller's DMA reads and writes while the processor does.
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct Shared(UnsafeCell<u32>);

impl Shared {
    /// A word, before the controller knows of it.
    pub(crate) const fn new(value: u32) -> Self {
        Shared(UnsafeCell::new(value))
    }

    /// Reads the word.
    pub(crate) fn read(&self) -> u32 {
        // SAFETY: the pointer is that of a live, aligned word; no reference to its inside is ever
        // made, so that nobody relies on its staying the same; the controller writes whole words.
        unsafe { ptr::read_volatile(self.0.get()) }
    }

    /// Writes the word.
    pub(crate) fn write(&self, value: u32) {
        // SAFETY: as in `read`; and `Shared` is not `Sync`, so that no other processor writes it.
        unsafe { ptr::write_volatile(self.0.get(), value) }
    }
}

/// The address under which DMA finds what a reference points to. What is `Shared` there it may use at
/// any time.
pub(crate) fn address_of<T: ?Sized>(target: &T) -> u32 {
    // All addresses of this processor have 32 bits.
    ptr::from_ref(target).expose_provenance() as u32
}

/// The address under which DMA finds a buffer of plain bytes, which it reads or writes between two
/// calls of [`hand_over`].
pub(crate) fn address_of_buffer(buffer: &mut [u8]) -> u32 {
    // The buffer's pointer is exposed, and so known to whatever the barriers stand for.
    buffer.as_mut_ptr().expose_provenance() as u32
}

/// Everything written so far is in memory, and nothing read later comes from before: what stands
/// between handing a buffer to a controller and telling it so, and between learning that it is done
/// and looking at the buffer.
///
/// For the compiler it is assembly that may change all memory whose address was exposed. The caches
/// are off, so that nothing needs to be cleaned or invalidated.
pub(crate) fn hand_over() {
    aarch32_cpu::asm::dsb();
}
