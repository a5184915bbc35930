//! Which phone is meant.

use usbmux_host::client::{Daemon, Phone};

use crate::failure::{Failure, Status};
use crate::phones;

/// How a daemon says that a phone is on its bus; one that is on the network too is listed twice.
pub(crate) const USB: &str = "USB";

/// The phone with this UDID, or the only one there is.
pub(crate) async fn phone(daemon: &Daemon, udid: Option<&str>) -> Result<Phone, Failure> {
    among(daemon.phones().await?, udid)
}

/// The phone with this UDID of those listed, or the only one listed.
pub(crate) fn among(phones: Vec<Phone>, udid: Option<&str>) -> Result<Phone, Failure> {
    one(distinct(phones), udid)
}

fn one(mut phones: Vec<Phone>, udid: Option<&str>) -> Result<Phone, Failure> {
    if let Some(udid) = udid {
        return phones.into_iter().find(|phone| phone.is_called(udid)).ok_or_else(|| {
            let line =
                format!("no phone {udid:?} is plugged in: see with umux list which ones are");
            Failure::new(Status::NoPhone, line)
        });
    }
    match phones.len() {
        0 => Err(Failure::new(Status::NoPhone, "no phone is plugged in: plug one in")),
        1 => Ok(phones.remove(0)),
        several => {
            let line = format!("{several} phones are plugged in: choose one with -u UDID");
            Err(Failure::usage(line).with_list(phones::lines(&phones)))
        }
    }
}

/// Each phone once, by its cable if it has one.
fn distinct(phones: Vec<Phone>) -> Vec<Phone> {
    let mut distinct: Vec<Phone> = Vec::new();
    for phone in phones {
        match distinct.iter_mut().find(|known| known.is_called(&phone.udid)) {
            Some(known) if phone.connection_type == USB => *known = phone,
            Some(_) => {}
            None => distinct.push(phone),
        }
    }
    distinct
}
