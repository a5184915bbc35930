//! Prints row → test → result for every row of PROTOCOL §7 and every quirk; fails where a test is missing or failed.
//!
//! `rows LOG…`: the logs hold what `cargo test` printed, stdout and stderr in one.

use std::process::ExitCode;
use std::{env, fs};
use usbmux_tests::rows::{TABLE, outcomes, parse, report};

fn main() -> ExitCode {
    let mut log = String::new();
    for file in env::args_os().skip(1) {
        match fs::read(&file) {
            Ok(bytes) => log += &String::from_utf8_lossy(&bytes),
            Err(error) => {
                eprintln!("rows: {}: {error}", file.display());
                return ExitCode::from(2);
            }
        }
    }
    let rows = match parse(TABLE) {
        Ok(rows) => rows,
        Err(sentence) => {
            eprintln!("rows: {sentence}");
            return ExitCode::from(2);
        }
    };
    let (text, good) = report(&rows, &outcomes(&log));
    print!("{text}");
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
