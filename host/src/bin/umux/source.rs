//! Where the phones are: behind a daemon, or on a bus of this program's own (`--direct`).

use usbmux_host::client::{Daemon, DeviceStream, Phone};
use usbmux_host::direct::{Bus, OpenPhone};

use crate::choose;
use crate::failure::Failure;

/// Where the phones are.
pub(crate) enum Source {
    Daemon(Daemon),
    Bus(Bus),
}

/// The phone that is meant, as far as it has to be held to connect to it.
pub(crate) enum Held {
    Daemon(Daemon, Phone),
    Direct(Bus, OpenPhone),
}

impl Source {
    pub(crate) async fn phones(&self) -> Result<Vec<Phone>, Failure> {
        Ok(match self {
            Source::Daemon(daemon) => daemon.phones().await?,
            Source::Bus(bus) => bus.phones().await?,
        })
    }

    /// The phone with this UDID, or the only one there is.
    pub(crate) async fn hold(self, udid: Option<&str>) -> Result<Held, Failure> {
        let phone = choose::among(self.phones().await?, udid)?;
        Ok(match self {
            Source::Daemon(daemon) => Held::Daemon(daemon, phone),
            Source::Bus(bus) => {
                let open = bus.open(Some(&phone.udid)).await?;
                Held::Direct(bus, open)
            }
        })
    }
}

impl Held {
    /// Connects, with a word by which the reason of the end can be asked for.
    pub(crate) async fn connect(&self, port: u16, token: &str) -> Result<DeviceStream, Failure> {
        Ok(match self {
            Held::Daemon(daemon, phone) => {
                daemon.connect_with_token(phone.device_id, port, token).await?
            }
            Held::Direct(_, phone) => phone.connect(port).await?,
        })
    }

    /// Why a connection broke off; nothing if it ended in the ordinary way. A daemon that does not know,
    /// or is no more, leaves it at that.
    pub(crate) async fn end_reason(&self, token: &str) -> Option<String> {
        match self {
            Held::Daemon(daemon, _) => daemon.end_reason(token).await.ok().flatten(),
            Held::Direct(..) => None,
        }
    }

    /// Waits until the phone has what was written; a daemon sees to that by itself.
    pub(crate) async fn let_go(self) {
        if let Held::Direct(_, phone) = self {
            phone.close().await;
        }
    }
}
