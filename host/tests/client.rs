//! The client library against daemons of every kind: well-behaved, slow, wrong, silent and gone.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod client_fake;

use std::io::Write;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use client_fake::{BUID, Conn, Fake, UDID, attached, dictionary, message, raw, result};
use plist::Value;
use smol::io::{AsyncReadExt, AsyncWriteExt};
use smol::stream::StreamExt;
use usbmux_host::address::Address;
use usbmux_host::client::{
    ClientError, Daemon, Event, Garbled, MAX_DEPTH, MAX_REPLY, REPLY_TIMEOUT, lockdown,
};

fn daemon(fake: &Fake) -> Daemon {
    Daemon::new(Address::Unix(fake.path())).program("test")
}

/// A daemon that answers everything with these bytes and then waits.
fn always(answer: Vec<u8>) -> Fake {
    Fake::scripted(move |mut conn| {
        conn.request();
        conn.send(&answer);
        conn.wait_for_end();
    })
}

fn garbled<T>(outcome: Result<T, ClientError>) -> Garbled {
    match outcome {
        Err(ClientError::Garbled(garbled)) => garbled,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("this must not be understood"),
    }
}

#[test]
fn phones_are_listed_with_all_that_the_daemon_says() {
    let fake = Fake::phones();
    fake.plug(3, "000080300000000000000001");
    let phones = smol::block_on(daemon(&fake).phones()).unwrap();
    let [phone] = phones.as_slice() else { panic!("{phones:?}") };
    assert_eq!(phone.device_id, 3);
    assert_eq!(phone.udid, UDID);
    assert_eq!(phone.serial, "000080300000000000000001");
    assert_eq!(phone.product_id, Some(0x12a8));
    assert_eq!(phone.location_id, Some(0x1_0003));
    assert_eq!(phone.connection_speed, Some(480_000_000));
    assert_eq!(phone.connection_type, "USB");
}

#[test]
fn every_question_says_who_asks() {
    let fake = Fake::phones();
    smol::block_on(daemon(&fake).buid()).unwrap();
    let request = fake.state(|state| state.requests.remove(0));
    let keys: Vec<_> = request.keys().map(String::as_str).collect();
    assert_eq!(keys, ["ClientVersionString", "MessageType", "ProgName", "kLibUSBMuxVersion"]);
    assert_eq!(request.get("ProgName").and_then(Value::as_string), Some("test"));
}

#[test]
fn the_buid_and_the_listeners_are_read() {
    let fake = Fake::phones();
    smol::block_on(async {
        assert_eq!(daemon(&fake).buid().await.unwrap(), BUID);
        let listeners = daemon(&fake).listeners().await.unwrap();
        let [listener] = listeners.as_slice() else { panic!("{listeners:?}") };
        assert_eq!((listener.id.as_str(), listener.program.as_str()), ("3-watcher", "watcher"));
        assert_eq!(listener.bundle_id.as_deref(), Some("org.example.watcher"));
        assert_eq!((listener.blacklisted, listener.library_version), (false, 3));
    });
}

#[test]
fn events_come_in_order_and_end_with_the_daemon() {
    let fake = Fake::one_phone();
    smol::block_on(async {
        let mut events = daemon(&fake).listen().await.unwrap();
        let mut next = async || match events.next().await {
            Some(event) => event,
            None => panic!("no event"),
        };
        assert!(matches!(next().await, Ok(Event::Attached(phone)) if phone.device_id == 1));
        fake.plug(2, "x");
        fake.unplug(1);
        assert!(matches!(next().await, Ok(Event::Attached(phone)) if phone.device_id == 2));
        assert!(matches!(next().await, Ok(Event::Detached(1))));
        daemon(&fake).save_pair_record("x", b"<?xml".to_vec(), Some(2)).await.unwrap();
        assert!(matches!(next().await, Ok(Event::Paired(2))));
        fake.die();
        assert!(matches!(next().await, Err(ClientError::HungUp)));
        assert!(events.next().await.is_none());
    });
}

#[test]
fn an_event_that_nobody_knows_is_passed_over() {
    let fake = Fake::scripted(|mut conn| {
        let (tag, _) = conn.request().unwrap();
        conn.result(tag, 0);
        conn.reply(0, &dictionary(&[("MessageType", "Celebrated".into())]));
        conn.reply(0, &attached(5, "y"));
        conn.wait_for_end();
    });
    smol::block_on(async {
        let mut events = daemon(&fake).listen().await.unwrap();
        let event = events.next().await.unwrap().unwrap();
        assert!(matches!(event, Event::Attached(phone) if phone.device_id == 5));
    });
}

#[test]
fn a_connection_carries_bytes_and_half_closes() {
    let fake = Fake::one_phone();
    smol::block_on(async {
        let mut stream = daemon(&fake).connect(1, client_fake::COUNT).await.unwrap();
        stream.write_all(&vec![7; 300_000]).await.unwrap();
        stream.shutdown_write().unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "300000 bytes\n");
    });
}

#[test]
fn what_the_phone_says_at_once_is_not_lost_behind_the_answer() {
    let fake = Fake::scripted(|mut conn| {
        let (tag, _) = conn.request().unwrap();
        conn.send(&[message(tag, &result(0)).as_slice(), b"SSH-2.0-phone\r\n"].concat());
    });
    smol::block_on(async {
        let mut greeting = String::new();
        let mut stream = daemon(&fake).connect(1, 22).await.unwrap();
        stream.read_to_string(&mut greeting).await.unwrap();
        assert_eq!(greeting, "SSH-2.0-phone\r\n");
    });
}

#[test]
fn a_refused_port_and_a_phone_that_is_gone_are_told_apart() {
    let fake = Fake::one_phone();
    smol::block_on(async {
        let refused = daemon(&fake).connect(1, 4711).await.unwrap_err();
        assert!(matches!(refused, ClientError::Refused { port: 4711 }));
        let gone = daemon(&fake).connect(2, 7).await.unwrap_err();
        assert!(matches!(gone, ClientError::NoSuchPhone));
    });
}

#[test]
fn pair_records_are_stored_read_and_removed() {
    let fake = Fake::one_phone();
    let record = b"<?xml version=\"1.0\"?>".to_vec();
    smol::block_on(async {
        let daemon = daemon(&fake);
        let missing = daemon.read_pair_record(UDID).await.unwrap_err();
        assert!(matches!(missing, ClientError::NoRecord));
        daemon.save_pair_record(UDID, record.clone(), None).await.unwrap();
        assert_eq!(daemon.read_pair_record(UDID).await.unwrap(), record);
        daemon.delete_pair_record(UDID).await.unwrap();
        let missing = daemon.delete_pair_record(UDID).await.unwrap_err();
        assert!(matches!(missing, ClientError::NoRecord));
        let bad = daemon.save_pair_record(UDID, b"no plist".to_vec(), None).await.unwrap_err();
        assert!(matches!(bad, ClientError::BadRecord));
    });
}

#[test]
fn an_answer_may_arrive_byte_by_byte() {
    let fake = Fake::scripted(|mut conn| {
        let (tag, _) = conn.request().unwrap();
        let answer = dictionary(&[("DeviceList", Value::Array(vec![attached(1, UDID)]))]);
        for byte in message(tag, &answer) {
            conn.send(&[byte]);
        }
    });
    assert_eq!(smol::block_on(daemon(&fake).phones()).unwrap().len(), 1);
}

#[test]
fn an_answer_with_the_tag_of_another_question_is_not_taken() {
    let fake = Fake::scripted(|mut conn| {
        let (tag, _) = conn.request().unwrap();
        conn.reply(tag + 1, &dictionary(&[("DeviceList", Value::Array(Vec::new()))]));
    });
    let Garbled::Tag { asked, answered } = garbled(smol::block_on(daemon(&fake).phones())) else {
        panic!("another fault");
    };
    assert_eq!(answered, asked + 1);
}

#[test]
fn what_is_no_answer_is_named() {
    let too_long = u32::try_from(MAX_REPLY).unwrap() + 1;
    let header = |length: u32| [length, 1, 8, 1].map(u32::to_le_bytes).as_flattened().to_vec();
    let nested = "<array>".repeat(MAX_DEPTH + 1);
    let empty = dictionary(&[("DeviceList", "text".into())]);
    let nameless = dictionary(&[("DeviceList", Value::Array(vec![dictionary(&[])]))]);
    let cases = [
        (header(15), Garbled::Length(15)),
        (header(too_long), Garbled::Length(too_long)),
        (
            b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
            Garbled::Length(u32::from_le_bytes(*b"HTTP")),
        ),
        (raw(1, 4, 1, &[0; 252]), Garbled::Kind(4)),
        (raw(0, 1, 1, &[]), Garbled::ShortResult),
        (raw(1, 8, 1, b"no plist"), Garbled::NoDictionary),
        (raw(1, 8, 1, b""), Garbled::NoDictionary),
        (raw(1, 8, 1, b"bplist00\xd0\x08"), Garbled::NoDictionary),
        (raw(1, 8, 1, nested.as_bytes()), Garbled::TooComplex),
        (message(1, &dictionary(&[("MessageType", "Result".into())])), Garbled::Missing("Number")),
        (message(1, &result(0)), Garbled::EmptyResult),
        (message(1, &dictionary(&[])), Garbled::Missing("DeviceList")),
        (message(1, &empty), Garbled::Missing("DeviceList")),
        (message(1, &nameless), Garbled::Missing("Properties")),
    ];
    for (answer, expected) in cases {
        let fake = always(answer);
        assert_eq!(garbled(smol::block_on(daemon(&fake).phones())), expected);
    }
}

#[test]
fn an_answer_of_the_wrong_shape_never_counts_as_done() {
    let fake = always(message(1, &dictionary(&[("BUID", BUID.into())])));
    smol::block_on(async {
        assert_eq!(garbled(daemon(&fake).connect(1, 7).await), Garbled::Missing("Number"));
        assert_eq!(garbled(daemon(&fake).listen().await), Garbled::Missing("Number"));
        let record = daemon(&fake).read_pair_record("x").await;
        assert_eq!(garbled(record), Garbled::Missing("PairRecordData"));
    });
}

#[test]
fn daemons_that_are_too_old_are_told_apart() {
    let binary = |number: u8| always(raw(0, 1, 1, &[number, 0, 0, 0]));
    smol::block_on(async {
        let old = daemon(&binary(6)).phones().await.unwrap_err();
        assert!(matches!(old, ClientError::Version));
        let unknown = daemon(&binary(1)).buid().await.unwrap_err();
        assert!(matches!(unknown, ClientError::Unsupported));
        let other = daemon(&binary(99)).phones().await.unwrap_err();
        assert!(matches!(other, ClientError::Failed { number: 99 }));
    });
}

#[test]
fn a_daemon_that_hangs_up_anywhere_in_an_answer_is_noticed() {
    let answer = message(1, &dictionary(&[("DeviceList", Value::Array(Vec::new()))]));
    for length in [0, 1, 15, 16, 17, answer.len() - 1] {
        let start = answer.get(..length).unwrap().to_vec();
        let fake = Fake::scripted(move |mut conn| {
            conn.request();
            conn.send(&start);
        });
        let outcome = smol::block_on(daemon(&fake).phones());
        assert!(matches!(outcome, Err(ClientError::HungUp)), "{length} bytes");
    }
}

#[test]
fn a_silent_daemon_is_given_up() {
    let fake = always(Vec::new());
    let limit = Duration::from_millis(20);
    let outcome = smol::block_on(daemon(&fake).reply_timeout(limit).phones());
    assert!(matches!(outcome, Err(ClientError::Silent { after }) if after == limit));
}

#[test]
fn a_long_length_alone_makes_nobody_allocate_or_wait_longer_than_the_limit() {
    let header = [u32::try_from(MAX_REPLY).unwrap(), 1, 8, 1].map(u32::to_le_bytes);
    let fake = always(header.as_flattened().to_vec());
    let outcome = smol::block_on(daemon(&fake).reply_timeout(Duration::from_millis(20)).phones());
    assert!(matches!(outcome, Err(ClientError::Silent { .. })));
}

#[test]
fn nobody_at_the_address_is_told_with_the_address() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("usbmuxd");
    let absent = smol::block_on(Daemon::new(Address::Unix(path.clone())).phones()).unwrap_err();
    assert!(matches!(absent, ClientError::NoDaemon { .. }));
    assert!(absent.to_string().starts_with(&format!("no daemon at UNIX:{}", path.display())));
    // The socket of a daemon that was killed.
    drop(UnixListener::bind(&path).unwrap());
    let killed = smol::block_on(Daemon::new(Address::Unix(path)).phones()).unwrap_err();
    assert!(matches!(killed, ClientError::NoDaemon { .. }));
}

#[test]
fn a_daemon_is_reached_over_tcp_in_both_families() {
    for local in ["127.0.0.1:0", "[::1]:0"] {
        // A machine may have no IPv6.
        let Ok(listener) = TcpListener::bind(local) else { continue };
        let address = listener.local_addr().unwrap().to_string().parse().unwrap();
        let daemon_side = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(&message(1, &dictionary(&[("BUID", BUID.into())]))).unwrap();
            stream
        });
        assert_eq!(smol::block_on(Daemon::new(address).buid()).unwrap(), BUID);
        daemon_side.join().unwrap();
    }
}

/// A daemon whose only port is a lockdownd that answers with `answer`.
fn lockdownd(answer: impl Fn() -> Vec<u8> + Send + Sync + 'static) -> Fake {
    Fake::scripted(move |mut conn: Conn| {
        let (tag, _) = conn.request().unwrap();
        conn.result(tag, 0);
        conn.send(&answer());
        _ = conn.stream.shutdown(std::net::Shutdown::Write);
        conn.wait_for_end();
    })
}

fn with_length(body: &Value) -> Vec<u8> {
    let mut xml = Vec::new();
    body.to_writer_xml(&mut xml).unwrap();
    [u32::try_from(xml.len()).unwrap().to_be_bytes().as_slice(), &xml].concat()
}

fn values(fake: &Fake) -> Result<plist::Dictionary, ClientError> {
    smol::block_on(async {
        let stream = daemon(fake).connect(1, lockdown::PORT).await?;
        lockdown::values(stream, "test", REPLY_TIMEOUT).await
    })
}

#[test]
fn the_values_of_a_phone_are_read() {
    let values = values(&Fake::one_phone()).unwrap();
    assert_eq!(values.get("DeviceName").and_then(Value::as_string), Some("Virtual Phone 1"));
}

#[test]
fn a_lockdownd_that_answers_wrong_is_understood() {
    let error =
        dictionary(&[("Request", "GetValue".into()), ("Error", "PasswordProtected".into())]);
    let fake = lockdownd(move || with_length(&error));
    let outcome = values(&fake).unwrap_err();
    assert!(matches!(outcome, ClientError::Lockdown(text) if text == "PasswordProtected"));

    let other = dictionary(&[("Request", "QueryType".into())]);
    let fake = lockdownd(move || with_length(&other));
    assert_eq!(garbled(values(&fake)), Garbled::Missing("Request"));

    let fake = lockdownd(|| u32::MAX.to_be_bytes().to_vec());
    assert_eq!(garbled(values(&fake)), Garbled::Length(u32::MAX));

    for start in [&b""[..], &[0, 0], &[0, 0, 1, 0, b'<']] {
        let fake = lockdownd(|| start.to_vec());
        assert!(matches!(values(&fake), Err(ClientError::HungUp)), "{start:?}");
    }
}

#[test]
fn any_executor_will_do() {
    let fake = Fake::one_phone();
    // This one knows nothing of sockets and timers; smol's types bring what they need.
    futures_lite::future::block_on(async {
        let mut stream = daemon(&fake).connect(1, client_fake::ECHO).await.unwrap();
        stream.write_all(b"once").await.unwrap();
        let mut back = [0; 4];
        stream.read_exact(&mut back).await.unwrap();
        assert_eq!(&back, b"once");
    });
}
