//! lockdownd on port 62078, as far as clients ask it without pairing (PROTOCOL §6).
//!
//! A message is a length, 32 bits big-endian, and an XML plist; a phone sends the two as separate
//! segments. Played are QueryType and GetValue; sessions, pairing and services are left out and
//! answered with the error that a stranger gets.

use super::{Input, Next, Program, Turn};
use crate::identity::Identity;
use log::debug;
use plist::{Dictionary, Value};
use std::collections::VecDeque;

/// Bytes of the length in front of a message.
const PREFIX: usize = 4;
/// Longest request taken, in bytes; a longer one ends the connection.
const LONGEST_REQUEST: usize = 65536;
/// Deepest nesting of a request's plist: requests are flat, pair records have one level more.
const DEEPEST: usize = 8;
/// Most elements in a request's plist.
const MOST_ELEMENTS: usize = 512;

/// The program on one connection: requests one after the other, each answered before the next is
/// read.
pub(super) struct Lockdownd {
    identity: Identity,
    input: Input,
    /// What was read of the request, its prefix included.
    request: Vec<u8>,
    /// The answer's segments that are not yet written.
    answer: VecDeque<Vec<u8>>,
    /// Bytes of the front segment that were written.
    written: usize,
}

impl Lockdownd {
    pub(super) fn new(identity: Identity) -> Self {
        Lockdownd {
            identity,
            input: Input::default(),
            request: Vec::new(),
            answer: VecDeque::new(),
            written: 0,
        }
    }

    /// Writes the next segment of the answer, as much of it as there is room for.
    fn write(&mut self, turn: &mut Turn<'_>) {
        let Some(segment) = self.answer.front() else { return };
        let rest = segment.get(self.written..).unwrap_or_default();
        let length = rest.len().min(turn.room);
        turn.frame.extend_from_slice(rest.get(..length).unwrap_or_default());
        self.written += length;
        if self.written == segment.len() {
            self.answer.pop_front();
            self.written = 0;
        }
    }

    /// Length of the request's body, once its prefix is complete.
    fn body_length(&self) -> Option<usize> {
        let prefix = self.request.first_chunk::<PREFIX>()?;
        usize::try_from(u32::from_be_bytes(*prefix)).ok()
    }

    /// Reads of the request what there is; `Err` if no sense can come of it.
    fn read(&mut self, budget: &mut usize) -> Result<bool, Nonsense> {
        loop {
            let wanted = match self.body_length() {
                None => PREFIX - self.request.len(),
                Some(length) if length > LONGEST_REQUEST => return Err(Nonsense),
                Some(length) => PREFIX + length - self.request.len(),
            };
            if wanted == 0 {
                return Ok(true);
            }
            let count = wanted.min(self.input.len()).min(*budget);
            if count == 0 {
                return Ok(false);
            }
            *budget -= count;
            self.input.move_to(&mut self.request, count);
        }
    }

    fn reply(&mut self) -> Result<(), Nonsense> {
        let body = self.request.get(PREFIX..).unwrap_or_default();
        let answer = answer(&read_request(body)?, &self.identity);
        let mut body = Vec::new();
        Value::Dictionary(answer).to_writer_xml(&mut body).map_err(|_| Nonsense)?;
        let length = u32::try_from(body.len()).map_err(|_| Nonsense)?;
        self.request.clear();
        self.answer.push_back(length.to_be_bytes().to_vec());
        self.answer.push_back(body);
        Ok(())
    }
}

impl Program for Lockdownd {
    fn deliver(&mut self, payload: &[u8]) {
        self.input.deliver(payload);
    }

    fn unread(&self) -> usize {
        self.input.len()
    }

    fn has_output(&self) -> bool {
        !self.answer.is_empty()
    }

    fn run(&mut self, turn: &mut Turn<'_>) -> Next {
        if !self.answer.is_empty() {
            self.write(turn);
            return Next::Again;
        }
        let read = self.read(&mut turn.budget);
        match read.and_then(|whole| if whole { self.reply().map(|()| true) } else { Ok(false) }) {
            Ok(true) => Next::Again,
            Ok(false) => Next::Wait,
            Err(Nonsense) => {
                debug!("lockdownd: a request without sense, closing");
                Next::Close
            }
        }
    }
}

/// A request that no answer fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Nonsense;

/// Reads a request's plist, after looking at its shape: a reader of plists follows every nesting,
/// and a stranger's could exhaust the stack.
fn read_request(body: &[u8]) -> Result<Dictionary, Nonsense> {
    let body = body.trim_ascii_end();
    let end = body.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
    let body = body.get(..end).unwrap_or_default();
    check_shape(body)?;
    match Value::from_reader_xml(std::io::Cursor::new(body)) {
        Ok(Value::Dictionary(request)) => Ok(request),
        _ => Err(Nonsense),
    }
}

fn check_shape(body: &[u8]) -> Result<(), Nonsense> {
    use quick_xml::events::Event;
    let mut reader = quick_xml::Reader::from_reader(body);
    let (mut depth, mut elements) = (0_usize, 0_usize);
    // Each step reads at least one byte of a body whose length is limited.
    loop {
        match reader.read_event().map_err(|_| Nonsense)? {
            Event::Start(_) => {
                depth += 1;
                elements += 1;
            }
            Event::Empty(_) => elements += 1,
            Event::End(_) => depth = depth.saturating_sub(1),
            Event::Eof => return Ok(()),
            _ => {}
        }
        if depth > DEEPEST || elements > MOST_ELEMENTS {
            return Err(Nonsense);
        }
    }
}

/// The answer to a request: pure, so that it can be read as a table.
fn answer(request: &Dictionary, identity: &Identity) -> Dictionary {
    let text = |key: &str| request.get(key).and_then(Value::as_string);
    let mut answer = Dictionary::new();
    let Some(name) = text("Request") else {
        answer.insert("Error".into(), "InvalidRequest".into());
        return answer;
    };
    answer.insert("Request".into(), name.into());
    match name {
        "QueryType" => {
            answer.insert("Type".into(), "com.apple.mobile.lockdown".into());
        }
        "GetValue" => {
            for field in ["Domain", "Key"] {
                if let Some(asked) = text(field) {
                    answer.insert(field.into(), asked.into());
                }
            }
            let (field, value) = match value(text("Domain"), text("Key"), identity) {
                Some(value) => ("Value", value),
                None => ("Error", "MissingValue".into()),
            };
            answer.insert(field.into(), value);
        }
        "StartSession" => {
            answer.insert("Error".into(), "InvalidHostID".into());
        }
        "StartService" | "StopSession" => {
            answer.insert("Error".into(), "SessionInactive".into());
        }
        _ => {
            answer.insert("Error".into(), "InvalidRequest".into());
        }
    }
    answer
}

/// What GetValue finds: everything without a key, one value with it.
fn value(domain: Option<&str>, key: Option<&str>, identity: &Identity) -> Option<Value> {
    let values = match domain {
        None | Some("") => about_the_phone(identity),
        Some("com.apple.mobile.battery") => about_the_battery(),
        Some(_) => return None,
    };
    match key {
        None => Some(Value::Dictionary(values)),
        Some(key) => values.get(key).cloned(),
    }
}

fn about_the_phone(identity: &Identity) -> Dictionary {
    let values: [(&str, Value); 17] = [
        ("ActivationState", "Activated".into()),
        ("BuildVersion", "21A329".into()),
        ("CPUArchitecture", "arm64e".into()),
        ("DeviceClass", "iPhone".into()),
        ("DeviceColor", "1".into()),
        ("DeviceName", identity.device_name().into()),
        ("HardwareModel", "N104AP".into()),
        ("PasswordProtected", false.into()),
        ("ProductName", "iPhone OS".into()),
        ("ProductType", "iPhone12,1".into()),
        ("ProductVersion", "17.0".into()),
        ("ProtocolVersion", "2".into()),
        ("SerialNumber", format!("VIRT{:08X}", identity.number()).into()),
        ("TimeZone", "Etc/UTC".into()),
        ("UniqueChipID", Value::from(u64::from(identity.number()))),
        ("UniqueDeviceID", identity.udid().into()),
        ("WiFiAddress", identity.wifi_address().into()),
    ];
    values.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

fn about_the_battery() -> Dictionary {
    let values: [(&str, Value); 4] = [
        ("BatteryCurrentCapacity", 87.into()),
        ("BatteryIsCharging", true.into()),
        ("ExternalConnected", true.into()),
        ("FullyCharged", false.into()),
    ];
    values.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn request(fields: &[(&str, &str)]) -> Vec<u8> {
        let mut body = String::from("<plist version=\"1.0\"><dict>");
        for (key, value) in fields {
            body += &format!("<key>{key}</key><string>{value}</string>");
        }
        body += "</dict></plist>\n";
        let mut bytes = u32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
        bytes.extend_from_slice(body.as_bytes());
        bytes
    }

    /// Runs the program until it waits; the segments it wrote and what it wanted last.
    fn run(program: &mut Lockdownd, budget: usize) -> (Vec<Vec<u8>>, Next) {
        let mut segments = Vec::new();
        loop {
            let mut frame = Vec::new();
            let next = program.run(&mut Turn { budget, room: 30_000, frame: &mut frame });
            if !frame.is_empty() {
                segments.push(frame);
            }
            if next != Next::Again {
                return (segments, next);
            }
        }
    }

    fn dictionary(segments: &[Vec<u8>]) -> Dictionary {
        let [prefix, body] = segments else { panic!("{} segments", segments.len()) };
        assert_eq!(prefix[..], (body.len() as u32).to_be_bytes());
        read_request(body).unwrap()
    }

    fn ask(fields: &[(&str, &str)]) -> Dictionary {
        let mut program = Lockdownd::new(Identity::new(5));
        program.deliver(&request(fields));
        let (segments, next) = run(&mut program, usize::MAX);
        assert_eq!(next, Next::Wait);
        dictionary(&segments)
    }

    #[test]
    fn query_type_names_lockdown() {
        let answer = ask(&[("Label", "x"), ("Request", "QueryType")]);
        assert_eq!(answer.get("Request").unwrap().as_string(), Some("QueryType"));
        assert_eq!(answer.get("Type").unwrap().as_string(), Some("com.apple.mobile.lockdown"));
    }

    #[test]
    fn get_value_without_a_key_has_what_all_clients_need() {
        let answer = ask(&[("Request", "GetValue")]);
        assert!(answer.get("Key").is_none() && answer.get("Domain").is_none());
        let values = answer.get("Value").unwrap().as_dictionary().unwrap();
        for key in ["DeviceName", "DeviceClass", "ProductType", "ProductVersion", "BuildVersion"] {
            assert!(values.get(key).is_some(), "{key}");
        }
        let udid = values.get("UniqueDeviceID").unwrap().as_string();
        assert_eq!(udid, Some("00008030-0000000000000005"));
    }

    #[test]
    fn get_value_repeats_key_and_domain() {
        let answer = ask(&[("Request", "GetValue"), ("Key", "DeviceName")]);
        assert_eq!(answer.get("Key").unwrap().as_string(), Some("DeviceName"));
        assert_eq!(answer.get("Value").unwrap().as_string(), Some("Virtual Phone 5"));
        let battery = "com.apple.mobile.battery";
        let answer = ask(&[("Request", "GetValue"), ("Domain", battery)]);
        assert_eq!(answer.get("Domain").unwrap().as_string(), Some(battery));
        assert!(answer.get("Value").unwrap().as_dictionary().is_some());
    }

    #[test]
    fn what_is_not_there_is_a_missing_value() {
        for fields in [
            [("Request", "GetValue"), ("Key", "NoSuchKey")],
            [("Request", "GetValue"), ("Domain", "no.such.domain")],
        ] {
            let answer = ask(&fields);
            assert_eq!(answer.get("Error").unwrap().as_string(), Some("MissingValue"));
            assert_eq!(answer.get("Request").unwrap().as_string(), Some("GetValue"));
            assert!(answer.get("Value").is_none());
        }
        let answer = ask(&[("Request", "Dance")]);
        assert_eq!(answer.get("Error").unwrap().as_string(), Some("InvalidRequest"));
        assert_eq!(answer.get("Request").unwrap().as_string(), Some("Dance"));
    }

    #[test]
    fn requests_may_come_in_any_pieces_and_several_at_once() {
        let one = request(&[("Request", "QueryType")]);
        let two =
            [one.clone(), request(&[("Request", "GetValue"), ("Key", "DeviceClass")])].concat();
        for size in [1, 3, 4, 7, two.len()] {
            let mut program = Lockdownd::new(Identity::new(1));
            let mut segments = Vec::new();
            for piece in two.chunks(size) {
                program.deliver(piece);
                let (more, next) = run(&mut program, usize::MAX);
                segments.extend(more);
                assert_eq!((next, program.unread()), (Next::Wait, 0));
            }
            let (first, second) = segments.split_at(2);
            assert!(dictionary(first).get("Type").is_some());
            assert_eq!(dictionary(second).get("Value").unwrap().as_string(), Some("iPhone"));
        }
    }

    #[test]
    fn a_budget_limits_what_is_read() {
        let mut program = Lockdownd::new(Identity::new(1));
        let one = request(&[("Request", "QueryType")]);
        program.deliver(&one);
        assert_eq!(run(&mut program, 10), (vec![], Next::Wait));
        assert_eq!(program.unread(), one.len() - 10);
    }

    fn framed(body: &str) -> Vec<u8> {
        [&(body.len() as u32).to_be_bytes(), body.as_bytes()].concat()
    }

    /// A request that would be answered but for a superfluous value.
    fn with_value(value: &str) -> Vec<u8> {
        let request = "<key>Request</key><string>QueryType</string>";
        framed(&format!("<plist><dict>{request}<key>More</key>{value}</dict></plist>"))
    }

    #[test]
    fn nonsense_ends_the_connection() {
        let unread = format!("<plist>{}", "<array>".repeat(9000));
        for bytes in [
            vec![0, 1, 0, 1],
            vec![0xff; 4],
            vec![0; 4],
            framed("not a plist"),
            framed("<plist><string>x</string></plist>"),
            framed(&unread),
        ] {
            let mut program = Lockdownd::new(Identity::new(1));
            program.deliver(&bytes);
            assert_eq!(run(&mut program, usize::MAX), (vec![], Next::Close));
        }
    }

    #[test]
    fn a_request_may_be_neither_deep_nor_large() {
        // plist and dict are two levels; plist, dict, two keys, a string and an array six elements.
        let nested = |levels: usize| {
            with_value(&format!("{}{}", "<array>".repeat(levels), "</array>".repeat(levels)))
        };
        let many =
            |count: usize| with_value(&format!("<array>{}</array>", "<true/>".repeat(count)));
        for (bytes, next) in [
            (nested(DEEPEST - 2), Next::Wait),
            (nested(DEEPEST - 1), Next::Close),
            (many(MOST_ELEMENTS - 6), Next::Wait),
            (many(MOST_ELEMENTS - 5), Next::Close),
        ] {
            let mut program = Lockdownd::new(Identity::new(1));
            program.deliver(&bytes);
            assert_eq!(run(&mut program, usize::MAX).1, next);
        }
    }
}
