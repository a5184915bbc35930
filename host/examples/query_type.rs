//! Asks a phone's lockdownd for its type, with no daemon between: the first thing that every
//! program says to a phone.
//!
//! `cargo run -p usbmux-host --example query_type` asks a virtual phone; with `-- --usb` the one on
//! this computer's USB, for which a running usbmuxd must be stopped.

use std::env;
use std::error::Error;
use std::io::Cursor;

use plist::{Dictionary, Value};
use smol::io::{AsyncReadExt, AsyncWriteExt};
use usbmux_host::client::DeviceStream;
use usbmux_host::client::lockdown::PORT;
use usbmux_host::direct::Bus;
use usbmux_phone::Options;

/// The longest answer we read; this one has some 300 bytes.
const LONGEST: u32 = 65_536;

fn main() -> Result<(), Box<dyn Error>> {
    let bus = match env::args().nth(1).as_deref() {
        None => Bus::simulated(vec![Options::new(1)]),
        Some("--usb") => Bus::usb(),
        Some(other) => return Err(format!("{other} is unknown: say --usb or nothing").into()),
    };
    smol::block_on(async {
        let phone = bus.open(None).await?;
        let answer = query_type(phone.connect(PORT).await?).await?;
        let kind = answer.get("Type").and_then(Value::as_string).ok_or("no type in the answer")?;
        println!("{} is a {kind}", phone.phone().udid);
        phone.close().await;
        Ok(())
    })
}

/// A message is an XML property list behind its length, a big-endian u32.
async fn query_type(mut stream: DeviceStream) -> Result<Dictionary, Box<dyn Error>> {
    let mut question = Dictionary::new();
    question.insert("Label".into(), "query_type".into());
    question.insert("Request".into(), "QueryType".into());
    let mut body = Vec::new();
    Value::Dictionary(question).to_writer_xml(&mut body)?;
    stream.write_all(&u32::try_from(body.len())?.to_be_bytes()).await?;
    stream.write_all(&body).await?;

    let mut length = [0; 4];
    stream.read_exact(&mut length).await?;
    let length = u32::from_be_bytes(length);
    if length > LONGEST {
        return Err(format!("an answer of {length} bytes makes no sense").into());
    }
    let mut body = vec![0; usize::try_from(length)?];
    stream.read_exact(&mut body).await?;
    Ok(plist::from_reader_xml(Cursor::new(body))?)
}
