//! Ethernet: the interface, its address, and which connections find a socket.

use crate::config::DongleConfig;
use crate::storage::Buffers;
use smoltcp::iface::{Config, Interface, SocketSet, SocketStorage};
use smoltcp::phy::Device;
use smoltcp::socket::{dhcpv4, tcp};
use smoltcp::time::Instant;
use smoltcp::wire::{DhcpOption, EthernetAddress, HardwareAddress};

/// What the Ethernet side is made of.
pub(crate) struct Parts<'a, const TO_ETHERNET: usize, const TO_PHONE: usize> {
    pub(crate) buffers: &'a mut [Buffers<TO_ETHERNET, TO_PHONE>],
    pub(crate) sockets: &'a mut [SocketStorage<'a>],
    pub(crate) dhcp: &'a mut [SocketStorage<'a>],
    pub(crate) dhcp_options: &'a mut [DhcpOption<'a>; 1],
}

/// The Ethernet side of a dongle.
pub(crate) struct Net<'a> {
    interface: Interface,
    sockets: SocketSet<'a>,
    dhcp: SocketSet<'a>,
}

impl<'a> Net<'a> {
    pub(crate) fn new<const TO_ETHERNET: usize, const TO_PHONE: usize>(
        now: Instant,
        config: &DongleConfig<'a>,
        parts: Parts<'a, TO_ETHERNET, TO_PHONE>,
        device: &mut impl Device,
    ) -> Self {
        let mac = HardwareAddress::Ethernet(EthernetAddress(config.mac));
        let mut interface_config = Config::new(mac);
        interface_config.random_seed = config.seed;
        let mut sockets = SocketSet::new(parts.sockets);
        for buffers in parts.buffers {
            let Buffers { to_ethernet, to_phone } = buffers;
            sockets.add(tcp::Socket::new(
                tcp::SocketBuffer::new(&mut to_phone[..]),
                tcp::SocketBuffer::new(&mut to_ethernet[..]),
            ));
        }
        let mut dhcp = SocketSet::new(parts.dhcp);
        let mut client = dhcpv4::Socket::new();
        if !config.hostname.is_empty() {
            parts.dhcp_options[0].data = config.hostname.as_bytes();
            client.set_outgoing_options(parts.dhcp_options);
        }
        dhcp.add(client);
        Net { interface: Interface::new(interface_config, device, now), sockets, dhcp }
    }

    pub(crate) fn poll(&mut self, now: Instant, device: &mut impl Device) -> Option<Instant> {
        self.interface.poll_ingress_single(now, device, &mut self.sockets);
        self.interface.poll_egress(now, device, &mut self.dhcp);
        self.interface.poll_egress(now, device, &mut self.sockets);
        let tcp = self.interface.poll_at(now, &self.sockets);
        let dhcp = self.interface.poll_at(now, &self.dhcp);
        tcp.into_iter().chain(dhcp).min()
    }
}
