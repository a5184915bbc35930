//! XML property lists from somebody who may mean harm.
//!
//! The plist reader recurses, so a few kilobytes of opened arrays would overflow the stack and end
//! the process. The text is therefore walked once without recursion before it is read. Binary
//! property lists are not accepted: they can expand exponentially.

use plist::{Dictionary, Value};
use quick_xml::Reader;
use quick_xml::events::Event;

use super::error::Garbled;

/// How deep elements may nest in an answer, the `plist` element included. Daemons need 6, a
/// phone's lockdownd a few more.
pub const MAX_DEPTH: usize = 24;

/// How many elements an answer may have; a phone in a list takes 20.
const MAX_ELEMENTS: usize = 200_000;

/// Reads a body that must be a dictionary. NULs at its end are ignored: some senders count their
/// string's terminator.
pub(super) fn dictionary(body: &[u8]) -> Result<Dictionary, Garbled> {
    let end = body.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    let body = body.get(..end).unwrap_or_default();
    check(body)?;
    match Value::from_reader_xml(body) {
        Ok(Value::Dictionary(dictionary)) => Ok(dictionary),
        _ => Err(Garbled::NoDictionary),
    }
}

fn check(body: &[u8]) -> Result<(), Garbled> {
    let mut reader = Reader::from_reader(body);
    let mut depth = 0_usize;
    let mut elements = 0_usize;
    loop {
        match reader.read_event().map_err(|_| Garbled::NoDictionary)? {
            Event::Start(_) => {
                depth += 1;
                elements += 1;
            }
            Event::Empty(_) => elements += 1,
            Event::End(_) => depth = depth.saturating_sub(1),
            Event::Eof => return Ok(()),
            _ => {}
        }
        if depth > MAX_DEPTH || elements > MAX_ELEMENTS {
            return Err(Garbled::TooComplex);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
    use super::*;

    /// A dictionary whose value `x` is an array inside an array, `arrays` times.
    fn nested(arrays: usize) -> String {
        let (open, close) = ("<array>".repeat(arrays), "</array>".repeat(arrays));
        format!("<plist><dict><key>x</key>{open}{close}</dict></plist>")
    }

    #[test]
    fn nesting_is_bounded_at_its_edge() {
        // plist and dict are two of the levels.
        assert!(dictionary(nested(MAX_DEPTH - 2).as_bytes()).is_ok());
        assert_eq!(dictionary(nested(MAX_DEPTH - 1).as_bytes()), Err(Garbled::TooComplex));
    }

    #[test]
    fn a_million_opened_arrays_are_an_error_and_no_overflow() {
        let body = "<array>".repeat(1_000_000);
        assert_eq!(dictionary(body.as_bytes()), Err(Garbled::TooComplex));
    }

    #[test]
    fn the_number_of_elements_is_bounded() {
        let body = format!("<plist><array>{}</array></plist>", "<true/>".repeat(MAX_ELEMENTS));
        assert_eq!(dictionary(body.as_bytes()), Err(Garbled::TooComplex));
    }

    #[test]
    fn a_terminator_behind_the_text_is_ignored() {
        assert!(dictionary(b"<plist><dict/></plist>\n\0\0").unwrap().is_empty());
    }

    #[test]
    fn what_is_no_dictionary_is_named() {
        for body in ["", "\0", "hello", "<plist><array/></plist>", "<plist><dict>", "bplist00"] {
            assert_eq!(dictionary(body.as_bytes()), Err(Garbled::NoDictionary), "{body:?}");
        }
    }
}
