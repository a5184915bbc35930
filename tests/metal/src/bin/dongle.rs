//! The whole dongle for a microcontroller, without drivers: what its firmware takes beside core, and
//! how much of it is whose. The plan is that of a 64 KiB board.
//!
//! Unlike core, the dongle cannot do without a panic path: smoltcp indexes its buffers. So this image
//! links only where the panic handler's missing function is given an address.
#![no_std]
#![no_main]

use core::task::Poll;
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use static_cell::ConstStaticCell;
use usbmux_dongle::budget::OneRecord;
use usbmux_dongle::usb::{BulkEndpoint, HostController, Piece, Port, Setup, TransferError};
use usbmux_dongle::{Dongle, DongleConfig, Storage};
use usbmux_metal::any;

static STORAGE: ConstStaticCell<Storage<'static, 4, 4096, 2048>> =
    ConstStaticCell::new(Storage::new());
static RECORDS: ConstStaticCell<OneRecord> = ConstStaticCell::new(OneRecord::new());

// Where the linker starts. An entry must have its plain name; that alone makes it `unsafe`.
#[allow(unsafe_code)]
#[unsafe(no_mangle)]
extern "C" fn _start() -> ! {
    let (mut usb, mut ethernet) = (Usb, Ethernet);
    let (now, config) = (usbmux_metal::engine::now, any(DongleConfig::DEFAULT));
    let (storage, records) = (any(STORAGE.take()), any(RECORDS.take()));
    let dongle = Dongle::new(now(), &config, storage, records, &mut ethernet);
    let Ok(mut dongle) = dongle else { loop {} };
    loop {
        any(dongle.poll(now(), &mut usb, &mut ethernet));
    }
}

/// A controller that does anything.
struct Usb;

impl HostController for Usb {
    fn port(&mut self) -> Port {
        any(Port::Empty)
    }
    fn reset_port(&mut self) {}
    fn start_control(&mut self, address: u8, max_packet: u8, setup: Setup) {
        any((address, max_packet, setup));
    }
    fn poll_control(&mut self, data: &mut [u8]) -> Poll<Result<usize, TransferError>> {
        any(data);
        any(Poll::Pending)
    }
    fn open_bulk(&mut self, address: u8, input: BulkEndpoint, output: BulkEndpoint) {
        any((address, input, output));
    }
    fn request(&mut self) {}
    fn receive(&mut self) -> Poll<Result<Piece<'_>, TransferError>> {
        any(Poll::Pending)
    }
    fn space(&mut self) -> Option<&mut [u8]> {
        any(None)
    }
    fn send(&mut self, length: usize) {
        any(length);
    }
    fn poll_sent(&mut self) -> Poll<Result<(), TransferError>> {
        any(Poll::Pending)
    }
}

/// A device that receives and sends anything.
struct Ethernet;
struct Token;

impl Device for Ethernet {
    type RxToken<'a> = Token;
    type TxToken<'a> = Token;

    fn receive(&mut self, _: smoltcp::time::Instant) -> Option<(Token, Token)> {
        any(Some((Token, Token)))
    }
    fn transmit(&mut self, _: smoltcp::time::Instant) -> Option<Token> {
        any(Some(Token))
    }
    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 1514;
        capabilities
    }
}

impl RxToken for Token {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, use_frame: F) -> R {
        use_frame(any(&[]))
    }
}

impl TxToken for Token {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, _: usize, fill: F) -> R {
        fill(any(&mut []))
    }
}
