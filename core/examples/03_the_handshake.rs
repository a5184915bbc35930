//! Lesson 3: the handshake, v1 and v2.
//!
//! Two engines, one as the computer and one as the phone, agree on a version and set their frame
//! numbers.

mod show;

use show::{Cable, Detail, End};
use usbmux_core::{Config, LinkState};

pub(crate) const TITLE: &str = "the handshake, v1 and v2";
pub(crate) const SHOWS: &str =
    "Host and phone agree on a version, and begin to count their frames.";

pub(crate) fn main() {
    show::begin(3, TITLE, SHOWS);
    show::asked("how did the deframer know that these mux headers have 16 bytes, not 8?");
    show::answer(
        "It was told. The two sides agree first, in VERSION frames, and these always have the \
         short header: protocol and length, 8 bytes.",
    );

    show::part("Version 2: every phone of today");
    show::say(
        "Left the host's frames, right the phone's; in brackets what each frame changed, before \
         -> after.",
    );
    show::line("");
    let mut cable = plugged(2);
    cable.run();
    assert_eq!(cable.crossed(), ["host VERSION", "phone VERSION", "host SETUP"]);
    assert_eq!(cable.host.mux.link(), LinkState::Up { version: 2 });
    assert_eq!(cable.phone.mux.link(), LinkState::Up { version: 2 });

    show::line("\n  The host's VERSION, byte by byte:");
    let version = cable.last_named(End::Host, "VERSION");
    version.print_fields();
    assert_eq!(version.bytes.len(), 20);
    show::line("  and its SETUP, the first frame with a long header:");
    let setup = cable.last_named(End::Host, "SETUP");
    setup.print_fields();
    assert_eq!((setup.bytes.len(), setup.numbers), (17, Some((0, 0xffff))));

    show::part("The numbers at work: a connection opens");
    cable.connect("lockdownd", 62078, 131_072);
    cable.run();
    assert_eq!(cable.crossed(), ["host SYN", "phone SYN|ACK", "host ACK"]);
    assert_eq!(cable.last_named(End::Host, "SYN").numbers, Some((1, 0xffff)));
    assert_eq!(cable.last_named(End::Phone, "SYN|ACK").numbers, Some((0, 1)));
    assert_eq!(cable.last().numbers, Some((2, 0)));
    show::say(
        "tx_seq counts every frame but VERSION, each way from 0, modulo 65536; rx_seq repeats the \
         last one that arrived from the other side. SETUP starts both anew. A phone is strict: a \
         tx_seq that is not the next one is the end of the session (all since VERSION; lesson 10). So an engine numbers a frame \
         in the very moment in which it goes to USB, and never takes it back.",
    );

    show::part("Version 1: a phone from before");
    let mut cable = plugged(1);
    cable.run();
    cable.connect("lockdownd", 62078, 131_072);
    cable.run();
    let seen = cable.crossed();
    assert_eq!(seen, ["host VERSION", "phone VERSION", "host SYN", "phone SYN|ACK", "host ACK"]);
    assert_eq!((cable.last().bytes.len(), cable.last().numbers), (28, None));
    assert_eq!(cable.host.mux.link(), LinkState::Up { version: 1 });
    show::say(
        "The host offers 2, the phone answers 1, and that is that: headers of 8 bytes for ever \
         (so the ACK has 28 bytes instead of 36), no SETUP, no magic, no frame numbers.",
    );
    show::question(4, "what happens if no program listens on the phone's port?");
}

fn plugged(version: u32) -> Cable {
    let mut cable = Cable::new(Config::HOST, Config { version, ..Config::PHONE });
    cable.detail = Detail::Mux;
    cable.plug_in();
    cable
}
