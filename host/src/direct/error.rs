//! What can go wrong with a phone that is used without a daemon, each with what to do about it.

use std::fmt;
use std::io;
use std::time::Duration;

use crate::address::Address;
use crate::client::{Daemon, Phone};
use crate::usb::OpenError;

/// How long a daemon may take to say whether it has a phone.
const DAEMON_PATIENCE: Duration = Duration::from_secs(1);

/// A failed operation. It prints as one line that says what to do next.
#[derive(Debug)]
#[non_exhaustive]
pub enum DirectError {
    /// The system shows no USB to this program.
    NoUsb(nusb::Error),
    /// No such phone is plugged in.
    NoPhone {
        /// The UDID that was asked for, if one was.
        udid: Option<String>,
    },
    /// There are several phones, and none was chosen.
    Several(Vec<Phone>),
    /// The phone could not be opened.
    Open(OpenError),
    /// A daemon serves the phone.
    TakenByDaemon {
        /// Where the daemon listens.
        address: Address,
    },
    /// The phone does not answer the greeting, not even after a reset of its port.
    NoAnswer,
    /// The phone is gone.
    Unplugged,
    /// Nothing on the phone listens on this port.
    Refused {
        /// The port that was asked for.
        port: u16,
    },
    /// The system has no thread or no file descriptor left.
    System(io::Error),
}

impl fmt::Display for DirectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoUsb(error) => {
                write!(f, "no USB here ({error}): run this on the machine with the phone")
            }
            Self::NoPhone { udid: None } => f.write_str("no phone is plugged in: plug one in"),
            Self::NoPhone { udid: Some(udid) } => {
                write!(f, "no phone {udid:?} is plugged in: see in the list which ones are")
            }
            Self::Several(phones) => {
                write!(f, "{} phones are plugged in: choose one by its UDID", phones.len())
            }
            Self::Open(error) => write!(f, "cannot open the phone: {error}"),
            Self::TakenByDaemon { address } => write!(
                f,
                "the daemon at {address} has the phone: connect through it, or stop it first \
                 (systemctl stop usbmuxd)"
            ),
            Self::NoAnswer => f.write_str("the phone does not answer: replug it"),
            Self::Unplugged => f.write_str("the phone is gone: plug it in again"),
            Self::Refused { port } => {
                write!(
                    f,
                    "the phone refused port {port}, or did not answer: check that something on it listens there"
                )
            }
            Self::System(error) => {
                write!(f, "the system refuses ({error}): close other programs or connections")
            }
        }
    }
}

impl std::error::Error for DirectError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NoUsb(error) => Some(error),
            Self::Open(error) => Some(error),
            Self::System(error) => Some(error),
            _ => None,
        }
    }
}

/// Looks for the reason why a phone could not be opened: when it is busy, most often the daemon
/// that clients use has it.
pub(super) async fn explain(error: OpenError, phone: &Phone) -> DirectError {
    match Address::from_environment() {
        Ok(address) if matches!(error, OpenError::Busy) && has(&address, phone).await => {
            DirectError::TakenByDaemon { address }
        }
        _ => DirectError::Open(error),
    }
}

/// Whether the daemon at this address, if there is one, serves the phone.
async fn has(address: &Address, phone: &Phone) -> bool {
    let daemon = Daemon::new(address.clone()).reply_timeout(DAEMON_PATIENCE);
    let phones = daemon.phones().await.unwrap_or_default();
    phones.iter().any(|known| known.is_called(&phone.udid))
}

#[cfg(all(test, feature = "simulate"))]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)] // tests

    use std::future::pending;

    use smol::future::or;
    use usbmux_phone::Options;

    use super::*;
    use crate::daemon::listen::Listener;
    use crate::daemon::records::Records;
    use crate::daemon::registry::Limits;
    use crate::daemon::{self, simulate};
    use crate::direct::Bus;

    #[test]
    fn daemon_that_serves_the_phone_is_found_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("usbmuxd");
        let mut daemon =
            daemon::Daemon::new(Limits::default(), Records::new(folder.path())).unwrap();
        daemon.listen(Listener::unix(&path, 0o600).unwrap());
        simulate::plug_in(daemon.executor(), daemon.registry(), Options::new(1));
        let test = async {
            let bus = Bus::simulated(vec![Options::new(1), Options::new(2)]);
            let phones = bus.phones().await.unwrap();
            let address = Address::Unix(path);
            // The daemon shows its phone when the greeting is over.
            while !has(&address, &phones[0]).await {}
            assert!(!has(&address, &phones[1]).await);
            let nowhere = Address::Unix(folder.path().join("nothing"));
            assert!(!has(&nowhere, &phones[0]).await);
        };
        smol::block_on(or(daemon.run(pending()), test));
    }

    #[test]
    fn errors_are_one_line_that_says_what_to_do() {
        let address = Address::Unix("/run/x".into());
        for (error, advice) in [
            (DirectError::NoPhone { udid: None }, "plug one in"),
            (DirectError::Several(Vec::new()), "choose one"),
            (DirectError::Open(OpenError::Busy), "stop the other usbmuxd"),
            (DirectError::TakenByDaemon { address }, "UNIX:/run/x has the phone: connect through"),
            (DirectError::NoAnswer, "replug it"),
            (DirectError::Unplugged, "plug it in again"),
            (DirectError::Refused { port: 22 }, "did not answer: check that"),
            (DirectError::System(io::ErrorKind::OutOfMemory.into()), "close other"),
        ] {
            let text = error.to_string();
            assert!(text.contains(advice) && !text.contains('\n'), "{text}");
        }
    }
}
