//! Phones without a daemon: the library, with virtual phones behind it. The programs on the phone
//! are either its own (echo) or, behind a mapped port, the test itself.
#![cfg(feature = "simulate")]
#![allow(clippy::unwrap_used, clippy::panic)] // tests

use std::io::Read;
use std::net::TcpListener;
use std::time::Duration;

use smol::Timer;
use smol::future::or;
use smol::io::{AsyncReadExt, AsyncWriteExt};
use usbmux_host::client::{DeviceStream, lockdown};
use usbmux_host::direct::{Bus, DirectError, OpenPhone};
use usbmux_phone::{CHARGEN, ECHO, Options, Quirk};

/// How long a test may take before it has failed; none comes near.
const PATIENCE: Duration = Duration::from_secs(30);

/// A port that leads to the test.
const MAPPED: u16 = 1000;

/// A port on which no program listens.
const NOBODY: u16 = 1;

fn run(test: impl Future<Output = ()>) {
    let too_long = async {
        Timer::after(PATIENCE).await;
        panic!("the test hangs");
    };
    smol::block_on(or(test, too_long));
}

async fn open(options: Options) -> OpenPhone {
    Bus::simulated(vec![options]).open(None).await.unwrap()
}

/// A phone whose port 1000 is the returned listener.
async fn mapped_phone() -> (OpenPhone, TcpListener) {
    let program = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut options = Options::new(1);
    options.mapped.push((MAPPED, program.local_addr().unwrap()));
    (open(options).await, program)
}

/// Bytes in which every lost, doubled or moved one shows.
fn pattern(length: usize) -> Vec<u8> {
    (0..length as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

async fn echoes(mut stream: DeviceStream, bytes: Vec<u8>) {
    let mut up = stream.clone();
    let sent = bytes.clone();
    let sending = smol::spawn(async move { up.write_all(&sent).await.unwrap() });
    let mut back = vec![0; bytes.len()];
    stream.read_exact(&mut back).await.unwrap();
    sending.await;
    assert!(back == bytes);
}

#[test]
fn phones_are_listed_without_being_opened_and_opened_by_name() {
    run(async {
        let bus = Bus::simulated(vec![Options::new(1), Options::new(2)]);
        let phones = bus.phones().await.unwrap();
        let listed: Vec<_> = phones.iter().map(|one| (one.device_id, one.udid.as_str())).collect();
        assert_eq!(listed, [(1, "00008030-0000000000000001"), (2, "00008030-0000000000000002")]);
        assert!(matches!(bus.open(None).await, Err(DirectError::Several(both)) if both == phones));
        let second = bus.open(Some("000080300000000000000002")).await.unwrap();
        assert_eq!(second.phone(), &phones[1]);
        let stream = second.connect(lockdown::PORT).await.unwrap();
        let values = lockdown::values(stream, "test", PATIENCE).await.unwrap();
        assert_eq!(values.get("DeviceName").unwrap().as_string(), Some("Virtual Phone 2"));
    });
}

#[test]
fn nobody_there_is_no_phone() {
    run(async {
        let bus = Bus::simulated(Vec::new());
        assert!(bus.phones().await.unwrap().is_empty());
        assert!(matches!(bus.open(None).await, Err(DirectError::NoPhone { udid: None })));
        let error = bus.open(Some("x")).await.unwrap_err();
        assert!(matches!(error, DirectError::NoPhone { udid: Some(udid) } if udid == "x"));
    });
}

#[test]
fn several_streams_carry_their_own_bytes_at_once() {
    run(async {
        let phone = open(Options::new(1)).await;
        let mut tasks = Vec::new();
        for length in [1, 511, 512, 65_536, 3_000_000] {
            let stream = phone.connect(ECHO).await.unwrap();
            tasks.push(smol::spawn(echoes(stream, pattern(length))));
        }
        for task in tasks {
            task.await;
        }
    });
}

#[test]
fn closing_hands_over_everything_that_was_written() {
    run(async {
        let (phone, program) = mapped_phone().await;
        let mut stream = phone.connect(MAPPED).await.unwrap();
        let mut program = program.accept().unwrap().0;
        let sent = pattern(150_000);
        stream.write_all(&sent).await.unwrap();
        drop(stream);
        let reading = smol::unblock(move || {
            let mut received = Vec::new();
            program.read_to_end(&mut received).unwrap();
            received
        });
        phone.close().await;
        assert!(reading.await == sent);
        assert!(matches!(phone.connect(ECHO).await, Err(DirectError::Unplugged)));
    });
}

#[test]
fn closing_ends_streams_that_are_still_in_use() {
    run(async {
        let (phone, program) = mapped_phone().await;
        let mut stream = phone.connect(MAPPED).await.unwrap();
        let mut program = program.accept().unwrap().0;
        stream.write_all(b"last words").await.unwrap();
        phone.close().await;
        assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);
        let mut received = Vec::new();
        program.read_to_end(&mut received).unwrap();
        assert_eq!(received, b"last words");
    });
}

#[test]
fn half_closed_stream_still_hears_the_phone() {
    run(async {
        let (phone, program) = mapped_phone().await;
        let mut stream = phone.connect(MAPPED).await.unwrap();
        let mut program = smol::net::TcpStream::try_from(program.accept().unwrap().0).unwrap();
        stream.write_all(b"question").await.unwrap();
        stream.close().await.unwrap();
        let mut question = [0; 8];
        program.read_exact(&mut question).await.unwrap();
        assert_eq!(&question, b"question");
        program.write_all(b"answer").await.unwrap();
        drop(program);
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "answer");
    });
}

#[test]
fn stream_outlives_the_handle_of_its_phone() {
    run(async {
        let phone = open(Options::new(1)).await;
        let stream = phone.connect(ECHO).await.unwrap();
        drop(phone);
        echoes(stream, pattern(300_000)).await;
    });
}

#[test]
fn port_without_a_program_is_refused_and_the_phone_stays() {
    run(async {
        let phone = open(Options::new(1)).await;
        let error = phone.connect(NOBODY).await.unwrap_err();
        assert!(matches!(error, DirectError::Refused { port: NOBODY }), "{error}");
        assert!(matches!(phone.connect(0).await, Err(DirectError::Refused { port: 0 })));
        echoes(phone.connect(ECHO).await.unwrap(), pattern(100)).await;
    });
}

#[test]
fn unplugged_phone_ends_its_streams_and_can_be_opened_again() {
    run(async {
        let mut options = Options::new(1);
        options.quirks.push(Quirk::Unplug { after: Duration::from_millis(200) });
        let bus = Bus::simulated(vec![options]);
        for _ in 0..2 {
            let phone = bus.open(None).await.unwrap();
            let mut stream = phone.connect(ECHO).await.unwrap();
            phone.gone().await;
            assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);
            assert_eq!(stream.end_reason().await.as_deref(), Some("unplugged"));
            assert!(matches!(phone.connect(ECHO).await, Err(DirectError::Unplugged)));
        }
    });
}

#[test]
fn phone_that_resets_a_stream_has_its_words_told_once() {
    run(async {
        let mut options = Options::new(1);
        options.quirks.push(Quirk::RstText);
        let phone = open(options).await;
        let mut stream = phone.connect(CHARGEN).await.unwrap();
        let mut received = Vec::new();
        stream.read_to_end(&mut received).await.unwrap();
        assert!(!received.is_empty());
        assert_eq!(stream.end_reason().await.as_deref(), Some("connection failed"));
        assert_eq!(stream.clone().end_reason().await, None);
    });
}

#[test]
fn ordinary_ends_have_no_reason() {
    run(async {
        let (phone, program) = mapped_phone().await;
        // The phone's program ends it.
        let mut stream = phone.connect(MAPPED).await.unwrap();
        drop(program.accept().unwrap().0);
        assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);
        assert_eq!(stream.end_reason().await, None);
        // We do; waiting for the reason does not keep the stream.
        let stream = phone.connect(MAPPED).await.unwrap();
        let reason = stream.end_reason();
        drop(stream);
        assert_eq!(reason.await, None);
        // The phone is let go.
        let stream = phone.connect(MAPPED).await.unwrap();
        phone.close().await;
        assert_eq!(stream.end_reason().await, None);
    });
}
