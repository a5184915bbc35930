//! A USB host controller for tests: one packet at a time, in virtual time, with the virtual phone on
//! its only port.

use std::cell::Cell;
use std::task::Poll;
use std::time::Duration;
use usbmux_core::Instant;
use usbmux_dongle::usb::{BulkEndpoint, HostController, Piece, Port, Setup, Speed, TransferError};
use usbmux_phone::Options;
use usbmux_phone::control;
use usbmux_phone::device::{Control, Device, Handshake, Packet, Toggle};

/// How long a full-speed bulk packet of 64 bytes takes: 19 fit into a frame of 1 ms (USB 2.0, table
/// 5-9), which makes 1.216 MB/s.
pub(crate) const FULL_SPEED_PACKET: Duration = Duration::from_nanos(52_632);

const RESET: Duration = Duration::from_millis(50);
const CONTROL: Duration = Duration::from_micros(300);
/// How long a device may take to take its address (USB 2.0 §9.2.6.3); this one does.
const SET_ADDRESS: u64 = 2_000_000;
/// When an OUT packet that got a NAK is tried again.
const NAK_PAUSE: Duration = Duration::from_micros(100);

/// Where time comes from: the controller's calls have no argument for it.
#[derive(Default)]
pub(crate) struct Clock(Cell<u64>);

impl Clock {
    pub(crate) fn now(&self) -> Instant {
        Instant::from_micros(self.0.get() / 1000)
    }

    pub(crate) fn nanos(&self) -> u64 {
        self.0.get()
    }

    pub(crate) fn advance_to(&self, nanos: u64) {
        self.0.set(self.0.get().max(nanos));
    }
}

/// A bulk packet under way.
struct Under<T> {
    what: T,
    done_at: u64,
}

/// What is to go wrong; each counts down as it does.
#[derive(Default)]
pub(crate) struct Faults {
    /// OUT packets that never reach the phone.
    pub(crate) lose_out: u32,
    /// OUT packets that are acknowledged and never reach the phone's software.
    pub(crate) swallow_out: u32,
    /// IN packets of which the controller hears nothing but noise.
    pub(crate) lose_in: u32,
    /// Control transfers that get no answer at all.
    pub(crate) silent_control: u32,
    /// Control transfers that fail at once.
    pub(crate) failed_control: u32,
    /// Resets after which the port does not come back.
    pub(crate) dead_resets: u32,
}

/// A packet and whether its transfer ends with it.
type Arrival = Result<(Vec<u8>, bool), TransferError>;

/// Changes the answers to control transfers: what was asked, and what the phone said.
pub(crate) type Forger = Box<dyn FnMut(Setup, Control) -> Control>;

pub(crate) struct Bus<'c> {
    /// Packets that the controller takes for OUT in one piece.
    pub(crate) packets_a_piece: usize,
    pub(crate) forger: Option<Forger>,
    clock: &'c Clock,
    pub(crate) phone: Device,
    pub(crate) faults: Faults,
    speed: Speed,
    /// From when on the device answers at its new address.
    addressed_at: u64,
    port: Port,
    reset_until: u64,
    control: Option<Under<Result<Vec<u8>, TransferError>>>,
    address: u8,
    input: Option<BulkEndpoint>,
    output: Option<BulkEndpoint>,
    out_toggle: Toggle,
    in_toggle: Toggle,
    out_under: Option<Under<Vec<u8>>>,
    out_result: Option<Result<(), TransferError>>,
    in_asked: bool,
    /// Asked since the bus lived last.
    in_fresh: bool,
    in_result: Option<Under<Arrival>>,
    space: Vec<u8>,
    last: Vec<u8>,
    /// Until when a packet occupies the bus.
    busy_until: u64,
    pub(crate) resets: u32,
    pub(crate) packets_out: u32,
}

impl<'c> Bus<'c> {
    pub(crate) fn new(clock: &'c Clock, options: &Options) -> Self {
        let mut phone = Device::new(options);
        let speed = if options.max_packet > 64 { Speed::High } else { Speed::Full };
        phone.plug_in(clock.now());
        Bus {
            packets_a_piece: 1,
            forger: None,
            clock,
            phone,
            faults: Faults::default(),
            speed,
            addressed_at: 0,
            port: Port::Attached,
            reset_until: 0,
            control: None,
            address: 0,
            input: None,
            output: None,
            out_toggle: Toggle::Data0,
            in_toggle: Toggle::Data0,
            out_under: None,
            out_result: None,
            in_asked: false,
            in_fresh: false,
            in_result: None,
            space: vec![],
            last: vec![],
            busy_until: 0,
            resets: 0,
            packets_out: 0,
        }
    }

    pub(crate) fn unplug(&mut self) {
        self.phone.unplug(self.clock.now());
        self.port = Port::Empty;
        self.forget();
    }

    pub(crate) fn plug_in(&mut self) {
        self.phone.plug_in(self.clock.now());
        self.port = Port::Attached;
    }

    pub(crate) fn plug_in_if_out(&mut self) {
        if self.port == Port::Empty {
            self.plug_in();
        }
    }

    fn forget(&mut self) {
        self.control = None;
        self.input = None;
        self.output = None;
        self.forget_bulk();
    }

    fn forget_bulk(&mut self) {
        self.out_under = None;
        self.out_result = None;
        self.in_asked = false;
        self.in_result = None;
        (self.out_toggle, self.in_toggle) = (Toggle::Data0, Toggle::Data0);
    }

    fn packet_nanos(&self, bytes: usize) -> u64 {
        match self.speed {
            Speed::Full => FULL_SPEED_PACKET.as_nanos() as u64 * (bytes as u64 + 13) / 77,
            // 13 packets of 512 bytes in a microframe.
            Speed::High => 125_000 / 13 * (bytes as u64 + 55) / 567,
        }
    }

    /// When something happens on the bus by itself.
    pub(crate) fn due(&self) -> Option<u64> {
        let phone = self.phone.next_tick().map(|at| at.as_micros() * 1000);
        let reset = (self.port == Port::Resetting).then_some(self.reset_until);
        let out = self.out_under.as_ref().map(|under| under.done_at);
        let input = self.in_result.as_ref().map(|under| under.done_at);
        let control = self.control.as_ref().map(|under| under.done_at);
        let fresh = self.in_fresh.then_some(self.clock.nanos());
        [phone, reset, out, input, control, fresh]
            .into_iter()
            .flatten()
            .filter(|at| *at < u64::MAX)
            .min()
    }

    /// Lets the bus and the phone live until now.
    pub(crate) fn live(&mut self) {
        let (nanos, now) = (self.clock.nanos(), self.clock.now());
        self.phone.tick(now);
        if !self.phone.is_plugged() && self.port != Port::Empty {
            self.port = Port::Empty;
            self.forget();
        }
        if self.port == Port::Resetting && self.reset_until <= nanos {
            self.phone.bus_reset(now);
            self.port = Port::Enabled(self.speed);
        }
        if self.out_under.as_ref().is_some_and(|under| under.done_at <= nanos) {
            self.finish_out(nanos, now);
        }
        self.ask_in(nanos, now);
    }

    fn finish_out(&mut self, nanos: u64, now: Instant) {
        let (Some(endpoint), Some(mut under)) = (self.output, self.out_under.take()) else {
            return;
        };
        if self.faults.lose_out > 0 {
            self.faults.lose_out -= 1;
            self.out_result = Some(Err(TransferError::Bus));
            return;
        }
        if self.faults.swallow_out > 0 {
            self.faults.swallow_out -= 1;
            self.out_result = Some(Ok(()));
            return;
        }
        let (address, toggle) = (self.address, self.out_toggle);
        let length = under.what.len().min(endpoint.max_packet.into());
        let packet = &under.what[..length];
        match self.phone.out_packet(now, address, endpoint.address, toggle, packet) {
            Handshake::Ack => {
                self.out_toggle = toggle.next();
                self.packets_out += 1;
                under.what.drain(..length);
                if under.what.is_empty() {
                    self.out_result = Some(Ok(()));
                } else {
                    under.done_at = nanos + self.packet_nanos(under.what.len().min(length));
                    self.out_under = Some(under);
                }
            }
            Handshake::Nak => {
                under.done_at = nanos + NAK_PAUSE.as_nanos() as u64;
                self.out_under = Some(under);
            }
            Handshake::Stall => self.out_result = Some(Err(TransferError::Stall)),
            Handshake::Silence => self.out_result = Some(Err(TransferError::Bus)),
        }
    }

    fn ask_in(&mut self, nanos: u64, now: Instant) {
        self.in_fresh = false;
        let Some(endpoint) = self.input.filter(|_| self.in_asked && self.in_result.is_none())
        else {
            return;
        };
        let (result, length) = match self.phone.in_packet(now, self.address, endpoint.address) {
            Packet::Nak => return,
            Packet::Stall => (Err(TransferError::Stall), 0),
            Packet::Silence => (Err(TransferError::Bus), 0),
            Packet::Data { toggle, bytes } if toggle == self.in_toggle => {
                let ends = bytes.len() < usize::from(endpoint.max_packet);
                (Ok((bytes.to_vec(), ends)), bytes.len())
            }
            Packet::Data { .. } => panic!("the phone repeats a packet that was acknowledged"),
        };
        let result = if result.is_ok() {
            self.in_toggle = self.in_toggle.next();
            self.phone.in_acknowledged(now);
            if self.faults.lose_in > 0 {
                self.faults.lose_in -= 1;
                Err(TransferError::Bus)
            } else {
                result
            }
        } else {
            result
        };
        let done_at = self.busy_until.max(nanos) + self.packet_nanos(length);
        self.busy_until = done_at;
        self.in_result = Some(Under { what: result, done_at });
    }
}

impl HostController for Bus<'_> {
    fn port(&mut self) -> Port {
        self.port
    }

    fn reset_port(&mut self) {
        assert_ne!(self.port, Port::Empty, "an empty port is not reset");
        self.forget();
        self.resets += 1;
        self.port = Port::Resetting;
        self.reset_until = if self.faults.dead_resets > 0 {
            self.faults.dead_resets -= 1;
            u64::MAX
        } else {
            self.clock.nanos() + RESET.as_nanos() as u64
        };
    }

    fn start_control(&mut self, address: u8, max_packet: u8, setup: Setup) {
        assert!(matches!(max_packet, 8 | 16 | 32 | 64));
        let Setup { request_type, request, value, index, length } = setup;
        let asked = control::Setup { request_type, request, value, index, length };
        let mut done_at = self.clock.nanos() + CONTROL.as_nanos() as u64;
        let what = if self.faults.silent_control > 0 {
            self.faults.silent_control -= 1;
            done_at = u64::MAX;
            Err(TransferError::Bus)
        } else if self.faults.failed_control > 0 {
            self.faults.failed_control -= 1;
            Err(TransferError::Bus)
        } else if address != 0 && self.clock.nanos() < self.addressed_at {
            Err(TransferError::Bus)
        } else {
            if (request_type, request) == (0, 5) {
                self.addressed_at = self.clock.nanos() + SET_ADDRESS;
            }
            let mut answer = self.phone.control(self.clock.now(), address, asked);
            if let Some(forger) = &mut self.forger {
                answer = forger(setup, answer);
            }
            match answer {
                Control::Data(data) => Ok(data),
                Control::Stall => Err(TransferError::Stall),
                Control::Silence => Err(TransferError::Bus),
            }
        };
        self.control = Some(Under { what, done_at });
    }

    fn poll_control(&mut self, data: &mut [u8]) -> Poll<Result<usize, TransferError>> {
        let now = self.clock.nanos();
        let Some(under) = self.control.take_if(|under| under.done_at <= now) else {
            return Poll::Pending;
        };
        Poll::Ready(under.what.map(|bytes| {
            let length = bytes.len().min(data.len());
            data[..length].copy_from_slice(&bytes[..length]);
            length
        }))
    }

    fn open_bulk(&mut self, address: u8, input: BulkEndpoint, output: BulkEndpoint) {
        self.forget_bulk();
        self.address = address;
        self.space = vec![0; usize::from(output.max_packet) * self.packets_a_piece];
        (self.input, self.output) = (Some(input), Some(output));
    }

    fn request(&mut self) {
        if self.in_result.is_none() && !self.in_asked {
            (self.in_asked, self.in_fresh) = (true, true);
        }
    }

    fn receive(&mut self) -> Poll<Result<Piece<'_>, TransferError>> {
        let now = self.clock.nanos();
        let Some(under) = self.in_result.take_if(|under| under.done_at <= now) else {
            return Poll::Pending;
        };
        self.in_asked = false;
        Poll::Ready(under.what.map(|(bytes, ends_transfer)| {
            self.last = bytes;
            Piece { bytes: &self.last, ends_transfer }
        }))
    }

    fn space(&mut self) -> Option<&mut [u8]> {
        let free = self.output.is_some() && self.out_under.is_none();
        free.then_some(&mut self.space[..])
    }

    fn send(&mut self, length: usize) {
        assert!(self.out_under.is_none() && self.out_result.is_none(), "a piece is under way");
        let packet = length.min(self.output.map_or(0, |output| output.max_packet.into()));
        let done_at = self.busy_until.max(self.clock.nanos()) + self.packet_nanos(packet);
        self.busy_until = done_at;
        self.out_under = Some(Under { what: self.space[..length].to_vec(), done_at });
    }

    fn poll_sent(&mut self) -> Poll<Result<(), TransferError>> {
        if self.out_under.is_some() {
            return Poll::Pending;
        }
        Poll::Ready(self.out_result.take().unwrap_or(Ok(())))
    }
}
