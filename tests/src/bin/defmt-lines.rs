//! Turns the log of a bare-metal image into lines.
//!
//! An image logs numbers that only its own ELF file explains (defmt); they are read from standard
//! input as the image sends them, and each message is a line on standard output at once. Left out:
//! where in the source a message comes from.

use defmt_decoder::{DecodeError, StreamDecoder, Table};
use std::error::Error;
use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::{env, fs};

/// Bytes taken from standard input at a time.
const PIECE: usize = 4096;

fn main() -> ExitCode {
    let Some(image) = env::args_os().nth(1) else {
        eprintln!("usage: defmt-lines IMAGE <LOG");
        return ExitCode::from(2);
    };
    match fs::read(image).map_err(Into::into).and_then(|elf| decode(&elf)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("defmt-lines: {error}");
            ExitCode::FAILURE
        }
    }
}

fn decode(elf: &[u8]) -> Result<(), Box<dyn Error>> {
    let table = Table::parse(elf)?.ok_or("the image logs nothing with defmt")?;
    let mut decoder = table.new_stream_decoder();
    let mut bytes = [0; PIECE];
    loop {
        let count = io::stdin().lock().read(&mut bytes)?;
        if count == 0 {
            return Ok(());
        }
        decoder.received(&bytes[..count]);
        print_frames(&mut *decoder)?;
    }
}

/// Prints every message that has arrived whole.
fn print_frames(decoder: &mut dyn StreamDecoder) -> Result<(), Box<dyn Error>> {
    let mut out = io::stdout().lock();
    loop {
        match decoder.decode() {
            Ok(frame) => writeln!(out, "{}", frame.display(false))?,
            Err(DecodeError::UnexpectedEof) => return Ok(out.flush()?),
            Err(DecodeError::Malformed) => return Err("the log is not that of this image".into()),
        }
    }
}
