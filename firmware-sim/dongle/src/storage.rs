//! The memory of a dongle that depends on how many connections it serves.

use crate::net::Parts;
use crate::relay::Relay;
use crate::talk::{Listeners, Listening};
use core::mem::MaybeUninit;
use heapless::Vec;
use smoltcp::iface::SocketStorage;
use smoltcp::wire::DhcpOption;
use usbmux_core::Slot;

/// Payload buffers of one connection. There are no others.
#[derive(Debug)]
pub(crate) struct Buffers<const TO_ETHERNET: usize, const TO_PHONE: usize> {
    pub(crate) to_ethernet: [u8; TO_ETHERNET],
    pub(crate) to_phone: [u8; TO_PHONE],
}

/// The memory of a dongle that depends on how many connections it serves: for a static.
///
/// `TO_ETHERNET` bytes for each connection hold what the phone sent until the other machine has
/// acknowledged it, and are the window that the phone sees; `TO_PHONE` bytes the other way. Both
/// count in steps of 256.
///
/// ```
/// use usbmux_dongle::Storage;
/// // 4 connections, 4 KiB towards Ethernet and 2 KiB towards the phone each. An image has it in a
/// // `StaticCell`; whoever has an allocator may `Box::leak` one.
/// let storage: &'static mut Storage<'_, 4, 4096, 2048> = Box::leak(Box::new(Storage::new()));
/// ```
///
/// Before a [`Dongle`](crate::Dongle) is made in it, it is all zero: an image keeps it in memory that
/// is zeroed at the start, and no copy of it in its flash. So what does not begin with zeros is
/// written when the dongle is made.
#[derive(Debug)]
pub struct Storage<'a, const CONNECTIONS: usize, const TO_ETHERNET: usize, const TO_PHONE: usize> {
    buffers: [Buffers<TO_ETHERNET, TO_PHONE>; CONNECTIONS],
    sockets: Vec<SocketStorage<'a>, CONNECTIONS>,
    slots: Vec<Slot, CONNECTIONS>,
    relays: Vec<Relay, CONNECTIONS>,
    listeners: MaybeUninit<Listeners<[Listening; CONNECTIONS]>>,
    dhcp: MaybeUninit<[SocketStorage<'a>; 1]>,
    dhcp_options: MaybeUninit<[DhcpOption<'a>; 1]>,
}

/// What a dongle is made in: a [`Storage`] in use.
pub(crate) struct Places<'a, const TO_ETHERNET: usize, const TO_PHONE: usize> {
    pub(crate) net: Parts<'a, TO_ETHERNET, TO_PHONE>,
    pub(crate) slots: &'a mut [Slot],
    pub(crate) relays: &'a mut [Relay],
    pub(crate) listeners: &'a mut Listeners,
}

impl<'a, const CONNECTIONS: usize, const TO_ETHERNET: usize, const TO_PHONE: usize>
    Storage<'a, CONNECTIONS, TO_ETHERNET, TO_PHONE>
{
    /// Unused memory, all zero.
    pub const fn new() -> Self {
        const {
            assert!(CONNECTIONS >= 1, "a dongle serves at least one connection");
            assert!(TO_ETHERNET >= 1024 && TO_PHONE >= 256, "too little for one segment");
        }
        Storage {
            buffers: [const { Buffers { to_ethernet: [0; TO_ETHERNET], to_phone: [0; TO_PHONE] } };
                CONNECTIONS],
            sockets: Vec::new(),
            slots: Vec::new(),
            relays: Vec::new(),
            listeners: MaybeUninit::uninit(),
            dhcp: MaybeUninit::uninit(),
            dhcp_options: MaybeUninit::uninit(),
        }
    }

    /// Makes everything ready for a dongle that serves nothing yet.
    pub(crate) fn prepare(&'a mut self) -> Places<'a, TO_ETHERNET, TO_PHONE> {
        Places {
            net: Parts {
                buffers: &mut self.buffers,
                sockets: fill(&mut self.sockets, || SocketStorage::EMPTY),
                dhcp: self.dhcp.write([SocketStorage::EMPTY]),
                dhcp_options: self.dhcp_options.write([DhcpOption { kind: 12, data: &[] }]),
            },
            slots: fill(&mut self.slots, || Slot::EMPTY),
            relays: fill(&mut self.relays, || Relay::FREE),
            listeners: self.listeners.write(Listeners::new()),
        }
    }
}

/// Fills all places, one after the other: a whole array would stand on the stack first.
fn fill<T, const N: usize>(places: &mut Vec<T, N>, empty: impl Fn() -> T) -> &mut [T] {
    places.clear();
    // Bounded: there are N places.
    while places.push(empty()).is_ok() {}
    places
}

impl<const CONNECTIONS: usize, const TO_ETHERNET: usize, const TO_PHONE: usize> Default
    for Storage<'_, CONNECTIONS, TO_ETHERNET, TO_PHONE>
{
    fn default() -> Self {
        Self::new()
    }
}
