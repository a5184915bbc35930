//! The mux header, in its two lengths.

use core::fmt;

/// What a frame carries; unknown numbers are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Protocol(pub u32);

impl Protocol {
    /// Negotiation of the protocol version, the first frame each way.
    pub const VERSION: Protocol = Protocol(0);
    /// A text of the phone's about the link.
    pub const CONTROL: Protocol = Protocol(1);
    /// Start of a version 2 session: both sequence numbers begin anew.
    pub const SETUP: Protocol = Protocol(2);
    /// A pseudo-TCP segment.
    pub const TCP: Protocol = Protocol(6);
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Protocol::VERSION => f.write_str("VERSION"),
            Protocol::CONTROL => f.write_str("CONTROL"),
            Protocol::SETUP => f.write_str("SETUP"),
            Protocol::TCP => f.write_str("TCP"),
            Protocol(other) => write!(f, "protocol {other}"),
        }
    }
}

/// The third word of a version 2 header; unknown values are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Magic(pub u32);

impl Magic {
    /// What a host sends.
    pub const HOST: Magic = Magic(0xfeed_face);
    /// What a phone sends, and a host should accept beside its own (seen on real phones).
    pub const PHONE: Magic = Magic(0xface_face);

    /// Whether this is one of the two magics in use.
    pub const fn is_known(self) -> bool {
        matches!(self, Magic::HOST | Magic::PHONE)
    }
}

/// The 8-byte header of version 1, and of VERSION frames in any version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct HeaderV1 {
    /// What the frame carries.
    pub protocol: Protocol,
    /// Bytes of the whole frame, this header included.
    pub length: u32,
}

impl HeaderV1 {
    /// Reads a header.
    pub const fn parse(bytes: &[u8; 8]) -> Self {
        let [a, b, c, d, e, f, g, h] = *bytes;
        HeaderV1 {
            protocol: Protocol(u32::from_be_bytes([a, b, c, d])),
            length: u32::from_be_bytes([e, f, g, h]),
        }
    }

    /// Writes the header.
    pub const fn emit(&self) -> [u8; 8] {
        let [a, b, c, d] = self.protocol.0.to_be_bytes();
        let [e, f, g, h] = self.length.to_be_bytes();
        [a, b, c, d, e, f, g, h]
    }
}

/// The 16-byte header of version 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct HeaderV2 {
    /// What the frame carries.
    pub protocol: Protocol,
    /// Bytes of the whole frame, this header included.
    pub length: u32,
    /// Who sends: [`Magic::HOST`] or [`Magic::PHONE`].
    pub magic: Magic,
    /// Number of this frame among all that its sender numbered, modulo 2^16.
    pub tx_seq: u16,
    /// The last `tx_seq` that the sender of this frame accepted; [`RX_SEQ_NONE`](super::RX_SEQ_NONE)
    /// for none.
    pub rx_seq: u16,
}

impl HeaderV2 {
    /// Reads a header.
    pub const fn parse(bytes: &[u8; 16]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = *bytes;
        HeaderV2 {
            protocol: Protocol(u32::from_be_bytes([a, b, c, d])),
            length: u32::from_be_bytes([e, f, g, h]),
            magic: Magic(u32::from_be_bytes([i, j, k, l])),
            tx_seq: u16::from_be_bytes([m, n]),
            rx_seq: u16::from_be_bytes([o, p]),
        }
    }

    /// Writes the header.
    pub const fn emit(&self) -> [u8; 16] {
        let [a, b, c, d] = self.protocol.0.to_be_bytes();
        let [e, f, g, h] = self.length.to_be_bytes();
        let [i, j, k, l] = self.magic.0.to_be_bytes();
        let [m, n] = self.tx_seq.to_be_bytes();
        let [o, p] = self.rx_seq.to_be_bytes();
        [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
    }
}

impl fmt::Display for HeaderV2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}, {} bytes, magic {:08x}, tx {:#06x}, rx {:#06x}",
            self.protocol, self.length, self.magic.0, self.tx_seq, self.rx_seq
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setup_header_by_hand() {
        // PROTOCOL §2: SETUP, 17 bytes, the host's magic, tx_seq 0, rx_seq 0xffff.
        let bytes = [
            0x00, 0x00, 0x00, 0x02, // protocol
            0x00, 0x00, 0x00, 0x11, // length
            0xfe, 0xed, 0xfa, 0xce, // magic
            0x00, 0x00, 0xff, 0xff, // tx_seq, rx_seq
        ];
        let header = HeaderV2 {
            protocol: Protocol::SETUP,
            length: 17,
            magic: Magic::HOST,
            tx_seq: 0,
            rx_seq: 0xffff,
        };
        assert_eq!(HeaderV2::parse(&bytes), header);
        assert_eq!(header.emit(), bytes);
    }

    #[test]
    fn unknown_numbers_survive() {
        let bytes = [0xde, 0xad, 0xbe, 0xef, 0xff, 0xff, 0xff, 0xff];
        assert_eq!(HeaderV1::parse(&bytes).emit(), bytes);
        let bytes = [0x5a; 16];
        assert_eq!(HeaderV2::parse(&bytes).emit(), bytes);
    }
}
