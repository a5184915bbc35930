//! Frames and segments as PROTOCOL §2–3 draws them, byte by byte, in the simplest form that can be checked by eye.
//!
//! Nothing here is shared with the engine on purpose: a misreading would have to be made twice. No checks are made on
//! what is built, because a test must be able to build nonsense.

/// Protocol numbers of the mux header.
pub const VERSION: u32 = 0;
/// Messages of the phone to people.
pub const CONTROL: u32 = 1;
/// The one-byte frame behind VERSION 2.
pub const SETUP: u32 = 2;
/// Pseudo-TCP segments.
pub const TCP: u32 = 6;

/// Magic in every v2 frame from the host.
pub const FROM_HOST: u32 = 0xfeed_face;
/// Magic in every v2 frame from the phone.
pub const FROM_PHONE: u32 = 0xface_face;

/// TCP flag bits, as in RFC 793.
pub const FIN: u8 = 0x01;
/// Opens a connection.
pub const SYN: u8 = 0x02;
/// Ends a connection, the only way there is.
pub const RST: u8 = 0x04;
/// "Push", which a phone does not accept.
pub const PSH: u8 = 0x08;
/// The only flag on data.
pub const ACK: u8 = 0x10;

/// The second half of a v2 header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbers {
    /// Who speaks: [`FROM_HOST`] or [`FROM_PHONE`].
    pub magic: u32,
    /// Number of this frame.
    pub tx_seq: u16,
    /// Number of the last frame taken from the other side.
    pub rx_seq: u16,
}

/// One usbmux message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What the body is.
    pub protocol: u32,
    /// Present in v2 frames, absent in v1 frames and in VERSION of any version.
    pub numbers: Option<Numbers>,
    /// Everything behind the header.
    pub body: Vec<u8>,
}

impl Frame {
    /// A frame with an 8-byte header.
    #[must_use]
    pub fn v1(protocol: u32, body: &[u8]) -> Frame {
        Frame { protocol, numbers: None, body: body.to_vec() }
    }

    /// A frame with a 16-byte header.
    #[must_use]
    pub fn v2(protocol: u32, magic: u32, tx_seq: u16, rx_seq: u16, body: &[u8]) -> Frame {
        Frame { protocol, numbers: Some(Numbers { magic, tx_seq, rx_seq }), body: body.to_vec() }
    }

    /// The frame as it stands on the wire; the length field is right.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let header = if self.numbers.is_some() { 16 } else { 8 };
        let length = u32::try_from(header + self.body.len()).unwrap_or(u32::MAX);
        let mut bytes = Vec::new();
        bytes.extend(self.protocol.to_be_bytes());
        bytes.extend(length.to_be_bytes());
        if let Some(numbers) = self.numbers {
            bytes.extend(numbers.magic.to_be_bytes());
            bytes.extend(numbers.tx_seq.to_be_bytes());
            bytes.extend(numbers.rx_seq.to_be_bytes());
        }
        bytes.extend(&self.body);
        bytes
    }

    /// Reads one frame from the start of a message; `v2` says whether a session of version 2 stands.
    ///
    /// Returns the frame and what lies behind it.
    ///
    /// # Errors
    ///
    /// A sentence, when the bytes are no frame.
    pub fn read(message: &[u8], v2: bool) -> Result<(Frame, Vec<u8>), String> {
        if message.len() < 8 {
            return Err(format!("a message of {} bytes has no header", message.len()));
        }
        let protocol = u32_at(message, 0);
        let length = u32_at(message, 4) as usize;
        let header = if v2 && protocol != VERSION { 16 } else { 8 };
        if length < header || length > message.len() {
            return Err(format!("length field {length} in a message of {} bytes", message.len()));
        }
        let numbers = (header == 16).then(|| Numbers {
            magic: u32_at(message, 8),
            tx_seq: u16_at(message, 12),
            rx_seq: u16_at(message, 14),
        });
        let body = message[header..length].to_vec();
        Ok((Frame { protocol, numbers, body }, message[length..].to_vec()))
    }

    /// The segment in the body.
    ///
    /// # Errors
    ///
    /// A sentence, when this is no TCP frame or its header is not the plain one.
    pub fn segment(&self) -> Result<Segment, String> {
        if self.protocol != TCP {
            return Err(format!("protocol {} carries no segment", self.protocol));
        }
        Segment::read(&self.body)
    }
}

/// One pseudo-TCP segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Port of the side that speaks.
    pub source: u16,
    /// Port of the other side.
    pub dest: u16,
    /// Number of the first payload byte.
    pub seq: u32,
    /// Number of the next byte expected.
    pub ack: u32,
    /// Flag bits.
    pub flags: u8,
    /// The window field as it stands there: units of 256 bytes.
    pub window_units: u16,
    /// Everything behind the 20 bytes.
    pub payload: Vec<u8>,
}

impl Segment {
    /// The segment as it stands on the wire.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(self.source.to_be_bytes());
        bytes.extend(self.dest.to_be_bytes());
        bytes.extend(self.seq.to_be_bytes());
        bytes.extend(self.ack.to_be_bytes());
        bytes.push(0x50); // data offset 5 words
        bytes.push(self.flags);
        bytes.extend(self.window_units.to_be_bytes());
        bytes.extend([0, 0]); // checksum
        bytes.extend([0, 0]); // urgent pointer
        bytes.extend(&self.payload);
        bytes
    }

    /// Reads a segment, and insists on the plain header: offset 5, checksum and urgent pointer 0.
    ///
    /// # Errors
    ///
    /// A sentence, when the bytes are no such segment.
    pub fn read(body: &[u8]) -> Result<Segment, String> {
        if body.len() < 20 {
            return Err(format!("a segment of {} bytes has no header", body.len()));
        }
        if body[12] != 0x50 {
            return Err(format!("data offset byte {:#04x}", body[12]));
        }
        if body[16..20] != [0, 0, 0, 0] {
            return Err(format!("checksum and urgent pointer {:02x?}", &body[16..20]));
        }
        Ok(Segment {
            source: u16_at(body, 0),
            dest: u16_at(body, 2),
            seq: u32_at(body, 4),
            ack: u32_at(body, 8),
            flags: body[13],
            window_units: u16_at(body, 14),
            payload: body[20..].to_vec(),
        })
    }
}

/// The body of a VERSION frame.
#[must_use]
pub fn version_body(major: u32, minor: u32) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend(major.to_be_bytes());
    body.extend(minor.to_be_bytes());
    body.extend([0, 0, 0, 0]);
    body
}

/// The body of a CONTROL frame.
#[must_use]
pub fn control_body(kind: u8, text: &str) -> Vec<u8> {
    let mut body = vec![kind];
    body.extend(text.as_bytes());
    body
}

/// The big-endian 32-bit number at an offset.
#[must_use]
pub fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) << 16 | u32::from(u16_at(bytes, at + 2))
}

/// The big-endian 16-bit number at an offset.
#[must_use]
pub fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from(bytes[at]) << 8 | u16::from(bytes[at + 1])
}

/// Bytes from hexadecimal digits; white space between them is free.
#[must_use]
pub fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).map(|d| d as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn the_first_syn_of_the_protocol_notes_reads_and_writes() {
        let golden = hex(
            "00000006 00000024 feedface 0001 ffff 0001 0016 00000000 00000000 5002 0200 0000 0000",
        );
        let (frame, rest) = Frame::read(&golden, true).unwrap();
        assert_eq!(rest, []);
        assert_eq!(frame.numbers, Some(Numbers { magic: FROM_HOST, tx_seq: 1, rx_seq: 0xffff }));
        let segment = frame.segment().unwrap();
        let expected = Segment {
            source: 1,
            dest: 22,
            seq: 0,
            ack: 0,
            flags: SYN,
            window_units: 0x200,
            payload: vec![],
        };
        assert_eq!(segment, expected);
        assert_eq!(Frame::v2(TCP, FROM_HOST, 1, 0xffff, &segment.bytes()).bytes(), golden);
    }

    #[test]
    fn version_and_setup_are_those_of_the_protocol_notes() {
        assert_eq!(
            Frame::v1(VERSION, &version_body(2, 0)).bytes(),
            hex("00000000 00000014 00000002 00000000 00000000")
        );
        assert_eq!(
            Frame::v2(SETUP, FROM_HOST, 0, 0xffff, &[7]).bytes(),
            hex("00000002 00000011 feedface 0000 ffff 07")
        );
    }
}
