//! A trace of the simulated bus, packet by packet, as an analyser clipped to the cable would write it.
//!
//! Times are those of the simulation, counted from when the trace began.

use crate::board::Board;
use crate::bus::Happening;
use std::time::Duration;
use usbmux_dongle::usb::{Speed, TransferError};
use usbmux_phone::descriptors::PRODUCT_ID;
use usbmux_trace::file::{PhoneTrace, Trace};
use usbmux_trace::write::Sender;
use usbmux_trace::write::record::{Attachment, What};

/// Writes down what happens on a board's bus.
#[derive(Debug)]
pub struct BusTrace {
    trace: Trace,
    attachment: Attachment,
    /// None while no phone is plugged in.
    phone: Option<PhoneTrace>,
}

impl BusTrace {
    /// Begins to listen to the bus of a board whose phone is not plugged in yet.
    pub fn new(trace: Trace, board: &mut Board) -> Self {
        let bus = &mut board.usb.bus;
        bus.take_log();
        let attachment = Attachment {
            udid: bus.phone().identity().udid(),
            product_id: PRODUCT_ID,
            location_id: 0,
            speed: match bus.speed() {
                Speed::Full => 12_000_000,
                Speed::High => 480_000_000,
            },
            max_packet: bus.timing().max_packet,
        };
        BusTrace { trace, attachment, phone: None }
    }

    /// Writes down what has happened since this was called last.
    pub(super) fn take(&mut self, board: &mut Board) {
        for event in board.usb.bus.take_log() {
            let at = self.trace.began() + event.at.duration();
            if event.what == Happening::Plugged {
                let attachment = self.attachment.clone();
                self.phone = Some(self.trace.plugged_in_at(at, attachment));
            } else if let Some(phone) = &mut self.phone {
                let gone = event.what == Happening::Unplugged;
                tell(phone, at, event.what, self.attachment.max_packet);
                if gone {
                    self.phone = None;
                }
            }
        }
    }
}

fn tell(phone: &mut PhoneTrace, at: Duration, what: Happening, max_packet: u16) {
    let is_short = |packet: &[u8]| packet.len() < usize::from(max_packet);
    match what {
        Happening::In { bytes } => phone.carried_at(at, Sender::Phone, &bytes, is_short(&bytes)),
        Happening::Out { bytes } => phone.carried_at(at, Sender::Host, &bytes, is_short(&bytes)),
        Happening::Unplugged => phone.happened_at(at, What::Detached("unplugged")),
        Happening::Reset => phone.happened_at(at, What::Reset),
        Happening::SwallowedZlp => {
            phone.happened_at(at, What::Fault("the host's driver forgot a zero-length packet"));
        }
        Happening::InFailed { error } => fault(phone, at, error, "an IN transfer failed"),
        Happening::OutFailed { error } => fault(phone, at, error, "an OUT transfer failed"),
        // Of no interest to the protocol: what was asked of the device, and packets that the bus repeats.
        _ => {}
    }
}

fn fault(phone: &mut PhoneTrace, at: Duration, error: TransferError, words: &'static str) {
    // The transfers of a phone that is unplugged end with it.
    if error != TransferError::Gone {
        phone.happened_at(at, What::Fault(words));
    }
}
