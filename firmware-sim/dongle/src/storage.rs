//! The memory of a dongle that depends on how many connections it serves.

use crate::relay::Relay;
use crate::talk::{Listeners, Listening};
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
#[derive(Debug)]
pub struct Storage<'a, const CONNECTIONS: usize, const TO_ETHERNET: usize, const TO_PHONE: usize> {
    pub(crate) buffers: [Buffers<TO_ETHERNET, TO_PHONE>; CONNECTIONS],
    pub(crate) sockets: [SocketStorage<'a>; CONNECTIONS],
    pub(crate) slots: [Slot; CONNECTIONS],
    pub(crate) relays: [Relay; CONNECTIONS],
    pub(crate) listeners: Listeners<[Listening; CONNECTIONS]>,
    pub(crate) dhcp: [SocketStorage<'a>; 1],
    pub(crate) dhcp_options: [DhcpOption<'a>; 1],
}

impl<const CONNECTIONS: usize, const TO_ETHERNET: usize, const TO_PHONE: usize>
    Storage<'_, CONNECTIONS, TO_ETHERNET, TO_PHONE>
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
            sockets: [const { SocketStorage::EMPTY }; CONNECTIONS],
            slots: [const { Slot::EMPTY }; CONNECTIONS],
            relays: [const { Relay::FREE }; CONNECTIONS],
            listeners: Listeners::new(),
            dhcp: [SocketStorage::EMPTY],
            dhcp_options: [DhcpOption { kind: 12, data: &[] }],
        }
    }
}

impl<const CONNECTIONS: usize, const TO_ETHERNET: usize, const TO_PHONE: usize> Default
    for Storage<'_, CONNECTIONS, TO_ETHERNET, TO_PHONE>
{
    fn default() -> Self {
        Self::new()
    }
}
