//! A client of any usbmuxd: this project's, the reference daemon, or what stands in for one.
//!
//! It speaks the plist form of the socket protocol (PROTOCOL §5), one socket for each operation,
//! because a socket that listens or connects takes no further command. A connection to a port of a
//! phone comes back as a [`DeviceStream`], which is a byte stream like any other.
//!
//! What comes from the daemon is not trusted: lengths, nesting and time are bounded, and an answer
//! must carry the tag of its question. The binary form is left out: every daemon of the last ten
//! years understands plists. So is pairing itself; records are read and stored only.
//!
//! ```no_run
//! use smol::io::{AsyncReadExt, AsyncWriteExt};
//! use usbmux_host::{address::Address, client::Daemon};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! smol::block_on(async {
//!     let daemon = Daemon::new(Address::from_environment()?);
//!     let phone = daemon.phones().await?.pop().ok_or("plug a phone in")?;
//!     let mut echo = daemon.connect(phone.device_id, 7).await?;
//!     echo.write_all(b"hello").await?;
//!     let mut answer = [0; 5];
//!     echo.read_exact(&mut answer).await?;
//!     assert_eq!(&answer, b"hello");
//!     Ok(())
//! })
//! # }
//! ```

mod error;
mod events;
pub mod lockdown;
mod message;
mod phone;
mod socket;
mod stream;

use std::future::Future;
use std::time::Duration;

use plist::{Dictionary, Value};
use usbmux_core::session::names::{self, key};
use uuid::Uuid;

use crate::address::Address;

pub use error::{ClientError, Garbled};
pub use events::{Event, Events};
pub use message::{MAX_DEPTH, MAX_REPLY, MAX_REQUEST};
pub use phone::{Listener, Phone};
pub use stream::DeviceStream;

use message::Reply;
use socket::Socket;

/// How long an answer may take by default. A daemon gives a phone 5 seconds to accept a
/// connection, the reference daemon more; whoever is silent for longer than this is stuck.
pub const REPLY_TIMEOUT: Duration = Duration::from_secs(15);

/// The answer to a question in the words of the daemon, before an operation gives it a meaning.
mod result {
    use usbmux_core::session::ResultCode;

    pub(super) const OK: u32 = ResultCode::OK.0;
    pub(super) const BAD_COMMAND: u32 = ResultCode::BAD_COMMAND.0;
    pub(super) const BAD_DEVICE: u32 = ResultCode::BAD_DEVICE.0;
    pub(super) const REFUSED: u32 = ResultCode::REFUSED.0;
    pub(super) const BAD_VERSION: u32 = ResultCode::BAD_VERSION.0;
    /// Pair records answer with errno values.
    pub(super) const ENOENT: u32 = ResultCode::NO_RECORD.0;
    pub(super) const EINVAL: u32 = ResultCode::INVALID.0;
}

/// A daemon by its address. Nothing is opened before the first operation, and nothing stays open
/// between two of them.
#[derive(Debug, Clone)]
pub struct Daemon {
    address: Address,
    program: String,
    reply_timeout: Duration,
}

impl Daemon {
    /// A daemon at this address, asked under the name `usbmux`.
    pub fn new(address: Address) -> Self {
        Daemon { address, program: "usbmux".to_owned(), reply_timeout: REPLY_TIMEOUT }
    }

    /// The same daemon, asked under this name: other programs see it in the list of listeners.
    #[must_use]
    pub fn program(mut self, name: &str) -> Self {
        name.clone_into(&mut self.program);
        self
    }

    /// The same daemon with another limit than [`REPLY_TIMEOUT`] on each question and answer.
    #[must_use]
    pub fn reply_timeout(mut self, timeout: Duration) -> Self {
        self.reply_timeout = timeout;
        self
    }

    /// Where this daemon is expected.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The phones that are plugged in now (ListDevices).
    ///
    /// # Errors
    /// Any [`ClientError`] of reaching and understanding the daemon.
    pub async fn phones(&self) -> Result<Vec<Phone>, ClientError> {
        let reply = self.ask("ListDevices", Vec::new()).await?;
        let list = array(&dictionary(reply, general)?, "DeviceList")?;
        list.iter().map(|entry| Phone::from_attached(entry.as_dictionary())).collect()
    }

    /// The programs that listen for phones on this daemon (ListListeners).
    ///
    /// # Errors
    /// Any [`ClientError`] of reaching and understanding the daemon.
    pub async fn listeners(&self) -> Result<Vec<Listener>, ClientError> {
        let reply = self.ask("ListListeners", Vec::new()).await?;
        let list = array(&dictionary(reply, general)?, "ListenerList")?;
        list.iter().map(|entry| Listener::from_entry(entry.as_dictionary())).collect()
    }

    /// The identity under which this computer pairs with phones (ReadBUID).
    ///
    /// # Errors
    /// Any [`ClientError`] of reaching and understanding the daemon.
    pub async fn buid(&self) -> Result<String, ClientError> {
        let reply = self.ask("ReadBUID", Vec::new()).await?;
        let buid = dictionary(reply, general)?;
        let buid = buid.get("BUID").and_then(Value::as_string);
        Ok(buid.ok_or(Garbled::Missing("BUID"))?.to_owned())
    }

    /// Everything that happens to phones from now on (Listen). The phones that are present come
    /// first, as [`Event::Attached`].
    ///
    /// # Errors
    /// Any [`ClientError`] of reaching and understanding the daemon.
    pub async fn listen(&self) -> Result<Events, ClientError> {
        let (reply, socket) = self.question("Listen", Vec::new()).await?;
        done(reply, general)?;
        Ok(Events::new(socket))
    }

    /// A connection to `port` of the phone that the daemon calls `device_id` (Connect).
    ///
    /// With it goes a random word by which umuxd will tell [why the connection
    /// ended](DeviceStream::end_reason); other daemons ignore it.
    ///
    /// # Errors
    /// [`ClientError::NoSuchPhone`] when the phone was unplugged meanwhile,
    /// [`ClientError::Refused`] when nothing listens on the port, and those of reaching and
    /// understanding the daemon.
    pub async fn connect(&self, device_id: u32, port: u16) -> Result<DeviceStream, ClientError> {
        let token = Uuid::new_v4().to_string();
        let arguments = vec![
            ("DeviceID", Value::from(device_id)),
            // Every client on a PC sends its network-order port as if it were in the PC's order.
            ("PortNumber", Value::from(port.swap_bytes())),
            (key::END_TOKEN, Value::from(token.as_str())),
        ];
        let (reply, socket) = self.question("Connect", arguments).await?;
        done(reply, |number| match number {
            result::BAD_DEVICE => ClientError::NoSuchPhone,
            result::REFUSED => ClientError::Refused { port },
            other => general(other),
        })?;
        Ok(socket.into_stream().connected(self.clone(), token))
    }

    /// Why the connection that was made with this token ended; nothing if it ended in the ordinary
    /// way or the daemon does not know.
    async fn end_reason(&self, token: &str) -> Result<Option<String>, ClientError> {
        let arguments = vec![(key::END_TOKEN, Value::from(token))];
        match self.ask(names::message::READ_END_REASON, arguments).await? {
            Reply::Result(_) => Ok(None),
            Reply::Dictionary(reply) => {
                let reason = reply.get(key::END_REASON).and_then(Value::as_string);
                Ok(Some(reason.ok_or(Garbled::Missing(key::END_REASON))?.to_owned()))
            }
        }
    }

    /// The pair record of a phone, as it was stored (ReadPairRecord).
    ///
    /// # Errors
    /// [`ClientError::NoRecord`], [`ClientError::BadRecord`] when `udid` cannot name a record, and
    /// those of reaching and understanding the daemon.
    pub async fn read_pair_record(&self, udid: &str) -> Result<Vec<u8>, ClientError> {
        let arguments = vec![("PairRecordID", Value::from(udid))];
        let reply = self.ask("ReadPairRecord", arguments).await?;
        let mut reply = dictionary(reply, record)?;
        match reply.remove("PairRecordData") {
            Some(Value::Data(data)) => Ok(data),
            _ => Err(Garbled::Missing("PairRecordData").into()),
        }
    }

    /// Stores a pair record: a property list of a dictionary (SavePairRecord). With the
    /// `device_id` of a plugged-in phone every listener hears that it is paired.
    ///
    /// # Errors
    /// [`ClientError::BadRecord`] when the daemon takes the id or the data for no record,
    /// [`ClientError::TooLarge`], and those of reaching and understanding the daemon.
    pub async fn save_pair_record(
        &self,
        udid: &str,
        data: Vec<u8>,
        device_id: Option<u32>,
    ) -> Result<(), ClientError> {
        let mut arguments =
            vec![("PairRecordID", Value::from(udid)), ("PairRecordData", Value::Data(data))];
        if let Some(device_id) = device_id {
            arguments.push(("DeviceID", Value::from(device_id)));
        }
        done(self.ask("SavePairRecord", arguments).await?, record)
    }

    /// Removes the pair record of a phone (DeletePairRecord).
    ///
    /// # Errors
    /// [`ClientError::NoRecord`], [`ClientError::BadRecord`] when `udid` cannot name a record, and
    /// those of reaching and understanding the daemon.
    pub async fn delete_pair_record(&self, udid: &str) -> Result<(), ClientError> {
        let arguments = vec![("PairRecordID", Value::from(udid))];
        done(self.ask("DeletePairRecord", arguments).await?, record)
    }

    async fn ask(
        &self,
        message_type: &str,
        arguments: Vec<(&str, Value)>,
    ) -> Result<Reply, ClientError> {
        Ok(self.question(message_type, arguments).await?.0)
    }

    /// Opens a socket, asks one question, and returns the answer with the socket.
    async fn question(
        &self,
        message_type: &str,
        arguments: Vec<(&str, Value)>,
    ) -> Result<(Reply, Socket), ClientError> {
        let request = message::request(&self.program, message_type, arguments)?;
        within(self.reply_timeout, async {
            let mut socket = Socket::open(&self.address).await?;
            let reply = socket.ask(request).await?;
            Ok((reply, socket))
        })
        .await
    }
}

/// Gives up with [`ClientError::Silent`] when `work` takes longer than `limit`.
async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, ClientError> {
    let alarm = async {
        smol::Timer::after(limit).await;
        Err(ClientError::Silent { after: limit })
    };
    smol::future::or(work, alarm).await
}

/// What a number other than 0 means where no operation says more.
fn general(number: u32) -> ClientError {
    match number {
        result::BAD_COMMAND => ClientError::Unsupported,
        result::BAD_VERSION => ClientError::Version,
        number => ClientError::Failed { number },
    }
}

/// What a number other than 0 means for a pair record.
fn record(number: u32) -> ClientError {
    match number {
        result::ENOENT => ClientError::NoRecord,
        result::EINVAL => ClientError::BadRecord,
        other => general(other),
    }
}

/// The answer of an operation that returns nothing.
fn done(reply: Reply, meaning: impl Fn(u32) -> ClientError) -> Result<(), ClientError> {
    match reply {
        Reply::Result(result::OK) => Ok(()),
        Reply::Result(number) => Err(meaning(number)),
        Reply::Dictionary(_) => Err(Garbled::Missing("Number").into()),
    }
}

/// The answer of an operation that returns a dictionary.
fn dictionary(
    reply: Reply,
    meaning: impl Fn(u32) -> ClientError,
) -> Result<Dictionary, ClientError> {
    match reply {
        Reply::Dictionary(dictionary) => Ok(dictionary),
        Reply::Result(result::OK) => Err(Garbled::EmptyResult.into()),
        Reply::Result(number) => Err(meaning(number)),
    }
}

fn array(reply: &Dictionary, key: &'static str) -> Result<Vec<Value>, ClientError> {
    Ok(reply.get(key).and_then(Value::as_array).ok_or(Garbled::Missing(key))?.clone())
}
