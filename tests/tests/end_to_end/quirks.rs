//! Each quirk of the virtual phone, as a client that we did not write sees it.

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use usbmux_tests::clients::{FIRST_PHONE, check_ideviceinfo, check_inetcat};
use usbmux_tests::daemon_process::{Daemon, Lines, program};
use usbmux_tests::socket::Client;
use usbmux_tests::tools::{
    Iproxy, Running, client, connect, phone_port, read_pattern, serve, until, write_pattern,
};

/// What every phone must serve, however odd it is.
fn check_clients(daemon: &Daemon) {
    if let Some((_, text)) = client(daemon, "idevice_id", &["-l"]) {
        assert_eq!(text, format!("{FIRST_PHONE}\n"));
    }
    check_ideviceinfo(daemon);
    check_inetcat(daemon);
}

/// A megabyte up and one down through iproxy, every byte compared.
fn check_transfers(quirk: &str, length: usize) {
    let server = serve(move |mut stream| {
        let count = read_pattern(&mut stream, 1, length);
        if count == length {
            write_pattern(&mut stream, 2, length);
        }
    });
    let daemon = Daemon::start(1, &[quirk, &phone_port(5000, server)]);
    let Some(mut iproxy) = Iproxy::start(&daemon, 5000) else { return };
    let mut stream = iproxy.connect();
    assert!(write_pattern(&mut stream, 1, length));
    assert_eq!(read_pattern(&mut stream, 2, length), length);
    assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0);
}

#[test]
fn lenient_seq_serves_every_client() {
    check_clients(&Daemon::start(1, &["--phone-quirk=lenient-seq"]));
}

#[test]
fn lenient_seq_survives_a_lost_transfer() {
    let quirks = ["--phone-quirk=lenient-seq", "--phone-quirk=lost-transfer=12"];
    let daemon = Daemon::start(1, &quirks);
    // Something is lost with the transfer, but the session lives on: this connection was open all the time.
    let mut bystander = daemon.client();
    assert_eq!(bystander.connect_port(1, 7).unwrap(), 0);
    for _ in 0..20 {
        let mut client = daemon.client();
        if client.connect_port(1, 7).unwrap() == 0 {
            let _ = client.send(b"x");
        }
    }
    assert!(write_pattern(&mut bystander.stream, 3, 10_000));
    assert_eq!(read_pattern(&mut bystander.stream, 3, 10_000), 10_000);
    check_clients(&daemon);
}

#[test]
fn stale_session_serves_every_client() {
    check_clients(&Daemon::start(1, &["--phone-quirk=stale-session"]));
}

#[test]
fn trailing_bytes_serve_every_client() {
    check_clients(&Daemon::start(1, &["--phone-quirk=trailing-bytes"]));
    check_transfers("--phone-quirk=trailing-bytes", 1_000_000);
}

#[test]
fn v1_serves_every_client() {
    check_clients(&Daemon::start(1, &["--phone-quirk=v1"]));
    check_transfers("--phone-quirk=v1", 1_000_000);
}

#[test]
fn tiny_window_serves_every_client() {
    check_clients(&Daemon::start(1, &["--phone-quirk=tiny-window"]));
    check_transfers("--phone-quirk=tiny-window", 200_000);
}

#[test]
fn slow_serves_every_client() {
    check_clients(&Daemon::start(1, &["--phone-quirk=slow"]));
    check_transfers("--phone-quirk=slow", 100_000);
}

#[test]
fn overrun_costs_its_own_connection() {
    let daemon = Daemon::start(1, &["--phone-quirk=overrun"]);
    let mut bystander = daemon.client();
    assert_eq!(bystander.connect_port(1, 7).unwrap(), 0);
    // Endless characters without regard to a window, and a client that does not read for a while.
    let Some(mut iproxy) = Iproxy::start(&daemon, 19) else { return };
    let mut stream = iproxy.connect();
    let mut other = daemon.client();
    assert_eq!(other.connect_port(1, 19).unwrap(), 0);
    check_ideviceinfo(&daemon);
    // Both end, although the phone would send for ever.
    let _ = std::io::copy(&mut stream, &mut std::io::sink());
    let _ = std::io::copy(&mut other.stream, &mut std::io::sink());
    assert!(write_pattern(&mut bystander.stream, 3, 10_000));
    assert_eq!(read_pattern(&mut bystander.stream, 3, 10_000), 10_000);
    check_inetcat(&daemon);
}

#[test]
fn silent_version_is_asked_again() {
    let daemon = Daemon::start(1, &["--phone-quirk=silent-version=1"]);
    check_clients(&daemon);
}

#[test]
fn silent_version_is_cured_by_a_port_reset() {
    let daemon = Daemon::start_unlisted(1, &["--phone-quirk=silent-version"], |_| {});
    if let Some((status, text)) = client(&daemon, "idevice_id", &["-l"]) {
        assert_eq!(
            (status.code(), &*text),
            (Some(0), ""),
            "a phone without a session is not listed"
        );
    }
    daemon.wait_for_phones(1);
    check_clients(&daemon);
}

#[test]
fn rst_text_ends_the_connection_and_stands_in_the_log() {
    let daemon = Daemon::start(1, &["-v", "--phone-quirk=rst-text"]);
    let Some(mut iproxy) = Iproxy::start(&daemon, 19) else { return };
    let mut stream = iproxy.connect();
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    assert!(!bytes.is_empty(), "the reset comes in mid-stream");
    // The byte pipe of the socket protocol has no words for it: they are in the daemon's log,
    let line = daemon.log.wait_for("port 19: reset: ");
    let (_, reason) = line.rsplit_once("reset: ").unwrap();
    assert!(!reason.is_empty(), "{line}");
    // and our own client asks for them.
    let mut umux = Command::new(program("umux"));
    umux.args(["--socket", &daemon.address(), "connect", "19"]).stdin(Stdio::null());
    let broken = umux.stdout(Stdio::null()).stderr(Stdio::piped()).output().unwrap();
    let error = String::from_utf8_lossy(&broken.stderr).into_owned();
    assert_eq!(broken.status.code(), Some(1), "{error}");
    assert_eq!(error, format!("umux: the connection broke off: {reason}\n"));
    let mut umux = Command::new(program("umux"));
    umux.args(["--socket", &daemon.address(), "forward", "0:19"]).stdin(Stdio::null());
    umux.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut forward = Running(umux.spawn().unwrap());
    let line = Lines::of(forward.0.stdout.take().unwrap()).wait_for("-> 19");
    let mut stream = connect(line.split(' ').nth(1).unwrap().parse().unwrap());
    let _ = stream.read_to_end(&mut bytes);
    drop(stream);
    let said = Lines::of(forward.0.stderr.take().unwrap()).wait_for("broke off");
    assert!(said.ends_with(&format!(" -> 19: the connection broke off: {reason}")), "{said}");
    if let Some((_, text)) = client(&daemon, "idevice_id", &["-l"]) {
        assert_eq!(text, format!("{FIRST_PHONE}\n"));
    }
}

#[test]
fn unplug_takes_the_phone_from_the_list() {
    let daemon = Daemon::start(1, &["--phone-quirk=unplug=1"]);
    let Some(mut iproxy) = Iproxy::start(&daemon, 19) else { return };
    let mut stream = iproxy.connect();
    let _ = std::io::copy(&mut stream, &mut std::io::sink());
    let listed = || client(&daemon, "idevice_id", &["-l"]);
    until("the phone is gone", || match listed() {
        Some((status, text)) => (status.success() && text.is_empty()).then_some(()),
        None => Some(()),
    });
}

#[test]
fn replug_brings_the_phone_back_again_and_again() {
    let quirks = ["--phone-quirk=unplug=0.2", "--phone-quirk=replug=0.1"];
    let daemon = Daemon::start(1, &quirks);
    let mut listener = daemon.client();
    let _ = listener.ask(1, "Listen", &[]).unwrap();
    let first = listener.receive().unwrap().number("DeviceID").unwrap();
    for device in first..first + 3 {
        let gone = listener.receive().unwrap();
        assert_eq!(
            (gone.text("MessageType"), gone.number("DeviceID")),
            (Some("Detached"), Some(device))
        );
        let back = listener.receive().unwrap();
        assert_eq!(
            (back.text("MessageType"), back.number("DeviceID")),
            (Some("Attached"), Some(device + 1))
        );
    }
}

#[test]
fn lost_transfer_ends_connections_but_not_the_phone() {
    let daemon = Daemon::start(1, &["--phone-quirk=lost-transfer=40"]);
    let mut listener = daemon.client();
    let _ = listener.ask(1, "Listen", &[]).unwrap();
    assert_eq!(listener.receive().unwrap().text("MessageType"), Some("Attached"));
    let mut open = daemon.client();
    assert_eq!(open.connect_port(1, 7).unwrap(), 0);
    // It talks until the transfer is lost: the session is dead, and the connection with it.
    let echo = |open: &mut Client| {
        open.stream.write_all(b"ping").is_ok() && open.stream.read_exact(&mut [0; 4]).is_ok()
    };
    until("the connection ends", || (!echo(&mut open)).then_some(()));
    let again = until("the phone serves again", || {
        let mut client = daemon.client();
        (client.connect_port(1, 7).unwrap() == 0).then_some(client)
    });
    drop(again);
    assert!(listener.is_silent().unwrap(), "the phone was never gone");
    check_clients(&daemon);
}

#[test]
fn connect_that_the_phone_ignores_is_refused_before_clients_lose_patience() {
    // libusbmuxd waits 5 seconds for a Result and then takes the daemon for dead.
    const CLIENT_PATIENCE: Duration = Duration::from_secs(5);
    let daemon = Daemon::start(2, &["--phone-quirk=1:silent-connect"]);
    let mut bystander = daemon.client();
    assert_eq!(bystander.connect_port(2, 7).unwrap(), 0);
    let mut client = daemon.client();
    client.stream.set_read_timeout(Some(2 * CLIENT_PATIENCE)).unwrap();
    let begun = Instant::now();
    let connecting = thread::spawn(move || (client.connect_port(1, 7).unwrap(), client));
    // Nobody else waits meanwhile.
    while !connecting.is_finished() {
        assert!(write_pattern(&mut bystander.stream, 3, 10_000));
        assert_eq!(read_pattern(&mut bystander.stream, 3, 10_000), 10_000);
    }
    let (result, mut client) = connecting.join().unwrap();
    let took = begun.elapsed();
    assert_eq!(result, 3);
    assert!(Duration::from_secs(4) < took && took < CLIENT_PATIENCE, "{took:?}");
    // The socket is as good as new.
    assert_eq!(client.connect_port(2, 7).unwrap(), 0);
}
