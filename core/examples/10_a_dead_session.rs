//! Lesson 10: a dead session and its repair.
//!
//! One frame that was numbered and did not arrive kills the session; the engine notices in two
//! ways, and begins anew.

mod show;

use show::{Cable, Detail, End};
use usbmux_core::{CloseReason, Config, LinkState};

pub(crate) const TITLE: &str = "a dead session and its repair";
pub(crate) const SHOWS: &str =
    "How a session dies, how one sees that it is dead, and how it comes back.";

pub(crate) fn main() {
    show::begin(10, TITLE, SHOWS);
    show::asked("a frame was lost, and the phone called the session dead. What now?");
    show::answer(
        "VERSION again, and everything from the start. But first one has to notice. A SESSION is \
         what lies between one VERSION and the next: the frame numbers of both sides, and all \
         connections. It dies when a frame has got its number and does not arrive: a USB transfer \
         that failed, a program that was stopped in between, a lost ZLP.",
    );

    show::part("The phone says so");
    let mut cable = killed();
    cable.step(End::Phone);
    assert_eq!(cable.crossed(), ["host data", "host data", "phone CONTROL"]);
    assert!(cable.last().text().starts_with("detected duplicate packet. Expected "));
    let end = format!("Closed ({})", CloseReason::SessionDead);
    assert_eq!(cable.host.talks[0].state, end);
    show::say(
        "It calls a gap a duplicate; either way the number is not the next one. From here on a \
         phone takes nothing more, while it stays on the bus, listed and dead: other daemons wait \
         there until somebody pulls the cable. Our engine ends every connection with the reason, \
         and greets again:",
    );
    show::line("");
    cable.run();
    assert_eq!(cable.crossed(), ["host VERSION", "phone VERSION", "host SETUP"]);
    cable.connect("again", 7, 131_072);
    cable.run();
    assert_eq!(cable.host.talks[1].state, "Established");

    show::part("The phone does not say so");
    let mut cable = killed();
    cable.lose = 1;
    cable.step(End::Phone);
    show::note(
        "Nobody has heard the complaint. But rx_seq tells: it stands still behind our tx_seq.",
    );
    cable.wait(1001);
    cable.send(End::Phone, 0, b"tick");
    assert_eq!(cable.host.mux.link(), LinkState::Up { version: 2 }, "once may be chance");
    cable.send(End::Phone, 0, b"tock");
    assert_eq!(cable.host.talks[0].state, end);
    cable.run();
    assert_eq!(cable.host.mux.link(), LinkState::Up { version: 2 });
    show::say(
        "Two frames of the phone's in a row that do not know of a frame that is more than a \
         second old: that is a dead session too.",
    );

    show::part("The phone does not answer VERSION");
    let mut cable = killed();
    cable.step(End::Phone);
    cable.lose = 3;
    cable.run();
    cable.wait(2500);
    cable.wait(2500);
    cable.wait(2500);
    assert_eq!(cable.host.mux.link(), LinkState::Failed);
    show::say(
        "Three times 2.5 seconds, then the engine gives up and its shell is to reset the port (as \
         if the cable had been pulled), and if that fails too, to detach the phone where \
         everybody sees it. What must never be is a phone that is listed and dead. Nobody has \
         told yet whether a VERSION alone revives every real phone.",
    );
    show::question(
        11,
        "the engine has no clock, no thread and no device. Who calls it, and in which order?",
    );
}

/// An open connection, and a frame of the host's that was numbered and lost.
fn killed() -> Cable {
    let mut cable = Cable::up(Config::HOST, Config::PHONE);
    cable.opened("echo", 7, 131_072);
    cable.quiet = true;
    cable.send(End::Phone, 0, b"hello");
    cable.quiet = false;
    cable.crossed();
    cable.detail = Detail::Mux;
    cable.lose = 1;
    cable.send(End::Host, 0, b"one");
    cable.send(End::Host, 0, b"two");
    cable
}
