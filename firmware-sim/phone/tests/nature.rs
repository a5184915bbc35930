//! What every virtual phone does, quirks or not: the table of the crate's first page, row by row.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use common::*;
use std::future::poll_fn;
use std::task::Poll;
use usbmux_phone::{CHARGEN, DISCARD, ECHO, LOCKDOWND, Unplugged};

/// One poll of both ends that must find nothing.
async fn nothing_completes(host: &mut Host) {
    poll_fn(|cx| {
        assert!(host.plug.poll_in(cx).is_pending());
        assert!(host.plug.poll_out(cx).is_pending());
        Poll::Ready(())
    })
    .await;
}

#[test]
fn the_first_frames_of_a_session_byte_by_byte() {
    with_phone(options(&[]), async |mut host| {
        host.post(&VERSION_2);
        let answer = host.read(READ).await;
        assert_eq!(answer, VERSION_2);
        host.post(&[0, 0, 0, 2, 0, 0, 0, 17, 0xfe, 0xed, 0xfa, 0xce, 0, 0, 0xff, 0xff, 7]);
        #[rustfmt::skip]
        host.post(&[
            0, 0, 0, 6, 0, 0, 0, 36, 0xfe, 0xed, 0xfa, 0xce, 0, 1, 0xff, 0xff,
            0, 1, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 2, 2, 0, 0, 0, 0, 0,
        ]);
        // PROTOCOL §2: the phone's first TCP frame has tx_seq 0 and rx_seq 1.
        #[rustfmt::skip]
        assert_eq!(host.read(READ).await, [
            0, 0, 0, 6, 0, 0, 0, 36, 0xfa, 0xce, 0xfa, 0xce, 0, 0, 0, 1,
            0, 7, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0x50, 0x12, 2, 0, 0, 0, 0, 0,
        ]);
    });
}

#[test]
fn echo_returns_every_byte_in_order() {
    with_phone(options(&[]), async |mut host| {
        host.greet().await;
        let mut conn = Conn::open(&mut host, 1, ECHO, 512).await;
        let sent = noise(100_000);
        for piece in sent.chunks(20_000) {
            conn.send(&mut host, ACK, piece).await;
        }
        assert_eq!(conn.receive(&mut host, sent.len()).await, sent);
    });
}

#[test]
fn discard_acknowledges_what_it_has_read() {
    with_phone(options(&[]), async |mut host| {
        host.greet().await;
        let mut conn = Conn::open(&mut host, 1, DISCARD, 512).await;
        for _ in 0..40 {
            conn.send(&mut host, ACK, &[7; 30_000]).await;
            conn.acknowledged(&mut host).await;
        }
    });
}

#[test]
fn chargen_stops_at_the_hosts_window() {
    with_phone(options(&[]), async |mut host| {
        host.greet().await;
        let mut conn = Conn::open(&mut host, 1, CHARGEN, 3).await;
        let mut text = conn.receive(&mut host, 768).await;
        text.extend(conn.receive(&mut host, 768).await);
        assert!(text.starts_with(b" !\"#$%"));
        // Nothing more while the window is full: the next frame is the answer to another SYN.
        let first = host.segment().await;
        assert_eq!(first.payload.len(), 768);
        Conn::open(&mut host, 2, DISCARD, 512).await;
    });
}

#[test]
fn an_unknown_port_is_refused() {
    with_phone(options(&[]), async |mut host| {
        host.greet().await;
        Conn::new(1, 4242).send(&mut host, SYN, &[]).await;
        let answer = host.segment().await;
        assert_eq!((answer.flags, answer.source, answer.dest), (RST, 4242, 1));
        assert_eq!(host.plug.counters().refused, 1);
        assert_eq!(host.plug.connections(), 0);
    });
}

#[test]
fn flags_other_than_ack_draw_a_reset_that_says_so() {
    with_phone(options(&[]), async |mut host| {
        host.greet().await;
        let mut conn = Conn::open(&mut host, 1, ECHO, 512).await;
        conn.send(&mut host, 0x18, b"pushed").await;
        let answer = host.segment().await;
        assert_eq!(answer.flags & RST, RST);
        assert_eq!(answer.text(), "handleMuxTCPInput th.th_flags = 0x18, not TH_ACK(0x10)");
    });
}

#[test]
fn a_wrong_tx_seq_kills_the_session_until_version() {
    with_phone(options(&[]), async |mut host| {
        host.greet().await;
        let mut conn = Conn::open(&mut host, 1, ECHO, 512).await;
        host.tx += 2;
        conn.send(&mut host, ACK, b"lost").await;
        let expected = "detected duplicate packet. Expected 3 received 5";
        assert_eq!(host.control().await, (4, expected.to_owned()));
        // Dead: not even a right number helps.
        host.tx = 3;
        conn.send(&mut host, ACK, b"nobody hears this").await;
        host.greet().await;
        let mut conn = Conn::open(&mut host, 1, ECHO, 512).await;
        conn.send(&mut host, ACK, b"alive").await;
        assert_eq!(conn.receive(&mut host, 5).await, b"alive");
    });
}

#[test]
fn frames_glued_by_a_lost_zlp_draw_the_complaint_and_are_lost() {
    with_phone(options(&[]), async |mut host| {
        host.greet().await;
        let mut conn = Conn::open(&mut host, 1, DISCARD, 512).await;
        let full = vec![1; 49152 - 36];
        // 96 × 512 bytes without the ZLP behind them, twice, then a short frame.
        conn.send(&mut host, ACK, &full).await;
        conn.send(&mut host, ACK, &full).await;
        let complaint = "asyncReadComplete, message was too large (65536 bytes, max = 65535)";
        assert_eq!(host.control().await, (3, complaint.to_owned()));
        assert_eq!(host.plug.counters().too_large, 1);
        conn.send(&mut host, ACK, b"the tail of the message").await;
        // The next frame shows that numbers are missing; the phone's own went on correctly.
        conn.send(&mut host, ACK, b"a frame of its own").await;
        let expected = "detected duplicate packet. Expected 3 received 6";
        assert_eq!(host.control().await, (4, expected.to_owned()));
    });
}

#[test]
fn a_short_frame_glued_behind_another_is_lost_too() {
    with_phone(options(&[]), async |mut host| {
        host.greet().await;
        let mut conn = Conn::open(&mut host, 1, ECHO, 512).await;
        conn.send(&mut host, ACK, &[b'a'; 512 - 36]).await;
        conn.send(&mut host, ACK, b"glued").await;
        assert_eq!(conn.receive(&mut host, 512 - 36).await, [b'a'; 512 - 36]);
        assert_eq!(host.plug.counters().glued_bytes, 36 + 5);
        assert_eq!(host.control().await.0, 4, "the acknowledgement had a number too high");
    });
}

#[test]
fn a_frame_of_full_packets_ends_with_a_zlp_both_ways() {
    with_phone(options(&[]), async |mut host| {
        host.greet().await;
        let mut conn = Conn::open(&mut host, 1, ECHO, 512).await;
        let sent = noise(1024 - 36);
        conn.send(&mut host, ACK, &sent).await;
        nothing_completes(&mut host).await;
        host.out(&[]).await;
        // Reads of one packet: two full ones, then the ZLP.
        let mut frame = host.read(512).await;
        frame.extend(host.read(512).await);
        assert_eq!(frame[36..], sent);
        assert_eq!(host.read(512).await, []);
    });
}

#[test]
fn transfers_of_single_packets_are_joined() {
    let mut small = options(&[]);
    small.max_packet = 64;
    with_phone(small, async |mut host| {
        assert_eq!((host.plug.max_packet(), host.plug.speed()), (64, 12_000_000));
        host.greet().await;
        let mut conn = Conn::open(&mut host, 1, ECHO, 512).await;
        let sent = noise(1000);
        for packet in conn.frame(&mut host, ACK, &sent).chunks(64) {
            host.out(packet).await;
        }
        let mut frame = Vec::new();
        while frame.len() < 1036 {
            frame.extend(host.read(64).await);
        }
        assert_eq!(frame[36..], sent);
    });
}

#[test]
fn a_reset_loses_what_no_program_has_read() {
    with_phone(options(&[]), async |mut host| {
        host.greet().await;
        let mut hasty = Conn::open(&mut host, 1, DISCARD, 512).await;
        let (data, rst) =
            (hasty.frame(&mut host, ACK, &[1; 5000]), hasty.frame(&mut host, RST, &[]));
        host.post(&data);
        host.out(&rst).await;
        host.completed().await;
        assert_eq!(host.plug.counters().unread_dropped, 5000);

        let mut patient = Conn::open(&mut host, 2, DISCARD, 512).await;
        patient.send(&mut host, ACK, &[2; 5000]).await;
        patient.acknowledged(&mut host).await;
        patient.send(&mut host, RST, &[]).await;
        Conn::open(&mut host, 3, DISCARD, 512).await;
        assert_eq!(host.plug.counters().unread_dropped, 5000);
        assert_eq!(host.plug.connections(), 1);
    });
}

#[test]
fn an_overrun_of_the_phones_window_resets_the_connection() {
    with_phone(options(&[]), async |mut host| {
        host.greet().await;
        // The host's window is closed, so echo reads nothing.
        let mut conn = Conn::open(&mut host, 1, ECHO, 0).await;
        for _ in 0..4 {
            conn.send(&mut host, ACK, &[3; 32_768]).await;
        }
        conn.send(&mut host, ACK, b"x").await;
        let answer = host.segment().await;
        assert_eq!((answer.flags & RST, answer.ack), (RST, 1), "nothing was acknowledged before");
        assert_eq!(host.plug.counters().unread_dropped, 131_072);
    });
}

#[test]
fn out_packets_are_refused_while_the_in_queue_is_full() {
    with_phone(options(&[]), async |mut host| {
        host.greet().await;
        for source in 1..=100 {
            let syn = Conn::new(source, 4242).frame(&mut host, SYN, &[]);
            host.post(&syn);
        }
        let mut completed = 0;
        // As many as the queue has places; then the phone says NAK.
        while completed < 16 {
            host.completed().await;
            completed += 1;
        }
        nothing_completes(&mut host).await;
        for source in 1..=100 {
            assert_eq!(host.segment().await.dest, source);
        }
        while completed < 100 {
            host.completed().await;
            completed += 1;
        }
    });
}

#[test]
fn a_port_reset_ends_transfers_and_the_session() {
    with_phone(options(&[]), async |mut host| {
        host.greet().await;
        let mut conn = Conn::open(&mut host, 1, CHARGEN, 512).await;
        host.plug.submit_in(Vec::new(), 512);
        host.plug.submit_in(Vec::new(), 512);
        host.post(&[0; 512]);
        host.plug.reset_port();
        host.completed().await;
        for _ in 0..2 {
            assert_eq!(poll_fn(|cx| host.plug.poll_in(cx)).await, Ok(vec![]));
        }
        assert_eq!(host.plug.connections(), 0);
        // Nothing is heard before VERSION, and the 512 bytes are no part of it.
        conn.send(&mut host, ACK, b"from before").await;
        host.greet().await;
        let mut conn = Conn::open(&mut host, 1, ECHO, 512).await;
        conn.send(&mut host, ACK, b"new").await;
        assert_eq!(conn.receive(&mut host, 3).await, b"new");
    });
}

#[test]
fn unplugging_ends_the_task_and_all_transfers() {
    with_task(options(&[]), async |mut host, task| {
        host.plug.submit_in(Vec::new(), 512);
        host.post(&VERSION_2);
        host.plug.unplug();
        task.await;
        assert_eq!(poll_fn(|cx| host.plug.poll_in(cx)).await, Err(Unplugged));
        assert_eq!(poll_fn(|cx| host.plug.poll_out(cx)).await, Err(Unplugged));
    });
    with_task(options(&[]), async |host, task| {
        drop(host);
        task.await;
    });
    with_task(options(&[]), async |mut host, task| {
        drop(task);
        assert_eq!(poll_fn(|cx| host.plug.poll_in(cx)).await, Err(Unplugged));
    });
}

#[test]
fn lockdownd_answers_with_the_prefix_in_a_segment_of_its_own() {
    with_phone(options(&[]), async |mut host| {
        host.greet().await;
        let mut conn = Conn::open(&mut host, 1, LOCKDOWND, 512).await;
        let body = "<plist version=\"1.0\"><dict><key>Label</key><string>t</string>\
                    <key>Request</key><string>GetValue</string></dict></plist>";
        conn.send(&mut host, ACK, &(body.len() as u32).to_be_bytes()).await;
        conn.send(&mut host, ACK, body.as_bytes()).await;
        let mut prefix = host.segment().await;
        while prefix.payload.is_empty() {
            prefix = host.segment().await;
        }
        assert_eq!(prefix.payload.len(), 4);
        conn.ack += 4;
        let length = u32::from_be_bytes(prefix.payload.try_into().unwrap()) as usize;
        let answer = String::from_utf8(conn.receive(&mut host, length).await).unwrap();
        assert!(answer.contains("<string>Virtual Phone 1</string>"), "{answer}");
        assert!(answer.contains("00008030-0000000000000001"));
    });
}

#[test]
fn a_thousand_connections_work_at_once() {
    with_phone(options(&[]), async |mut host| {
        host.greet().await;
        let mut conns = Vec::new();
        for source in 1..=1000 {
            conns.push(Conn::open(&mut host, source, ECHO, 512).await);
        }
        assert_eq!(host.plug.connections(), 1000);
        for conn in &mut conns {
            let text = format!("connection {}", conn.source);
            conn.send(&mut host, ACK, text.as_bytes()).await;
            assert_eq!(conn.receive(&mut host, text.len()).await, text.as_bytes());
        }
        for conn in &mut conns {
            conn.send(&mut host, RST, &[]).await;
        }
        host.greet().await;
        assert_eq!(host.plug.connections(), 0);
    });
}
