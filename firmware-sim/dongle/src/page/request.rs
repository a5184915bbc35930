//! As much of an HTTP request as a status page needs: its first line, and where it ends.

use heapless::Vec;

/// Length of the longest first line; a browser asks with less than 40 bytes.
pub(super) const MAX_LINE: usize = 128;

/// Length of the longest request, headers included.
pub(super) const MAX_REQUEST: u16 = 8192;

/// What to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Html,
    Json,
    /// 400: this is no HTTP.
    Bad,
    /// 404
    NotFound,
    /// 405: only GET.
    Method,
    /// 431: longer than anybody needs.
    TooLong,
}

/// Reads a request.
#[derive(Debug)]
pub(super) struct Request {
    /// The first line, as long as it is not whole.
    line: Vec<u8, MAX_LINE, u8>,
    /// What the first line asks for.
    answer: Option<Answer>,
    /// Bytes of all lines.
    length: u16,
    /// Bytes of the line in hand, its end not counted.
    line_len: u16,
    is_whole: bool,
}

impl Request {
    pub(super) const fn new() -> Self {
        Self { line: Vec::new(), answer: None, length: 0, line_len: 0, is_whole: false }
    }

    /// What to answer, once the request is whole or hopeless.
    pub(super) fn answer(&self) -> Option<Answer> {
        self.answer.filter(|_| self.is_whole)
    }

    pub(super) fn push(&mut self, byte: u8) {
        if self.is_whole {
            return;
        }
        self.length = self.length.saturating_add(1);
        match byte {
            b'\n' => self.end_line(),
            b'\r' => {}
            byte => {
                self.line_len = self.line_len.saturating_add(1);
                if self.answer.is_none() && self.line.push(byte).is_err() {
                    self.give_up(Answer::TooLong);
                }
            }
        }
        if self.length >= MAX_REQUEST {
            self.give_up(Answer::TooLong);
        }
    }

    fn end_line(&mut self) {
        if self.line_len == 0 {
            // The line behind the headers; in front of all it is nothing.
            self.is_whole = self.answer.is_some();
            return;
        }
        self.line_len = 0;
        if self.answer.is_none() {
            match first_line(&self.line) {
                Some(answer) => self.answer = Some(answer),
                None => self.give_up(Answer::Bad),
            }
        }
    }

    fn give_up(&mut self, answer: Answer) {
        if !self.is_whole {
            self.answer = Some(answer);
            self.is_whole = true;
        }
    }
}

/// Reads `GET /path HTTP/1.1`; None if it is something else.
fn first_line(line: &[u8]) -> Option<Answer> {
    let mut words = line.split(|&byte| byte == b' ');
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    let is_method = !method.is_empty() && method.iter().all(u8::is_ascii_uppercase);
    let is_target = target.first() == Some(&b'/') && target.iter().all(u8::is_ascii_graphic);
    if words.next().is_some() || !is_method || !is_target || !version.starts_with(b"HTTP/1.") {
        return None;
    }
    if method != b"GET" {
        return Some(Answer::Method);
    }
    let path = target.split(|&byte| byte == b'?').next()?;
    Some(match path {
        b"/" => Answer::Html,
        b"/status.json" => Answer::Json,
        _ => Answer::NotFound,
    })
}
