//! What reading a trace gives: phones, frames, and marks where something is wrong or worth knowing.

use std::fmt;
use std::time::Duration;

use usbmux_core::wire::{Magic, TcpHeader, Version};

use super::mark::Mark;

/// One of the two ends of a cable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The computer.
    Host,
    /// The phone.
    Phone,
}

impl Side {
    /// The end at the other side.
    #[must_use]
    pub const fn other(self) -> Side {
        match self {
            Side::Host => Side::Phone,
            Side::Phone => Side::Host,
        }
    }

    /// `host` or `phone`.
    pub const fn name(self) -> &'static str {
        match self {
            Side::Host => "host",
            Side::Phone => "phone",
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How it is known where a phone's mux endpoints are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FoundBy {
    /// Its descriptors are in the capture.
    Descriptors,
    /// What passes there looks like frames.
    Frames,
    /// The trace says so.
    Trace,
}

/// A phone, as far as the trace tells about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PhoneInfo {
    /// Its number in this trace, from 1. The same phone plugged in again gets another one.
    pub phone: u32,
    /// Its bus and address on it, if the trace is one of USB.
    pub place: Option<(u16, u8)>,
    /// Vendor and product number.
    pub product: Option<(u16, u16)>,
    /// The UDID.
    pub udid: Option<String>,
    /// Addresses of its mux endpoints, OUT and IN; one may not have been seen yet.
    pub endpoints: (Option<u8>, Option<u8>),
    /// wMaxPacketSize of them, if the trace tells; else 512 is assumed.
    pub max_packet: Option<u16>,
    /// How it was found.
    pub found_by: FoundBy,
}

/// The numbers of a version 2 header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbers {
    /// Who sends, by its own word.
    pub magic: Magic,
    /// Number of this frame.
    pub tx_seq: u16,
    /// The last frame of the other side that was accepted.
    pub rx_seq: u16,
}

/// What a frame says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// VERSION.
    Version(Version),
    /// SETUP, with its byte.
    Setup(u8),
    /// The phone's kernel says something.
    Control {
        /// How grave it finds that.
        kind: u8,
        /// What it says.
        text: String,
    },
    /// A pseudo-TCP segment.
    Segment {
        /// Its header.
        tcp: TcpHeader,
        /// Bytes of payload.
        payload: usize,
        /// The number of its connection in this trace, from 1; none if it belongs to no connection.
        conn: Option<u32>,
        /// What a reset says.
        text: String,
    },
    /// Too little of it was captured to tell.
    NotCaptured,
}

/// A frame of either side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Whose cable.
    pub phone: u32,
    /// Who sent it.
    pub from: Side,
    /// When: handed to USB by the host, taken from USB by the host. Since the trace's first packet.
    pub at: Duration,
    /// The packet of the file in which it begins, from 1, as other readers number them.
    pub packet: u64,
    /// Its length by its own word, header included.
    pub length: usize,
    /// Its numbers; none in version 1 and in VERSION.
    pub numbers: Option<Numbers>,
    /// What it says.
    pub body: Body,
    /// Its bytes from the header on, as many as were captured.
    pub bytes: Vec<u8>,
    /// How many of `bytes` are headers.
    pub headers: usize,
    /// What is to be said about it.
    pub marks: Vec<Mark>,
}

impl Frame {
    /// The payload of a segment, as far as it was captured; its length is in the body.
    pub fn payload(&self) -> &[u8] {
        self.bytes.get(self.headers..).unwrap_or_default()
    }
}

/// Something that is in no frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Whose cable.
    pub phone: u32,
    /// When it happened, or was noticed.
    pub at: Duration,
    /// The connection that it is about.
    pub conn: Option<u32>,
    /// What it is.
    pub mark: Mark,
}

/// The next thing in a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A phone's first frame follows.
    Phone(PhoneInfo),
    /// A frame.
    Frame(Frame),
    /// Something between frames.
    Note(Note),
}
