//! Virtual phones in this process.
//!
//! Leaves out: everything a phone does, which is the crate `usbmux-phone`.

use smol::LocalExecutor;
use usbmux_phone::{Options, Plug};

use super::registry::{PhoneInfo, Registry};
use crate::pipe::SimulatedPipe;
use crate::usb::choose;

/// The bus number that virtual phones pretend to be on; their number is the address.
const BUS: u32 = 1;

/// Plugs a virtual phone in; its own life runs on `executor`. Returns the device id.
pub fn plug_in(executor: &LocalExecutor<'static>, registry: &Registry, options: Options) -> u32 {
    let number = options.number;
    let (plug, life) = Plug::new(options);
    executor.spawn(life).detach();
    let info = PhoneInfo {
        serial: choose::udid(plug.serial()).unwrap_or_default(),
        product_id: plug.product_id(),
        location_id: BUS << 16 | number & 0xffff,
        speed: plug.speed(),
    };
    registry.attach(info, Box::new(SimulatedPipe::new(plug)))
}
