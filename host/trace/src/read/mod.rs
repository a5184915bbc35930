//! Reading a trace: from the bytes of a file to the exchange between host and phone, and to what is
//! wrong with it.
//!
//! Read are captures of Linux's usbmon (pcap or pcapng, with either of its headers, from a machine of
//! either byte order), of any host software, and our own traces.
//!
//! ```
//! use usbmux_trace::read::{Item, ReadError, Reader};
//!
//! fn violations(file: &[u8]) -> Result<usize, ReadError> {
//!     let mut reader = Reader::new(file)?; // anything that is `Read`
//!     let mut found = 0;
//!     while let Some(item) = reader.next_item()? {
//!         if let Item::Frame(frame) = item {
//!             found += frame.marks.iter().filter(|mark| mark.is_violation()).count();
//!         }
//!     }
//!     println!("{}", reader.report().diagnosis.join(" "));
//!     Ok(found)
//! }
//! # assert_eq!(violations(b"text"), Err(ReadError::NoCapture));
//! ```
//!
//! | file | subject |
//! |---|---|
//! | `file` | a file becomes packets |
//! | `usbmon` | a packet becomes an event of a USB transfer |
//! | `bus` | events become bytes of the mux endpoints, which it finds |
//! | `scan` | bytes of one direction become frames |
//! | `own` | packets of our own traces become frames |
//! | `session` | frames are checked: handshake, numbers, what the phone says |
//! | `connection` | segments are checked: ports, sequence numbers, windows |
//! | `reader` | the way from the first packet to the last |
//! | `model`, `mark` | what comes out |
//! | `report` | what is said in the end, and why |
//! | `ladder`, `fold`, `summary`, `words` | that as text |
//! | `fold` | frames in a row with the same mark are drawn once or twice |
//!
//! Memory is bounded, however long the trace: a frame at a time, the connections that are open, and 65,536
//! that were. Leaves out: where the file is, and where the text goes.

mod bus;
mod connection;
mod error;
mod file;
mod fold;
mod ladder;
mod mark;
mod model;
mod own;
mod reader;
mod report;
mod scan;
mod session;
mod summary;
mod usbmon;
mod words;

pub use connection::{ConnectionReport, Ended, Opened};
pub use error::ReadError;
pub use ladder::{Ladder, Line, Tone, WIDTH, wrapped};
pub use mark::{Kind, Mark};
pub use model::{Body, FoundBy, Frame, Item, Note, Numbers, PhoneInfo, Side};
pub use reader::Reader;
pub use report::{PhoneReport, Report};
pub use summary::summary;
pub use words::in_words;
