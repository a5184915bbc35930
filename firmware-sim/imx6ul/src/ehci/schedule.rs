//! The asynchronous schedule: the controller's list of queue heads, and one transfer on each.
//!
//! Layouts are those of the EHCI specification 1.0, §3.5 and §3.6. The list is a ring of three queue
//! heads that never changes; a queue without a transfer is skipped by the controller. So a transfer
//! begins with one write, and ends when the controller has taken back its last descriptor.

use crate::registers::{Shared, address_of};
use usbmux_dongle::usb::TransferError;

/// Bytes that one descriptor can carry wherever its buffer begins (§3.5: five pages, the first of
/// them in part).
pub(super) const TRANSFER_MAX: usize = 4 * PAGE;
const PAGE: usize = 4096;
/// Ends a list (§3.5.1: the T bit).
const NOTHING: u32 = 1;
/// Behind a pointer to a queue head (§3.6.1: the type).
const QUEUE_HEAD: u32 = 1 << 1;

/// Bits of a descriptor's token (§3.5.3).
mod token {
    pub(super) const ACTIVE: u32 = 1 << 7;
    pub(super) const HALTED: u32 = 1 << 6;
    /// The host could not keep up, the device sent more than a packet, or three errors in a row.
    pub(super) const BUFFER_ERROR: u32 = 1 << 5;
    pub(super) const BABBLE: u32 = 1 << 4;
    /// How many errors are left; the transfer halts with 0 left.
    pub(super) const ERRORS: u32 = 3 << 10;
    pub(super) const ON_COMPLETION_INTERRUPT: u32 = 1 << 15;
    pub(super) const LENGTH_AT: u32 = 16;
    pub(super) const LENGTH: u32 = 0x7fff;
    pub(super) const DATA1: u32 = 1 << 31;
}

/// What a descriptor sends (§3.5.3: the PID code).
#[derive(Clone, Copy)]
pub(super) enum Pid {
    Out = 0,
    In = 1,
    Setup = 2,
}

/// A transfer descriptor (§3.5).
#[repr(C, align(32))]
pub(super) struct Descriptor {
    next: Shared,
    /// Where to go on after a short packet.
    alternate: Shared,
    token: Shared,
    pages: [Shared; 5],
}

impl Descriptor {
    pub(super) const fn new() -> Self {
        Descriptor {
            next: Shared::new(0),
            alternate: Shared::new(0),
            token: Shared::new(0),
            pages: [const { Shared::new(0) }; 5],
        }
    }

    /// Prepares `length` bytes at an address, at most [`TRANSFER_MAX`]; `data1` is the toggle, where
    /// the queue head does not keep it; `next` follows, the last one interrupts.
    pub(super) fn prepare(
        &self,
        pid: Pid,
        address: u32,
        length: usize,
        data1: bool,
        next: Option<&Descriptor>,
    ) {
        let following = next.map_or(NOTHING, address_of);
        self.next.write(following);
        self.alternate.write(following);
        let mut page = address;
        for pointer in &self.pages {
            pointer.write(page);
            page = (page & !(PAGE as u32 - 1)).wrapping_add(PAGE as u32);
        }
        let mut bits = token::ACTIVE | token::ERRORS | (pid as u32) << 8;
        bits |= (length.min(TRANSFER_MAX) as u32) << token::LENGTH_AT;
        if data1 {
            bits |= token::DATA1;
        }
        if next.is_none() {
            bits |= token::ON_COMPLETION_INTERRUPT;
        }
        self.token.write(bits);
    }

    /// What became of it: nothing yet, or how many bytes it did not move.
    pub(super) fn outcome(&self) -> Option<Result<usize, TransferError>> {
        let bits = self.token.read();
        if bits & token::HALTED != 0 {
            let bus = bits & (token::BABBLE | token::BUFFER_ERROR) != 0;
            let stalled = !bus && bits & token::ERRORS != 0;
            return Some(Err(if stalled { TransferError::Stall } else { TransferError::Bus }));
        }
        let left = (bits >> token::LENGTH_AT & token::LENGTH) as usize;
        (bits & token::ACTIVE == 0).then_some(Ok(left))
    }
}

/// What a queue is for (§3.6.2).
#[derive(Clone, Copy)]
pub(super) struct Endpoint {
    pub(super) device: u8,
    pub(super) number: u8,
    pub(super) max_packet: u16,
    /// Endpoint 0, whose descriptors have the toggle.
    pub(super) control: bool,
}

/// A queue head (§3.6); as large as it is aligned, so that none crosses a page.
#[repr(C, align(64))]
pub(super) struct Queue {
    link: Shared,
    endpoint: Shared,
    capabilities: Shared,
    current: Shared,
    /// The overlay: the descriptor under way, as a copy.
    next: Shared,
    alternate: Shared,
    token: Shared,
    pages: [Shared; 5],
}

impl Queue {
    pub(super) const fn new() -> Self {
        Queue {
            link: Shared::new(0),
            endpoint: Shared::new(0),
            capabilities: Shared::new(0),
            current: Shared::new(0),
            next: Shared::new(0),
            alternate: Shared::new(0),
            token: Shared::new(0),
            pages: [const { Shared::new(0) }; 5],
        }
    }

    /// Makes the controller go on to another queue head after this one.
    pub(super) fn link(&self, to: &Queue) {
        self.link.write(address_of(to) | QUEUE_HEAD);
    }

    /// Says whose transfers these are, with DATA0 next. Nothing may be under way.
    pub(super) fn open(&self, endpoint: Endpoint, is_head: bool) {
        /// High speed (§3.6.2: EPS).
        const HIGH_SPEED: u32 = 2 << 12;
        const TOGGLE_IN_DESCRIPTOR: u32 = 1 << 14;
        const HEAD_OF_LIST: u32 = 1 << 15;
        /// NAKs after which the controller turns to other work for a while.
        const NAKS: u32 = 4 << 28;
        /// One packet a visit (§3.6.2: Mult, 1 where there is no high-bandwidth endpoint).
        const ONE_PACKET: u32 = 1 << 30;
        let Endpoint { device, number, max_packet, control } = endpoint;
        let mut bits = u32::from(device & 0x7f) | u32::from(number & 0x0f) << 8;
        bits |= HIGH_SPEED | u32::from(max_packet) << 16 | NAKS;
        if control {
            bits |= TOGGLE_IN_DESCRIPTOR;
        }
        if is_head {
            bits |= HEAD_OF_LIST;
        }
        self.idle();
        self.token.write(0);
        self.endpoint.write(bits);
        self.capabilities.write(ONE_PACKET);
    }

    /// Takes the transfer away. The schedule must stand still, or nothing be under way.
    pub(super) fn idle(&self) {
        self.next.write(NOTHING);
        self.alternate.write(NOTHING);
        self.current.write(0);
        // The toggle alone outlives a transfer.
        self.token.write(self.token.read() & token::DATA1);
    }

    /// Begins with a descriptor; the queue must have been idle.
    pub(super) fn start(&self, first: &Descriptor) {
        self.next.write(address_of(first));
    }
}
