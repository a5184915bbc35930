//! From transfers of a whole bus to those of the phones' mux endpoints: descriptors are read where the
//! capture has them, endpoints are recognised by their frames where it has not, and a completion finds
//! its submission. All other traffic is passed over.

use std::collections::HashMap;

use usbmux_core::descriptors::{self, MuxInterface, VENDOR_ID};

use super::model::{FoundBy, PhoneInfo, Side};
use super::scan;
use super::usbmon::{Event, Transfer, Urb};

/// Devices that are remembered; a bus has 127, and a file seldom more than one bus.
const MOST_DEVICES: usize = 1024;
/// Transfers in flight that are remembered; beyond, all are forgotten, and only their lengths with them.
const MOST_PENDING: usize = 65_536;
/// Configurations of one device that are kept, and bytes of each (USB 2.0 has at most 65535).
const MOST_CONFIGURATIONS: usize = 8;
/// What a phone at high speed has (PROTOCOL §1).
pub(super) const USUAL_PACKET: u16 = 512;

/// Standard requests and descriptor types (USB 2.0, tables 9-4 and 9-5).
const SET_ADDRESS: u8 = 5;
const GET_DESCRIPTOR: u8 = 6;
const GET_CONFIGURATION: u8 = 8;
const SET_CONFIGURATION: u8 = 9;
const DEVICE: u8 = 1;
const CONFIGURATION: u8 = 2;
const STRING: u8 = 3;

/// Where a message ends for the side that takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ends {
    /// Here.
    Yes,
    /// Not here.
    No,
    /// The capture does not tell.
    Untold,
}

/// What a packet of the capture means to a phone's session.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Happening<'p> {
    /// Bytes on a mux endpoint.
    Bytes(Chunk<'p>),
    /// A transfer to the phone is done: its submission was that many submissions to phones ago.
    OutDone { phone: u32, id: u64 },
    /// A transfer failed.
    Failed { phone: u32, from: Side, id: u64, status: i32, passed: usize },
}

/// A piece of what passes on a mux endpoint.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Chunk<'p> {
    pub(super) phone: u32,
    pub(super) from: Side,
    pub(super) id: u64,
    /// As many of its bytes as were captured.
    pub(super) bytes: &'p [u8],
    /// How many there were.
    pub(super) length: usize,
    pub(super) ends: Ends,
    pub(super) max_packet: usize,
}

#[derive(Debug, Default)]
struct Device {
    product: Option<(u16, u16)>,
    serial_index: u8,
    udid: Option<String>,
    configurations: Vec<Vec<u8>>,
    active: Option<u8>,
    /// Recognised by their frames: OUT and IN.
    recognised: [Option<u8>; 2],
    phone: Option<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Pending {
    setup: Option<[u8; 8]>,
    length: usize,
    /// The transfer to the phone that it is; none for all others.
    out_of: Option<u32>,
}

/// All devices of all buses in one file.
#[derive(Debug, Default)]
pub(super) struct Buses {
    devices: HashMap<(u16, u8), Device>,
    pending: HashMap<(u16, u64), Pending>,
    phones: u32,
}

impl Buses {
    /// How many devices were seen.
    pub(super) fn devices(&self) -> usize {
        self.devices.len()
    }

    /// What is known of a device.
    pub(super) fn info(&self, bus: u16, address: u8) -> Option<PhoneInfo> {
        let device = self.devices.get(&(bus, address))?;
        let mux = device.mux();
        let [out, r#in] = device.recognised;
        let max_packet = mux.map(|mux| mux.bulk_out.max_packet);
        Some(PhoneInfo {
            phone: device.phone?,
            place: Some((bus, address)),
            product: device.product,
            udid: device.udid.clone(),
            endpoints: match mux {
                Some(mux) => (Some(mux.bulk_out.address), Some(mux.bulk_in.address)),
                None => (out, r#in),
            },
            max_packet,
            found_by: if mux.is_some() { FoundBy::Descriptors } else { FoundBy::Frames },
        })
    }

    /// Takes one event of a transfer.
    pub(super) fn take<'p>(&mut self, urb: &Urb<'p>) -> Option<Happening<'p>> {
        let pending = match urb.event {
            Event::Submitted => None,
            Event::Completed | Event::Refused => self.pending.remove(&(urb.bus, urb.id)),
        };
        if urb.device != 0 && self.devices.len() < MOST_DEVICES {
            self.devices.entry((urb.bus, urb.device)).or_default();
        }
        let happening = match urb.transfer {
            Transfer::Control => {
                self.control(urb, pending);
                None
            }
            Transfer::Bulk => self.bulk(urb, pending),
            Transfer::Other => return None,
        };
        if urb.event == Event::Submitted {
            if self.pending.len() >= MOST_PENDING {
                self.pending.clear();
            }
            let out_of = match &happening {
                Some(Happening::Bytes(chunk)) => Some(chunk.phone),
                _ => None,
            };
            let entry = Pending { setup: urb.setup, length: urb.length, out_of };
            self.pending.insert((urb.bus, urb.id), entry);
        }
        happening
    }

    fn control(&mut self, urb: &Urb<'_>, pending: Option<Pending>) {
        let submitted = urb.event == Event::Submitted;
        let Some(setup) = urb.setup.or(pending.and_then(|pending| pending.setup)) else { return };
        let [kind, request, low, high, ..] = setup;
        if kind & 0x60 != 0 {
            return; // no standard request
        }
        if request == SET_ADDRESS && submitted {
            // Who had this address before is gone.
            self.devices.remove(&(urb.bus, low));
            return;
        }
        let Some(device) = self.devices.get_mut(&(urb.bus, urb.device)) else { return };
        match request {
            SET_CONFIGURATION if submitted => device.active = Some(low),
            GET_CONFIGURATION if !submitted && urb.status == 0 => {
                device.active = urb.data.first().copied().or(device.active);
            }
            GET_DESCRIPTOR if !submitted && urb.status == 0 => {
                device.descriptor(high, low, urb.data)
            }
            _ => {}
        }
    }

    fn bulk<'p>(&mut self, urb: &Urb<'p>, pending: Option<Pending>) -> Option<Happening<'p>> {
        let device = self.devices.get_mut(&(urb.bus, urb.device))?;
        if !device.is_mux(urb) {
            return None;
        }
        let phone = match device.phone {
            Some(phone) => phone,
            None => {
                self.phones += 1;
                *device.phone.insert(self.phones)
            }
        };
        let max_packet = device.mux().map_or(USUAL_PACKET, |mux| mux.bulk_out.max_packet).into();
        let chunk = |from, ends| Chunk {
            phone,
            from,
            id: urb.id,
            bytes: urb.data,
            length: urb.length,
            ends,
            max_packet,
        };
        let is_short = urb.length == 0 || !urb.length.is_multiple_of(max_packet);
        match (urb.is_in(), urb.event) {
            (false, Event::Submitted) => {
                let ends = match urb.zero_packet {
                    _ if is_short => Ends::Yes,
                    Some(true) => Ends::Yes,
                    Some(false) => Ends::No,
                    None => Ends::Untold,
                };
                Some(Happening::Bytes(chunk(Side::Host, ends)))
            }
            (false, _) => {
                let wanted = pending.filter(|it| it.out_of.is_some()).map(|it| it.length);
                let failed = urb.status != 0 || wanted.is_some_and(|wanted| urb.length < wanted);
                let (id, status, passed) = (urb.id, urb.status, urb.length);
                Some(match failed {
                    true => Happening::Failed { phone, from: Side::Host, id, status, passed },
                    false => Happening::OutDone { phone, id },
                })
            }
            (true, Event::Completed) if urb.length > 0 || urb.status == 0 => {
                let ends = match pending {
                    _ if is_short => Ends::Yes,
                    Some(pending) if urb.length < pending.length => Ends::Yes,
                    Some(_) => Ends::No,
                    None => Ends::Untold,
                };
                Some(Happening::Bytes(chunk(Side::Phone, ends)))
            }
            (true, Event::Submitted) => None,
            (true, _) => {
                let (id, status, passed) = (urb.id, urb.status, urb.length);
                Some(Happening::Failed { phone, from: Side::Phone, id, status, passed })
            }
        }
    }
}

impl Device {
    /// The mux interface of the active configuration; of the first one that has it, if nobody knows
    /// which is active.
    fn mux(&self) -> Option<MuxInterface> {
        let found = || self.configurations.iter().filter_map(|one| MuxInterface::find(one));
        match self.active {
            Some(active) => found().find(|mux| mux.configuration == active),
            None => found().next(),
        }
    }

    fn descriptor(&mut self, kind: u8, index: u8, bytes: &[u8]) {
        match kind {
            DEVICE => {
                if let [_, DEVICE, _, _, _, _, _, _, v0, v1, p0, p1, _, _, _, _, serial, ..] =
                    *bytes
                {
                    let numbers = (u16::from_le_bytes([v0, v1]), u16::from_le_bytes([p0, p1]));
                    self.product = Some(numbers);
                    self.serial_index = serial;
                }
            }
            CONFIGURATION => {
                // First its head alone is asked for, then all of it.
                let place =
                    self.configurations.iter().position(|known| known.get(5) == bytes.get(5));
                match place.and_then(|place| self.configurations.get_mut(place)) {
                    Some(known) if known.len() < bytes.len() => *known = bytes.to_vec(),
                    Some(_) => {}
                    None => self.configurations.push(bytes.to_vec()),
                }
                self.configurations.truncate(MOST_CONFIGURATIONS);
            }
            STRING if index != 0 && index == self.serial_index => {
                let units = bytes.get(2..).unwrap_or_default().chunks_exact(2);
                let units = units.map(|unit| u16::from_le_bytes([unit[0], unit[1]]));
                let serial: String = char::decode_utf16(units).map_while(Result::ok).collect();
                let udid: String = descriptors::udid(&serial).collect();
                self.udid = Some(udid).filter(|udid| !udid.is_empty()).or(self.udid.take());
            }
            _ => {}
        }
    }

    /// Whether a bulk transfer is one of a mux endpoint.
    fn is_mux(&mut self, urb: &Urb<'_>) -> bool {
        if self.product.is_some_and(|(vendor, _)| vendor != VENDOR_ID) {
            return false;
        }
        if let Some(mux) = self.mux() {
            return [mux.bulk_out.address, mux.bulk_in.address].contains(&urb.endpoint);
        }
        let place = &mut self.recognised[usize::from(urb.is_in())];
        if place.is_none() && scan::is_surely_a_frame(urb.data, urb.length) {
            *place = Some(urb.endpoint);
        }
        *place == Some(urb.endpoint)
    }
}
