//! Lesson 9: ZLP and the 65535 cap.
//!
//! A phone ends a message at a packet that is not full. A frame that fills its last packet needs a
//! zero-length packet (ZLP) behind it, or must not be that long.

mod show;

use show::{Cable, End, Message, OutEndpoint, payload};
use usbmux_core::{Config, LinkState, Transfer, Zlp};

pub(crate) const TITLE: &str = "ZLP and the 65535 cap";
pub(crate) const SHOWS: &str =
    "Why a zero-length packet exists, what its loss does, and how to never need one.";

/// wMaxPacketSize at high speed, in bytes.
const PACKET: usize = 512;

pub(crate) fn main() {
    show::begin(9, TITLE, SHOWS);
    show::asked(
        "each frame so far ended with a packet that was not full. What if a frame has exactly 512 \
         bytes?",
    );
    show::answer(
        "USB cuts a transfer into packets of wMaxPacketSize (64 bytes at full speed, 512 at high \
         speed), and the other side sees nothing else: to it the transfer ends with the first \
         packet that is not full. 512 bytes fill their packet. So an empty one must follow, the \
         zero-length packet, ZLP: it carries nothing and says `that was all`.",
    );

    show::part("The ZLP is sent");
    let (mut cable, mut usb) = stage(Zlp::Explicit);
    assert!(usb.carry(&mut cable, 476, true).is_some());

    show::part("The ZLP gets lost: some drivers and virtual machines forget it");
    assert_eq!(usb.carry(&mut cable, 476, false), None, "the phone waits");
    let glued = usb.carry(&mut cable, 5, true);
    assert_eq!(glued, Some(512 + 41), "two frames in one message");
    usb.carry(&mut cable, 5, true);
    cable.run();
    assert_eq!(cable.phone.mux.link(), LinkState::Up { version: 2 }, "after a new VERSION");
    assert_eq!(cable.host.mux.stats().dead_sessions, 1);
    show::say(
        "The phone believes the transfer's end, not the length field: it takes the first frame of \
         the message and drops what is behind it. With that a tx_seq is missing, and the session \
         is dead: all of its connections end, for one packet without content.",
    );

    show::part("All ZLPs get lost, and the message grows to 65536 bytes");
    let (mut cable, mut usb) = stage(Zlp::Explicit);
    let mut frames = 0;
    while let Some((frame, sent)) = cable.numbered(End::Host, 0, &payload(476)) {
        assert!(sent.needs_zlp);
        frames += 1;
        if usb.take(&frame, false) == Message::TooLarge {
            break;
        }
    }
    assert_eq!(frames * PACKET, 65536);
    show::line(format!(
        "  host >        {frames} frames of 512 bytes; packets {frames} x 512, ALL ZLPs LOST"
    ));
    show::line("                         [phone: the read buffer of 65536 bytes is full]");
    show::say(
        "A real phone then says, in a CONTROL frame: `asyncReadComplete, message was too large \
         (65536 bytes, max = 65535)`. Nobody had sent anything of that size. A frame has at most \
         65535 bytes; what fills the buffer is no frame but many, glued together.",
    );

    show::part("Trimmed: the frame is made one byte shorter");
    let (mut cable, mut usb) = stage(Zlp::Trim);
    let (frame, sent) = cable.numbered(End::Host, 0, &payload(476)).expect("room");
    assert_eq!((frame.len(), sent.taken, sent.needs_zlp), (511, 475, false));
    assert_eq!(usb.take(&frame, false), Message::Whole(frame.clone()));
    show::line(
        "  host >        476 bytes to send, the engine takes 475: one packet of 511, no ZLP",
    );
    show::note("The last byte goes with the next frame. What the engine offers for one frame:");
    for (max_frame, expected) in [(49152, 49115), (65535, 65499)] {
        let mut cable = Cable::up(Config { max_frame, ..Config::HOST }, Config::PHONE);
        cable.opened("upload", 7, 131_072);
        let most = cable.host.mux.sendable(cable.host.talks[0].conn);
        show::line(format!(
            "    longest frame {max_frame}: payload {most}, header 36, together {}",
            36 + most
        ));
        assert_eq!((most, (36 + most).is_multiple_of(PACKET)), (expected, false));
    }
    let mut empty = Transfer::new(&[]);
    assert_eq!(cable.host.mux.receive(cable.now, &mut empty), None);
    show::say(
        "(49152 is 96 x 512, so it is a byte less; 65535 is odd, and a multiple of no packet \
         size.) All other frames of a host have 17, 20 or 36 bytes (28 in version 1), so no ZLP \
         is ever needed, and none can get lost: this is the default. A phone's own ZLP shows as a \
         read of 0 bytes, and the engine makes nothing of it.",
    );
    show::question(10, "a frame was lost, and the phone called the session dead. What now?");
}

fn stage(zlp: Zlp) -> (Cable, OutEndpoint) {
    let mut cable = Cable::up(Config { zlp, ..Config::HOST }, Config::PHONE);
    cable.opened("upload", 7, 131_072);
    cable.detail = show::Detail::Mux;
    (cable, OutEndpoint::new(PACKET))
}
