//! The socket protocol between clients and the daemon: its messages and state rules as types.
//!
//! Clients speak it on a Unix socket or on TCP port 27015 to whatever serves phones: a daemon on a
//! desktop, a dongle on its Ethernet. Everything both need alike is here, from the lowest up:
//!
//! - [`header`]: the 16 bytes in front of every message, message kinds, result codes
//! - [`records`]: the bodies of binary messages, to and from fixed arrays
//! - [`names`]: the words of plist messages
//! - [`request`]: what a client asks, made from a binary body or from the fields of a plist
//! - [`reply`]: what a client is told
//! - [`state`]: which form answers take, and when a socket is closed
//!
//! What is left out is the codec: turning the XML of a plist message into [`Fields`] and a
//! [`Reply`] into XML is the business of the shell, which knows how much memory it has.
//!
//! One message goes like this:
//!
//! ```
//! use usbmux_core::session::{records, Header, Request, ResultCode, Session, Verdict};
//!
//! let mut session = Session::new();
//! let message = [16, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 5, 0, 0, 0]; // a binary Listen, tag 5
//! let header = Header::parse(&message);
//! assert_eq!(header.body_len(), Some(0)); // None: hang up, the length is absurd
//!
//! assert!(matches!(session.receive(&header), Verdict::Decode(_)));
//! let request = Request::from_binary(header.message, &[]);
//! assert!(matches!(request, Request::Listen(_)));
//! session.begin(&request);
//!
//! let envelope = session.envelope(&header);
//! let answer = records::result(envelope.tag, ResultCode::OK);
//! assert_eq!(answer, [20, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0]);
//! ```
//!
//! Source of the facts: what real clients send and what the reference daemon answers, recorded
//! byte for byte.

pub mod header;
pub mod names;
pub mod records;
pub mod reply;
pub mod request;
pub mod state;

pub use header::{HEADER_LEN, Header, MAX_MESSAGE, MessageKind, ResultCode};
pub use reply::{Device, Event, Listener, Reply};
pub use request::{Client, Fault, Fields, MAX_RECORD_ID, Request, is_record_id, swap_port};
pub use state::{Envelope, Form, Session, State, Verdict};
