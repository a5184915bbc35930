//! What a USB device says of itself: whether it is a phone, which of its configurations we want, and
//! where in it the mux interface is. Pure functions over its descriptors, for every host.
//!
//! Descriptors are read as the USB 2.0 specification, chapter 9, lays them out, and as if somebody
//! meant harm: whatever is cut short or contradicts itself is no mux interface. Leaves out: asking
//! a device for anything, and doing anything to it.

/// Apple's vendor number.
#[doc(alias = "idVendor")]
pub const VENDOR_ID: u16 = 0x05ac;

/// The highest configuration value that is chosen unless somebody asked for more: number 5 exists
/// in extended modes only, and in virtual machines it made phones reboot on unplug (PROTOCOL §1).
pub const USUAL_HIGHEST: u8 = 4;

/// Class, subclass and protocol of the mux interface: all three, since Apple's other interfaces
/// share some of them.
const MUX: [u8; 3] = [0xff, 0xfe, 0x02];

/// Descriptor types (USB 2.0, table 9-5).
const CONFIGURATION: u8 = 2;
const INTERFACE: u8 = 4;
const ENDPOINT: u8 = 5;

/// What wMaxPacketSize of a bulk endpoint may be (USB 2.0 §5.8.3, USB 3.2 §8.12.1).
const BULK_PACKETS: [u16; 6] = [8, 16, 32, 64, 512, 1024];

/// Tells whether a device is a phone, pad or pod, a T2, or Apple silicon in restore.
pub fn is_phone(vendor_id: u16, product_id: u16) -> bool {
    vendor_id == VENDOR_ID && matches!(product_id, 0x1290..=0x12af | 0x1901..=0x1905 | 0x8600)
}

/// A bulk endpoint of the mux interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct BulkEndpoint {
    /// Number and direction.
    #[doc(alias = "bEndpointAddress")]
    pub address: u8,
    /// Bytes of its largest packet.
    #[doc(alias = "wMaxPacketSize")]
    pub max_packet: u16,
}

/// The mux interface of one configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct MuxInterface {
    /// The configuration it belongs to.
    #[doc(alias = "bConfigurationValue")]
    pub configuration: u8,
    /// Its number there.
    #[doc(alias = "bInterfaceNumber")]
    pub number: u8,
    /// Where we write.
    pub bulk_out: BulkEndpoint,
    /// Where we read.
    pub bulk_in: BulkEndpoint,
}

impl MuxInterface {
    /// Finds the mux interface in a configuration descriptor and what follows it: the first one
    /// whose alternate setting 0 has exactly two endpoints, one bulk OUT and one bulk IN.
    pub fn find(configuration: &[u8]) -> Option<Self> {
        let (value, rest) = open(configuration)?;
        let mut candidate: Option<Candidate> = None;
        for descriptor in descriptors(rest) {
            match *descriptor {
                [_, INTERFACE, ..] => {
                    if let Some(found) = candidate.and_then(|mux| mux.complete(value)) {
                        return Some(found);
                    }
                    candidate = Candidate::new(descriptor);
                }
                [_, ENDPOINT, ..] => candidate = candidate.and_then(|mux| mux.with(descriptor)),
                _ => {}
            }
        }
        candidate?.complete(value)
    }
}

/// Chooses among a phone's configurations, which it is shown one after the other.
///
/// If the active one has the mux interface it is never left; else the one with the highest value up
/// to the given one that has it; else, since the phone is of no use without, the lowest one above.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Choice {
    active: u8,
    highest: u8,
    best: Option<MuxInterface>,
}

impl Choice {
    /// Begins with nothing to choose from. `active` is the value of the active configuration, 0 for
    /// none.
    pub const fn new(active: u8, highest: u8) -> Self {
        Self { active, highest, best: None }
    }

    /// Looks at one more configuration: its descriptor and what follows it.
    pub fn consider(&mut self, configuration: &[u8]) {
        let found = MuxInterface::find(configuration);
        // Of equals the first one stays.
        if let Some(found) = found
            && self.best.is_none_or(|best| self.rank(&found) > self.rank(&best))
        {
            self.best = Some(found);
        }
    }

    /// The best so far; none if no configuration has the mux interface.
    pub const fn chosen(&self) -> Option<MuxInterface> {
        self.best
    }

    fn rank(&self, mux: &MuxInterface) -> (u8, u8) {
        match mux.configuration {
            value if value == self.active => (2, 0),
            value if value <= self.highest => (1, value),
            value => (0, u8::MAX.saturating_sub(value)),
        }
    }
}

/// Lists the numbers of a configuration's interfaces, once for each alternate setting.
pub fn interfaces(configuration: &[u8]) -> impl Iterator<Item = u8> {
    let belongings = open(configuration).map_or(&[][..], |(_, rest)| rest);
    descriptors(belongings).filter_map(|descriptor| match *descriptor {
        [_, INTERFACE, number, ..] => Some(number),
        _ => None,
    })
}

/// Turns a USB serial number into the UDID, as characters: padding goes away, and new phones' 24
/// characters get a hyphen after the 8th (PROTOCOL §1).
pub fn udid(serial: &str) -> impl Iterator<Item = char> {
    let padding = |c: char| c.is_control() || c.is_whitespace();
    let printed = || serial.trim_matches(padding).chars().filter(|c| !c.is_control());
    let head = if printed().count() == 24 { 8 } else { usize::MAX };
    let hyphen = (head == 8).then_some('-');
    printed().take(head).chain(hyphen).chain(printed().skip(head))
}

/// Returns the LocationID that clients are told: bus << 16 | address.
pub fn location_id(bus: u8, address: u8) -> u32 {
    u32::from(bus) << 16 | u32::from(address)
}

/// Reads a configuration descriptor's header: bConfigurationValue, and what belongs to it. A
/// length beyond the end is cut down: what is there may still be whole.
fn open(configuration: &[u8]) -> Option<(u8, &[u8])> {
    match *configuration {
        [length, CONFIGURATION, low, high, _, value, ..] if length >= 9 && value > 0 => {
            let total = usize::from(u16::from_le_bytes([low, high])).min(configuration.len());
            Some((value, configuration.get(usize::from(length)..total)?))
        }
        _ => None,
    }
}

/// Walks descriptors by their bLength, up to the first that cannot be one or is cut short.
fn descriptors(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    core::iter::from_fn(move || {
        let length = usize::from(*bytes.first()?);
        let (descriptor, rest) = bytes.split_at_checked(length)?;
        bytes = rest;
        (length >= 2).then_some(descriptor)
    })
}

/// A mux interface whose endpoints are being read.
#[derive(Clone, Copy)]
struct Candidate {
    number: u8,
    bulk_out: Option<BulkEndpoint>,
    bulk_in: Option<BulkEndpoint>,
}

impl Candidate {
    /// Reads an interface descriptor; `None` if it is not of a mux interface.
    fn new(interface: &[u8]) -> Option<Self> {
        match *interface {
            // Alternate setting 0, which is the one in force, with two endpoints.
            [_, INTERFACE, number, 0, 2, class, subclass, protocol, _, ..]
                if [class, subclass, protocol] == MUX =>
            {
                Some(Self { number, bulk_out: None, bulk_in: None })
            }
            _ => None,
        }
    }

    /// Adds an endpoint; `None` if a mux interface does not have such a one, or has it already.
    fn with(mut self, endpoint: &[u8]) -> Option<Self> {
        let [_, ENDPOINT, address, attributes, low, high, _, ..] = *endpoint else {
            return None;
        };
        // Bits 0 and 1 are the transfer type, 2 is bulk. Bits 10 to 0 are the packet's size.
        let max_packet = u16::from_le_bytes([low, high]) & 0x07ff;
        if attributes & 0x03 != 2 || !BULK_PACKETS.contains(&max_packet) {
            return None;
        }
        // Bit 7 is the direction, bits 3 to 0 the number; the others are zero, and endpoint 0 is
        // never bulk.
        let place = match address {
            0x01..=0x0f => &mut self.bulk_out,
            0x81..=0x8f => &mut self.bulk_in,
            _ => return None,
        };
        place.replace(BulkEndpoint { address, max_packet }).is_none().then_some(self)
    }

    fn complete(self, configuration: u8) -> Option<MuxInterface> {
        let Self { number, bulk_out, bulk_in } = self;
        Some(MuxInterface { configuration, number, bulk_out: bulk_out?, bulk_in: bulk_in? })
    }
}

#[cfg(test)]
mod tests;
