//! Lesson 6: window and credit.
//!
//! The window field is scaled by 8 bits, closes when a program does not read, reopens when it does;
//! and who sends beyond it loses the connection.

mod show;

use show::{Cable, End, payload};
use usbmux_core::{CloseReason, Config};

pub(crate) const TITLE: &str = "window and credit";
pub(crate) const SHOWS: &str =
    "The window: scaled by 8, closing, reopening, split in two ways, overrun.";

pub(crate) fn main() {
    show::begin(6, TITLE, SHOWS);
    show::asked("and what if the receiver's program does not read at all?");
    show::answer(
        "Then the window closes, and the sender waits. The receiver keeps what is UNREAD; CREDIT \
         is what may still arrive and must find room: window minus unread.",
    );

    show::part("A window of 1100 bytes, and a program that does not read");
    let mut cable = Cable::up(Config::DONGLE, Config::PHONE);
    cable.watch = &["unread", "credit"];
    cable.connect("stream", 7, 1100);
    cable.run();
    assert_eq!(cable.last().segment().window_units, 4, "1100 >> 8");
    show::note(
        "1100 >> 8 is 4, and 4 x 256 is 1024: a window moves in steps of 256, rounded down.",
    );
    cable.host.talks[0].reads = false;
    let first = cable.send(End::Phone, 0, &payload(700));
    cable.wait(2);
    assert_eq!((cable.last().segment().ack.0, cable.last().segment().window_units), (701, 1));
    show::note(
        "324 bytes are left, and the field can only say 1 x 256: the edge went back, from 1025 to 957, which TCP forbids. All 324 would still be let in. That is all the phone may now send.",
    );
    let second = cable.send(End::Phone, 0, &payload(700));
    cable.wait(2);
    assert_eq!((first, second), (700, 256), "no more than was announced");
    assert_eq!(cable.last().segment().window_units, 0);
    let third = cable.send(End::Phone, 0, &payload(700));
    assert_eq!(third, 0);
    show::note(
        "68 bytes are left, less than a step: field 0. The phone's engine accepts no byte from its program now.",
    );

    show::part("The program reads, and the window opens");
    cable.crossed();
    cable.read(End::Host, 0, 900);
    cable.run();
    assert_eq!(cable.crossed(), ["host ACK"], "nobody asked; the news goes out by itself");
    assert_eq!(cable.last().segment().window_units, 3);
    assert_eq!(cable.send(End::Phone, 0, &payload(700)), 700);

    show::part("One edge, split in two ways");
    show::say(
        "ack + window is the EDGE: a phone sends bytes with numbers below it. There are two ways \
         to split it.",
    );
    for (config, style) in [(Config::DONGLE, "credit"), (Config::HOST, "constant")] {
        let mut cable = Cable::up(config, Config::PHONE);
        cable.opened("stream", 7, 1024);
        cable.quiet = true;
        cable.host.talks[0].reads = false;
        cable.send(End::Phone, 0, &payload(768));
        cable.read(End::Host, 0, 512);
        cable.wait(2);
        let said = cable.last().segment();
        let edge = said.ack.0 + said.window();
        show::line(format!(
            "    {style:<9} ack {:>3} + window {} x 256 = {edge}",
            said.ack, said.window_units
        ));
        assert_eq!(edge, 1 + 512 + 1024, "read bytes + window");
    }
    show::say(
        "768 bytes arrived, the program has read 512. CREDIT acknowledges what arrived and \
         announces the room that is left; CONSTANT acknowledges what was read, under a window \
         that never changes, as old daemons do. Real phones are known to work with both.",
    );

    show::part("A phone that sends beyond the window");
    let mut cable = Cable::up(Config::HOST, Config::PHONE);
    cable.watch = &["read"];
    cable.opened("other", 7, 1024);
    cable.connect("stream", 62078, 1024);
    cable.step(End::Host);
    cable.step(End::Phone);
    cable.tamper = Some((30, 0x40)); // the window's high byte
    cable.run();
    show::note("On its way that ACK was changed: the phone believes in a window of 16388 x 256.");
    cable.send(End::Phone, 1, &payload(1025));
    cable.run();
    assert_eq!(cable.host.talks[1].state, format!("Closed ({})", CloseReason::Overrun));
    cable.send(End::Phone, 0, &payload(1024));
    assert_eq!(cable.host.talks[0].read.len(), 1024, "the other connection is as it was");
    show::say(
        "One byte too many costs the connection: there is no room for it, and no way to have it \
         again. Any other connection goes on. (Real phones are said to do the same to a host.)",
    );
    show::question(
        7,
        "all connections share one cable. If one program does not read, do the others wait?",
    );
}
