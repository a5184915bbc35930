//! What can go wrong between a client and a daemon, each with what to do about it.

use std::fmt;
use std::io;
use std::time::Duration;

use crate::address::{Address, ENVIRONMENT_VARIABLE};

/// A failed operation. It prints as one line that says what to do next.
#[derive(Debug)]
#[non_exhaustive]
pub enum ClientError {
    /// Nobody answers at the address, or this user may not open it.
    NoDaemon {
        /// Where the daemon was expected.
        address: Address,
        /// What the operating system said.
        cause: io::Error,
    },
    /// The socket failed in the middle of an operation: the daemon was killed, most likely.
    Lost(io::Error),
    /// The daemon closed the socket instead of answering.
    HungUp,
    /// The daemon or the phone did not answer in time: it is stuck.
    Silent {
        /// The limit that passed.
        after: Duration,
    },
    /// What came is not the protocol: something else listens at the address, or the daemon has a
    /// fault.
    Garbled(Garbled),
    /// The daemon does not know the question (Result 1): it is older than it.
    Unsupported,
    /// The daemon does not speak plists (Result 6): it is too old for this client.
    Version,
    /// The daemon does not know the phone (Result 2 of Connect): it was unplugged.
    NoSuchPhone,
    /// Nothing on the phone listens on this port (Result 3 of Connect).
    Refused {
        /// The port that was asked for.
        port: u16,
    },
    /// There is no pair record under this id.
    NoRecord,
    /// The daemon takes the id or the data for no pair record.
    BadRecord,
    /// The question is larger than what daemons accept.
    TooLarge {
        /// Its length in bytes.
        bytes: usize,
    },
    /// The phone's lockdownd answered with an error, in its own words.
    Lockdown(String),
    /// The daemon answered with a number that has no meaning here.
    Failed {
        /// The number of the Result.
        number: u32,
    },
}

/// How an answer breaks the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Garbled {
    /// The header's length is below 16 or beyond [`MAX_REPLY`](super::MAX_REPLY).
    Length(u32),
    /// The header names a kind of message that is no answer.
    Kind(u32),
    /// The tag is not that of the question.
    Tag {
        /// The question's tag.
        asked: u32,
        /// The answer's tag.
        answered: u32,
    },
    /// A binary Result without its number.
    ShortResult,
    /// The body is no XML property list of a dictionary.
    NoDictionary,
    /// The body nests deeper than [`MAX_DEPTH`](super::MAX_DEPTH) or has too many elements.
    TooComplex,
    /// A key is missing, or its value has the wrong type or range.
    Missing(&'static str),
    /// A Result 0 came where an answer with content was due.
    EmptyResult,
}

impl fmt::Display for Garbled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Garbled::Length(length) => write!(f, "a message of {length} bytes"),
            Garbled::Kind(kind) => write!(f, "a message of kind {kind}"),
            Garbled::Tag { asked, answered } => {
                write!(f, "an answer with tag {answered} to question {asked}")
            }
            Garbled::ShortResult => f.write_str("a result without a number"),
            Garbled::NoDictionary => f.write_str("a body that is no property list"),
            Garbled::TooComplex => f.write_str("a property list that nests too deep"),
            Garbled::Missing(key) => write!(f, "an answer without a valid {key}"),
            Garbled::EmptyResult => f.write_str("a bare result instead of an answer"),
        }
    }
}

impl From<Garbled> for ClientError {
    fn from(garbled: Garbled) -> Self {
        ClientError::Garbled(garbled)
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientError::NoDaemon { address, cause } => no_daemon(f, address, cause),
            ClientError::Lost(cause) => {
                write!(f, "the connection to the daemon broke ({cause}): is it still running?")
            }
            ClientError::HungUp => {
                f.write_str("the daemon hung up without an answer: see its log for the reason")
            }
            ClientError::Silent { after } => write!(
                f,
                "no answer within {} s: replug the phone, or restart the daemon",
                after.as_secs_f32()
            ),
            ClientError::Garbled(garbled) => {
                write!(f, "the daemon sent {garbled}: check that a usbmuxd listens at this address")
            }
            ClientError::Unsupported => {
                f.write_str("the daemon does not know this command: update it")
            }
            ClientError::Version => {
                f.write_str("the daemon is too old to understand property lists: update it")
            }
            ClientError::NoSuchPhone => f.write_str(
                "the phone is gone: plug it in again, and see who is there with umux list",
            ),
            ClientError::Refused { port } => {
                write!(
                    f,
                    "the phone refused port {port}, or did not answer: check that something on it listens there"
                )
            }
            ClientError::NoRecord => {
                f.write_str("no pair record: pair the phone first, with idevicepair pair")
            }
            ClientError::BadRecord => f.write_str(
                "the daemon takes this for no pair record: give a UDID and a plist of a dictionary",
            ),
            ClientError::TooLarge { bytes } => write!(
                f,
                "a request of {bytes} bytes is more than daemons accept: send at most {} bytes",
                super::MAX_REQUEST
            ),
            ClientError::Lockdown(text) => {
                write!(f, "the phone answered {text:?}: unlock it, and trust this computer")
            }
            ClientError::Failed { number } => {
                write!(f, "the daemon failed with result {number}: see its log for the reason")
            }
        }
    }
}

/// Says how to reach a daemon, by what went wrong.
fn no_daemon(f: &mut fmt::Formatter<'_>, address: &Address, cause: &io::Error) -> fmt::Result {
    match cause.kind() {
        io::ErrorKind::PermissionDenied => {
            write!(f, "no access to the daemon at {address}: run this as a user that has it")
        }
        _ => write!(
            f,
            "no daemon at {address} ({cause}): start umuxd, or name its address with --socket or \
             {ENVIRONMENT_VARIABLE}"
        ),
    }
}

impl std::error::Error for ClientError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ClientError::NoDaemon { cause, .. } | ClientError::Lost(cause) => Some(cause),
            _ => None,
        }
    }
}
