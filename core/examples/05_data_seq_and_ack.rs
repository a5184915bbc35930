//! Lesson 5: data, seq and ack.
//!
//! Payload moves, is counted, and is acknowledged: not because it could get lost, but because the
//! receiver has only so much room.

mod show;

use show::{Cable, End, payload};
use usbmux_core::{CloseReason, Config};

pub(crate) const TITLE: &str = "data, seq and ack";
pub(crate) const SHOWS: &str =
    "Payload is numbered and acknowledged; one wrong flag, or one lost frame, ends it.";

pub(crate) fn main() {
    show::begin(5, TITLE, SHOWS);
    show::asked("nothing is ever sent again. What are seq and ack for, then?");
    show::answer(
        "For flow control, and for that alone: next seq minus last ack = bytes IN FLIGHT, which \
         the receiver has not yet dealt with. That figure must stay within the receiver's window.",
    );

    show::part("A question of 5 bytes, an answer of 1000");
    let mut cable = Cable::up(Config::HOST, Config::PHONE);
    cable.watch = &["in flight"];
    cable.opened("echo", 7, 131_072);
    cable.send(End::Host, 0, b"hello");
    assert_eq!(cable.last().segment().seq.0, 1);
    cable.run();
    cable.send(End::Phone, 0, &payload(1000));
    cable.run();
    assert_eq!(cable.crossed(), ["host data", "phone data"], "no acknowledgement of its own yet");
    assert_eq!(cable.last().segment().ack.0, 6);
    assert_eq!(cable.host.mux.unacknowledged(cable.host.talks[0].conn), 0);
    cable.wait(2);
    assert_eq!(cable.crossed(), ["host ACK"]);
    assert_eq!(cable.last().segment().ack.0, 1001);
    show::say(
        "seq 1 with 5 bytes makes the next seq 6, and so the answer says ack 6: a frame with \
         payload acknowledges for free. Where none goes out, our engine sends an ACK of its own: \
         at once for two frames of data, or if the peer has less than half its window left, else \
         after 2 ms. An ACK is never acknowledged: two engines that did that would never stop.",
    );

    show::part("Two frames in a row");
    cable.send(End::Phone, 0, &payload(1000));
    cable.run();
    cable.send(End::Phone, 0, &payload(1000));
    cable.run();
    assert_eq!(cable.crossed(), ["phone data", "phone data", "host ACK"]);
    assert_eq!(cable.last().segment().ack.0, 3001);

    show::part("The flags of data are exactly ACK");
    cable.tamper = Some((29, 0x18)); // byte 13 of the TCP header
    cable.send(End::Host, 0, b"pushed");
    cable.run();
    assert_eq!(cable.crossed(), ["host PSH|ACK", "phone RST"]);
    assert_eq!(cable.last().text(), "handleMuxTCPInput th.th_flags = 0x18, not TH_ACK(0x10)");
    assert_eq!(cable.host.talks[0].state, format!("Closed ({})", CloseReason::Reset));
    show::say("TCP sets PSH on nearly everything. A real phone answers with this very text.");

    show::part("A frame of the phone's is lost");
    let mut cable = Cable::up(Config::HOST, Config::PHONE);
    cable.opened("echo", 7, 131_072);
    cable.lose = 1;
    cable.send(End::Phone, 0, &payload(700));
    cable.send(End::Phone, 0, &payload(300));
    cable.run();
    assert_eq!(cable.crossed(), ["phone data", "phone data", "host RST"]);
    assert_eq!(cable.host.talks[0].state, format!("Closed ({})", CloseReason::Gap));
    assert_eq!(cable.host.talks[0].read, b"", "nothing behind a gap is delivered");
    show::say(
        "Expected was seq 1, and it says 701: 700 bytes are gone, and nobody has kept them. TCP \
         would ask again; here the honest answer is the end of this connection. The host forgives \
         the hole in the phone's tx_seq (a phone would not, the other way round: lesson 10).",
    );
    show::question(6, "and what if the receiver's program does not read at all?");
}
