//! The clients that listen for events, as they are told to other clients.

use heapless::String;

/// Length of the longest program name that is kept; longer ones are cut.
pub const MAX_NAME: usize = 32;

/// One client that listens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listening {
    pub(super) taken: bool,
    pub(super) lib_version: u16,
    pub(super) prog_name: Option<String<MAX_NAME, u8>>,
}

impl Listening {
    /// Nobody.
    pub const NOBODY: Self = Self { taken: false, lib_version: 0, prog_name: None };
}

/// What conversations tell each other: who listens, and that a record was saved. The board's
/// configuration chooses the number of places (as many as connections); everybody else has it as
/// `&mut Listeners`.
#[derive(Clone, Debug)]
pub struct Listeners<S: ?Sized = [Listening]> {
    /// Counts the pair records that were saved for the phone that is here.
    pub(super) pairings: u16,
    pub(super) places: S,
}

impl<const N: usize> Listeners<[Listening; N]> {
    /// Nobody listens.
    pub const fn new() -> Self {
        Self { pairings: 0, places: [const { Listening::NOBODY }; N] }
    }
}

impl<const N: usize> Default for Listeners<[Listening; N]> {
    fn default() -> Self {
        Self::new()
    }
}
