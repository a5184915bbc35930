//! The socket protocol with one client, until it hangs up or its socket becomes a byte pipe.
//!
//! No sockets, no clock, no allocation: bytes come and go as slices. For each connection:
//!
//! 1. offer what the socket received to [`Conversation::read`], and take as much of it as that says;
//! 2. give [`Conversation::write`] the room of the socket's transmit buffer, until it writes nothing;
//! 3. do what [`Conversation::poll_action`] says;
//! 4. repeat while something happened, and whenever the phone came or went;
//! 5. [`Conversation::end`] when the socket is closed or has become a pipe.

use heapless::String;

pub use listeners::{Listeners, Listening, MAX_NAME};

use crate::records::RecordStore;

mod listeners;

/// Length of the longest serial number: 40 hex digits on old phones, 25 with hyphen on new ones.
pub const MAX_SERIAL: usize = 40;

/// The phone as clients are told of it. It is shown to clients only while its link is up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PhoneInfo {
    /// The dongle's number for it, above 0, another one after each plugging in.
    pub device_id: u32,
    /// The product id of the USB device.
    pub product_id: u16,
    /// Bus number × 65536 + address.
    pub location_id: u32,
    /// The UDID.
    pub serial: String<MAX_SERIAL, u8>,
    /// Speed of the cable in bit/s.
    pub speed: u32,
}

/// What every conversation needs of the dongle.
#[derive(Debug)]
pub struct Shared<'a, R> {
    /// The phone, if one is here and its link is up.
    pub phone: Option<&'a PhoneInfo>,
    /// The pair records.
    pub store: &'a mut R,
    /// The other clients.
    pub listeners: &'a mut Listeners,
    /// The identity of this dongle: an upper-case UUID, the same for ever.
    pub buid: &'a str,
}

/// What the caller has to do for a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Connect to this port of the phone, then [`Conversation::answer_connect`]. Told once.
    Connect {
        /// The port, as the phone counts it; never 0.
        port: u16,
    },
    /// Everything was said: the socket is the connection's byte stream from here on. What stands in
    /// the socket's receive buffer is its beginning.
    Pipe,
    /// Everything was said: close the socket, and give up a connection that is being made.
    Close,
}

/// What became of an [`Action::Connect`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectOutcome {
    /// The phone accepted.
    Connected,
    /// The phone refused or did not answer, or there is no room for another connection.
    Refused,
    /// The phone went.
    NoPhone,
}

/// What one client says on port 27015, and what it is told.
#[derive(Debug)]
pub struct Conversation {
    state: u8,
}

impl Conversation {
    /// Begins with a client that has said nothing yet.
    pub const fn new() -> Self {
        Self { state: 0 }
    }

    /// Takes bytes of the client, in any slicing; returns how many. It takes none while something is
    /// to be written, while a Connect is pending, and after it was the last message. (While a
    /// Connect is pending, offer what there is all the same: another request then ends it.)
    pub fn read(&mut self, input: &[u8], shared: &mut Shared<'_, impl RecordStore>) -> usize {
        let _ = (input, shared, self.state);
        0
    }

    /// Writes what is to be said, as much as there is room for; returns how much. A message longer
    /// than the room goes on with the next call. The first piece has the whole header, because
    /// clients want it in one read: with less than 17 bytes of room nothing is written.
    pub fn write(&mut self, room: &mut [u8], shared: &mut Shared<'_, impl RecordStore>) -> usize {
        let _ = (room, shared);
        0
    }

    /// What the caller has to do; ask after each [`read`](Self::read) and [`write`](Self::write).
    pub fn poll_action(&mut self) -> Option<Action> {
        None
    }

    /// Answers [`Action::Connect`].
    pub fn answer_connect(&mut self, outcome: ConnectOutcome) {
        let _ = outcome;
    }

    /// The client has sent everything it will ever send: what it asked is still answered, then
    /// [`Action::Close`] comes (or [`Action::Pipe`], if it asked for that).
    pub fn end_of_input(&mut self) {}

    /// Gives back what this conversation holds in [`Shared`], and begins anew for the next client.
    pub fn end(&mut self, shared: &mut Shared<'_, impl RecordStore>) {
        let _ = shared;
        *self = Self::new();
    }

    /// Whether the client listens for events: call [`write`](Self::write) when the phone came or
    /// went, or another client was served.
    pub const fn is_listening(&self) -> bool {
        false
    }

    /// Whether the client is in the middle of a message: it may be hung up on if nothing comes for
    /// long.
    pub const fn is_amid_message(&self) -> bool {
        false
    }
}

impl Default for Conversation {
    fn default() -> Self {
        Self::new()
    }
}
