//! Pairs of ports on the command line.

use std::str::FromStr;

/// A local port and the phone's port that it leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PortPair {
    pub(crate) local: u16,
    pub(crate) device: u16,
}

impl FromStr for PortPair {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (local, device) = text.split_once(':').ok_or("write LOCAL:DEVICE, such as 2222:22")?;
        let local = local.parse().map_err(|_| "the local port is not a number up to 65535")?;
        match device.parse() {
            Ok(device) if device > 0 => Ok(PortPair { local, device }),
            _ => Err("the phone's port is not a number from 1 to 65535"),
        }
    }
}
