//! Lesson 2: any slicing.
//!
//! USB delivers transfers; drivers deliver them in whatever pieces their buffers allow. The deframer
//! finds the same frames in all of them, holds at most one header, and never copies a payload. And a
//! phone ends a message where the *transfer* ends, not where the length field says.

use usbmux_core::SeqNumber;
use usbmux_core::deframe::{Deframer, Form, Malformed, Piece, Transfer};
use usbmux_core::wire::{Flags, HeaderV2, Magic, Protocol, TcpHeader};

fn main() {
    let frame = segment(b"twelve bytes");
    println!("one frame of {} bytes, 12 of them payload, in reads of", frame.len());
    for slice in [frame.len(), 64, 40, 7, 1] {
        let mut deframer = Deframer::new(Form::V2);
        let (mut pieces, mut payload) = (0, Vec::new());
        let mut reads = frame.chunks(slice).peekable();
        while let Some(read) = reads.next() {
            // A read that USB filled to the last byte may be followed by more of the same transfer.
            let mut transfer = match reads.peek() {
                Some(_) => Transfer::part(read),
                None => Transfer::new(read),
            };
            while let Some(piece) = deframer.next(&mut transfer) {
                if let Piece::Body { bytes, .. } = piece {
                    pieces += 1;
                    payload.extend_from_slice(bytes);
                }
            }
        }
        println!("  {slice:>2} bytes: payload in {pieces:>2} pieces: {:?}", text(&payload));
        assert_eq!(payload, b"twelve bytes");
    }

    println!("\na frame and three stray bytes in one transfer, as some phones send them:");
    let mut bytes = segment(b"hi");
    bytes.extend([0xaa, 0xbb, 0xcc]);
    let found = all(&bytes);
    println!("  {found:?}");
    assert_eq!(found, ["segment", "body", "trailing bytes, dropped"]);

    println!("\na transfer that ends before its frame does:");
    let found = all(&frame[..40]);
    println!("  {found:?}");
    assert_eq!(found, ["segment", "body", "cut short: the rest is gone for ever"]);

    println!("\na frame of 66000 bytes, which nobody may send:");
    let mut bytes = segment(b"");
    bytes[4..8].copy_from_slice(&66_000u32.to_be_bytes());
    let found = all(&bytes);
    println!("  {found:?}");
    assert_eq!(found, ["not a frame, transfer skipped"]);

    println!("\nQuestion: how does the engine know that these headers are 16 bytes long, not 8?");
    println!("Lesson 3 answers.");
}

fn segment(payload: &[u8]) -> Vec<u8> {
    let tcp = TcpHeader::new((62078, 1), SeqNumber(1), SeqNumber(1), Flags::ACK, 0x0200);
    let length = (16 + 20 + payload.len()) as u32;
    let (protocol, magic) = (Protocol::TCP, Magic::PHONE);
    let mux = HeaderV2 { protocol, length, magic, tx_seq: 0, rx_seq: 1 };
    [mux.emit().as_slice(), &tcp.emit(), payload].concat()
}

fn all(bytes: &[u8]) -> Vec<&'static str> {
    let (mut deframer, mut transfer) = (Deframer::new(Form::V2), Transfer::new(bytes));
    let pieces = std::iter::from_fn(|| deframer.next(&mut transfer));
    pieces
        .map(|piece| match piece {
            Piece::Segment { .. } => "segment",
            Piece::Body { .. } => "body",
            Piece::Trailing => "trailing bytes, dropped",
            Piece::Truncated => "cut short: the rest is gone for ever",
            Piece::Malformed(Malformed::Length) => "not a frame, transfer skipped",
            _ => "something that nobody sent",
        })
        .collect()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("it was text")
}
