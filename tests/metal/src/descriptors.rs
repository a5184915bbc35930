//! A phone's descriptors, out of which a host finds the mux interface.

use crate::{any, sink};
use usbmux_core::descriptors::{Choice, MuxInterface, interfaces, is_phone, location_id, udid};

/// Every call, with a configuration of any bytes.
pub fn all() {
    let bytes = [0; 64];
    let configuration = any(bytes.as_slice());
    sink(is_phone(any(0), any(0)));
    sink(MuxInterface::find(configuration));
    let mut choice = Choice::new(any(0), any(4));
    any(&mut choice).consider(any(configuration));
    sink(choice.chosen());
    for interface in interfaces(any(configuration)) {
        sink(interface);
    }
    for character in udid(any("")) {
        sink(character);
    }
    sink(location_id(any(1), any(1)));
}
