//! The body of a VERSION frame.

/// Which protocol versions the sender speaks; 12 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Version {
    /// 1: short headers for ever; 2: long headers and sequence numbers.
    pub major: u32,
    /// 0 so far.
    pub minor: u32,
    /// 0 so far.
    pub padding: u32,
}

impl Version {
    /// Reads the body.
    pub const fn parse(bytes: &[u8; 12]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l] = *bytes;
        Version {
            major: u32::from_be_bytes([a, b, c, d]),
            minor: u32::from_be_bytes([e, f, g, h]),
            padding: u32::from_be_bytes([i, j, k, l]),
        }
    }

    /// Writes the body.
    pub const fn emit(&self) -> [u8; 12] {
        let [a, b, c, d] = self.major.to_be_bytes();
        let [e, f, g, h] = self.minor.to_be_bytes();
        let [i, j, k, l] = self.padding.to_be_bytes();
        [a, b, c, d, e, f, g, h, i, j, k, l]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_point_zero_by_hand() {
        let bytes = [0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0];
        let version = Version { major: 2, minor: 0, padding: 0 };
        assert_eq!(Version::parse(&bytes), version);
        assert_eq!(version.emit(), bytes);
    }
}
