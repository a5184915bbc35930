//! The one question to a phone's lockdownd that needs no pairing: its values.
//!
//! Messages are XML property lists behind their length in **big-endian** order (PROTOCOL §6).
//! Sessions, pairing and services are left out.

use std::time::Duration;

use plist::{Dictionary, Value};
use smol::io::{AsyncReadExt, AsyncWriteExt};

use super::error::{ClientError, Garbled};
use super::message::{MAX_REPLY, dictionary};
use super::stream::DeviceStream;
use super::within;

/// The port on which lockdownd listens on every phone.
pub const PORT: u16 = 62078;

/// Asks for all values that the phone tells a stranger.
///
/// # Errors
/// [`ClientError::Lockdown`] when the phone answers with an error, [`ClientError::Silent`] when it
/// does not answer within `timeout`, and those of a lost connection or of an answer that makes no
/// sense.
pub async fn values(
    mut stream: DeviceStream,
    label: &str,
    timeout: Duration,
) -> Result<Dictionary, ClientError> {
    within(timeout, async {
        stream.write_all(&question(label)).await.map_err(ClientError::Lost)?;
        read(&answer(&mut stream).await?)
    })
    .await
}

fn question(label: &str) -> Vec<u8> {
    let mut question = Dictionary::new();
    question.insert("Label".into(), label.into());
    question.insert("Request".into(), "GetValue".into());
    let mut body = Vec::new();
    Value::Dictionary(question)
        .to_writer_xml(&mut body)
        .expect("a dictionary of texts is a property list, and memory takes it");
    let length = u32::try_from(body.len()).expect("two short texts");
    [length.to_be_bytes().as_slice(), &body].concat()
}

async fn answer(stream: &mut DeviceStream) -> Result<Vec<u8>, ClientError> {
    let mut prefix = [0; 4];
    stream.read_exact(&mut prefix).await.map_err(ended)?;
    let length = u32::from_be_bytes(prefix);
    let wanted = usize::try_from(length).ok().filter(|&length| length <= MAX_REPLY);
    let wanted = wanted.ok_or(Garbled::Length(length))?;
    // Read as it arrives: the length alone must not make us allocate.
    let mut body = Vec::new();
    stream.take(u64::from(length)).read_to_end(&mut body).await.map_err(ended)?;
    if body.len() < wanted {
        return Err(ClientError::HungUp);
    }
    Ok(body)
}

fn ended(cause: std::io::Error) -> ClientError {
    match cause.kind() {
        std::io::ErrorKind::UnexpectedEof => ClientError::HungUp,
        _ => ClientError::Lost(cause),
    }
}

fn read(body: &[u8]) -> Result<Dictionary, ClientError> {
    let mut answer = dictionary(body)?;
    if let Some(error) = answer.get("Error").and_then(Value::as_string) {
        return Err(ClientError::Lockdown(error.to_owned()));
    }
    if answer.get("Request").and_then(Value::as_string) != Some("GetValue") {
        return Err(Garbled::Missing("Request").into());
    }
    match answer.remove("Value") {
        Some(Value::Dictionary(values)) => Ok(values),
        _ => Err(Garbled::Missing("Value").into()),
    }
}
