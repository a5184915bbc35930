//! The status page over HTTP: `GET /` for people, `GET /status.json` for programs.
//!
//! No sockets, no allocation: [`Page::read`] takes the request, [`Page::write`] writes the answer,
//! and when [`Page::is_finished`] the socket is to be closed. One request a connection.

use crate::talk::PhoneInfo;

/// What the page shows. It may change while a page is being written.
#[derive(Clone, Copy, Debug)]
pub struct Status<'a> {
    /// The phone, if one is plugged in and known.
    pub phone: Option<&'a PhoneInfo>,
    /// In what state the link to the phone is, in a few words.
    pub link: &'static str,
    /// The dongle's address.
    pub address: [u8; 4],
    /// Where the address is from: `DHCP`, or that it is the fallback.
    pub address_source: &'static str,
    /// Seconds since the dongle started.
    pub uptime_s: u32,
    /// The connections that are in use.
    pub connections: &'a [ConnectionStatus],
    /// How many connections there can be.
    pub connections_max: u32,
    /// Names and values.
    pub counters: &'a [(&'static str, u32)],
    /// Names and bytes of RAM.
    pub memory: &'a [(&'static str, u32)],
}

/// One connection of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionStatus {
    /// The client's address.
    pub peer: [u8; 4],
    /// The client's port.
    pub peer_port: u16,
    /// What it is, in a word: `talk`, `listening`, `pipe`, `forward`, `page`.
    pub what: &'static str,
    /// The phone's port, 0 if none.
    pub phone_port: u16,
    /// Bytes from the phone to the client.
    pub from_phone: u64,
    /// Bytes from the client to the phone.
    pub to_phone: u64,
}

/// One connection to the status page.
#[derive(Debug)]
pub struct Page {
    position: u32,
}

impl Page {
    /// Begins with a client that has said nothing yet.
    pub const fn new() -> Self {
        Self { position: 0 }
    }

    /// Takes bytes of the request, in any slicing; returns how many. Everything behind the request's
    /// first line is taken and ignored, also while the answer is written.
    pub fn read(&mut self, input: &[u8]) -> usize {
        input.len()
    }

    /// Writes the answer, as much as there is room for; returns how much.
    pub fn write(&mut self, room: &mut [u8], status: &Status<'_>) -> usize {
        let _ = (room, status);
        0
    }

    /// Whether everything was written.
    pub const fn is_finished(&self) -> bool {
        self.position == u32::MAX
    }
}

impl Default for Page {
    fn default() -> Self {
        Self::new()
    }
}
