//! The dongle as a bare-metal image: i.MX6UL, as `qemu-system-arm -M mcimx6ul-evk` plays it.
//!
//! The firmware is that of `usbmux-dongle`, unchanged; here stand its three seams: a USB host
//! controller ([`ehci`]), an Ethernet device ([`enet`]) and a clock ([`chip`]), and a super-loop that
//! sleeps until one of them has something new. Startup code, stacks and vectors come from aarch32-rt,
//! the log goes out as defmt through semihosting, to be decoded on the host.
//!
//! The caches and the memory management unit stay off, so that memory is the same for the processor
//! and for DMA. What QEMU does not play is left out: clocks, pins, PHYs, the port's power. So these
//! drivers' logic runs against an emulated EHCI and ENET; no more is proven.
#![no_std]
#![no_main]

mod chip;
mod ehci;
mod enet;
mod registers;

use aarch32_rt::entry;
use chip::Chip;
use core::panic::PanicInfo;
use defmt_semihosting as _;
use ehci::Ehci;
use enet::Enet;
use static_cell::ConstStaticCell;
use usbmux_dongle::budget::{Board, Budget, TwoRecords};
use usbmux_dongle::{Dongle, DongleConfig, Forward, Storage};

/// Connections at once, and their bytes each way: the plan for the largest board.
const CONNECTIONS: usize = 16;
const TO_ETHERNET: usize = 8192;
const TO_PHONE: usize = 4096;
static STORAGE: ConstStaticCell<Storage<'static, CONNECTIONS, TO_ETHERNET, TO_PHONE>> =
    ConstStaticCell::new(Storage::new());
static USB_MEMORY: ConstStaticCell<ehci::Memory> = ConstStaticCell::new(ehci::Memory::new());
static ETHERNET_MEMORY: ConstStaticCell<enet::Memory> = ConstStaticCell::new(enet::Memory::new());

defmt::timestamp!("{=u64:us}", chip::now().as_micros());

/// What the status page says of the memory; the stack is that of memory.x without the dongle and its
/// records, which live there.
const BUDGET: Budget = Budget::of::<TwoRecords, CONNECTIONS, TO_ETHERNET, TO_PHONE>(Board {
    usb: size_of::<ehci::Memory>() as u32,
    ethernet: size_of::<enet::Memory>() as u32,
    stack: 96 * 1024 - size_of::<Dongle<'_, TwoRecords>>() as u32,
});

/// Ports of the phone's that have a port of the dongle's: sshd's.
const FORWARDS: [Forward; 1] = [Forward { port: 2222, device_port: 22 }];

#[entry]
fn main() -> ! {
    // SAFETY: the one call, on the chip that this image is linked for.
    #[allow(unsafe_code)]
    let chip = unsafe { Chip::take() };
    let Chip { usb, ethernet, mut clock } = chip;
    let config =
        DongleConfig { forwards: &FORWARDS, memory: BUDGET.rows(), ..DongleConfig::DEFAULT };
    let mut usb = Ehci::new(usb, USB_MEMORY.take());
    let mut ethernet = Enet::new(ethernet, ETHERNET_MEMORY.take(), config.mac);
    let storage = STORAGE.take();
    let mut dongle = Dongle::new(chip::now(), &config, storage, TwoRecords::new(), &mut ethernet)
        .expect("the default configuration with one forward is sound");
    defmt::info!("the dongle is up");
    loop {
        // In this order: what happens behind an acknowledgement ends the sleep.
        usb.acknowledge();
        ethernet.acknowledge();
        let due = dongle.poll(chip::now(), &mut usb, &mut ethernet);
        clock.sleep(due.into_iter().chain(usb.due()).min());
    }
}

/// A bug: said, and the image ends.
#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    if let Some(place) = info.location() {
        defmt::error!("panicked at {=str}:{=u32}", place.file(), place.line());
    }
    semihosting::process::exit(1)
}
