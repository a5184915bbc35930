//! What happened on the bus, for those who write it down.

use crate::time::Nanos;
use usbmux_dongle::usb::{Setup, TransferError};

/// Something that happened, and when it was over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BusEvent {
    /// The end of the transaction.
    pub at: Nanos,
    /// What it was.
    pub what: Happening,
}

/// Something that happened on the bus.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Happening {
    /// The cable went in.
    Plugged,
    /// The cable came out.
    Unplugged,
    /// A reset of the port began.
    Reset,
    /// A control transfer ended, with so many bytes of data.
    Control {
        /// The device's address.
        address: u8,
        /// What was asked.
        setup: Setup,
        /// How many bytes the data stage had.
        result: Result<usize, TransferError>,
    },
    /// A bulk IN packet arrived; empty for a ZLP.
    In {
        /// Its bytes.
        bytes: Vec<u8>,
    },
    /// A bulk OUT packet arrived; empty for a ZLP.
    Out {
        /// Its bytes.
        bytes: Vec<u8>,
    },
    /// The host's driver forgot a zero-length packet that it was told to send.
    SwallowedZlp,
    /// The bulk endpoint that is served with this event's successor had answered NAK since then.
    Refused {
        /// Whether it is the IN endpoint.
        input: bool,
        /// When it answered NAK first.
        since: Nanos,
    },
    /// An IN transaction got no answer.
    InError,
    /// An OUT transaction got no answer.
    OutError,
    /// An IN transfer failed.
    InFailed {
        /// What the firmware is told.
        error: TransferError,
    },
    /// An OUT transfer failed.
    OutFailed {
        /// What the firmware is told.
        error: TransferError,
    },
}
