//! How connections end: half-close and drain, both ways, through raw sockets and `umux connect`. The other forwarders
//! hang up both ways at the first end of file, so nobody else can show this.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;
use usbmux_tests::daemon_process::{Daemon, Lines, program};
use usbmux_tests::random::pattern;
use usbmux_tests::socket::PATIENCE;
use usbmux_tests::tools::{Running, connect, phone_port, read_pattern, run, serve, write_pattern};

const LENGTH: usize = 3_000_000;

fn umux_connect(daemon: &Daemon, arguments: &[&str], input: &[u8]) -> std::process::Output {
    let mut command = Command::new(program("umux"));
    command.arg("connect").args(arguments);
    command.env("USBMUXD_SOCKET_ADDRESS", daemon.address());
    run(&mut command, input)
}

#[test]
fn a_half_closed_client_gets_the_whole_answer() {
    // The server answers only when it has the whole request, and then at length.
    let server = serve(|mut stream| {
        assert_eq!(read_pattern(&mut stream, 1, LENGTH), LENGTH);
        write_pattern(&mut stream, 2, LENGTH);
    });
    let daemon = Daemon::start(1, &[&phone_port(5000, server)]);
    let mut client = daemon.client();
    assert_eq!(client.connect_port(1, 5000).unwrap(), 0);
    assert!(write_pattern(&mut client.stream, 1, LENGTH));
    client.stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_pattern(&mut client.stream, 2, LENGTH), LENGTH);
    assert!(client.hung_up().unwrap());
}

#[test]
fn umux_connect_half_closes_and_stays_for_the_answer() {
    let server = serve(|mut stream| {
        assert_eq!(read_pattern(&mut stream, 1, LENGTH), LENGTH);
        write_pattern(&mut stream, 2, LENGTH);
    });
    let daemon = Daemon::start(1, &[&phone_port(5000, server)]);
    let output = umux_connect(&daemon, &["5000"], &pattern(1, 0, LENGTH));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stdout == pattern(2, 0, LENGTH), "{} bytes", output.stdout.len());
}

#[test]
fn umux_forward_half_closes_and_gets_the_whole_answer() {
    let server = serve(|mut stream| {
        assert_eq!(read_pattern(&mut stream, 1, LENGTH), LENGTH);
        write_pattern(&mut stream, 2, LENGTH);
    });
    let daemon = Daemon::start(1, &[&phone_port(5000, server)]);
    let mut command = Command::new(program("umux"));
    command.args(["forward", "0:5000"]).env("USBMUXD_SOCKET_ADDRESS", daemon.address());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut forward = Running(command.spawn().unwrap());
    let line = Lines::of(forward.0.stdout.take().unwrap()).wait_for("-> 5000");
    let mut stream = connect(line.split(' ').nth(1).unwrap().parse().unwrap());
    assert!(write_pattern(&mut stream, 1, LENGTH));
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_pattern(&mut stream, 2, usize::MAX >> 1), LENGTH);
}

#[test]
fn a_half_closed_connection_ends_when_the_phone_is_silent_for_the_linger_time() {
    let (done, ends) = mpsc::channel();
    let server = serve(move |mut stream| {
        let mut request = [0; 7];
        stream.read_exact(&mut request).unwrap();
        // It says nothing and waits for the end.
        let _ = done.send(stream.read(&mut [0; 1]).unwrap_or(0));
    });
    let daemon = Daemon::start(1, &["--linger=1", &phone_port(5000, server)]);
    let mut client = daemon.client();
    assert_eq!(client.connect_port(1, 5000).unwrap(), 0);
    client.send(b"request").unwrap();
    client.stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(ends.recv_timeout(PATIENCE).unwrap(), 0);
    assert!(client.hung_up().unwrap());
}

#[test]
fn what_a_client_sent_before_it_hung_up_reaches_the_phones_program() {
    let (done, counts) = mpsc::channel();
    let (go, gate) = mpsc::channel::<()>();
    let gate = std::sync::Arc::new(std::sync::Mutex::new(gate));
    let server = serve(move |mut stream| {
        // It reads nothing until the client is gone: only a drain brings it the rest.
        gate.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        let _ = done.send(read_pattern(&mut stream, 3, usize::MAX >> 1));
    });
    let daemon = Daemon::start(1, &[&phone_port(5000, server)]);
    let mut client = daemon.client();
    assert_eq!(client.connect_port(1, 5000).unwrap(), 0);
    // As much as fits on the way, without blocking for the server that does not read.
    client.stream.set_nonblocking(true).unwrap();
    let mut sent = 0;
    let mut refusals = 0;
    while refusals < 20 {
        match client.stream.write(&pattern(3, sent, 65_536)) {
            Ok(count) => {
                sent += count;
                refusals = 0;
            }
            Err(_) => {
                refusals += 1;
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
    drop(client);
    go.send(()).unwrap();
    assert_eq!(counts.recv_timeout(2 * PATIENCE).unwrap(), sent);
}

#[test]
fn umux_connect_drains_what_came_from_its_input() {
    let (done, counts) = mpsc::channel();
    let server = serve(move |mut stream| {
        let _ = done.send(read_pattern(&mut stream, 4, usize::MAX >> 1));
    });
    let daemon = Daemon::start(1, &["--phone-quirk=slow", &phone_port(5000, server)]);
    let length = 400_000;
    let output = umux_connect(&daemon, &["--linger=1", "5000"], &pattern(4, 0, length));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(counts.recv_timeout(2 * PATIENCE).unwrap(), length);
}

#[test]
fn what_the_phone_sent_before_its_end_reaches_a_slow_client() {
    let server = serve(|mut stream| {
        write_pattern(&mut stream, 5, LENGTH);
    });
    let daemon = Daemon::start(1, &[&phone_port(5000, server)]);
    let mut client = daemon.client();
    assert_eq!(client.connect_port(1, 5000).unwrap(), 0);
    // The client reads its first byte long after another connection came and went.
    let output = umux_connect(&daemon, &["5000"], b"");
    assert!(output.stdout == pattern(5, 0, LENGTH), "{} bytes", output.stdout.len());
    assert_eq!(read_pattern(&mut client.stream, 5, usize::MAX >> 1), LENGTH);
}

#[test]
fn the_end_of_a_phones_program_is_end_of_file() {
    let server = serve(|mut stream| {
        let _ = stream.write_all(b"short");
    });
    let daemon = Daemon::start(1, &[&phone_port(5000, server)]);
    let output = umux_connect(&daemon, &["5000"], b"");
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(0), &b"short"[..]));
}

#[test]
fn sigterm_drains_and_leaves_nothing_behind() {
    let (done, counts) = mpsc::channel();
    let server = serve(move |mut stream| {
        let _ = done.send(read_pattern(&mut stream, 6, usize::MAX >> 1));
    });
    let daemon = Daemon::start(1, &[&phone_port(5000, server)]);
    let mut client = daemon.client();
    assert_eq!(client.connect_port(1, 5000).unwrap(), 0);
    assert!(write_pattern(&mut client.stream, 6, 100_000));
    let socket = daemon.socket.clone();
    assert!(daemon.terminate().success());
    assert_eq!(counts.recv_timeout(PATIENCE).unwrap(), 100_000);
    assert!(!socket.exists());
}
