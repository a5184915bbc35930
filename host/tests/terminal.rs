//! What `umux` shows to a person: its standard error is a terminal, whose other end the test reads.
//!
//! What it says to scripts, whose standard error is none, is tested with its commands.
#![cfg(feature = "simulate")]
#![allow(clippy::unwrap_used, clippy::panic)] // tests

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// How long a status may let wait for itself before a test has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// Erases a status.
const ERASE: &str = "\r\x1b[K";

/// A terminal: what was written to it comes in pieces.
struct Terminal {
    written: Receiver<Vec<u8>>,
    /// For the program; none when it has been given away.
    end: Option<File>,
    text: String,
}

impl Terminal {
    fn new(columns: u16) -> Self {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&ours).unwrap();
        unlockpt(&ours).unwrap();
        let name = ptsname(&ours, Vec::new()).unwrap().into_string().unwrap();
        let end = OpenOptions::new().read(true).write(true).open(name).unwrap();
        let size = Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&end, size).unwrap();
        Self { written: read_in_background(ours), end: Some(end), text: String::new() }
    }

    /// Waits until it shows something.
    fn wait_for(&mut self, what: &str) {
        while !self.text.contains(what) {
            self.receive();
        }
    }

    /// Waits until something was written.
    fn receive(&mut self) {
        match self.written.recv_timeout(PATIENCE) {
            Ok(piece) => self.text.push_str(std::str::from_utf8(&piece).unwrap()),
            Err(_) => panic!("nothing follows {:?}", self.text),
        }
    }

    /// Everything that was written, when the program has ended.
    fn all(mut self) -> String {
        while let Ok(piece) = self.written.recv_timeout(PATIENCE) {
            self.text.push_str(std::str::from_utf8(&piece).unwrap());
        }
        self.text
    }
}

fn read_in_background(terminal: OwnedFd) -> Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let (mut terminal, mut buffer) = (File::from(terminal), [0; 4096]);
        // The end of the last program that has the other end shows as an error.
        while let Ok(count) = terminal.read(&mut buffer) {
            if count == 0 || sender.send(buffer[..count].to_vec()).is_err() {
                break;
            }
        }
    });
    receiver
}

/// A program that is killed with its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `umux` with these arguments and a virtual phone of its own, its standard error this terminal.
fn umux(arguments: &str, terminal: &mut Terminal) -> Running {
    let mut command = Command::new(env!("CARGO_BIN_EXE_umux"));
    command.args(arguments.split(' ')).args(["--direct", "--simulate"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(terminal.end.take().unwrap());
    Running(command.spawn().unwrap())
}

/// The statuses among what was written, each of which ends where it is erased.
fn statuses(text: &str) -> Vec<&str> {
    let parts: Vec<_> = text.split(ERASE).collect();
    parts[..parts.len() - 1].iter().map(|part| part.rsplit('\n').next().unwrap()).collect()
}

/// Forwards to the echo on a terminal of this width, has bytes carried, ends it; what was written.
fn forward(columns: u16, status: &str) -> String {
    let mut terminal = Terminal::new(columns);
    let mut forward = umux("forward 0:7 0:1", &mut terminal);
    let mut lines = BufReader::new(forward.0.stdout.take().unwrap()).lines();
    let mut connect = || {
        let line = lines.next().unwrap().unwrap();
        TcpStream::connect(line.split(' ').nth(1).unwrap()).unwrap()
    };
    let mut echo = connect();
    while !terminal.text.contains(status) {
        // Both ways in the same second, sooner or later.
        echo.write_all(&[7; 5000]).unwrap();
        echo.read_exact(&mut [0; 5000]).unwrap();
        let shown = terminal.text.len();
        while !terminal.text[shown..].contains("kB/s") {
            terminal.receive();
        }
        assert!(shown < 2000, "{status:?} is not in {:?}", terminal.text);
    }
    // A line in between takes the status's place.
    assert_eq!(connect().read(&mut [0]).unwrap(), 0);
    terminal.wait_for("check that something on it listens there\r\n");
    kill_process(Pid::from_child(&forward.0), Signal::INT).unwrap();
    assert_eq!(forward.0.wait().unwrap().code(), Some(0));
    terminal.all()
}

#[test]
fn forward_shows_connections_and_rates_and_leaves_a_clear_line() {
    let text = forward(80, "1 connection, 5.0 kB/s down, 5.0 kB/s up");
    assert!(text.starts_with("0 connections, 0 B/s down, 0 B/s up\r"), "{text:?}");
    assert!(text.contains("\r\x1b[Kumux: 127.0.0.1:"), "{text:?}");
    assert!(text.ends_with(ERASE), "{text:?}");
}

#[test]
fn status_never_fills_a_narrow_terminal() {
    for (columns, status) in
        [(40, "1 open, 5.0 kB/s down, 5.0 kB/s up"), (20, "1 open, 5.0 kB/s do")]
    {
        let text = forward(columns, &format!("{ERASE}{status}"));
        for status in statuses(&text) {
            assert!(status.len() < columns.into(), "{status:?}");
        }
    }
}

#[test]
fn long_transfer_shows_how_far_it_is() {
    let mut terminal = Terminal::new(80);
    let mut connect = umux("connect 7 --linger 0.2", &mut terminal);
    let mut input = connect.0.stdin.take().unwrap();
    input.write_all(&[7; 5000]).unwrap();
    connect.0.stdout.as_mut().unwrap().read_exact(&mut [0; 5000]).unwrap();
    terminal.wait_for("kB/s");
    terminal.wait_for("5.0 kB down at 0 B/s, 5.0 kB up at 0 B/s");
    drop(input);
    assert_eq!(connect.0.wait().unwrap().code(), Some(0));
    let text = terminal.all();
    assert!(text.ends_with(ERASE), "{text:?}");
}

#[test]
fn short_transfer_shows_nothing() {
    let mut terminal = Terminal::new(80);
    let mut connect = umux("connect 7 --linger 0.2", &mut terminal);
    drop(connect.0.stdin.take());
    assert_eq!(connect.0.wait().unwrap().code(), Some(0));
    assert_eq!(terminal.all(), "");
}

#[test]
fn what_the_phone_says_on_the_terminal_has_it_for_itself() {
    let mut terminal = Terminal::new(80);
    let output = terminal.end.as_ref().unwrap().try_clone().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_umux"));
    command.args(["connect", "7", "--linger", "1.5", "--direct", "--simulate"]);
    command.stdin(Stdio::piped()).stdout(output).stderr(terminal.end.take().unwrap());
    let mut connect = Running(command.spawn().unwrap());
    drop(command);
    terminal.wait_for("connected, nothing carried yet");
    let mut input = connect.0.stdin.take().unwrap();
    input.write_all(b"hello\n").unwrap();
    terminal.wait_for("hello\r\n");
    // Time enough for another status.
    drop(input);
    assert_eq!(connect.0.wait().unwrap().code(), Some(0));
    let text = terminal.all();
    assert!(text.ends_with(&format!("{ERASE}hello\r\n")), "{text:?}");
}
