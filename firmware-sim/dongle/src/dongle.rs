//! The super-loop: one bounded turn over USB, the engine and Ethernet.

use crate::config::{ConfigError, DongleConfig};
use crate::net::{Net, Parts};
use crate::records::RecordStore;
use crate::status::Counters;
use crate::storage::Storage;
use crate::usb::{HostController, Port};
use smoltcp::phy::Device;
use usbmux_core::{Instant, LinkState, Mux, Role, Slot, Stats};

/// The firmware of a dongle: a phone on USB, its ports on Ethernet.
///
/// ```
/// use usbmux_core::Instant;
/// use usbmux_dongle::records::NoStore;
/// use usbmux_dongle::usb::HostController;
/// use usbmux_dongle::{Dongle, DongleConfig, Storage};
///
/// /// The body of an image's `main`: `clock` reads the time, `sleep` waits for an interrupt.
/// fn run(
///     usb: &mut impl HostController,
///     ethernet: &mut impl smoltcp::phy::Device,
///     storage: &'static mut Storage<'static, 4, 4096, 2048>,
///     clock: impl Fn() -> Instant,
///     sleep: impl Fn(Option<Instant>),
/// ) -> ! {
///     let config = DongleConfig::default();
///     let mut dongle = Dongle::new(clock(), &config, storage, NoStore, ethernet).expect("a sound config");
///     loop {
///         let due = dongle.poll(clock(), usb, ethernet);
///         sleep(due); // not at all if `due` is past
///     }
/// }
/// ```
pub struct Dongle<'a, R> {
    mux: Mux<&'a mut [Slot]>,
    net: Net<'a>,
    records: R,
    counters: Counters,
}

impl<'a, R: RecordStore> Dongle<'a, R> {
    /// Makes a dongle in the given memory. The Ethernet device is the one that is polled later.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] says what to change.
    pub fn new<const CONNECTIONS: usize, const TO_ETHERNET: usize, const TO_PHONE: usize>(
        now: Instant,
        config: &DongleConfig<'a>,
        storage: &'a mut Storage<'a, CONNECTIONS, TO_ETHERNET, TO_PHONE>,
        records: R,
        ethernet: &mut impl Device,
    ) -> Result<Self, ConfigError> {
        config.check()?;
        let Storage { buffers, sockets, slots, dhcp, dhcp_options } = storage;
        let parts = Parts { buffers, sockets, dhcp, dhcp_options };
        Ok(Dongle {
            mux: Mux::new(Role::Host, config.engine, slots),
            net: Net::new(smoltcp_time(now), config, parts, ethernet),
            records,
            counters: Counters::default(),
        })
    }

    /// Does one turn: a bounded piece of the work that is due now.
    ///
    /// To be called whenever USB or Ethernet may have something new, and at the latest when the
    /// answer says; an answer that is not later than `now` means that there is more to do.
    pub fn poll(
        &mut self,
        now: Instant,
        usb: &mut impl HostController,
        ethernet: &mut impl Device,
    ) -> Option<Instant> {
        self.counters.turns = self.counters.turns.wrapping_add(1);
        if usb.port() == Port::Empty && self.mux.link() != LinkState::Down {
            self.mux.detach(now);
        }
        self.mux.tick(now);
        let net = self.net.poll(smoltcp_time(now), ethernet).map(engine_time);
        net.into_iter().chain(self.mux.next_tick()).min()
    }

    /// What it has counted.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// What the engine has counted.
    pub fn engine_stats(&self) -> &Stats {
        self.mux.stats()
    }

    /// The pair records.
    pub fn records(&mut self) -> &mut R {
        &mut self.records
    }

    /// Where the link to the phone stands.
    pub fn link(&self) -> LinkState {
        self.mux.link()
    }
}

fn smoltcp_time(now: Instant) -> smoltcp::time::Instant {
    smoltcp::time::Instant::from_micros(i64::try_from(now.as_micros()).unwrap_or(i64::MAX))
}

fn engine_time(at: smoltcp::time::Instant) -> Instant {
    Instant::from_micros(u64::try_from(at.total_micros()).unwrap_or(0))
}
