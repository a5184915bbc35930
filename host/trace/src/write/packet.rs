//! A record becomes an IPv6 packet: a segment TCP, all else a syslog message.

use std::net::Ipv6Addr;

use etherparse::{IpNumber, Ipv6Header, TcpHeader, TcpOptionElement, UdpHeader};
use usbmux_core::wire;

use super::comment;
use super::record::{Frame, Head, Sender, What};

/// UDP's port for syslog, by which readers know how to show a message.
const SYSLOG_PORT: u16 = 514;
/// Of every packet; it says nothing.
const HOP_LIMIT: u8 = 64;
/// The option by which readers know the scale of the window, behind one that fills up.
const SCALE: [TcpOptionElement; 2] =
    [TcpOptionElement::Noop, TcpOptionElement::WindowScale(wire::TcpHeader::WINDOW_SHIFT as u8)];

/// `epb_flags`: who sent it, as the host sees it.
const INBOUND: u32 = 1;
const OUTBOUND: u32 = 2;

/// A packet as it stands in the file; its memory is used again.
#[derive(Debug, Default)]
pub(super) struct Packet {
    /// What is there of it.
    pub(super) bytes: Vec<u8>,
    /// How long it was.
    pub(super) original_len: u32,
    /// `epb_flags`.
    pub(super) flags: u32,
    text: Vec<u8>,
}

impl Packet {
    /// Makes the packet of a record of this interface.
    pub(super) fn make(&mut self, interface: u32, what: &What) {
        let (from, to, flags) = match comment::sender(what) {
            Some(Sender::Host) => (HOST, PHONE, OUTBOUND),
            Some(Sender::Phone) => (PHONE, HOST, INBOUND),
            None => (NOBODY, HOST, 0),
        };
        self.flags = flags;
        let (from, to) = (address(interface, from), address(interface, to));
        if let What::Frame(frame @ Frame { head: Head::Segment(tcp), .. }) = what {
            return self.segment(from, to, tcp, frame);
        }
        let priority = comment::message(&mut self.text, what).unwrap_or_default();
        self.message(from, to, priority);
    }

    /// Makes the packet of a message of the trace's own.
    pub(super) fn say(&mut self, interface: u32, line: &str) {
        self.flags = 0;
        self.text.clear();
        self.text.extend(line.as_bytes());
        let (from, to) = (address(interface, NOBODY), address(interface, HOST));
        self.message(from, to, comment::OURS);
    }

    fn begin(&mut self, from: Ipv6Addr, to: Ipv6Addr, next: IpNumber, len: usize) -> Ipv6Header {
        let header = Ipv6Header {
            // The longest frame fits, with UDP's or TCP's longest header.
            payload_length: len.try_into().unwrap_or(u16::MAX),
            next_header: next,
            hop_limit: HOP_LIMIT,
            source: from.octets(),
            destination: to.octets(),
            ..Ipv6Header::default()
        };
        self.bytes.clear();
        self.bytes.extend(header.to_bytes());
        self.original_len = (Ipv6Header::LEN + usize::from(header.payload_length)) as u32;
        header
    }

    fn segment(&mut self, from: Ipv6Addr, to: Ipv6Addr, tcp: &wire::TcpHeader, frame: &Frame) {
        let mut header = header(tcp);
        let len = header.header_len() + usize::from(frame.body_len);
        let ip = self.begin(from, to, IpNumber::TCP, len);
        if frame.body.len() == usize::from(frame.body_len) {
            header.checksum = header.calc_checksum_ipv6(&ip, &frame.body).unwrap_or_default();
        }
        self.bytes.extend(header.to_bytes());
        self.bytes.extend(&frame.body);
    }

    fn message(&mut self, from: Ipv6Addr, to: Ipv6Addr, priority: u8) {
        let body = [format!("<{priority}>").as_bytes(), &self.text].concat();
        let ip = self.begin(from, to, IpNumber::UDP, UdpHeader::LEN + body.len());
        let length = ip.payload_length;
        let (source_port, destination_port) = (SYSLOG_PORT, SYSLOG_PORT);
        let mut header = UdpHeader { source_port, destination_port, length, checksum: 0 };
        header.checksum = header.calc_checksum_ipv6(&ip, &body).unwrap_or_default();
        self.bytes.extend(header.to_bytes());
        self.bytes.extend(body);
    }
}

/// Who has which address of an interface's.
const HOST: u16 = 1;
const PHONE: u16 = 2;
const NOBODY: u16 = 3;

fn address(interface: u32, who: u16) -> Ipv6Addr {
    // Documented to start anew after 65535.
    let number = (interface % u32::from(u16::MAX)) as u16 + 1;
    Ipv6Addr::new(0x2001, 0xdb8, number, 0, 0, 0, 0, who)
}

/// The header as it passed, and the scale in a SYN.
fn header(tcp: &wire::TcpHeader) -> TcpHeader {
    let has = |bit: u8| tcp.flags.0 >> bit & 1 == 1;
    let mut header = TcpHeader::new(tcp.source, tcp.dest, tcp.seq.0, tcp.window_units);
    header.acknowledgment_number = tcp.ack.0;
    header.urgent_pointer = tcp.urgent;
    header.ns = tcp.reserved & 1 == 1;
    [header.fin, header.syn, header.rst, header.psh] = [has(0), has(1), has(2), has(3)];
    [header.ack, header.urg, header.ece, header.cwr] = [has(4), has(5), has(6), has(7)];
    if header.syn {
        // Cannot fail: four bytes of options fit.
        let _ = header.set_options(&SCALE);
    }
    header
}
