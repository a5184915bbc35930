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
    let (info, pipe) = pipe(executor, options);
    registry.attach(info, Box::new(pipe))
}

/// Makes a virtual phone and the pipe to it; its own life runs on `executor`.
pub(crate) fn pipe(
    executor: &LocalExecutor<'static>,
    options: Options,
) -> (PhoneInfo, SimulatedPipe) {
    let number = options.number;
    let (plug, life) = Plug::new(options);
    executor.spawn(life).detach();
    (describe(&plug, number), SimulatedPipe::new(plug))
}

/// Tells what a virtual phone will be.
pub(crate) fn info(options: Options) -> PhoneInfo {
    let number = options.number;
    describe(&Plug::new(options).0, number)
}

fn describe(plug: &Plug, number: u32) -> PhoneInfo {
    PhoneInfo {
        serial: choose::udid(plug.serial()).unwrap_or_default(),
        product_id: plug.product_id(),
        location_id: BUS << 16 | number & 0xffff,
        speed: plug.speed(),
    }
}
