//! The dictionary of a request, out of its tokens: which elements may stand where, and the fields
//! that anybody asks for.
//!
//! Memory does not depend on the document: a pair record streams out of here as it comes, other
//! values are kept in fixed fields or dropped. What the fields ask for is decided in
//! `usbmux_core::session`.

use core::str::FromStr;

use base64ct::{Base64, Encoding};
use heapless::String;
use usbmux_core::session::names::{key, message};
use usbmux_core::session::{Fault, Fields, MAX_RECORD_ID, Request};

use super::listeners::MAX_NAME;
use super::xml::{Element, NotXml, Scanner, Token};
use crate::text::is_writable;

/// Deepest nesting of elements, as at the daemon; `plist`, `dict` and a value make 3.
pub(super) const MAX_DEPTH: u8 = 8;

/// Largest number of elements, as at the daemon; a request has about 20.
pub(super) const MAX_ELEMENTS: u16 = 4096;

/// Length of the longest key, message type or number that anybody asks for.
const MAX_WORD: usize = 24;

/// Message types that are known.
const MESSAGES: [&str; 8] = [
    message::CONNECT,
    message::DELETE_PAIR_RECORD,
    message::LIST_DEVICES,
    message::LIST_LISTENERS,
    message::LISTEN,
    message::READ_BUID,
    message::READ_PAIR_RECORD,
    message::SAVE_PAIR_RECORD,
];

/// Where the bytes of a pair record go.
pub(super) trait Sink {
    /// A record begins, with its id if that was told before it. One that began before does not count
    /// any more.
    fn begin(&mut self, id: Option<&str>);
    /// More of it.
    fn add(&mut self, bytes: &[u8]);
}

/// Reads one dictionary.
#[derive(Debug)]
pub(super) struct Reader {
    scanner: Scanner,
    /// The open elements, four bits each, the innermost in the lowest.
    open: u32,
    depth: u8,
    elements: u16,
    /// For each depth one bit: a dictionary there has had a key and wants its value. It cannot be
    /// closed then, so a new one begins with 0.
    wants_value: u16,
    /// How deep the dictionary itself lies; 0 before it begins.
    root: u8,
    outcome: Outcome,
    key: Key,
    text: Text<MAX_WORD>,
    base64: Base64Reader,
    fields: Found,
}

/// How far a document is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Unfinished,
    /// The dictionary has been closed.
    Whole,
    /// It is no dictionary.
    Unfit,
}

/// The fields as they are kept.
#[derive(Debug, Default)]
struct Found {
    /// One of [`MESSAGES`], or empty.
    message_type: Option<&'static str>,
    device_id: Option<u32>,
    /// 0 for a number that is no port, which swapping the bytes does not change.
    port_number: Option<u16>,
    lib_version: Option<u32>,
    id: Option<Text<MAX_RECORD_ID>>,
    prog_name: Option<Text<MAX_NAME>>,
    has_data: bool,
}

/// The keys that anybody asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    MessageType,
    DeviceId,
    PortNumber,
    RecordId,
    RecordData,
    ProgName,
    LibVersion,
    Other,
}

impl Reader {
    pub(super) const fn new() -> Self {
        Self {
            scanner: Scanner::new(),
            open: 0,
            depth: 0,
            elements: 0,
            wants_value: 0,
            root: 0,
            outcome: Outcome::Unfinished,
            key: Key::Other,
            text: Text::new(),
            base64: Base64Reader::new(false),
            fields: Found {
                message_type: None,
                device_id: None,
                port_number: None,
                lib_version: None,
                id: None,
                prog_name: None,
                has_data: false,
            },
        }
    }

    /// Takes one byte of the document.
    pub(super) fn push(&mut self, byte: u8, sink: &mut impl Sink) {
        if self.outcome == Outcome::Unfit {
            return;
        }
        let taken = match self.scanner.push(byte) {
            Ok(None) => Ok(()),
            Ok(Some(Token::Text(c))) => self.text(c, sink),
            Ok(Some(Token::Open(element))) => self.open(element, sink),
            Ok(Some(Token::Close(element))) => self.close(element),
            Ok(Some(Token::Empty(element))) => self.empty(element, sink),
            Err(NotXml) => Err(NotXml),
        };
        if taken.is_err() {
            self.outcome = Outcome::Unfit;
        }
    }

    /// Whether the document was a dictionary, now that all of it was taken.
    pub(super) fn is_dictionary(&self) -> bool {
        self.outcome == Outcome::Whole && self.scanner.may_end()
    }

    /// What the document asks for, now that all of it was taken. The data of a SavePairRecord is
    /// not in it: the sink has it.
    pub(super) fn request(&self) -> Request<'_> {
        if !self.is_dictionary() {
            return Request::Invalid(Fault::NotADictionary);
        }
        let found = &self.fields;
        let fields = Fields {
            message_type: found.message_type,
            device_id: found.device_id,
            port_number: found.port_number.map(u64::from),
            pair_record_id: found.id.as_ref().and_then(Text::whole),
            pair_record_data: found.has_data.then_some(&[]),
            prog_name: found.prog_name.as_ref().map(Text::beginning),
            bundle_id: None,
            lib_version: found.lib_version.map(u64::from),
        };
        fields.request()
    }

    fn innermost(&self) -> Option<Element> {
        Some(match (self.depth > 0).then_some(self.open & 0xf)? {
            0 => Element::Plist,
            1 => Element::Dict,
            2 => Element::Array,
            3 => Element::Key,
            4 => Element::String,
            5 => Element::Integer,
            6 => Element::Data,
            _ => Element::Other,
        })
    }

    /// Whether what is open now is a value of the dictionary itself, or one of its keys.
    fn is_own(&self) -> bool {
        self.root != 0 && self.depth == self.root.saturating_add(1)
    }

    fn open(&mut self, element: Element, sink: &mut impl Sink) -> Result<(), NotXml> {
        if self.depth >= MAX_DEPTH {
            return Err(NotXml);
        }
        self.enter(element, sink)
    }

    fn empty(&mut self, element: Element, sink: &mut impl Sink) -> Result<(), NotXml> {
        // One deeper than others may be, as at the daemon: nothing can be inside.
        self.enter(element, sink)?;
        self.close(element)
    }

    fn enter(&mut self, element: Element, sink: &mut impl Sink) -> Result<(), NotXml> {
        self.elements = self.elements.saturating_add(1);
        let fits = match self.innermost() {
            None => self.root == 0 && matches!(element, Element::Plist | Element::Dict),
            Some(Element::Plist) => self.root == 0 && element == Element::Dict,
            Some(Element::Dict) => {
                let bit = 1 << self.depth;
                let wanted = self.wants_value & bit == 0;
                self.wants_value ^= bit;
                wanted == (element == Element::Key)
            }
            Some(Element::Array) => element != Element::Key,
            Some(_) => false,
        };
        if !fits || element == Element::Plist && self.depth > 0 || self.elements > MAX_ELEMENTS {
            return Err(NotXml);
        }
        self.depth = self.depth.saturating_add(1);
        self.open = self.open << 4 | element as u32;
        self.text.clear();
        if element == Element::Dict && self.root == 0 {
            self.root = self.depth;
        }
        if self.is_own() && element != Element::Key {
            self.begin_value(element, sink);
        }
        Ok(())
    }

    /// A key that is given twice counts as given the last time.
    fn begin_value(&mut self, element: Element, sink: &mut impl Sink) {
        match self.key {
            Key::MessageType => self.fields.message_type = None,
            Key::DeviceId => self.fields.device_id = None,
            Key::PortNumber => self.fields.port_number = None,
            Key::LibVersion => self.fields.lib_version = None,
            Key::RecordId => {
                self.fields.id = (element == Element::String).then(Text::new);
            }
            Key::ProgName => {
                self.fields.prog_name = (element == Element::String).then(Text::new);
            }
            Key::RecordData => {
                // Somebody else may be saving: only who saves disturbs that.
                let known = self.fields.message_type;
                let saves = known.is_none_or(|kind| kind == message::SAVE_PAIR_RECORD);
                self.fields.has_data = saves && element == Element::Data;
                self.base64 = Base64Reader::new(self.fields.has_data);
                if self.fields.has_data {
                    sink.begin(self.fields.id.as_ref().and_then(Text::whole));
                }
            }
            Key::Other => {}
        }
    }

    fn text(&mut self, c: char, sink: &mut impl Sink) -> Result<(), NotXml> {
        let Some(element) = self.innermost() else {
            return if c.is_whitespace() { Ok(()) } else { Err(NotXml) };
        };
        match element {
            Element::Plist | Element::Dict | Element::Array if c.is_whitespace() => Ok(()),
            Element::Plist | Element::Dict | Element::Array => Err(NotXml),
            Element::Key | Element::Integer => {
                self.text.push(c);
                Ok(())
            }
            Element::String if self.is_own() => {
                match (self.key, &mut self.fields.id, &mut self.fields.prog_name) {
                    (Key::MessageType, ..) => self.text.push(c),
                    (Key::RecordId, Some(id), _) => id.push(c),
                    (Key::ProgName, _, Some(name)) if is_writable(c) => name.push(c),
                    _ => {}
                }
                Ok(())
            }
            Element::Data if self.is_own() && self.key == Key::RecordData => {
                self.base64.push(c, sink)
            }
            Element::String | Element::Data | Element::Other => Ok(()),
        }
    }

    fn close(&mut self, element: Element) -> Result<(), NotXml> {
        if self.innermost() != Some(element) {
            return Err(NotXml);
        }
        let own = self.is_own();
        match element {
            Element::Key if own => self.key = Key::of(&self.text),
            Element::Integer => {
                let number = self.text.whole().and_then(integer).ok_or(NotXml)?;
                if own {
                    self.fields.number(self.key, number);
                }
            }
            Element::String if own && self.key == Key::MessageType => {
                let word = self.text.whole();
                let known = MESSAGES.into_iter().find(|&name| Some(name) == word);
                self.fields.message_type = Some(known.unwrap_or_default());
            }
            Element::Data if own && self.key == Key::RecordData && !self.base64.may_end() => {
                return Err(NotXml);
            }
            Element::Dict if self.wants_value & 1 << self.depth != 0 => return Err(NotXml),
            Element::Dict if self.depth == self.root => self.outcome = Outcome::Whole,
            _ => {}
        }
        self.depth = self.depth.saturating_sub(1);
        self.open >>= 4;
        Ok(())
    }
}

impl Found {
    /// Keeps a number; below 0 it is none.
    fn number(&mut self, key: Key, number: Option<u64>) {
        match key {
            Key::DeviceId => self.device_id = number.and_then(|id| u32::try_from(id).ok()),
            Key::PortNumber => {
                self.port_number = number.map(|port| u16::try_from(port).unwrap_or(0));
            }
            Key::LibVersion => {
                self.lib_version = number.map(|version| u32::try_from(version).unwrap_or(u32::MAX));
            }
            _ => {}
        }
    }
}

impl Key {
    fn of(text: &Text<MAX_WORD>) -> Self {
        match text.whole() {
            Some(key::MESSAGE_TYPE) => Self::MessageType,
            Some(key::DEVICE_ID) => Self::DeviceId,
            Some(key::PORT_NUMBER) => Self::PortNumber,
            Some(key::PAIR_RECORD_ID) => Self::RecordId,
            Some(key::PAIR_RECORD_DATA) => Self::RecordData,
            Some(key::PROG_NAME) => Self::ProgName,
            Some(key::LIB_USBMUX_VERSION) => Self::LibVersion,
            _ => Self::Other,
        }
    }
}

/// Text of a bounded length.
#[derive(Debug)]
struct Text<const N: usize> {
    text: String<N, u8>,
    is_cut: bool,
}

impl<const N: usize> Text<N> {
    const fn new() -> Self {
        Self { text: String::new(), is_cut: false }
    }

    fn clear(&mut self) {
        self.text.clear();
        self.is_cut = false;
    }

    fn push(&mut self, c: char) {
        self.is_cut = self.is_cut || self.text.push(c).is_err();
    }

    /// The text, if there was room for all of it.
    fn whole(&self) -> Option<&str> {
        (!self.is_cut).then_some(self.text.as_str())
    }

    fn beginning(&self) -> &str {
        &self.text
    }
}

/// Reads a number as the daemon does: `Some(None)` for one below 0.
fn integer(text: &str) -> Option<Option<u64>> {
    if text.starts_with("0x") {
        return u64::from_str_radix(text.trim_start_matches("0x"), 16).ok().map(Some);
    }
    match i64::from_str(text) {
        Ok(number) => Some(u64::try_from(number).ok()),
        Err(_) => u64::from_str(text).ok().map(Some),
    }
}

/// Decodes base64 group by group.
#[derive(Debug)]
struct Base64Reader {
    group: heapless::Vec<u8, 4, u8>,
    /// A padded group is the last one.
    is_padded: bool,
    /// Whether the sink gets what it says; else it is only checked.
    is_wanted: bool,
}

impl Base64Reader {
    const fn new(is_wanted: bool) -> Self {
        Self { group: heapless::Vec::new(), is_padded: false, is_wanted }
    }

    fn push(&mut self, c: char, sink: &mut impl Sink) -> Result<(), NotXml> {
        if c.is_ascii_whitespace() {
            return Ok(());
        }
        let byte = u8::try_from(c).ok().filter(|_| !self.is_padded).ok_or(NotXml)?;
        self.group.push(byte).map_err(|_| NotXml)?;
        if self.group.is_full() {
            let mut raw = [0; 3];
            let raw = Base64::decode(&self.group, &mut raw).map_err(|_| NotXml)?;
            if self.is_wanted {
                sink.add(raw);
            }
            self.is_padded = byte == b'=';
            self.group.clear();
        }
        Ok(())
    }

    fn may_end(&self) -> bool {
        self.group.is_empty()
    }
}
