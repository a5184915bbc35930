//! Programs we did not write, servers on this machine, and waits with a deadline: what the end-to-end runs stand on.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test helper: failing loudly is its job")]

use crate::daemon_process::{Daemon, wait};
use crate::random::pattern;
use crate::socket::PATIENCE;
use std::env;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// The path of a program of another project.
///
/// None with a line on stderr when it is not there; with `CI=true` that is a failure.
///
/// # Panics
///
/// When it is missing and `CI` is `true`.
#[must_use]
pub fn tool(name: &str) -> Option<PathBuf> {
    let folders = env::var_os("PATH").unwrap_or_default();
    let places = env::split_paths(&folders).chain(["/usr/sbin".into(), "/sbin".into()]);
    let found = places.map(|folder| folder.join(name)).find(|path| path.exists());
    if found.is_none() {
        missing(name);
    }
    found
}

/// Says that a program is missing and what that means.
///
/// # Panics
///
/// With `CI=true`.
pub fn missing(name: &str) {
    assert_ne!(env::var("CI").as_deref(), Ok("true"), "{name} is missing, and this is CI");
    eprintln!("SKIPPED: {name} is missing");
}

/// Runs a command to its end, with input, under a deadline.
///
/// # Panics
///
/// When it cannot be started or does not end in time.
#[must_use]
pub fn run(command: &mut Command, input: &[u8]) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // A program that ends early does not want the rest.
    let writer = thread::spawn(move || stdin.write_all(&input).is_ok());
    let stdout = in_background(child.stdout.take().unwrap());
    let stderr = in_background(child.stderr.take().unwrap());
    let Some(status) = wait(&mut child, 3 * PATIENCE) else {
        let _ = child.kill();
        let _ = child.wait();
        panic!("{command:?} does not end: {:?}", String::from_utf8_lossy(&stderr.join().unwrap()))
    };
    writer.join().unwrap();
    Output { status, stdout: stdout.join().unwrap(), stderr: stderr.join().unwrap() }
}

/// Reads a stream to its end in a thread.
#[must_use]
pub fn in_background(mut from: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        bytes
    })
}

/// Whatever speaks the socket protocol: a daemon, or a dongle.
pub trait Server {
    /// The value of `USBMUXD_SOCKET_ADDRESS` for the libimobiledevice family.
    fn address(&self) -> String;
}

impl Server for Daemon {
    fn address(&self) -> String {
        Daemon::address(self)
    }
}

/// Runs a client of the libimobiledevice family; its text, when the program is there.
#[must_use]
pub fn client(
    server: &impl Server,
    name: &str,
    arguments: &[&str],
) -> Option<(ExitStatus, String)> {
    let mut command = Command::new(tool(name)?);
    command.args(arguments).env("USBMUXD_SOCKET_ADDRESS", server.address());
    let output = run(&mut command, b"");
    Some((output.status, String::from_utf8_lossy(&output.stdout).into_owned()))
}

/// A process that is killed when the test is over.
#[derive(Debug)]
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `iproxy` from a free port of this machine to a port of the phone.
#[derive(Debug)]
pub struct Iproxy {
    local: u16,
    process: Running,
}

impl Iproxy {
    /// Starts it; none when the program is missing.
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    #[must_use]
    pub fn start(server: &impl Server, port: u16) -> Option<Iproxy> {
        let program = tool("iproxy")?;
        let local = free_port();
        let mut command = Command::new(program);
        command.args(["-s", "127.0.0.1", &format!("{local}:{port}")]);
        command.env("USBMUXD_SOCKET_ADDRESS", server.address());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Some(Iproxy { local, process: Running(command.spawn().unwrap()) })
    }

    /// The port it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.local
    }

    /// A connection through it, as soon as it listens.
    ///
    /// # Panics
    ///
    /// When it does not listen in time.
    pub fn connect(&mut self) -> TcpStream {
        let ended = self.process.0.try_wait().unwrap();
        assert_eq!(ended, None, "iproxy ended");
        connect(SocketAddr::from(([127, 0, 0, 1], self.local)))
    }
}

/// A TCP port that nobody uses at this moment.
///
/// # Panics
///
/// When there is none.
#[must_use]
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Connects as soon as somebody listens there.
///
/// # Panics
///
/// When nobody does in time.
#[must_use]
pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = until("somebody listens", || TcpStream::connect(address).ok());
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Polls a condition until it is there.
///
/// # Panics
///
/// When it does not come in time.
pub fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}: not in time");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A server on a free port of this machine: each connection gets a thread with the handler.
///
/// # Panics
///
/// When there is no free port.
pub fn serve(handler: impl Fn(TcpStream) + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let handler = handler.clone();
            thread::spawn(move || handler(stream));
        }
    });
    address
}

/// The option that leads a port of the phones to a server of this machine.
#[must_use]
pub fn phone_port(port: u16, server: SocketAddr) -> String {
    format!("--phone-port={port}={server}")
}

/// Bytes in one piece of a long stream.
const PIECE: usize = 65_536;

/// Writes `length` bytes that tell their place; false when the other side hung up before.
pub fn write_pattern(to: &mut impl Write, salt: u32, length: usize) -> bool {
    let mut at = 0;
    while at < length {
        let piece = pattern(salt, at, PIECE.min(length - at));
        if to.write_all(&piece).is_err() {
            return false;
        }
        at += piece.len();
    }
    true
}

/// Reads up to `length` such bytes and compares every one; returns how many came before the end of file.
///
/// # Panics
///
/// When a byte is another, or nothing comes in time.
pub fn read_pattern(from: &mut impl Read, salt: u32, length: usize) -> usize {
    let mut at = 0;
    let mut buffer = vec![0; PIECE];
    while at < length {
        let most = PIECE.min(length - at);
        let count = match from.read(&mut buffer[..most]) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
            Err(error) => panic!("after {at} bytes: {error}"),
        };
        let same = buffer[..count] == pattern(salt, at, count);
        assert!(same, "other bytes between {at} and {}", at + count);
        at += count;
    }
    at
}
