//! The firmware on boards with different amounts of RAM: one of the plans of
//! [`usbmux_dongle::budget`], with the memory that it says.

use crate::board::BoardOptions;
use crate::cable::CableEnd;
use usbmux_core::Instant;
use usbmux_dongle::budget::{OneRecord, PLANS, Plan, TwoRecords};
use usbmux_dongle::records::{Draft, NoStore, Record, RecordStore, StoreError};
use usbmux_dongle::{ConfigError, Dongle, DongleConfig, PAGE_PORT, Storage};

/// One of the three plans.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RamPlan {
    /// 32 KiB.
    Small,
    /// 64 KiB.
    #[default]
    Usual,
    /// 264 KiB.
    Large,
}

impl RamPlan {
    /// All of them, the smallest first.
    pub const ALL: [RamPlan; 3] = [RamPlan::Small, RamPlan::Usual, RamPlan::Large];

    /// The largest that fits into so many bytes; none if not even the smallest does.
    pub fn for_ram(bytes: u64) -> Option<RamPlan> {
        let fits = |plan: &RamPlan| u64::from(plan.plan().budget.total()) <= bytes;
        RamPlan::ALL.into_iter().rev().find(fits)
    }

    /// What it has, and what it takes.
    pub fn plan(self) -> &'static Plan {
        &PLANS[self as usize]
    }
}

/// Starts the firmware. Its memory is a static on a microcontroller, and is never given back here
/// either.
pub(crate) fn start(
    options: &BoardOptions,
    cable: &mut CableEnd<'_>,
) -> Result<Dongle<'static, Records>, ConfigError> {
    let plan = options.plan.plan();
    let config = DongleConfig {
        forwards: Box::leak(options.forwards.clone().into_boxed_slice()),
        page_port: plan.has_page.then_some(PAGE_PORT),
        seed: options.seed,
        engine: options.engine,
        memory: plan.budget.rows(),
        ..DongleConfig::DEFAULT
    };
    match options.plan {
        RamPlan::Small => with_storage::<2, 4096, 2048>(&config, Records::None(NoStore), cable),
        RamPlan::Usual => {
            with_storage::<4, 4096, 2048>(&config, Records::One(Box::new(OneRecord::new())), cable)
        }
        RamPlan::Large => with_storage::<16, 8192, 4096>(
            &config,
            Records::Two(Box::new(TwoRecords::new())),
            cable,
        ),
    }
}

fn with_storage<const CONNECTIONS: usize, const TO_ETHERNET: usize, const TO_PHONE: usize>(
    config: &DongleConfig<'static>,
    records: Records,
    cable: &mut CableEnd<'_>,
) -> Result<Dongle<'static, Records>, ConfigError> {
    let storage: &'static mut Storage<'_, CONNECTIONS, TO_ETHERNET, TO_PHONE> =
        Box::leak(Box::new(Storage::new()));
    Dongle::new(Instant::ZERO, config, storage, records, cable)
}

/// The record store of a plan.
#[derive(Debug)]
pub enum Records {
    /// Keeps nothing.
    None(NoStore),
    /// For one phone.
    One(Box<OneRecord>),
    /// For two phones.
    Two(Box<TwoRecords>),
}

impl Records {
    fn store(&self) -> &dyn RecordStore {
        match self {
            Records::None(store) => store,
            Records::One(store) => &**store,
            Records::Two(store) => &**store,
        }
    }

    fn store_mut(&mut self) -> &mut dyn RecordStore {
        match self {
            Records::None(store) => store,
            Records::One(store) => &mut **store,
            Records::Two(store) => &mut **store,
        }
    }
}

impl RecordStore for Records {
    fn begin(&mut self) -> Result<Draft, StoreError> {
        self.store_mut().begin()
    }

    fn append(&mut self, draft: Draft, bytes: &[u8]) -> Result<(), StoreError> {
        self.store_mut().append(draft, bytes)
    }

    fn read_draft(&self, draft: Draft, offset: usize, to: &mut [u8]) -> usize {
        self.store().read_draft(draft, offset, to)
    }

    fn commit(&mut self, draft: Draft, id: &str) -> Result<(), StoreError> {
        self.store_mut().commit(draft, id)
    }

    fn abandon(&mut self, draft: Draft) {
        self.store_mut().abandon(draft);
    }

    fn find(&self, id: &str) -> Option<Record> {
        self.store().find(id)
    }

    fn read(&self, record: Record, offset: usize, to: &mut [u8]) -> usize {
        self.store().read(record, offset, to)
    }

    fn delete(&mut self, id: &str) -> Result<(), StoreError> {
        self.store_mut().delete(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_plan_that_fits_is_taken() {
        let total = |plan: RamPlan| u64::from(plan.plan().budget.total());
        assert_eq!(RamPlan::for_ram(total(RamPlan::Small) - 1), None);
        assert_eq!(RamPlan::for_ram(total(RamPlan::Small)), Some(RamPlan::Small));
        assert_eq!(RamPlan::for_ram(total(RamPlan::Usual) - 1), Some(RamPlan::Small));
        assert_eq!(RamPlan::for_ram(64 * 1024), Some(RamPlan::Usual));
        assert_eq!(RamPlan::for_ram(264 * 1024), Some(RamPlan::Large));
    }
}
