//! What a host is told about interfaces and endpoints, out of the descriptors of the active
//! configuration.

use super::wire::{Endpoint, TABLE};
use crate::control::ControlEndpoint;
use crate::descriptors::{self, kind};

/// bmAttributes of a control endpoint, and bMaxPacketSize0.
const CONTROL: Endpoint = Endpoint { kind: 0, interval: 0, interface: 0, max_packet: 64 };
/// bmAttributes of a bulk endpoint, and the bit of an address that stands for its direction.
const BULK: u8 = 2;
const IN: u8 = 0x80;
/// The packet size of a bulk IN endpoint. A QEMU that knows it asks for the next transfers before one
/// has ended, and its EHCI takes those requests back where that one was short: what the phone had
/// answered meanwhile would be lost. (The guest has the size from the descriptor.)
const NOT_TOLD: u16 = 0;

/// Number, class, subclass and protocol of each interface; and each endpoint in its place.
pub(super) struct Tables {
    pub(super) interfaces: Vec<[u8; 4]>,
    pub(super) endpoints: [Endpoint; TABLE],
}

impl Tables {
    /// Those of the configuration and the alternate settings that are active now.
    pub(super) fn of(control: &ControlEndpoint, max_packet: u16) -> Self {
        let mut tables = Tables { interfaces: Vec::new(), endpoints: [Endpoint::NONE; TABLE] };
        for address in [0x00, 0x80] {
            tables.set(address, CONTROL);
        }
        let descriptors = descriptors::configuration(control.configuration(), max_packet);
        let descriptors = descriptors.unwrap_or_default();
        let mut rest = descriptors.as_slice();
        // The interface that endpoints belong to, unless its alternate setting is not active.
        let mut interface = None;
        while let Some((descriptor, behind)) =
            rest.first().and_then(|length| rest.split_at_checked(usize::from(*length)))
        {
            rest = behind;
            match *descriptor {
                [_, kind::INTERFACE, number, alternate, _, class, subclass, protocol, _] => {
                    let active = control.alternate(number.into()) == Some(alternate);
                    interface = active.then_some(number);
                    if active {
                        tables.interfaces.push([number, class, subclass, protocol]);
                    }
                }
                [_, kind::ENDPOINT, address, attributes, low, high, interval, ..] => {
                    if let Some(interface) = interface {
                        let kind = attributes & 0x03;
                        let max_packet = match (kind, address & IN) {
                            (BULK, IN) => NOT_TOLD,
                            _ => u16::from_le_bytes([low, high]),
                        };
                        tables.set(address, Endpoint { kind, interval, interface, max_packet });
                    }
                }
                _ => {}
            }
        }
        tables
    }

    fn set(&mut self, address: u8, endpoint: Endpoint) {
        let at = usize::from((address & 0x80) >> 3 | address & 0x0f);
        if let Some(place) = self.endpoints.get_mut(at) {
            *place = endpoint;
        }
    }
}
