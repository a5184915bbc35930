//! Lesson 1: a header.
//!
//! The 36 bytes that open a connection, field by field, parsed with the floor
//! [`wire`](usbmux_core::wire) and put together again.

mod show;

use show::field;
use usbmux_core::SeqNumber;
use usbmux_core::wire::{Flags, HeaderV2, Magic, Protocol, TcpHeader};

pub(crate) const TITLE: &str = "a header";
pub(crate) const SHOWS: &str = "The 36 bytes with which a computer opens a connection to a phone.";

/// What a host sends first to reach lockdownd, the phone's port 62078. All numbers are big-endian.
const FRAME: [u8; 36] = [
    0x00, 0x00, 0x00, 0x06, 0x00, 0x00, 0x00, 0x24, 0xfe, 0xed, 0xfa, 0xce, 0x00, 0x01, 0xff, 0xff,
    // The mux header ends here, and a TCP header follows.
    0x00, 0x01, 0xf2, 0x7e, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x50, 0x02, 0x02, 0x00,
    0x00, 0x00, 0x00, 0x00,
];

pub(crate) fn main() {
    show::begin(1, TITLE, SHOWS);
    show::say(
        "An iPhone's cable carries USB, and one of the phone's USB interfaces has two bulk \
         endpoints: a pipe of bytes towards the phone, and one back. usbmux is what is spoken \
         there: many connections to the phone's ports over that one pair of pipes. Its unit is \
         the FRAME: a mux header, and most often a SEGMENT of what looks like TCP, with PAYLOAD \
         behind it. USB gives these pipes what IP never gave TCP: it checks every packet, and \
         loses, repeats and reorders nothing. (What does get lost is lost by software at either \
         end.)",
    );

    let (mux, rest) = FRAME.split_first_chunk().expect("16 bytes");
    let mux = HeaderV2::parse(mux);
    show::part("The mux header: 16 bytes");
    field(
        &FRAME[0..4],
        "protocol",
        "6: TCP. Others: 0 VERSION, 1 CONTROL (a remark in words), 2 SETUP",
    );
    field(&FRAME[4..8], "length", format!("{} bytes, both headers included", mux.length));
    field(&FRAME[8..12], "magic", "a host speaks; a phone would say faceface");
    field(
        &FRAME[12..14],
        "tx_seq",
        format!("{}: the number of this frame among all of ours", mux.tx_seq),
    );
    field(&FRAME[14..16], "rx_seq", "ffff: no frame of the phone's has arrived yet");
    assert_eq!((mux.protocol, mux.length), (Protocol::TCP, 36));
    assert_eq!((mux.magic, mux.tx_seq, mux.rx_seq), (Magic::HOST, 1, 0xffff));

    let tcp = TcpHeader::parse(rest.first_chunk().expect("20 bytes"));
    show::part("The segment: a TCP header of 20 bytes, as RFC 793 draws it");
    field(&FRAME[16..18], "source port", format!("{}, chosen by the host", tcp.source));
    field(&FRAME[18..20], "dest port", format!("{}: lockdownd, the phone's doorman", tcp.dest));
    field(&FRAME[20..24], "seq", tcp.seq);
    field(&FRAME[24..28], "ack", tcp.ack);
    field(
        &FRAME[28..29],
        "data offset",
        format!("{} words of 4 bytes: options never follow", tcp.data_offset_words),
    );
    field(&FRAME[29..30], "flags", format!("{}: open a connection", tcp.flags));
    field(
        &FRAME[30..32],
        "window",
        format!("{} units of 256 = {} bytes", tcp.window_units, tcp.window()),
    );
    field(&FRAME[32..34], "checksum", "0: USB has checked the bytes");
    field(&FRAME[34..36], "urgent", "0: nothing is ever urgent");
    let syn = TcpHeader::new((1, 62078), SeqNumber(0), SeqNumber(0), Flags::SYN, 0x0200);
    assert_eq!(tcp, syn);
    assert_eq!(tcp.window(), 131_072);
    assert_eq!([mux.emit().as_slice(), &tcp.emit()].concat(), FRAME, "and back again");

    show::part("What surprises somebody who knows TCP");
    show::say(
        "The window field says 512 and means 131072: it counts in steps of 256 bytes (it is the \
         window shifted right by 8), in every segment, and nobody ever negotiates that. A tool \
         that knows only TCP shows 512. And there are two sequence numbers: tx_seq counts frames \
         on the cable, seq counts payload bytes of one connection. A wrong seq costs a \
         connection; a wrong tx_seq costs them all (lesson 10).",
    );
    show::question(2, "the length field says 36. Is that how each side knows where a frame ends?");
}
