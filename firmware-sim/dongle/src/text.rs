//! Writes text that is longer than the room for it: the caller writes all of it each time, and a
//! window shows through which part is wanted.
//!
//! So a writer needs no memory but the number of bytes it has said so far. No formatting machinery:
//! texts and whole numbers are all there is.

use base64ct::{Base64, Encoding};

/// A view on a text, from a place on and as far as there is room.
#[derive(Debug)]
pub(crate) struct Window<'a> {
    room: &'a mut [u8],
    /// Bytes of the text in front of the window.
    skip: usize,
    /// Bytes that are in the room.
    filled: usize,
    /// Bytes of the text so far.
    total: usize,
}

impl<'a> Window<'a> {
    /// Puts the text from byte `skip` on into `room`.
    pub(crate) fn new(room: &'a mut [u8], skip: usize) -> Self {
        Self { room, skip, filled: 0, total: 0 }
    }

    /// How many bytes were put into the room.
    pub(crate) fn filled(&self) -> usize {
        self.filled
    }

    /// How long the text is that was written so far, seen or not.
    pub(crate) fn total(&self) -> usize {
        self.total
    }

    /// Writes bytes.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        let unseen = self.skip.saturating_sub(self.total);
        self.total = self.total.saturating_add(bytes.len());
        let room = self.room.get_mut(self.filled..).unwrap_or_default();
        let mut copied = 0;
        for (to, from) in room.iter_mut().zip(bytes.iter().skip(unseen)) {
            *to = *from;
            copied += 1;
        }
        self.filled += copied;
    }

    /// Writes a text as it is.
    pub(crate) fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    /// Writes a number in decimal.
    pub(crate) fn number(&mut self, number: impl Into<u64>) {
        let mut digits = [b'0'; 20]; // of the largest u64
        let mut rest = number.into();
        let mut len = 0;
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
            len += 1;
            if rest == 0 {
                break;
            }
        }
        self.bytes(digits.get(digits.len().saturating_sub(len)..).unwrap_or_default());
    }

    /// Writes a number in hexadecimal, four digits.
    pub(crate) fn hex(&mut self, number: u16) {
        for shift in [12, 8, 4, 0] {
            let digit = (number >> shift & 0xf) as u8;
            self.bytes(&[if digit < 10 { b'0' + digit } else { b'a' - 10 + digit }]);
        }
    }

    /// Writes text of a stranger into XML or HTML, between tags or quotes.
    pub(crate) fn escaped(&mut self, text: &str) {
        for c in text.chars() {
            match c {
                '&' => self.text("&amp;"),
                '<' => self.text("&lt;"),
                '>' => self.text("&gt;"),
                '"' => self.text("&quot;"),
                '\'' => self.text("&#39;"),
                c if is_writable(c) => self.char(c),
                _ => {}
            }
        }
    }

    /// Writes text of a stranger into JSON, quotes included.
    pub(crate) fn quoted(&mut self, text: &str) {
        self.text("\"");
        for c in text.chars() {
            match c {
                '"' => self.text("\\\""),
                '\\' => self.text("\\\\"),
                c if is_writable(c) => self.char(c),
                _ => {}
            }
        }
        self.text("\"");
    }

    /// Writes `len` bytes in base64; `read` copies those from an offset on and says how many it
    /// found. Only what is seen is read. False if there were fewer than `len`.
    pub(crate) fn base64(
        &mut self,
        len: usize,
        mut read: impl FnMut(usize, &mut [u8]) -> usize,
    ) -> bool {
        let groups = len.div_ceil(3);
        let unseen = (self.skip.saturating_sub(self.total) / 4).min(groups);
        self.total = self.total.saturating_add(unseen.saturating_mul(4));
        for group in unseen..groups {
            if self.filled >= self.room.len() {
                self.total = self.total.saturating_add((groups - group).saturating_mul(4));
                break;
            }
            let at = group.saturating_mul(3);
            let mut raw = [0; 3];
            let wanted = len.saturating_sub(at).min(3);
            let Some(raw) = raw.get_mut(..wanted) else { return false };
            let mut encoded = [0; 4];
            if read(at, raw) != wanted || Base64::encode(raw, &mut encoded).is_err() {
                return false;
            }
            self.bytes(&encoded);
        }
        true
    }

    fn char(&mut self, c: char) {
        self.text(c.encode_utf8(&mut [0; 4]));
    }
}

/// Whether a character may stand in XML, HTML and JSON as it is. The others are left out: there is
/// nothing to see in them.
pub(crate) fn is_writable(c: char) -> bool {
    !c.is_control() && !matches!(c, '\u{fffe}' | '\u{ffff}')
}
