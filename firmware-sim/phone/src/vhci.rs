//! Plugging into this kernel: Linux's virtual host controller, vhci_hcd.
//!
//! The kernel takes one end of a socket pair and speaks USB/IP on it; [`UsbIp`](crate::usbip::UsbIp)
//! answers on the other. Needs root and the kernel module. Left out: the second controller
//! (`vhci_hcd.1`).

use crate::options::{HIGH_SPEED_PACKET, SUPER_SPEED_PACKET};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::{fmt, fs, io};

/// Where sysfs shows the first virtual host controller.
pub const CONTROLLER: &str = "/sys/devices/platform/vhci_hcd.0";

/// The `sta` column of a port with nothing in it.
const PORT_FREE: &str = "004";

/// Speeds by the numbers that the kernel gives them (enum usb_device_speed).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Speed {
    /// 12 Mbit/s.
    Full = 2,
    /// 480 Mbit/s.
    High = 3,
    /// 5 Gbit/s.
    Super = 5,
}

impl Speed {
    /// The speed at which full packets have this size, in bytes.
    pub fn of_packets(max_packet: u16) -> Self {
        match max_packet {
            ..HIGH_SPEED_PACKET => Speed::Full,
            HIGH_SPEED_PACKET..SUPER_SPEED_PACKET => Speed::High,
            SUPER_SPEED_PACKET.. => Speed::Super,
        }
    }

    /// The hub with the ports for it, as the kernel calls it.
    fn hub(self) -> &'static str {
        match self {
            Speed::Full | Speed::High => "hs",
            Speed::Super => "ss",
        }
    }
}

/// The phone could not be plugged in.
#[derive(Debug)]
#[non_exhaustive]
pub enum AttachError {
    /// The kernel has no virtual host controller, or this user may not look.
    NoController(io::Error),
    /// All its ports are taken.
    NoPort,
    /// It refused the phone.
    Refused(io::Error),
}

impl fmt::Display for AttachError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AttachError::NoController(error) => {
                write!(f, "{CONTROLLER}: {error}; as root: modprobe vhci-hcd")
            }
            AttachError::NoPort => f.write_str("all ports of vhci_hcd are taken"),
            AttachError::Refused(error) => write!(f, "vhci_hcd refused the phone: {error}"),
        }
    }
}

impl std::error::Error for AttachError {}

/// Gives one end of a stream socket pair to the kernel and says into which port. The kernel keeps
/// the socket; what follows on the other end is USB/IP.
///
/// `device_id` is the kernel's name for the device at the other end; any number will do.
///
/// # Errors
///
/// See [`AttachError`].
pub fn attach(socket: OwnedFd, device_id: u32, speed: Speed) -> Result<u32, AttachError> {
    let controller = Path::new(CONTROLLER);
    let status =
        fs::read_to_string(controller.join("status")).map_err(AttachError::NoController)?;
    let mut refusal = None;
    for port in free_ports(&status, speed.hub()) {
        let request = format!("{port} {} {device_id} {}", socket.as_raw_fd(), speed as u32);
        match fs::write(controller.join("attach"), request) {
            Ok(()) => return Ok(port),
            // Somebody else was faster with this port, perhaps.
            Err(error) => refusal = Some(error),
        }
    }
    Err(refusal.map_or(AttachError::NoPort, AttachError::Refused))
}

/// The free ports of one of the two hubs, from lines like
/// `hs  0000 004 000 00000000 000000 0-0`: hub, port, state.
fn free_ports(status: &str, hub: &str) -> impl Iterator<Item = u32> {
    status.lines().filter_map(move |line| {
        let mut columns = line.split_whitespace();
        match (columns.next()?, columns.next()?, columns.next()?) {
            (its, port, PORT_FREE) if its == hub => port.parse().ok(),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_free_ports_of_the_right_hub_are_tried() {
        let status = "hub port sta spd dev      sockfd local_busid\n\
                      hs  0000 006 003 00010002 000003 1-1\n\
                      hs  0001 004 000 00000000 000000 0-0\n\
                      hs  0002 005 003 00010002 000003 0-0\n\
                      hs  0007 004 000 00000000 000000 0-0\n\
                      ss  0008 004 000 00000000 000000 0-0\n\
                      hs\n";
        assert_eq!(free_ports(status, Speed::High.hub()).collect::<Vec<_>>(), [1, 7]);
        assert_eq!(free_ports(status, Speed::Super.hub()).collect::<Vec<_>>(), [8]);
        assert_eq!(free_ports("", "hs").next(), None);
    }
}
