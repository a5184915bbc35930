//! The dongle's address: a DHCP server's, or the fallback while there is none.

use smoltcp::iface::Interface;
use smoltcp::socket::dhcpv4;
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{IpCidr, Ipv4Address, Ipv4Cidr};

/// How long a DHCP server is waited for, at the start and after it took its address back.
const PATIENCE: Duration = Duration::from_secs(8);

/// Where the address is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AddressSource {
    /// There is none yet.
    None,
    /// A DHCP server gave it.
    Dhcp,
    /// No DHCP server answered.
    Fallback,
}

impl AddressSource {
    /// In a few words.
    pub(crate) fn describe(self) -> &'static str {
        match self {
            AddressSource::None => "none yet",
            AddressSource::Dhcp => "DHCP",
            AddressSource::Fallback => "fallback, no DHCP server answered",
        }
    }
}

/// The address, and what is known of its future.
#[derive(Debug)]
pub(super) struct Address {
    current: Option<Ipv4Cidr>,
    source: AddressSource,
    fallback: Ipv4Cidr,
    /// When the fallback comes.
    fallback_at: Option<Instant>,
}

impl Address {
    pub(super) fn new(now: Instant, fallback: Ipv4Cidr) -> Self {
        Address {
            current: None,
            source: AddressSource::None,
            fallback,
            fallback_at: Some(now + PATIENCE),
        }
    }

    pub(super) fn current(&self) -> Option<Ipv4Cidr> {
        self.current
    }

    pub(super) fn source(&self) -> AddressSource {
        self.source
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.fallback_at
    }

    /// Follows the DHCP client and the clock. Connections of an address that goes end: the stack
    /// drops them.
    pub(super) fn turn(
        &mut self,
        now: Instant,
        event: Option<dhcpv4::Event<'_>>,
        interface: &mut Interface,
    ) {
        match event {
            Some(dhcpv4::Event::Configured(lease)) => {
                self.fallback_at = None;
                self.set(interface, Some(lease.address), lease.router, AddressSource::Dhcp);
            }
            // Told at the start too, when there is nothing to give back.
            Some(dhcpv4::Event::Deconfigured) if self.source == AddressSource::Dhcp => {
                self.fallback_at = Some(now + PATIENCE);
                self.set(interface, None, None, AddressSource::None);
            }
            _ => {}
        }
        if self.fallback_at.is_some_and(|at| at <= now) {
            self.fallback_at = None;
            self.set(interface, Some(self.fallback), None, AddressSource::Fallback);
        }
    }

    fn set(
        &mut self,
        interface: &mut Interface,
        address: Option<Ipv4Cidr>,
        router: Option<Ipv4Address>,
        source: AddressSource,
    ) {
        self.source = source;
        if self.current != address {
            let [a, b, c, d] = address.map_or([0; 4], |cidr| cidr.address().octets());
            info!("address {}.{}.{}.{}", a, b, c, d);
            self.current = address;
            interface.update_ip_addrs(|addresses| {
                addresses.clear();
                if let Some(address) = address {
                    // There is room for one: it was just cleared.
                    let _ = addresses.push(IpCidr::Ipv4(address));
                }
            });
        }
        // A table of two routes has room for one.
        let routes = interface.routes_mut();
        routes.remove_default_ipv4_route();
        if let Some(router) = router {
            let _ = routes.add_default_ipv4_route(router);
        }
    }
}
