//! Enumeration: from a port that was just reset to a configured phone with a known mux interface.
//!
//! The order is that of every host (USB 2.0 §9.1.2): the first 8 bytes of the device descriptor at
//! address 0, an address, the whole descriptor; then the serial number, which configuration is
//! active, and all configurations' descriptors. The choice is core's. GET_MODE is not asked: in
//! whatever mode a phone is, the descriptors tell what there is.

use super::control::{ControlFailed, ControlTransfer, Target};
use crate::talk::MAX_SERIAL;
use crate::usb::{HostController, Setup};
use core::task::Poll;
use core::time::Duration;
use heapless::String;
use usbmux_core::Instant;
use usbmux_core::descriptors::{Choice, MuxInterface, is_phone, udid};

/// The address a phone is given.
pub(crate) const ADDRESS: u8 = 1;

/// A dongle takes configuration 3 of 4: the last one has the phone's Ethernet too, which nobody
/// here uses (PROTOCOL §1).
const HIGHEST_CONFIGURATION: u8 = 3;

/// Configurations that are looked at; phones have 4 to 6.
const MAX_CONFIGURATIONS: u8 = 8;

/// No phone has smaller packets, at any speed; a frame without payload fits into one.
const LEAST_MAX_PACKET: u16 = 64;

/// Room for descriptors. A configuration that is longer is read so far; the mux interface of known
/// phones ends within 100 bytes.
const DESCRIPTOR_BYTES: usize = 384;

/// Time for the phone to take its address (USB 2.0 §9.2.6.3: 2 ms).
const ADDRESS_PAUSE: Duration = Duration::from_millis(10);

/// Packets of endpoint 0 until the descriptor tells; 8 bytes fit into one packet in any case.
const FIRST_MAX_PACKET: u8 = 64;

const US_ENGLISH: u16 = 0x0409;

/// Descriptor types (USB 2.0, table 9-5).
const DEVICE: u16 = 1;
const CONFIGURATION: u16 = 2;
const STRING: u16 = 3;

/// Who is on the cable, and how to speak to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) product_id: u16,
    pub(crate) serial: String<MAX_SERIAL, u8>,
    pub(crate) mux: MuxInterface,
    pub(crate) target_max_packet: u8,
}

/// How an enumeration ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// A phone, configured.
    Phone(Found),
    /// Something else, or a phone without a mux interface; no reset makes it one.
    NoUse,
    /// It does not answer as it should.
    Failed,
}

/// An enumeration under way.
#[derive(Debug)]
pub(crate) struct Enumerator {
    step: Step,
    transfer: ControlTransfer,
    not_before: Instant,
    max_packet: u8,
    product_id: u16,
    serial_index: u8,
    configurations: u8,
    serial: String<MAX_SERIAL, u8>,
    choice: Choice,
    buffer: [u8; DESCRIPTOR_BYTES],
}

/// What is asked next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    FirstBytes,
    Address,
    Device,
    Serial,
    Active,
    Configuration(u8),
    Configure(MuxInterface),
}

impl Enumerator {
    /// Begins with a port that was just reset.
    pub(crate) const fn new() -> Self {
        Enumerator {
            step: Step::FirstBytes,
            transfer: ControlTransfer::new(),
            not_before: Instant::ZERO,
            max_packet: FIRST_MAX_PACKET,
            product_id: 0,
            serial_index: 0,
            configurations: 0,
            serial: String::new(),
            choice: Choice::new(0, HIGHEST_CONFIGURATION),
            buffer: [0; DESCRIPTOR_BYTES],
        }
    }

    /// When something is to be done without news from USB.
    pub(crate) fn due(&self) -> Instant {
        self.transfer.due().max(self.not_before)
    }

    /// Goes on as far as USB has answered: one step in a call. `failed` counts failed transfers.
    pub(crate) fn poll(
        &mut self,
        now: Instant,
        usb: &mut impl HostController,
        failed: &mut u32,
    ) -> Poll<Outcome> {
        if now < self.not_before {
            return Poll::Pending;
        }
        let (target, setup) = (self.target(), self.setup());
        let buffer = &mut self.buffer;
        match self.transfer.poll(now, usb, target, setup, buffer, failed) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(length)) => self.answered(now, length),
            Poll::Ready(Err(ControlFailed)) => self.refused(),
        }
    }

    fn target(&self) -> Target {
        let is_new = matches!(self.step, Step::FirstBytes | Step::Address);
        let address = if is_new { 0 } else { ADDRESS };
        Target { address, max_packet: self.max_packet }
    }

    fn setup(&self) -> Setup {
        let room = DESCRIPTOR_BYTES as u16;
        let read = |kind: u16, index: u8, language, length| Setup {
            request_type: 0x80,
            request: 6, // GET_DESCRIPTOR
            value: kind << 8 | u16::from(index),
            index: language,
            length,
        };
        let set = |request, value: u8| Setup {
            request_type: 0x00,
            request,
            value: value.into(),
            index: 0,
            length: 0,
        };
        match self.step {
            Step::FirstBytes => read(DEVICE, 0, 0, 8),
            Step::Address => set(5, ADDRESS), // SET_ADDRESS
            Step::Device => read(DEVICE, 0, 0, 18),
            Step::Serial => read(STRING, self.serial_index, US_ENGLISH, 255),
            // GET_CONFIGURATION
            Step::Active => Setup { request_type: 0x80, request: 8, value: 0, index: 0, length: 1 },
            Step::Configuration(index) => read(CONFIGURATION, index, 0, room),
            Step::Configure(mux) => set(9, mux.configuration), // SET_CONFIGURATION
        }
    }

    /// An answer of `length` bytes stands in the buffer.
    fn answered(&mut self, now: Instant, length: usize) -> Poll<Outcome> {
        let answer = self.buffer.get(..length).unwrap_or(&self.buffer);
        match self.step {
            Step::FirstBytes => {
                let [_, _, _, _, _, _, _, max_packet @ (8 | 16 | 32 | 64), ..] = *answer else {
                    return Poll::Ready(Outcome::Failed);
                };
                self.max_packet = max_packet;
                self.step = Step::Address;
            }
            Step::Address => {
                self.not_before = now + ADDRESS_PAUSE;
                self.step = Step::Device;
            }
            Step::Device => return self.device_answered(length),
            Step::Serial => {
                let Some(serial) = serial(answer) else { return Poll::Ready(Outcome::Failed) };
                self.serial = serial;
                self.step = Step::Active;
            }
            Step::Active => {
                let active = answer.first().copied().unwrap_or(0);
                self.choice = Choice::new(active, HIGHEST_CONFIGURATION);
                self.step = Step::Configuration(0);
            }
            Step::Configuration(index) => {
                self.choice.consider(answer);
                return self.next_configuration(index);
            }
            Step::Configure(mux) => return Poll::Ready(Outcome::Phone(self.found(mux))),
        }
        Poll::Pending
    }

    fn device_answered(&mut self, length: usize) -> Poll<Outcome> {
        let answer = self.buffer.get(..length).unwrap_or(&self.buffer);
        let Some(device) = answer.first_chunk::<18>() else {
            return Poll::Ready(Outcome::Failed);
        };
        let vendor_id = u16::from_le_bytes([device[8], device[9]]);
        self.product_id = u16::from_le_bytes([device[10], device[11]]);
        self.serial_index = device[16];
        self.configurations = device[17].min(MAX_CONFIGURATIONS);
        if !is_phone(vendor_id, self.product_id) || self.serial_index == 0 {
            return Poll::Ready(Outcome::NoUse);
        }
        self.step = Step::Serial;
        Poll::Pending
    }

    /// A request was refused for good.
    fn refused(&mut self) -> Poll<Outcome> {
        match self.step {
            // One configuration that cannot be read leaves the others.
            Step::Configuration(index) => self.next_configuration(index),
            _ => Poll::Ready(Outcome::Failed),
        }
    }

    fn next_configuration(&mut self, index: u8) -> Poll<Outcome> {
        if index + 1 < self.configurations {
            self.step = Step::Configuration(index + 1);
            return Poll::Pending;
        }
        match self.choice.chosen() {
            Some(mux) if mux.bulk_out.max_packet < LEAST_MAX_PACKET => Poll::Ready(Outcome::NoUse),
            None => Poll::Ready(Outcome::NoUse),
            // Set even if it is the active one: after a reset none is, and if one was kept all the
            // same, its data toggles begin anew with ours (USB 2.0 §9.1.1.5).
            Some(mux) => {
                self.step = Step::Configure(mux);
                Poll::Pending
            }
        }
    }

    fn found(&self, mux: MuxInterface) -> Found {
        Found {
            product_id: self.product_id,
            serial: self.serial.clone(),
            mux,
            target_max_packet: self.max_packet,
        }
    }
}

/// The UDID in a string descriptor; none if there is no sense in it.
fn serial(descriptor: &[u8]) -> Option<String<MAX_SERIAL, u8>> {
    let (&[length, kind], rest) = descriptor.split_first_chunk()?;
    if u16::from(kind) != STRING {
        return None;
    }
    let text = rest.get(..usize::from(length).checked_sub(2)?).unwrap_or(rest);
    let units = text.chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]]));
    // Twice as much as a UDID has: padding is allowed.
    let mut padded = String::<{ 2 * MAX_SERIAL }, u8>::new();
    for c in char::decode_utf16(units) {
        padded.push(c.ok()?).ok()?;
    }
    let mut serial = String::new();
    for c in udid(&padded) {
        serial.push(c).ok()?;
    }
    (!serial.is_empty()).then_some(serial)
}
