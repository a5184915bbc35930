//! Lesson 8: closing without FIN: drain, RST, reasons.
//!
//! The protocol has one way to end a connection, RST, and that is destructive. So an end needs
//! care.

mod show;

use show::{Cable, End, payload};
use usbmux_core::wire::control::is_ordinary_close;
use usbmux_core::{Config, ResetReason};

pub(crate) const TITLE: &str = "closing without FIN: drain, RST, reasons";
pub(crate) const SHOWS: &str =
    "The only end is RST; a host's destroys what the phone has not read. How to end without loss.";

pub(crate) fn main() {
    show::begin(8, TITLE, SHOWS);
    show::asked("the last byte is sent. How does one say so, where TCP would send FIN?");
    show::answer(
        "One cannot say so. There is no FIN in usbmux: both directions live until an RST ends \
         both at once. Why, its makers have not told. TCP needs FIN to number the end, for on the \
         Internet it may be lost, or overtake the last bytes; here nothing does. And a phone takes \
         exactly three kinds of segment: SYN, ACK, RST; any other flags it answers with RST (`not \
         TH_ACK`, it says). What is at stake is what the other side has received and not yet read.",
    );

    show::part("RST at once: the end of the file is missing");
    let mut cable = stage();
    cable.send(End::Host, 0, &payload(3000));
    cable.abort(End::Host, 0, ResetReason::None);
    cable.run();
    assert_eq!(cable.phone.talks[0].read.len() + cable.phone.talks[0].unread.len(), 0);
    show::say(
        "All 3000 bytes arrived, then the RST; a phone drops what its program has not read. \
         (Sending an image of 4.9 GB to an emulated phone failed at 96 % for exactly that.)",
    );

    show::part("close: drain, then RST");
    let mut cable = stage();
    cable.send(End::Host, 0, &payload(3000));
    cable.close(End::Host, 0);
    cable.run();
    assert_eq!(cable.crossed(), ["host data"], "no RST yet: the state is Draining");
    cable.send(End::Phone, 0, &payload(500));
    cable.run();
    assert_eq!(cable.crossed(), ["phone data", "host ACK"], "acknowledged …");
    assert_eq!(cable.host.talks[0].read.len(), 0, "… and thrown away");
    cable.read(End::Phone, 0, 3000);
    cable.run();
    cable.wait(2);
    assert_eq!(cable.crossed(), ["phone ACK", "host RST"]);
    assert_eq!(cable.phone.talks[0].read.len(), 3000);
    assert_eq!(cable.host.talks[0].state, "Closed (all bytes acknowledged)");
    show::say(
        "The engine waits until in flight is 0, and only then sends RST. What the phone sends \
         meanwhile is thrown away, but acknowledged, since a program that blocks in writing never \
         gets to reading. This phone acknowledges what its program has read (CONSTANT, lesson 6); \
         whether a real one does, or acknowledges on arrival, nobody has told. Hosts that wait for \
         the acknowledgement are not known to lose anything.",
    );

    show::part("close, and a phone that never reads");
    let mut cable = stage();
    cable.send(End::Host, 0, &payload(3000));
    cable.close(End::Host, 0);
    cable.wait(30_000);
    assert_eq!(
        cable.host.talks[0].state,
        "Closed (the peer did not acknowledge all bytes in time)"
    );

    show::part("The phone's program has answered, and ends");
    let mut cable = stage();
    cable.host.talks[0].reads = false;
    cable.send(End::Phone, 0, &payload(1000));
    cable.abort(End::Phone, 0, ResetReason::Closed);
    cable.run();
    assert_eq!(cable.crossed(), ["phone data", "phone CONTROL", "phone RST"]);
    assert!(is_ordinary_close(cable.last().text().as_bytes()));
    cable.read(End::Host, 0, 1000);
    assert_eq!(cable.host.talks[0].read.len(), 1000, "a host keeps what it was sent");
    show::say(
        "A phone says the end twice: a CONTROL frame, in words (its type is \
         a severity: 3 error, 4 warning, 5 notice, 7 debug), and the RST. To the host's \
         program that is no error: it gets its 1000 bytes, and then end-of-file. Only the words \
         tell it from a failure:",
    );
    for text in ["sessionUpcall connection closed", "", "handleMuxTCPInput th.th_flags = …"] {
        let meaning = if is_ordinary_close(text.as_bytes()) {
            "end-of-file"
        } else {
            "an error, and its reason"
        };
        show::line(format!("    {:<45}{meaning}", format!("\"{text}\"")));
    }
    show::say(
        "And half-close, `I have sent all, now answer`? It cannot be said. Who carries TCP over \
         usbmux keeps the connection open until the phone ends it, or has been silent for long.",
    );
    show::question(
        9,
        "each frame so far ended with a packet that was not full. What if a frame has exactly 512 \
         bytes?",
    );
}

/// An open connection to a phone whose program does not read yet.
fn stage() -> Cable {
    let mut cable = Cable::up(Config::HOST, Config::PHONE);
    cable.watch = &["in flight", "unread"];
    cable.opened("upload", 7, 131_072);
    cable.phone.talks[0].reads = false;
    cable
}
