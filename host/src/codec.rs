//! The plist codec: XML bodies of requests become [`Request`]s, [`Reply`]s and [`Event`]s become
//! complete messages.
//!
//! A client's XML is hostile until proven otherwise: `untrusted` reads it, within the limits named
//! here. What requests mean is decided in
//! `usbmux_core::session`; how a client writes requests and reads replies is not here either.

use std::sync::LazyLock;

use plist::{Dictionary, Value};
use usbmux_core::session::names::{self, key, message};
use usbmux_core::session::{
    Device, Envelope, Event, Fault, Fields, Form, HEADER_LEN, Header, Listener, MessageKind, Reply,
    Request, ResultCode, records,
};

use crate::untrusted::{self, Limits};

mod binary;

/// Deepest nesting of elements: `plist`, `dict` and a value make 3. Deeper documents would let a
/// client overflow the parser's stack.
pub const MAX_DEPTH: usize = 8;

/// Largest number of elements in a request or pair record; a request has about 20.
pub const MAX_ELEMENTS: usize = 4096;

/// Holds the dictionary of a plist message.
#[derive(Debug, Clone, PartialEq)]
pub struct Body(Dictionary);

impl Body {
    /// Decodes the body of a plist message: XML, possibly with NULs behind.
    ///
    /// # Errors
    /// The body is no XML property list of a dictionary, or beyond the limits. Binary property
    /// lists are not accepted: a few bytes of one can expand without end.
    pub fn decode(body: &[u8]) -> Result<Self, Fault> {
        dictionary(body, MAX_ELEMENTS).map(Self).ok_or(Fault::NotADictionary)
    }

    /// What the message says, as far as it has the right types.
    pub fn fields(&self) -> Fields<'_> {
        let string = |key| self.0.get(key).and_then(Value::as_string);
        let number = |key| self.0.get(key).and_then(Value::as_unsigned_integer);
        Fields {
            message_type: string(key::MESSAGE_TYPE),
            device_id: number(key::DEVICE_ID).and_then(|id| u32::try_from(id).ok()),
            port_number: number(key::PORT_NUMBER),
            pair_record_id: string(key::PAIR_RECORD_ID),
            pair_record_data: self.0.get(key::PAIR_RECORD_DATA).and_then(Value::as_data),
            prog_name: string(key::PROG_NAME),
            bundle_id: string(key::BUNDLE_ID),
            lib_version: number(key::LIB_USBMUX_VERSION),
        }
    }

    /// The word by which the client will ask why its connection ended.
    pub fn end_token(&self) -> Option<&str> {
        self.0.get(key::END_TOKEN).and_then(Value::as_string)
    }

    /// Whether the client asks why a connection ended; no request of the protocol's own.
    pub fn asks_end_reason(&self) -> bool {
        let asked = self.0.get(key::MESSAGE_TYPE).and_then(Value::as_string);
        asked == Some(message::READ_END_REASON)
    }

    /// The request this message makes.
    pub fn request(&self) -> Request<'_> {
        match self.fields().request() {
            Request::SavePairRecord { data, .. } if !is_pair_record(data) => {
                Request::Invalid(Fault::RecordData)
            }
            request => request,
        }
    }
}

/// Parses an XML property list of a dictionary with at most `max_elements` elements, possibly with
/// NULs behind; `None` if it is anything else.
pub fn dictionary(xml: &[u8], max_elements: usize) -> Option<Dictionary> {
    untrusted::dictionary(xml, Limits { depth: MAX_DEPTH, elements: max_elements }).ok()
}

/// Tells whether this may be kept as a pair record: a property list of a dictionary, XML or
/// binary. A binary one is checked without expanding it.
pub fn is_pair_record(data: &[u8]) -> bool {
    if data.starts_with(binary::MAGIC) {
        binary::is_dictionary(data, MAX_DEPTH)
    } else {
        dictionary(data, MAX_ELEMENTS).is_some()
    }
}

/// Writes an answer as a complete message, header and body in one piece, because clients want the
/// header in one read. Only a Result exists in binary form; the others are plists in any case.
pub fn reply(envelope: Envelope, reply: &Reply<'_>) -> Vec<u8> {
    let mut body = Dictionary::new();
    match *reply {
        Reply::Result(code) if envelope.form == Form::Binary => {
            return records::result(envelope.tag, code).to_vec();
        }
        Reply::Result(ResultCode::OK) => return with_tag(OK_MESSAGE.clone(), envelope.tag),
        Reply::Result(code) => body = result(code),
        Reply::DeviceList(devices) => {
            let list: Vec<_> = devices.iter().map(|device| attached(device).into()).collect();
            insert(&mut body, key::DEVICE_LIST, list);
        }
        Reply::ListenerList(listeners) => {
            let list: Vec<_> = listeners.iter().map(|who| listener(who).into()).collect();
            insert(&mut body, key::LISTENER_LIST, list);
        }
        Reply::Buid(buid) => insert(&mut body, key::BUID, buid),
        Reply::PairRecord(data) => {
            insert(&mut body, key::PAIR_RECORD_DATA, Value::Data(data.to_vec()));
        }
    }
    plist_message(envelope.tag, body)
}

/// The answer to almost every Connect, but for its tag.
static OK_MESSAGE: LazyLock<Vec<u8>> = LazyLock::new(|| plist_message(0, result(ResultCode::OK)));

fn result(code: ResultCode) -> Dictionary {
    let mut body = Dictionary::new();
    insert(&mut body, key::MESSAGE_TYPE, message::RESULT);
    insert(&mut body, key::NUMBER, code.0);
    body
}

/// Writes an event as a complete message.
pub fn event(form: Form, event: &Event<'_>) -> Vec<u8> {
    match (form, event) {
        (Form::Binary, Event::Attached(device)) => records::device_add(&device.record()).to_vec(),
        (Form::Binary, Event::Detached(device)) => records::device_remove(*device).to_vec(),
        (Form::Binary, Event::Paired(device)) => records::device_paired(*device).to_vec(),
        (Form::Plist, Event::Attached(device)) => plist_message(0, attached(device)),
        (Form::Plist, Event::Detached(device)) => device_event(message::DETACHED, *device),
        (Form::Plist, Event::Paired(device)) => device_event(message::PAIRED, *device),
    }
}

/// Writes the answer to why a connection ended.
pub fn end_reason(tag: u32, reason: &str) -> Vec<u8> {
    let mut body = Dictionary::new();
    insert(&mut body, key::END_REASON, reason);
    plist_message(tag, body)
}

/// Writes a dictionary as a complete plist message.
pub fn plist_message(tag: u32, body: Dictionary) -> Vec<u8> {
    let mut bytes = vec![0; HEADER_LEN];
    Value::Dictionary(body)
        .to_writer_xml(&mut bytes)
        .expect("a Vec takes every write, and nobody puts a UID into a message");
    bytes.push(b'\n');
    with_tag(bytes, tag)
}

/// Writes the header of a plist message in front of its body.
fn with_tag(mut bytes: Vec<u8>, tag: u32) -> Vec<u8> {
    let body_len = bytes.len().saturating_sub(HEADER_LEN);
    if let Some(header) = bytes.first_chunk_mut() {
        *header = Header::new(1, MessageKind::Plist, tag, body_len).emit();
    }
    bytes
}

fn attached(device: &Device<'_>) -> Dictionary {
    let mut properties = Dictionary::new();
    insert(&mut properties, key::CONNECTION_SPEED, device.speed);
    insert(&mut properties, key::CONNECTION_TYPE, names::USB);
    insert(&mut properties, key::DEVICE_ID, device.device_id);
    insert(&mut properties, key::LOCATION_ID, device.location);
    insert(&mut properties, key::PRODUCT_ID, device.product_id);
    insert(&mut properties, key::SERIAL_NUMBER, device.serial);
    let mut body = Dictionary::new();
    insert(&mut body, key::DEVICE_ID, device.device_id);
    insert(&mut body, key::MESSAGE_TYPE, message::ATTACHED);
    insert(&mut body, key::PROPERTIES, properties);
    body
}

fn listener(who: &Listener<'_>) -> Dictionary {
    let name = who.shown_name();
    let mut body = Dictionary::new();
    insert(&mut body, key::BLACKLISTED, false);
    if let Some(bundle_id) = who.bundle_id {
        insert(&mut body, key::BUNDLE_ID, bundle_id);
    }
    insert(&mut body, key::CONN_TYPE, 0);
    insert(&mut body, key::ID_STRING, format!("{}-{name}", who.number));
    insert(&mut body, key::PROG_NAME, name);
    insert(&mut body, key::LIB_USBMUX_VERSION, who.lib_version);
    body
}

fn device_event(message_type: &str, device_id: u32) -> Vec<u8> {
    let mut body = Dictionary::new();
    insert(&mut body, key::DEVICE_ID, device_id);
    insert(&mut body, key::MESSAGE_TYPE, message_type);
    plist_message(0, body)
}

fn insert(dictionary: &mut Dictionary, key: &str, value: impl Into<Value>) {
    dictionary.insert(key.to_owned(), value.into());
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
    use super::*;
    use usbmux_core::session::Client;

    const PLIST: Envelope = Envelope { form: Form::Plist, tag: 7 };

    fn document(content: &str) -> String {
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!DOCTYPE plist PUBLIC \
             \"-//Apple//DTD PLIST 1.0//EN\" \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n\
             <plist version=\"1.0\">\n{content}\n</plist>\n"
        )
    }

    fn fault(body: &[u8]) -> Option<Fault> {
        match Body::decode(body) {
            Err(fault) => Some(fault),
            Ok(body) => match body.request() {
                Request::Invalid(fault) => Some(fault),
                _ => None,
            },
        }
    }

    fn decoded(message: &[u8]) -> (Header, Dictionary) {
        let header = Header::parse(message.first_chunk().unwrap());
        assert_eq!(usize::try_from(header.length).unwrap(), message.len());
        (header, dictionary(&message[HEADER_LEN..], MAX_ELEMENTS).unwrap())
    }

    #[test]
    fn connect_of_a_real_client_is_understood() {
        // iproxy 2222:22, its keys in its order, with the NUL that some clients append.
        let mut body = document(
            "<dict>\n\t<key>ClientVersionString</key>\n\t<string>libusbmuxd 2.0.2</string>\n\
             \t<key>MessageType</key>\n\t<string>Connect</string>\n\
             \t<key>ProgName</key>\n\t<string>iproxy</string>\n\
             \t<key>kLibUSBMuxVersion</key>\n\t<integer>3</integer>\n\
             \t<key>DeviceID</key>\n\t<integer>1</integer>\n\
             \t<key>PortNumber</key>\n\t<integer>5632</integer>\n</dict>",
        );
        body.push('\0');
        let body = Body::decode(body.as_bytes()).unwrap();
        assert_eq!(body.request(), Request::Connect { device_id: 1, port: 22 });
    }

    #[test]
    fn listen_tells_who_listens() {
        let body = document(
            "<dict><key>MessageType</key><string>Listen</string><key>ProgName</key>\
             <string>a &amp; b</string><key>BundleID</key><string>org.example</string>\
             <key>kLibUSBMuxVersion</key><integer>3</integer></dict>",
        );
        let body = Body::decode(body.as_bytes()).unwrap();
        let client =
            Client { prog_name: Some("a & b"), bundle_id: Some("org.example"), lib_version: 3 };
        assert_eq!(body.request(), Request::Listen(client));
    }

    #[test]
    fn fields_of_the_wrong_type_count_as_missing() {
        let connect = |device: &str, port: &str| {
            fault(
                document(&format!(
                    "<dict><key>MessageType</key><string>Connect</string><key>DeviceID</key>\
                     {device}<key>PortNumber</key>{port}</dict>"
                ))
                .as_bytes(),
            )
        };
        let number = "<integer>1</integer>";
        assert_eq!(connect(number, number), None);
        assert_eq!(connect("<string>1</string>", number), Some(Fault::NoDevice));
        assert_eq!(connect("<integer>-1</integer>", number), Some(Fault::NoDevice));
        assert_eq!(connect("<integer>4294967296</integer>", number), Some(Fault::NoDevice));
        assert_eq!(connect(number, "<string>1</string>"), Some(Fault::NoPort));
        assert_eq!(connect(number, "<integer>127614</integer>"), None, "a port no phone accepts");
    }

    #[test]
    fn bodies_that_are_no_dictionary_are_refused() {
        let array = document("<array><integer>1</integer></array>");
        for body in [
            &b""[..],
            b"\0\0",
            b"this is not a plist",
            &[b' '; 65520],
            b"bplist00\xd0\x08\0\0\0\0\0\0\x01\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x09",
            b"\xff\xfe<\0p\0",
            array.as_bytes(),
        ] {
            assert_eq!(fault(body), Some(Fault::NotADictionary));
        }
        assert_eq!(fault(document("<dict/>").as_bytes()), Some(Fault::NoMessageType));
        let number = "<dict><key>MessageType</key><integer>3</integer></dict>";
        assert_eq!(fault(document(number).as_bytes()), Some(Fault::NoMessageType));
    }

    #[test]
    fn every_prefix_of_a_request_is_survived() {
        let body = document("<dict><key>MessageType</key><string>ReadBUID</string></dict>");
        for end in 0..body.len() {
            let _ = Body::decode(&body.as_bytes()[..end]);
        }
        assert_eq!(Body::decode(body.as_bytes()).unwrap().request(), Request::ReadBuid);
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |arrays: usize| {
            let open = "<array>".repeat(arrays);
            let close = "</array>".repeat(arrays);
            document(&format!("<dict><key>a</key>{open}{close}</dict>"))
        };
        // plist and dict are the first two.
        assert_eq!(fault(nested(6).as_bytes()), Some(Fault::NoMessageType));
        assert_eq!(fault(nested(7).as_bytes()), Some(Fault::NotADictionary));
        assert_eq!(fault("<array>".repeat(9362).as_bytes()), Some(Fault::NotADictionary));
    }

    #[test]
    fn number_of_elements_is_bounded() {
        let many = |booleans: usize| {
            let values = "<true/>".repeat(booleans);
            document(&format!("<dict><key>a</key><array>{values}</array></dict>"))
        };
        // plist, dict, key and array are the first four.
        assert_eq!(fault(many(MAX_ELEMENTS - 4).as_bytes()), Some(Fault::NoMessageType));
        assert_eq!(fault(many(MAX_ELEMENTS - 3).as_bytes()), Some(Fault::NotADictionary));
    }

    #[test]
    fn documents_that_declare_entities_are_refused() {
        let bomb = "<!DOCTYPE plist [<!ENTITY a \"aaaa\"><!ENTITY b \"&a;&a;\">]>\
                    <plist><dict><key>MessageType</key><string>&b;</string></dict></plist>";
        assert_eq!(fault(bomb.as_bytes()), Some(Fault::NotADictionary));
    }

    #[test]
    fn pair_record_is_a_dictionary_in_either_form() {
        let xml = document("<dict><key>HostID</key><string>H</string></dict>");
        assert!(is_pair_record(xml.as_bytes()));
        assert!(is_pair_record(b"<?xml version=\"1.0\"?><plist version=\"1.0\"><dict/></plist>"));
        let mut binary = Vec::new();
        Value::from_reader_xml(xml.as_bytes()).unwrap().to_writer_binary(&mut binary).unwrap();
        assert!(is_pair_record(&binary));

        assert!(!is_pair_record(b""));
        assert!(!is_pair_record(b"xx"));
        assert!(!is_pair_record(document("<array/>").as_bytes()));
        assert!(!is_pair_record(b"bplist00"));
    }

    #[test]
    fn record_that_is_no_dictionary_is_refused() {
        let save = |data: &str| {
            fault(
                document(&format!(
                    "<dict><key>MessageType</key><string>SavePairRecord</string>\
                     <key>PairRecordID</key><string>A</string>\
                     <key>PairRecordData</key>{data}</dict>"
                ))
                .as_bytes(),
            )
        };
        // <plist><dict/></plist>
        assert_eq!(save("<data>\n\tPHBsaXN0PjxkaWN0\n\tLz48L3BsaXN0Pg==\n\t</data>"), None);
        assert_eq!(save("<data>eHg=</data>"), Some(Fault::RecordData));
        assert_eq!(save("<string>eHg=</string>"), Some(Fault::RecordData));
    }

    #[test]
    fn result_is_written_in_both_forms() {
        let message = reply(PLIST, &Reply::Result(ResultCode::INVALID));
        let (header, body) = decoded(&message);
        assert_eq!((header.version, header.message, header.tag), (1, MessageKind::Plist, 7));
        assert_eq!(body.get("MessageType"), Some(&Value::from("Result")));
        assert_eq!(body.get("Number"), Some(&Value::from(22)));
        assert_eq!(body.len(), 2);

        let binary = Envelope { form: Form::Binary, tag: 5 };
        let bytes = [20, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 5, 0, 0, 0, 2, 0, 0, 0];
        assert_eq!(reply(binary, &Reply::Result(ResultCode::BAD_DEVICE)), bytes);
    }

    #[test]
    fn empty_device_list_is_what_the_reference_daemon_writes() {
        let expected = document("<dict>\n\t<key>DeviceList</key>\n\t<array/>\n</dict>");
        let message = reply(PLIST, &Reply::DeviceList(&[]));
        assert_eq!(message[..16], [0xed, 0, 0, 0, 1, 0, 0, 0, 8, 0, 0, 0, 7, 0, 0, 0]);
        assert_eq!(String::from_utf8_lossy(&message[16..]), expected);
    }

    #[test]
    fn phone_is_described_alike_in_list_and_event() {
        let device = Device {
            device_id: 3,
            serial: "00008030-0000000000000001",
            product_id: 0x12a8,
            location: 0x0002_0005,
            speed: 5_000_000_000,
        };
        let (header, body) = decoded(&event(Form::Plist, &Event::Attached(device)));
        assert_eq!(header.tag, 0);
        assert_eq!(body.get("MessageType"), Some(&Value::from("Attached")));
        assert_eq!(body.get("DeviceID"), Some(&Value::from(3)));
        let properties = body.get("Properties").unwrap().as_dictionary().unwrap();
        let expected: [(&str, Value); 6] = [
            ("ConnectionSpeed", 5_000_000_000_u64.into()),
            ("ConnectionType", "USB".into()),
            ("DeviceID", 3.into()),
            ("LocationID", 0x0002_0005.into()),
            ("ProductID", 0x12a8.into()),
            ("SerialNumber", "00008030-0000000000000001".into()),
        ];
        for (key, value) in &expected {
            assert_eq!(properties.get(key), Some(value), "{key}");
        }
        assert_eq!(properties.len(), expected.len());

        let (_, list) = decoded(&reply(PLIST, &Reply::DeviceList(&[device])));
        let list = list.get("DeviceList").unwrap().as_array().unwrap();
        assert_eq!(list, &[Value::Dictionary(body)]);
    }

    #[test]
    fn events_are_written_in_both_forms() {
        let (header, body) = decoded(&event(Form::Plist, &Event::Paired(9)));
        assert_eq!(header.tag, 0);
        assert_eq!(body.get("MessageType"), Some(&Value::from("Paired")));
        assert_eq!(body.get("DeviceID"), Some(&Value::from(9)));
        let (_, body) = decoded(&event(Form::Plist, &Event::Detached(9)));
        assert_eq!(body.get("MessageType"), Some(&Value::from("Detached")));

        assert_eq!(event(Form::Binary, &Event::Detached(9)), records::device_remove(9));
        assert_eq!(event(Form::Binary, &Event::Paired(9)), records::device_paired(9));
    }

    #[test]
    fn listeners_are_described_with_and_without_names() {
        let named = Listener {
            number: 4,
            prog_name: Some("watch"),
            bundle_id: Some("org.example"),
            lib_version: 3,
        };
        let binary = Listener { number: 5, prog_name: None, bundle_id: None, lib_version: 0 };
        let (_, body) = decoded(&reply(PLIST, &Reply::ListenerList(&[named, binary])));
        let list = body.get("ListenerList").unwrap().as_array().unwrap();
        let first = list[0].as_dictionary().unwrap();
        assert_eq!(first.get("ID String"), Some(&Value::from("4-watch")));
        assert_eq!(first.get("BundleID"), Some(&Value::from("org.example")));
        assert_eq!(first.get("Blacklisted"), Some(&Value::from(false)));
        assert_eq!(first.get("ConnType"), Some(&Value::from(0)));
        let second = list[1].as_dictionary().unwrap();
        assert_eq!(second.get("ProgName"), Some(&Value::from("unknown")));
        assert_eq!(second.get("kLibUSBMuxVersion"), Some(&Value::from(0)));
        assert!(!second.contains_key("BundleID"));
    }

    #[test]
    fn identity_and_records_are_written() {
        let (_, body) = decoded(&reply(PLIST, &Reply::Buid("91884CAA")));
        assert_eq!(body.get("BUID"), Some(&Value::from("91884CAA")));
        let (_, body) = decoded(&reply(PLIST, &Reply::PairRecord(b"\0\xffdata")));
        assert_eq!(body.get("PairRecordData"), Some(&Value::Data(b"\0\xffdata".to_vec())));
    }
}
