//! How the program ends other than well: one line that says what to do, and an exit status.

use std::fmt::Display;
use std::process::ExitCode;

/// The end of a program that stopped early.
#[derive(Debug)]
pub(crate) struct Failure {
    status: u8,
    line: Option<String>,
}

impl Failure {
    /// Something went wrong.
    pub(crate) fn failed(line: impl Display) -> Self {
        Failure { status: 1, line: Some(line.to_string()) }
    }

    /// What was written on the command line makes no sense.
    pub(crate) fn usage(line: impl Display) -> Self {
        Failure { status: 2, line: Some(line.to_string()) }
    }

    /// Nothing went wrong, but there is nothing left to do.
    pub(crate) fn done() -> Self {
        Failure { status: 0, line: None }
    }

    /// Writes the line to standard error.
    pub(crate) fn report(self) -> ExitCode {
        if let Some(line) = self.line {
            say(format_args!("usbmux-sim: {line}"));
        }
        ExitCode::from(self.status)
    }
}

/// Prints a line on stderr; a stderr that nobody reads any more is no reason to end.
pub(crate) fn say(line: std::fmt::Arguments<'_>) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{line}");
}
