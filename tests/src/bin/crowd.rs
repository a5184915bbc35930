//! Ten thousand connections to one phone, and a thousand to each of eight, all open and talking at once; prints what
//! they cost.
//!
//! `crowd [CONNECTIONS [EACH [BYTES]]]`: to one phone, to each of eight, bytes that each sends. As many as the limit of
//! descriptors allows (`ulimit -Hn`).

use std::env;
use std::process::ExitCode;
use usbmux_tests::crowd::{LINGER, crowd, room};
use usbmux_tests::daemon_process::Daemon;

/// Connections to one phone, connections to each of eight, and bytes for each.
const DEFAULTS: [usize; 3] = [10_000, 1_000, 20_000];
const PHONES: usize = 8;

fn main() -> ExitCode {
    let mut numbers = DEFAULTS;
    for (number, argument) in numbers.iter_mut().zip(env::args().skip(1)) {
        match argument.parse() {
            Ok(given) => *number = given,
            Err(error) => {
                eprintln!("crowd: {argument}: {error}; crowd [CONNECTIONS [EACH [BYTES]]]");
                return ExitCode::from(2);
            }
        }
    }
    let room = room();
    let [one, each, bytes] = numbers;
    let (one, each) = (one.min(room), each.min(room / PHONES));
    // One daemon for each crowd: memory that the first leaves to the allocator would make the second look cheap.
    println!("{}", crowd(&Daemon::start(1, &[LINGER]), 1..=1, one, bytes));
    println!("{}", crowd(&Daemon::start(PHONES as u32, &[LINGER]), 1..=PHONES as u32, each, bytes));
    ExitCode::SUCCESS
}
