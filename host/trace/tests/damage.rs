//! Damaged files: every prefix, and bytes changed at random, of captures in all forms. Whatever comes out, it
//! comes in bounded time and without a panic. `USBMUX_SEED=n` replays a failure.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use common::*;

/// Damaged files of each form.
const ROUNDS: u64 = 400;

fn story(form: Form) -> Vec<u8> {
    let mut capture = Capture::new(form);
    capture.control(
        [0x80, 6, 0, 1, 0, 0, 18, 0],
        &[18, 1, 0, 2, 0, 0, 0, 64, 0xac, 5, 0xa8, 0x12, 1, 14, 1, 2, 3, 1],
    );
    capture.opened();
    capture.out(&host(3, 0, ACK, (1, 1), 512, &[7; 476])).out(b"");
    let glued =
        [phone(1, 3, ACK, (1, 477), 512, b"one"), phone(2, 3, ACK, (4, 477), 512, b"two")].concat();
    capture.r#in(&glued).r#in(&control(
        3,
        3,
        4,
        "detected duplicate packet. Expected 4 received 9",
    ));
    capture.out(&version(2)).r#in(&version(2)).out(&setup());
    capture.r#in(&phone(0, 0, RST, (9, 9), 0, b"no such port"));
    capture.bytes
}

fn forms() -> impl Iterator<Item = Form> {
    [(false, true, false), (true, true, true), (false, false, true), (true, false, false)]
        .into_iter()
        .map(|(big_endian, mapped, pcapng)| Form { big_endian, mapped, pcapng, snap: 300 })
}

#[test]
fn every_prefix() {
    for form in forms() {
        let whole = story(form);
        for len in 0..whole.len() {
            read(&whole[..len]);
        }
    }
}

#[test]
fn bytes_changed_at_random() {
    let given = std::env::var("USBMUX_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| fastrand::u64(..));
    println!("USBMUX_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests");
    let real = ["captures-usbmon/trailing-bytes.pcapng", "traces/own-lost-transfer.pcapng"];
    let real = real.map(|name| std::fs::read(format!("{folder}/{name}")).unwrap());
    for whole in forms().map(story).chain(real) {
        for _ in 0..ROUNDS {
            let mut bytes = whole.clone();
            for _ in 0..random.usize(1..12) {
                let at = random.usize(..bytes.len());
                bytes[at] = match random.u8(..4) {
                    0 => random.u8(..),
                    1 => 0xff,
                    2 => 0,
                    _ => bytes[at] ^ 1 << random.u8(..8),
                };
            }
            let read = read(&bytes);
            assert!(read.items.len() < 1000);
        }
    }
}
