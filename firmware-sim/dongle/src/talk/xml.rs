//! XML in any slicing: bytes go in one by one, the text and the tags of a property list come out.
//!
//! Holds one tag at a time. What a tag consists of is known to `xmlparser`, which gets each tag as
//! a text of its own; where a tag, a comment or a declaration ends is decided here. How elements
//! may be nested, and what they mean, is not.
//!
//! Not read: declarations of entities (an internal subset of the document type) and CDATA sections.

use heapless::String;
use xmlparser::{ElementEnd, Token as Part, Tokenizer};

/// Length of the longest tag that is read; that of a plist has 21 bytes with its attribute.
pub(super) const MAX_TAG: usize = 64;

/// Length of the longest name between `&` and `;`, such as `#x10ffff`.
const MAX_ENTITY: usize = 10;

/// Says that the bytes are no XML that is read here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotXml;

/// The elements of a property list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Element {
    Plist,
    Dict,
    Array,
    Key,
    String,
    Integer,
    Data,
    /// Date, real, true, false: nobody asks what they say.
    Other,
}

/// What comes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// One character, its entity resolved.
    Text(char),
    /// `<element>`
    Open(Element),
    /// `<element/>`
    Empty(Element),
    /// `</element>`
    Close(Element),
}

/// Cuts XML into tokens.
#[derive(Debug)]
pub(super) struct Scanner {
    place: Place,
    /// Bytes of a character that is not whole.
    partial: heapless::Vec<u8, 4, u8>,
    /// The tag or the name of an entity, as far as it is there.
    held: String<MAX_TAG, u8>,
}

/// Where in the text the scanner is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Text,
    /// Behind `&`.
    Entity,
    /// Behind `<`.
    Markup,
    /// In a tag, and in a value in these quotes.
    Tag(Option<char>),
    /// Behind `<!`.
    Declaration,
    /// In a document type, and in a literal in these quotes.
    Doctype(Option<char>),
    /// In a comment, behind so many hyphens (2 stands for more, too).
    Comment(u8),
    /// In a processing instruction, and behind a question mark or not.
    Instruction(bool),
    /// Behind the text: some clients send their string's terminator.
    Nuls,
}

impl Scanner {
    pub(super) const fn new() -> Self {
        Self { place: Place::Text, partial: heapless::Vec::new(), held: String::new() }
    }

    /// Takes one byte.
    pub(super) fn push(&mut self, byte: u8) -> Result<Option<Token>, NotXml> {
        if byte.is_ascii() && self.partial.is_empty() {
            return self.push_char(char::from(byte));
        }
        self.partial.push(byte).map_err(|_| NotXml)?;
        match core::str::from_utf8(&self.partial) {
            Ok(text) => {
                let c = text.chars().next();
                self.partial.clear();
                c.map_or(Ok(None), |c| self.push_char(c))
            }
            Err(error) if error.error_len().is_none() => Ok(None),
            Err(_) => Err(NotXml),
        }
    }

    /// Whether the text may end here.
    pub(super) fn may_end(&self) -> bool {
        matches!(self.place, Place::Text | Place::Nuls) && self.partial.is_empty()
    }

    fn push_char(&mut self, c: char) -> Result<Option<Token>, NotXml> {
        self.place = match (self.place, c) {
            (Place::Text, '<') => {
                self.held.clear();
                Place::Markup
            }
            (Place::Text, '&') => {
                self.held.clear();
                Place::Entity
            }
            (Place::Text | Place::Nuls, '\0') => Place::Nuls,
            (Place::Text, c) => return Ok(Some(Token::Text(c))),
            (Place::Entity, ';') => {
                self.place = Place::Text;
                return resolve(&self.held).map(|c| Some(Token::Text(c))).ok_or(NotXml);
            }
            (Place::Entity, c) if self.held.len() < MAX_ENTITY => {
                self.hold(c)?;
                Place::Entity
            }
            (Place::Markup, '!') => Place::Declaration,
            (Place::Markup, '?') => Place::Instruction(false),
            (Place::Markup, c) => {
                self.hold('<')?;
                return self.in_tag(None, c);
            }
            (Place::Tag(quote), c) => return self.in_tag(quote, c),
            (Place::Declaration, c) => self.in_declaration(c)?,
            (Place::Doctype(_), '[') => return Err(NotXml),
            (Place::Doctype(None), '>') => Place::Text,
            (Place::Doctype(quote), c) => Place::Doctype(quoted(quote, c)),
            (Place::Comment(2..), '>') => Place::Text,
            (Place::Comment(hyphens), '-') => Place::Comment(hyphens.saturating_add(1).min(2)),
            (Place::Comment(_), _) => Place::Comment(0),
            (Place::Instruction(true), '>') => Place::Text,
            (Place::Instruction(_), c) => Place::Instruction(c == '?'),
            (Place::Entity | Place::Nuls, _) => return Err(NotXml),
        };
        Ok(None)
    }

    fn in_tag(&mut self, quote: Option<char>, c: char) -> Result<Option<Token>, NotXml> {
        self.hold(c)?;
        if quote.is_none() && c == '>' {
            self.place = Place::Text;
            return tag(&self.held).map(Some).ok_or(NotXml);
        }
        self.place = Place::Tag(quoted(quote, c));
        Ok(None)
    }

    /// Finds out what begins with `<!`.
    fn in_declaration(&mut self, c: char) -> Result<Place, NotXml> {
        self.hold(c)?;
        match self.held.as_str() {
            "--" => Ok(Place::Comment(0)),
            "DOCTYPE" => Ok(Place::Doctype(None)),
            held if "--".starts_with(held) || "DOCTYPE".starts_with(held) => Ok(Place::Declaration),
            _ => Err(NotXml),
        }
    }

    fn hold(&mut self, c: char) -> Result<(), NotXml> {
        self.held.push(c).map_err(|_| NotXml)
    }
}

/// In which quotes the text is behind this character.
fn quoted(quote: Option<char>, c: char) -> Option<char> {
    match quote {
        None if matches!(c, '"' | '\'') => Some(c),
        Some(quote) if quote == c => None,
        quote => quote,
    }
}

/// The character that stands for an entity: the five that XML knows, and numbers.
fn resolve(name: &str) -> Option<char> {
    match name {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => {
            let number = name.strip_prefix('#')?;
            let (digits, radix) = match number.strip_prefix('x') {
                Some(hex) => (hex, 16),
                None => (number, 10),
            };
            if !digits.starts_with(|c: char| c.is_ascii_hexdigit()) {
                return None;
            }
            char::from_u32(u32::from_str_radix(digits, radix).ok()?).filter(|&c| c != '\0')
        }
    }
}

/// Reads one whole tag.
fn tag(text: &str) -> Option<Token> {
    let mut parts = Tokenizer::from_fragment(text, 0..text.len());
    let name = match parts.next()?.ok()? {
        Part::ElementStart { local, .. } => local,
        Part::ElementEnd { end: ElementEnd::Close(_, name), .. } => {
            return element(&name).map(Token::Close);
        }
        _ => return None,
    };
    let element = element(&name)?;
    // Bounded by the tag's length: each part has at least one character.
    for part in parts {
        match part.ok()? {
            Part::Attribute { .. } => {}
            Part::ElementEnd { end: ElementEnd::Open, .. } => return Some(Token::Open(element)),
            Part::ElementEnd { end: ElementEnd::Empty, .. } => return Some(Token::Empty(element)),
            _ => return None,
        }
    }
    None
}

fn element(name: &str) -> Option<Element> {
    Some(match name {
        "plist" => Element::Plist,
        "dict" => Element::Dict,
        "array" => Element::Array,
        "key" => Element::Key,
        "string" => Element::String,
        "integer" => Element::Integer,
        "data" => Element::Data,
        "date" | "real" | "true" | "false" => Element::Other,
        _ => return None,
    })
}
