//! A daemon, phones with quirks and clients of all tempers, for as long as one likes.
//!
//! `soak --seed N --minutes M` prints a line for each round and a closing table; it fails when a byte is other than it
//! was, when something hangs longer than its timer, or when something stays behind. The same seed makes the same
//! choices; what happens between processes is not repeated to the microsecond.

use clap::Parser;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;
use usbmux_tests::crowd::room;
use usbmux_tests::soak::{Plan, run};

/// Lets phones with quirks and clients of all tempers loose on a daemon, and checks every byte, timer and remainder.
#[derive(Parser, Debug)]
#[command(name = "soak")]
struct Arguments {
    /// What decides all that is random.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How long; fractions are allowed.
    #[arg(long, default_value = "1", value_parser = minutes)]
    minutes: Duration,
}

fn minutes(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().map_err(|error| error.to_string())? * 60.0;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

fn main() -> ExitCode {
    let Arguments { seed, minutes } = Arguments::parse();
    let _ = room();
    // In a thread of its own, so that a helper that fails loudly is a failed run and not a crash.
    match thread::spawn(move || run(Plan { seed, length: minutes })).join() {
        Ok(report) => {
            println!("{report}");
            if report.good() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(_) => {
            println!("soak: seed {seed}: failed, see above");
            ExitCode::FAILURE
        }
    }
}
