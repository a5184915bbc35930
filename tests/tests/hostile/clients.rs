//! Clients that send too slowly, never read, vanish, or take all there is.

use super::bystander::{Bystander, serves};
use plist::Value;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::thread;
use std::time::Duration;
use usbmux_tests::crowd::room;
use usbmux_tests::daemon_process::Daemon;
use usbmux_tests::random::pattern;
use usbmux_tests::socket::{Client, Message, PATIENCE, request};
use usbmux_tests::tools::{client, read_pattern, until, write_pattern};

/// Sockets that the silent and the greedy open.
const MANY: usize = 300;

#[test]
fn client_that_sends_byte_by_byte_is_answered_and_delays_nobody() {
    let daemon = Daemon::start(1, &[]);
    let bystander = Bystander::of(&daemon);
    let mut slow = daemon.client();
    for (at, byte) in request(3, "ReadBUID", &[]).into_iter().enumerate() {
        slow.send(&[byte]).unwrap();
        if at % 32 == 0 {
            // It takes its time: others say much between two of its bytes.
            bystander.goes_on();
            assert!(slow.is_silent().unwrap());
        }
    }
    assert!(slow.receive().unwrap().text("BUID").is_some());
    bystander.was_undisturbed(&daemon);
}

#[test]
fn client_that_never_reads_its_answers_costs_no_memory_and_loses_none() {
    const TRIED: u32 = 200_000;
    let daemon = Daemon::start(1, &[]);
    let bystander = Bystander::of(&daemon);
    let before = daemon.resident();
    let mut deaf = daemon.client();
    deaf.stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    // It asks until nobody listens any more; the last request may be cut.
    let (mut asked, mut unsent) = (0, Vec::new());
    while asked < TRIED && unsent.is_empty() {
        let question = request(asked, "ListDevices", &[]);
        let mut at = 0;
        while at < question.len() {
            match deaf.stream.write(&question[at..]) {
                Ok(count) => at += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
        }
        asked += 1;
        unsent = question[at..].to_vec();
    }
    assert!(asked < TRIED, "the daemon must stop to read");
    bystander.goes_on();
    let grown = daemon.resident().saturating_sub(before);
    assert!(grown < 4 << 20, "{grown} bytes more");
    // Now it reads, and what was cut can go.
    let mut writer = deaf.stream.try_clone().unwrap();
    writer.set_write_timeout(Some(PATIENCE)).unwrap();
    let writing = thread::spawn(move || writer.write_all(&unsent).unwrap());
    for tag in 0..asked {
        assert_eq!(deaf.receive().unwrap().tag, tag);
    }
    writing.join().unwrap();
    bystander.was_undisturbed(&daemon);
}

#[test]
fn clients_that_never_read_their_connections_lose_nothing() {
    let daemon = Daemon::start(1, &[]);
    let bystander = Bystander::of(&daemon);
    let mut deaf: Vec<_> = (0..20).map(|_| daemon.client()).collect();
    for (salt, client) in (0..).zip(&mut deaf) {
        assert_eq!(client.connect_port(1, 7).unwrap(), 0);
        client.send(&pattern(salt, 0, 100_000)).unwrap();
        client.stream.shutdown(Shutdown::Write).unwrap();
    }
    bystander.goes_on();
    for (salt, client) in (0..).zip(&mut deaf) {
        assert_eq!(read_pattern(&mut client.stream, salt, 100_000), 100_000);
    }
    drop(deaf);
    bystander.was_undisturbed(&daemon);
}

/// Brings a client into one state and leaves it there.
type State = fn(&mut Client);

const STATES: &[State] = &[
    |_| {},
    |client| client.send(&[16, 0, 0]).unwrap(),
    |client| client.send(&request(1, "ListDevices", &[])[..40]).unwrap(),
    // Asked, and gone before the answer; with more requests behind.
    |client| client.send(&request(1, "ReadBUID", &[]).repeat(20)).unwrap(),
    |client| {
        let keys = [
            ("PairRecordID", Value::from("GONE")),
            ("PairRecordData", Value::Data(b"<plist><dict/></plist>".to_vec())),
        ];
        client.send(&request(1, "SavePairRecord", &keys)).unwrap();
    },
    |client| client.send(&request(1, "Listen", &[])).unwrap(),
    |client| {
        assert_eq!(client.ask(1, "Listen", &[]).unwrap().number("Number"), Some(0));
    },
    |client| {
        let keys = [("DeviceID", Value::from(1_u64)), ("PortNumber", Value::from(0x1300_u64))];
        client.send(&request(1, "Connect", &keys)).unwrap();
    },
    |client| assert_eq!(client.connect_port(1, 9).unwrap(), 0),
    // In the middle of receiving without end, and of sending.
    |client| {
        assert_eq!(client.connect_port(1, 19).unwrap(), 0);
        client.stream.read_exact(&mut [0; 100]).unwrap();
    },
    |client| {
        assert_eq!(client.connect_port(1, 9).unwrap(), 0);
        client.send(&[7; 300_000]).unwrap();
    },
    |client| {
        assert_eq!(client.connect_port(1, 7).unwrap(), 0);
        client.send(&[7; 50_000]).unwrap();
        client.stream.shutdown(Shutdown::Write).unwrap();
    },
];

#[test]
fn clients_that_vanish_in_every_state_leave_nothing_behind() {
    let daemon = Daemon::start(1, &[]);
    let bystander = Bystander::of(&daemon);
    let before = daemon.descriptors();
    for state in STATES.iter().cycle().take(5 * STATES.len()) {
        state(&mut daemon.client());
    }
    until("all descriptors are given back", || (daemon.descriptors() <= before).then_some(()));
    let listeners = daemon.client().ask(1, "ListListeners", &[]).unwrap();
    let listeners = listeners.dictionary().get("ListenerList").and_then(Value::as_array).unwrap();
    assert_eq!(listeners.len(), 1, "only the bystander");
    bystander.was_undisturbed(&daemon);
}

#[test]
fn three_hundred_silent_sockets_are_kept_and_can_still_speak() {
    let daemon = Daemon::start(1, &[]);
    let bystander = Bystander::of(&daemon);
    let mut silent: Vec<_> = (0..MANY).map(|_| daemon.client()).collect();
    serves(&mut daemon.client());
    bystander.goes_on();
    for client in &mut silent {
        serves(client);
    }
    drop(silent);
    bystander.was_undisturbed(&daemon);
}

#[test]
fn silent_sockets_make_room_when_descriptors_run_out() {
    let daemon = Daemon::start_after("ulimit -n 48", 1, &[]);
    let bystander = Bystander::of(&daemon);
    let mut silent: Vec<_> = (0..MANY).map(|_| daemon.client()).collect();
    // A program of its own, that comes last and is served all the same.
    if let Some((status, text)) = client(&daemon, "idevice_id", &["-l"]) {
        assert!(status.success());
        assert_eq!(text, "00008030-0000000000000001\n");
    }
    serves(&mut daemon.client());
    assert!(silent[0].hung_up().unwrap(), "the oldest had to go");
    let line = daemon.log.wait_for("those that never said anything are hung up on");
    assert!(line.contains("WARN"), "{line}");
    drop(silent);
    bystander.was_undisturbed(&daemon);
}

#[test]
fn daemon_recovers_when_busy_clients_have_used_up_the_descriptors() {
    let daemon = Daemon::start_after("ulimit -n 48", 1, &[]);
    let bystander = Bystander::of(&daemon);
    // Listeners have spoken: nobody has to make room, and the last ones must wait.
    let listening = || {
        let mut client = daemon.client();
        client.send(&request(4, "Listen", &[])).unwrap();
        client
    };
    let mut listeners: Vec<_> = (0..MANY).map(|_| listening()).collect();
    let _ = daemon.log.wait_for("cannot let clients in, trying on: Too many open files");
    bystander.goes_on();
    let mut waiting = listeners.split_off(MANY - 10);
    drop(listeners);
    for late in &mut waiting {
        assert_eq!(late.receive().unwrap(), Message::result(4, 0));
    }
    let _ = daemon.log.wait_for("clients are let in again");
    drop(waiting);
    bystander.was_undisturbed(&daemon);
}

#[test]
fn listener_that_never_reads_is_hung_up_on_and_the_other_hears_everything() {
    /// Far more events than the deaf one's socket and its queue in the daemon hold.
    const MOST: usize = 10_000;
    let daemon = Daemon::start(1, &[]);
    let listen = || {
        let mut client = daemon.client();
        assert_eq!(client.ask(4, "Listen", &[]).unwrap(), Message::result(4, 0));
        assert_eq!(client.receive().unwrap().text("MessageType"), Some("Attached"));
        client
    };
    let (mut deaf, mut attentive) = (listen(), listen());
    let mut program = daemon.client();
    let mut echo = daemon.client();
    assert_eq!(echo.connect_port(1, 7).unwrap(), 0);
    let keys = [
        ("PairRecordID", Value::from("DEAF")),
        ("PairRecordData", Value::Data(b"<plist><dict/></plist>".to_vec())),
        ("DeviceID", Value::from(1_u64)),
    ];
    let before = daemon.resident();
    let mut told = 0;
    let mut listeners = 2;
    while listeners == 2 {
        assert!(told < MOST, "{told} events wait for it");
        assert_eq!(program.ask(5, "SavePairRecord", &keys).unwrap(), Message::result(5, 0));
        assert_eq!(attentive.receive().unwrap().text("MessageType"), Some("Paired"));
        told += 1;
        if told % 100 == 0 {
            let list = program.ask(6, "ListListeners", &[]).unwrap();
            let list = list.dictionary().get("ListenerList").and_then(Value::as_array).cloned();
            listeners = list.unwrap().len();
        }
    }
    let grown = daemon.resident().saturating_sub(before);
    assert!(grown < 4 << 20, "{grown} bytes more");
    // What was written before is there; then it ends.
    let mut heard = 0;
    while let Ok(event) = deaf.receive() {
        assert_eq!(event.text("MessageType"), Some("Paired"));
        heard += 1;
    }
    assert!((100..told).contains(&heard), "{heard} of {told}");
    assert!(attentive.is_silent().unwrap());
    assert!(write_pattern(&mut echo.stream, 1, 10_000));
    assert_eq!(read_pattern(&mut echo.stream, 1, 10_000), 10_000);
}

#[test]
fn connections_beyond_the_limit_of_a_phone_are_refused_until_one_ends() {
    const LIMIT: usize = 10_000;
    assert!(room() > LIMIT + 100, "this machine allows too few descriptors");
    let daemon = Daemon::start(2, &[]);
    let connect = |client: &mut Client| client.connect_port(1, 7).unwrap();
    let mut open = Vec::new();
    for _ in 0..LIMIT {
        let mut client = daemon.client();
        assert_eq!(connect(&mut client), 0);
        open.push(client);
    }
    let mut late = daemon.client();
    for _ in 0..3 {
        assert_eq!(connect(&mut late), 3);
    }
    let _ = daemon.log.wait_for("phone 1: the limit of connections is reached");
    // The other phone has its own limit, and those that are open go on.
    assert_eq!(daemon.client().connect_port(2, 7).unwrap(), 0);
    let last = open.last_mut().unwrap();
    assert!(write_pattern(&mut last.stream, 1, 10_000));
    assert_eq!(read_pattern(&mut last.stream, 1, 10_000), 10_000);
    open.swap_remove(0);
    until("there is room again", || (connect(&mut late) == 0).then_some(()));
}
