//! What a hand between engine and USB can do to the next message, once each.

use super::seen::Seen;
use usbmux_core::wire::{Flags, HEADER_V2, TCP_HEADER};

/// The field whose bit is turned over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Field {
    /// The declared length.
    Length,
    /// The frame's number.
    TxSeq,
    /// Number of the first byte: it becomes one that is far away, so that bytes are missing.
    Seq,
    /// The flags: ACK becomes PSH|ACK.
    Flags,
    /// A byte of payload.
    Payload,
}

impl Field {
    /// All of them.
    pub const ALL: [Field; 5] =
        [Field::Payload, Field::Seq, Field::Flags, Field::TxSeq, Field::Length];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Field::Length => "length",
            Field::TxSeq => "tx_seq",
            Field::Seq => "seq",
            Field::Flags => "flags",
            Field::Payload => "payload",
        }
    }

    /// Its byte in a frame with long headers, and the bit.
    fn place(self) -> (usize, u8) {
        match self {
            Field::Length => (7, 0x01),
            Field::TxSeq => (13, 0x02),
            Field::Seq => (HEADER_V2 + 5, 0x10),
            Field::Flags => (HEADER_V2 + 13, 0x08),
            Field::Payload => (HEADER_V2 + TCP_HEADER, 0x20),
        }
    }
}

/// What is prepared for the next messages.
#[derive(Clone, Debug, Default)]
pub struct Armed {
    /// The next empty packet of the host's is forgotten.
    pub lost_zlp: bool,
    /// The next frame of the host's is lost after it was numbered.
    pub lost_out: bool,
    /// The next message of the phone's is lost on its way to the engine.
    pub lost_in: bool,
    /// A bit of the next segment with payload towards the phone is turned over.
    pub flip_out: Option<Field>,
    /// The same of the phone's next segment with payload.
    pub flip_in: Option<Field>,
}

impl Armed {
    pub(super) fn take_lost_zlp(&mut self) -> bool {
        std::mem::take(&mut self.lost_zlp)
    }

    pub(super) fn take_lost_out(&mut self) -> bool {
        std::mem::take(&mut self.lost_out)
    }

    pub(super) fn take_lost_in(&mut self) -> bool {
        std::mem::take(&mut self.lost_in)
    }

    /// Turns a bit over, if that was ordered and this frame carries a program's bytes: whatever opens
    /// or ends a connection, or only acknowledges, passes unhurt.
    pub(super) fn damage(&mut self, from_phone: bool, frame: &mut [u8]) -> Option<Field> {
        let order = if from_phone { &mut self.flip_in } else { &mut self.flip_out };
        let (at, bit) = (*order)?.place();
        let seen = Seen::new(frame);
        let is_data = seen.tcp.is_some_and(|tcp| tcp.flags == Flags::ACK) && seen.payload > 0;
        if !is_data {
            return None;
        }
        *frame.get_mut(at)? ^= bit;
        order.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use usbmux_core::SeqNumber;
    use usbmux_core::wire::{HeaderV2, Magic, Protocol, TcpHeader};

    fn segment(flags: Flags, payload: &[u8]) -> Vec<u8> {
        let length = (HEADER_V2 + TCP_HEADER + payload.len()) as u32;
        let (protocol, magic) = (Protocol::TCP, Magic::HOST);
        let header = HeaderV2 { protocol, length, magic, tx_seq: 1, rx_seq: 0 };
        let tcp = TcpHeader::new((1, 7), SeqNumber(1), SeqNumber(1), flags, 16);
        [&header.emit()[..], &tcp.emit()[..], payload].concat()
    }

    #[test]
    fn only_a_segment_with_payload_is_damaged_and_only_once() {
        for field in Field::ALL {
            let mut armed = Armed { flip_out: Some(field), ..Armed::default() };
            let mut setup = [0, 0, 0, 2, 0, 0, 0, 17];
            assert_eq!(armed.damage(false, &mut setup), None);
            for (flags, payload) in [(Flags::SYN, ""), (Flags::ACK, ""), (Flags::RST, "why")] {
                let mut other = segment(flags, payload.as_bytes());
                assert_eq!(armed.damage(false, &mut other), None, "{field:?} {flags}");
            }
            let whole = segment(Flags::ACK, b"data");
            let mut data = whole.clone();
            assert_eq!(armed.damage(true, &mut data), None, "it goes the other way");
            assert_eq!(armed.damage(false, &mut data), Some(field));
            let (at, bit) = field.place();
            assert_eq!(data[at], whole[at] ^ bit);
            assert_eq!(armed.damage(false, &mut data), None);
        }
    }
}
