//! Ethernet: the i.MX ENET controller as smoltcp's `Device`.
//!
//! Two rings of descriptors in their old form of eight bytes, each with a buffer for a whole frame (i.MX
//! 6UltraLite reference manual, chapter 22). Left out: the PHY (what it negotiates is not seen in
//! QEMU), multicast, checksums and time stamps in hardware.

use crate::chip::EnetRegisters;
use crate::registers::{Shared, address_of, address_of_buffer, hand_over};
use smoltcp::phy::{self, Device, DeviceCapabilities, Medium};
use smoltcp::time::Instant;

/// Frames that can wait to be looked at, and to be sent.
const RECEIVED: usize = 4;
const TO_SEND: usize = 2;
/// Bytes of a buffer: a frame of Ethernet with its checksum, in units of 64.
const BUFFER: usize = 1536;
/// The longest frame without its checksum: 14 bytes of header and 1500.
const FRAME: usize = 1514;
/// Bytes of the checksum at a frame's end, which the controller hands on.
const CHECKSUM: usize = 4;

/// Offsets of the registers (§22.6).
mod register {
    pub(super) const EVENTS: usize = 0x004;
    pub(super) const INTERRUPTS: usize = 0x008;
    pub(super) const RECEIVE_ACTIVE: usize = 0x010;
    pub(super) const SEND_ACTIVE: usize = 0x014;
    pub(super) const CONTROL: usize = 0x024;
    pub(super) const RECEIVE_CONTROL: usize = 0x084;
    pub(super) const SEND_CONTROL: usize = 0x0c4;
    pub(super) const ADDRESS_LOW: usize = 0x0e4;
    pub(super) const ADDRESS_HIGH: usize = 0x0e8;
    pub(super) const RECEIVE_RING: usize = 0x180;
    pub(super) const SEND_RING: usize = 0x184;
    pub(super) const BUFFER_SIZE: usize = 0x188;
}

mod control {
    pub(super) const RESET: u32 = 1 << 0;
    pub(super) const ENABLE: u32 = 1 << 1;
    /// Descriptors are little-endian.
    pub(super) const SWAP: u32 = 1 << 8;
}

mod event {
    pub(super) const FRAME_RECEIVED: u32 = 1 << 25;
    pub(super) const FRAME_SENT: u32 = 1 << 27;
}

/// Bits of a descriptor's first word; its low half is a length (tables 22-2 and 22-4).
mod bit {
    /// The controller's: a buffer to be filled, a frame to be sent.
    pub(super) const OWNED: u32 = 1 << 31;
    /// The ring begins anew behind it.
    pub(super) const WRAP: u32 = 1 << 29;
    /// The frame ends in this buffer.
    pub(super) const LAST: u32 = 1 << 27;
    /// To be sent with a checksum.
    pub(super) const ADD_CHECKSUM: u32 = 1 << 26;
    /// Too long, not whole bytes, wrong checksum, overrun, cut.
    pub(super) const DAMAGED: u32 = (1 << 5 | 1 << 4 | 1 << 2 | 1 << 1 | 1) << 16;
    pub(super) const LENGTH: u32 = 0xffff;
}

/// A descriptor.
#[repr(C, align(8))]
struct Descriptor {
    state: Shared,
    address: Shared,
}

#[repr(C, align(64))]
struct Buffer([u8; BUFFER]);

#[repr(C, align(64))]
struct Ring<const LENGTH: usize> {
    descriptors: [Descriptor; LENGTH],
    buffers: [Buffer; LENGTH],
    /// Whose turn it is.
    at: usize,
}

impl<const LENGTH: usize> Ring<LENGTH> {
    const fn new() -> Self {
        Ring {
            descriptors: [const { Descriptor { state: Shared::new(0), address: Shared::new(0) } };
                LENGTH],
            buffers: [const { Buffer([0; BUFFER]) }; LENGTH],
            at: 0,
        }
    }

    /// Gives each descriptor its buffer and its state.
    fn prepare(&mut self, state: u32) {
        let pairs = self.descriptors.iter().zip(&mut self.buffers);
        for (place, (descriptor, buffer)) in pairs.enumerate() {
            descriptor.address.write(address_of_buffer(&mut buffer.0));
            descriptor.state.write(state | Self::wrap(place));
        }
        self.at = 0;
    }

    const fn wrap(place: usize) -> u32 {
        if place + 1 == LENGTH { bit::WRAP } else { 0 }
    }

    /// The state of the descriptor whose turn it is, if the controller is done with it.
    fn ready(&self) -> Option<u32> {
        let state = self.descriptors[self.at].state.read();
        (state & bit::OWNED == 0).then_some(state)
    }

    /// Gives the descriptor and its buffer to the controller; the next one has its turn.
    fn give(&mut self, state: u32) {
        hand_over();
        self.descriptors[self.at].state.write(bit::OWNED | state | Self::wrap(self.at));
        self.at = (self.at + 1) % LENGTH;
        hand_over();
    }

    fn buffer(&mut self) -> &mut [u8; BUFFER] {
        &mut self.buffers[self.at].0
    }
}

/// The memory that the controller shares, for a static.
pub(crate) struct Memory {
    received: Ring<RECEIVED>,
    to_send: Ring<TO_SEND>,
}

impl Memory {
    /// Unused.
    pub(crate) const fn new() -> Self {
        Memory { received: Ring::new(), to_send: Ring::new() }
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

/// The controller.
pub(crate) struct Enet {
    registers: EnetRegisters,
    memory: &'static mut Memory,
}

impl Enet {
    /// Starts the controller with an Ethernet address.
    pub(crate) fn new(registers: EnetRegisters, memory: &'static mut Memory, mac: [u8; 6]) -> Self {
        /// The longest frame with its checksum, the interface RMII.
        const RECEIVE: u32 = ((FRAME + CHECKSUM) as u32) << 16 | 1 << 8 | 1 << 2;
        const FULL_DUPLEX: u32 = 1 << 2;
        let [a, b, c, d, e, f] = mac;
        registers.write(register::CONTROL, control::RESET);
        registers.write(register::EVENTS, u32::MAX);
        registers.write(register::ADDRESS_LOW, u32::from_be_bytes([a, b, c, d]));
        registers.write(register::ADDRESS_HIGH, u32::from_be_bytes([e, f, 0, 0]));
        registers.write(register::RECEIVE_CONTROL, RECEIVE);
        registers.write(register::SEND_CONTROL, FULL_DUPLEX);
        memory.received.prepare(bit::OWNED);
        memory.to_send.prepare(0);
        registers.write(register::RECEIVE_RING, address_of(&memory.received.descriptors));
        registers.write(register::SEND_RING, address_of(&memory.to_send.descriptors));
        registers.write(register::BUFFER_SIZE, BUFFER as u32);
        registers.write(register::INTERRUPTS, event::FRAME_RECEIVED | event::FRAME_SENT);
        hand_over();
        registers.write(register::CONTROL, control::ENABLE | control::SWAP);
        registers.write(register::RECEIVE_ACTIVE, 0);
        Enet { registers, memory }
    }

    /// Takes back the interrupt; to be called before a look at the rings, so that no frame that
    /// arrives after it is slept through.
    pub(crate) fn acknowledge(&mut self) {
        let pending = self.registers.read(register::EVENTS);
        self.registers.write(register::EVENTS, pending);
    }

    /// Gives damaged frames back, so that the one whose turn it is is whole, if there is one.
    fn skip_damaged(&mut self) {
        for _ in 0..RECEIVED {
            match self.memory.received.ready() {
                Some(state) if state & bit::DAMAGED != 0 || state & bit::LAST == 0 => {
                    give_back(&mut self.memory.received, &self.registers);
                }
                _ => return,
            }
        }
    }
}

fn give_back(received: &mut Ring<RECEIVED>, registers: &EnetRegisters) {
    received.give(0);
    registers.write(register::RECEIVE_ACTIVE, 0);
}

impl Device for Enet {
    type RxToken<'a> = Received<'a>;
    type TxToken<'a> = Room<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Received<'_>, Room<'_>)> {
        self.skip_damaged();
        let Memory { received, to_send } = &mut *self.memory;
        let (state, _) = (received.ready()?, to_send.ready()?);
        hand_over();
        let length = ((state & bit::LENGTH) as usize).saturating_sub(CHECKSUM).min(BUFFER);
        let registers = &self.registers;
        Some((Received { ring: received, registers, length }, Room { ring: to_send, registers }))
    }

    fn transmit(&mut self, _: Instant) -> Option<Room<'_>> {
        self.memory.to_send.ready()?;
        Some(Room { ring: &mut self.memory.to_send, registers: &self.registers })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = FRAME;
        capabilities.max_burst_size = Some(TO_SEND);
        capabilities
    }
}

/// A frame that has arrived.
pub(crate) struct Received<'a> {
    ring: &'a mut Ring<RECEIVED>,
    registers: &'a EnetRegisters,
    length: usize,
}

impl phy::RxToken for Received<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, use_frame: F) -> R {
        let result = use_frame(self.ring.buffer().get(..self.length).unwrap_or_default());
        give_back(self.ring, self.registers);
        result
    }
}

/// Room for a frame to send.
pub(crate) struct Room<'a> {
    ring: &'a mut Ring<TO_SEND>,
    registers: &'a EnetRegisters,
}

impl phy::TxToken for Room<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, fill: F) -> R {
        let frame = &mut self.ring.buffer()[..length];
        let result = fill(frame);
        self.ring.give(bit::LAST | bit::ADD_CHECKSUM | length as u32 & bit::LENGTH);
        self.registers.write(register::SEND_ACTIVE, 0);
        result
    }
}
