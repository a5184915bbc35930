//! The 16 bytes in front of every message, message kinds and result codes.
//!
//! Everything is little-endian. What follows a header is not this file's business.

use core::fmt;

use super::records::{put, take};

/// Length of a header.
pub const HEADER_LEN: usize = 16;

/// Length of the longest message a client may send, header included; the reference daemon's limit.
pub const MAX_MESSAGE: usize = 65536;

/// Describes the header of a message in either direction.
///
/// ```text
///  0        4         8         12     16
///  | length | version | message | tag  | body …
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Header {
    /// Length of the whole message, header included.
    pub length: u32,
    /// 0 in binary messages, 1 in plist messages; clients mix them up.
    pub version: u32,
    /// What the message is.
    pub message: MessageKind,
    /// Chosen by the client and repeated in the answer; 0 in events.
    pub tag: u32,
}

impl Header {
    /// Describes a message with a body of `body_len` bytes.
    ///
    /// A body beyond 4 GiB has no length in this protocol; it saturates.
    pub fn new(version: u32, message: MessageKind, tag: u32, body_len: usize) -> Self {
        let length = HEADER_LEN.saturating_add(body_len);
        Self { length: u32::try_from(length).unwrap_or(u32::MAX), version, message, tag }
    }

    /// Reads a header; every value is accepted and kept.
    pub fn parse(bytes: &[u8; HEADER_LEN]) -> Self {
        let rest = bytes.as_slice();
        let (length, rest) = take(rest);
        let (version, rest) = take(rest);
        let (message, rest) = take(rest);
        let (tag, _) = take(rest);
        Self {
            length: u32::from_le_bytes(length),
            version: u32::from_le_bytes(version),
            message: MessageKind::from(u32::from_le_bytes(message)),
            tag: u32::from_le_bytes(tag),
        }
    }

    /// Writes the header.
    pub fn emit(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        let rest = put(&mut bytes, self.length.to_le_bytes());
        let rest = put(rest, self.version.to_le_bytes());
        let rest = put(rest, u32::from(self.message).to_le_bytes());
        put(rest, self.tag.to_le_bytes());
        bytes
    }

    /// Length of the body that follows, or `None` if no client may send such a message: it is
    /// shorter than its own header or longer than [`MAX_MESSAGE`], and the socket is closed.
    pub fn body_len(&self) -> Option<usize> {
        let length = usize::try_from(self.length).ok()?;
        if length > MAX_MESSAGE {
            return None;
        }
        length.checked_sub(HEADER_LEN)
    }

    /// Tells whether this could be a request at all. Used only where payload may stand instead,
    /// behind a Connect that has not been answered yet.
    pub fn looks_like_request(&self) -> bool {
        use MessageKind::{Connect, Listen, Plist};
        self.body_len().is_some()
            && self.version <= 1
            && matches!(self.message, Connect | Listen | Plist)
    }
}

/// Names what a message is; unknown numbers are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum MessageKind {
    /// 1: the binary answer, a [`ResultCode`].
    Result,
    /// 2: a binary Connect request.
    Connect,
    /// 3: a binary Listen request, without body.
    Listen,
    /// 4: the binary event of a phone that is here.
    DeviceAdd,
    /// 5: the binary event of a phone that went.
    DeviceRemove,
    /// 6: the binary event of a phone whose pair record was saved.
    DevicePaired,
    /// 8: the body is an XML property list, whatever the version says.
    Plist,
    /// Any other number.
    Unknown(u32),
}

impl From<u32> for MessageKind {
    fn from(number: u32) -> Self {
        match number {
            1 => Self::Result,
            2 => Self::Connect,
            3 => Self::Listen,
            4 => Self::DeviceAdd,
            5 => Self::DeviceRemove,
            6 => Self::DevicePaired,
            8 => Self::Plist,
            other => Self::Unknown(other),
        }
    }
}

impl From<MessageKind> for u32 {
    fn from(kind: MessageKind) -> Self {
        match kind {
            MessageKind::Result => 1,
            MessageKind::Connect => 2,
            MessageKind::Listen => 3,
            MessageKind::DeviceAdd => 4,
            MessageKind::DeviceRemove => 5,
            MessageKind::DevicePaired => 6,
            MessageKind::Plist => 8,
            MessageKind::Unknown(number) => number,
        }
    }
}

/// Holds the number of a Result message. The requests about pair records answer errno values, so
/// one number may mean two things: 2 is "bad device" to a Connect and "no such record" to a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ResultCode(pub u32);

impl ResultCode {
    /// The request was carried out.
    pub const OK: Self = Self(0);
    /// The request is unknown, malformed, or came at the wrong time.
    pub const BAD_COMMAND: Self = Self(1);
    /// There is no such device (Connect).
    pub const BAD_DEVICE: Self = Self(2);
    /// The phone refused the connection, or there is no room for another one (Connect).
    pub const REFUSED: Self = Self(3);
    /// The header's version is above 1.
    pub const BAD_VERSION: Self = Self(6);
    /// There is no such record (pair records: `ENOENT`).
    pub const NO_RECORD: Self = Self(2);
    /// Reading or writing failed without the system saying why (pair records: `EIO`).
    pub const IO: Self = Self(5);
    /// The id or the data of a pair record is missing or unusable (pair records: `EINVAL`).
    pub const INVALID: Self = Self(22);
    /// The stored record is larger than any record may be (pair records: `EFBIG`).
    pub const TOO_LARGE: Self = Self(27);
}

impl fmt::Display for ResultCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self.0 {
            0 => "done",
            1 => "bad command",
            2 => "no such device or record",
            3 => "connection refused",
            6 => "bad version",
            22 => "bad request",
            _ => "failed",
        };
        write!(f, "{} ({text})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The header of a binary Connect as a real client sent it.
    const CONNECT: [u8; 16] = [0x18, 0, 0, 0, 0x00, 0, 0, 0, 0x02, 0, 0, 0, 0x05, 0x00, 0x00, 0x00];

    #[test]
    fn header_is_sixteen_little_endian_bytes() {
        let header = Header { length: 24, version: 0, message: MessageKind::Connect, tag: 5 };
        assert_eq!(Header::parse(&CONNECT), header);
        assert_eq!(header.emit(), CONNECT);

        let plist = [0xed, 0x01, 0, 0, 1, 0, 0, 0, 8, 0, 0, 0, 0x04, 0x03, 0x02, 0x01];
        let header =
            Header { length: 0x1ed, version: 1, message: MessageKind::Plist, tag: 0x0102_0304 };
        assert_eq!(Header::parse(&plist), header);
        assert_eq!(header.emit(), plist);
    }

    #[test]
    fn unknown_values_survive() {
        let bytes = [0xff, 0xff, 0xff, 0x7f, 9, 0, 0, 0, 0x4d, 0, 0, 0x80, 0xff, 0xff, 0xff, 0xff];
        let header = Header::parse(&bytes);
        assert_eq!(header.message, MessageKind::Unknown(0x8000_004d));
        assert_eq!(header.emit(), bytes);
        for number in 0..16 {
            assert_eq!(u32::from(MessageKind::from(number)), number);
        }
    }

    #[test]
    fn lengths_are_judged_at_both_edges() {
        let body_len = |length| Header { length, ..Header::parse(&CONNECT) }.body_len();
        assert_eq!(body_len(0), None);
        assert_eq!(body_len(15), None);
        assert_eq!(body_len(16), Some(0));
        assert_eq!(body_len(17), Some(1));
        assert_eq!(body_len(65536), Some(65520));
        assert_eq!(body_len(65537), None);
        assert_eq!(body_len(u32::MAX), None);
    }

    #[test]
    fn new_counts_the_header() {
        assert_eq!(Header::new(0, MessageKind::Result, 7, 4).length, 20);
        assert_eq!(Header::new(0, MessageKind::Result, 7, usize::MAX).length, u32::MAX);
    }

    #[test]
    fn payload_is_not_taken_for_a_request() {
        assert!(Header::parse(&CONNECT).looks_like_request());
        let lockdown = *b"\x00\x00\x01\x15<?xml versio";
        assert!(!Header::parse(&lockdown).looks_like_request());
        assert!(!Header::parse(b"SSH-2.0-OpenSSH_").looks_like_request());
        let answer = Header::new(0, MessageKind::Result, 1, 4);
        assert!(!answer.looks_like_request());
    }
}
