//! Much at once: large transfers with every byte compared, many connections, and clients that vanish.

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use usbmux_tests::daemon_process::{Daemon, program};
use usbmux_tests::random::pattern;
use usbmux_tests::socket::PATIENCE;
use usbmux_tests::tools::{
    Iproxy, Running, connect, phone_port, read_pattern, serve, write_pattern,
};

const MEGABYTE: usize = 1_000_000;

#[test]
fn iproxy_carries_100_megabytes_up_whole() {
    let length = 100 * MEGABYTE;
    // The server compares every byte and answers with how many came.
    let server = serve(move |mut stream| {
        let count = read_pattern(&mut stream, 1, length);
        let _ = stream.write_all(&count.to_be_bytes());
    });
    let daemon = Daemon::start(1, &[&phone_port(5000, server)]);
    let Some(mut iproxy) = Iproxy::start(&daemon, 5000) else { return };
    let mut stream = iproxy.connect();
    assert!(write_pattern(&mut stream, 1, length));
    let mut answer = [0; 8];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(usize::from_be_bytes(answer), length);
}

#[test]
fn iproxy_carries_100_megabytes_down_whole() {
    let length = 100 * MEGABYTE;
    let server = serve(move |mut stream| {
        write_pattern(&mut stream, 2, length);
    });
    let daemon = Daemon::start(1, &[&phone_port(5000, server)]);
    let Some(mut iproxy) = Iproxy::start(&daemon, 5000) else { return };
    let mut stream = iproxy.connect();
    assert_eq!(read_pattern(&mut stream, 2, length), length);
    assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0, "the end of file comes after everything");
}

#[test]
fn two_hundred_connections_work_at_once() {
    let daemon = Daemon::start(1, &[]);
    let mut clients: Vec<_> = (0..200).map(|_| daemon.client()).collect();
    for client in &mut clients {
        assert_eq!(client.connect_port(1, 7).unwrap(), 0);
    }
    // All are open; each sends its own bytes, then each gets its own back.
    for (salt, client) in (0..).zip(&mut clients) {
        client.send(&pattern(salt, 0, 5000)).unwrap();
    }
    for (salt, client) in (0..).zip(&mut clients) {
        assert_eq!(read_pattern(&mut client.stream, salt, 5000), 5000);
    }
    // And large ones through all of them at the same time.
    let threads: Vec<_> = (0..)
        .zip(clients)
        .map(|(salt, mut client)| {
            thread::spawn(move || {
                let mut writer = client.stream.try_clone().unwrap();
                let writing = thread::spawn(move || write_pattern(&mut writer, salt, 100_000));
                assert_eq!(read_pattern(&mut client.stream, salt, 100_000), 100_000);
                assert!(writing.join().unwrap());
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn a_client_killed_in_the_middle_ends_its_own_connection_only() {
    let (ended, end) = mpsc::channel();
    // It sends until it cannot any more.
    let server = serve(move |mut stream| {
        let whole = write_pattern(&mut stream, 3, 2000 * MEGABYTE);
        let _ = ended.send(whole);
    });
    let daemon = Daemon::start(1, &[&phone_port(5000, server)]);
    let mut bystander = daemon.client();
    assert_eq!(bystander.connect_port(1, 7).unwrap(), 0);
    let mut command = Command::new(program("umux"));
    command.args(["connect", "5000"]).env("USBMUXD_SOCKET_ADDRESS", daemon.address());
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut killed = Running(command.spawn().unwrap());
    let mut output = killed.0.stdout.take().unwrap();
    assert_eq!(read_pattern(&mut output, 3, MEGABYTE), MEGABYTE);
    killed.0.kill().unwrap();
    assert!(!end.recv_timeout(PATIENCE).unwrap(), "the server was told");
    assert!(write_pattern(&mut bystander.stream, 4, 50_000));
    assert_eq!(read_pattern(&mut bystander.stream, 4, 50_000), 50_000);
}

#[test]
fn a_forwarder_killed_in_the_middle_ends_its_own_connection_only() {
    let (ended, end) = mpsc::channel();
    let server = serve(move |mut stream| {
        let whole = write_pattern(&mut stream, 3, 2000 * MEGABYTE);
        let _ = ended.send(whole);
    });
    let daemon = Daemon::start(1, &[&phone_port(5000, server)]);
    let Some(mut iproxy) = Iproxy::start(&daemon, 5000) else { return };
    let mut stream = iproxy.connect();
    assert_eq!(read_pattern(&mut stream, 3, MEGABYTE), MEGABYTE);
    drop(iproxy);
    assert!(!end.recv_timeout(PATIENCE).unwrap(), "the server was told");
    usbmux_tests::clients::check_inetcat(&daemon);
}

#[test]
fn umux_forward_serves_several_clients_and_ports() {
    let server = serve(move |mut stream| {
        let mut byte = [0; 1];
        while stream.read_exact(&mut byte).is_ok() && stream.write_all(&[byte[0] ^ 0xff]).is_ok() {}
    });
    let daemon = Daemon::start(1, &[&phone_port(5000, server)]);
    let mut command = Command::new(program("umux"));
    command.args(["forward", "0:5000", "0:7"]);
    command.env("USBMUXD_SOCKET_ADDRESS", daemon.address());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut forward = Running(command.spawn().unwrap());
    let lines = usbmux_tests::daemon_process::Lines::of(forward.0.stdout.take().unwrap());
    let address = |port: &str| {
        let line = lines.wait_for(&format!("-> {port}"));
        line.split(' ').nth(1).unwrap().parse().unwrap()
    };
    let (inverter, echo) = (address("5000"), address("7"));
    let mut streams: Vec<_> = (0..5).map(|_| (connect(inverter), connect(echo))).collect();
    for (one, two) in &mut streams {
        one.write_all(&[0x0f]).unwrap();
        two.write_all(&[0x33]).unwrap();
    }
    for (one, two) in &mut streams {
        let mut bytes = [0; 2];
        one.read_exact(&mut bytes[..1]).unwrap();
        two.read_exact(&mut bytes[1..]).unwrap();
        assert_eq!(bytes, [0xf0, 0x33]);
    }
}

#[test]
fn unplugging_in_the_middle_ends_connections_and_tells_listeners() {
    let daemon = Daemon::start(2, &["--phone-quirk=1:unplug=1.5"]);
    let mut listener = daemon.client();
    let _ = listener.ask(1, "Listen", &[]).unwrap();
    for _ in 0..2 {
        assert_eq!(listener.receive().unwrap().text("MessageType"), Some("Attached"));
    }
    let mut streams: Vec<_> = (0..5).map(|_| daemon.client()).collect();
    for stream in &mut streams {
        assert_eq!(stream.connect_port(1, 19).unwrap(), 0);
    }
    let mut other = daemon.client();
    assert_eq!(other.connect_port(2, 7).unwrap(), 0);
    for stream in &mut streams {
        // Endless characters, until the cable is out.
        let _ = std::io::copy(&mut stream.stream, &mut std::io::sink());
    }
    let detached = listener.receive().unwrap();
    assert_eq!(detached.text("MessageType"), Some("Detached"));
    assert_eq!(detached.number("DeviceID"), Some(1));
    assert!(write_pattern(&mut other.stream, 5, 50_000));
    assert_eq!(read_pattern(&mut other.stream, 5, 50_000), 50_000);
    assert_eq!(daemon.client().connect_port(1, 7).unwrap(), 2);
    let Some((_, text)) = usbmux_tests::tools::client(&daemon, "idevice_id", &["-l"]) else {
        return;
    };
    assert_eq!(text, "00008030-0000000000000002\n");
}

#[test]
fn a_client_that_does_not_read_stops_nobody_else() {
    let daemon = Daemon::start(1, &[]);
    let mut silent: Vec<_> = (0..8).map(|_| daemon.client()).collect();
    for client in &mut silent {
        assert_eq!(client.connect_port(1, 19).unwrap(), 0);
    }
    let mut busy = daemon.client();
    assert_eq!(busy.connect_port(1, 7).unwrap(), 0);
    let mut writer = busy.stream.try_clone().unwrap();
    let writing = thread::spawn(move || write_pattern(&mut writer, 6, 5 * MEGABYTE));
    assert_eq!(read_pattern(&mut busy.stream, 6, 5 * MEGABYTE), 5 * MEGABYTE);
    assert!(writing.join().unwrap());
    // The silent ones did not lose what waits for them.
    for client in &mut silent {
        let mut bytes = vec![0; 200_000];
        client.stream.read_exact(&mut bytes).unwrap();
    }
}
