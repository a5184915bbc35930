#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
use super::*;
use fastrand::Rng;
use usbmux_phone::DISCARD;

/// Steps that nobody's wish takes.
const STEPS: usize = 500;

fn lab(setup: &Setup) -> Lab {
    let mut lab = Lab::new(setup);
    lab.act(Action::PlugIn);
    live(&mut lab);
    lab
}

fn explicit() -> Setup {
    Setup { explicit_zlp: true, ..Setup::default() }
}

/// Steps until nothing happens any more; what was to be seen.
fn live(lab: &mut Lab) -> Vec<Row> {
    let mut steps = 0;
    while lab.step() {
        steps += 1;
        assert!(steps < STEPS, "it goes on for ever");
    }
    lab.take_rows()
}

/// Does something, and lives on.
fn after(lab: &mut Lab, actions: &[Action]) -> Vec<Row> {
    for action in actions {
        lab.act(*action);
    }
    live(lab)
}

fn labels(rows: &[Row]) -> Vec<&str> {
    let is_message = |row: &&Row| matches!(row.what, What::Message(..));
    rows.iter().filter(is_message).map(|row| row.label.as_str()).collect()
}

fn says(rows: &[Row], words: &str) -> bool {
    rows.iter().any(|row| row.sentence.contains(words))
}

#[test]
fn a_first_contact_is_told_frame_by_frame() {
    let mut lab = Lab::new(&Setup::default());
    let rows = after(&mut lab, &[Action::PlugIn]);
    assert_eq!(labels(&rows), ["VERSION 2", "VERSION 2", "SETUP"]);
    let rows = after(&mut lab, &[Action::Send(5)]);
    assert_eq!(
        labels(&rows)[..4],
        ["#1 SYN win 16", "#0 SYN|ACK win 512", "#2 ACK win 16", "#3 data 5 B win 16"]
    );
    let last = rows.last().unwrap();
    assert_eq!((last.lines[0].sent, last.lines[0].read), (5, 5));
    assert_eq!(last.view.connections[0].to_phone.in_flight(), 0);
    let rows = after(&mut lab, &[Action::Close]);
    assert!(says(&rows, "there is no FIN"), "{rows:#?}");
    assert!(
        says(&rows, "all that it sent is acknowledged") && !says(&rows, "is lost"),
        "{rows:#?}"
    );
    assert_eq!(rows.last().unwrap().view.connections[0].phone, State::Closed);
    let rows = after(&mut lab, &[Action::Open(22)]);
    assert!(says(&rows, "The phone refuses the connection"));
}

#[test]
fn a_program_that_stops_reading_closes_the_window_and_opens_it_again() {
    let mut lab = lab(&Setup::default());
    let rows = after(&mut lab, &[Action::Ask(1000)]);
    assert!(labels(&rows).last().unwrap().ends_with("ACK win 0"), "{:?}", labels(&rows));
    let line = *lab.lines().last().unwrap();
    assert_eq!(line.read, 1000);
    assert!(line.held > 4096 - 256 && line.held <= 4096);
    let rows = after(&mut lab, &[Action::Ask(2000)]);
    assert!(says(&rows, "opens its window again") || says(&rows, "has room for"));
    assert_eq!(lab.lines().last().unwrap().read, 3000);
}

#[test]
fn a_phone_that_overruns_loses_that_connection_only() {
    let mut lab = lab(&Setup::default());
    after(&mut lab, &[Action::Open(ECHO)]);
    after(&mut lab, &[Action::Ask(1000)]);
    let rows = after(&mut lab, &[Action::Overrun(true), Action::Ask(300)]);
    assert!(says(&rows, "beyond the window that it was granted"), "{:?}", labels(&rows));
    assert!(says(&rows, "the phone sent more than its window allowed"));
    let first = rows.iter().find(|row| row.label.contains("RST")).unwrap();
    assert!(first.sentence.contains("more than it was granted"), "{}", first.sentence);
    assert!(says(&rows, "stood in the phone's queue") && says(&rows, "each time one comes"));
    let states: Vec<State> = lab.lines().iter().map(|line| line.state).collect();
    assert_eq!(states, [State::Established, State::Closed]);
}

#[test]
fn a_phone_that_heeds_the_window_is_never_said_to_overrun_it() {
    for window in [256, 1024, 4096, 65536] {
        let mut lab = lab(&Setup { window, ..Setup::default() });
        let rows = after(&mut lab, &[Action::Ask(9_999)]);
        assert!(!says(&rows, "beyond the window"), "{window}");
    }
}

#[test]
fn a_zlp_is_sent_or_never_needed_or_lost() {
    let mut with = lab(&explicit());
    after(&mut with, &[Action::Open(ECHO)]);
    let rows = after(&mut with, &[Action::Send(28)]);
    assert!(labels(&rows).iter().any(|label| label.ends_with("data 28 B win 16: 64 + ZLP")));
    let mut without = lab(&Setup::default());
    after(&mut without, &[Action::Open(ECHO)]);
    let rows = after(&mut without, &[Action::Send(28)]);
    let sent: Vec<&str> =
        labels(&rows).into_iter().filter(|label| label.contains("data")).collect();
    assert!(
        sent[0].contains("data 27 B") && says(&rows, "never needs an empty packet"),
        "{sent:?}"
    );
    assert_eq!(without.lines()[0].read, 28);
    let rows = after(&mut with, &[Action::LoseZlp, Action::Send(28)]);
    assert!(says(&rows, "still waits for the end of the message"));
    let rows = after(&mut with, &[Action::Send(10)]);
    assert!(labels(&rows).contains(&"2 frames stuck together: 64 + 46"), "{:?}", labels(&rows));
    assert!(says(&rows, "detected duplicate packet") && says(&rows, "finds the session dead"));
    assert_eq!(rows.last().unwrap().view.host, Link::Up, "it mends itself");
}

#[test]
fn a_lost_frame_kills_the_session_and_a_lost_message_of_the_phones_its_connection() {
    let mut lab = lab(&Setup::default());
    after(&mut lab, &[Action::Open(ECHO)]);
    let rows = after(&mut lab, &[Action::LoseOut, Action::Send(10)]);
    assert!(rows.iter().any(|row| matches!(row.what, What::Message(_, Fate::Lost))));
    assert!(says(&after(&mut lab, &[Action::Send(10)]), "detected duplicate packet"));
    after(&mut lab, &[Action::Open(ECHO)]);
    let rows = after(&mut lab, &[Action::LoseIn, Action::Send(10), Action::Send(10)]);
    assert!(rows.iter().any(|row| matches!(row.what, What::Message(_, Fate::Lost))));
    let rows = after(&mut lab, &[Action::Send(10)]);
    let over = says(&rows, "nothing is ever sent twice") || lab.lines().last().unwrap().read < 30;
    assert!(over, "{rows:#?}");
}

#[test]
fn a_bit_that_turns_over_shows_according_to_its_field() {
    let fates = [
        (Field::Payload, "The phone sends 20 bytes"),
        (Field::Seq, "The phone ends this connection"),
        (Field::Flags, "th_flags = 0x18"),
        (Field::TxSeq, "detected duplicate packet"),
        (Field::Length, "drops the byte behind it"),
    ];
    for (field, words) in fates {
        let mut lab = lab(&Setup::default());
        // Bytes that went before must not make the wrong number look like an old one; and what opens
        // the connection is not hurt, even where nobody waits for it.
        after(&mut lab, &[Action::Send(20)]);
        let flip = Action::Flip { from_phone: false, field };
        let rows = match field {
            Field::Seq => after(&mut lab, &[flip, Action::Send(20)]),
            // Of an odd length, which becomes less.
            Field::Length => after(&mut lab, &[Action::Open(ECHO), flip, Action::Send(21)]),
            _ => after(&mut lab, &[Action::Open(ECHO), flip, Action::Send(20)]),
        };
        let is_damaged = |row: &Row| {
            matches!(row.what, What::Message(_, Fate::Damaged(f)) if f == field)
                && row.label.contains("data")
        };
        assert_eq!(rows.iter().filter(|row| is_damaged(row)).count(), 1, "{field:?}");
        assert!(says(&rows, words), "{field:?}: {rows:#?}");
        assert_eq!(says(&rows, "nothing in the protocol notices"), field == Field::Payload);
        assert!(!says(&rows, "stuck together") && !labels(&rows).join(" ").contains("stuck"));
    }
    let mut lab = lab(&Setup::default());
    after(&mut lab, &[Action::Open(ECHO)]);
    let flip = Action::Flip { from_phone: true, field: Field::Seq };
    let rows = after(&mut lab, &[flip, Action::Send(20)]);
    assert!(says(&rows, "bytes of the phone's are missing"), "{rows:#?}");
}

#[test]
fn the_cable_ends_everything_and_a_silent_phone_is_asked_three_times() {
    let mut lab = lab(&Setup::default());
    after(&mut lab, &[Action::Open(DISCARD)]);
    let rows = after(&mut lab, &[Action::Unplug]);
    assert!(says(&rows, "the cable is out") && !lab.is_plugged());
    assert_eq!(rows.last().unwrap().view.host, Link::Down);
    assert!(says(&after(&mut lab, &[Action::Open(DISCARD)]), "no version is agreed"));
    assert!(says(&after(&mut lab, &[Action::PlugIn]), "The link is up"));
    let quirk = Some("silent-version".parse().unwrap());
    let mut silent = Lab::new(&Setup { quirk, ..Setup::default() });
    let rows = after(&mut silent, &[Action::PlugIn]);
    assert_eq!(labels(&rows), ["VERSION 2"; 3]);
    assert!(says(&rows, "The host gives up") && rows.last().unwrap().view.host == Link::Failed);
}

#[test]
fn a_phone_of_version_1_counts_no_frames() {
    let quirk = Some("v1".parse().unwrap());
    let mut lab = lab(&Setup { quirk, window: 256, ..Setup::default() });
    let rows = after(&mut lab, &[Action::Send(9)]);
    assert_eq!(labels(&rows)[..4], ["SYN win 1", "SYN|ACK win 512", "ACK win 1", "data 9 B win 1"]);
    assert_eq!(rows.last().unwrap().view.version, Some(1));
    assert_eq!(lab.lines()[0].read, 9);
}

#[test]
fn the_longest_frame_is_one_step() {
    let setup = Setup { window: 65536, max_frame: u16::MAX, ..explicit() };
    let mut lab = lab(&setup);
    after(&mut lab, &[Action::Open(ECHO)]);
    let rows = after(&mut lab, &[Action::Send(65_499)]);
    let longest = |row: &&Row| matches!(&row.what, What::Message(m, _) if m.bytes.len() == 65_535);
    assert_eq!(rows.iter().filter(longest).count(), 2, "{:?}", labels(&rows));
}

/// The witness knows only frames; where nobody's hand interferes it must be right.
#[test]
fn the_witness_believes_what_the_engines_know() {
    let seed = std::env::var("USBMUX_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    println!("USBMUX_SEED={seed}");
    let mut random = Rng::with_seed(seed);
    for _ in 0..20 {
        let window = [256, 1024, 4096][random.usize(..3)];
        let mut lab = lab(&Setup { window, explicit_zlp: random.bool(), ..Setup::default() });
        for _ in 0..40 {
            let action = match random.u32(..10) {
                0 => Action::Open([ECHO, DISCARD, CHARGEN, 22][random.usize(..4)]),
                1..=4 => Action::Send(random.u64(1..3000)),
                5 => Action::Ask(random.u64(1..3000)),
                6 => Action::Read(false),
                7 => Action::Read(true),
                8 => Action::Close,
                _ => Action::Unplug,
            };
            if action == Action::Read(true) && lab.line_port() == Some(CHARGEN) {
                continue; // It would never end.
            }
            let rows = after(&mut lab, &[action]);
            if action == Action::Unplug {
                assert!(lab.view().connections.iter().all(|one| one.phone == State::Closed));
            }
            if !lab.is_plugged() {
                after(&mut lab, &[Action::PlugIn]);
            }
            let view = &lab.view;
            assert_eq!(view.host, link(lab.host.mux.link()), "{action:?}");
            assert_eq!(view.phone, link(lab.host.usb.bus.phone().link()), "{action:?}");
            for line in &lab.host.lines {
                let Some(seen) = view.between(line.host_port, line.port) else { continue };
                let is_closed = |state| state == State::Closed;
                assert_eq!(is_closed(seen.host), is_closed(line.state), "{action:?} {rows:#?}");
                if line.state == State::Established {
                    let known = lab.host.mux.unacknowledged(line.conn);
                    assert_eq!(seen.to_phone.in_flight(), known, "{action:?}");
                    // Announced in steps of 256.
                    let credit = lab.host.mux.credit(line.conn);
                    assert!(credit - seen.to_host.room() < 256, "{action:?} {credit} {seen:?}");
                }
            }
        }
    }
}
