//! Clients that mean harm, or know no better.

use usbmux_tests::random::{Random, seeds};
use usbmux_tests::socket::{Message, message_bytes, request};

use crate::desk::{Desk, Fate, Socket, ask};
use crate::wording::{Wording, random_request};

/// Names the seed of a run that panics.
struct Named(u64);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("USBMUX_SEED={}", self.0);
        }
    }
}

fn plist(body: &str) -> Vec<u8> {
    message_bytes(1, 8, 7, body.as_bytes())
}

fn is_refused(body: &str) {
    let answers = ask(&mut Desk::with_phone(), &plist(body), 50);
    assert_eq!(answers, (vec![Message::result(7, 1)], Fate::Open), "{body}");
}

#[test]
fn garbage_ends_no_dongle() {
    for seed in seeds(10_000) {
        let _named = Named(seed);
        let mut random = Random::new(seed);
        let mut desk = Desk::with_phone();
        let mut socket = Socket::new();
        socket.room = random.between(17, 300);
        let mut bytes = vec![];
        for _ in 0..random.between(1, 4) {
            match random.below(4) {
                0 => bytes.extend((0..random.between(1, 200)).map(|_| random.bits() as u8)),
                1 => {
                    let body: Vec<u8> =
                        (0..random.between(0, 300)).map(|_| random.bits() as u8).collect();
                    let version = random.below(3) as u32;
                    bytes.extend(message_bytes(version, random.below(10) as u32, 1, &body));
                }
                _ => bytes.extend(plist(&random_request(&mut random, Wording::Damaged))),
            }
        }
        let slice = random.between(1, 600);
        socket.send(&mut desk, &bytes, slice);
        socket.conversation.end_of_input();
        socket.run(&mut desk);
        assert!(socket.fate != Fate::Open || socket.conversation.is_listening(), "seed {seed}");
        socket.end(&mut desk);
        assert_eq!(desk.listeners.count(), 0, "seed {seed}");
    }
}

#[test]
fn entities_are_never_declared() {
    is_refused(
        "<!DOCTYPE plist [<!ENTITY a \"Listen\">]><plist><dict><key>MessageType</key>\
         <string>ReadBUID</string></dict></plist>",
    );
    is_refused(
        "<!DOCTYPE plist []><plist><dict><key>MessageType</key><string>ReadBUID</string></dict></plist>",
    );
    is_refused("<plist><dict><key>MessageType</key><string>&a;</string></dict></plist>");
}

#[test]
fn nesting_and_size_are_bounded() {
    let nested = |depth: usize| {
        let (open, close) = ("<array>".repeat(depth), "</array>".repeat(depth));
        format!(
            "<plist><dict><key>MessageType</key><string>ReadBUID</string><key>a</key>{open}{close}\
             </dict></plist>"
        )
    };
    let understood = |body: &str| {
        let (answers, _) = ask(&mut Desk::with_phone(), &plist(body), 100);
        answers[0].text("BUID").is_some()
    };
    assert!(understood(&nested(6)));
    assert!(!understood(&nested(7)));
    assert!(!understood(&nested(3000)));
    let many = |count: usize| {
        format!(
            "<plist><dict><key>MessageType</key><string>ReadBUID</string><key>a</key><array>{}\
             </array></dict></plist>",
            "<true/>".repeat(count)
        )
    };
    assert!(understood(&many(4090)));
    assert!(!understood(&many(4091)));
    assert!(!understood(&many(9000)));
}

#[test]
fn long_texts_cost_no_memory() {
    let long = "x".repeat(60_000);
    for body in [
        format!(
            "<plist><dict><key>MessageType</key><string>ReadBUID</string><key>{long}</key><true/></dict></plist>"
        ),
        format!(
            "<plist><dict><key>ProgName</key><string>{long}</string><key>MessageType</key><string>ReadBUID</string></dict></plist>"
        ),
        format!(
            "<!-- {long} --><plist><dict><key>MessageType</key><string>ReadBUID</string></dict></plist>"
        ),
    ] {
        let (answers, _) = ask(&mut Desk::with_phone(), &plist(&body), 1000);
        assert!(answers[0].text("BUID").is_some());
    }
    is_refused(&format!(
        "<plist><dict><key>MessageType</key><string>{long}</string></dict></plist>"
    ));
    is_refused(&format!(
        "<plist a='{long}'><dict><key>MessageType</key><string>ReadBUID</string></dict></plist>"
    ));
}

#[test]
fn absurd_lengths_close_the_socket() {
    for length in [0_u32, 15, 65_537, 1 << 20, u32::MAX] {
        let mut message = plist("");
        message[..4].copy_from_slice(&length.to_le_bytes());
        message.resize(1 << 20, b'x');
        let (answers, fate) = ask(&mut Desk::with_phone(), &message, 1000);
        assert_eq!((answers, fate), (vec![], Fate::Closed), "length {length}");
    }
}

#[test]
fn a_truncated_request_is_answered_by_nothing_and_leaves_nothing() {
    let data = plist::Value::Data(crate::wording::BINARY_RECORD.to_vec());
    let keys = [("PairRecordData", data), ("PairRecordID", "AB".into())];
    let whole = request(1, "SavePairRecord", &keys);
    for len in 0..whole.len() {
        let mut desk = Desk::with_phone();
        let mut socket = Socket::new();
        socket.send(&mut desk, &whole[..len], 64);
        assert_eq!(socket.conversation.is_amid_message(), len > 0);
        socket.conversation.end_of_input();
        socket.run(&mut desk);
        assert_eq!((socket.messages(), socket.fate), (vec![], Fate::Closed));
        socket.end(&mut desk);
        assert_eq!((desk.store.count(), desk.store.used()), (0, 0));
    }
}

#[test]
fn every_changed_byte_is_survived() {
    let whole = request(1, "Connect", &[("DeviceID", 1.into()), ("PortNumber", 1792.into())]);
    for place in 0..whole.len() {
        for value in [0, b'<', b'>', b'&', b'"', 0x80, 0xff] {
            let mut message = whole.clone();
            message[place] = value;
            let (answers, _) = ask(&mut Desk::with_phone(), &message, 97);
            assert!(answers.len() <= 2);
        }
    }
}
