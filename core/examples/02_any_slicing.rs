//! Lesson 2: any slicing of a stream.
//!
//! The [deframer](usbmux_core::deframe) finds the same frames however a driver slices what USB
//! delivered, holds at most one header, and never copies a payload.

mod show;

use show::segment;
use usbmux_core::deframe::{Deframer, Form, Malformed, Piece, Transfer};

pub(crate) const TITLE: &str = "any slicing of a stream";
pub(crate) const SHOWS: &str = "Bytes arrive in whatever pieces a driver likes; frames come out.";

pub(crate) fn main() {
    show::begin(2, TITLE, SHOWS);
    show::asked("the length field says 36. Is that how each side knows where a frame ends?");
    show::answer(
        "It is how our side knows. It reads the length field, since a driver may deliver one USB \
         transfer in several reads. The phone does not: to it a frame ends where the TRANSFER \
         ends, that is at the first USB packet that is not full. So one transfer carries one \
         frame, and what happens if it does not is lesson 9.",
    );
    show::part("The phone sends one frame; our driver reads it in pieces of so many bytes");
    let frame = segment(b"twelve bytes");
    show::line(format!(
        "    bytes   reads   of {}: mux header 16, TCP header 20, payload 12",
        frame.len()
    ));
    for slice in [48, 40, 17, 7, 1] {
        let reads = frame.chunks(slice).len();
        let pieces = deframe(frame.chunks(slice));
        let (head, bodies) = pieces.split_first().expect("a header");
        show::line(format!("    {slice:>5}   {reads:>5}   {head}, then {}", shortened(bodies)));
        assert_eq!(head, "segment with 12 bytes of payload");
        assert_eq!(bodies.concat().replace('"', ""), "twelve bytes");
    }
    show::say(
        "State before each row: the deframer waits for a header. State after it: the same. In \
         between it holds at most one unfinished header, and of the payload nothing: each piece \
         in quotes is a slice of the very bytes that the driver read. That is how 65535 bytes \
         pass through a microcontroller that has room for 64.",
    );

    show::part("One transfer each, and what is wrong with it");
    let mut trailing = segment(b"hi");
    trailing.extend([0xaa, 0xbb, 0xcc]);
    let mut too_long = segment(b"");
    too_long[4..8].copy_from_slice(&66_000u32.to_be_bytes());
    for (what, bytes, expected) in [
        ("three stray bytes behind the frame", &trailing[..], "trailing bytes: dropped"),
        ("it ends before its frame does", &frame[..40], "cut short: the rest is gone for ever"),
        (
            "length 66000, and 65535 is the most",
            &too_long,
            "no frame: dropped to the transfer's end",
        ),
    ] {
        let pieces = deframe([bytes].into_iter());
        show::line(format!("    {what}:"));
        show::line(format!("        {}", pieces.join(", ")));
        assert_eq!(pieces.last().map(String::as_str), Some(expected));
    }
    show::say(
        "The first is seen with some phones, and does no harm to who heeds both, the length and the \
         transfer's end (a reader of lengths alone takes those bytes for a header). The others are serious: nobody ever \
         sends a byte again. The end of the transfer is where to take up reading.",
    );
    show::question(3, "how did the deframer know that these mux headers have 16 bytes, not 8?");
}

/// What the deframer makes of the reads of one transfer.
fn deframe<'t>(reads: impl ExactSizeIterator<Item = &'t [u8]>) -> Vec<String> {
    let (mut deframer, mut pieces) = (Deframer::new(Form::V2), Vec::new());
    let last = reads.len() - 1;
    for (at, read) in reads.enumerate() {
        // A read that USB filled to its last byte may be followed by more of the same transfer.
        let mut transfer = if at < last { Transfer::part(read) } else { Transfer::new(read) };
        while let Some(piece) = deframer.next(&mut transfer) {
            pieces.push(in_words(piece));
        }
    }
    pieces
}

fn shortened(pieces: &[String]) -> String {
    let more =
        if pieces.len() > 4 { format!(" + … ({} pieces)", pieces.len()) } else { String::new() };
    pieces.iter().take(4).cloned().collect::<Vec<_>>().join(" + ") + &more
}

fn in_words(piece: Piece<'_>) -> String {
    match piece {
        Piece::Segment { payload_len, .. } => {
            format!("segment with {payload_len} bytes of payload")
        }
        Piece::Body { bytes, .. } => format!("{:?}", String::from_utf8_lossy(bytes)),
        Piece::Trailing => "trailing bytes: dropped".to_owned(),
        Piece::Truncated => "cut short: the rest is gone for ever".to_owned(),
        Piece::Malformed(Malformed::Length) => "no frame: dropped to the transfer's end".to_owned(),
        other => format!("{other:?}"),
    }
}
