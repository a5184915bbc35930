//! Lesson 11: the run loop of a shell.
//!
//! The engine reads no clock and no device. A shell does, in six steps, over and over.

mod show;

use show::{Frame, Phone, payload};
use usbmux_core::{CONTROL_FRAME, Config, Event, Instant, Mux, Received, Role, Slot, Transfer};

pub(crate) const TITLE: &str = "the run loop of a shell";
pub(crate) const SHOWS: &str =
    "Six steps drive the engine: 3000 bytes go to the phone's echo and come back.";

/// What the program wants to have echoed, in bytes.
const WANTED: usize = 3000;
/// Transfers that USB takes in one turn.
const OUT_BUFFERS: usize = 2;

pub(crate) fn main() {
    show::begin(11, TITLE, SHOWS);
    show::asked(
        "the engine has no clock, no thread and no device. Who calls it, and in which order?",
    );
    show::answer(
        "Whoever owns the clock and the device: a SHELL. It makes a turn of six steps whenever \
         USB or a program has something new, or a timer is due. This lesson's source is such a \
         shell, and it is whole.",
    );
    show::part("Turn by turn, 0.1 ms each");
    let mut mux =
        Mux::new(Role::Host, Config { max_frame: 1024, ..Config::HOST }, [Slot::EMPTY; 4]);
    let mut phone = Phone::plugged(Instant::ZERO, 512);
    let (mut open, mut to_send, mut echoed) = (None, payload(WANTED), Vec::new());
    mux.attach(Instant::ZERO, 512); // wMaxPacketSize, from the descriptor
    for turn in 0..30 {
        let now = Instant::from_micros(turn * 100);
        let (link, left) = (mux.link(), to_send.len());
        show::line(format!(
            "  turn {turn}: link {link:?}; to send {left}, echoed {}",
            echoed.len()
        ));
        let mut free = OUT_BUFFERS;
        // 1. What USB delivered goes in, slices of it come out.
        while let Some(bytes) = phone.give(now) {
            step("1 USB delivers", &bytes);
            let mut transfer = Transfer::new(&bytes);
            while let Some(received) = mux.receive(now, &mut transfer) {
                if let Received::Data { payload, .. } = received {
                    echoed.extend_from_slice(payload); // read at once; else: mux.set_held(…)
                }
            }
        }
        // 2. What happened. (A real shell looks at Refused, Closed, SessionDead, LinkFailed, too.)
        while let Some(event) = mux.poll_event(now) {
            show::line(format!("      {:<16}{event:?}", "2 event"));
            match event {
                Event::LinkUp { .. } => open = mux.connect(now, 7, 131_072).ok(),
                Event::Connected { conn } => assert_eq!(open, Some(conn)),
                _ => {}
            }
        }
        // 3. Frames of the engine's own, while USB takes them.
        let mut buf = [0; CONTROL_FRAME];
        while free > 0
            && let Some(frame) = mux.poll_transmit(now, &mut buf)
        {
            step("3 own frame", &buf[..frame.len]);
            phone.take(now, &buf[..frame.len]);
            free -= 1;
        }
        // 4. Payload: behind the headroom, in the buffer that goes to USB.
        while free > 0
            && let Some(conn) = open
        {
            let len = mux.sendable(conn).min(to_send.len());
            let mut frame = vec![0; mux.headroom() + len];
            frame[mux.headroom()..].copy_from_slice(&to_send[..len]);
            let Ok(sent) = mux.send_in_place(now, conn, &mut frame, len) else { break };
            frame.truncate(mux.headroom() + sent.taken);
            to_send.drain(..sent.taken); // a byte that was trimmed away stays in front
            step("4 payload", &frame);
            phone.take(now, &frame);
            free -= 1;
        }
        // 5. Timers.
        mux.tick(now);
        // 6. Sleep, until USB, a program, or a timer.
        let due = mux.next_tick().map(|due| format!("at most {:?}", due - now));
        show::line(format!(
            "      {:<16}{}",
            "6 sleep",
            due.unwrap_or("until something comes".to_owned())
        ));
        if echoed.len() == WANTED {
            break;
        }
    }
    assert!(echoed == payload(WANTED), "every byte, in order");
    show::say(
        "Two rules. Ask for a frame only when USB can take one (steps 3 and 4 stop at 2 \
         transfers): it is numbered in that moment, and lesson 10 has shown what becomes of a \
         numbered frame that does not arrive. And never leave USB unread because some program \
         does not read: lesson 7.",
    );
    show::question(
        12,
        "this shell holds whole frames. What if there is only room for a packet of 64 bytes?",
    );
}

fn step(what: &str, bytes: &[u8]) {
    show::line(format!("      {what:<16}{} bytes: {}", bytes.len(), Frame::parse(bytes).name()));
}
