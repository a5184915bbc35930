//! What a client asks, made from a binary body or from the fields of a plist.
//!
//! A request that must be answered with a certain result is a [`Request::Invalid`] whose [`Fault`]
//! knows the number: nobody else decides that. Reading XML is the codec's task.

use core::fmt;

use super::header::{MessageKind, ResultCode};
use super::names::message;
use super::records;

/// Length of the longest id of a pair record; the longest UDID has 40 characters.
pub const MAX_RECORD_ID: usize = 64;

/// Asks the daemon for something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Request<'a> {
    /// Tell me of every phone that is here, comes or goes, from now on.
    Listen(Client<'a>),
    /// Make this socket the byte stream of a connection.
    Connect {
        /// The daemon's number for the phone.
        device_id: u32,
        /// The port, as the phone counts it. 0 stands for any number that is no port, too: no phone
        /// accepts it, and a missing phone is told before a bad port.
        port: u16,
    },
    /// Which phones are here?
    ListDevices,
    /// Which clients listen?
    ListListeners,
    /// What is the identity of this system?
    ReadBuid,
    /// What was saved for this phone?
    ReadPairRecord {
        /// A usable id: see [`is_record_id`].
        id: &'a str,
    },
    /// Keep this for this phone.
    SavePairRecord {
        /// A usable id: see [`is_record_id`].
        id: &'a str,
        /// A property list; whether it is one is for the codec to tell.
        data: &'a [u8],
        /// The phone whose listeners are told, if given.
        device_id: Option<u32>,
    },
    /// Forget what was saved for this phone.
    DeletePairRecord {
        /// A usable id: see [`is_record_id`].
        id: &'a str,
    },
    /// Nothing that can be carried out: answer with the fault's code and keep the socket.
    Invalid(Fault),
}

/// Describes a client as it does itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Client<'a> {
    /// Its program.
    pub prog_name: Option<&'a str>,
    /// Its bundle.
    pub bundle_id: Option<&'a str>,
    /// The version of its library, 0 if it did not tell.
    pub lib_version: u64,
}

/// Names what is wrong with a request. The client is at fault each time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Fault {
    /// The body is no XML property list of a dictionary within the limits.
    NotADictionary,
    /// The dictionary has no string `MessageType`.
    NoMessageType,
    /// Nobody knows this message, or it is an answer.
    UnknownMessage,
    /// Connect has no usable `DeviceID`, or its binary body is too short.
    NoDevice,
    /// Connect has no usable `PortNumber`.
    NoPort,
    /// A request about pair records has no `PairRecordID`, or one that is no file name of ours.
    RecordId,
    /// SavePairRecord has no `PairRecordData`, or it holds no property list of a dictionary.
    RecordData,
}

impl Fault {
    /// The number to answer with.
    pub fn code(self) -> ResultCode {
        match self {
            Self::NotADictionary | Self::NoMessageType | Self::UnknownMessage | Self::NoPort => {
                ResultCode::BAD_COMMAND
            }
            Self::NoDevice => ResultCode::BAD_DEVICE,
            Self::RecordId | Self::RecordData => ResultCode::INVALID,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotADictionary => "the body is no property list of a dictionary",
            Self::NoMessageType => "MessageType is missing or no string",
            Self::UnknownMessage => "the message is unknown",
            Self::NoDevice => "DeviceID is missing or no number",
            Self::NoPort => "PortNumber is missing or no number",
            Self::RecordId => "PairRecordID is missing or not made of letters, digits and hyphens",
            Self::RecordData => "PairRecordData is missing or no property list of a dictionary",
        })
    }
}

impl core::error::Error for Fault {}

/// Holds what the dictionary of a plist request says, as far as anybody cares. A codec fills in
/// the fields that are there with the right type, and [`Fields::request`] judges them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Fields<'a> {
    /// `MessageType`, a string.
    pub message_type: Option<&'a str>,
    /// `DeviceID`, an integer that fits.
    pub device_id: Option<u32>,
    /// `PortNumber`, an integer: the port with its two bytes swapped.
    pub port_number: Option<u64>,
    /// `PairRecordID`, a string.
    pub pair_record_id: Option<&'a str>,
    /// `PairRecordData`, decoded.
    pub pair_record_data: Option<&'a [u8]>,
    /// `ProgName`, a string.
    pub prog_name: Option<&'a str>,
    /// `BundleID`, a string.
    pub bundle_id: Option<&'a str>,
    /// `kLibUSBMuxVersion`, an integer.
    pub lib_version: Option<u64>,
}

impl<'a> Fields<'a> {
    /// Makes the request that these fields ask for.
    pub fn request(&self) -> Request<'a> {
        match self.parse() {
            Ok(request) => request,
            Err(fault) => Request::Invalid(fault),
        }
    }

    fn parse(&self) -> Result<Request<'a>, Fault> {
        Ok(match self.message_type.ok_or(Fault::NoMessageType)? {
            message::LISTEN => Request::Listen(Client {
                prog_name: self.prog_name,
                bundle_id: self.bundle_id,
                lib_version: self.lib_version.unwrap_or(0),
            }),
            message::CONNECT => Request::Connect {
                device_id: self.device_id.ok_or(Fault::NoDevice)?,
                port: self.port_number.map(swap_port).ok_or(Fault::NoPort)?,
            },
            message::LIST_DEVICES => Request::ListDevices,
            message::LIST_LISTENERS => Request::ListListeners,
            message::READ_BUID => Request::ReadBuid,
            message::READ_PAIR_RECORD => Request::ReadPairRecord { id: self.record_id()? },
            message::SAVE_PAIR_RECORD => Request::SavePairRecord {
                id: self.record_id()?,
                data: self.pair_record_data.ok_or(Fault::RecordData)?,
                device_id: self.device_id,
            },
            message::DELETE_PAIR_RECORD => Request::DeletePairRecord { id: self.record_id()? },
            _ => return Err(Fault::UnknownMessage),
        })
    }

    fn record_id(&self) -> Result<&'a str, Fault> {
        self.pair_record_id.filter(|id| is_record_id(id)).ok_or(Fault::RecordId)
    }
}

impl Request<'_> {
    /// Makes the request of a binary message. A Connect may be longer than its record.
    pub fn from_binary(kind: MessageKind, body: &[u8]) -> Self {
        match kind {
            MessageKind::Listen => Self::Listen(Client::default()),
            MessageKind::Connect => match body.first_chunk() {
                Some(record) => {
                    let connect = records::Connect::parse(record);
                    Self::Connect { device_id: connect.device_id, port: connect.port }
                }
                None => Self::Invalid(Fault::NoDevice),
            },
            _ => Self::Invalid(Fault::UnknownMessage),
        }
    }
}

/// Turns a `PortNumber` into the port it means, by swapping its two bytes (5632 is port 22); 0 for
/// a number that is no port.
pub fn swap_port(number: u64) -> u16 {
    u16::try_from(number).map_or(0, u16::swap_bytes)
}

/// Tells whether this is an id that a pair record may be kept under. Only letters, digits and
/// hyphens are let through, because the id becomes a file name (CVE-2025-66004), and the name of
/// the file with the system's own identity is not.
pub fn is_record_id(id: &str) -> bool {
    !id.is_empty()
        && id.len() <= MAX_RECORD_ID
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !id.eq_ignore_ascii_case("SystemConfiguration")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(message_type: &str) -> Fields<'_> {
        Fields { message_type: Some(message_type), ..Fields::default() }
    }

    fn code(fields: Fields<'_>) -> Option<u32> {
        match fields.request() {
            Request::Invalid(fault) => Some(fault.code().0),
            _ => None,
        }
    }

    #[test]
    fn every_message_has_its_request() {
        assert_eq!(fields("ListDevices").request(), Request::ListDevices);
        assert_eq!(fields("ListListeners").request(), Request::ListListeners);
        assert_eq!(fields("ReadBUID").request(), Request::ReadBuid);
        assert_eq!(fields("Listen").request(), Request::Listen(Client::default()));
        let listen = Fields {
            prog_name: Some("idevicesyslog"),
            bundle_id: Some("org.example"),
            lib_version: Some(3),
            ..fields("Listen")
        };
        let client = Client {
            prog_name: Some("idevicesyslog"),
            bundle_id: Some("org.example"),
            lib_version: 3,
        };
        assert_eq!(listen.request(), Request::Listen(client));

        let record = |name| Fields {
            pair_record_id: Some("00008030-001A2B3C4D5E6F70"),
            pair_record_data: Some(b"data"),
            device_id: Some(1),
            ..fields(name)
        };
        let id = "00008030-001A2B3C4D5E6F70";
        assert_eq!(record("ReadPairRecord").request(), Request::ReadPairRecord { id });
        assert_eq!(record("DeletePairRecord").request(), Request::DeletePairRecord { id });
        assert_eq!(
            record("SavePairRecord").request(),
            Request::SavePairRecord { id, data: b"data", device_id: Some(1) }
        );
    }

    #[test]
    fn connect_swaps_the_port() {
        let connect =
            Fields { device_id: Some(1), port_number: Some(5632), ..fields("Connect") }.request();
        assert_eq!(connect, Request::Connect { device_id: 1, port: 22 });
        assert_eq!(swap_port(32498), 62078);
        assert_eq!(swap_port(0xffff), 0xffff);
        assert_eq!(swap_port(0x1_0016), 0, "no port");
    }

    #[test]
    fn faults_answer_what_the_reference_daemon_answers() {
        assert_eq!(code(Fields::default()), Some(1));
        assert_eq!(code(fields("Frobnicate")), Some(1));
        assert_eq!(code(fields("Result")), Some(1));
        assert_eq!(code(fields("connect")), Some(1));
        assert_eq!(code(fields("Connect")), Some(2));
        assert_eq!(code(Fields { port_number: Some(5632), ..fields("Connect") }), Some(2));
        assert_eq!(code(Fields { device_id: Some(1), ..fields("Connect") }), Some(1));
        for name in ["ReadPairRecord", "SavePairRecord", "DeletePairRecord"] {
            assert_eq!(code(fields(name)), Some(22));
            let traversal = Fields { pair_record_id: Some("../x"), ..fields(name) };
            assert_eq!(code(traversal), Some(22));
        }
        let no_data = Fields { pair_record_id: Some("A"), ..fields("SavePairRecord") };
        assert_eq!(code(no_data), Some(22));
    }

    #[test]
    fn binary_bodies_become_requests() {
        use MessageKind::{Connect, Listen, Plist, Result, Unknown};
        let body = [0x63, 0, 0, 0, 0x00, 0x16, 0, 0, 0xaa];
        let connect = Request::Connect { device_id: 99, port: 22 };
        assert_eq!(Request::from_binary(Connect, &body[..8]), connect);
        assert_eq!(Request::from_binary(Connect, &body), connect);
        for length in 0..8 {
            assert_eq!(
                Request::from_binary(Connect, &body[..length]),
                Request::Invalid(Fault::NoDevice)
            );
        }
        assert_eq!(Request::from_binary(Listen, &[]), Request::Listen(Client::default()));
        for kind in [Result, Plist, Unknown(77)] {
            assert_eq!(Request::from_binary(kind, &[]), Request::Invalid(Fault::UnknownMessage));
        }
    }

    #[test]
    fn record_ids_are_file_names_only() {
        assert!(is_record_id("00008030-001A2B3C4D5E6F70"));
        assert!(is_record_id("abcdefABCDEF0123456789abcdefABCDEF012345"));
        assert!(is_record_id("a"));
        for bad in ["", ".", "..", "../x", "a/b", "a.plist", "a b", "a\0", "ä", "a\\b", "a_b"] {
            assert!(!is_record_id(bad), "{bad:?}");
        }
        assert!(!is_record_id("SystemConfiguration"));
        assert!(!is_record_id("systemconfiguration"));
        let long = [b'a'; 65];
        let long = core::str::from_utf8(&long).unwrap_or_default();
        assert!(is_record_id(&long[..64]));
        assert!(!is_record_id(long));
    }
}
