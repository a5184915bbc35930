//! A DHCP server with one address to give, at the level of Ethernet frames.

use super::cable::End;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    DhcpMessageType, DhcpPacket, DhcpRepr, EthernetAddress, EthernetFrame, EthernetProtocol,
    EthernetRepr, IpProtocol, Ipv4Address, Ipv4Cidr, Ipv4Packet, Ipv4Repr, UdpPacket, UdpRepr,
};

const SERVER: Ipv4Address = Ipv4Address::new(10, 1, 2, 1);
const SERVER_MAC: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 1]);

pub(crate) struct Server {
    lease: Ipv4Cidr,
    seconds: u32,
    seen: usize,
    pub(crate) requests: u32,
    pub(crate) hostname: Option<String>,
}

impl Server {
    pub(crate) fn new(lease: Ipv4Cidr, seconds: u32) -> Self {
        Server { lease, seconds, seen: 0, requests: 0, hostname: None }
    }

    /// Answers what the dongle has broadcast since the last call; the first call makes the cable
    /// keep a copy of everything.
    pub(crate) fn serve(&mut self, end: &End<'_>) {
        let frames: Vec<_> = {
            let mut wire = end.inward.borrow_mut();
            let seen = wire.seen.get_or_insert_default();
            let new = seen[self.seen.min(seen.len())..].to_vec();
            self.seen = seen.len();
            new
        };
        for frame in frames {
            if let Some(answer) = self.answer(&frame) {
                end.put(answer);
            }
        }
    }

    fn answer(&mut self, frame: &[u8]) -> Option<Vec<u8>> {
        let frame = EthernetFrame::new_checked(frame).ok()?;
        if frame.ethertype() != EthernetProtocol::Ipv4 {
            return None;
        }
        let ip = Ipv4Packet::new_checked(frame.payload()).ok()?;
        let udp = UdpPacket::new_checked(ip.payload()).ok()?;
        if ip.next_header() != IpProtocol::Udp || udp.dst_port() != 67 {
            return None;
        }
        let packet = DhcpPacket::new_checked(udp.payload()).ok()?;
        let name = packet.options().find(|option| option.kind == 12);
        self.hostname = name.map(|name| String::from_utf8(name.data.to_vec()).unwrap());
        let asked = DhcpRepr::parse(&packet).ok()?;
        let message_type = match asked.message_type {
            DhcpMessageType::Discover => DhcpMessageType::Offer,
            DhcpMessageType::Request => {
                self.requests += 1;
                DhcpMessageType::Ack
            }
            _ => return None,
        };
        Some(self.frame(&asked, message_type))
    }

    fn frame(&self, asked: &DhcpRepr<'_>, message_type: DhcpMessageType) -> Vec<u8> {
        let answer = DhcpRepr {
            message_type,
            transaction_id: asked.transaction_id,
            secs: 0,
            client_hardware_address: asked.client_hardware_address,
            client_ip: Ipv4Address::UNSPECIFIED,
            your_ip: self.lease.address(),
            server_ip: SERVER,
            router: Some(SERVER),
            subnet_mask: Some(self.lease.netmask()),
            relay_agent_ip: Ipv4Address::UNSPECIFIED,
            broadcast: false,
            requested_ip: None,
            client_identifier: None,
            server_identifier: Some(SERVER),
            parameter_request_list: None,
            dns_servers: None,
            max_size: None,
            lease_duration: Some(self.seconds),
            renew_duration: None,
            rebind_duration: None,
            additional_options: &[],
        };
        let udp = UdpRepr { src_port: 67, dst_port: 68 };
        let ip = Ipv4Repr {
            src_addr: SERVER,
            dst_addr: self.lease.address(),
            next_header: IpProtocol::Udp,
            payload_len: udp.header_len() + answer.buffer_len(),
            hop_limit: 64,
        };
        let ethernet = EthernetRepr {
            src_addr: SERVER_MAC,
            dst_addr: asked.client_hardware_address,
            ethertype: EthernetProtocol::Ipv4,
        };
        let sums = ChecksumCapabilities::default();
        let mut bytes = vec![0; ethernet.buffer_len() + ip.buffer_len() + ip.payload_len];
        let mut frame = EthernetFrame::new_unchecked(&mut bytes);
        ethernet.emit(&mut frame);
        let mut packet = Ipv4Packet::new_unchecked(frame.payload_mut());
        ip.emit(&mut packet, &sums);
        let mut datagram = UdpPacket::new_unchecked(packet.payload_mut());
        let emit = |payload: &mut [u8]| {
            answer.emit(&mut DhcpPacket::new_unchecked(payload)).unwrap();
        };
        let (from, to) = (SERVER.into(), self.lease.address().into());
        udp.emit(&mut datagram, &from, &to, answer.buffer_len(), emit, &sums);
        bytes
    }
}
