//! Ethernet: the interface, its address, and what is looked at before the TCP/IP stack sees it.
//!
//! Leaves out: what is said on a connection, and which socket takes it, which is `relay`'s.

mod address;
mod gate;

pub(crate) use address::AddressSource;
pub(crate) use gate::Opening;

use crate::config::{DongleConfig, Peers};
use crate::status::Counters;
use crate::storage::Buffers;
use address::Address;
use gate::{OneFrame, Traffic};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet, SocketStorage};
use smoltcp::phy::{Device, RxToken};
use smoltcp::socket::{Socket, dhcpv4, tcp};
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{DhcpOption, EthernetAddress, HardwareAddress, Ipv4Cidr};

/// How long another machine may be silent, with something under way or asked, before its connection
/// counts as dead; and how often an idle one is asked.
const TCP_TIMEOUT: Duration = Duration::from_secs(60);
const TCP_KEEP_ALIVE: Duration = Duration::from_secs(20);

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
    pub(crate) sockets: Sockets<'a>,
    /// A set of its own, so that a TCP socket's place is its connection's number.
    dhcp: SocketSet<'a>,
    dhcp_handle: SocketHandle,
    address: Address,
    peers: Peers<'a>,
}

/// The TCP sockets, by number.
pub(crate) struct Sockets<'a>(SocketSet<'a>);

impl<'a> Sockets<'a> {
    /// The socket with this number.
    pub(crate) fn get(&mut self, number: usize) -> Option<&mut tcp::Socket<'a>> {
        self.iter().nth(number)
    }

    /// All of them, in their order.
    pub(crate) fn iter(&mut self) -> impl Iterator<Item = &mut tcp::Socket<'a>> {
        self.0.iter_mut().filter_map(|(_, socket)| match socket {
            Socket::Tcp(socket) => Some(socket),
            _ => None,
        })
    }
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
        for Buffers { to_ethernet, to_phone } in parts.buffers {
            let received = tcp::SocketBuffer::new(&mut to_phone[..]);
            let mut socket =
                tcp::Socket::new(received, tcp::SocketBuffer::new(&mut to_ethernet[..]));
            socket.set_timeout(Some(TCP_TIMEOUT));
            socket.set_keep_alive(Some(TCP_KEEP_ALIVE));
            sockets.add(socket);
        }
        let mut dhcp = SocketSet::new(parts.dhcp);
        let mut client = dhcpv4::Socket::new();
        if !config.hostname.is_empty() {
            let [hostname] = parts.dhcp_options;
            hostname.data = config.hostname.as_bytes();
            client.set_outgoing_options(parts.dhcp_options);
        }
        let dhcp_handle = dhcp.add(client);
        Net {
            interface: Interface::new(interface_config, device, now),
            sockets: Sockets(sockets),
            dhcp,
            dhcp_handle,
            address: Address::new(now, config.fallback),
            peers: config.peers,
        }
    }

    /// Takes one frame, if one has arrived; says whether one had. `opening` is asked before a
    /// segment that opens a connection reaches the stack: a socket that listens then takes it, else
    /// it is refused. If it answers `false` the segment is dropped, and will come again.
    pub(crate) fn receive(
        &mut self,
        now: Instant,
        device: &mut impl Device,
        counters: &mut Counters,
        opening: impl FnOnce(&mut Sockets<'a>, Opening, &mut Counters) -> bool,
    ) -> bool {
        let capabilities = device.capabilities();
        let Some((frame, answer)) = device.receive(now) else { return false };
        counters.frames_in = counters.frames_in.wrapping_add(1);
        let own = self.address.current();
        frame.consume(|frame| {
            let set = match Traffic::of(frame) {
                Traffic::Dhcp => &mut self.dhcp,
                Traffic::Ip { source, .. } if !self.peers.admits(source, own) => {
                    counters.refused_peer = counters.refused_peer.wrapping_add(1);
                    return;
                }
                Traffic::Ip { opening: Some(segment), .. } => {
                    if !opening(&mut self.sockets, segment, counters) {
                        return;
                    }
                    &mut self.sockets.0
                }
                Traffic::Ip { .. } | Traffic::Other => &mut self.sockets.0,
            };
            let mut one = OneFrame::new(frame, answer, capabilities);
            self.interface.poll_ingress_single(now, &mut one, set);
        });
        true
    }

    /// Sends at most one frame for each socket, and keeps the address up to date.
    pub(crate) fn send(&mut self, now: Instant, device: &mut impl Device) {
        let event = self.dhcp.get_mut::<dhcpv4::Socket<'_>>(self.dhcp_handle).poll();
        self.address.turn(now, event, &mut self.interface);
        self.interface.poll_egress(now, device, &mut self.dhcp);
        self.interface.poll_egress(now, device, &mut self.sockets.0);
    }

    /// When [`send`](Self::send) is due without news from Ethernet.
    pub(crate) fn due(&mut self, now: Instant) -> Option<Instant> {
        let tcp = self.interface.poll_at(now, &self.sockets.0);
        let dhcp = self.interface.poll_at(now, &self.dhcp);
        tcp.into_iter().chain(dhcp).chain(self.address.due()).min()
    }

    /// The dongle's address, and where it is from.
    pub(crate) fn address(&self) -> (Option<Ipv4Cidr>, AddressSource) {
        (self.address.current(), self.address.source())
    }
}
