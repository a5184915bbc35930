//! XML property lists from somebody who may mean harm: a client of the daemon, a daemon, a phone.
//!
//! The plist reader recurses, so a few kilobytes of opened arrays would overflow the stack and end
//! the process. The text is therefore walked once, without building anything, before it is read: its
//! depth and its number of elements are bounded, and a document type that declares entities is not
//! accepted. Neither are binary property lists: a few bytes of one can expand without end.
//!
//! Requests and most answers are one dictionary of plain strings, numbers and booleans. The walk takes
//! these along (`flat`); the plist reader would walk all of the text again.

mod flat;

use self::flat::Flat;
use plist::{Dictionary, Value};
use quick_xml::Reader;
use quick_xml::events::Event;

/// How much of a property list is accepted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Deepest nesting of elements; `plist`, `dict` and a value make 3.
    pub(crate) depth: usize,
    /// Largest number of elements.
    pub(crate) elements: usize,
}

/// Why a property list is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// It is no XML property list of a dictionary.
    NoDictionary,
    /// It is beyond the limits.
    TooComplex,
}

/// Reads a property list that must be a dictionary. NULs at its end are ignored: some senders count
/// their string's terminator.
pub(crate) fn dictionary(xml: &[u8], limits: Limits) -> Result<Dictionary, Unfit> {
    let end = xml.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    let xml = xml.get(..end).unwrap_or_default();
    let text = std::str::from_utf8(xml).map_err(|_| Unfit::NoDictionary)?;
    if let Some(dictionary) = check(text, limits)? {
        return Ok(dictionary);
    }
    match Value::from_reader_xml(xml) {
        Ok(Value::Dictionary(dictionary)) => Ok(dictionary),
        _ => Err(Unfit::NoDictionary),
    }
}

/// Walks a text within the limits; returns the dictionary if it is a flat one.
fn check(xml: &str, limits: Limits) -> Result<Option<Dictionary>, Unfit> {
    let mut reader = Reader::from_str(xml);
    let (mut depth, mut elements) = (0_usize, 0_usize);
    let mut flat = Flat::default();
    loop {
        let event = reader.read_event().map_err(|_| Unfit::NoDictionary)?;
        flat.take(&event);
        match event {
            Event::Start(_) => {
                depth += 1;
                elements += 1;
            }
            Event::Empty(_) => elements += 1,
            Event::End(_) => depth = depth.saturating_sub(1),
            // An internal subset is where entities are declared.
            Event::DocType(text) if text.contains('[') => return Err(Unfit::NoDictionary),
            Event::Eof => return Ok(flat.dictionary()),
            _ => {}
        }
        if depth > limits.depth || elements > limits.elements {
            return Err(Unfit::TooComplex);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
    use super::*;

    const LIMITS: Limits = Limits { depth: 24, elements: 1000 };

    /// A dictionary whose value `x` is an array inside an array, `arrays` times.
    fn nested(arrays: usize) -> String {
        let (open, close) = ("<array>".repeat(arrays), "</array>".repeat(arrays));
        format!("<plist><dict><key>x</key>{open}{close}</dict></plist>")
    }

    #[test]
    fn nesting_is_bounded_at_its_edge() {
        // plist and dict are two of the levels.
        assert!(dictionary(nested(LIMITS.depth - 2).as_bytes(), LIMITS).is_ok());
        assert_eq!(dictionary(nested(LIMITS.depth - 1).as_bytes(), LIMITS), Err(Unfit::TooComplex));
    }

    #[test]
    fn a_million_opened_arrays_are_an_error_and_no_overflow() {
        let body = "<array>".repeat(1_000_000);
        assert_eq!(dictionary(body.as_bytes(), LIMITS), Err(Unfit::TooComplex));
    }

    #[test]
    fn the_number_of_elements_is_bounded() {
        let body = format!("<plist><array>{}</array></plist>", "<true/>".repeat(LIMITS.elements));
        assert_eq!(dictionary(body.as_bytes(), LIMITS), Err(Unfit::TooComplex));
    }

    #[test]
    fn a_terminator_behind_the_text_is_ignored() {
        assert!(dictionary(b"<plist><dict/></plist>\n\0\0", LIMITS).unwrap().is_empty());
    }

    #[test]
    fn what_is_no_dictionary_is_named() {
        for body in ["", "\0", "hello", "<plist><array/></plist>", "<plist><dict>", "bplist00"] {
            assert_eq!(dictionary(body.as_bytes(), LIMITS), Err(Unfit::NoDictionary), "{body:?}");
        }
    }

    #[test]
    fn flat_ones_are_read_as_the_plist_reader_does() {
        let values = [
            "<string>abc</string>",
            "<string></string>",
            "<string/>",
            "<string> a\n b </string>",
            "<string>a&amp;b&#65;</string>",
            "<string><![CDATA[a<b]]></string>",
            "<string>a<!-- c -->b</string>",
            "<integer>7</integer>",
            "<integer>-7</integer>",
            "<integer> 7 </integer>",
            "<integer>18446744073709551615</integer>",
            "<integer>18446744073709551616</integer>",
            "<integer>0x1f</integer>",
            "<integer>007</integer>",
            "<integer></integer>",
            "<true/>",
            "<false/>",
            "<true></true>",
            "<true>x</true>",
            "<data>AAEC</data>",
            "<real>1.5</real>",
            "<array><true/></array>",
            "<dict><key>y</key><true/></dict>",
            "<key>y</key>",
            "text",
            "",
        ];
        let frames = [
            ("<plist version=\"1.0\"><dict>", "</dict></plist>"),
            (
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<plist>\n<dict>\n",
                "\n</dict>\n</plist>\n",
            ),
            ("<?xml version=\"1.0\" encoding=\"UTF-16\"?><plist><dict>", "</dict></plist>"),
            ("<plist><dict>text", "</dict></plist>"),
            ("<dict>", "</dict>"),
            ("<plist><dict>", "</dict></plist><plist><dict/></plist>"),
            ("<plist><dict>", "</dict><dict/></plist>"),
            ("<plist><dict>", "</dict></plist>text"),
            ("<plist><array><dict>", "</dict></array></plist>"),
            ("<plist><dict><key>x</key><true/>", "</dict></plist>"),
            ("<PLIST><dict>", "</dict></PLIST>"),
        ];
        let mut flat = 0;
        for (begin, end) in frames {
            for first in values {
                for second in values {
                    let xml = format!(
                        "{begin}<key>x</key>{first}\n<key>k</key>\n\t{second}<key></key><true/>{end}"
                    );
                    let ours = check(&xml, LIMITS);
                    let theirs = Value::from_reader_xml(xml.as_bytes());
                    if let Ok(Some(ours)) = ours {
                        flat += 1;
                        assert_eq!(Some(&ours), theirs.unwrap().as_dictionary(), "{xml}");
                    }
                }
            }
        }
        assert!(flat > 50, "most requests are flat, and {flat} of these are");
    }

    #[test]
    fn entities_are_not_declared() {
        let bomb = "<!DOCTYPE plist [<!ENTITY a \"aaaa\">]><plist><dict/></plist>";
        assert_eq!(dictionary(bomb.as_bytes(), LIMITS), Err(Unfit::NoDictionary));
    }
}
