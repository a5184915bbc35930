//! The header that Linux's usbmon puts in front of what a USB transfer carries
//! (Documentation/usb/usbmon.rst, `struct usbmon_packet`).

/// Bytes of the header in captures that were read, and in those that were mapped.
const SHORT: usize = 48;
const LONG: usize = 64;
/// A bulk transfer's end is marked by a zero-length packet, says its sender (Linux, usb.h).
const URB_ZERO_PACKET: u32 = 0x40;

/// What happened to a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// A driver handed it over.
    Submitted,
    /// It is done, well or not.
    Completed,
    /// It could not be handed over.
    Refused,
}

/// The kinds of transfers that matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transfer {
    Control,
    Bulk,
    Other,
}

/// An event of a transfer, as usbmon tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Urb<'p> {
    /// The same in submission and completion; used again for later transfers.
    pub(super) id: u64,
    pub(super) event: Event,
    pub(super) transfer: Transfer,
    /// Number and, in bit 7, direction.
    pub(super) endpoint: u8,
    pub(super) bus: u16,
    pub(super) device: u8,
    /// 0, or a negative errno.
    pub(super) status: i32,
    /// Submitted: bytes that are wanted or sent. Completed: bytes that passed.
    pub(super) length: usize,
    /// Of a control transfer's submission.
    pub(super) setup: Option<[u8; 8]>,
    /// Whether a zero-length packet follows by itself; none if the capture does not tell.
    pub(super) zero_packet: Option<bool>,
    /// What of it was captured.
    pub(super) data: &'p [u8],
}

impl<'p> Urb<'p> {
    /// Reads a packet of a capture; `None` if it is too short for its header.
    pub(super) fn parse(packet: &'p [u8], mapped: bool, big_endian: bool) -> Option<Self> {
        let (head, data) = packet.split_at_checked(if mapped { LONG } else { SHORT })?;
        let field = Fields { head, big_endian };
        let event = match field.byte(8)? {
            b'S' => Event::Submitted,
            b'C' => Event::Completed,
            b'E' => Event::Refused,
            _ => return None,
        };
        let transfer = match field.byte(9)? {
            2 => Transfer::Control,
            3 => Transfer::Bulk,
            _ => Transfer::Other,
        };
        let setup = head.get(40..48)?.first_chunk().copied();
        let captured = (field.u32(36)? as usize).min(data.len());
        Some(Urb {
            id: field.u64(0)?,
            event,
            transfer,
            endpoint: field.byte(10)?,
            device: field.byte(11)?,
            bus: field.u16(12)?,
            setup: setup.filter(|_| field.byte(14) == Some(0)),
            status: field.u32(28)?.cast_signed(),
            length: field.u32(32)? as usize,
            zero_packet: field.u32(56).map(|flags| flags & URB_ZERO_PACKET != 0),
            data: data.get(..captured)?,
        })
    }

    /// Whether it goes to the host.
    pub(super) fn is_in(&self) -> bool {
        self.endpoint & 0x80 != 0
    }
}

struct Fields<'h> {
    head: &'h [u8],
    big_endian: bool,
}

impl Fields<'_> {
    fn array<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        let mut bytes = *self.head.get(at..)?.first_chunk::<N>()?;
        if !self.big_endian {
            bytes.reverse();
        }
        Some(bytes)
    }

    fn byte(&self, at: usize) -> Option<u8> {
        self.head.get(at).copied()
    }

    fn u16(&self, at: usize) -> Option<u16> {
        self.array(at).map(u16::from_be_bytes)
    }

    fn u32(&self, at: usize) -> Option<u32> {
        self.array(at).map(u32::from_be_bytes)
    }

    fn u64(&self, at: usize) -> Option<u64> {
        self.array(at).map(u64::from_be_bytes)
    }
}
