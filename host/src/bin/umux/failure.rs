//! How a subcommand ends other than well: one line that says what to do, and an exit status.

use std::fmt::Display;
use std::process::ExitCode;

use usbmux_host::client::ClientError;
use usbmux_host::direct::DirectError;

/// The exit statuses, a contract with scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Status {
    Done = 0,
    Failed = 1,
    Usage = 2,
    NoPhone = 3,
    Refused = 4,
    NoDaemon = 5,
}

/// The end of a subcommand that stopped early.
#[derive(Debug)]
pub(crate) struct Failure {
    status: Status,
    /// What stands on standard error; the first line is the message, the others what to choose
    /// from.
    lines: Vec<String>,
}

impl Failure {
    pub(crate) fn new(status: Status, line: impl Display) -> Self {
        Failure { status, lines: vec![line.to_string()] }
    }

    /// Something went wrong that is none of the other cases.
    pub(crate) fn failed(line: impl Display) -> Self {
        Failure::new(Status::Failed, line)
    }

    /// What was written on the command line makes no sense.
    pub(crate) fn usage(line: impl Display) -> Self {
        Failure::new(Status::Usage, line)
    }

    /// What went wrong has been said already, on standard output.
    pub(crate) fn told() -> Self {
        Failure { status: Status::Failed, lines: Vec::new() }
    }

    /// Nothing went wrong, but there is nothing left to do.
    pub(crate) fn done() -> Self {
        Failure { status: Status::Done, lines: Vec::new() }
    }

    /// Adds what the user has to choose from.
    pub(crate) fn with_list(mut self, list: impl IntoIterator<Item = String>) -> Self {
        self.lines.extend(list);
        self
    }

    /// Writes the lines to standard error.
    pub(crate) fn report(self) -> ExitCode {
        for (index, line) in self.lines.iter().enumerate() {
            let name = if index == 0 { "umux: " } else { "" };
            eprintln!("{name}{line}");
        }
        ExitCode::from(self.status as u8)
    }
}

/// What is said of a connection that did not end in the ordinary way.
pub(crate) fn broke_off(reason: &str) -> String {
    format!("the connection broke off: {reason}")
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let status = match error {
            ClientError::NoDaemon { .. } => Status::NoDaemon,
            ClientError::NoSuchPhone => Status::NoPhone,
            ClientError::Refused { .. } => Status::Refused,
            _ => Status::Failed,
        };
        Failure::new(status, error)
    }
}

impl From<DirectError> for Failure {
    fn from(error: DirectError) -> Self {
        let status = match error {
            DirectError::NoPhone { .. } | DirectError::Unplugged => Status::NoPhone,
            DirectError::Several(_) => Status::Usage,
            DirectError::Refused { .. } => Status::Refused,
            _ => Status::Failed,
        };
        Failure::new(status, error)
    }
}
