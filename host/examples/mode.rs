//! Asks a phone on USB in which mode it is, or has it switch to another.
//!
//! `cargo run -p usbmux-host --example mode` asks; with `-- 3` the phone leaves the bus and comes back
//! in mode 3. A daemon may be serving it. Not every phone answers: then it says why there is none.

use std::env;
use std::error::Error;

use nusb::{DeviceInfo, MaybeFuture};
use usbmux_host::usb::{choose, mode};

fn main() -> Result<(), Box<dyn Error>> {
    let is_phone = |device: &DeviceInfo| choose::is_phone(device.vendor_id(), device.product_id());
    let phone = nusb::list_devices().wait()?.find(is_phone).ok_or("plug a phone in")?;
    let phone = phone.open().wait()?;
    match env::args().nth(1) {
        None => println!("{}", mode::mode(&phone)?),
        Some(other) => mode::switch_mode(&phone, other.parse()?)?,
    }
    Ok(())
}
