//! The examples as programs. `cargo test` has built them beside its tests.
#![cfg(feature = "simulate")]
#![allow(clippy::unwrap_used, clippy::panic)] // tests

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

const FIRST: &str = "00008030-0000000000000001";

/// How long a connection may be silent before a test has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// An example that was built with this test.
fn example(name: &str) -> Command {
    let programs = Path::new(env!("CARGO_BIN_EXE_umux")).parent().unwrap();
    let path = programs.join("examples").join(name);
    assert!(path.exists(), "build the examples first: cargo build -p usbmux-host --examples");
    Command::new(path)
}

/// A program that runs beside a test and is killed with it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    fn start(command: &mut Command) -> (Self, BufReader<ChildStdout>) {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        (Self(child), stdout)
    }
}

/// A daemon with a virtual phone that has this quirk, and its address.
struct Daemon {
    _running: Running,
    _folder: TempDir,
    address: String,
}

fn daemon(quirk: &str) -> Daemon {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_umuxd"));
    command.args(["--simulate", "--phone-quirk", quirk, "-S", "127.0.0.1:0"]);
    command.arg("-C").arg(folder.path()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let line = line(&mut BufReader::new(child.stderr.take().unwrap()));
    let address = line.trim().strip_prefix("listening on ").unwrap().to_owned();
    let daemon = Daemon { _running: Running(child), _folder: folder, address };
    // It listens before its phone has answered the greeting.
    while daemon.shows_no_phone() {}
    daemon
}

impl Daemon {
    fn shows_no_phone(&self) -> bool {
        let mut list = Command::new(env!("CARGO_BIN_EXE_umux"));
        let output = list.args(["--socket", &self.address, "list"]).output().unwrap();
        assert!(output.status.success());
        output.stdout.is_empty()
    }
}

fn line(from: &mut impl BufRead) -> String {
    let mut line = String::new();
    from.read_line(&mut line).unwrap();
    line
}

#[test]
fn query_type_asks_a_virtual_phone_without_a_daemon() {
    let output = example("query_type").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text, format!("{FIRST} is a com.apple.mobile.lockdown\n"));
    assert!(output.status.success());
}

#[test]
fn watch_tells_of_a_phone_that_comes_and_goes() {
    let daemon = daemon("unplug=3");
    let mut command = example("watch");
    command.env("USBMUXD_SOCKET_ADDRESS", &daemon.address);
    let (_watch, mut shown) = Running::start(&mut command);
    assert_eq!(line(&mut shown), format!("1 came: {FIRST}\n"));
    assert_eq!(line(&mut shown), "1 went\n");
}

#[test]
fn forward_carries_both_ways_and_half_close() {
    let daemon = daemon("lenient-seq");
    let mut command = example("forward");
    command.args(["0", "7"]).env("USBMUXD_SOCKET_ADDRESS", &daemon.address);
    let (_forward, mut shown) = Running::start(&mut command);
    let shown = line(&mut shown);
    let local = shown.strip_suffix(" leads to port 7\n").unwrap();
    let mut stream = TcpStream::connect(local).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"hello").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut back = [0; 5];
    stream.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"hello");
}
