//! Why a file cannot be read.

use std::fmt;
use std::io;

/// Why a file is no trace, or stops being one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReadError {
    /// It does not begin as pcap or pcapng files do.
    NoCapture,
    /// It is a capture, but of something else: its link type.
    OtherLink(u32),
    /// It ends inside a packet; what stood before was read.
    CutShort,
    /// What stands there cannot be; what stood before was read.
    Damaged(String),
    /// The system could not read it.
    Io(String),
}

impl ReadError {
    pub(super) fn from_io(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => ReadError::CutShort,
            _ => ReadError::Io(error.to_string()),
        }
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadError::NoCapture => f.write_str("this is no capture: pcap or pcapng is expected"),
            ReadError::OtherLink(link) => write!(
                f,
                "this capture is of link type {link}: capture USB itself (dumpcap -i usbmon0), or \
                 use a trace of umuxd's"
            ),
            ReadError::CutShort => f.write_str("the file ends inside a packet"),
            ReadError::Damaged(what) => write!(f, "the file is damaged: {what}"),
            ReadError::Io(what) => write!(f, "it cannot be read: {what}"),
        }
    }
}

impl std::error::Error for ReadError {}
