//! Virtual phones in this process.
//!
//! Leaves out: everything a phone does, which is the crate `usbmux-phone`.

use smol::LocalExecutor;
use usbmux_phone::{Options, Plug};

use super::registry::{PhoneInfo, Registry};
use crate::pipe::SimulatedPipe;

/// The bus number that virtual phones pretend to be on; their number is the address.
const BUS: u32 = 1;

/// Plugs a virtual phone in; its own life runs on `executor`. Returns the device id.
pub fn plug_in(executor: &LocalExecutor<'static>, registry: &Registry, options: Options) -> u32 {
    let number = options.number;
    let (plug, life) = Plug::new(options);
    executor.spawn(life).detach();
    let info = PhoneInfo {
        serial: udid(plug.serial()),
        product_id: plug.product_id(),
        location_id: BUS << 16 | number & 0xffff,
        speed: plug.speed(),
    };
    registry.attach(info, Box::new(SimulatedPipe::new(plug)))
}

/// Turns a USB serial number into the UDID: new phones' 24 characters get a hyphen after the 8th
/// (PROTOCOL §1).
fn udid(serial: &str) -> String {
    match serial.split_at_checked(8) {
        Some((head, tail)) if serial.len() == 24 => format!("{head}-{tail}"),
        _ => serial.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_serial_of_24_characters_gets_the_hyphen() {
        let old = "0123456789012345678901234567890123456789";
        assert_eq!(udid(old), old);
        assert_eq!(udid("000080300000000000000001"), "00008030-0000000000000001");
        assert_eq!(udid("00008030000000000000001"), "00008030000000000000001");
        assert_eq!(udid(""), "");
    }
}
