//! What is looked at in a frame before the TCP/IP stack sees it: whose it is, and whether it opens a
//! connection.
//!
//! `smoltcp` has no backlog: a socket listens on one port, and three services on four sockets would
//! need one socket each that cannot serve the others. So none listens for long: a segment that opens
//! a connection is recognised here, and a free socket listens on its port while the stack takes that
//! one frame.

use smoltcp::phy::{Device, DeviceCapabilities, RxToken, TxToken};
use smoltcp::time::Instant;
use smoltcp::wire::{
    EthernetFrame, EthernetProtocol, IpEndpoint, IpProtocol, Ipv4Address, Ipv4Packet, TcpPacket,
    UdpPacket,
};

/// The DHCP client's UDP port.
const DHCP_CLIENT: u16 = 68;

/// A segment with SYN and without ACK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Opening {
    /// Who opens.
    pub(crate) peer: IpEndpoint,
    /// Which port of ours.
    pub(crate) port: u16,
}

/// What a frame is, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Traffic {
    /// For the DHCP client.
    Dhcp,
    /// IPv4.
    Ip { source: Ipv4Address, opening: Option<Opening> },
    /// ARP, or nothing of ours: for the stack to judge.
    Other,
}

impl Traffic {
    /// Looks at a frame; whatever is cut short or contradicts itself is left to the stack.
    pub(crate) fn of(frame: &[u8]) -> Self {
        let Ok(frame) = EthernetFrame::new_checked(frame) else { return Traffic::Other };
        if frame.ethertype() != EthernetProtocol::Ipv4 {
            return Traffic::Other;
        }
        let Ok(packet) = Ipv4Packet::new_checked(frame.payload()) else { return Traffic::Other };
        let source = packet.src_addr();
        match packet.next_header() {
            IpProtocol::Udp if is_dhcp(packet.payload()) => Traffic::Dhcp,
            IpProtocol::Tcp => Traffic::Ip { source, opening: opening(source, packet.payload()) },
            _ => Traffic::Ip { source, opening: None },
        }
    }
}

fn is_dhcp(datagram: &[u8]) -> bool {
    UdpPacket::new_checked(datagram).is_ok_and(|datagram| datagram.dst_port() == DHCP_CLIENT)
}

fn opening(source: Ipv4Address, segment: &[u8]) -> Option<Opening> {
    let segment = TcpPacket::new_checked(segment).ok()?;
    let opens = segment.syn() && !segment.ack() && !segment.rst();
    let peer = IpEndpoint::new(source.into(), segment.src_port());
    opens.then(|| Opening { peer, port: segment.dst_port() })
}

/// A device with one frame to receive, and room for one answer.
pub(super) struct OneFrame<'f, T> {
    frame: Option<&'f [u8]>,
    answer: Option<T>,
    capabilities: DeviceCapabilities,
}

impl<'f, T> OneFrame<'f, T> {
    pub(super) fn new(frame: &'f [u8], answer: T, capabilities: DeviceCapabilities) -> Self {
        OneFrame { frame: Some(frame), answer: Some(answer), capabilities }
    }
}

/// The frame, once.
pub(super) struct Frame<'f>(&'f [u8]);

impl RxToken for Frame<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0)
    }
}

impl<T: TxToken> Device for OneFrame<'_, T> {
    type RxToken<'a>
        = Frame<'a>
    where
        Self: 'a;
    type TxToken<'a>
        = T
    where
        Self: 'a;

    fn receive(&mut self, _: Instant) -> Option<(Frame<'_>, T)> {
        Some((Frame(self.frame.take()?), self.answer.take()?))
    }

    fn transmit(&mut self, _: Instant) -> Option<T> {
        self.answer.take()
    }

    fn capabilities(&self) -> DeviceCapabilities {
        self.capabilities.clone()
    }
}
