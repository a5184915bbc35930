//! The socket protocol from the client's side, written from PROTOCOL §5 alone: a second witness for the daemon.
//!
//! Blocking, one socket, every wait with a deadline. It understands nothing: it cuts replies out of the stream and
//! parses their plists, and the tests judge.

use plist::{Dictionary, Value};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// Longest wait for anything that a daemon on this machine must do.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Message numbers of the header.
pub const RESULT: u32 = 1;
/// Binary Connect.
pub const CONNECT: u32 = 2;
/// Binary Listen.
pub const LISTEN: u32 = 3;
/// Binary form of Attached.
pub const DEVICE_ADD: u32 = 4;
/// Binary form of Detached.
pub const DEVICE_REMOVE: u32 = 5;
/// Binary form of Paired.
pub const DEVICE_PAIRED: u32 = 6;
/// The body is a plist.
pub const PLIST: u32 = 8;

/// One message of the daemon.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// 0 binary, 1 plist.
    pub version: u32,
    /// What it is.
    pub message: u32,
    /// Echo of the request's tag, 0 in events.
    pub tag: u32,
    /// What follows the header.
    pub body: Body,
}

/// The body of a [`Message`].
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// A plist, parsed.
    Plist(Value),
    /// Anything else.
    Bytes(Vec<u8>),
}

impl Message {
    /// A plist answer with these keys.
    #[must_use]
    pub fn plist(tag: u32, value: Dictionary) -> Message {
        let body = Body::Plist(Value::Dictionary(value));
        Message { version: 1, message: PLIST, tag, body }
    }

    /// A Result in plist form.
    #[must_use]
    pub fn result(tag: u32, number: u32) -> Message {
        let mut value = Dictionary::new();
        value.insert("MessageType".into(), "Result".into());
        value.insert("Number".into(), u64::from(number).into());
        Message::plist(tag, value)
    }

    /// A Result in binary form.
    #[must_use]
    pub fn binary_result(tag: u32, number: u32) -> Message {
        let body = Body::Bytes(number.to_le_bytes().to_vec());
        Message { version: 0, message: RESULT, tag, body }
    }

    /// The dictionary of a plist body.
    ///
    /// # Panics
    ///
    /// When the body is none: the test has failed.
    #[must_use]
    #[allow(clippy::panic, reason = "a test helper")]
    pub fn dictionary(&self) -> &Dictionary {
        match &self.body {
            Body::Plist(Value::Dictionary(dictionary)) => dictionary,
            other => panic!("a plist dictionary was due: {other:?}"),
        }
    }

    /// The string under a key.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<&str> {
        self.dictionary().get(key).and_then(Value::as_string)
    }

    /// The number under a key.
    #[must_use]
    pub fn number(&self, key: &str) -> Option<u64> {
        self.dictionary().get(key).and_then(Value::as_unsigned_integer)
    }

    /// The messages that stand behind each other in recorded bytes.
    ///
    /// # Errors
    ///
    /// When they end in the middle of one.
    pub fn all(mut bytes: &[u8]) -> io::Result<Vec<Message>> {
        let mut messages = Vec::new();
        while !bytes.is_empty() {
            messages.push(Message::read(&mut bytes)?);
        }
        Ok(messages)
    }

    /// Reads one message.
    ///
    /// # Errors
    ///
    /// Those of the stream; `InvalidData` for a length below 16 or a plist that is none.
    pub fn read(from: &mut impl Read) -> io::Result<Message> {
        let mut header = [0; 16];
        from.read_exact(&mut header)?;
        let field = |at: usize| {
            u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        };
        let length = (field(0) as usize).checked_sub(16).ok_or(ErrorKind::InvalidData)?;
        let mut bytes = vec![0; length];
        from.read_exact(&mut bytes)?;
        let body = if field(8) == PLIST {
            let value = Value::from_reader_xml(io::Cursor::new(bytes))
                .map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
            Body::Plist(value)
        } else {
            Body::Bytes(bytes)
        };
        Ok(Message { version: field(4), message: field(8), tag: field(12), body })
    }
}

/// The bytes of a message: header and body.
#[must_use]
pub fn message_bytes(version: u32, message: u32, tag: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(16 + body.len()).unwrap_or(u32::MAX);
    let mut bytes = Vec::new();
    for field in [length, version, message, tag] {
        bytes.extend(field.to_le_bytes());
    }
    bytes.extend(body);
    bytes
}

/// The bytes of a plist request of this type with further keys.
///
/// # Panics
///
/// Never: every dictionary can be written as XML.
#[must_use]
#[allow(clippy::unwrap_used, reason = "a test helper")]
pub fn request(tag: u32, message_type: &str, keys: &[(&str, Value)]) -> Vec<u8> {
    let mut dictionary = Dictionary::new();
    dictionary.insert("MessageType".into(), message_type.into());
    dictionary.insert("ProgName".into(), "naive".into());
    for (key, value) in keys {
        dictionary.insert((*key).into(), value.clone());
    }
    let mut body = Vec::new();
    Value::Dictionary(dictionary).to_writer_xml(&mut body).unwrap();
    message_bytes(1, PLIST, tag, &body)
}

/// A connection to the daemon.
#[derive(Debug)]
pub struct Client {
    /// The socket itself.
    pub stream: UnixStream,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    ///
    /// Those of the socket.
    pub fn connect(path: &Path) -> io::Result<Client> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Client { stream })
    }

    /// Sends bytes.
    ///
    /// # Errors
    ///
    /// Those of the socket.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// The next message.
    ///
    /// # Errors
    ///
    /// Those of the socket, a missed deadline included.
    pub fn receive(&mut self) -> io::Result<Message> {
        Message::read(&mut self.stream)
    }

    /// Sends a plist request and returns its answer.
    ///
    /// # Errors
    ///
    /// Those of the socket.
    pub fn ask(
        &mut self,
        tag: u32,
        message_type: &str,
        keys: &[(&str, Value)],
    ) -> io::Result<Message> {
        self.send(&request(tag, message_type, keys))?;
        self.receive()
    }

    /// Asks for a port of a phone; the Result's number, 0 when the socket now is the connection.
    ///
    /// # Errors
    ///
    /// Those of the socket.
    pub fn connect_port(&mut self, device_id: u32, port: u16) -> io::Result<u64> {
        let swapped = u64::from(port.swap_bytes());
        let keys =
            [("DeviceID", u64::from(device_id).into()), ("PortNumber", Value::from(swapped))];
        let answer = self.ask(1, "Connect", &keys)?;
        answer.number("Number").ok_or_else(|| ErrorKind::InvalidData.into())
    }

    /// True when the daemon hangs up before it says anything more.
    ///
    /// # Errors
    ///
    /// Those of the socket, a missed deadline included; a reset counts as hung up.
    pub fn hung_up(&mut self) -> io::Result<bool> {
        match self.stream.read(&mut [0; 1]) {
            Ok(count) => Ok(count == 0),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// True when nothing lies unread in the socket and it is open, at this moment.
    ///
    /// # Errors
    ///
    /// Those of the socket.
    pub fn is_silent(&mut self) -> io::Result<bool> {
        self.stream.set_nonblocking(true)?;
        let silent = match self.stream.read(&mut [0; 1]) {
            Ok(_) => false,
            Err(error) if error.kind() == ErrorKind::WouldBlock => true,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
            Err(error) => return Err(error),
        };
        self.stream.set_nonblocking(false)?;
        Ok(silent)
    }
}
