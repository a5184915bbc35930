//! Whole runs of `usbmux-sim dongle`: the firmware and a virtual phone on the simulated board as a process, programs
//! we did not write as its clients, every byte compared.
//!
//! A missing client is a failure when `CI` is `true` and a line with SKIPPED otherwise.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use rustix::process::Signal;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output};
use std::thread;
use usbmux_tests::clients::{FIRST_PHONE, check_idevice_id, check_ideviceinfo, check_inetcat};
use usbmux_tests::daemon_process::program;
use usbmux_tests::dongle_process::Dongle;
use usbmux_tests::random::pattern;
use usbmux_tests::tools::{
    Iproxy, connect, phone_port, read_pattern, run, serve, tool, until, write_pattern,
};

const ECHO: &str = "0:7";

/// Sends a pattern and reads its echo at the same time.
fn check_echo(stream: &mut TcpStream, salt: u32, length: usize) {
    let mut writer = stream.try_clone().unwrap();
    let writing = thread::spawn(move || write_pattern(&mut writer, salt, length));
    assert_eq!(read_pattern(stream, salt, length), length);
    assert!(writing.join().unwrap());
}

fn umux(dongle: &Dongle, arguments: &[&str], input: &[u8]) -> Output {
    let mut command = Command::new(program("umux"));
    command.args(["--socket", &dongle.socket_address().to_string()]).args(arguments);
    run(&mut command, input)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_clients_of_libimobiledevice_find_the_phone() {
    for speed in ["full", "high"] {
        let dongle = Dongle::start(&["--speed", speed]);
        check_idevice_id(&dongle);
        check_ideviceinfo(&dongle);
        check_inetcat(&dongle);
    }
}

#[test]
fn a_script_may_ask_again_and_again() {
    let dongle = Dongle::start(&[]);
    // Each leaves a half-closed connection behind; a dongle has four places.
    for _ in 0..12 {
        check_ideviceinfo(&dongle);
    }
}

#[test]
fn umux_speaks_to_a_dongle_as_to_a_daemon() {
    let dongle = Dongle::start(&[]);
    let list = umux(&dongle, &["list"], b"");
    assert!(text(&list.stdout).starts_with(FIRST_PHONE), "{list:?}");
    let info = umux(&dongle, &["info"], b"");
    assert!(text(&info.stdout).contains("Virtual Phone 1"), "{info:?}");
    let echo = umux(&dongle, &["connect", "7"], b"there and back\n");
    assert_eq!((text(&echo.stdout), echo.status.code()), ("there and back\n".to_owned(), Some(0)));
    let buid = umux(&dongle, &["buid"], b"");
    assert_eq!(text(&buid.stdout).trim().len(), 36, "{buid:?}");
    let refused = umux(&dongle, &["connect", "99"], b"");
    assert_eq!(refused.status.code(), Some(4), "{refused:?}");
}

#[test]
fn a_pair_record_may_be_saved_again_and_again() {
    // As long as a real one: there is no room for two on a board of 64 KiB.
    let record = |filler: &str| {
        let data = filler.repeat(9000);
        let body = format!("<dict><key>HostID</key><string>{data}</string></dict>");
        format!("<?xml version=\"1.0\"?><plist version=\"1.0\">{body}</plist>").into_bytes()
    };
    let dongle = Dongle::start(&[]);
    let pair_record =
        |what: &str, input: &[u8]| umux(&dongle, &["pair-record", what, FIRST_PHONE], input);
    for filler in ["a", "b", "c"] {
        let record = record(filler);
        let saved = pair_record("save", &record);
        assert!(saved.status.success(), "{saved:?}");
        assert!(pair_record("read", b"").stdout == record);
    }
    assert!(pair_record("delete", b"").status.success());
    assert!(!pair_record("read", b"").status.success());
    let smallest = Dongle::start(&["--ram", "32"]);
    let refused = umux(&smallest, &["pair-record", "save", FIRST_PHONE], &record("d"));
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
}

#[test]
fn several_streams_through_iproxy_and_a_forward_at_once() {
    const LENGTH: usize = 300_000;
    let dongle = Dongle::start(&["--forward", ECHO]);
    let Some(mut iproxy) = Iproxy::start(&dongle, 7) else { return };
    let forward = dongle.forward(7);
    let mut streams = vec![iproxy.connect(), connect(forward), connect(forward)];
    thread::scope(|scope| {
        for (salt, stream) in (1..).zip(&mut streams) {
            scope.spawn(move || check_echo(stream, salt, LENGTH));
        }
        check_idevice_id(&dongle);
    });
}

/// A web server of this machine behind a port of the phone's.
fn web_server(body: Vec<u8>) -> SocketAddr {
    serve(move |mut stream| {
        let mut request = Vec::new();
        let mut byte = [0];
        while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n == 1) {
            request.push(byte[0]);
        }
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        let _ = stream.write_all(head.as_bytes());
        let _ = stream.write_all(&body);
    })
}

#[test]
fn curl_loads_a_page_through_a_forward() {
    let Some(curl) = tool("curl") else { return };
    let body = pattern(7, 0, 500_000);
    let server = web_server(body.clone());
    let dongle = Dongle::start(&["--forward", "0:8080", &phone_port(8080, server)]);
    let url = format!("http://{}/", dongle.forward(8080));
    let output = run(Command::new(curl).args(["-s", "-S", "--noproxy", "*", &url]), b"");
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(output.stdout == body, "{} bytes came", output.stdout.len());
}

#[test]
fn curl_reads_the_status_page() {
    let Some(curl) = tool("curl") else { return };
    let dongle = Dongle::start(&[]);
    let page = dongle.page();
    let get = |url: &str| {
        let output = run(Command::new(&curl).args(["-s", "-S", "--noproxy", "*", url]), b"");
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    assert!(get(&page).contains(FIRST_PHONE));
    assert!(get(&format!("{page}status.json")).contains(FIRST_PHONE));
}

#[test]
fn ends_of_streams_and_resets_pass_through() {
    // The server says how much it heard once the client has ended its stream.
    let server = serve(|mut stream| {
        let mut all = Vec::new();
        let _ = stream.read_to_end(&mut all);
    });
    let dongle = Dongle::start(&[
        "--forward",
        ECHO,
        "--forward",
        "0:99",
        "--forward",
        "0:5000",
        &phone_port(5000, server),
    ]);
    // Half-close: the echo still comes.
    let mut stream = connect(dongle.forward(7));
    stream.write_all(b"last words").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut back = [0; 10];
    stream.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"last words");
    // A port where nothing listens: a reset, not an end of file.
    let mut refused = connect(dongle.forward(99));
    let error = refused.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    drop(stream);
}

#[test]
fn a_crowd_is_refused_at_once_and_served_later() {
    let dongle = Dongle::start(&["--forward", ECHO]);
    let forward = dongle.forward(7);
    let mut crowd: Vec<TcpStream> = (0..50).map(|_| connect(forward)).collect();
    let served: Vec<bool> = crowd
        .iter_mut()
        .map(|stream| {
            let mut back = [0; 5];
            stream.write_all(b"hello").is_ok() && stream.read_exact(&mut back).is_ok()
        })
        .collect();
    let count = served.iter().filter(|served| **served).count();
    assert_eq!(count, 4, "{served:?}");
    drop(crowd);
    until("a place is free again", || {
        let mut stream = connect(forward);
        let mut back = [0; 5];
        (stream.write_all(b"again").is_ok() && stream.read_exact(&mut back).is_ok()).then_some(())
    });
}

#[test]
fn garbage_harms_nobody_else() {
    let dongle = Dongle::start(&["--forward", ECHO]);
    let page = dongle.page();
    let page: SocketAddr =
        page.trim_start_matches("http://").trim_end_matches('/').parse().unwrap();
    let mut witness = connect(dongle.forward(7));
    for (salt, address) in [(1, dongle.socket_address()), (2, page), (3, dongle.socket_address())] {
        let mut stream = connect(address);
        // It may hang up whenever it likes.
        let _ = stream.write_all(&pattern(salt, 0, 20_000));
        let _ = stream.shutdown(Shutdown::Write);
        let _ = stream.read_to_end(&mut Vec::new());
        check_echo(&mut witness, salt, 2000);
    }
    check_idevice_id(&dongle);
}

#[test]
fn a_phone_that_is_pulled_out_is_gone_from_the_list() {
    let dongle = Dongle::start(&["--forward", ECHO, "--phone-quirk", "unplug=3"]);
    let mut stream = connect(dongle.forward(7));
    check_echo(&mut stream, 1, 1000);
    let end = stream.read(&mut [0]);
    assert!(matches!(&end, Err(error) if error.kind() == ErrorKind::ConnectionReset), "{end:?}");
    let list = umux(&dongle, &["list"], b"");
    assert_eq!(text(&list.stdout), "");
}

#[test]
fn a_phone_that_is_plugged_in_again_is_served_again() {
    let replugged = ["--phone-quirk", "unplug=2", "--phone-quirk", "replug=0.5"];
    let dongle = Dongle::start(&[&["--forward", ECHO][..], &replugged].concat());
    let forward = dongle.forward(7);
    for salt in 1..3 {
        // As soon as it is there: without a phone a forward refuses.
        let mut stream = until("the phone is there", || {
            let mut stream = connect(forward);
            let mut back = [0; 5];
            let echoed = stream.write_all(b"hello").is_ok() && stream.read_exact(&mut back).is_ok();
            echoed.then_some(stream)
        });
        check_echo(&mut stream, salt, 1000);
        let end = stream.read(&mut [0]);
        assert!(
            matches!(&end, Err(error) if error.kind() == ErrorKind::ConnectionReset),
            "{end:?}"
        );
    }
}

#[test]
fn signals_end_it_well() {
    for signal in [Signal::INT, Signal::TERM] {
        let dongle = Dongle::start(&["--forward", ECHO]);
        let _open = connect(dongle.forward(7));
        assert_eq!(dongle.end(signal).code(), Some(0));
    }
}

fn sim(arguments: &[&str]) -> Output {
    run(Command::new(program("usbmux-sim")).args(arguments), b"")
}

#[test]
fn what_cannot_be_is_said_in_one_line() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let nine: Vec<&str> =
        ["dongle"].into_iter().chain([["--forward", ECHO]; 9].into_iter().flatten()).collect();
    for (arguments, status, what) in [
        (&["dongle", "--listen", &taken][..], 1, "give another port"),
        (&["dongle", "--ram", "16"], 1, "say --ram"),
        (
            &[
                "dongle",
                "--listen",
                "127.0.0.1:0",
                "--ram",
                "32",
                "--forward",
                "0:1",
                "--forward",
                "0:2",
            ],
            2,
            "leave some",
        ),
        (&nine, 2, "leave some"),
        (&["dongle", "--forward", "22"], 2, "LOCAL:DEVICE"),
        (&["dongle", "--phone-quirk", "sick"], 2, "rst-text"),
        (&["show", "nothing"], 2, "cap"),
        (&[], 2, "--help"),
    ] {
        let output = sim(arguments);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {said}");
        assert!(said.starts_with("usbmux-sim: ") && said.contains(what), "{arguments:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{arguments:?}: {said}");
    }
}

#[test]
fn it_ends_when_its_time_is_over() {
    let output = sim(&["dongle", "--listen", "127.0.0.1:0", "--seconds", "0.2", "--forward", ECHO]);
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stdout).starts_with("forwarding 127.0.0.1:"), "{output:?}");
    assert!(text(&output.stderr).starts_with("listening on 127.0.0.1:"), "{output:?}");
}

#[test]
fn scenes_and_the_budget_are_printed() {
    for (scene, word) in [("cap", "1023 x 64 + 63"), ("zlp", "64 + ZLP"), ("window", "ACK win 0")] {
        let output = sim(&["show", scene]);
        let picture = text(&output.stdout);
        assert!(output.status.success() && picture.contains(word), "{picture}");
        assert!(picture.lines().all(|line| line.chars().count() <= 100));
    }
    let output = sim(&["ram"]);
    assert!(text(&output.stdout).contains("all together"), "{output:?}");
}
