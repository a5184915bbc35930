//! The bytes of usbredir: what QEMU's virtual host controllers ask, and the answers.
//!
//! All numbers are little-endian. Every message begins with `type u32 | length u32 | id`, the id of
//! 4 bytes, or of 8 where both ends have said so in their `hello`; that itself always has 4. The
//! length counts what follows. Of the messages (usbredir protocol 0.7) these matter to a phone:
//!
//! ```text
//!   0 hello                version [u8; 64] | capabilities u32…
//!   1 device_connect       speed u8 | class, subclass, protocol u8 | vendor, product, version u16
//!   2 device_disconnect    —
//!   3 reset                —
//!   4 interface_info       count u32 | number, class, subclass, protocol [u8; 32] each
//!   5 ep_info              type, interval, interface [u8; 32] each | max_packet [u16; 32]
//!   6 set_configuration    value u8
//!   7 get_configuration    —
//!   8 configuration_status status u8 | value u8
//!   9 set_alt_setting      interface u8 | alternate u8
//!  10 get_alt_setting      interface u8
//!  11 alt_setting_status   status u8 | interface u8 | alternate u8
//!  12 start_iso_stream     endpoint u8 | packets u8 | transfers u8      13 stop_iso_stream  endpoint u8
//!  14 iso_stream_status    status u8 | endpoint u8
//!  15 start_interrupt_receiving, 16 stop_interrupt_receiving   endpoint u8
//!  17 interrupt_receiving_status                               status u8 | endpoint u8
//!  21 cancel_data_packet   —
//! 100 control_packet       endpoint u8 | request u8 | request_type u8 | status u8
//!                          | value, index, length u16 | data
//! 101 bulk_packet          endpoint u8 | status u8 | length u16 | stream u32 | length_high u16 | data
//! 103 interrupt_packet     endpoint u8 | status u8 | length u16 | data
//! ```
//!
//! The device version, the packet sizes and the high half of a bulk length are there only if both
//! ends have the capability. Left out: isochronous packets, bulk streams, buffered bulk input,
//! device filters: a phone has no use for them, and says so in its `hello`.

use crate::control::Setup;
use crate::remote::TRANSFER_MAX;
use core::fmt;

/// Length of a message's fixed part while the id has 4 bytes, and while it has 8.
pub(super) const SHORT_HEADER: usize = 12;
pub(super) const LONG_HEADER: usize = 16;
/// Length of the version text in `hello`, padded with zeros.
const VERSION: usize = 64;
/// What stands in front of a control packet's data, and of a bulk packet's at most.
const CONTROL_PACKET: usize = 10;
pub(super) const BULK_PACKET_MAX: usize = 10;
/// The longest message: a transfer with what stands in front of it.
const MESSAGE_MAX: usize = TRANSFER_MAX + BULK_PACKET_MAX;
/// Endpoints and interfaces in the tables: 16 OUT, then 16 IN.
pub(super) const TABLE: usize = 32;

/// Numbers of the messages.
pub(super) mod kind {
    pub(crate) const HELLO: u32 = 0;
    pub(crate) const DEVICE_CONNECT: u32 = 1;
    pub(crate) const DEVICE_DISCONNECT: u32 = 2;
    pub(crate) const RESET: u32 = 3;
    pub(crate) const INTERFACE_INFO: u32 = 4;
    pub(crate) const EP_INFO: u32 = 5;
    pub(crate) const SET_CONFIGURATION: u32 = 6;
    pub(crate) const GET_CONFIGURATION: u32 = 7;
    pub(crate) const CONFIGURATION_STATUS: u32 = 8;
    pub(crate) const SET_ALT_SETTING: u32 = 9;
    pub(crate) const GET_ALT_SETTING: u32 = 10;
    pub(crate) const ALT_SETTING_STATUS: u32 = 11;
    pub(crate) const START_ISO_STREAM: u32 = 12;
    pub(crate) const STOP_ISO_STREAM: u32 = 13;
    pub(crate) const ISO_STREAM_STATUS: u32 = 14;
    pub(crate) const START_INTERRUPT_RECEIVING: u32 = 15;
    pub(crate) const STOP_INTERRUPT_RECEIVING: u32 = 16;
    pub(crate) const INTERRUPT_RECEIVING_STATUS: u32 = 17;
    pub(crate) const CANCEL_DATA_PACKET: u32 = 21;
    pub(crate) const CONTROL_PACKET: u32 = 100;
    pub(crate) const BULK_PACKET: u32 = 101;
    pub(crate) const INTERRUPT_PACKET: u32 = 103;
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Status {
    Success = 0,
    Cancelled = 1,
    /// The request makes no sense, or there is no room for it.
    Invalid = 2,
    Stall = 4,
    /// The phone sent more than was asked for.
    Babble = 6,
}

/// What one end can do beyond the protocol's first version; a feature is on if both can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Capabilities(u32);

impl Capabilities {
    /// `device_connect` has the device's version.
    const CONNECT_DEVICE_VERSION: u32 = 1 << 1;
    /// `ep_info` has the packet sizes.
    const EP_INFO_MAX_PACKET_SIZE: u32 = 1 << 4;
    /// Ids have 8 bytes.
    const IDS_64_BITS: u32 = 1 << 5;
    /// Bulk packets may be longer than 65535 bytes.
    const BULK_LENGTH_32_BITS: u32 = 1 << 6;

    /// Before `hello`.
    pub(super) const NONE: Capabilities = Capabilities(0);
    /// The phone's.
    pub(super) const OURS: Capabilities = Capabilities(
        Self::CONNECT_DEVICE_VERSION
            | Self::EP_INFO_MAX_PACKET_SIZE
            | Self::IDS_64_BITS
            | Self::BULK_LENGTH_32_BITS,
    );

    /// What both ends can.
    pub(super) fn and(self, other: Capabilities) -> Capabilities {
        Capabilities(self.0 & other.0)
    }

    fn has(self, bit: u32) -> bool {
        self.0 & bit != 0
    }

    /// Length of a message's fixed part.
    pub(super) fn header(self) -> usize {
        if self.has(Self::IDS_64_BITS) { LONG_HEADER } else { SHORT_HEADER }
    }

    /// Length of what stands in front of a bulk packet's data.
    fn bulk_packet(self) -> usize {
        if self.has(Self::BULK_LENGTH_32_BITS) { BULK_PACKET_MAX } else { BULK_PACKET_MAX - 2 }
    }
}

/// A message that no USB host sends: its end and its meaning cannot both be right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Malformed {
    /// The first message is not `hello`, but this one.
    NoHello(u32),
    /// A message is longer than any.
    Length(u32),
    /// A message of this type is too short for its fields, or its lengths contradict each other.
    Fields(u32),
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Malformed::NoHello(kind) => write!(f, "usbredir begins with message {kind}, not hello"),
            Malformed::Length(bytes) => write!(f, "a usbredir message of {bytes} bytes"),
            Malformed::Fields(kind) => write!(f, "the fields of usbredir message {kind} are wrong"),
        }
    }
}

impl std::error::Error for Malformed {}

/// The fixed part of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: u32,
    /// Bytes that follow.
    pub(super) length: usize,
    pub(super) id: u64,
}

impl Header {
    /// Reads a fixed part, with an id of 4 or of 8 bytes.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let word = |at: usize| {
            let bytes = bytes.get(at..).and_then(|rest| rest.first_chunk());
            bytes.map_or(0, |four| u32::from_le_bytes(*four))
        };
        let (kind, length) = (word(0), word(4));
        let id = u64::from(word(8)) | u64::from(word(12)) << 32;
        match usize::try_from(length) {
            Ok(length) if length <= MESSAGE_MAX => Ok(Header { kind, length, id }),
            _ => Err(Malformed::Length(length)),
        }
    }

    /// Writes it with the length of the id that both ends know.
    pub(super) fn emit(self, capabilities: Capabilities, out: &mut Vec<u8>) {
        // No message is longer than MESSAGE_MAX.
        let length = u32::try_from(self.length).unwrap_or(u32::MAX);
        out.extend(self.kind.to_le_bytes());
        out.extend(length.to_le_bytes());
        let id = self.id.to_le_bytes();
        out.extend(&id[..capabilities.header() - (SHORT_HEADER - 4)]);
    }
}

/// What a host asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Request {
    Hello(Capabilities),
    Reset,
    SetConfiguration(u8),
    GetConfiguration,
    SetAlternate {
        interface: u8,
        alternate: u8,
    },
    GetAlternate {
        interface: u8,
    },
    /// Begins or ends a stream of sound.
    Isochronous {
        endpoint: u8,
    },
    /// From now on packets of this endpoint are wanted, or no more.
    Interrupts {
        endpoint: u8,
    },
    Cancel,
    Control(ControlPacket),
    /// A transfer of so many bytes; those to the phone stand behind [`Request::data_at`].
    Bulk {
        endpoint: u8,
        length: usize,
        stream: u32,
    },
    /// Bytes for an interrupt endpoint.
    Interrupt {
        endpoint: u8,
    },
    /// Something that a phone need not know.
    Other(u32),
}

/// A control transfer, as asked for and as answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ControlPacket {
    pub(super) endpoint: u8,
    pub(super) setup: Setup,
}

impl ControlPacket {
    pub(super) fn emit(self, status: Status, length: u16, out: &mut Vec<u8>) {
        let Setup { request_type, request, value, index, .. } = self.setup;
        out.extend([self.endpoint, request, request_type, status as u8]);
        for number in [value, index, length] {
            out.extend(number.to_le_bytes());
        }
    }
}

/// The answer to a bulk packet, without its data.
pub(super) fn bulk_packet(
    capabilities: Capabilities,
    endpoint: u8,
    status: Status,
    length: usize,
    out: &mut Vec<u8>,
) {
    let [a, b, c, d, ..] = length.to_le_bytes();
    out.extend([endpoint, status as u8, a, b, 0, 0, 0, 0]);
    if capabilities.bulk_packet() == BULK_PACKET_MAX {
        out.extend([c, d]);
    }
}

/// `hello` without its fixed part.
pub(super) fn hello() -> Vec<u8> {
    let mut bytes = b"usbmux virtual phone ".to_vec();
    bytes.extend(env!("CARGO_PKG_VERSION").bytes());
    bytes.resize(VERSION, 0);
    bytes.extend(Capabilities::OURS.0.to_le_bytes());
    bytes
}

/// `device_connect` without its fixed part: the numbers of a device descriptor and a speed.
pub(super) fn device_connect(capabilities: Capabilities, speed: u8, device: &[u8; 18]) -> Vec<u8> {
    let mut bytes = vec![speed];
    bytes.extend(&device[4..7]);
    let numbers =
        if capabilities.has(Capabilities::CONNECT_DEVICE_VERSION) { 8..14 } else { 8..12 };
    bytes.extend(&device[numbers]);
    bytes
}

/// One endpoint's row in `ep_info`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// The type as bmAttributes has it; 255 for an endpoint that is not there.
    pub(super) kind: u8,
    pub(super) interval: u8,
    pub(super) interface: u8,
    pub(super) max_packet: u16,
}

impl Endpoint {
    pub(super) const NONE: Endpoint =
        Endpoint { kind: 255, interval: 0, interface: 0, max_packet: 0 };
}

/// `ep_info` without its fixed part.
pub(super) fn ep_info(capabilities: Capabilities, endpoints: &[Endpoint; TABLE]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(endpoints.iter().map(|endpoint| endpoint.kind));
    bytes.extend(endpoints.iter().map(|endpoint| endpoint.interval));
    bytes.extend(endpoints.iter().map(|endpoint| endpoint.interface));
    if capabilities.has(Capabilities::EP_INFO_MAX_PACKET_SIZE) {
        bytes.extend(endpoints.iter().flat_map(|endpoint| endpoint.max_packet.to_le_bytes()));
    }
    bytes
}

/// `interface_info` without its fixed part: number, class, subclass and protocol of each.
pub(super) fn interface_info(interfaces: &[[u8; 4]]) -> Vec<u8> {
    let rows = || interfaces.iter().take(TABLE);
    // At most TABLE.
    let mut bytes = u32::try_from(rows().count()).unwrap_or(0).to_le_bytes().to_vec();
    for column in 0..4 {
        let end = bytes.len() + TABLE;
        bytes.extend(rows().map(|row| row[column]));
        bytes.resize(end, 0);
    }
    bytes
}

impl Request {
    /// Reads what follows a message's fixed part.
    pub(super) fn parse(
        capabilities: Capabilities,
        kind: u32,
        body: &[u8],
    ) -> Result<Self, Malformed> {
        Self::fields(capabilities, kind, body).ok_or(Malformed::Fields(kind))
    }

    fn fields(capabilities: Capabilities, kind: u32, body: &[u8]) -> Option<Self> {
        let first = || body.first().copied();
        Some(match kind {
            kind::HELLO => {
                let words = body.get(VERSION..)?;
                // An end without any capability need not send the word.
                let word = words.first_chunk().map_or(0, |word| u32::from_le_bytes(*word));
                Request::Hello(Capabilities(word))
            }
            kind::RESET => Request::Reset,
            kind::SET_CONFIGURATION => Request::SetConfiguration(first()?),
            kind::GET_CONFIGURATION => Request::GetConfiguration,
            kind::SET_ALT_SETTING => {
                let [interface, alternate] = *body.first_chunk()?;
                Request::SetAlternate { interface, alternate }
            }
            kind::GET_ALT_SETTING => Request::GetAlternate { interface: first()? },
            kind::START_ISO_STREAM | kind::STOP_ISO_STREAM => {
                Request::Isochronous { endpoint: first()? }
            }
            kind::START_INTERRUPT_RECEIVING | kind::STOP_INTERRUPT_RECEIVING => {
                Request::Interrupts { endpoint: first()? }
            }
            kind::CANCEL_DATA_PACKET => Request::Cancel,
            kind::CONTROL_PACKET => Request::Control(control_packet(body)?),
            kind::BULK_PACKET => bulk(capabilities, body)?,
            kind::INTERRUPT_PACKET => Request::Interrupt { endpoint: first()? },
            _ => Request::Other(kind),
        })
    }

    /// Where in a bulk packet's body its data begins.
    pub(super) fn data_at(capabilities: Capabilities) -> usize {
        capabilities.bulk_packet()
    }
}

fn control_packet(body: &[u8]) -> Option<ControlPacket> {
    let fields: &[u8; CONTROL_PACKET] = body.first_chunk()?;
    let [endpoint, request, request_type, _status, rest @ ..] = *fields;
    let [a, b, c, d, e, f] = rest;
    let setup = Setup::parse(&[request_type, request, a, b, c, d, e, f]);
    Some(ControlPacket { endpoint, setup })
}

fn bulk(capabilities: Capabilities, body: &[u8]) -> Option<Request> {
    let (fields, data) = body.split_at_checked(capabilities.bulk_packet())?;
    let [endpoint, _status, low, high, a, b, c, d, rest @ ..] = fields else { return None };
    let length_high = match rest {
        [low, high] => u16::from_le_bytes([*low, *high]),
        _ => 0,
    };
    let length = u32::from(u16::from_le_bytes([*low, *high])) | u32::from(length_high) << 16;
    let length = usize::try_from(length).ok().filter(|length| *length <= TRANSFER_MAX)?;
    // Data stand behind a packet to the phone alone, and all of them.
    let due = if endpoint & 0x80 == 0 { length } else { 0 };
    let stream = u32::from_le_bytes([*a, *b, *c, *d]);
    (data.len() == due).then_some(Request::Bulk { endpoint: *endpoint, length, stream })
}
