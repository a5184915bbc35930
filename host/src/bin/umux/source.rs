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
    pub(crate) async fn connect(&self, port: u16) -> Result<DeviceStream, Failure> {
        Ok(match self {
            Held::Daemon(daemon, phone) => daemon.connect(phone.device_id, port).await?,
            Held::Direct(_, phone) => phone.connect(port).await?,
        })
    }

    /// Waits until the phone has what was written; a daemon sees to that by itself.
    pub(crate) async fn let_go(self) {
        if let Held::Direct(_, phone) = self {
            phone.close().await;
        }
    }
}
