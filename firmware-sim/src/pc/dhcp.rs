//! A DHCP server with one address to give (RFC 2131), as far as a dongle's client asks.
//!
//! Left out: everything about more than one client, renewal bookkeeping, and declining.

use super::{DONGLE_ADDRESS, PC_ADDRESS};
use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::udp;
use smoltcp::wire::{DhcpMessageType, DhcpPacket, DhcpRepr, IpEndpoint, Ipv4Address};

const SERVER_PORT: u16 = 67;
const CLIENT_PORT: u16 = 68;
const LEASE_SECONDS: u32 = 3600;
/// Messages that wait, each way.
const MESSAGES: usize = 4;
/// Bytes of messages that wait, each way.
const BYTES: usize = 4 * 600;

pub(super) struct DhcpServer {
    socket: SocketHandle,
    leased: bool,
}

impl DhcpServer {
    pub(super) fn new(sockets: &mut SocketSet<'static>) -> Self {
        let buffer =
            || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; MESSAGES], vec![0; BYTES]);
        let mut socket = udp::Socket::new(buffer(), buffer());
        // Fails for port 0 and for an open socket only.
        let _ = socket.bind(SERVER_PORT);
        DhcpServer { socket: sockets.add(socket), leased: false }
    }

    /// The address given, if it was acknowledged.
    pub(super) fn leased(&self) -> Option<Ipv4Address> {
        self.leased.then_some(DONGLE_ADDRESS)
    }

    /// Answers what has arrived; says whether there is anything to send.
    pub(super) fn serve(&mut self, sockets: &mut SocketSet<'static>) -> bool {
        let socket = sockets.get_mut::<udp::Socket<'_>>(self.socket);
        let mut answered = false;
        while let Ok((message, _)) = socket.recv() {
            let message = message.to_vec();
            let Some(answer) = self.answer(&message) else { continue };
            let to = IpEndpoint::new(Ipv4Address::BROADCAST.into(), CLIENT_PORT);
            answered |= socket.send_slice(&answer, to).is_ok();
        }
        answered
    }

    fn answer(&mut self, message: &[u8]) -> Option<Vec<u8>> {
        let packet = DhcpPacket::new_checked(message).ok()?;
        let request = DhcpRepr::parse(&packet).ok()?;
        let message_type = match request.message_type {
            DhcpMessageType::Discover => DhcpMessageType::Offer,
            DhcpMessageType::Request => {
                let wanted = request.requested_ip.unwrap_or(request.client_ip);
                if wanted == DONGLE_ADDRESS { DhcpMessageType::Ack } else { DhcpMessageType::Nak }
            }
            _ => return None,
        };
        self.leased |= message_type == DhcpMessageType::Ack;
        let refused = message_type == DhcpMessageType::Nak;
        let answer = DhcpRepr {
            message_type,
            your_ip: if refused { Ipv4Address::UNSPECIFIED } else { DONGLE_ADDRESS },
            server_ip: PC_ADDRESS,
            server_identifier: Some(PC_ADDRESS),
            router: Some(PC_ADDRESS),
            subnet_mask: Some(Ipv4Address::new(255, 255, 255, 0)),
            lease_duration: Some(LEASE_SECONDS),
            renew_duration: None,
            rebind_duration: None,
            requested_ip: None,
            client_identifier: None,
            parameter_request_list: None,
            dns_servers: None,
            max_size: None,
            additional_options: &[],
            ..request
        };
        let mut bytes = vec![0; answer.buffer_len()];
        answer.emit(&mut DhcpPacket::new_unchecked(&mut bytes)).ok()?;
        Some(bytes)
    }
}
