//! Many connections at once; the program `crowd` does the same with ten thousand.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use usbmux_tests::crowd::{LINGER, crowd, room};
use usbmux_tests::daemon_process::Daemon;

/// An eighth of what the reference daemon holds for each.
const MEMORY: usize = 320 * 1024 / 8;

#[test]
fn thousand_connections_to_one_phone_all_work_and_cost_little() {
    assert!(room() > 1000, "this machine allows too few descriptors");
    // Its soft limit is far below what it needs: it raises it.
    let daemon = Daemon::start_after("ulimit -S -n 64", 1, &[LINGER]);
    let figures = crowd(&daemon, 1..=1, 1000, 10_000);
    println!("{figures}");
    assert!(figures.idle <= MEMORY, "{figures}");
}

#[test]
fn hundred_connections_to_each_of_eight_phones_all_work() {
    assert!(room() > 800, "this machine allows too few descriptors");
    let daemon = Daemon::start(8, &[LINGER]);
    println!("{}", crowd(&daemon, 1..=8, 100, 10_000));
}
