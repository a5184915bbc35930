//! The virtual phone as a command line describes it.

use clap::Args;
use std::net::SocketAddr;
use std::str::FromStr;
use usbmux_phone::{Options, Quirk};

/// What is special about the phone.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "The phone")]
pub(crate) struct PhoneArgs {
    /// Let a port of the phone lead to a TCP address of this machine (repeatable)
    #[arg(long, value_name = "PORT=ADDR:PORT")]
    phone_port: Vec<PhonePort>,
    /// Make the phone misbehave (repeatable)
    #[arg(long, value_name = "NAME")]
    phone_quirk: Vec<Quirk>,
}

impl PhoneArgs {
    /// What phone 1 is made from.
    pub(crate) fn options(&self) -> Options {
        let mut options = Options::new(1);
        options.mapped = self.phone_port.iter().map(|port| (port.port, port.address)).collect();
        options.quirks = self.phone_quirk.iter().copied().collect();
        options
    }
}

/// A port of the phone that leads to this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PhonePort {
    port: u16,
    address: SocketAddr,
}

impl FromStr for PhonePort {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = text.split_once('=').and_then(|(port, address)| {
            let port = port.parse().ok().filter(|port| *port > 0)?;
            Some(PhonePort { port, address: address.parse().ok()? })
        });
        parsed.ok_or("write PORT=ADDRESS:PORT, such as 22=127.0.0.1:22")
    }
}
