//! The seam to a USB host controller with one root port and one device on it.
//!
//! It is polled: nothing blocks, nothing calls back. What embassy-usb-host, cotton-usb-host and a
//! bare driver for EHCI, DWC2 or a FIFO controller have in common fits behind it: one control
//! transfer, one bulk IN and one bulk OUT at a time.
//!
//! Nothing is implicit. A zero-length packet is sent if, and only if, [`HostController::send`] is
//! called with 0 bytes; a packet shorter than wMaxPacketSize ends a transfer because it is shorter,
//! not because somebody says so.
//!
//! # An adapter for drivers that are async
//!
//! The host traits of embassy-usb-driver (`UsbHostDriver`, `UsbChannel`) and of cotton-usb-host wait
//! instead of being asked. A letterbox stands between the two ways: one small task for each direction
//! waits for its channel, and the dongle's turns look into the box. Of embassy's drivers it asks for
//! nothing but transfers of one packet, since their flag for a ZLP (`ensure_transaction_end`) is not
//! to be relied on: a ZLP is `request_out(&[], false)`.
//!
//! | here | there |
//! |---|---|
//! | [`HostController::port`] | `wait_for_device_event`, in a task of its own |
//! | [`HostController::reset_port`] | `bus_reset` |
//! | [`HostController::start_control`], `poll_control` | `control_in`, `control_out`, in a task of its own |
//! | [`HostController::open_bulk`] | `alloc_channel` twice: a new channel begins with DATA0 |
//! | [`HostController::request`], `receive` | `request_in` with a buffer of wMaxPacketSize |
//! | [`HostController::space`], `send`, `poll_sent` | `request_out` with up to wMaxPacketSize |
//! | [`TransferError::Stall`] | `ChannelError::Stall` |
//! | [`TransferError::Gone`] | `ChannelError::Disconnected`, `Canceled` |
//! | [`TransferError::Bus`] | every other `ChannelError` |
//!
//! The two bulk directions, over what this needs of the channels:
//!
//! ```
//! use core::cell::{Cell, RefCell};
//! use core::future::poll_fn;
//! use core::task::Poll;
//! use usbmux_dongle::usb::TransferError;
//!
//! /// `UsbChannel<Bulk, In>` and `UsbChannel<Bulk, Out>`, with the error already translated.
//! trait BulkIn {
//!     async fn request_in(&mut self, buffer: &mut [u8]) -> Result<usize, TransferError>;
//! }
//! trait BulkOut {
//!     async fn request_out(&mut self, bytes: &[u8], zlp: bool) -> Result<(), TransferError>;
//! }
//!
//! const PACKET: usize = 64;
//!
//! #[derive(Default)]
//! struct Letterbox {
//!     asked: Cell<bool>,
//!     arrived: RefCell<Option<Result<heapless::Vec<u8, PACKET>, TransferError>>>,
//!     to_send: RefCell<Option<heapless::Vec<u8, PACKET>>>,
//!     sent: Cell<Option<Result<(), TransferError>>>,
//! }
//!
//! /// One task: `HostController::request` sets `asked`; `receive` takes `arrived`.
//! async fn input(letterbox: &Letterbox, channel: &mut impl BulkIn) {
//!     loop {
//!         until(|| letterbox.asked.get()).await;
//!         let mut packet = heapless::Vec::new();
//!         packet.resize_default(PACKET).expect("a packet has room");
//!         let result = channel.request_in(&mut packet).await;
//!         letterbox.asked.set(false);
//!         // Shorter than PACKET: `Piece::ends_transfer`.
//!         let arrived = result.map(|length| { packet.truncate(length); packet });
//!         letterbox.arrived.replace(Some(arrived));
//!     }
//! }
//!
//! /// The other: `HostController::send` fills `to_send`; `poll_sent` takes `sent`.
//! async fn output(letterbox: &Letterbox, channel: &mut impl BulkOut) {
//!     loop {
//!         until(|| letterbox.to_send.borrow().is_some()).await;
//!         let packet = letterbox.to_send.take().unwrap_or_default();
//!         let result = channel.request_out(&packet, false).await;
//!         letterbox.sent.set(Some(result));
//!     }
//! }
//!
//! /// Waits; the dongle's super-loop polls both tasks after each of its turns.
//! async fn until(done: impl Fn() -> bool) {
//!     poll_fn(|_| if done() { Poll::Ready(()) } else { Poll::Pending }).await;
//! }
//! # struct Echo(RefCell<Vec<u8>>);
//! # impl BulkIn for &Echo {
//! #     async fn request_in(&mut self, buffer: &mut [u8]) -> Result<usize, TransferError> {
//! #         let bytes = self.0.take();
//! #         buffer[..bytes.len()].copy_from_slice(&bytes);
//! #         Ok(bytes.len())
//! #     }
//! # }
//! # impl BulkOut for &Echo {
//! #     async fn request_out(&mut self, bytes: &[u8], _: bool) -> Result<(), TransferError> {
//! #         self.0.replace(bytes.to_vec());
//! #         Ok(())
//! #     }
//! # }
//! # let (letterbox, echo) = (Letterbox::default(), Echo(RefCell::default()));
//! # let (mut to, mut from) = (&echo, &echo);
//! # let mut tasks = (Box::pin(input(&letterbox, &mut from)), Box::pin(output(&letterbox, &mut to)));
//! # let mut cx = core::task::Context::from_waker(core::task::Waker::noop());
//! # letterbox.to_send.replace(Some(heapless::Vec::from_slice(b"hello").unwrap()));
//! # assert!(tasks.1.as_mut().poll(&mut cx).is_pending());
//! # assert_eq!(letterbox.sent.take(), Some(Ok(())));
//! # assert!(tasks.0.as_mut().poll(&mut cx).is_pending());
//! # assert!(letterbox.arrived.borrow().is_none(), "nobody asked");
//! # letterbox.asked.set(true);
//! # assert!(tasks.0.as_mut().poll(&mut cx).is_pending());
//! # assert_eq!(letterbox.arrived.take().unwrap().unwrap(), b"hello");
//! # use core::future::Future;
//! ```

use core::task::Poll;

pub use usbmux_core::descriptors::BulkEndpoint;

/// Bit rate of a port, as far as dongles have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Speed {
    /// 12 Mbit/s, bulk packets of at most 64 bytes.
    Full,
    /// 480 Mbit/s, bulk packets of 512 bytes.
    High,
}

/// What the root port shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Port {
    /// Nothing is plugged in.
    Empty,
    /// A device is there and has not been reset since; it does not answer yet.
    Attached,
    /// A reset is under way.
    Resetting,
    /// The device answers at address 0, or at the one it was given since the reset.
    Enabled(Speed),
}

/// Why a transfer failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TransferError {
    /// The endpoint answered STALL: it refuses, until the halt is cleared (endpoint 0: until the
    /// next SETUP).
    Stall,
    /// The bus failed: no answer, a wrong checksum three times, babble. What the device received of
    /// the transfer is not known.
    Bus,
    /// The device was unplugged, or the port reset, in the middle of it.
    Gone,
}

/// Eight bytes of a SETUP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Setup {
    /// bmRequestType.
    pub request_type: u8,
    /// bRequest.
    pub request: u8,
    /// wValue.
    pub value: u16,
    /// wIndex.
    pub index: u16,
    /// wLength: bytes of the data stage.
    pub length: u16,
}

/// Bytes that a bulk IN endpoint delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece<'a> {
    /// The bytes, in the controller's own buffer.
    pub bytes: &'a [u8],
    /// Whether the transfer ended with them: the last packet was a short one, or empty.
    pub ends_transfer: bool,
}

/// A USB host controller with one root port, polled.
///
/// # Contract
///
/// - Calls return at once. A transfer is started by one call and asked for by another.
/// - After [`reset_port`](Self::reset_port), after an unplug and after
///   [`open_bulk`](Self::open_bulk) no transfer of before is under way, and none of its completions
///   is told any more.
/// - Each direction has one transfer at a time; IN, OUT and control do not wait for each other.
pub trait HostController {
    /// What the root port shows now.
    fn port(&mut self) -> Port;

    /// Begins a reset of the port: [`Port::Resetting`], then [`Port::Enabled`].
    fn reset_port(&mut self);

    /// Starts a control transfer without a data stage, or with one towards the host, on endpoint 0
    /// of the device at `address`, whose packets have `max_packet` bytes there. One that is under
    /// way is given up.
    fn start_control(&mut self, address: u8, max_packet: u8, setup: Setup);

    /// Asks for the control transfer started last. `data` takes the data stage and is the same
    /// buffer in each call; bytes beyond its length are dropped.
    ///
    /// # Errors
    ///
    /// See [`TransferError`]; the transfer is over then.
    fn poll_control(&mut self, data: &mut [u8]) -> Poll<Result<usize, TransferError>>;

    /// Opens the pair of bulk endpoints of the device at `address`, both with DATA0 next.
    fn open_bulk(&mut self, address: u8, input: BulkEndpoint, output: BulkEndpoint);

    /// Asks the IN endpoint for one more piece: a packet, or a whole transfer, as the controller
    /// can; a multiple of wMaxPacketSize in any case. The bytes of the last piece are gone then.
    /// Does nothing while one is asked for.
    fn request(&mut self);

    /// The piece asked for, once; pending while the device has nothing to say.
    ///
    /// # Errors
    ///
    /// See [`TransferError`]; bytes may be lost then.
    fn receive(&mut self) -> Poll<Result<Piece<'_>, TransferError>>;

    /// Where to put the next piece for the OUT endpoint: one packet or more, a multiple of
    /// wMaxPacketSize, always the same length. None while one is under way.
    fn space(&mut self) -> Option<&mut [u8]>;

    /// Sends the first `length` bytes of [`space`](Self::space). A length that is no multiple of
    /// wMaxPacketSize ends the transfer; 0 is a zero-length packet.
    fn send(&mut self, length: usize);

    /// What became of the piece sent last: pending while it is under way. Ready also when nothing
    /// was ever sent.
    ///
    /// # Errors
    ///
    /// See [`TransferError`]; told once.
    fn poll_sent(&mut self) -> Poll<Result<(), TransferError>>;
}
