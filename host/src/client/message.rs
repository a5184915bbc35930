//! Messages of the socket protocol as a client needs them: requests out, answers in.

use plist::{Dictionary, Value};

use super::error::{ClientError, Garbled};
use crate::untrusted::{self, Limits, Unfit};

/// The longest question that is sent, header included: the reference daemon hangs up on more.
pub const MAX_REQUEST: usize = 65536;

/// The longest answer that is read, header included: a list of some 5,000 phones.
pub const MAX_REPLY: usize = 4 << 20;

/// How deep elements may nest in an answer, the `plist` element included. Daemons need 6, a
/// phone's lockdownd a few more.
pub const MAX_DEPTH: usize = 24;

/// How many elements an answer may have; a phone in a list takes 20.
const MAX_ELEMENTS: usize = 200_000;

/// Reads a body that must be a dictionary.
pub(super) fn dictionary(body: &[u8]) -> Result<Dictionary, Garbled> {
    let limits = Limits { depth: MAX_DEPTH, elements: MAX_ELEMENTS };
    untrusted::dictionary(body, limits).map_err(|unfit| match unfit {
        Unfit::NoDictionary => Garbled::NoDictionary,
        Unfit::TooComplex => Garbled::TooComplex,
    })
}

/// The header: length, version, message, tag, each u32 and little-endian.
pub(super) const HEADER: usize = 16;

const VERSION_PLIST: u32 = 1;
const MESSAGE_RESULT: u32 = 1;
const MESSAGE_PLIST: u32 = 8;

/// The revision of the plist interface that clients announce.
const LIBRARY_VERSION: u32 = 3;

/// The body of a question, small enough to be sent.
#[derive(Debug)]
pub(super) struct Request(Vec<u8>);

/// What a daemon answered.
#[derive(Debug, PartialEq)]
pub(super) enum Reply {
    /// A Result, in either form.
    Result(u32),
    /// Anything else.
    Dictionary(Dictionary),
}

/// The header of what a daemon sent, its length checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// Bytes of the whole message, at least [`HEADER`] and at most [`MAX_REPLY`].
    pub(super) length: usize,
    /// The kind of message.
    pub(super) message: u32,
    /// The number of the question; 0 for events.
    pub(super) tag: u32,
}

/// Writes a question with what every client says about itself.
pub(super) fn request(
    program: &str,
    message_type: &str,
    arguments: Vec<(&str, Value)>,
) -> Result<Request, ClientError> {
    let mut dictionary = Dictionary::new();
    let about = concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION"));
    dictionary.insert("ClientVersionString".into(), about.into());
    dictionary.insert("MessageType".into(), message_type.into());
    dictionary.insert("ProgName".into(), program.into());
    dictionary.insert("kLibUSBMuxVersion".into(), LIBRARY_VERSION.into());
    for (key, value) in arguments {
        dictionary.insert(key.into(), value);
    }
    let mut body = Vec::new();
    Value::Dictionary(dictionary)
        .to_writer_xml(&mut body)
        .expect("a dictionary of texts, numbers and data is a property list, and memory takes it");
    let bytes = HEADER + body.len();
    if bytes > MAX_REQUEST {
        return Err(ClientError::TooLarge { bytes });
    }
    Ok(Request(body))
}

impl Request {
    /// The message with its header in front, to be written at once.
    pub(super) fn emit(&self, tag: u32) -> Vec<u8> {
        let length = u32::try_from(HEADER + self.0.len()).expect("at most MAX_REQUEST");
        let mut bytes = Vec::with_capacity(HEADER + self.0.len());
        for field in [length, VERSION_PLIST, MESSAGE_PLIST, tag] {
            bytes.extend_from_slice(&field.to_le_bytes());
        }
        bytes.extend_from_slice(&self.0);
        bytes
    }
}

impl Header {
    pub(super) fn parse(bytes: &[u8; HEADER]) -> Result<Self, Garbled> {
        let [length, _version, message, tag] = [0, 1, 2, 3].map(|field| {
            let word = bytes.as_chunks::<4>().0.get(field).copied().unwrap_or_default();
            u32::from_le_bytes(word)
        });
        match usize::try_from(length) {
            Ok(checked) if (HEADER..=MAX_REPLY).contains(&checked) => {
                Ok(Header { length: checked, message, tag })
            }
            _ => Err(Garbled::Length(length)),
        }
    }
}

impl Reply {
    /// Reads a body by what its header says. The version field is not looked at: the reference
    /// daemon answers a version it does not know with another one.
    pub(super) fn parse(message: u32, body: &[u8]) -> Result<Self, Garbled> {
        match message {
            MESSAGE_PLIST => {
                let dictionary = dictionary(body)?;
                if dictionary.get("MessageType").and_then(Value::as_string) != Some("Result") {
                    return Ok(Reply::Dictionary(dictionary));
                }
                let number = dictionary.get("Number").and_then(Value::as_unsigned_integer);
                let number = number.and_then(|number| u32::try_from(number).ok());
                number.map(Reply::Result).ok_or(Garbled::Missing("Number"))
            }
            MESSAGE_RESULT => {
                let number = body.first_chunk().ok_or(Garbled::ShortResult)?;
                Ok(Reply::Result(u32::from_le_bytes(*number)))
            }
            other => Err(Garbled::Kind(other)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
    use super::*;

    fn header(length: u32, message: u32, tag: u32) -> [u8; HEADER] {
        let words = [length, 1, message, tag].map(u32::to_le_bytes);
        words.as_flattened().try_into().unwrap()
    }

    #[test]
    fn a_request_has_the_form_that_real_clients_send() {
        let arguments =
            vec![("DeviceID", Value::from(1)), ("PortNumber", Value::from(22_u16.swap_bytes()))];
        let bytes = request("umux", "Connect", arguments).unwrap().emit(2);
        let (head, body) = bytes.split_at(HEADER);
        assert_eq!(head, header(u32::try_from(bytes.len()).unwrap(), 8, 2));
        let version = env!("CARGO_PKG_VERSION");
        let expected = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \
             \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n\
             <plist version=\"1.0\">\n<dict>\n\
             \t<key>ClientVersionString</key>\n\t<string>usbmux-host {version}</string>\n\
             \t<key>MessageType</key>\n\t<string>Connect</string>\n\
             \t<key>ProgName</key>\n\t<string>umux</string>\n\
             \t<key>kLibUSBMuxVersion</key>\n\t<integer>3</integer>\n\
             \t<key>DeviceID</key>\n\t<integer>1</integer>\n\
             \t<key>PortNumber</key>\n\t<integer>5632</integer>\n\
             </dict>\n</plist>"
        );
        assert_eq!(String::from_utf8(body.to_vec()).unwrap().trim_end(), expected);
    }

    #[test]
    fn a_request_that_no_daemon_takes_is_not_sent() {
        let size = |bytes: usize| {
            request("umux", "SavePairRecord", vec![("PairRecordData", Value::Data(vec![0; bytes]))])
        };
        assert!(size(40_000).is_ok());
        assert!(
            matches!(size(60_000), Err(ClientError::TooLarge { bytes }) if bytes > MAX_REQUEST)
        );
    }

    #[test]
    fn a_length_is_bounded_at_both_edges() {
        let length = |length: u32| Header::parse(&header(length, 8, 1)).map(|header| header.length);
        let most = u32::try_from(MAX_REPLY).unwrap();
        for bad in [0, 15, most + 1, u32::MAX] {
            assert_eq!(length(bad), Err(Garbled::Length(bad)));
        }
        assert_eq!(length(16), Ok(16));
        assert_eq!(length(most), Ok(MAX_REPLY));
    }

    #[test]
    fn a_result_is_understood_in_both_forms() {
        let plist = b"<plist><dict><key>MessageType</key><string>Result</string>\
                      <key>Number</key><integer>3</integer></dict></plist>";
        assert_eq!(Reply::parse(8, plist), Ok(Reply::Result(3)));
        assert_eq!(Reply::parse(1, &[6, 0, 0, 0]), Ok(Reply::Result(6)));
        assert_eq!(Reply::parse(1, &[6, 0, 0]), Err(Garbled::ShortResult));
        assert_eq!(Reply::parse(4, &[0; 252]), Err(Garbled::Kind(4)));
    }

    #[test]
    fn a_result_needs_a_number_that_fits() {
        for number in
            ["", "<key>Number</key><string>0</string>", "<key>Number</key><integer>-1</integer>"]
        {
            let plist = format!(
                "<plist><dict><key>MessageType</key><string>Result</string>{number}</dict></plist>"
            );
            assert_eq!(
                Reply::parse(8, plist.as_bytes()),
                Err(Garbled::Missing("Number")),
                "{plist}"
            );
        }
    }
}
