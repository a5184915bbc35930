//! Each quirk, by the name that switches it on.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use common::*;
use std::future::poll_fn;
use std::time::{Duration, Instant};
use usbmux_phone::{CHARGEN, DISCARD, ECHO, Unplugged};

#[test]
fn lenient_seq_forgives_a_wrong_number() {
    with_phone(options(&["lenient-seq"]), async |mut host| {
        host.greet().await;
        let mut conn = Conn::open(&mut host, 1, ECHO, 512).await;
        host.tx += 2;
        conn.send(&mut host, ACK, b"still here").await;
        assert_eq!(conn.receive(&mut host, 10).await, b"still here");
    });
}

#[test]
fn stale_session_frames_come_before_the_answer_to_version() {
    with_phone(options(&["stale-session"]), async |mut host| {
        host.post(&VERSION_2);
        for length in [136, 47, 3036] {
            let frame = host.read(READ).await;
            assert_eq!((frame.len(), &frame[8..12]), (length, &[0xfa, 0xce, 0xfa, 0xce][..]));
        }
        assert_eq!(host.read(READ).await, VERSION_2);
        host.plug.reset_port();
        host.greet().await;
        Conn::open(&mut host, 1, ECHO, 512).await;
    });
}

#[test]
fn trailing_bytes_follow_the_declared_length() {
    with_phone(options(&["trailing-bytes"]), async |mut host| {
        let mut trailing = Vec::new();
        host.post(&VERSION_2);
        let answer = host.read(READ).await;
        assert_eq!(answer[..20], VERSION_2);
        trailing.push(answer.len() - 20);
        host.out(&[0, 0, 0, 2, 0, 0, 0, 17, 0xfe, 0xed, 0xfa, 0xce, 0, 0, 0xff, 0xff, 7]).await;
        host.tx = 1;
        for source in 1..=12 {
            Conn::new(source, DISCARD).send(&mut host, SYN, &[]).await;
            let frame = host.raw().await;
            assert_eq!(u32::from_be_bytes(frame[4..8].try_into().unwrap()), 36);
            trailing.push(frame.len() - 36);
        }
        trailing.sort_unstable();
        assert_eq!(trailing, [1, 2, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    });
}

#[test]
fn v1_has_short_headers_and_no_numbers() {
    with_phone(options(&["v1"]), async |mut host| {
        host.greet().await;
        assert_eq!(host.version, 1);
        let mut conn = Conn::new(1, ECHO);
        let syn = conn.frame(&mut host, SYN, &[]);
        assert_eq!(syn.len(), 28);
        host.out(&syn).await;
        let answer = host.raw().await;
        assert_eq!((answer.len(), &answer[..8]), (28, &[0, 0, 0, 6, 0, 0, 0, 28][..]));
        conn.ack = 1;
        conn.send(&mut host, ACK, b"version one").await;
        assert_eq!(conn.receive(&mut host, 11).await, b"version one");
        // The complaint has a short header, too.
        host.out(&[9; 65536]).await;
        let (kind, text) = host.control().await;
        assert!(kind == 3 && text.starts_with("asyncReadComplete"), "{kind} {text}");
    });
}

#[test]
fn tiny_window_is_256_to_1024_bytes_and_is_honoured() {
    with_phone(options(&["tiny-window"]), async |mut host| {
        host.greet().await;
        let mut windows = Vec::new();
        for source in 1..=4 {
            let mut conn = Conn::new(source, ECHO);
            conn.send(&mut host, SYN, &[]).await;
            let answer = host.segment().await;
            windows.push(answer.window_units);
            conn.ack = 1;
            let window = usize::from(answer.window_units) * 256;
            let sent = noise(5 * window);
            for piece in sent.chunks(window) {
                conn.send(&mut host, ACK, piece).await;
                assert_eq!(conn.receive(&mut host, window).await, piece);
            }
        }
        windows.sort_unstable();
        assert_eq!(windows, [1, 2, 3, 4]);
    });
}

#[test]
fn overrun_ignores_the_hosts_window() {
    with_phone(options(&["overrun"]), async |mut host| {
        host.greet().await;
        Conn::open(&mut host, 1, CHARGEN, 1).await;
        let mut unacknowledged = 0;
        while unacknowledged < 200_000 {
            unacknowledged += host.segment().await.payload.len();
        }
    });
}

#[test]
fn silent_version_ignores_version_until_a_port_reset() {
    with_phone(options(&["silent-version"]), async |mut host| {
        for _ in 0..5 {
            host.out(&VERSION_2).await;
        }
        host.plug.reset_port();
        // Exactly one answer, to the VERSION after the reset.
        host.greet().await;
        Conn::open(&mut host, 1, ECHO, 512).await;
    });
    with_phone(options(&["silent-version=2"]), async |mut host| {
        host.out(&VERSION_2).await;
        host.out(&VERSION_2).await;
        host.greet().await;
        Conn::open(&mut host, 1, ECHO, 512).await;
    });
}

#[test]
fn slow_reads_little_at_a_time() {
    with_phone(options(&["slow"]), async |mut host| {
        host.greet().await;
        let mut conn = Conn::open(&mut host, 1, ECHO, 512).await;
        let sent = noise(20_000);
        let begin = Instant::now();
        conn.send(&mut host, ACK, &sent).await;
        let first = host.segment().await;
        assert_eq!(first.payload.len(), 2048);
        assert_eq!(first.ack, 1 + 2048, "only what was read is acknowledged");
        conn.ack += 2048;
        let rest = conn.receive(&mut host, 20_000 - 2048).await;
        assert_eq!([first.payload, rest].concat(), sent);
        // Ten reads, nine pauses of 5 ms between them.
        assert!(begin.elapsed() >= Duration::from_millis(45));
    });
}

#[test]
fn rst_text_resets_in_mid_stream_with_a_reason() {
    with_phone(options(&["rst-text"]), async |mut host| {
        host.greet().await;
        Conn::open(&mut host, 1, CHARGEN, 512).await;
        let mut received = 0;
        let reset = loop {
            let segment = host.segment().await;
            if segment.flags & RST != 0 {
                break segment;
            }
            received += segment.payload.len();
        };
        assert!(received >= 65_536, "{received}");
        assert!(!reset.text().is_empty() && !reset.text().contains("connection closed"));
        // The session lives on; uploads are reset likewise.
        let mut conn = Conn::open(&mut host, 2, DISCARD, 512).await;
        conn.send(&mut host, ACK, &[1; 40_000]).await;
        conn.send(&mut host, ACK, &[1; 40_000]).await;
        while host.segment().await.flags & RST == 0 {}
    });
}

#[test]
fn unplug_pulls_the_cable_after_its_time() {
    let begin = Instant::now();
    with_task(options(&["unplug=0.05"]), async |mut host, task| {
        host.plug.submit_in(Vec::new(), 512);
        task.await;
        assert!(begin.elapsed() >= Duration::from_millis(50));
        assert_eq!(poll_fn(|cx| host.plug.poll_in(cx)).await, Err(Unplugged));
    });
}

#[test]
fn lost_transfer_makes_the_next_number_wrong() {
    with_phone(options(&["lost-transfer=5"]), async |mut host| {
        host.greet().await;
        let mut conn = Conn::open(&mut host, 1, ECHO, 512).await;
        // VERSION, SETUP, SYN, ACK were four.
        conn.send(&mut host, ACK, b"lost").await;
        conn.send(&mut host, ACK, b"next").await;
        let expected = "detected duplicate packet. Expected 3 received 4";
        assert_eq!(host.control().await, (4, expected.to_owned()));
        // Once only: the next session is sound.
        host.greet().await;
        let mut conn = Conn::open(&mut host, 1, ECHO, 512).await;
        for _ in 0..20 {
            conn.send(&mut host, ACK, b"sound").await;
            assert_eq!(conn.receive(&mut host, 5).await, b"sound");
        }
    });
}

#[test]
fn silent_connect_neither_accepts_nor_refuses() {
    with_phone(options(&["silent-connect"]), async |mut host| {
        host.greet().await;
        for (source, port) in [(1, ECHO), (2, 80)] {
            Conn::new(source, port).send(&mut host, SYN, &[]).await;
        }
        // The next word is about something else: both SYNs are behind it, and were counted.
        let mut stray = Conn::new(3, ECHO);
        (stray.seq, stray.ack) = (5, 1);
        stray.send(&mut host, ACK, &[]).await;
        let answer = host.segment().await;
        assert_eq!((answer.dest, answer.flags), (3, RST));
    });
}
