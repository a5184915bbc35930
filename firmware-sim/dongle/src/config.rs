//! What a dongle is told once, when it starts.

use core::fmt;
use smoltcp::wire::{Ipv4Address, Ipv4Cidr};
use usbmux_core::Config;

/// TCP port of the socket protocol (PROTOCOL §5).
pub const TALK_PORT: u16 = 27015;

/// TCP port of the status page.
pub const PAGE_PORT: u16 = 80;

/// How many forwards are used at most.
pub const MAX_FORWARDS: usize = 8;

/// A port of the dongle's that leads to a port of the phone's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forward {
    /// Where the dongle listens.
    pub port: u16,
    /// Where it connects to on the phone.
    pub device_port: u16,
}

/// Whose connections are admitted. Frames of other machines are dropped without an answer and
/// counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Peers<'a> {
    /// The dongle's own subnet, and link-local addresses.
    #[default]
    LocalNetwork,
    /// These networks, and no others.
    Only(&'a [Ipv4Cidr]),
    /// Everybody: whoever reaches the dongle reaches the phone.
    Everybody,
}

impl Peers<'_> {
    /// Tells whether a machine is admitted by a dongle with the given address.
    pub fn admits(&self, peer: Ipv4Address, own: Option<Ipv4Cidr>) -> bool {
        match self {
            Peers::LocalNetwork => {
                peer.is_link_local() || own.is_some_and(|own| own.contains_addr(&peer))
            }
            Peers::Only(networks) => networks.iter().any(|network| network.contains_addr(&peer)),
            Peers::Everybody => true,
        }
    }
}

/// What a dongle is told once, when it starts.
#[derive(Clone, Copy, Debug)]
pub struct DongleConfig<'a> {
    /// Ethernet address; of one machine, not a group.
    pub mac: [u8; 6],
    /// Name given to the DHCP server; empty for none, at most 63 characters.
    pub hostname: &'a str,
    /// Address while no DHCP server gives one.
    pub fallback: Ipv4Cidr,
    /// Ports of the phone's that have a port of the dongle's.
    pub forwards: &'a [Forward],
    /// Whose connections are admitted.
    pub peers: Peers<'a>,
    /// Name of this host towards phones: an upper-case UUID that never changes.
    #[doc(alias = "SystemBUID")]
    pub buid: &'a str,
    /// Where the socket protocol is spoken; none to leave it out.
    pub talk_port: Option<u16>,
    /// Where the status page is; none to leave it out.
    pub page_port: Option<u16>,
    /// What TCP's first sequence numbers are drawn from; best different at each start.
    pub seed: u64,
    /// The engine's sizes and policies.
    pub engine: Config,
    /// What the status page says of memory: the rows of the board's
    /// [`Budget`](crate::budget::Budget).
    pub memory: &'a [(&'static str, u32)],
}

impl DongleConfig<'_> {
    /// A dongle without forwards, with the socket protocol and the status page at their usual ports.
    pub const DEFAULT: DongleConfig<'static> = DongleConfig {
        mac: [0x02, 0x75, 0x73, 0x62, 0x00, 0x01],
        hostname: "usbmux-dongle",
        fallback: Ipv4Cidr::new(Ipv4Address::new(169, 254, 27, 15), 16),
        forwards: &[],
        peers: Peers::LocalNetwork,
        buid: "75736275-0000-4000-8000-027573620001",
        talk_port: Some(TALK_PORT),
        page_port: Some(PAGE_PORT),
        seed: 1,
        engine: Config::DONGLE,
        memory: &[],
    };

    /// Looks for what no dongle can work with.
    ///
    /// # Errors
    ///
    /// The first contradiction found.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.mac[0] & 1 != 0 {
            return Err(ConfigError::GroupMac);
        }
        let fallback = self.fallback.address();
        if fallback.is_multicast() || fallback.is_broadcast() || fallback.is_unspecified() {
            return Err(ConfigError::Fallback);
        }
        if self.hostname.len() > 63 {
            return Err(ConfigError::LongHostname);
        }
        if self.forwards.len() > MAX_FORWARDS {
            return Err(ConfigError::TooManyForwards);
        }
        let forwards = || self.forwards.iter().map(|forward| forward.port);
        let ports = || forwards().chain(self.talk_port).chain(self.page_port);
        if ports().any(|port| port == 0) || self.forwards.iter().any(|f| f.device_port == 0) {
            return Err(ConfigError::PortZero);
        }
        for (n, port) in ports().enumerate() {
            if ports().skip(n + 1).any(|other| other == port) {
                return Err(ConfigError::SamePort(port));
            }
        }
        Ok(())
    }
}

impl Default for DongleConfig<'static> {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Why a dongle cannot start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// The Ethernet address is a group's.
    GroupMac,
    /// The fallback address is not of one machine.
    Fallback,
    /// The host name has more than 63 characters.
    LongHostname,
    /// More forwards than [`MAX_FORWARDS`].
    TooManyForwards,
    /// Port 0 is none.
    PortZero,
    /// Two services on this port.
    SamePort(u16),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigError::GroupMac => {
                f.write_str("the Ethernet address is a group's: clear bit 0 of its first byte")
            }
            ConfigError::Fallback => {
                f.write_str("the fallback address is not one machine's: give another")
            }
            ConfigError::LongHostname => {
                f.write_str("the host name is longer than 63 characters: give a shorter one")
            }
            ConfigError::TooManyForwards => {
                write!(f, "more than {MAX_FORWARDS} forwards: leave some out")
            }
            ConfigError::PortZero => f.write_str("port 0 is none: give one from 1 to 65535"),
            ConfigError::SamePort(port) => {
                write!(f, "two services on port {port}: give one of them another")
            }
        }
    }
}

impl core::error::Error for ConfigError {}
