//! What a trace consists of, before it is packets: frames, and what happened around them.

use std::time::Duration;

use usbmux_core::deframe::{Malformed, Numbers};
use usbmux_core::wire::{self, ControlKind, Flags, TcpHeader, Version};

/// Who sent something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sender {
    /// Our side of the cable.
    Host,
    /// The phone.
    Phone,
}

/// One line of a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Which phone it is about: how many were plugged in before it in this trace.
    pub phone: u32,
    /// When it was, since 1970.
    pub at: Duration,
    /// What it was.
    pub what: What,
}

/// What there is to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum What {
    /// The phone was plugged in: the first record of each phone.
    Attached(Attachment),
    /// A frame passed.
    Frame(Frame),
    /// Bytes passed that are no frame.
    Garbage(Garbage),
    /// A zero-length packet passed.
    Zlp(Place),
    /// The phone is gone, in words why.
    Detached(&'static str),
    /// A transfer failed, in words how.
    Fault(&'static str),
    /// A reset of the port begins.
    Reset,
    /// The port is back.
    ResetDone,
    /// The phone has answered the greeting with this version.
    SessionUp(u32),
    /// The greeting failed, in words why.
    SessionFailed(String),
    /// The session is dead, in words why.
    SessionDead(String),
    /// So many records came faster than they could be written, and are missing here.
    Lost(u64),
    /// The program that traces ends, and the phone is still there.
    Ended,
}

/// What USB says of a phone that was plugged in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attachment {
    /// The UDID.
    pub udid: String,
    /// USB idProduct.
    pub product_id: u16,
    /// bus << 16 | address.
    pub location_id: u32,
    /// Bit/s; 0 if it is not known.
    pub speed: u64,
    /// wMaxPacketSize of the bulk endpoints.
    pub max_packet: u16,
}

/// Where on the bus something began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Who sent it.
    pub sender: Sender,
    /// The number of the transfer among the sender's, from 1.
    pub transfer: u32,
    /// How many bytes of the transfer were before it.
    pub at: u32,
    /// In how many reads or packets it came.
    pub slices: u32,
}

/// A frame that passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Where it began.
    pub place: Place,
    /// The mux numbers; none in VERSION and in version 1.
    pub numbers: Option<Numbers>,
    /// What stands in front of its body.
    pub head: Head,
    /// How long its body is by its header.
    pub body_len: u16,
    /// How many bytes of the body were not there when its transfer ended.
    pub missing: u16,
    /// What is kept of the body: its first bytes, or none.
    pub body: Vec<u8>,
}

/// What stands in front of a frame's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Head {
    /// A VERSION frame.
    Version(Version),
    /// A SETUP frame and its level.
    Setup(u8),
    /// A CONTROL frame and its type; its body is text.
    Control(ControlKind),
    /// A segment; its body is payload, or the text of an RST.
    Segment(TcpHeader),
}

/// Bytes that are no frame, up to the end of their transfer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Garbage {
    /// Where they began.
    pub place: Place,
    /// What is wrong with them; none if they follow a whole frame.
    pub why: Option<Malformed>,
    /// How many there are.
    pub bytes: u32,
    /// The first of them, if they are kept and came in one piece.
    pub first: Vec<u8>,
}

impl Frame {
    /// Returns what the mux header's length field says.
    pub fn length(&self) -> u32 {
        let mux = if self.numbers.is_some() { wire::HEADER_V2 } else { wire::HEADER_V1 };
        (mux + self.head.len()) as u32 + u32::from(self.body_len)
    }

    /// Whether its body is text, which is no payload of anybody's.
    pub fn is_text(&self) -> bool {
        match self.head {
            Head::Segment(tcp) => tcp.flags.contains(Flags::RST),
            _ => true,
        }
    }
}

impl Head {
    /// Returns how many bytes it takes behind the mux header.
    pub(super) fn len(&self) -> usize {
        match self {
            Head::Version(_) => wire::VERSION_BODY,
            Head::Setup(_) | Head::Control(_) => 1,
            Head::Segment(_) => wire::TCP_HEADER,
        }
    }
}
