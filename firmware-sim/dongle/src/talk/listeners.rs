//! The clients that listen for events, as they are told to other clients.

use heapless::String;
use usbmux_core::session::Client;

/// Length of the longest program name that is kept; longer ones are cut.
pub const MAX_NAME: usize = 32;

/// A place for one client that listens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listening {
    pub(super) taken: bool,
    pub(super) lib_version: u32,
    pub(super) prog_name: Option<String<MAX_NAME, u8>>,
}

impl Listening {
    /// Nobody.
    pub const NOBODY: Self = Self { taken: false, lib_version: 0, prog_name: None };
}

/// What conversations tell each other: who listens, and that a record was saved. The board's
/// configuration chooses the number of places (as many as connections); everybody else has it as
/// `&mut Listeners`. A client for which there is no place listens all the same and is not listed.
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

impl<S: AsRef<[Listening]> + ?Sized> Listeners<S> {
    /// How many clients listen.
    pub fn count(&self) -> usize {
        self.places.as_ref().iter().filter(|place| place.taken).count()
    }
}

impl Listeners {
    /// Takes a place for a client; None if there is none.
    pub(super) fn join(&mut self, client: &Client<'_>) -> Option<u8> {
        let (number, place) =
            (0..=u8::MAX).zip(&mut self.places).find(|(_, place)| !place.taken)?;
        place.taken = true;
        place.lib_version = u32::try_from(client.lib_version).unwrap_or(u32::MAX);
        place.prog_name = client.prog_name.map(|name| name.chars().fold(String::new(), push));
        Some(number)
    }

    /// Gives a place back.
    pub(super) fn leave(&mut self, number: u8) {
        if let Some(place) = self.places.get_mut(usize::from(number)) {
            *place = Listening::NOBODY;
        }
    }
}

/// What does not fit is left out: a name in hand is never longer than its place.
fn push(mut name: String<MAX_NAME, u8>, c: char) -> String<MAX_NAME, u8> {
    let _fits = name.push(c);
    name
}
