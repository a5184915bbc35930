//! The status page over HTTP: `GET /` for people, `GET /status.json` for programs.
//!
//! No sockets, no allocation: [`Page::read`] takes the request, [`Page::write`] writes the answer,
//! and when [`Page::is_finished`] the socket is to be closed. One request a connection. The page
//! only shows; there is nothing to click that would change anything.

use crate::talk::PhoneInfo;
use crate::text::Window;
use request::{Answer, Request};

mod html;
mod json;
mod request;

/// What the page shows. It may change while a page is being written.
#[derive(Clone, Copy, Debug)]
pub struct Status<'a> {
    /// The phone, if one is plugged in and known.
    pub phone: Option<&'a PhoneInfo>,
    /// In what state the link to the phone is, in a few words.
    pub link: &'static str,
    /// The dongle's address.
    pub address: [u8; 4],
    /// Where the address is from: `DHCP`, or that it is the fallback.
    pub address_source: &'static str,
    /// Seconds since the dongle started.
    pub uptime_s: u32,
    /// The connections that are in use.
    pub connections: &'a [ConnectionStatus],
    /// How many connections there can be.
    pub connections_max: u32,
    /// Names and values.
    pub counters: &'a [(&'static str, u32)],
    /// Names and bytes of RAM.
    pub memory: &'a [(&'static str, u32)],
}

/// One connection of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionStatus {
    /// The client's address.
    pub peer: [u8; 4],
    /// The client's port.
    pub peer_port: u16,
    /// What it is, in a word: `talk`, `listening`, `pipe`, `forward`, `page`.
    pub what: &'static str,
    /// The phone's port, 0 if none.
    pub phone_port: u16,
    /// Bytes from the phone to the client.
    pub from_phone: u64,
    /// Bytes from the client to the phone.
    pub to_phone: u64,
}

/// One connection to the status page.
#[derive(Debug)]
pub struct Page {
    request: Request,
    cursor: Cursor,
    is_finished: bool,
}

// One of these stands in RAM for each connection to the page; most of it is the first line.
const _: () = assert!(size_of::<Page>() <= 160);

/// How far an answer is written. A list may grow or shrink meanwhile.
#[derive(Clone, Copy, Debug, Default)]
struct Cursor {
    section: u8,
    /// The row of a section that has rows.
    row: u16,
    /// Bytes of the row.
    offset: u16,
}

/// What there is at a place of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// This row; there may be another one.
    Row,
    /// No such row: on to the next section.
    SectionEnd,
    /// No such section.
    End,
}

impl Page {
    /// Begins with a client that has said nothing yet.
    pub const fn new() -> Self {
        let cursor = Cursor { section: 0, row: 0, offset: 0 };
        Self { request: Request::new(), cursor, is_finished: false }
    }

    /// Takes bytes of the request, in any slicing; returns how many: all. What stands behind the
    /// request is ignored, also while the answer is written.
    pub fn read(&mut self, input: &[u8]) -> usize {
        for &byte in input {
            self.request.push(byte);
        }
        input.len()
    }

    /// Writes the answer, as much as there is room for; returns how much. Nothing as long as the
    /// request is not whole. A row is not cut where it fits into the next room, so that its numbers
    /// are all from one moment.
    pub fn write(&mut self, room: &mut [u8], status: &Status<'_>) -> usize {
        let Some(answer) = self.request.answer().filter(|_| !self.is_finished) else { return 0 };
        let mut written = 0_usize;
        // Each round writes something, goes on in the answer, or ends it.
        while let Some(room) = room.get_mut(written..).filter(|room| !room.is_empty()) {
            let mut out = Window::new(room, usize::from(self.cursor.offset));
            match answer.put(self.cursor, status, &mut out) {
                Place::Row => {
                    let (filled, total) = (out.filled(), out.total());
                    let end = usize::from(self.cursor.offset).saturating_add(filled);
                    if end < total {
                        if written == 0 {
                            written = filled;
                            self.cursor.offset = u16::try_from(end).unwrap_or(u16::MAX);
                        }
                        break;
                    }
                    written = written.saturating_add(filled);
                    self.cursor.row = self.cursor.row.saturating_add(1);
                    self.cursor.offset = 0;
                }
                Place::SectionEnd => {
                    let section = self.cursor.section.saturating_add(1);
                    self.cursor = Cursor { section, row: 0, offset: 0 };
                }
                Place::End => {
                    self.is_finished = true;
                    break;
                }
            }
        }
        written
    }

    /// Whether everything was written.
    pub const fn is_finished(&self) -> bool {
        self.is_finished
    }
}

impl Default for Page {
    fn default() -> Self {
        Self::new()
    }
}

impl Answer {
    /// Writes one row of the answer.
    fn put(self, at: Cursor, status: &Status<'_>, out: &mut Window<'_>) -> Place {
        match self {
            Self::Html => html::put(at, status, out),
            Self::Json => json::put(at, status, out),
            failure if at.section == 0 && at.row == 0 => {
                failure.refuse(out);
                Place::Row
            }
            _ => Place::End,
        }
    }

    fn refuse(self, out: &mut Window<'_>) {
        let (line, text) = match self {
            Self::NotFound => ("404 Not Found", "There is / and /status.json here."),
            Self::Method => ("405 Method Not Allowed\r\nAllow: GET", "Only GET is served here."),
            Self::TooLong => (
                "431 Request Header Fields Too Large",
                "The request is longer than 8192 bytes, or its first line than 128.",
            ),
            _ => ("400 Bad Request", "This is no HTTP request."),
        };
        head(out, line, "text/plain; charset=utf-8");
        out.text(text);
        out.text("\n");
    }
}

/// Writes the head of an answer, the empty line included. The page needs no script, no picture and
/// no other server, so nothing of the sort is allowed in it.
fn head(out: &mut Window<'_>, status_line: &str, content_type: &str) {
    out.text("HTTP/1.1 ");
    out.text(status_line);
    out.text("\r\nContent-Type: ");
    out.text(content_type);
    out.text(
        "\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n\
         Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'\r\n\
         Connection: close\r\n\r\n",
    );
}

fn address(out: &mut Window<'_>, address: [u8; 4]) {
    for (place, part) in address.into_iter().enumerate() {
        if place > 0 {
            out.text(".");
        }
        out.number(part);
    }
}

/// The element of a list that the cursor is at.
fn row<T>(list: &[T], at: Cursor) -> Option<&T> {
    list.get(usize::from(at.row))
}
