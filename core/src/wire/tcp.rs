//! The pseudo-TCP header: RFC 793's 20 bytes, of which half are always the same.

use crate::seq::SeqNumber;
use core::fmt;
use core::ops::BitOr;

/// The flag byte of a segment; unknown bits are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Flags(pub u8);

impl Flags {
    /// End of the sender's data. No phone and no host sends it.
    pub const FIN: Flags = Flags(0x01);
    /// Opens a connection.
    pub const SYN: Flags = Flags(0x02);
    /// Ends a connection, the only way there is.
    pub const RST: Flags = Flags(0x04);
    /// Acknowledges; data segments carry exactly this.
    pub const ACK: Flags = Flags(0x10);

    /// Whether all bits of `other` are set.
    pub const fn contains(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for Flags {
    type Output = Flags;
    fn bitor(self, rhs: Flags) -> Flags {
        Flags(self.0 | rhs.0)
    }
}

impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"];
        let mut first = true;
        for (bit, name) in names.iter().enumerate() {
            if self.0 >> bit & 1 == 1 {
                f.write_str(if first { "" } else { "|" })?;
                f.write_str(name)?;
                first = false;
            }
        }
        if first { f.write_str("none") } else { Ok(()) }
    }
}

/// A segment's header; 20 bytes, options never follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct TcpHeader {
    /// Port of the sender.
    #[doc(alias = "th_sport")]
    pub source: u16,
    /// Port of the receiver.
    #[doc(alias = "th_dport")]
    pub dest: u16,
    /// Number of the first payload byte.
    #[doc(alias = "th_seq")]
    pub seq: SeqNumber,
    /// Number of the next byte that the sender expects.
    #[doc(alias = "th_ack")]
    pub ack: SeqNumber,
    /// The upper half of byte 12: header length in 32-bit words, 5 always.
    pub data_offset_words: u8,
    /// The lower half of byte 12; 0 always.
    pub reserved: u8,
    /// What the segment is for.
    #[doc(alias = "th_flags")]
    pub flags: Flags,
    /// Window in units of 256 bytes: the scale is 8 bits, always, and never negotiated.
    #[doc(alias = "th_win")]
    pub window_units: u16,
    /// 0 always.
    pub checksum: u16,
    /// 0 always.
    pub urgent: u16,
}

impl TcpHeader {
    /// The window field's scale: a window of `n` bytes is announced as `n >> 8`.
    pub const WINDOW_SHIFT: u32 = 8;

    /// Makes a header as both sides send it: no options, no checksum, no urgent data.
    pub const fn new(
        (source, dest): (u16, u16),
        seq: SeqNumber,
        ack: SeqNumber,
        flags: Flags,
        window_units: u16,
    ) -> Self {
        TcpHeader {
            source,
            dest,
            seq,
            ack,
            data_offset_words: 5,
            reserved: 0,
            flags,
            window_units,
            checksum: 0,
            urgent: 0,
        }
    }

    /// Reads a header.
    pub const fn parse(bytes: &[u8; 20]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t] = *bytes;
        TcpHeader {
            source: u16::from_be_bytes([a, b]),
            dest: u16::from_be_bytes([c, d]),
            seq: SeqNumber(u32::from_be_bytes([e, f, g, h])),
            ack: SeqNumber(u32::from_be_bytes([i, j, k, l])),
            data_offset_words: m >> 4,
            reserved: m & 0x0f,
            flags: Flags(n),
            window_units: u16::from_be_bytes([o, p]),
            checksum: u16::from_be_bytes([q, r]),
            urgent: u16::from_be_bytes([s, t]),
        }
    }

    /// Writes the header.
    pub const fn emit(&self) -> [u8; 20] {
        let [a, b] = self.source.to_be_bytes();
        let [c, d] = self.dest.to_be_bytes();
        let [e, f, g, h] = self.seq.0.to_be_bytes();
        let [i, j, k, l] = self.ack.0.to_be_bytes();
        let m = self.data_offset_words << 4 | self.reserved & 0x0f;
        let [o, p] = self.window_units.to_be_bytes();
        let [q, r] = self.checksum.to_be_bytes();
        let [s, t] = self.urgent.to_be_bytes();
        [a, b, c, d, e, f, g, h, i, j, k, l, m, self.flags.0, o, p, q, r, s, t]
    }

    /// The announced window in bytes.
    pub const fn window(&self) -> u32 {
        (self.window_units as u32) << Self::WINDOW_SHIFT
    }
}

impl fmt::Display for TcpHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} -> {} {} seq {} ack {} window {} (field {:#06x})",
            self.source,
            self.dest,
            self.flags,
            self.seq,
            self.ack,
            self.window(),
            self.window_units
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_syn_by_hand() {
        // PROTOCOL §2: ports 1 -> 62078, seq 0, ack 0, data offset 5, SYN, window field 0x0200.
        let bytes =
            [0x00, 0x01, 0xf2, 0x7e, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x02, 0x02, 0x00, 0, 0, 0, 0];
        let syn = TcpHeader::new((1, 62078), SeqNumber(0), SeqNumber(0), Flags::SYN, 0x0200);
        assert_eq!(TcpHeader::parse(&bytes), syn);
        assert_eq!(syn.emit(), bytes);
        assert_eq!(syn.window(), 131_072);
    }

    #[test]
    fn every_byte_survives() {
        let mut bytes = [0; 20];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = 0xa0 + at as u8;
        }
        assert_eq!(TcpHeader::parse(&bytes).emit(), bytes);
    }
}
