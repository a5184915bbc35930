//! Bytes that are no requests, and requests that cannot be carried out.

use super::bystander::{Bystander, serves};
use plist::Value;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::Duration;
use usbmux_tests::daemon_process::Daemon;
use usbmux_tests::random::{Random, seeds};
use usbmux_tests::socket::{Client, Message, PLIST, message_bytes, request};
use usbmux_tests::tools::phone_port;

/// The longest message, header included (PROTOCOL §5).
const MAX_MESSAGE: usize = 65_536;

/// Sends a plist body and checks that it is answered by Result 1 and the socket kept.
fn is_bad_command(client: &mut Client, body: &[u8]) {
    client.send(&message_bytes(1, PLIST, 5, body)).unwrap();
    assert_eq!(client.receive().unwrap(), Message::result(5, 1));
    serves(client);
}

fn beside_a_bystander(attack: impl FnOnce(&Daemon)) {
    let daemon = Daemon::start(1, &[]);
    let bystander = Bystander::of(&daemon);
    attack(&daemon);
    bystander.was_undisturbed(&daemon);
}

#[test]
fn garbage_is_answered_or_hung_up_on() {
    beside_a_bystander(|daemon| {
        for text in [&b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"[..], b"SSH-2.0-x\r\nxxxxxx"] {
            let mut client = daemon.client();
            client.send(text).unwrap();
            assert!(client.hung_up().unwrap(), "its length is absurd");
        }
        for seed in seeds(30) {
            let mut random = Random::new(seed);
            let mut client = daemon.client();
            let length = random.length(200_000);
            let garbage: Vec<u8> = (0..length).map(|_| random.bits() as u8).collect();
            // It may hang up at any byte.
            let _ = client.send(&garbage);
            let _ = client.stream.shutdown(Shutdown::Write);
            let end = client.stream.read_to_end(&mut Vec::new());
            assert!(
                end.as_ref()
                    .map_or_else(|error| error.kind() != std::io::ErrorKind::WouldBlock, |_| true),
                "USBMUX_SEED={seed}: {end:?}"
            );
        }
    });
}

#[test]
fn garbage_in_the_body_is_a_bad_command_and_the_socket_kept() {
    beside_a_bystander(|daemon| {
        let mut client = daemon.client();
        for seed in seeds(100) {
            let mut random = Random::new(seed);
            let length = random.length(5000);
            let body: Vec<u8> = (0..length).map(|_| random.bits() as u8).collect();
            is_bad_command(&mut client, &body);
        }
        is_bad_command(&mut client, b"");
    });
}

#[test]
fn truncated_message_gets_no_answer_and_ends_with_its_client() {
    beside_a_bystander(|daemon| {
        let whole = request(1, "ListDevices", &[]);
        for end in [0, 1, 15, 16, 17, whole.len() / 2, whole.len() - 1] {
            let mut client = daemon.client();
            client.send(&whole[..end]).unwrap();
            client.stream.shutdown(Shutdown::Write).unwrap();
            assert!(client.hung_up().unwrap(), "{end} bytes");
        }
    });
}

#[test]
fn truncated_plist_is_a_bad_command() {
    beside_a_bystander(|daemon| {
        let whole = request(1, "ListDevices", &[]);
        let body = &whole[16..];
        let mut client = daemon.client();
        let end_of_root = body.len() - "</plist>".len();
        for end in (0..end_of_root).step_by(7) {
            is_bad_command(&mut client, &body[..end]);
        }
    });
}

#[test]
fn message_of_65536_bytes_is_read_and_a_longer_one_hung_up_on() {
    beside_a_bystander(|daemon| {
        let mut client = daemon.client();
        is_bad_command(&mut client, &[b' '; MAX_MESSAGE - 16]);
        let mut body = request(1, "ListDevices", &[])[16..].to_vec();
        body.resize(MAX_MESSAGE - 16, b'\n');
        client.send(&message_bytes(1, PLIST, 6, &body)).unwrap();
        assert!(client.receive().unwrap().dictionary().contains_key("DeviceList"));

        body.push(b'\n');
        let mut longer = request(8, "ListDevices", &[]);
        longer.extend(message_bytes(1, PLIST, 9, &body));
        // What was asked before is answered first.
        let _ = client.send(&longer);
        assert_eq!(client.receive().unwrap().tag, 8);
        assert!(client.hung_up().unwrap());
        for length in [0_u32, 15, 65_537, u32::MAX] {
            let mut header = message_bytes(1, PLIST, 9, b"");
            header[..4].copy_from_slice(&length.to_le_bytes());
            let mut client = daemon.client();
            client.send(&header).unwrap();
            assert!(client.hung_up().unwrap(), "{length}");
        }
    });
}

#[test]
fn plists_nested_to_death_are_bad_commands() {
    beside_a_bystander(|daemon| {
        let mut client = daemon.client();
        is_bad_command(&mut client, "<array>".repeat(9300).as_bytes());
        is_bad_command(&mut client, "<dict><key>a</key>".repeat(3600).as_bytes());
        let (open, close) = ("<array>".repeat(4000), "</array>".repeat(4000));
        let nested = format!("<plist><dict><key>a</key>{open}{close}</dict></plist>");
        is_bad_command(&mut client, nested.as_bytes());
        let many = format!("<plist><array>{}</array></plist>", "<true/>".repeat(9000));
        is_bad_command(&mut client, many.as_bytes());
    });
}

#[test]
fn entity_bombs_are_bad_commands() {
    beside_a_bystander(|daemon| {
        let mut client = daemon.client();
        let mut bomb =
            String::from("<?xml version=\"1.0\"?><!DOCTYPE plist [<!ENTITY a0 \"aaaaaaaaaa\">");
        for level in 1..=9 {
            let before = format!("&a{};", level - 1).repeat(10);
            bomb += &format!("<!ENTITY a{level} \"{before}\">");
        }
        bomb += "]><plist><dict><key>MessageType</key><string>&a9;</string></dict></plist>";
        is_bad_command(&mut client, bomb.as_bytes());
        let outside = "<!DOCTYPE plist [<!ENTITY x SYSTEM \"file:///etc/hostname\">]><plist><dict>\
                       <key>MessageType</key><string>&x;</string></dict></plist>";
        is_bad_command(&mut client, outside.as_bytes());
        let undeclared = "<plist><dict><key>MessageType</key><string>&x;</string></dict></plist>";
        is_bad_command(&mut client, undeclared.as_bytes());
    });
}

#[test]
fn binary_plist_is_a_bad_command() {
    beside_a_bystander(|daemon| {
        let mut body = Vec::new();
        let mut dictionary = plist::Dictionary::new();
        dictionary.insert("MessageType".into(), "ListDevices".into());
        Value::Dictionary(dictionary).to_writer_binary(&mut body).unwrap();
        is_bad_command(&mut daemon.client(), &body);
    });
}

#[test]
fn wrong_version_is_refused_and_the_socket_kept() {
    beside_a_bystander(|daemon| {
        let mut client = daemon.client();
        for version in [2, 77, u32::MAX] {
            let body = &request(1, "ListDevices", &[])[16..];
            client.send(&message_bytes(version, PLIST, 5, body)).unwrap();
            assert_eq!(client.receive().unwrap(), Message::binary_result(5, 6));
        }
        serves(&mut client);
    });
}

#[test]
fn unknown_messages_are_bad_commands_and_the_socket_kept() {
    beside_a_bystander(|daemon| {
        let mut client = daemon.client();
        for message in [0, 1, 4, 5, 6, 7, 9, 77, u32::MAX] {
            client.send(&message_bytes(0, message, 5, b"")).unwrap();
            assert_eq!(client.receive().unwrap(), Message::binary_result(5, 1), "{message}");
        }
        for name in ["Frobnicate", "", "listdevices", "Result", "Attached"] {
            assert_eq!(client.ask(6, name, &[]).unwrap(), Message::result(6, 1), "{name:?}");
        }
        serves(&mut client);
    });
}

#[test]
fn connects_that_lead_nowhere_are_told_why_and_the_socket_kept() {
    beside_a_bystander(|daemon| {
        let mut client = daemon.client();
        let number = |number: u64| Some(Value::from(number));
        let minus = || Some(Value::from(-1_i64));
        let text = || Some(Value::from("1"));
        let port_7 = || number(u64::from(7_u16.swap_bytes()));
        for (device, port, result) in [
            (number(2), port_7(), 2),
            (number(0), port_7(), 2),
            (number(u64::from(u32::MAX)), port_7(), 2),
            (number(1 << 32), port_7(), 2),
            (number((1 << 32) + 1), port_7(), 2),
            (number(u64::MAX), port_7(), 2),
            (minus(), port_7(), 2),
            (text(), port_7(), 2),
            (None, port_7(), 2),
            (number(99), number(0), 2),
            (number(1), number(0), 3),
            (number(1), number(0x1_0000 + 0x0700), 3),
            (number(1), number(u64::MAX), 3),
            (number(1), number(u64::from(80_u16.swap_bytes())), 3),
            (number(1), minus(), 1),
            (number(1), text(), 1),
            (number(1), None, 1),
        ] {
            let keys: Vec<_> = [("DeviceID", &device), ("PortNumber", &port)]
                .into_iter()
                .filter_map(|(key, value)| Some((key, value.clone()?)))
                .collect();
            let answer = client.ask(5, "Connect", &keys).unwrap();
            assert_eq!(answer, Message::result(5, result), "{device:?} {port:?}");
        }
        // After all that the socket is as good as new.
        assert_eq!(client.connect_port(1, 7).unwrap(), 0);
        client.send(b"hello").unwrap();
        let mut back = [0; 5];
        client.stream.read_exact(&mut back).unwrap();
        assert_eq!(&back, b"hello");
    });
}

#[test]
fn command_on_a_listening_socket_is_refused_and_ends_it() {
    beside_a_bystander(|daemon| {
        for body in [request(9, "ListDevices", &[]), message_bytes(0, 77, 9, b"")] {
            let mut client = daemon.client();
            assert_eq!(client.ask(8, "Listen", &[]).unwrap(), Message::result(8, 0));
            assert_eq!(client.receive().unwrap().text("MessageType"), Some("Attached"));
            client.send(&body).unwrap();
            assert_eq!(client.receive().unwrap(), Message::result(9, 1));
            assert!(client.hung_up().unwrap());
        }
    });
}

/// A port that takes connections and never answers: its queue is full.
fn silent_port() -> (TcpListener, Vec<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let address = listener.local_addr().unwrap();
    let connect = || TcpStream::connect_timeout(&address, Duration::from_millis(200)).ok();
    let queued = std::iter::from_fn(connect).take(16).collect();
    (listener, queued)
}

#[test]
fn command_on_a_connecting_socket_is_refused_and_ends_it() {
    let (listener, queued) = silent_port();
    assert!(queued.len() < 16, "a further connection must hang");
    let mapping = phone_port(5000, listener.local_addr().unwrap());
    let daemon = Daemon::start(1, &[&mapping]);
    let bystander = Bystander::of(&daemon);
    let mut client = daemon.client();
    let keys = [
        ("DeviceID", Value::from(1_u64)),
        ("PortNumber", Value::from(u64::from(5000_u16.swap_bytes()))),
    ];
    let mut both = request(8, "Connect", &keys);
    both.extend(request(9, "ListDevices", &[]));
    client.stream.write_all(&both).unwrap();
    assert_eq!(client.receive().unwrap(), Message::result(9, 1));
    assert!(client.hung_up().unwrap());
    bystander.was_undisturbed(&daemon);
}
