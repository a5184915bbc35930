//! Frames that the phone reads or writes beside the engine: what its kernel says on its own, what
//! an older session left behind, and the touches that quirks give to frames in passing.

use usbmux_core::SeqNumber;
use usbmux_core::wire::{
    ControlKind, Flags, HEADER_V1, HEADER_V2, HeaderV1, HeaderV2, Magic, Protocol, TCP_HEADER,
    TcpHeader,
};

/// What a phone says of a message that ran over its read buffer (PROTOCOL §2).
pub(crate) const TOO_LARGE: &str =
    "asyncReadComplete, message was too large (65536 bytes, max = 65535)";

/// The protocol and the declared length of a message that is long enough to have them.
pub(crate) fn head(message: &[u8]) -> Option<(Protocol, usize)> {
    let header = HeaderV1::parse(message.first_chunk::<HEADER_V1>()?);
    Some((header.protocol, usize::try_from(header.length).ok()?))
}

/// Pretends that the host announced the largest window there is (quirk `overrun`).
pub(crate) fn open_window(message: &mut [u8], version: u32) {
    let header = if version == 1 { HEADER_V1 } else { HEADER_V2 };
    if head(message).is_none_or(|(protocol, _)| protocol != Protocol::TCP) {
        return;
    }
    let segment = message.get_mut(header..).and_then(|rest| rest.first_chunk_mut::<TCP_HEADER>());
    if let Some(segment) = segment {
        let tcp = TcpHeader { window_units: u16::MAX, ..TcpHeader::parse(segment) };
        *segment = tcp.emit();
    }
}

/// Keeps the phone's frame numbers right when frames of its kernel's stand between the engine's.
///
/// The engine numbers what it sends; a CONTROL frame that the phone adds takes the next number, and
/// every later frame of the engine's moves up by one.
#[derive(Debug)]
pub(crate) struct Numbering {
    /// Frames added since the session began.
    added: u16,
    /// Of the last frame that passed.
    tx_seq: u16,
    rx_seq: u16,
}

impl Numbering {
    pub(crate) fn new() -> Self {
        // The first frame of a session has tx_seq 0.
        Numbering { added: 0, tx_seq: u16::MAX, rx_seq: u16::MAX }
    }

    /// A frame of the engine's passes, in version 2 (VERSION frames excepted).
    pub(crate) fn pass(&mut self, frame: &mut [u8]) {
        let Some(bytes) = frame.first_chunk_mut::<HEADER_V2>() else { return };
        let mut header = HeaderV2::parse(bytes);
        header.tx_seq = header.tx_seq.wrapping_add(self.added);
        (self.tx_seq, self.rx_seq) = (header.tx_seq, header.rx_seq);
        *bytes = header.emit();
    }

    /// A CONTROL frame with the next number.
    pub(crate) fn control(&mut self, kind: ControlKind, text: &str, version: u32) -> Vec<u8> {
        if version == 1 {
            let header = HeaderV1 { protocol: Protocol::CONTROL, length: length(HEADER_V1, text) };
            return [&header.emit()[..], &[kind.0], text.as_bytes()].concat();
        }
        self.added = self.added.wrapping_add(1);
        self.tx_seq = self.tx_seq.wrapping_add(1);
        let header = HeaderV2 {
            protocol: Protocol::CONTROL,
            length: length(HEADER_V2, text),
            magic: Magic::PHONE,
            tx_seq: self.tx_seq,
            rx_seq: self.rx_seq,
        };
        [&header.emit()[..], &[kind.0], text.as_bytes()].concat()
    }
}

fn length(header: usize, text: &str) -> u32 {
    u32::try_from(header + 1 + text.len()).unwrap_or(u32::MAX)
}

/// What an older session, whose host died, still has to say: data in mid-stream, a text, more data
/// (quirk `stale-session`).
pub(crate) fn stale_session() -> [Vec<u8>; 3] {
    let data = |tx_seq: u16, seq: u32, payload: &[u8]| {
        let length = HEADER_V2 + TCP_HEADER + payload.len();
        let header = stale_header(Protocol::TCP, length, tx_seq);
        let ports = (crate::services::LOCKDOWND, 3);
        let tcp = TcpHeader::new(ports, SeqNumber(seq), SeqNumber(4711), Flags::ACK, 512);
        [&header.emit()[..], &tcp.emit(), payload].concat()
    };
    let text = b"\x05an older session is still here";
    let header = stale_header(Protocol::CONTROL, HEADER_V2 + text.len(), 408);
    [
        data(407, 90_000, &[0x5a; 100]),
        [&header.emit()[..], text].concat(),
        data(409, 90_100, &[0xa5; 3000]),
    ]
}

fn stale_header(protocol: Protocol, length: usize, tx_seq: u16) -> HeaderV2 {
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    HeaderV2 { protocol, length, magic: Magic::PHONE, tx_seq, rx_seq: 399 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_added_frame_moves_all_later_numbers_up() {
        let frame = |tx_seq: u16| {
            let header = HeaderV2 { tx_seq, rx_seq: 5, ..stale_header(Protocol::TCP, 36, tx_seq) };
            header.emit()
        };
        let seq = |bytes: &[u8]| u16::from_be_bytes([bytes[12], bytes[13]]);
        let mut numbering = Numbering::new();
        let mut first = frame(0);
        numbering.pass(&mut first);
        let said = numbering.control(ControlKind::ERROR, "hm", 2);
        let mut second = frame(1);
        numbering.pass(&mut second);
        assert_eq!((seq(&first), seq(&said), seq(&second)), (0, 1, 2));
        assert_eq!(
            said, b"\0\0\0\x01\0\0\0\x13\xfa\xce\xfa\xce\0\x01\0\x05\x03hm",
            "CONTROL, 19 bytes, the phone's magic, tx 1, rx 5, type 3"
        );
    }

    #[test]
    fn the_window_field_alone_is_rewritten() {
        let [data, control, _] = stale_session();
        let mut opened = data.clone();
        open_window(&mut opened, 2);
        assert_eq!(opened[30..32], [0xff, 0xff]);
        opened[30..32].copy_from_slice(&data[30..32]);
        assert_eq!(opened, data);
        let mut same = control.clone();
        open_window(&mut same, 2);
        assert_eq!(same, control);
        let mut short = data[..30].to_vec();
        open_window(&mut short, 2);
        assert_eq!(short, data[..30]);
    }

    #[test]
    fn stale_frames_are_as_long_as_they_say() {
        for frame in stale_session() {
            assert_eq!(head(&frame).map(|(_, length)| length), Some(frame.len()));
        }
    }
}
