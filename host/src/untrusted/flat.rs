//! Takes a flat property list from the events of an XML reader: one dictionary of plain strings,
//! numbers and booleans, as almost every message is.
//!
//! Whatever is unusual (references, comments, white space at the ends of a string, a number that is not
//! only digits, an attribute, a key twice) ends the attempt, and the plist reader has its say.

use plist::{Dictionary, Value};
use quick_xml::events::{BytesStart, Event};

/// The longest number that is certain to fit.
const DIGITS: usize = 19;

/// What an XML reader may read as another end of a line.
const LINE_ENDS: [char; 3] = ['\r', '\u{85}', '\u{2028}'];

/// What was taken so far.
#[derive(Default)]
pub(super) struct Flat {
    place: Place,
    dictionary: Dictionary,
    key: String,
    text: String,
}

/// Where the reader is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// Before `plist`.
    #[default]
    Start,
    /// In `plist`, before `dict`.
    Plist,
    /// In `dict`, before a key.
    Dict,
    /// In a key.
    Key,
    /// Behind a key.
    Value,
    /// In a value of this kind.
    Text(Kind),
    /// Behind `dict`.
    AfterDict,
    /// Behind `plist`.
    End,
    /// Not flat.
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    String,
    Integer,
}

impl Flat {
    /// Takes the next event.
    pub(super) fn take(&mut self, event: &Event<'_>) {
        self.place = self.next(event).unwrap_or(Place::Other);
    }

    /// Returns the dictionary, if that was all.
    pub(super) fn dictionary(self) -> Option<Dictionary> {
        (self.place == Place::End).then_some(self.dictionary)
    }

    fn next(&mut self, event: &Event<'_>) -> Option<Place> {
        let place = self.place;
        match event {
            Event::Start(element) => self.start(element),
            Event::Text(text) => match place {
                Place::Key | Place::Text(_) if self.text.is_empty() && is_plain(text) => {
                    self.text.push_str(text);
                    Some(place)
                }
                Place::Key | Place::Text(_) => None,
                _ => text.trim_ascii().is_empty().then_some(place),
            },
            Event::End(_) => self.end(),
            Event::Empty(element) if place == Place::Value => {
                let value = match &**element {
                    "true" => true,
                    "false" => false,
                    _ => return None,
                };
                self.insert(value.into())
            }
            Event::Decl(declaration) if place == Place::Start => {
                let encoding = declaration.encoding();
                let known = encoding
                    .is_none_or(|name| name.is_ok_and(|name| name.eq_ignore_ascii_case("utf-8")));
                known.then_some(place)
            }
            Event::DocType(_) if place == Place::Start => Some(place),
            Event::Eof => Some(place),
            _ => None,
        }
    }

    /// An element begins. Its name stands alone in its tag; of `plist`, anything may follow.
    fn start(&mut self, element: &BytesStart<'_>) -> Option<Place> {
        self.text.clear();
        match (self.place, &**element) {
            (Place::Start, _) if element.name().0 == "plist" => Some(Place::Plist),
            (Place::Plist, "dict") => Some(Place::Dict),
            (Place::Dict, "key") => Some(Place::Key),
            (Place::Value, "string") => Some(Place::Text(Kind::String)),
            (Place::Value, "integer") => Some(Place::Text(Kind::Integer)),
            _ => None,
        }
    }

    /// The element ends in which the reader is.
    fn end(&mut self) -> Option<Place> {
        let text = std::mem::take(&mut self.text);
        match self.place {
            Place::Key if !self.dictionary.contains_key(&text) => {
                self.key = text;
                Some(Place::Value)
            }
            Place::Text(Kind::String) => self.insert(text.into()),
            Place::Text(Kind::Integer) => self.insert(number(&text)?.into()),
            Place::Dict => Some(Place::AfterDict),
            Place::AfterDict => Some(Place::End),
            _ => None,
        }
    }

    fn insert(&mut self, value: Value) -> Option<Place> {
        self.dictionary.insert(std::mem::take(&mut self.key), value);
        Some(Place::Dict)
    }
}

/// Whether every reader takes a text for what it is.
fn is_plain(text: &str) -> bool {
    text.trim_ascii().len() == text.len() && !text.contains(LINE_ENDS)
}

fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit());
    (digits && text.len() <= DIGITS).then(|| text.parse().ok()).flatten()
}
