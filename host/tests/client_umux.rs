//! The command line's contract: what `umux` prints, where, and with which exit status it ends.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod client_fake;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, ChildStderr, ChildStdout, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use client_fake::{BUID, COUNT, ECHO, FLOOD, Fake, HALF, SILENT, UDID, flood};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

/// No test waits for longer: less than any limit of the program after which it would give up.
const PATIENCE: Duration = Duration::from_secs(20);

const SECOND: &str = "00008030-0000000000000002";

/// `umux` with this daemon and these arguments, which stand in one text.
fn umux(fake: &Fake, arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_umux"));
    command.env("USBMUXD_SOCKET_ADDRESS", fake.path()).args(arguments.split_whitespace());
    command.stdin(Stdio::null());
    command
}

fn run(fake: &Fake, arguments: &str) -> Output {
    output(&mut umux(fake, arguments))
}

/// Runs a command that must succeed without a word on standard error.
fn succeed(fake: &Fake, arguments: &str) -> String {
    let output = run(fake, arguments);
    assert_eq!((stderr(&output).as_str(), output.status.code()), ("", Some(0)), "{arguments}");
    String::from_utf8(output.stdout).unwrap()
}

/// Runs a command that must fail with one line on standard error and nothing on standard output.
fn fail(command: &mut Command, status: i32) -> String {
    let output = output(command);
    let line = stderr(&output);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(status), 0), "{line}");
    assert_eq!((line.starts_with("umux: "), line.matches('\n').count()), (true, 1), "{line}");
    line
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Kills a `umux` that does not end in time, so that a test which waits for it fails.
struct Watchdog {
    /// Dropped to call it off.
    _leash: mpsc::Sender<()>,
}

impl Watchdog {
    fn of(child: &Child) -> Watchdog {
        let (leash, called_off) = mpsc::channel();
        let pid = Pid::from_child(child);
        std::thread::spawn(move || {
            if called_off.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
                _ = kill_process(pid, Signal::KILL);
            }
        });
        Watchdog { _leash: leash }
    }
}

/// Runs a command to its end; what is not read elsewhere is collected.
fn output(command: &mut Command) -> Output {
    finish(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
}

fn finish(child: Child) -> Output {
    let _watchdog = Watchdog::of(&child);
    child.wait_with_output().unwrap()
}

/// A running `umux` whose output is read line by line. It is killed with the test.
struct Running {
    child: Child,
    _watchdog: Watchdog,
    stdout: BufReader<ChildStdout>,
    stderr: BufReader<ChildStderr>,
}

impl Running {
    fn start(command: &mut Command) -> Running {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let _watchdog = Watchdog::of(&child);
        Running { child, _watchdog, stdout, stderr }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line
    }

    fn error_line(&mut self) -> String {
        let mut line = String::new();
        self.stderr.read_line(&mut line).unwrap();
        line
    }

    /// The local end of the next `forwarding … -> port`.
    fn forwarding(&mut self, port: u16) -> SocketAddr {
        let line = self.line();
        let local = line.strip_prefix("forwarding ").unwrap_or_else(|| panic!("{line:?}"));
        local.strip_suffix(&format!(" -> {port}\n")).unwrap().parse().unwrap()
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for the end: the exit status, and what was left on standard error.
    fn end(&mut self) -> (Option<i32>, String) {
        let mut rest = String::new();
        self.stderr.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap().code(), rest)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// A connection on which nobody waits for ever.
fn open(local: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(local).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Exchanges a byte with an echo.
fn talk(stream: &mut TcpStream) {
    stream.write_all(b"x").unwrap();
    stream.read_exact(&mut [0]).unwrap();
}

fn forward(fake: &Fake, arguments: &str) -> Running {
    Running::start(&mut umux(fake, &format!("forward {arguments}")))
}

#[test]
fn list_prints_a_line_for_each_phone() {
    let fake = Fake::one_phone();
    fake.plug(2, SECOND);
    let expected =
        format!("{UDID}  0x12a8  0x00010001  480Mbit/s\n{SECOND}  0x12a8  0x00010002  480Mbit/s\n");
    assert_eq!(succeed(&fake, "list"), expected);
    assert_eq!(succeed(&Fake::phones(), "list"), "");
}

#[test]
fn list_as_json_is_an_array_of_objects() {
    let fake = Fake::phones();
    fake.plug(4, "000080300000000000000001");
    let list: Value = serde_json::from_str(&succeed(&fake, "list --json")).unwrap();
    let expected = json!([{
        "UDID": UDID, "DeviceID": 4, "ProductID": 0x12a8, "LocationID": 0x1_0004,
        "ConnectionSpeed": 480_000_000, "ConnectionType": "USB",
        "SerialNumber": "000080300000000000000001",
    }]);
    assert_eq!(list, expected);
    assert_eq!(succeed(&Fake::phones(), "list --json"), "[]\n");
}

#[test]
fn watch_prints_a_line_for_each_event_until_it_is_interrupted() {
    let fake = Fake::one_phone();
    let mut watch = Running::start(&mut umux(&fake, "watch"));
    assert_eq!(watch.line(), format!("attached  {UDID}  0x12a8  0x00010001  480Mbit/s\n"));
    assert_eq!(run(&fake, "pair-record save").status.code(), Some(1));
    let record = fake.folder().join("record");
    fs::write(&record, "<?xml").unwrap();
    succeed(&fake, &format!("pair-record save {UDID} {}", record.display()));
    assert_eq!(watch.line(), format!("paired  {UDID}  0x12a8  0x00010001  480Mbit/s\n"));
    fake.unplug(1);
    assert_eq!(watch.line(), format!("detached  {UDID}  0x12a8  0x00010001  480Mbit/s\n"));
    watch.signal(Signal::INT);
    assert_eq!(watch.end(), (Some(0), String::new()));
}

#[test]
fn watch_as_json_prints_one_object_a_line() {
    let fake = Fake::one_phone();
    let mut watch = Running::start(&mut umux(&fake, "watch --json"));
    let mut event = || serde_json::from_str::<Value>(&watch.line()).unwrap();
    let attached = event();
    assert_eq!((&attached["Event"], &attached["UDID"]), (&json!("attached"), &json!(UDID)));
    assert_eq!((&attached["DeviceID"], &attached["ProductID"]), (&json!(1), &json!(0x12a8)));
    fake.unplug(1);
    let detached = event();
    assert_eq!((&detached["Event"], &detached["UDID"]), (&json!("detached"), &json!(UDID)));
    watch.signal(Signal::TERM);
    assert_eq!(watch.end(), (Some(0), String::new()));
}

#[test]
fn watch_fails_when_the_daemon_ends() {
    let fake = Fake::one_phone();
    let mut watch = Running::start(&mut umux(&fake, "watch"));
    watch.line();
    fake.die();
    let (status, error) = watch.end();
    assert_eq!(status, Some(1));
    assert!(error.contains("the daemon hung up"), "{error}");
}

#[test]
fn info_prints_the_values_of_the_phone() {
    let fake = Fake::one_phone();
    let expected = format!(
        "BrickState: false\nDeviceName: Virtual Phone 1\nDevicePublicKey: a2V5\n\
         UniqueDeviceID: {UDID}\n"
    );
    assert_eq!(succeed(&fake, "info"), expected);
    let values: Value =
        serde_json::from_str(&succeed(&fake, &format!("info --json -u {UDID}"))).unwrap();
    assert_eq!(values["DeviceName"], "Virtual Phone 1");
    assert_eq!(values["BrickState"], false);
}

#[test]
fn buid_and_listeners_are_printed() {
    let fake = Fake::phones();
    assert_eq!(succeed(&fake, "buid"), format!("{BUID}\n"));
    assert_eq!(succeed(&fake, "listeners"), "3-watcher  watcher  org.example.watcher\n");
    let listeners: Value = serde_json::from_str(&succeed(&fake, "listeners --json")).unwrap();
    assert_eq!(listeners[0]["ID String"], "3-watcher");
}

#[test]
fn pair_records_are_saved_listed_read_and_deleted() {
    let fake = Fake::one_phone();
    let away = "00008030-00000000000000FF";
    let text = "<?xml version=\"1.0\"?>\n";
    let mut save = umux(&fake, "pair-record save").stdin(Stdio::piped()).spawn().unwrap();
    save.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(finish(save).status.success());
    fake.state(|state| state.records.insert(away.to_owned(), text.into()));

    // The folder beside the socket names what the daemon has of phones that are away.
    let folder = fake.folder().join("lockdown");
    fs::create_dir(&folder).unwrap();
    for name in [away, "00008030-00000000000000AA", "SystemConfiguration"] {
        fs::write(folder.join(name).with_extension("plist"), "").unwrap();
    }
    assert_eq!(succeed(&fake, "pair-record list"), format!("{UDID}\n{away}\n"));
    assert_eq!(succeed(&fake, "pair-record read"), text);
    assert_eq!(succeed(&fake, &format!("pair-record read -u {away}")), text);

    let file = fake.folder().join("record");
    fs::write(&file, text).unwrap();
    succeed(&fake, &format!("pair-record save -u {away} {}", file.display()));
    let too_many = format!("pair-record save -u {UDID} {UDID} {}", file.display());
    assert_eq!(run(&fake, &too_many).status.code(), Some(2));
    assert_eq!(succeed(&fake, &format!("pair-record delete {UDID}")), "");
    let error = fail(&mut umux(&fake, &format!("pair-record read {UDID}")), 1);
    assert!(error.contains("no pair record"), "{error}");
    fail(&mut umux(&fake, &format!("pair-record delete {UDID}")), 1);
}

#[test]
fn the_only_phone_is_meant_and_several_must_be_chosen_from() {
    let fake = Fake::phones();
    for command in ["info", "forward 0:7", "connect 7", "pair-record read"] {
        let error = fail(&mut umux(&fake, command), 3);
        assert_eq!(error, "umux: no phone is plugged in: plug one in\n");
    }
    fake.plug(1, UDID);
    for command in ["info", "forward 0:7", "connect 7"] {
        let error = fail(&mut umux(&fake, &format!("{command} -u {SECOND}")), 3);
        assert!(error.contains(SECOND), "{error}");
    }
    fake.plug(2, SECOND);
    for command in ["info", "forward 0:7", "connect 7", "pair-record read"] {
        let output = run(&fake, command);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0));
        let expected = format!(
            "umux: 2 phones are plugged in: choose one with -u UDID\n\
             {UDID}  0x12a8  0x00010001  480Mbit/s\n{SECOND}  0x12a8  0x00010002  480Mbit/s\n"
        );
        assert_eq!(stderr(&output), expected);
    }
    // Without hyphens and in small letters it is the same phone.
    let small = SECOND.replace('-', "").to_lowercase();
    let answer = succeed(&fake, &format!("connect -u {small} {COUNT} --linger 60"));
    assert_eq!(answer, "0 bytes\n");
}

#[test]
fn wrong_usage_is_one_line_and_exit_status_2() {
    let fake = Fake::phones();
    let cases = [
        "",
        "list --xml",
        "nonsense",
        "connect",
        "connect 0",
        "connect 65536",
        "connect ssh",
        "connect 7 --linger -1",
        "forward",
        "forward 22",
        "forward 1:0",
        "forward 1:2:3",
        "pair-record",
        "pair-record read a -u b",
        "--socket nowhere list",
        "watch --direct",
        "trace",
        "trace file --follow all",
        "connect 7 --trace file",
        "demo 7",
    ];
    for arguments in cases {
        fail(&mut umux(&fake, arguments), 2);
    }
    fail(umux(&fake, "list").env("USBMUXD_SOCKET_ADDRESS", "nowhere"), 2);
}

#[test]
fn help_and_version_are_no_errors() {
    let fake = Fake::phones();
    let help = succeed(&fake, "--help");
    for command in
        ["list", "watch", "info", "buid", "listeners", "forward", "connect", "pair-record"]
    {
        assert!(help.contains(&format!("  {command} ")), "{command}");
    }
    assert!(help.contains("5 no daemon"));
    for command in [
        "list",
        "watch",
        "info",
        "buid",
        "listeners",
        "forward",
        "connect",
        "pair-record",
        "pair-record list",
        "pair-record read",
        "pair-record save",
        "pair-record delete",
    ] {
        let help = succeed(&fake, &format!("{command} --help"));
        let example = format!("\n  umux {command}");
        assert!(help.contains("Examples:") && help.contains(&example), "{help}");
        assert!(help.contains("5 no daemon"), "{command}");
    }
    assert_eq!(succeed(&fake, "--version"), concat!("umux ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn no_daemon_is_exit_status_5() {
    let fake = Fake::phones();
    let nowhere = fake.folder().join("nothing");
    for command in [
        "list",
        "watch",
        "info",
        "buid",
        "listeners",
        "forward 0:7",
        "connect 7",
        "pair-record list",
    ] {
        let error = fail(umux(&fake, command).env("USBMUXD_SOCKET_ADDRESS", &nowhere), 5);
        assert!(error.contains("start umuxd"), "{error}");
    }
}

#[test]
fn the_option_goes_before_the_environment_and_may_stand_anywhere() {
    let fake = Fake::phones();
    let path = fake.path();
    let unix = format!("unix:{}", path.display());
    let orders: [[&OsStr; 3]; 2] = [
        ["--socket".as_ref(), path.as_os_str(), "buid".as_ref()],
        ["buid".as_ref(), "--socket".as_ref(), unix.as_ref()],
    ];
    for arguments in orders {
        let mut command = umux(&fake, "");
        command.args(arguments).env("USBMUXD_SOCKET_ADDRESS", "/nowhere");
        assert_eq!(output(&mut command).stdout, format!("{BUID}\n").as_bytes());
    }
}

#[test]
fn a_daemon_that_makes_no_sense_is_a_plain_failure() {
    let fake = Fake::scripted(|mut conn| {
        conn.send(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        conn.wait_for_end();
    });
    let error = fail(&mut umux(&fake, "list"), 1);
    assert!(error.contains("check that a usbmuxd listens"), "{error}");
}

#[test]
fn output_that_nobody_reads_ends_a_command_quietly() {
    let fake = Fake::one_phone();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let child = umux(&fake, "list").stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
    let output = finish(child);
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
}

#[test]
fn connect_half_closes_at_the_end_of_its_input() {
    let fake = Fake::one_phone();
    let input = fake.folder().join("input");
    fs::write(&input, flood()).unwrap();
    let mut command = umux(&fake, &format!("connect {COUNT} --linger 60"));
    let output = output(command.stdin(File::open(&input).unwrap()));
    let expected = format!("{} bytes\n", client_fake::FLOOD_BYTES);
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn connect_is_binary_safe_both_ways_through_pipes_and_into_files() {
    let fake = Fake::one_phone();
    let mut child = umux(&fake, &format!("connect {ECHO} --linger 60"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || input.write_all(&flood()).unwrap());
    let output = finish(child);
    writer.join().unwrap();
    assert!(output.stdout == flood());
    assert_eq!(output.status.code(), Some(0));

    let file = fake.folder().join("output");
    let mut command = umux(&fake, &format!("connect {FLOOD} --linger 60"));
    let child = command.stdout(File::create(&file).unwrap()).spawn().unwrap();
    assert!(finish(child).status.success());
    assert!(fs::read(&file).unwrap() == flood());
}

#[test]
fn connect_ends_with_the_phone_while_its_input_is_still_open() {
    let fake = Fake::one_phone();
    let mut command = umux(&fake, &format!("connect {FLOOD}"));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let _open = child.stdin.take();
    let output = finish(child);
    assert!(output.stdout == flood());
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn connect_ends_after_the_linger_time_of_silence() {
    let fake = Fake::one_phone();
    let mut command = umux(&fake, &format!("connect {SILENT} --linger 0.05"));
    let output = output(&mut command);
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
}

#[test]
fn connect_ends_when_nobody_reads_its_output_any_more() {
    let fake = Fake::one_phone();
    // The phone is silent and the input open: only the pipe itself tells.
    let mut command = umux(&fake, &format!("connect {SILENT}"));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let _open = child.stdin.take();
    drop(child.stdout.take());
    assert_eq!(finish(child).status.code(), Some(0));

    // And in the middle of a stream.
    let mut child =
        umux(&fake, &format!("connect {FLOOD}")).stdout(Stdio::piped()).spawn().unwrap();
    child.stdout.take().unwrap().read_exact(&mut [0]).unwrap();
    assert_eq!(finish(child).status.code(), Some(0));
}

#[test]
fn connect_says_that_a_connection_was_broken_off() {
    let fake = Fake::one_phone();
    let mut command = umux(&fake, &format!("connect {HALF}"));
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.as_mut().unwrap().write_all(b"go on").unwrap();
    let _open = child.stdin.take();
    let output = finish(child);
    assert_eq!(output.stdout, b"half a wor");
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).starts_with("umux: the connection was broken off"));
}

#[test]
fn connect_to_a_refused_port_is_exit_status_4() {
    let error = fail(&mut umux(&Fake::one_phone(), "connect 4711"), 4);
    assert!(error.contains("refused port 4711"), "{error}");
}

#[test]
fn forward_prints_each_pair_in_order_and_ends_cleanly_on_a_signal() {
    let fake = Fake::one_phone();
    for signal in [Signal::INT, Signal::TERM] {
        let mut forward = forward(&fake, "0:7 0:19");
        let (echo, chargen) = (forward.forwarding(7), forward.forwarding(19));
        assert!(echo.ip().is_loopback() && echo.port() != 0 && echo != chargen);
        let _open = open(echo);
        forward.signal(signal);
        assert_eq!(forward.end(), (Some(0), String::new()));
        assert!(TcpStream::connect(echo).is_err());
    }
}

#[test]
fn forward_listens_on_the_address_and_port_that_are_asked_for() {
    let fake = Fake::one_phone();
    let mut other = forward(&fake, "-s 127.0.0.2 0:7");
    let local = other.forwarding(7);
    assert_eq!(local.ip().to_string(), "127.0.0.2");

    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap().port();
    let error = fail(&mut umux(&fake, &format!("forward {taken}:7")), 1);
    assert!(error.contains("choose another port"), "{error}");
    fail(&mut umux(&fake, "forward -s 192.0.2.1 0:7"), 1);
}

#[test]
fn forward_carries_many_connections_both_ways() {
    let fake = Fake::one_phone();
    let mut forward = forward(&fake, &format!("0:{ECHO} 0:{FLOOD}"));
    let (echo, chargen) = (forward.forwarding(ECHO), forward.forwarding(FLOOD));
    std::thread::scope(|scope| {
        for number in 0..20_u8 {
            scope.spawn(move || {
                let mut stream = open(echo);
                let sent = vec![number; 200_000];
                let mut sender = stream.try_clone().unwrap();
                let copy = sent.clone();
                let sender = std::thread::spawn(move || {
                    sender.write_all(&copy).unwrap();
                    sender.shutdown(Shutdown::Write).unwrap();
                });
                let mut received = Vec::new();
                stream.read_to_end(&mut received).unwrap();
                sender.join().unwrap();
                assert!(received == sent, "connection {number}");
            });
        }
        scope.spawn(move || {
            let mut received = Vec::new();
            open(chargen).read_to_end(&mut received).unwrap();
            assert!(received == flood());
        });
    });
}

#[test]
fn forward_half_closes_towards_the_phone() {
    let fake = Fake::one_phone();
    let mut forward = forward(&fake, &format!("0:{COUNT}"));
    let mut stream = open(forward.forwarding(COUNT));
    stream.write_all(&flood()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, format!("{} bytes\n", client_fake::FLOOD_BYTES));
}

#[test]
fn forward_delivers_all_before_the_phones_end_although_the_client_goes_on_talking() {
    let fake = Fake::one_phone();
    let mut forward = forward(&fake, &format!("0:{FLOOD}"));
    let mut stream = open(forward.forwarding(FLOOD));
    let (mut received, mut piece) = (Vec::new(), [0; 1000]);
    loop {
        let read = stream.read(&mut piece).unwrap();
        if read == 0 {
            break;
        }
        received.extend_from_slice(piece.get(..read).unwrap());
        // Long after the phone has ended. What nobody takes must not cost what is on its way here.
        stream.write_all(b"?").unwrap();
    }
    assert!(received == flood(), "{} bytes", received.len());
}

#[test]
fn forward_says_that_a_connection_was_broken_off_and_delivers_what_came_before() {
    let fake = Fake::one_phone();
    let mut forward = forward(&fake, &format!("0:{HALF}"));
    let mut stream = open(forward.forwarding(HALF));
    stream.write_all(b"go on").unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    assert_eq!(said, "half a wor");
    drop(stream);
    let line = forward.error_line();
    assert!(line.contains("-> 21: the connection to the daemon broke"), "{line}");
}

#[test]
fn a_refused_port_ends_only_its_own_connection() {
    let fake = Fake::one_phone();
    let mut forward = forward(&fake, &format!("0:4711 0:{ECHO}"));
    let (refused, echo) = (forward.forwarding(4711), forward.forwarding(ECHO));
    let mut working = open(echo);
    let mut closed = open(refused);
    let from = closed.local_addr().unwrap();
    assert_eq!(closed.read(&mut [0]).unwrap(), 0);
    let line = forward.error_line();
    assert!(
        line.starts_with(&format!("umux: {from} -> 4711: the phone refused port 4711")),
        "{line}"
    );
    talk(&mut working);
}

#[test]
fn forward_waits_for_its_phone_to_come_back_under_another_number() {
    let fake = Fake::one_phone();
    let mut forward = forward(&fake, &format!("0:{ECHO}"));
    let echo = forward.forwarding(ECHO);
    talk(&mut open(echo));
    fake.wait_for_listener();
    fake.unplug(1);
    let line = forward.error_line();
    assert_eq!(line, format!("umux: phone {UDID} was unplugged; waiting for it\n"));
    // Another phone is not taken for it.
    fake.plug(2, SECOND);
    let mut waiting = open(echo);
    fake.plug(3, UDID);
    assert_eq!(forward.error_line(), format!("umux: phone {UDID} is back\n"));
    talk(&mut waiting);
    assert_eq!(fake.state(|state| state.asked()), [1, 3]);
}

#[test]
fn forward_asks_only_once_for_a_phone_of_whose_unplugging_it_has_not_heard() {
    let fake = Fake::one_phone();
    let mut forward = forward(&fake, &format!("0:{ECHO}"));
    let echo = forward.forwarding(ECHO);
    fake.wait_for_listener();
    fake.unplug_silently(1);
    let mut waiting = open(echo);
    fake.wait_until(|state| !state.asked().is_empty());
    // Long enough for a second question, had there been one.
    assert_eq!(succeed(&fake, "list"), "");
    fake.plug(3, UDID);
    talk(&mut waiting);
    assert_eq!(fake.state(|state| state.asked()), [1, 3]);
}

#[test]
fn forward_outlives_its_daemon() {
    let fake = Fake::one_phone();
    let mut forward = forward(&fake, &format!("0:{ECHO}"));
    let echo = forward.forwarding(ECHO);
    fake.wait_for_listener();
    fake.die();
    let line = forward.error_line();
    assert!(line.contains("waiting for it"), "{line}");
    let mut waiting = open(echo);
    fake.rise();
    assert_eq!(forward.error_line(), "umux: the daemon is back\n");
    assert_eq!(forward.error_line(), format!("umux: phone {UDID} is back\n"));
    talk(&mut waiting);
    talk(&mut open(echo));
}
