//! The PC at the other end of the Ethernet cable: a TCP stack with Linux's delayed ACK, a DHCP
//! server for one dongle, and whatever uses the connections.

pub mod client;
mod dhcp;

use crate::cable::CableEnd;
use crate::time::Nanos;
use dhcp::DhcpServer;
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::socket::tcp;
use smoltcp::time::Duration;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpAddress, IpCidr, Ipv4Address};

const MAC: EthernetAddress = EthernetAddress([0x02, 0x75, 0x73, 0x62, 0x00, 0x02]);
/// The PC's address.
pub const PC_ADDRESS: Ipv4Address = Ipv4Address::new(192, 168, 27, 1);
/// What the dongle gets from the DHCP server.
pub const DONGLE_ADDRESS: Ipv4Address = Ipv4Address::new(192, 168, 27, 15);
const PREFIX: u8 = 24;
/// Linux waits so long with an acknowledgement, unless a second segment arrives.
const ACK_DELAY: Duration = Duration::from_millis(40);
/// A connection's buffers, in bytes, each way.
pub const SOCKET_BUFFER: usize = 65_535;
/// The ports from which the PC connects (RFC 6335).
const FIRST_PORT: u16 = 49_152;
/// Connections at once.
pub const CONNECTIONS_MAX: usize = 256;

/// A connection of the PC's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection(SocketHandle);

/// The PC.
pub struct Pc {
    interface: Interface,
    sockets: SocketSet<'static>,
    connections: usize,
    dhcp: DhcpServer,
    next_port: u16,
}

impl Pc {
    /// Makes a PC at this end of a cable.
    pub fn new(now: Nanos, cable: &mut CableEnd<'_>, seed: u64) -> Self {
        let mut config = Config::new(HardwareAddress::Ethernet(MAC));
        config.random_seed = seed;
        let mut interface = Interface::new(config, cable, now.tcp_instant());
        interface.update_ip_addrs(|addresses| {
            // The list is empty and has room for one.
            let _ = addresses.push(IpCidr::new(IpAddress::Ipv4(PC_ADDRESS), PREFIX));
        });
        let mut sockets = SocketSet::new(Vec::new());
        let dhcp = DhcpServer::new(&mut sockets);
        Pc { interface, sockets, connections: 0, dhcp, next_port: FIRST_PORT }
    }

    /// The address that the dongle was given.
    pub fn dongle_address(&self) -> Option<Ipv4Address> {
        self.dhcp.leased()
    }

    /// Begins a connection to a port of the dongle's; none while it has no address, or while there
    /// are [`CONNECTIONS_MAX`].
    pub fn connect(&mut self, port: u16) -> Option<Connection> {
        self.connect_with(port, SOCKET_BUFFER)
    }

    /// The same with a receive buffer of so many bytes: the window that the dongle sees.
    pub fn connect_with(&mut self, port: u16, receive_bytes: usize) -> Option<Connection> {
        let address = self.dhcp.leased()?;
        if self.connections >= CONNECTIONS_MAX {
            return None;
        }
        let buffer = |bytes| tcp::SocketBuffer::new(vec![0; bytes]);
        let mut socket = tcp::Socket::new(buffer(receive_bytes), buffer(SOCKET_BUFFER));
        socket.set_ack_delay(Some(ACK_DELAY));
        socket.set_nagle_enabled(false);
        let local = self.next_port;
        self.next_port = local.checked_add(1).unwrap_or(FIRST_PORT);
        socket.connect(self.interface.context(), (address, port), local).ok()?;
        self.connections += 1;
        Some(Connection(self.sockets.add(socket)))
    }

    /// A connection's socket.
    pub fn socket(&mut self, connection: Connection) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(connection.0)
    }

    /// Forgets a connection, whatever its state; to be called once. A segment that is still to be
    /// sent, a reset above all, is not sent any more: see [`is_over`].
    pub fn remove(&mut self, connection: Connection) {
        self.sockets.remove(connection.0);
        self.connections -= 1;
    }

    /// Lets the stack work.
    pub fn poll(&mut self, now: Nanos, cable: &mut CableEnd<'_>) {
        self.interface.poll(now.tcp_instant(), cable, &mut self.sockets);
        if self.dhcp.serve(&mut self.sockets) {
            self.interface.poll(now.tcp_instant(), cable, &mut self.sockets);
        }
    }

    /// When it has to work next.
    pub fn next_event(&mut self, now: Nanos) -> Option<Nanos> {
        let at = self.interface.poll_at(now.tcp_instant(), &self.sockets)?;
        Some(Nanos::from(at).max(now))
    }
}

impl std::fmt::Debug for Pc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pc").field("connections", &self.connections).finish_non_exhaustive()
    }
}

/// Whether nothing is left to be done for a connection: it is closed, and the reset that closed it,
/// if any, has been sent.
pub fn is_over(socket: &tcp::Socket<'_>) -> bool {
    match socket.state() {
        tcp::State::Closed => socket.remote_endpoint().is_none(),
        tcp::State::TimeWait => true,
        _ => false,
    }
}
