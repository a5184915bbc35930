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
mod stack;

use aarch32_rt::entry;
use chip::Chip;
use core::panic::PanicInfo;
use defmt_semihosting as _;
use ehci::Ehci;
use enet::Enet;
use stack::HighWater;
use static_cell::{ConstStaticCell, StaticCell};
use usbmux_dongle::budget::{Board, Budget, TwoRecords};
use usbmux_dongle::{Dongle, DongleConfig, Forward, Storage};

/// Connections at once, and their bytes each way: the plan for the largest board.
const CONNECTIONS: usize = 16;
const TO_ETHERNET: usize = 8192;
const TO_PHONE: usize = 4096;
static STORAGE: ConstStaticCell<Storage<'static, CONNECTIONS, TO_ETHERNET, TO_PHONE>> =
    ConstStaticCell::new(Storage::new());
static RECORDS: ConstStaticCell<TwoRecords> = ConstStaticCell::new(TwoRecords::new());
static DONGLE: StaticCell<Firmware> = StaticCell::new();
static USB_MEMORY: ConstStaticCell<ehci::Memory> = ConstStaticCell::new(ehci::Memory::new());
static ETHERNET_MEMORY: ConstStaticCell<enet::Memory> = ConstStaticCell::new(enet::Memory::new());

type Firmware = Dongle<'static, &'static mut TwoRecords>;

defmt::timestamp!("{=u64:us}", chip::now().as_micros());

/// What the linker keeps for the stack (memory.x).
const STACK: u32 = 8 * 1024;

/// What the status page says of the memory.
const BUDGET: Budget = Budget::of::<TwoRecords, CONNECTIONS, TO_ETHERNET, TO_PHONE>(Board {
    usb: size_of::<ehci::Memory>() as u32,
    ethernet: size_of::<enet::Memory>() as u32,
    stack: STACK,
});

/// Ports of the phone's that have a port of the dongle's: sshd's.
const FORWARDS: [Forward; 1] = [Forward { port: 2222, device_port: 22 }];

#[entry]
fn main() -> ! {
    let mut high_water = HighWater::paint();
    // SAFETY: the one call, on the chip that this image is linked for.
    #[allow(unsafe_code)]
    let chip = unsafe { Chip::take() };
    let Chip { usb, ethernet, mut clock } = chip;
    let mut usb = Ehci::new(usb, USB_MEMORY.take());
    let mac = DongleConfig::DEFAULT.mac;
    let mut ethernet = Enet::new(ethernet, ETHERNET_MEMORY.take(), mac);
    let dongle = start(&mut ethernet);
    high_water.tell(chip::now());
    defmt::info!("the dongle is up");
    loop {
        // In this order: what happens behind an acknowledgement ends the sleep.
        usb.acknowledge();
        ethernet.acknowledge();
        let now = chip::now();
        let due = dongle.poll(now, &mut usb, &mut ethernet);
        high_water.tell(now);
        clock.sleep(due.into_iter().chain(usb.due()).min());
    }
}

/// Makes the firmware in its statics. A function of its own, so that what it has on the stack
/// meanwhile is not there any more when the firmware runs.
#[inline(never)]
fn start(ethernet: &mut Enet) -> &'static mut Firmware {
    let config =
        DongleConfig { forwards: &FORWARDS, memory: BUDGET.rows(), ..DongleConfig::DEFAULT };
    let dongle = Dongle::new(chip::now(), &config, STORAGE.take(), RECORDS.take(), ethernet);
    DONGLE.init(dongle.expect("the default configuration with one forward is sound"))
}

/// A bug: said, and the image ends.
#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    if let Some(place) = info.location() {
        defmt::error!("panicked at {=str}:{=u32}", place.file(), place.line());
    }
    semihosting::process::exit(1)
}
