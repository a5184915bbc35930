//! Apple's vendor requests about modes: which one a phone is in, and switching it (PROTOCOL §1).
//!
//! A mode decides which configurations there are. Phones answer, stall, or say nothing, so each
//! request has a time limit, and none is needed to serve a phone: whoever asks goes on without an
//! answer. Nothing here switches by itself: that broke tethering for others. Leaves out: choosing
//! among the configurations (`choose`).

use std::fmt;
use std::time::Duration;

use nusb::transfer::{ControlIn, ControlType, Recipient, TransferError};
use nusb::{Device, MaybeFuture};

/// How long a phone may take to answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// bRequest of the two requests.
const GET_MODE: u8 = 0x45;
const SET_MODE: u8 = 0x52;

/// What a phone answers to GET_MODE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mode {
    /// The mode after plugging in, with four configurations.
    Initial,
    /// One that somebody has switched to.
    Extended,
    /// An answer nobody has described yet; bytes beyond what the phone sent are 0.
    Unknown([u8; 4]),
}

impl Mode {
    /// Reads the answer, which has four bytes.
    pub fn parse(answer: &[u8]) -> Self {
        match *answer {
            [3, 3, 3, 0] => Self::Initial,
            [5, 3, 3, 0] => Self::Extended,
            _ => {
                let byte = |at: usize| answer.get(at).copied().unwrap_or(0);
                Self::Unknown([byte(0), byte(1), byte(2), byte(3)])
            }
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Initial => f.write_str("initial mode"),
            Self::Extended => f.write_str("extended mode"),
            Self::Unknown([a, b, c, d]) => {
                write!(f, "unknown mode {a:02x} {b:02x} {c:02x} {d:02x}")
            }
        }
    }
}

/// Asks a phone for its mode. Blocks for a second at most.
///
/// # Errors
/// The phone stalls the request, does not answer in time, or is gone.
pub fn mode(device: &Device) -> Result<Mode, TransferError> {
    let answer = device.control_in(request(GET_MODE, 0, 4), PATIENCE).wait()?;
    Ok(Mode::parse(&answer))
}

/// Asks a phone to switch to another mode, after which it leaves the bus and comes back as a new
/// device. Blocks for a second at most.
///
/// # Errors
/// The phone stalls the request, does not answer in time, or was gone before.
pub fn switch_mode(device: &Device, mode: u8) -> Result<(), TransferError> {
    match device.control_in(request(SET_MODE, mode, 1), PATIENCE).wait() {
        // Gone before its answer was read.
        Ok(_) | Err(TransferError::Disconnected) => Ok(()),
        Err(error) => Err(error),
    }
}

fn request(request: u8, mode: u8, length: u16) -> ControlIn {
    ControlIn {
        control_type: ControlType::Vendor,
        recipient: Recipient::Device,
        request,
        value: 0,
        index: mode.into(),
        length,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_told_apart_by_the_whole_answer() {
        assert_eq!(Mode::parse(&[3, 3, 3, 0]), Mode::Initial);
        assert_eq!(Mode::parse(&[5, 3, 3, 0]), Mode::Extended);
        assert_eq!(Mode::parse(&[5, 3, 3, 1]), Mode::Unknown([5, 3, 3, 1]));
        assert_eq!(Mode::parse(&[3, 3, 3]), Mode::Unknown([3, 3, 3, 0]));
        assert_eq!(Mode::parse(&[]), Mode::Unknown([0; 4]));
        assert_eq!(Mode::parse(&[3, 3, 3, 0, 0]), Mode::Unknown([3, 3, 3, 0]));
    }
}
