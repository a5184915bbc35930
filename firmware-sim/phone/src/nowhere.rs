//! The mapped ports of a phone in a program without sockets: all of them refuse. Stands in the place of
//! `outside.rs` where there are no TCP connections to be made.

use crate::phone::Dial;
use crate::services::Program;
use usbmux_core::ConnId;

/// The phone's side; there is no other.
#[derive(Default)]
pub(crate) struct Outside(());

impl Outside {
    /// Gives the wish for a connection back.
    pub(crate) fn ask(&self, dial: Dial) -> Result<(), Dial> {
        Err(dial)
    }

    /// There never is any.
    pub(crate) fn has_news(&self) -> bool {
        false
    }

    pub(crate) fn next_outcome(&self) -> Option<(ConnId, Option<Box<dyn Program>>)> {
        None
    }

    pub(crate) fn next_wake(&self) -> Option<ConnId> {
        None
    }
}
