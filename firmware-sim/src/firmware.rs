//! The firmware on boards with different amounts of RAM: one of the plans of
//! [`usbmux_dongle::budget`], with the memory that it says.

use crate::board::BoardOptions;
use crate::cable::CableEnd;
use usbmux_core::Instant;
use usbmux_dongle::budget::{OneRecord, PLANS, Plan, TwoRecords};
use usbmux_dongle::records::{NoStore, RecordStore};
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

/// The firmware with the record store of any plan.
pub type Firmware = Dongle<'static, &'static mut dyn RecordStore>;

/// Starts the firmware. Its memory is a static on a microcontroller, and is never given back here
/// either.
pub(crate) fn start(
    options: &BoardOptions,
    cable: &mut CableEnd<'_>,
) -> Result<Firmware, ConfigError> {
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
        RamPlan::Small => with_storage::<2, 4096, 2048>(&config, leak(NoStore), cable),
        RamPlan::Usual => with_storage::<4, 4096, 2048>(&config, leak(OneRecord::new()), cable),
        RamPlan::Large => with_storage::<16, 8192, 4096>(&config, leak(TwoRecords::new()), cable),
    }
}

fn leak<T>(value: T) -> &'static mut T {
    Box::leak(Box::new(value))
}

fn with_storage<const CONNECTIONS: usize, const TO_ETHERNET: usize, const TO_PHONE: usize>(
    config: &DongleConfig<'static>,
    records: &'static mut dyn RecordStore,
    cable: &mut CableEnd<'_>,
) -> Result<Firmware, ConfigError> {
    let storage = leak(Storage::<CONNECTIONS, TO_ETHERNET, TO_PHONE>::new());
    Dongle::new(Instant::ZERO, config, storage, records, cable)
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
