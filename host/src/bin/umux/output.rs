//! Standard output, whose reader may go away at any time (`umux list | head -1`): that ends a
//! subcommand quietly.

use std::io::{self, Write};

use serde_json::Value;

use crate::failure::Failure;

/// Writes a line so that its reader has it at once.
pub(crate) fn line(line: &str) -> Result<(), Failure> {
    bytes(format!("{line}\n").as_bytes())
}

/// Writes a text that has its own line ends.
pub(crate) fn text(text: &str) -> Result<(), Failure> {
    bytes(text.as_bytes())
}

/// Writes a value that is the whole output, for people and programs.
pub(crate) fn json(value: &Value) -> Result<(), Failure> {
    line(&format!("{value:#}"))
}

/// Writes bytes as they are.
pub(crate) fn bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::done(),
        _ => Failure::failed(format!("cannot write to standard output ({error})")),
    })
}
