//! Lesson 7: a slow reader beside a fast one.
//!
//! Two connections, one cable: the one whose program does not read stops, the other does not
//! notice.

mod show;

use show::{Cable, End, payload};
use usbmux_core::Config;

pub(crate) const TITLE: &str = "a slow reader beside a fast one";
pub(crate) const SHOWS: &str =
    "One program stops reading: its connection waits, and no other does.";

/// The window of each connection, in bytes.
const WINDOW: u32 = 4096;
/// What the phone has for each of them.
const WANTED: usize = 12_288;
/// The phone sends at most so much of one connection before it turns to the other.
const TURN: usize = 2048;

pub(crate) fn main() {
    show::begin(7, TITLE, SHOWS);
    show::asked(
        "all connections share one cable. If one program does not read, do the others wait?",
    );
    show::answer(
        "No, as long as the host never stops reading USB. USB can only be stopped for all (the \
         phone's packets are not taken, it must wait); the window stops one. So whoever serves a \
         phone gives out windows that it has memory for, and then takes every byte at once, \
         whoever it is for.",
    );

    show::part(&format!(
        "Two connections, window {WINDOW} each; the program of `slow` does not read"
    ));
    let mut cable = Cable::up(Config::DONGLE, Config::PHONE);
    cable.watch = &["unread", "credit", "read"];
    cable.opened("slow", 7, WINDOW);
    cable.opened("fast", 62078, WINDOW);
    cable.host.talks[0].reads = false;
    let mut left = [payload(WANTED), payload(WANTED)];
    show::say("The first turn, frame by frame:");
    show::line("");
    let sent = turn(&mut cable, &mut left);
    assert_eq!(cable.crossed(), ["phone data", "phone data", "host ACK", "host ACK"]);
    show::say("The same in a row of a table, and five more turns:");
    show::line("");
    show::line("             slow                                      fast");
    show::line("    turn   sent   window     unread   credit         sent   window       read");
    row(1, sent, &cable);
    cable.quiet = true;
    for number in 2..=6 {
        row(number, turn(&mut cable, &mut left), &cable);
    }
    let (slow, fast) = (&cable.host.talks[0], &cable.host.talks[1]);
    assert_eq!(slow.unread.len() as u32, WINDOW, "stopped by its own window, to the byte");
    assert_eq!(fast.read.len(), WANTED, "all of it");
    assert_eq!(cable.host.mux.credit(slow.conn), 0);
    show::say(
        "`sent` is what the phone sent in this turn, `window` what the host announced last, in \
         bytes. At every moment unread + credit is no more than the window: that is all the \
         memory that this connection can ever take, whatever the phone does.",
    );

    show::part("The program of `slow` reads again");
    cable.host.talks[0].reads = true;
    cable.read(End::Host, 0, WINDOW as usize);
    cable.run();
    for number in 7..=10 {
        row(number, turn(&mut cable, &mut left), &cable);
    }
    let [slow, fast] = [0, 1].map(|at| cable.host.talks[at].read.len());
    assert_eq!((slow, fast), (WANTED, WANTED));
    assert!(cable.host.talks[0].read == payload(WANTED), "every byte, in order");
    show::say("Nothing was lost, nothing was sent twice, and nobody but `slow` has waited.");
    show::question(8, "the last byte is sent. How does one say so, where TCP would send FIN?");
}

/// The phone sends what each window allows, the host acknowledges.
fn turn(cable: &mut Cable, left: &mut [Vec<u8>; 2]) -> [usize; 2] {
    let sent = [0, 1].map(|at| {
        let some = left[at].len().min(TURN);
        let sent = cable.send(End::Phone, at, &left[at][..some]);
        left[at].drain(..sent);
        sent
    });
    cable.wait(2);
    sent
}

fn row(number: u32, sent: [usize; 2], cable: &Cable) {
    let window = |at: usize| cable.announced([7, 62078][at]).map_or(0, |tcp| tcp.window());
    let (slow, fast) = (&cable.host.talks[0], &cable.host.talks[1]);
    show::line(format!(
        "    {number:>4}   {:>4}   {:>6}     {:>6}   {:>6}         {:>4}   {:>6}     {:>6}",
        sent[0],
        window(0),
        slow.unread.len(),
        cable.host.mux.credit(slow.conn),
        sent[1],
        window(1),
        fast.read.len(),
    ));
}
