//! `umux --direct` and `umux demo` from outside, with virtual phones: the same output and exit
//! statuses as with a daemon.
#![cfg(feature = "simulate")]
#![allow(clippy::unwrap_used, clippy::panic)] // tests

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, ChildStderr, ChildStdout, Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

const FIRST: &str = "00008030-0000000000000001";
const SECOND: &str = "00008030-0000000000000002";

/// How long a local connection may be silent before a test has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// `umux` with arguments that stand in one text, and a daemon's address that leads nowhere.
fn umux(arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_umux"));
    command.args(arguments.split_whitespace()).env("USBMUXD_SOCKET_ADDRESS", "/nowhere/at/all");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

/// Runs a command that must succeed without a word on standard error.
fn succeed(arguments: &str) -> String {
    let output = umux(arguments).output().unwrap();
    assert_eq!((stderr(&output), output.status.code()), ("", Some(0)), "{arguments}");
    String::from_utf8(output.stdout).unwrap()
}

/// Runs a command that must fail with this status and one line, which is returned.
fn fail(arguments: &str, status: i32) -> String {
    let output = umux(arguments).output().unwrap();
    let line = stderr(&output).to_owned();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(status), 0), "{line}");
    assert_eq!((line.starts_with("umux: "), line.lines().count()), (true, 1), "{line}");
    line
}

/// Runs a command with this standard input; returns its standard output.
fn pipe_through(arguments: &str, input: Vec<u8>) -> Vec<u8> {
    let mut child = umux(arguments).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let writing = thread::spawn(move || stdin.write_all(&input).unwrap());
    let output = child.wait_with_output().unwrap();
    writing.join().unwrap();
    assert_eq!((stderr(&output), output.status.code()), ("", Some(0)), "{arguments}");
    output.stdout
}

/// Bytes in which every lost, doubled or moved one shows.
fn pattern(length: usize) -> Vec<u8> {
    (0..length as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

#[test]
fn list_has_the_lines_and_objects_of_a_list_through_a_daemon() {
    let lines = format!(
        "{FIRST}  0x12a8  0x00010001  480Mbit/s\n{SECOND}  0x12a8  0x00010002  480Mbit/s\n"
    );
    assert_eq!(succeed("list --direct --simulate=2"), lines);
    let objects: Value = serde_json::from_str(&succeed("list --direct --simulate --json")).unwrap();
    let expected = json!([{
        "UDID": FIRST, "DeviceID": 1, "ProductID": 0x12a8, "LocationID": 0x1_0001,
        "ConnectionSpeed": 480_000_000, "ConnectionType": "USB", "SerialNumber": FIRST,
    }]);
    assert_eq!(objects, expected);
}

#[test]
fn connect_hands_over_its_input_and_what_the_phone_answers() {
    let sent = pattern(2_000_000);
    let back = pipe_through("connect 7 --direct --simulate --linger 0.5", sent.clone());
    assert!(back == sent);
}

#[test]
fn connect_ends_only_when_the_phone_has_everything() {
    let program = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = program.local_addr().unwrap();
    let reading = thread::spawn(move || {
        let mut received = Vec::new();
        program.accept().unwrap().0.read_to_end(&mut received).unwrap();
        received
    });
    let sent = pattern(3_000_000);
    let arguments = format!("connect 80 --direct --simulate --phone-port 80={address} --linger 0");
    assert!(pipe_through(&arguments, sent.clone()).is_empty());
    assert!(reading.join().unwrap() == sent);
}

#[test]
fn failures_have_the_words_and_statuses_of_those_with_a_daemon() {
    let refused = fail("connect 1 --direct --simulate", 4);
    assert!(refused.contains("refused port 1, or did not answer: check"), "{refused}");
    for command in ["connect 7", "forward 0:7"] {
        let unknown = fail(&format!("{command} --direct --simulate -u nobody"), 3);
        assert!(unknown.contains("\"nobody\" is plugged in: see with umux list"), "{unknown}");
        let several = umux(&format!("{command} --direct --simulate=2")).output().unwrap();
        assert_eq!(several.status.code(), Some(2));
        let text = stderr(&several);
        assert!(text.starts_with("umux: 2 phones are plugged in: choose one with -u UDID\n"));
        assert!(text.contains(FIRST) && text.contains(SECOND), "{text}");
    }
    let second = format!("connect 7 --direct --simulate=2 -u {SECOND} --linger 0.2");
    assert_eq!(pipe_through(&second, b"x".to_vec()), b"x");
}

#[test]
fn options_that_exclude_each_other_are_wrong_usage() {
    for (arguments, advice) in [
        ("list --simulate", "goes with --direct"),
        ("list --direct --socket /x", "leave one of them out"),
        ("list --direct --simulate --phone-quirk 2:v1", "say --simulate=2"),
        ("list --direct --phone-quirk v1", "--simulate"),
        ("watch --direct", "--direct"),
        ("connect 7 --direct --simulate=0", "0"),
    ] {
        let line = fail(arguments, 2);
        assert!(line.contains(advice), "{line}");
    }
}

#[test]
fn without_a_phone_on_usb_one_line_says_what_to_do() {
    let output = umux("connect 7 --direct").output().unwrap();
    let line = stderr(&output);
    let advice = match output.status.code() {
        // A machine with USB and no phone, one without USB, one with a phone.
        Some(3) => "plug one in",
        Some(1) => ": ",
        _ => return,
    };
    assert!(line.contains(advice) && line.lines().count() == 1, "{line}");
}

/// A running `umux forward`, killed with the test.
struct Forward {
    child: Child,
    stdout: BufReader<ChildStdout>,
    stderr: BufReader<ChildStderr>,
}

impl Drop for Forward {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Forward {
    fn start(arguments: &str) -> Self {
        let mut child = umux(arguments).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let stderr = BufReader::new(child.stderr.take().unwrap());
        Self { child, stdout, stderr }
    }

    /// Connects to the local end of the next `forwarding … -> port`.
    fn connect(&mut self, port: u16) -> TcpStream {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        let local = line.strip_prefix("forwarding ").unwrap_or_else(|| panic!("{line:?}"));
        let local = local.strip_suffix(&format!(" -> {port}\n")).unwrap();
        let stream = TcpStream::connect(local).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    fn error_line(&mut self) -> String {
        let mut line = String::new();
        self.stderr.read_line(&mut line).unwrap();
        line
    }
}

fn echoes(stream: &mut TcpStream, bytes: &[u8]) {
    stream.write_all(bytes).unwrap();
    let mut back = vec![0; bytes.len()];
    stream.read_exact(&mut back).unwrap();
    assert!(back == bytes);
}

#[test]
fn forward_carries_half_close_and_ends_well_on_a_signal() {
    let mut forward = Forward::start("forward 0:7 0:9 --direct --simulate");
    let mut echo = forward.connect(7);
    let mut discard = forward.connect(9);
    echoes(&mut echo, &pattern(100_000));
    discard.write_all(&pattern(1000)).unwrap();
    discard.shutdown(Shutdown::Write).unwrap();
    echoes(&mut echo, b"still there");
    kill_process(Pid::from_child(&forward.child), Signal::TERM).unwrap();
    let mut rest = String::new();
    forward.stderr.read_to_string(&mut rest).unwrap();
    assert_eq!((forward.child.wait().unwrap().code(), rest.as_str()), (Some(0), ""));
}

#[test]
fn connection_that_the_phone_resets_ends_with_its_words() {
    let quirk = "--direct --simulate --phone-quirk rst-text";
    let output = umux(&format!("connect 19 {quirk}")).output().unwrap();
    assert!(!output.stdout.is_empty(), "the reset comes in mid-stream");
    assert_eq!(stderr(&output), "umux: the connection broke off: connection failed\n");
    assert_eq!(output.status.code(), Some(1));

    let mut forward = Forward::start(&format!("forward 0:19 {quirk}"));
    let mut stream = forward.connect(19);
    let from = stream.local_addr().unwrap();
    stream.read_to_end(&mut Vec::new()).unwrap();
    drop(stream);
    let line = format!("umux: {from} -> 19: the connection broke off: connection failed\n");
    assert_eq!(forward.error_line(), line);
}

#[test]
fn forward_survives_a_replug() {
    // It is plugged in anew when it is opened again.
    let mut forward = Forward::start("forward 0:7 --direct --simulate --phone-quirk unplug=0.5");
    let mut before = forward.connect(7);
    let local = before.peer_addr().unwrap();
    echoes(&mut before, b"before");
    assert_eq!(before.read(&mut [0; 8]).unwrap(), 0);
    let from = before.local_addr().unwrap();
    drop(before);
    let mut lines = [forward.error_line(), forward.error_line()];
    lines.sort();
    let broken = format!("umux: {from} -> 7: the connection broke off: unplugged\n");
    let unplugged = format!("umux: phone {FIRST} was unplugged; waiting for it\n");
    assert_eq!(lines, [broken, unplugged]);
    // It waits for the phone.
    let mut after = TcpStream::connect(local).unwrap();
    after.set_read_timeout(Some(PATIENCE)).unwrap();
    echoes(&mut after, b"after");
    assert_eq!(forward.error_line(), format!("umux: phone {FIRST} is back\n"));
}

#[test]
fn demo_shows_every_step_and_succeeds() {
    let shown = succeed("demo");
    let steps: Vec<_> = shown.lines().filter_map(|line| line.split_once("  ")).collect();
    let numbers: Vec<u32> = steps.iter().filter_map(|(number, _)| number.parse().ok()).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7]);
    let attached = format!("attached  {FIRST}");
    let detached = format!("detached  {SECOND}");
    for what in [
        "listening on UNIX:/",
        &attached,
        "DeviceName: Virtual Phone 1",
        "<- hello, phone",
        "16 MiB each way",
        "the phone refused port 1",
        &detached,
        "Now you:",
    ] {
        assert!(shown.contains(what), "{what}:\n{shown}");
    }
}

#[test]
fn help_teaches_by_commands_that_work() {
    let help = succeed("--help");
    for what in ["umux demo", "connect 7 --direct --simulate", "forward 2222:22"] {
        assert!(help.contains(what), "{what}");
    }
    for command in ["list", "forward", "connect"] {
        let help = succeed(&format!("{command} --help"));
        assert!(help.contains("--direct") && help.contains("--simulate"), "{help}");
    }
}
