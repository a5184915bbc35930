//! Prints what is plugged in and pulled out, until the daemon ends.
//!
//! `cargo run -p usbmux-host --example watch`, with a usbmuxd running; `USBMUXD_SOCKET_ADDRESS`
//! says where if it is not at the usual place.

use std::error::Error;

use smol::stream::StreamExt;
use usbmux_host::address::Address;
use usbmux_host::client::{Daemon, Event};

fn main() -> Result<(), Box<dyn Error>> {
    smol::block_on(async {
        let daemon = Daemon::new(Address::from_environment()?);
        // The phones that are there already come first.
        let mut events = daemon.listen().await?;
        while let Some(event) = events.next().await {
            match event? {
                Event::Attached(phone) => println!("{} came: {}", phone.device_id, phone.udid),
                Event::Detached(id) => println!("{id} went"),
                other => println!("{other:?}"),
            }
        }
        Ok(())
    })
}
