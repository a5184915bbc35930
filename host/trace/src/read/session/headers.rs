//! From the bytes of a frame to what it says.

use usbmux_core::wire::{
    Flags, HEADER_V1, HEADER_V2, HeaderV1, HeaderV2, Magic, Protocol, TCP_HEADER, TcpHeader,
    VERSION_BODY, Version,
};

use crate::read::mark::{Kind, Mark};
use crate::read::model::{Body, Frame, Numbers, Side};
use crate::read::scan::RawFrame;
use crate::read::words::{bytes as bytes_in_words, printable};

/// Reads the headers of a frame. `known` tells whether they are known to be long or short.
pub(super) fn parse(phone: u32, known: Option<bool>, raw: RawFrame, from: Side) -> Frame {
    let RawFrame { at, packet, bytes, length, glued, missing, .. } = raw;
    let mut marks = Vec::new();
    if glued {
        let text = "it stands in the same transfer as the frame before";
        marks.push(Mark::new(Kind::Glued, from, text));
    }
    if missing > 0 {
        let text = format!("the transfer ends {} before the frame does", bytes_in_words(missing));
        marks.push(Mark::new(Kind::CutShort, from, text));
    }
    let protocol = bytes.first_chunk().map(|head| HeaderV1::parse(head).protocol);
    let long = bytes.first_chunk::<HEADER_V2>().map(HeaderV2::parse).filter(|head| {
        let is_long = known.unwrap_or(head.magic.is_known());
        is_long && protocol != Some(Protocol::VERSION)
    });
    let numbers =
        long.map(|head| Numbers { magic: head.magic, tx_seq: head.tx_seq, rx_seq: head.rx_seq });
    let mux = if long.is_some() { HEADER_V2 } else { HEADER_V1 };
    let rest = bytes.get(mux..).unwrap_or_default();
    let (headers, body) = parse_body(protocol, rest, length.saturating_sub(mux), &mut marks, from);
    if let Some(numbers) = numbers
        && (from == Side::Host && numbers.magic == Magic::PHONE || !numbers.magic.is_known())
    {
        let text = format!(
            "magic {:08x}; a {from} sends {}",
            numbers.magic.0,
            match from {
                Side::Host => "feedface",
                Side::Phone => "faceface",
            }
        );
        marks.push(Mark::new(Kind::BadMagic, from, text));
    }
    let headers = (mux + headers).min(bytes.len());
    Frame { phone, from, at, packet, length, numbers, body, bytes, headers, marks }
}

/// Reads what follows the mux header; returns how many of these bytes are headers.
fn parse_body(
    protocol: Option<Protocol>,
    rest: &[u8],
    length: usize,
    marks: &mut Vec<Mark>,
    from: Side,
) -> (usize, Body) {
    match protocol {
        Some(Protocol::VERSION) => match rest.first_chunk::<VERSION_BODY>() {
            Some(body) => (VERSION_BODY, Body::Version(Version::parse(body))),
            None => (rest.len(), Body::NotCaptured),
        },
        Some(Protocol::SETUP) => match rest.first() {
            Some(level) => (1, Body::Setup(*level)),
            None => (0, Body::NotCaptured),
        },
        Some(Protocol::CONTROL) => match rest.split_first() {
            Some((kind, text)) => (1, Body::Control { kind: *kind, text: printable(text) }),
            None => (0, Body::NotCaptured),
        },
        Some(Protocol::TCP) => {
            let Some(head) = rest.first_chunk::<TCP_HEADER>() else {
                return (rest.len(), Body::NotCaptured);
            };
            let tcp = TcpHeader::parse(head);
            if tcp.data_offset_words != 5 {
                let text =
                    format!("a pseudo-TCP header of {} words: 5 are in use", tcp.data_offset_words);
                marks.push(Mark::new(Kind::BadHeader, from, text));
            }
            let payload = rest.get(TCP_HEADER..).unwrap_or_default();
            let is_reset = tcp.flags.contains(Flags::RST);
            let text = if is_reset { printable(payload) } else { String::new() };
            let payload = length.saturating_sub(TCP_HEADER);
            (TCP_HEADER, Body::Segment { tcp, payload, conn: None, text })
        }
        _ => (0, Body::NotCaptured),
    }
}
