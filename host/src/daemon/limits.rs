//! Every limit on what one client can make the daemon hold or do, in one place.
//!
//! | what a client can take | limit | beyond it |
//! |---|---|---|
//! | sockets that are no connections | [`MAX_CLIENTS`], and the descriptors | whoever made no request for a while makes room, the oldest first; else it waits, or is hung up on |
//! | a message | [`MAX_MESSAGE`] | hung up on |
//! | a plist's depth and elements | [`MAX_DEPTH`], [`MAX_ELEMENTS`] | Result 1 |
//! | requests without reading the answers | one is answered at a time | the next is not read |
//! | answers that nobody reads | [`MAX_UNREAD_ANSWERS`], all clients together | hung up on |
//! | events that a listener does not read | [`MAX_QUEUED_EVENTS`], [`MAX_UNREAD_EVENTS`] | hung up on |
//! | names it tells other clients | [`MAX_NAME`] | cut |
//! | threads that read and write records | [`DISK_AT_ONCE`], all clients together | it waits |
//! | a record's id, its size, their number | [`MAX_RECORD_ID`], [`MAX_RECORD`], [`MAX_RECORDS`] | Result 22, 27, 28 |
//! | connections to one phone | [`DEFAULT_CONNECTIONS`] | Result 3 |
//! | bytes of a phone that it does not read | [`LARGEST_WINDOW`], [`DEFAULT_WINDOW_BYTES`] for all of a phone | the phone waits |
//! | bytes it sends and the phone does not read | what its socket holds | it waits |
//! | reasons of ends that it may ask for | [`MAX_TOKEN`], [`MAX_RESET_TEXT`], [`MAX_REASONS`] for all | the oldest is forgotten |
//! | input that nobody wants, at the end | [`MAX_DISCARDED`] | left unread |
//!
//! Leaves out: timers (each stands with what it times), and what is refused for being wrong and not
//! for being too much (`session`).

pub use usbmux_core::session::{MAX_MESSAGE, MAX_RECORD_ID};

pub use super::pool::{DEFAULT_CONNECTIONS, DEFAULT_WINDOW_BYTES, LARGEST_WINDOW};
pub use crate::codec::{MAX_DEPTH, MAX_ELEMENTS};

/// How many clients are served at once, connections not counted.
pub const MAX_CLIENTS: usize = 8 * 1024;

/// How many bytes of answers may wait for their clients to read them, all clients together and
/// besides what their sockets hold. Whoever reads at once needs none of it; a list of many
/// listeners may be a megabyte, and thousands of clients could ask for it.
pub const MAX_UNREAD_ANSWERS: usize = 16 << 20;

/// How many events may wait for one listener before they are written.
pub const MAX_QUEUED_EVENTS: usize = 1024;

/// How many bytes of written events may wait for a listener to read, besides what its socket holds.
/// An event is around 700 bytes.
pub const MAX_UNREAD_EVENTS: usize = 256 * 1024;

/// How many characters of a listener's names are kept to be told to others.
pub const MAX_NAME: usize = 128;

/// How many bytes are thrown away at most when a socket is closed. Closing a socket with unread
/// bytes resets it, and the client may lose our last answer.
pub const MAX_DISCARDED: usize = 1 << 20;

/// How many threads are busy with records at once.
pub const DISK_AT_ONCE: usize = 4;

/// Size of the largest file that is taken for a record, in bytes: a record arrives in a message of
/// 64 KiB.
pub const MAX_RECORD: u64 = 64 * 1024;

/// How many files the folder of records may hold for a new record to be kept: 1 GiB of them.
pub const MAX_RECORDS: usize = 16 * 1024;

/// How many bytes the word may have by which a client asks for a reason; a longer one is ignored.
pub const MAX_TOKEN: usize = 64;

/// How many bytes of the text of a phone's reset are kept as the reason.
pub const MAX_RESET_TEXT: usize = 256;

/// How many reasons are kept for clients that have not asked yet.
pub const MAX_REASONS: usize = 256;
