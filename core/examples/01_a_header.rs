//! Lesson 1: a header.
//!
//! Everything between a computer and an iPhone's cable is a *frame*: a mux header, and a body. Here is
//! the first segment that opens a connection, byte by byte, and the number in it that surprises
//! everybody who knows TCP.

use usbmux_core::SeqNumber;
use usbmux_core::wire::{Flags, HeaderV2, Magic, Protocol, TcpHeader};

fn main() {
    // 36 bytes, big-endian: what a host sends to reach lockdownd, port 62078.
    let frame: [u8; 36] = [
        0x00, 0x00, 0x00, 0x06, 0x00, 0x00, 0x00, 0x24, 0xfe, 0xed, 0xfa, 0xce, 0x00, 0x01, 0xff,
        0xff, // the mux header ends here; the TCP header follows
        0x00, 0x01, 0xf2, 0x7e, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x50, 0x02, 0x02,
        0x00, 0x00, 0x00, 0x00, 0x00,
    ];
    let (mux, tcp) = frame.split_first_chunk().expect("16 bytes");
    let mux = HeaderV2::parse(mux);
    let tcp = TcpHeader::parse(tcp.first_chunk().expect("20 bytes"));

    println!("the mux header: {mux}");
    field(&frame[0..4], "protocol", mux.protocol);
    field(&frame[4..8], "length", format!("{} bytes, this header included", mux.length));
    field(&frame[8..12], "magic", "a host speaks (a phone would say faceface)");
    field(&frame[12..14], "tx_seq", format!("frame {} of ours; SETUP was frame 0", mux.tx_seq));
    field(&frame[14..16], "rx_seq", "no frame of the phone's has arrived");
    println!("the pseudo-TCP header: {tcp}");
    field(&frame[16..20], "ports", format!("{} -> {}", tcp.source, tcp.dest));
    field(&frame[20..28], "seq, ack", format!("{}, {}", tcp.seq, tcp.ack));
    field(&frame[28..29], "data offset", format!("{} words, no options", tcp.data_offset_words));
    field(&frame[29..30], "flags", tcp.flags);
    field(
        &frame[30..32],
        "window",
        format!("{} units of 256 = {}", tcp.window_units, tcp.window()),
    );
    field(&frame[32..36], "checksum, urgent", "nobody looks at them");

    assert_eq!((mux.protocol, mux.length), (Protocol::TCP, 36));
    assert_eq!((mux.magic, mux.tx_seq, mux.rx_seq), (Magic::HOST, 1, 0xffff));
    let syn = TcpHeader::new((1, 62078), SeqNumber(0), SeqNumber(0), Flags::SYN, 0x0200);
    assert_eq!(tcp, syn);
    assert_eq!(tcp.window(), 131_072);
    assert_eq!([mux.emit().as_slice(), &tcp.emit()].concat(), frame, "and back again");

    println!(
        "\nThe field says 512, the window is 131072: it is scaled by 8 bits, always, and nobody"
    );
    println!("ever negotiates that.");
    println!(
        "\nQuestion: the length field says 36. Is that how the phone knows where a frame ends?"
    );
    println!("Lesson 2 answers.");
}

fn field(bytes: &[u8], name: &str, meaning: impl std::fmt::Display) {
    let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    println!("  {:<24} {name:<17} {meaning}", hex.join(" "));
}
