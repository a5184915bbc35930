//! Virtual phones in this process, and the hand that plugs them in.
//!
//! Leaves out: everything a phone does, which is the crate `usbmux-phone`.

use std::rc::Rc;
use std::time::Duration;

use smol::{LocalExecutor, Timer};
use usbmux_phone::{Options, Plug, Quirk};

use super::link::LinkEnd;
use super::registry::{PhoneInfo, Registry};
use crate::pipe::SimulatedPipe;
use crate::usb::choose;

/// The bus number that virtual phones pretend to be on; their number is the address.
const BUS: u32 = 1;

/// Plugs a virtual phone in, and again whenever its cable was pulled, if it is one of those; its own
/// life runs on `executor`. Returns the device id, which is another one each time.
pub fn plug_in(
    executor: &Rc<LocalExecutor<'static>>,
    registry: &Registry,
    options: Options,
) -> u32 {
    let (info, pipe) = pipe(executor, options.clone());
    let (hand, its_registry) = (Rc::clone(executor), registry.clone());
    registry.attach_until(info, Box::new(pipe), move |end| {
        let Some(after) = replug_after(&options).filter(|_| end == LinkEnd::Unplugged) else {
            return;
        };
        let executor = Rc::clone(&hand);
        let again = async move {
            Timer::after(after).await;
            plug_in(&hand, &its_registry, options);
        };
        executor.spawn(again).detach();
    })
}

fn replug_after(options: &Options) -> Option<Duration> {
    options.quirks.iter().rev().find_map(|quirk| match quirk {
        Quirk::Replug { after } => Some(*after),
        _ => None,
    })
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
