//! What the status of a transfer says.

use crate::read::mark::{Kind, Mark};
use crate::read::model::Side;
use crate::read::words::bytes;

/// What a transfer's status says (Linux, Documentation/driver-api/usb/error-codes.rst).
pub(super) fn mark(from: Side, status: i32, passed: usize, what: &str) -> Option<Mark> {
    let direction = match from {
        Side::Host => "OUT",
        Side::Phone => "IN",
    };
    Some(match (status, from) {
        (0, _) => {
            let text = format!("only {} of {what} passed", bytes(passed));
            Mark::new(Kind::ShortTransfer, Side::Phone, text)
        }
        (-32, _) => Mark::new(
            Kind::Stall,
            Side::Phone,
            format!("the phone stalled its {direction} endpoint"),
        ),
        (-19, _) => Mark::new(Kind::Unplugged, None, "the phone was unplugged"),
        (-108, _) => {
            let text = "the phone was unplugged, or the host's program let go of it";
            Mark::new(Kind::Unplugged, None, text)
        }
        // Its driver gave it up; for one that waits for bytes that is how it ends.
        (-2 | -104, Side::Phone) => return None,
        (-2 | -104, Side::Host) => {
            let text = format!("the host gave a transfer up: the phone may never have got {what}");
            Mark::new(Kind::GivenUp, from, text)
        }
        (-75, _) => Mark::new(
            Kind::UsbError,
            Side::Phone,
            "the phone sent more than the host had room for in this read (babble)",
        ),
        (status, _) => {
            let text = format!("{direction}: the bus failed ({}): {what}", errno(status));
            Mark::new(Kind::UsbError, None, text)
        }
    })
}

fn errno(status: i32) -> String {
    match status {
        -62 => "no answer in time".to_owned(),
        -71 => "protocol error".to_owned(),
        -84 => "wrong checksum or no answer".to_owned(),
        -110 => "timeout".to_owned(),
        status => format!("error {}", status.unsigned_abs()),
    }
}
