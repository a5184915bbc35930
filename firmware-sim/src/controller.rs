//! The USB host controller of the simulated microcontroller: FIFOs that the processor fills and
//! empties.
//!
//! Packets arrive in a receive FIFO while the processor does something else, as in the OTG blocks of
//! small microcontrollers; the firmware gets them one by one, in a buffer of one packet. The other
//! way a FIFO of the same size is filled and sent packet by packet. FIFOs are the controller's own
//! memory, not the microcontroller's RAM. The processor moves every byte that crosses, and [`take_moved_bytes`](Controller::take_moved_bytes) tells the cycle model of it.

use crate::bus::pipe::ControlState;
use crate::bus::{Bus, Timing};
use std::task::Poll;
use usbmux_dongle::usb::{BulkEndpoint, HostController, Piece, Port, Setup, Speed, TransferError};
use usbmux_phone::Options;

/// Packets that the receive FIFO and the transmit buffer hold each.
pub const FIFO_PACKETS: usize = 8;

/// The controller, and the bus on its root port.
#[derive(Debug)]
pub struct Controller {
    /// What is plugged in.
    pub bus: Bus,
    piece: Vec<u8>,
    moved_bytes: u64,
    swallows_zlps: bool,
}

impl Controller {
    /// Makes a controller with a bus of this speed and a phone of these options beside it, not
    /// plugged in.
    pub fn new(speed: Speed, options: &Options, seed: u64) -> Self {
        Controller::with_fifo(speed, options, FIFO_PACKETS, seed)
    }

    /// The same with FIFOs of so many packets.
    pub fn with_fifo(speed: Speed, options: &Options, packets: usize, seed: u64) -> Self {
        let bytes = packets * usize::from(Timing::of(speed).max_packet);
        Controller {
            bus: Bus::new(speed, options, bytes, seed),
            piece: Vec::new(),
            moved_bytes: 0,
            swallows_zlps: false,
        }
    }

    /// Makes it a controller whose driver forgets zero-length packets, or mends it: it says that they
    /// were sent. Several drivers for microcontrollers are like that (PROTOCOL §4).
    pub fn swallow_zlps(&mut self, swallows: bool) {
        self.swallows_zlps = swallows;
    }

    /// Bytes that the processor moved between FIFOs and memory since this was asked last.
    pub fn take_moved_bytes(&mut self) -> u64 {
        std::mem::take(&mut self.moved_bytes)
    }
}

impl HostController for Controller {
    fn port(&mut self) -> Port {
        self.bus.port()
    }

    fn reset_port(&mut self) {
        self.bus.reset_port();
    }

    fn start_control(&mut self, address: u8, max_packet: u8, setup: Setup) {
        self.bus.control.state = ControlState::Pending { address, setup, max_packet, attempts: 0 };
    }

    fn poll_control(&mut self, data: &mut [u8]) -> Poll<Result<usize, TransferError>> {
        if !matches!(self.bus.control.state, ControlState::Done(_)) {
            return Poll::Pending;
        }
        let ControlState::Done(result) = std::mem::take(&mut self.bus.control.state) else {
            return Poll::Pending;
        };
        Poll::Ready(result.map(|bytes| {
            let length = bytes.len().min(data.len());
            for (to, from) in data.iter_mut().zip(&bytes) {
                *to = *from;
            }
            self.moved_bytes += length as u64;
            length
        }))
    }

    fn open_bulk(&mut self, address: u8, input: BulkEndpoint, output: BulkEndpoint) {
        self.bus.input.open(address, input);
        self.bus.output.open(address, output);
    }

    fn request(&mut self) {
        self.bus.input.request();
    }

    fn receive(&mut self) -> Poll<Result<Piece<'_>, TransferError>> {
        let size = usize::from(self.bus.timing().max_packet);
        let input = &mut self.bus.input;
        if !input.asked {
            return Poll::Pending;
        }
        if !input.has_packets() {
            let Some(error) = input.take_failure() else { return Poll::Pending };
            input.asked = false;
            return Poll::Ready(Err(error));
        }
        input.asked = false;
        self.piece = input.take().unwrap_or_default();
        self.moved_bytes += self.piece.len() as u64;
        let ends_transfer = self.piece.len() < size;
        Poll::Ready(Ok(Piece { bytes: &self.piece, ends_transfer }))
    }

    fn space(&mut self) -> Option<&mut [u8]> {
        let output = &mut self.bus.output;
        (output.place.is_some() && !output.is_sending()).then_some(&mut output.buffer[..])
    }

    fn send(&mut self, length: usize) {
        if length == 0 && self.swallows_zlps {
            self.bus.swallowed_zlp();
        } else if self.bus.output.place.is_some() && !self.bus.output.is_sending() {
            self.bus.output.send(length);
            self.moved_bytes += length as u64;
        }
    }

    fn poll_sent(&mut self) -> Poll<Result<(), TransferError>> {
        let output = &mut self.bus.output;
        if output.is_sending() {
            return Poll::Pending;
        }
        Poll::Ready(output.take_failure().map_or(Ok(()), Err))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
    use super::*;
    use crate::bus::Fault;
    use crate::time::Nanos;
    use usbmux_phone::descriptors::{MUX_IN, MUX_OUT};

    const VERSION_2: [u8; 20] = [0, 0, 0, 0, 0, 0, 0, 20, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0];
    const ADDRESS: u8 = 1;

    /// Lets the bus live until something is true of it; fails after ten seconds of its time.
    fn until(usb: &mut Controller, mut ready: impl FnMut(&mut Controller) -> bool) {
        while !ready(usb) {
            let next = usb.bus.next_event().expect("nothing will ever happen");
            assert!(next < Nanos::from_millis(10_000), "{:?}", usb.bus);
            let now = next.max(usb.bus.now);
            usb.bus.run(now);
        }
    }

    fn control(
        usb: &mut Controller,
        address: u8,
        setup: [u8; 8],
    ) -> Result<Vec<u8>, TransferError> {
        let [request_type, request, a, b, c, d, e, f] = setup;
        let word = |low, high| u16::from_le_bytes([low, high]);
        let (value, index, length) = (word(a, b), word(c, d), word(e, f));
        usb.start_control(address, 64, Setup { request_type, request, value, index, length });
        let mut data = [0; 255];
        let mut result = Poll::Pending;
        until(usb, |usb| {
            result = usb.poll_control(&mut data);
            result.is_ready()
        });
        let Poll::Ready(result) = result else { unreachable!() };
        result.map(|length| data[..length].to_vec())
    }

    fn linked(speed: Speed) -> Controller {
        let mut usb = Controller::new(speed, &Options::new(1), 1);
        usb.bus.device().plug_in(Nanos::ZERO.instant());
        usb.bus.run(Nanos::ZERO);
        assert_eq!(usb.port(), Port::Attached);
        usb.reset_port();
        until(&mut usb, |usb| usb.port() == Port::Enabled(speed));
        control(&mut usb, 0, [0, 5, ADDRESS, 0, 0, 0, 0, 0]).unwrap();
        control(&mut usb, ADDRESS, [0, 9, 3, 0, 0, 0, 0, 0]).unwrap();
        open(&mut usb);
        usb
    }

    fn open(usb: &mut Controller) {
        let max_packet = usb.bus.timing().max_packet;
        let endpoint = |address| BulkEndpoint { address, max_packet };
        usb.open_bulk(ADDRESS, endpoint(MUX_IN), endpoint(MUX_OUT));
    }

    fn send(usb: &mut Controller, bytes: &[u8]) -> Result<(), TransferError> {
        usb.space().unwrap()[..bytes.len()].copy_from_slice(bytes);
        usb.send(bytes.len());
        let mut result = Poll::Pending;
        until(usb, |usb| {
            result = usb.poll_sent();
            result.is_ready()
        });
        let Poll::Ready(result) = result else { unreachable!() };
        result
    }

    fn receive(usb: &mut Controller) -> Result<(Vec<u8>, bool), TransferError> {
        usb.request();
        let mut got = None;
        until(usb, |usb| {
            if let Poll::Ready(piece) = usb.receive() {
                got = Some(piece.map(|piece| (piece.bytes.to_vec(), piece.ends_transfer)));
            }
            got.is_some()
        });
        got.unwrap()
    }

    #[test]
    fn a_phone_is_enumerated_and_says_its_version() {
        for speed in [Speed::Full, Speed::High] {
            let mut usb = linked(speed);
            let device = control(&mut usb, ADDRESS, [0x80, 6, 0, 1, 0, 0, 18, 0]).unwrap();
            assert_eq!(device[8..12], [0xac, 0x05, 0xa8, 0x12]);
            let stalled = control(&mut usb, ADDRESS, [0x80, 6, 9, 9, 0, 0, 18, 0]);
            assert_eq!(stalled, Err(TransferError::Stall));
            send(&mut usb, &VERSION_2).unwrap();
            let (answer, ends) = receive(&mut usb).unwrap();
            assert_eq!((&answer[..12], ends), (&VERSION_2[..12], true));
        }
    }

    #[test]
    fn lost_packets_and_lost_handshakes_are_repeated_and_nothing_comes_twice() {
        for fault in [Fault::LostPacket, Fault::LostHandshake] {
            let mut usb = linked(Speed::Full);
            usb.bus.order_fault(fault);
            send(&mut usb, &VERSION_2).unwrap();
            usb.bus.order_fault(fault);
            assert_eq!(receive(&mut usb).unwrap().0.len(), 20);
            assert_eq!(usb.bus.stats().in_packets, 1);
            usb.bus.run(usb.bus.now + Nanos::from_millis(1));
            usb.request();
            usb.bus.run(usb.bus.now + Nanos::from_millis(1));
            assert!(usb.receive().is_pending(), "VERSION was answered once");
            assert!(usb.bus.stats().errors > 0);
        }
    }

    #[test]
    fn three_silences_in_a_row_fail_the_transfer() {
        let mut usb = linked(Speed::Full);
        for _ in 0..2 {
            usb.bus.order_fault(Fault::LostPacket);
        }
        assert_eq!(send(&mut usb, &VERSION_2), Ok(()));
        for _ in 0..3 {
            usb.bus.order_fault(Fault::LostPacket);
        }
        assert_eq!(send(&mut usb, &[1; 40]), Err(TransferError::Bus));
        assert_eq!(usb.poll_sent(), Poll::Ready(Ok(())), "told once");
    }

    #[test]
    fn babble_and_halts_fail_a_read() {
        let mut usb = linked(Speed::Full);
        send(&mut usb, &VERSION_2).unwrap();
        usb.bus.order_fault(Fault::Babble);
        assert_eq!(receive(&mut usb), Err(TransferError::Bus));
        assert_eq!(receive(&mut usb).unwrap().0.len(), 20, "the phone still has it");
        usb.bus.device().halt(MUX_IN);
        assert_eq!(receive(&mut usb), Err(TransferError::Stall));
        usb.bus.device().halt(MUX_OUT);
        assert_eq!(send(&mut usb, &[1; 40]), Err(TransferError::Stall));
    }

    #[test]
    fn an_unplug_ends_what_is_under_way() {
        let mut usb = linked(Speed::High);
        usb.request();
        usb.bus.run(usb.bus.now + Nanos::from_millis(3));
        assert!(usb.receive().is_pending());
        let now = usb.bus.now;
        usb.bus.device().unplug(now.instant());
        usb.bus.run(now);
        assert_eq!(usb.port(), Port::Empty);
        assert!(matches!(usb.receive(), Poll::Ready(Err(TransferError::Gone))));
        usb.bus.device().plug_in(now.instant());
        usb.bus.run(now);
        assert_eq!(usb.port(), Port::Attached);
    }

    #[test]
    fn an_idle_phone_costs_no_work() {
        let mut usb = linked(Speed::Full);
        usb.request();
        usb.bus.run(usb.bus.now + Nanos::from_millis(1));
        let naks = usb.bus.stats().naks;
        usb.bus.run(usb.bus.now + Nanos::from_millis(10_000));
        assert!(usb.bus.stats().naks - naks < 10);
    }
}
