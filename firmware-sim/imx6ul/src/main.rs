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

static USB_MEMORY: ConstStaticCell<ehci::Memory> = ConstStaticCell::new(ehci::Memory::new());
static ETHERNET_MEMORY: ConstStaticCell<enet::Memory> = ConstStaticCell::new(enet::Memory::new());

defmt::timestamp!("{=u64:us}", chip::now().as_micros());

#[entry]
fn main() -> ! {
    // SAFETY: the one call, on the chip that this image is linked for.
    #[allow(unsafe_code)]
    let chip = unsafe { Chip::take() };
    let Chip { usb, ethernet, mut clock } = chip;
    let mut usb = Ehci::new(usb, USB_MEMORY.take());
    let mut ethernet = Enet::new(ethernet, ETHERNET_MEMORY.take(), [2, 0x75, 0x73, 0x62, 0, 1]);
    defmt::info!("up");
    probe(&mut usb, &mut ethernet, &mut clock)
}

fn probe(usb: &mut Ehci, ethernet: &mut Enet, clock: &mut chip::Clock) -> ! {
    use core::task::Poll;
    use smoltcp::phy::{Device, RxToken};
    use usbmux_dongle::usb::{HostController, Port, Setup};
    let mut last = None;
    let mut asked = false;
    let mut buffer = [0; 256];
    loop {
        usb.acknowledge();
        ethernet.acknowledge();
        let port = usb.port();
        if last != Some(port) {
            defmt::info!("port {}", match port { Port::Empty => "empty", Port::Attached => "attached", Port::Resetting => "resetting", Port::Enabled(_) => "enabled" });
            last = Some(port);
        }
        match port {
            Port::Attached => usb.reset_port(),
            Port::Enabled(_) if !asked => {
                asked = true;
                usb.start_control(0, 64, Setup { request_type: 0x80, request: 6, value: 0x100, index: 0, length: 18 });
            }
            Port::Empty => asked = false,
            _ => {}
        }
        if let Poll::Ready(result) = usb.poll_control(&mut buffer) {
            match result {
                Ok(n) => defmt::info!("descriptor {=[u8]:02x}", &buffer[..n]),
                Err(_) => defmt::info!("failed"),
            }
        }
        if let Some((frame, _)) = ethernet.receive(smoltcp::time::Instant::ZERO) {
            frame.consume(|bytes| defmt::info!("frame {}", bytes.len()));
        }
        clock.sleep(usb.due());
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
