//! The program `umuxd` from outside: its options, what it prints, its files, signals and exit
//! status. What it serves is tested elsewhere.
#![cfg(feature = "simulate")]
#![allow(clippy::unwrap_used, clippy::panic)] // tests

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// A running daemon, killed at the test's end at the latest.
struct Umuxd {
    child: Child,
    stderr: BufReader<ChildStderr>,
}

impl Drop for Umuxd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program, with a folder of the test's as its runtime folder's parent.
fn umuxd(folder: &TempDir, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_umuxd"));
    command.args(arguments).env("XDG_RUNTIME_DIR", folder.path()).stderr(Stdio::piped());
    command
}

fn start(folder: &TempDir, arguments: &[&str]) -> Umuxd {
    let mut child = umuxd(folder, arguments).spawn().unwrap();
    let stderr = BufReader::new(child.stderr.take().unwrap());
    Umuxd { child, stderr }
}

fn output(folder: &TempDir, arguments: &[&str]) -> Output {
    umuxd(folder, arguments).output().unwrap()
}

impl Umuxd {
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stderr.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn listening_on(&mut self) -> String {
        let line = self.line();
        line.strip_prefix("listening on ").unwrap_or_else(|| panic!("{line:?}")).to_owned()
    }

    /// Ends it with a signal and returns its exit status.
    fn end_with(&mut self, signal: Signal) -> Option<i32> {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap();
        self.child.wait().unwrap().code()
    }
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// The folder a daemon makes in its runtime folder's parent.
fn made_in(folder: &TempDir) -> std::path::PathBuf {
    folder.path().join(format!("umuxd-{}", rustix::process::getuid().as_raw()))
}

fn one_line(output: &Output) -> &str {
    let text = std::str::from_utf8(&output.stderr).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    text.trim_end()
}

/// Whether a device of Apple's vendor number is on this machine's USB.
fn has_apple_device() -> bool {
    let devices = fs::read_dir("/sys/bus/usb/devices").into_iter().flatten().flatten();
    let vendors = devices.map(|device| fs::read_to_string(device.path().join("idVendor")));
    vendors.flatten().any(|vendor| vendor.trim() == "05ac")
}

#[test]
fn machine_without_usb_is_told_in_one_line_and_waits() {
    if has_apple_device() {
        return;
    }
    let folder = folder();
    let path = folder.path().join("usbmuxd");
    let socket = path.to_str().unwrap();
    for (option, what) in [("-f", "waiting for phones"), ("-n", "no phone is waited for")] {
        let mut umuxd = start(&folder, &["-S", socket, "-C", socket, option]);
        assert_eq!(umuxd.listening_on(), format!("UNIX:{socket}"));
        let line = umuxd.line();
        assert!(line.contains("USB") && line.contains(what), "{line}");
        UnixStream::connect(&path).unwrap();
        assert_eq!(umuxd.end_with(Signal::TERM), Some(0));
        let mut rest = String::new();
        umuxd.stderr.read_to_string(&mut rest).unwrap();
        assert_eq!(rest.lines().filter(|line| !line.contains("signal")).count(), 0, "{rest}");
    }
}

#[test]
fn wrong_usage_is_one_line_and_exit_status_2() {
    let folder = folder();
    for arguments in [&["--nonsense"][..], &["-U", "nobody"], &["--simulate", "--trace", "x"]] {
        let output = output(&folder, arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(one_line(&output).starts_with("umuxd: "), "{arguments:?}");
    }
}

#[test]
fn quirk_of_a_phone_that_is_not_there_is_wrong_usage() {
    let folder = folder();
    let output = output(&folder, &["--simulate=2", "--phone-quirk", "3:v1", "-S", "127.0.0.1:0"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(one_line(&output).contains("phone 3"));
}

#[test]
fn simulating_daemon_listens_on_both_kinds_and_says_what_to_try() {
    let folder = folder();
    let mut umuxd = start(&folder, &["--simulate"]);
    let path = made_in(&folder).join("usbmuxd");
    assert_eq!(umuxd.listening_on(), format!("UNIX:{}", path.display()));
    let address = umuxd.listening_on();
    assert!(address.starts_with("127.0.0.1:"), "{address}");
    umuxd.line();
    assert_eq!(umuxd.line().trim(), format!("export USBMUXD_SOCKET_ADDRESS={address}"));
    assert_eq!(fs::metadata(made_in(&folder)).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o666);
    UnixStream::connect(&path).unwrap();
    TcpStream::connect(&address).unwrap();
    assert_eq!(umuxd.end_with(Signal::TERM), Some(0));
    assert!(!path.exists());
    TcpStream::connect(&address).unwrap_err();
}

#[test]
fn second_simulating_daemon_takes_the_next_free_port() {
    let (first, second) = (folder(), folder());
    let mut one = start(&first, &["--simulate"]);
    let mut two = start(&second, &["--simulate"]);
    let addresses = [&mut one, &mut two].map(|umuxd| {
        umuxd.listening_on();
        umuxd.listening_on()
    });
    assert_ne!(addresses[0], addresses[1]);
    for address in addresses {
        TcpStream::connect(address).unwrap();
    }
}

#[test]
fn socket_that_somebody_serves_is_not_taken() {
    let folder = folder();
    let path = folder.path().join("mine");
    let socket = path.to_str().unwrap();
    let mut first = start(&folder, &["--simulate", "-S", socket]);
    first.listening_on();
    let second = output(&folder, &["--simulate", "-S", socket]);
    assert_eq!(second.status.code(), Some(1));
    assert!(one_line(&second).contains(socket));
    UnixStream::connect(&path).unwrap();
}

#[test]
fn given_socket_is_the_only_one() {
    let folder = folder();
    let path = folder.path().join("mine");
    let arguments = ["--simulate", "-S", path.to_str().unwrap(), "--socket-mode", "600"];
    let mut umuxd = start(&folder, &arguments);
    assert_eq!(umuxd.listening_on(), format!("UNIX:{}", path.display()));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(umuxd.end_with(Signal::INT), Some(0));
    let mut rest = String::new();
    umuxd.stderr.read_to_string(&mut rest).unwrap();
    assert!(!rest.contains("listening"), "{rest}");
}

#[test]
fn pidfile_is_there_while_it_runs() {
    let folder = folder();
    let path = folder.path().join("pid");
    let arguments = ["--simulate", "-S", "127.0.0.1:0", "-P", path.to_str().unwrap()];
    let mut umuxd = start(&folder, &arguments);
    umuxd.listening_on();
    assert_eq!(fs::read_to_string(&path).unwrap().trim(), umuxd.child.id().to_string());
    let second = output(&folder, &arguments);
    assert_eq!(second.status.code(), Some(1));
    assert!(one_line(&second).contains("another daemon"));
    assert_eq!(umuxd.end_with(Signal::TERM), Some(0));
    assert!(!path.exists());
}

#[test]
fn log_goes_to_its_file() {
    let folder = folder();
    let path = folder.path().join("log");
    let arguments = ["--simulate", "-v", "-S", "127.0.0.1:0", "-l", path.to_str().unwrap()];
    let mut umuxd = start(&folder, &arguments);
    umuxd.listening_on();
    assert_eq!(umuxd.end_with(Signal::TERM), Some(0));
    assert!(fs::read_to_string(&path).unwrap().contains("plugged in"));
}

#[test]
fn open_connection_is_drained_before_the_exit() {
    let folder = folder();
    let program = TcpListener::bind("127.0.0.1:0").unwrap();
    let mapping = format!("1000={}", program.local_addr().unwrap());
    let mut umuxd = start(&folder, &["--simulate", "-S", "127.0.0.1:0", "--phone-port", &mapping]);
    let mut client = connect(Path::new(&umuxd.listening_on()), 1, 1000);
    let mut program = program.accept().unwrap().0;
    client.write_all(&[7; 100_000]).unwrap();
    assert_eq!(umuxd.end_with(Signal::TERM), Some(0));
    let mut received = Vec::new();
    program.read_to_end(&mut received).unwrap();
    assert_eq!(received, [7; 100_000]);
    assert_eq!(client.read(&mut [0; 8]).unwrap(), 0);
}

/// Connects to a port of a phone with a binary Connect (PROTOCOL §5), once the phone is visible.
fn connect(address: &Path, device_id: u32, port: u16) -> TcpStream {
    loop {
        let mut client = TcpStream::connect(address.to_str().unwrap()).unwrap();
        let mut request: Vec<u8> =
            [24, 0, 2, 1, device_id].into_iter().flat_map(u32::to_le_bytes).collect();
        request.extend(port.to_be_bytes());
        request.extend([0, 0]);
        client.write_all(&request).unwrap();
        let mut result = [0; 20];
        client.read_exact(&mut result).unwrap();
        match result[16] {
            0 => return client,
            2 => {}
            other => panic!("result {other}"),
        }
    }
}
