//! What a hand between engine and USB can do to the next message, once each.

use usbmux_core::wire::{HEADER_V1, HEADER_V2, Protocol, TCP_HEADER};

/// The field whose bit is turned over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Field {
    /// The declared length.
    Length,
    /// The frame's number.
    TxSeq,
    /// Number of the first byte.
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
            Field::Seq => (HEADER_V2 + 7, 0x10),
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
    /// A bit of the next segment towards the phone is turned over.
    pub flip_out: Option<Field>,
    /// The same of the phone's next segment.
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

    /// Turns a bit over, if that was ordered and this frame has the field.
    pub(super) fn damage(&mut self, from_phone: bool, frame: &mut [u8]) -> Option<Field> {
        let order = if from_phone { &mut self.flip_in } else { &mut self.flip_out };
        let (at, bit) = (*order)?.place();
        let protocol = frame.first_chunk::<4>().map(|bytes| u32::from_be_bytes(*bytes));
        if protocol != Some(Protocol::TCP.0) || frame.len() <= HEADER_V1 {
            return None;
        }
        *frame.get_mut(at)? ^= bit;
        order.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_segment_that_has_the_field_is_damaged_and_only_once() {
        let mut armed = Armed { flip_out: Some(Field::Payload), ..Armed::default() };
        let mut setup = [0, 0, 0, 2, 0, 0, 0, 17];
        assert_eq!(armed.damage(false, &mut setup), None);
        let mut acknowledgement = [0; 36];
        acknowledgement[3] = 6;
        assert_eq!(armed.damage(false, &mut acknowledgement), None, "it has no payload");
        let mut data = [0; 40];
        data[3] = 6;
        assert_eq!(armed.damage(true, &mut data), None, "it goes the other way");
        assert_eq!(armed.damage(false, &mut data), Some(Field::Payload));
        assert_eq!(data[36], 0x20);
        assert_eq!(armed.damage(false, &mut data), None);
    }
}
