//! Lesson 4: opening and refusing.
//!
//! A connection opens with TCP's three segments, or it is refused, or nobody answers.

mod show;

use show::{Cable, End};
use usbmux_core::{CloseReason, Config, RefusedBy, ResetReason};

pub(crate) const TITLE: &str = "opening and refusing";
pub(crate) const SHOWS: &str =
    "A connection opens, is refused, finds no answer; a segment finds no connection.";

pub(crate) fn main() {
    show::begin(4, TITLE, SHOWS);
    show::asked("what happens if no program listens on the phone's port?");
    show::answer(
        "The phone answers the SYN with RST, as TCP does. Here are three ways in which an opening \
         can go, and a segment that finds no connection.",
    );

    show::part("A program listens on port 62078");
    let mut cable = Cable::up(Config::HOST, Config::PHONE);
    cable.connect("lockdownd", 62078, 131_072);
    cable.run();
    assert_eq!(cable.crossed(), ["host SYN", "phone SYN|ACK", "host ACK"]);
    assert_eq!(cable.host.talks[0].state, "Established");
    assert_eq!(cable.phone.talks[0].state, "Established");
    let answer = cable.last_named(End::Phone, "SYN|ACK").segment();
    assert_eq!((answer.seq.0, answer.ack.0, answer.window_units), (0, 1, 512));
    show::say(
        "As in TCP a SYN takes a number of its own, so the first byte of payload has seq 1. Both \
         sides begin with seq 0; TCP's random start is against strangers, and there are none on a \
         cable. (In brackets: the connection's state, with RFC 793's names where it has one.) The \
         source port is one that has rested: phones are said not to take a pair of ports again \
         right after it closed.",
    );

    show::part("Nobody listens on port 4711");
    cable.connect("2nd connection", 4711, 131_072);
    cable.run();
    assert_eq!(cable.crossed(), ["host SYN", "phone RST"]);
    assert_eq!(cable.host.talks[1].state, format!("Refused ({})", RefusedBy::Reset));
    show::line("\n  That RST, byte by byte (the wording is our phone's: no real one's is known):");
    cable.last().print_fields();
    assert_eq!(cable.last().text(), "connection refused");

    show::part("The phone says nothing");
    cable.hesitate = true;
    cable.connect("3rd connection", 62078, 131_072);
    cable.run();
    cable.wait(5000);
    assert_eq!(cable.crossed(), ["host SYN", "host RST"]);
    assert_eq!(cable.host.talks[2].state, format!("Refused ({})", RefusedBy::Timeout));
    show::say(
        "The SYN is not sent again: on USB it has arrived, and a phone that does not answer has a \
         reason. After 5 seconds the engine gives up (umuxd after 4.5: its clients wait for 5), with \
         an RST, so that a late answer finds nothing.",
    );

    show::part("A segment finds no connection");
    let mut cable = Cable::up(Config::HOST, Config::PHONE);
    cable.opened("lockdownd", 62078, 131_072);
    cable.delay = true;
    cable.abort(End::Host, 0, ResetReason::None);
    cable.run();
    cable.send(End::Phone, 0, b"I have not heard of it yet");
    cable.run();
    assert_eq!(cable.crossed(), ["host RST", "phone data", "host RST"]);
    let seq = cable.last_named(End::Phone, "data").segment().seq;
    assert_eq!(cable.last().segment().ack, seq, "the RST points at what it answers");
    cable.arrive();
    assert_eq!(cable.phone.talks[0].state, format!("Closed ({})", CloseReason::Reset));
    show::say(
        "Whatever comes for a connection that is not there draws an RST with ack = its seq. An \
         RST never draws another, or the two would talk for ever.",
    );
    show::question(5, "nothing is ever sent again. What are seq and ack for, then?");
}
