//! How much RAM a dongle takes, at compile time: a table, bounds on it, and three plans for boards.
//!
//! What is counted is what this crate keeps, and what a [`Board`] says that its drivers and its stack
//! take. Nothing else exists: there is no allocator. On a 64-bit computer the same table comes out
//! larger than on a microcontroller, since pointers do; the bounds hold on both.

use crate::dongle::{Dongle, PAGE_STACK};
use crate::link::Link;
use crate::records::{NoStore, RamStore};
use crate::relay::Relay;
use crate::storage::Storage;
use crate::talk::Listening;
use smoltcp::iface::SocketStorage;
use usbmux_core::Slot;

/// What a board's drivers and stack take, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Board {
    /// Buffers and descriptors of the USB host controller's driver.
    pub usb: u32,
    /// Buffers and descriptors of the Ethernet driver.
    pub ethernet: u32,
    /// The stack, with what interrupts need of it.
    pub stack: u32,
}

impl Board {
    /// A microcontroller with a full-speed FIFO controller (one packet each way), two Ethernet
    /// frames each way, and a stack as deep as was ever measured with a margin.
    pub const FIFO: Board =
        Board { usb: 2 * 64, ethernet: 4 * 1536, stack: STACK_HIGH_WATER + STACK_MARGIN };
}

/// The most stack that the dongle was ever seen to use, in bytes: by the image for the i.MX6UL (16
/// connections, defmt's log) while real clients use all of its services. `tests/dongle-qemu/run`
/// paints that stack, prints the figure, and fails if it is more than a plan's stack.
pub const STACK_HIGH_WATER: u32 = 3780;

/// What a plan's stack has beyond that, in bytes: a third more, for other code of another compiler,
/// for paths that the tests missed, and for interrupts, which that image does not take.
pub const STACK_MARGIN: u32 = 5 * 1024 - STACK_HIGH_WATER;

/// Rows of the table.
const ROWS: usize = 9;

/// The table: names, and bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    rows: [(&'static str, u32); ROWS],
}

impl Budget {
    /// The table of a dongle with this record store, which it has by reference, and this [`Storage`]
    /// on this board.
    ///
    /// ```
    /// use usbmux_dongle::budget::{Board, Budget};
    /// use usbmux_dongle::records::NoStore;
    ///
    /// const BUDGET: Budget = Budget::of::<NoStore, 4, 4096, 2048>(Board::FIFO);
    /// const _: () = assert!(BUDGET.total() < 52 * 1024);
    /// ```
    pub const fn of<
        R,
        const CONNECTIONS: usize,
        const TO_ETHERNET: usize,
        const TO_PHONE: usize,
    >(
        board: Board,
    ) -> Self {
        let storage = size_of::<Storage<'_, CONNECTIONS, TO_ETHERNET, TO_PHONE>>();
        let payload = CONNECTIONS * (TO_ETHERNET + TO_PHONE);
        let sockets = CONNECTIONS * size_of::<SocketStorage<'_>>();
        let slots = CONNECTIONS * size_of::<Slot>();
        let relays = CONNECTIONS * (size_of::<Relay>() + size_of::<Listening>());
        let rest = storage - payload - sockets - slots - relays;
        let link = size_of::<Link<'_>>();
        let others = size_of::<Dongle<'_, &mut R>>() - link;
        Budget {
            rows: [
                ("payload", payload as u32),
                ("TCP sockets", sockets as u32),
                ("conversations and pipes", relays as u32),
                ("engine's connections", slots as u32),
                ("USB link, descriptors", link as u32),
                ("interface, DHCP, counters", (others + rest) as u32),
                ("pair records", size_of::<R>() as u32),
                ("drivers' buffers", board.usb + board.ethernet),
                ("stack", board.stack),
            ],
        }
    }

    /// Names, and bytes.
    pub const fn rows(&self) -> &[(&'static str, u32)] {
        &self.rows
    }

    /// All of it, in bytes.
    pub const fn total(&self) -> u32 {
        let mut total = 0;
        let mut row = 0;
        while row < ROWS {
            total += self.rows[row].1;
            row += 1;
        }
        total
    }
}

/// What a board of a given size is given, and what it is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The board's RAM, in bytes.
    pub ram: u32,
    /// Connections at once.
    pub connections: usize,
    /// Forwards.
    pub forwards: usize,
    /// Whether there is a status page.
    pub has_page: bool,
    /// Phones whose pair records are kept.
    pub phones: usize,
    /// What it takes.
    pub budget: Budget,
    /// Services that are left out, and the bytes that each would cost.
    pub left_out: &'static [(&'static str, u32)],
}

/// A store for one phone's record of up to 10 KiB. There is no room for a second copy: a record that is
/// saved again is written in its own place (see [`RamStore`]).
pub type OneRecord = RamStore<1, 10_240>;

/// A store for two phones' records of up to 10 KiB, which may be saved again at any time.
pub type TwoRecords = RamStore<2, 30_720>;

/// The plans, the smallest board first: memory as the types beside it have it.
///
/// | board | [`Storage`] | record store |
/// |---|---|---|
/// | 32 KiB | `Storage<2, 4096, 2048>` | [`NoStore`] |
/// | 64 KiB | `Storage<4, 4096, 2048>` | [`OneRecord`] |
/// | 264 KiB | `Storage<16, 8192, 4096>` | [`TwoRecords`] |
pub const PLANS: [Plan; 3] = [
    Plan {
        ram: 32 * 1024,
        connections: 2,
        forwards: 1,
        has_page: false,
        phones: 0,
        // Without the page the stack is hardly less deep: it has been measured with everything on.
        budget: Budget::of::<NoStore, 2, 4096, 2048>(Board::FIFO),
        left_out: &[
            ("status page, of its own on the stack", PAGE_STACK),
            ("pair record of one phone", size_of::<OneRecord>() as u32),
        ],
    },
    Plan {
        ram: 64 * 1024,
        connections: 4,
        forwards: crate::MAX_FORWARDS,
        has_page: true,
        phones: 1,
        budget: Budget::of::<OneRecord, 4, 4096, 2048>(Board::FIFO),
        left_out: &[(
            "pair record of a second phone",
            (size_of::<TwoRecords>() - size_of::<OneRecord>()) as u32,
        )],
    },
    Plan {
        ram: 264 * 1024,
        connections: 16,
        forwards: crate::MAX_FORWARDS,
        has_page: true,
        phones: 2,
        budget: Budget::of::<TwoRecords, 16, 8192, 4096>(Board::FIFO),
        left_out: &[],
    },
];

// Every plan fits its board, and the usual one, with everything on, the figure of DESIGN §6.
const _: () = {
    let [small, usual, large] = PLANS;
    assert!(small.budget.total() <= small.ram);
    assert!(usual.budget.total() < 52 * 1024);
    assert!(large.budget.total() <= large.ram);
    assert!(STACK_MARGIN >= STACK_HIGH_WATER / 3);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_of_the_types_is_in_the_table() {
        let board = Board { usb: 1000, ethernet: 200, stack: 30 };
        let budget = Budget::of::<OneRecord, 4, 4096, 2048>(board);
        let types = size_of::<Storage<'_, 4, 4096, 2048>>()
            + size_of::<Dongle<'_, &mut OneRecord>>()
            + size_of::<OneRecord>();
        assert_eq!(budget.total() as usize, types + 1230);
        assert!(budget.rows().iter().all(|(_, bytes)| *bytes > 0));
    }

    #[test]
    fn what_is_left_out_would_not_fit() {
        let [small, usual, _] = PLANS;
        let record = size_of::<OneRecord>() as u32;
        assert!(small.budget.total() + record > small.ram);
        let second = size_of::<TwoRecords>() as u32 - record;
        assert!(usual.budget.total() + second > 52 * 1024);
    }
}
