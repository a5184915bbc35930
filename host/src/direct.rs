//! Phones without a daemon: open one, connect to its ports.
//!
//! A [`Bus`] is where phones are looked for: this machine's USB, or phones that are only played. An
//! [`OpenPhone`] is ours alone until it is let go; while a daemon serves a phone, it cannot be
//! opened here, and the error says so. Underneath is what the daemon serves phones with, one thread
//! for each phone, so a connection behaves as it does there: a slow reader slows nobody else, and
//! what was written is handed over even if the stream is dropped at once.
//!
//! | file | subject |
//! |---|---|
//! | `keeper` | the thread that runs a phone's link and connections |
//! | `error` | what can go wrong, with what to do about it |
//!
//! Leaves out: noticing phones that come (look at the list again), pair records, and sharing a
//! phone with other programs: that is what a daemon is for.
//!
#![cfg_attr(feature = "simulate", doc = "```")]
#![cfg_attr(not(feature = "simulate"), doc = "```ignore")]
//! use smol::io::{AsyncReadExt, AsyncWriteExt};
//! use usbmux_host::direct::Bus;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! smol::block_on(async {
//!     // Bus::usb() for a real one.
//!     let bus = Bus::simulated(vec![usbmux_phone::Options::new(1)]);
//!     let phone = bus.open(None).await?;
//!     let mut echo = phone.connect(7).await?;
//!     echo.write_all(b"hello").await?;
//!     let mut answer = [0; 5];
//!     echo.read_exact(&mut answer).await?;
//!     assert_eq!(&answer, b"hello");
//!     drop(echo);
//!     phone.close().await;
//!     Ok(())
//! })
//! # }
//! ```

mod error;
mod keeper;

use nusb::DeviceInfo;
#[cfg(feature = "simulate")]
use usbmux_phone::Options;
use usbmux_trace::file::Trace;

use crate::client::{DeviceStream, Phone};
use crate::usb;

pub use error::DirectError;
pub use keeper::CLOSE_TIME;

use keeper::{Keeper, PluggedIn};

/// A place where phones are.
#[derive(Clone, Debug)]
pub struct Bus {
    kind: Kind,
    trace: Option<Trace>,
}

#[derive(Clone, Debug)]
enum Kind {
    Usb,
    #[cfg(feature = "simulate")]
    Simulated(Vec<Options>),
}

/// A phone that is there and may be opened.
enum Found {
    Usb(Box<DeviceInfo>),
    #[cfg(feature = "simulate")]
    Simulated(Options),
}

impl Bus {
    /// This machine's USB.
    pub fn usb() -> Self {
        Self { kind: Kind::Usb, trace: None }
    }

    /// Virtual phones, each of which is plugged in when it is opened.
    #[cfg(feature = "simulate")]
    pub fn simulated(phones: Vec<Options>) -> Self {
        Self { kind: Kind::Simulated(phones), trace: None }
    }

    /// The same, and what passes between phones and this program is traced, of all that are opened
    /// from now on.
    pub fn traced(self, trace: Trace) -> Self {
        Self { trace: Some(trace), ..self }
    }

    /// Lists the phones that are there, those that others use included; nothing is opened for that,
    /// or only to ask for a serial number that the system does not know. Here `device_id` is the
    /// place in the list, from 1.
    ///
    /// # Errors
    /// USB cannot be seen, or there are phones and none can be told by its serial number.
    pub async fn phones(&self) -> Result<Vec<Phone>, DirectError> {
        Ok(self.look().await?.into_iter().map(|(phone, _)| phone).collect())
    }

    /// Opens the phone with this UDID, in any spelling, or the only one there is, and waits until
    /// it has answered the greeting.
    ///
    /// # Errors
    /// No phone or several are meant, somebody else has it, or it does not answer.
    pub async fn open(&self, udid: Option<&str>) -> Result<OpenPhone, DirectError> {
        let (phone, found) = choose(self.look().await?, udid)?;
        let trace = self.trace.clone();
        let keeper = match found {
            Found::Usb(device) => {
                let highest = usb::choose::USUAL_HIGHEST;
                let opened = smol::unblock(move || usb::open(&device, highest)).await;
                match opened {
                    Ok(opened) => {
                        let (info, pipe) = (opened.info, Box::new(opened.pipe));
                        Keeper::keep(PluggedIn::Usb(info, pipe), trace).await?
                    }
                    Err(error) => return Err(error::explain(error, &phone).await),
                }
            }
            #[cfg(feature = "simulate")]
            Found::Simulated(options) => Keeper::keep(PluggedIn::Simulated(options), trace).await?,
        };
        Ok(OpenPhone { phone, keeper })
    }

    async fn look(&self) -> Result<Vec<(Phone, Found)>, DirectError> {
        match &self.kind {
            Kind::Usb => look_at_usb().await,
            #[cfg(feature = "simulate")]
            Kind::Simulated(phones) => Ok((1..)
                .zip(phones)
                .map(|(place, options)| {
                    let info = crate::daemon::simulate::info(options.clone());
                    (Phone::on_usb(place, info), Found::Simulated(options.clone()))
                })
                .collect()),
        }
    }
}

async fn look_at_usb() -> Result<Vec<(Phone, Found)>, DirectError> {
    let devices = usb::list().await.map_err(DirectError::NoUsb)?;
    let identify = move || {
        devices.into_iter().map(|device| (usb::identify(&device), device)).collect::<Vec<_>>()
    };
    let mut phones = Vec::new();
    let mut unknown = None;
    for (info, device) in smol::unblock(identify).await {
        match info {
            Ok(info) => phones.push((info, Found::Usb(Box::new(device)))),
            Err(error) => unknown = Some(error),
        }
    }
    match unknown {
        Some(error) if phones.is_empty() => Err(DirectError::Open(error)),
        _ => Ok((1..)
            .zip(phones)
            .map(|(place, (info, found))| (Phone::on_usb(place, info), found))
            .collect()),
    }
}

/// Picks the phone that is meant.
fn choose<F>(mut found: Vec<(Phone, F)>, udid: Option<&str>) -> Result<(Phone, F), DirectError> {
    if let Some(udid) = udid {
        found.retain(|(phone, _)| phone.is_called(udid));
    }
    match found.pop() {
        None => Err(DirectError::NoPhone { udid: udid.map(str::to_owned) }),
        Some(only) if found.is_empty() => Ok(only),
        Some(last) => {
            found.push(last);
            Err(DirectError::Several(found.into_iter().map(|(phone, _)| phone).collect()))
        }
    }
}

/// A phone that is ours. When it is dropped, its connections live on until they end, and then the
/// phone is let go; to be sure that this has happened, [`close`](Self::close) it.
#[derive(Debug)]
pub struct OpenPhone {
    phone: Phone,
    keeper: Keeper,
}

impl OpenPhone {
    /// Returns what USB says of it.
    pub fn phone(&self) -> &Phone {
        &self.phone
    }

    /// Connects to a port.
    ///
    /// # Errors
    /// The phone refuses, or it is gone.
    pub async fn connect(&self, port: u16) -> Result<DeviceStream, DirectError> {
        self.keeper.connect(port).await
    }

    /// Waits until the phone is gone: it was unplugged, or answers no more.
    pub async fn gone(&self) {
        self.keeper.gone().await;
    }

    /// Ends all connections and lets the phone go. What was written to them before is handed over
    /// first, for at most [`CLOSE_TIME`]. Nothing can be connected to afterwards.
    pub async fn close(&self) {
        self.keeper.close().await;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)] // tests

    use super::*;
    use crate::usb::PhoneInfo;

    fn found(udids: &[&str]) -> Vec<(Phone, ())> {
        let info = |udid: &str| PhoneInfo {
            serial: udid.to_owned(),
            product_id: 0x12a8,
            location_id: 0x1_0002,
            speed: 480_000_000,
        };
        (1..).zip(udids).map(|(place, udid)| (Phone::on_usb(place, info(udid)), ())).collect()
    }

    #[test]
    fn phone_is_chosen_by_name_or_by_being_the_only_one() {
        let two = ["00008030-00000000000000AA", "00008030-00000000000000BB"];
        let chosen = |udids: &[&str], udid| choose(found(udids), udid).map(|found| found.0.udid);
        assert_eq!(chosen(&two[..1], None).unwrap(), two[0]);
        assert_eq!(chosen(&two, Some(two[0])).unwrap(), two[0]);
        assert_eq!(chosen(&two, Some("0000803000000000000000bb")).unwrap(), two[1]);
        let error = |udids: &[&str], udid| choose(found(udids), udid).unwrap_err();
        assert!(matches!(error(&[], None), DirectError::NoPhone { udid: None }));
        assert!(matches!(error(&two, Some("x")), DirectError::NoPhone { udid: Some(_) }));
        match error(&two, None) {
            DirectError::Several(phones) => {
                let udids: Vec<_> = phones.iter().map(|phone| phone.udid.as_str()).collect();
                assert_eq!(udids, two);
            }
            other => panic!("{other}"),
        }
    }
}
