//! Each kind of violation, in a capture made for it: found where it is, named as it is, and nothing else.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use common::*;
use usbmux_core::wire::{Magic, Protocol};

/// An open connection, then what the test is about.
fn after_opening(story: impl FnOnce(&mut Capture)) -> Read {
    let mut capture = Capture::new(USUAL);
    capture.opened();
    story(&mut capture);
    capture.read()
}

#[track_caller]
fn expect(read: &Read, violations: &[&str], sentence: &str) {
    assert_eq!(read.error, None);
    assert_eq!(read.violations(), violations, "{:#?}", read.ladder);
    assert_eq!(read.sentence(), sentence, "{:#?}", read.ladder);
}

/// A frame of the host with so many bytes of payload, the first after opening.
fn data(bytes: usize) -> Vec<u8> {
    host(3, 0, ACK, (1, 1), 512, &vec![b'x'; bytes])
}

#[test]
fn an_ordinary_exchange_has_none() {
    let read = after_opening(|it| {
        it.out(&data(5)).r#in(&phone(1, 3, ACK, (1, 6), 512, b"hello"));
        it.out(&host(4, 1, ACK, (6, 6), 512, b""));
        it.r#in(&control(2, 4, 3, "socketIsClosed sock_receive returned errno 54"));
        it.r#in(&phone(3, 4, RST, (6, 6), 0, b"sessionUpcall connection closed"));
    });
    expect(&read, &[], "");
    assert_eq!(read.remarks(), [] as [&str; 0]);
    let diagnosis =
        "Nothing is wrong: version 2, one connection, 6 frames of the host and 5 of the phone.";
    assert_eq!(read.report.diagnosis, [diagnosis]);
    assert!(read.report.is_sound());
}

#[test]
fn two_frames_in_one_transfer() {
    let both = [data(5), host(4, 0, ACK, (6, 1), 512, b"more")].concat();
    let read = after_opening(|it| {
        it.out(&both);
    });
    expect(&read, &["glued"], "it stands in the same transfer as the frame before");
}

#[test]
fn a_zero_length_packet_that_is_missing_and_three_ways_to_send_it() {
    let next = host(4, 0, ACK, (477, 1), 512, b"y");
    let read = after_opening(|it| {
        it.out(&data(476)).out(&next);
    });
    let sentence = "no zero-length packet follows the frame of 512 bytes, which ends with a full packet: the \
                    next frame sticks to it";
    expect(&read, &["missing-zlp"], sentence);
    let explicit = after_opening(|it| {
        it.out(&data(476)).out(b"").out(&next);
    });
    expect(&explicit, &[], "");
    let by_flag = after_opening(|it| {
        it.out_ending(&data(476), 0x40, 0, 512).out(&next);
    });
    expect(&by_flag, &[], "");
    let trimmed = after_opening(|it| {
        it.out(&data(475)).out(&host(4, 0, ACK, (476, 1), 512, b"y"));
    });
    expect(&trimmed, &[], "");
}

#[test]
fn marks_in_a_row_are_folded_in_the_ladder_alone() {
    let with = |count: u16| {
        after_opening(|it| {
            for n in 0..count {
                it.out(&host(3 + n, 0, ACK, (1 + 476 * u32::from(n), 1), 512, &[b'x'; 476]));
            }
            it.out(&host(3 + count, 0, ACK, (1 + 476 * u32::from(count), 1), 512, b"y"));
        })
    };
    let drawn =
        |read: &Read, what: &str| read.ladder.iter().filter(|line| line.contains(what)).count();
    for (count, marks) in [(1, 1), (2, 2), (3, 3), (4, 3), (149, 3)] {
        let read = with(count);
        assert_eq!(read.violations().len(), usize::from(count), "none is lost");
        assert_eq!(drawn(&read, "! no zero-length"), marks, "{:#?}", read.ladder);
        assert_eq!(drawn(&read, "data, 476 bytes"), marks, "{:#?}", read.ladder);
        assert_eq!(drawn(&read, "data, 1 byte") + drawn(&read, "data, one byte"), 1);
        let folded = format!("           : {} more of these :", count.saturating_sub(3));
        let place = read.ladder.iter().position(|line| *line == folded);
        assert_eq!(place.is_some(), count > 3, "{:#?}", read.ladder);
    }
}

#[test]
fn a_zero_length_packet_that_is_missing_in_the_end() {
    let read = after_opening(|it| {
        it.out(&data(476)).wait_ms(1500).control([0x80, 0, 0, 0, 0, 0, 2, 0], b"\0\0");
    });
    let sentence =
        "no zero-length packet follows the frame of 512 bytes, which ends with a full packet";
    expect(&read, &["missing-zlp"], sentence);
}

#[test]
fn a_frame_in_transfers_of_16_kib_is_one() {
    let frame = data(40000);
    let read = after_opening(|it| {
        for part in frame.chunks(16384) {
            it.out(part);
        }
        let answer = phone(1, 3, ACK, (1, 40001), 512, &[b'z'; 32732 - 36 + 36]);
        for part in answer.chunks(16384) {
            it.in_read(part, 16384, 0);
        }
    });
    expect(&read, &[], "");
    assert_eq!(read.frames(), 8);
    assert_eq!(read.report.connections[0].bytes, [40000, 32732]);
}

#[test]
fn bytes_behind_a_frame() {
    let read = after_opening(|it| {
        it.r#in(&[phone(1, 2, ACK, (1, 1), 512, b"hello"), vec![0xde, 0xad, 0xbe]].concat());
    });
    expect(&read, &["trailing-bytes"], "3 bytes behind the frame's end: deadbe");
}

#[test]
fn a_transfer_that_ends_inside_a_frame_or_a_header() {
    let read = after_opening(|it| {
        it.r#in(&phone(1, 2, ACK, (1, 1), 512, b"hello")[..38]);
    });
    expect(&read, &["cut-short"], "the transfer ends 3 bytes before the frame does");
    let read = after_opening(|it| {
        it.r#in(&phone(1, 2, ACK, (1, 1), 512, b"hello")[..6]);
    });
    expect(&read, &["cut-short"], "the transfer ends after 6 bytes of a header: 00000006 0000");
}

#[test]
fn headers_that_are_none() {
    let with = |at: usize, byte: u8| {
        let mut bytes = data(5);
        bytes[at] = byte;
        after_opening(|it| {
            it.out(&bytes);
        })
    };
    let sentence = "protocol 0x9, which nobody speaks: this is no frame";
    expect(&with(3, 9), &["unknown-protocol"], sentence);
    let sentence = "a TCP frame of 65577 bytes by its own word; at most 65535 are allowed";
    expect(&with(5, 1), &["bad-length"], sentence);
    let sentence = "a TCP frame of 35 bytes by its own word; its headers have 36";
    expect(&with(7, 35), &["bad-length"], sentence);
    let sentence = "00edface stands where the magic feedface or faceface belongs";
    expect(&with(8, 0), &["bad-magic"], sentence);
    let sentence = "a pseudo-TCP header of 6 words: 5 are in use";
    expect(&with(28, 0x60), &["bad-header"], sentence);
    let read = after_opening(|it| {
        let body = segment(PORTS, ACK, (1, 1), 512, b"x");
        it.out(&frame(Protocol::TCP, Magic::PHONE, 3, 0, &body));
    });
    expect(&read, &["bad-magic"], "magic faceface; a host sends feedface");
}

#[test]
fn frame_numbers_that_jump() {
    let numbered = |tx| {
        after_opening(|it| {
            it.out(&host(tx, 0, ACK, (1, 1), 512, b"x"));
        })
    };
    expect(&numbered(4), &["tx-gap"], "tx_seq 4, but 3 was due: a frame is missing");
    expect(&numbered(7), &["tx-gap"], "tx_seq 7, but 3 was due: 4 frames are missing");
    expect(&numbered(2), &["tx-gap"], "tx_seq 2 for the second time: 3 was due");
    expect(&numbered(0), &["tx-gap"], "tx_seq 0, but 3 was due: the numbering went back");
    let read = after_opening(|it| {
        it.r#in(&phone(2, 2, ACK, (1, 1), 512, b"x"));
    });
    expect(&read, &["tx-gap"], "tx_seq 2, but 1 was due: a frame is missing");
}

#[test]
fn a_phones_word_about_what_it_took() {
    let read = after_opening(|it| {
        it.r#in(&phone(1, 9, ACK, (1, 1), 512, b"x"));
    });
    expect(&read, &["rx-wrong"], "it claims to have taken frame 9, but the host's last was 2");
    let read = after_opening(|it| {
        it.r#in(&phone(1, 2, ACK, (1, 1), 512, b"x")).r#in(&phone(2, 1, ACK, (2, 1), 512, b"x"));
    });
    expect(&read, &["rx-wrong"], "its rx_seq went back from 2 to 1");
    let read = after_opening(|it| {
        it.out(&data(5)).wait_ms(1200);
        for n in 0..3 {
            it.r#in(&phone(1 + n, 2, ACK, (1, 1), 512, b""));
        }
    });
    let sentence = "the phone takes no frames any more: it does not know of frame 3 (data, 5 bytes), sent \
                    1.20 s before";
    expect(&read, &["rx-stuck"], sentence);
}

#[test]
fn a_hosts_word_is_a_remark() {
    let read = after_opening(|it| {
        it.out(&host(3, 5, ACK, (1, 1), 512, b"x")).out(&host(4, 5, ACK, (2, 1), 512, b"x"));
    });
    expect(&read, &[], "");
    assert_eq!(read.remarks(), ["host-rx"]);
}

#[test]
fn sequence_numbers_that_leave_out_or_repeat() {
    let read = after_opening(|it| {
        it.out(&host(3, 0, ACK, (11, 1), 512, b"x"));
    });
    expect(&read, &["seq-gap"], "10 bytes are missing: seq 1 was due");
    let read = after_opening(|it| {
        it.out(&data(5)).out(&host(4, 0, ACK, (4, 1), 512, b"x"));
    });
    expect(&read, &["seq-repeat"], "2 bytes come again: seq 6 was due");
}

#[test]
fn acknowledgements_beyond_and_back() {
    let read = after_opening(|it| {
        it.r#in(&phone(1, 2, ACK, (1, 5), 512, b""));
    });
    expect(&read, &["ack-beyond"], "it acknowledges 4 bytes that the host never sent");
    let read = after_opening(|it| {
        it.out(&data(5)).r#in(&phone(1, 3, ACK, (1, 6), 512, b""));
        it.r#in(&phone(2, 3, ACK, (1, 3), 512, b""));
    });
    expect(&read, &["ack-back"], "it takes back the acknowledgement of 3 bytes");
}

#[test]
fn a_window_is_counted_to_its_last_byte() {
    let narrow = |payload: usize| {
        let mut capture = Capture::new(USUAL);
        capture.out(&version(2)).r#in(&version(2)).out(&setup());
        capture.out(&host(1, RX_NONE, SYN, (0, 0), 1, b""));
        capture.r#in(&phone(0, 1, SYN_ACK, (0, 1), 2, b""));
        capture.out(&host(2, 0, ACK, (1, 1), 1, b""));
        capture.r#in(&phone(1, 2, ACK, (1, 1), 2, &vec![b'x'; payload]));
        capture.read()
    };
    expect(&narrow(256), &[], "");
    let sentence = "one byte more than the host let in: it allows up to seq 257 (window 256), and this ends at \
                    258";
    expect(&narrow(257), &["overrun"], sentence);
    let read = after_opening(|it| {
        // The phone lets in 1024, then its edge falls back while bytes are under way: that is no fault.
        it.r#in(&phone(1, 2, ACK, (1, 1), 4, b"")).r#in(&phone(2, 2, ACK, (1, 1), 3, b""));
        it.out(&data(1000));
    });
    expect(&read, &[], "");
}

#[test]
fn flags_that_nobody_sends() {
    let read = after_opening(|it| {
        it.out(&host(3, 0, 0x18, (1, 1), 512, b"x"));
    });
    let sentence = "flags PSH|ACK (0x18): a phone answers anything but ACK with a reset";
    expect(&read, &["bad-flags"], sentence);
}

#[test]
fn segments_without_an_open_connection() {
    let read = after_opening(|it| {
        it.r#in(&phone(1, 2, RST, (1, 1), 0, b"")).wait_ms(200).out(&data(1));
    });
    expect(&read, &["closed"], "the phone reset this connection 200 ms before");
    let crossing = after_opening(|it| {
        it.r#in(&phone(1, 2, RST, (1, 1), 0, b"")).out(&data(1));
    });
    expect(&crossing, &[], "");
    let read = after_opening(|it| {
        it.out(&host(3, 0, RST, (1, 1), 0, b"")).r#in(&phone(1, 3, ACK, (1, 1), 512, b"x"));
    });
    expect(&read, &["closed"], "the host reset this connection 100 us before");
    let unknowing = after_opening(|it| {
        it.out(&host(3, 0, RST, (1, 1), 0, b"")).r#in(&phone(1, 2, ACK, (1, 1), 512, b"x"));
    });
    expect(&unknowing, &[], "");
    let read = after_opening(|it| {
        let body = segment((9, 99), ACK, (1, 1), 512, b"x");
        it.out(&frame(Protocol::TCP, Magic::HOST, 3, 0, &body));
    });
    expect(&read, &["no-connection"], "nobody opened a connection 9 > 99");
    let mut early = Capture::new(USUAL);
    early.out(&version(2)).r#in(&version(2)).out(&setup());
    early.out(&host(1, RX_NONE, SYN, (0, 0), 512, b""));
    early.out(&host(2, RX_NONE, ACK, (1, 1), 512, b"x"));
    let sentence = "the connection is not open: its SYN has no answer yet";
    expect(&early.read(), &["not-open"], sentence);
}

#[test]
fn ports_used_again() {
    let read = after_opening(|it| {
        it.out(&host(3, 0, SYN, (0, 0), 512, b""));
    });
    expect(&read, &["syn-reuse"], "a SYN on connection #1, which is open");
    let read = after_opening(|it| {
        it.r#in(&phone(1, 2, RST, (1, 1), 0, b"")).out(&host(3, 1, SYN, (0, 0), 512, b""));
    });
    expect(&read, &[], "");
    assert_eq!(read.remarks(), ["port-reused", "no-ack"]);
    assert_eq!(read.report.connections.len(), 2);
}

#[test]
fn silence_has_a_bound() {
    let asked = |millis| {
        let mut capture = Capture::new(USUAL);
        capture.out(&version(2)).wait_ms(millis).control([0x80, 0, 0, 0, 0, 0, 2, 0], b"\0\0");
        capture.read()
    };
    expect(&asked(2300), &[], "");
    expect(&asked(2600), &["silent-version"], "no answer to VERSION for 2.50 s");
    let called = |millis| {
        let mut capture = Capture::new(USUAL);
        capture.out(&version(2)).r#in(&version(2)).out(&setup());
        capture.out(&host(1, RX_NONE, SYN, (0, 0), 512, b"")).wait_ms(millis);
        capture.control([0x80, 0, 0, 0, 0, 0, 2, 0], b"\0\0");
        capture.read()
    };
    expect(&called(4400), &[], "");
    assert_eq!(called(4400).remarks(), ["no-ack"]);
    let sentence = "no answer to the SYN to port 7 in the 4.60 s up to the trace's last record";
    expect(&called(4600), &["silent-connect"], sentence);
    expect(&called(5100), &["silent-connect"], "no answer to the SYN to port 7 for 5.00 s");
    let read = after_opening(|it| {
        it.out_pending(&data(5)).wait_ms(5100).control([0x80, 0, 0, 0, 0, 0, 2, 0], b"\0\0");
    });
    expect(&read, &["out-stuck"], "the phone has not taken this for 5.00 s: data, 5 bytes");
}

#[test]
fn a_syn_without_an_answer_in_the_end() {
    let mut capture = Capture::new(USUAL);
    capture.out(&version(2)).r#in(&version(2)).out(&setup());
    capture.out(&host(1, RX_NONE, SYN, (0, 0), 512, b""));
    let at_once = capture.read();
    expect(&at_once, &[], "");
    assert!(at_once.report.is_sound());
    let open = "One SYN had no answer before the trace ended (the SYN to port 7 is the trace's last record): \
                whether the phone was silent, or the trace was ended too soon, cannot be told from it.";
    let else_ = "Nothing else is wrong: version 2, one connection, 3 frames of the host and 1 of the phone.";
    assert_eq!(at_once.report.diagnosis, [open, else_]);
    capture.wait_ms(6000).out(&host(2, RX_NONE, RST, (1, 0), 0, b""));
    let given_up = capture.read();
    expect(&given_up, &["silent-connect"], "no answer to the SYN to port 7 for 5.00 s");
    assert_eq!(given_up.report.connections[0].violations, 1);
}

#[test]
fn a_syn_that_was_lost_is_no_silent_phone() {
    let lost = |expected: u16| {
        after_opening(|it| {
            it.out(&host(3, 0, RST, (1, 1), 0, b""));
            it.wait_ms(3000).out(&host(4, 0, SYN, (0, 0), 512, b""));
            it.wait_ms(4500).out(&host(5, 0, RST, (1, 0), 0, b""));
            let said = format!("detected duplicate packet. Expected {expected} received 5");
            it.r#in(&control(1, expected - 1, 4, &said));
            // In vain, and not the phone's silence either.
            it.wait_ms(3000).out(&host(6, 1, SYN, (0, 0), 512, b"")).wait_ms(6000);
            it.out(&host(7, 1, RST, (1, 0), 0, b""));
        })
    };
    let read = lost(4);
    assert_eq!(read.violations()[..2], ["silent-connect", "session-dead"], "{:#?}", read.ladder);
    let diagnosis = "The phone reports a duplicate packet after frame 3: the transfer with frame 4 (SYN to port \
                     7) was lost on its way, though the host sent it. The session is dead, and 2 frames were \
                     sent in vain after it: it takes a new VERSION, or a replug.";
    assert_eq!(read.report.diagnosis, [diagnosis]);
    // Here the phone took the SYN, and lost the frame after it.
    let read = lost(5);
    let silent = "The phone neither accepts nor refuses connections: one SYN had no answer.";
    assert_eq!(read.report.diagnosis.get(1).map(String::as_str), Some(silent));
}

#[test]
fn a_dead_session_and_who_is_to_blame() {
    let duplicate = |it: &mut Capture, expected, received| {
        it.r#in(&control(
            1,
            2,
            4,
            &format!("detected duplicate packet. Expected {expected} received {received}"),
        ));
    };
    let read = after_opening(|it| {
        it.out(&data(5)).out(&host(4, 0, ACK, (6, 1), 512, b"x"));
        duplicate(it, 3, 4);
        it.out(&host(5, 0, ACK, (7, 1), 512, b"x"));
    });
    let sentence = "the session is dead: the phone got frame 4, but never frame 3 (data, 5 bytes)";
    expect(&read, &["session-dead"], sentence);
    let diagnosis = "The phone reports a duplicate packet after frame 2: the transfer with frame 3 (data, 5 \
                     bytes) was lost on its way, though the host sent it. The session is dead, and one frame \
                     was sent in vain after it: it takes a new VERSION, or a replug.";
    assert_eq!(read.report.diagnosis, [diagnosis]);
    let read = after_opening(|it| {
        it.out(&host(4, 0, ACK, (1, 1), 512, b"x"));
        duplicate(it, 3, 4);
        it.wait_ms(10).out(&version(2)).r#in(&version(2)).out(&setup());
    });
    assert_eq!(read.violations(), ["tx-gap", "session-dead"]);
    let diagnosis = "The phone reports a duplicate packet: it waited for frame 3, and the host's own numbering \
                     went to 4. A new session worked 10 ms later.";
    assert_eq!(read.report.diagnosis, [diagnosis]);
}

#[test]
fn frames_of_an_older_session() {
    let mut capture = Capture::new(USUAL);
    capture.out(&version(2));
    capture.r#in(&phone(40, 39, ACK, (1000, 1), 512, b"old")).r#in(&phone(
        41,
        39,
        ACK,
        (1003, 1),
        512,
        b"old",
    ));
    capture.out(&version(2)).r#in(&version(2)).out(&setup());
    let read = capture.read();
    expect(&read, &["stale-session"], "a frame of an older session: VERSION has no answer yet");
    let diagnosis = "The phone was still in an older session, whose host had gone without an end: 2 frames of \
                     it were sent before VERSION was answered, and must be dropped. VERSION was answered in the end.";
    assert_eq!(read.report.diagnosis, [diagnosis]);
    let mut capture = Capture::new(USUAL);
    capture.r#in(&phone(40, 39, ACK, (1000, 1), 512, b"old")).out(&version(2)).r#in(&version(2));
    let sentence = "the phone sent one frame of an older session before anybody asked";
    expect(&capture.read(), &["stale-session"], sentence);
}

#[test]
fn what_the_phone_complains_of() {
    let read = after_opening(|it| {
        it.r#in(&control(
            1,
            2,
            3,
            "asyncReadComplete, message was too large (65536 bytes, max = 65535)",
        ));
    });
    let sentence = "the phone took several frames for one: the end of a transfer was lost";
    expect(&read, &["phone-complains"], sentence);
    let read = after_opening(|it| {
        it.r#in(&phone(
            1,
            2,
            RST,
            (1, 1),
            0,
            b"handleMuxTCPInput th.th_flags = 0x18, not TH_ACK(0x10)",
        ));
    });
    assert_eq!(read.violations(), ["broken-off"]);
    let read = after_opening(|it| {
        it.r#in(&control(1, 2, 5, "by the way"));
    });
    expect(&read, &[], "");
    assert!(read.ladder.iter().any(|line| line.trim() == "\"by the way\""), "{:#?}", read.ladder);
}

#[test]
fn versions() {
    let mut capture = Capture::new(USUAL);
    capture.out(&version(2)).r#in(&version(3));
    expect(&capture.read(), &["unknown-version"], "version 3: there are 1 and 2");
    let mut capture = Capture::new(USUAL);
    capture.out(&version(2)).r#in(&version(1));
    capture.out(&short(Protocol::TCP, &segment(PORTS, SYN, (0, 0), 512, b"")));
    capture.r#in(&short(Protocol::TCP, &segment((7, 1), SYN_ACK, (0, 1), 512, b"")));
    capture.out(&short(Protocol::TCP, &segment(PORTS, ACK, (1, 1), 512, b"hi")));
    let read = capture.read();
    expect(&read, &[], "");
    let diagnosis = "Nothing is wrong: version 1 (no frame numbers), one connection, 3 frames of the host and \
                     2 of the phone.";
    assert_eq!(read.report.diagnosis, [diagnosis]);
}

#[test]
fn transfers_that_fail() {
    let ends = |status, passed| {
        after_opening(|it| {
            it.out_ending(&data(5), 0, status, passed);
        })
    };
    expect(&ends(-32, 0), &["stall"], "the phone stalled its OUT endpoint");
    let sentence = "the host gave a transfer up: the phone may never have got data, 5 bytes";
    expect(&ends(-2, 0), &["given-up"], sentence);
    expect(&ends(0, 20), &["short-transfer"], "only 20 bytes of data, 5 bytes passed");
    let sentence = "OUT: the bus failed (protocol error): data, 5 bytes";
    expect(&ends(-71, 0), &["usb-error"], sentence);
    let read = after_opening(|it| {
        it.in_read(b"", READ, -75);
    });
    let sentence = "the phone sent more than the host had room for in this read (babble)";
    expect(&read, &["usb-error"], sentence);
    let read = after_opening(|it| {
        it.in_read(b"", READ, -2).in_read(b"", READ, -108).in_read(b"", READ, -108);
    });
    expect(&read, &[], "");
    assert_eq!(read.remarks(), ["unplugged"]);
}
