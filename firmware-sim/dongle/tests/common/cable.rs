//! An Ethernet cable between two `smoltcp` devices, in virtual time, with loss on request.

use super::bus::Clock;
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

/// How long a frame is on its way.
const DELAY_NANOS: u64 = 100_000;

/// One direction.
#[derive(Default)]
pub(crate) struct Wire {
    frames: VecDeque<(u64, Vec<u8>)>,
    pub(crate) sent: u32,
    /// Every so-manieth frame is lost; 0 for none.
    pub(crate) lose_every: u32,
    /// A copy of everything, if somebody wants to look at it.
    pub(crate) seen: Option<Vec<Vec<u8>>>,
}

/// One end.
#[derive(Clone)]
pub(crate) struct End<'c> {
    clock: &'c Clock,
    pub(crate) outward: Rc<RefCell<Wire>>,
    pub(crate) inward: Rc<RefCell<Wire>>,
}

/// Both ends.
pub(crate) fn cable(clock: &Clock) -> (End<'_>, End<'_>) {
    let (there, back) = (Rc::<RefCell<Wire>>::default(), Rc::<RefCell<Wire>>::default());
    let one = End { clock, outward: there.clone(), inward: back.clone() };
    (one, End { clock, outward: back, inward: there })
}

impl End<'_> {
    /// When the next frame arrives here.
    pub(crate) fn due(&self) -> Option<u64> {
        self.inward.borrow().frames.front().map(|(at, _)| *at)
    }

    /// Puts a frame on the cable.
    pub(crate) fn put(&self, frame: Vec<u8>) {
        let mut wire = self.outward.borrow_mut();
        wire.sent += 1;
        if let Some(seen) = &mut wire.seen {
            seen.push(frame.clone());
        }
        if !wire.sent.is_multiple_of(wire.lose_every) {
            wire.frames.push_back((self.clock.nanos() + DELAY_NANOS, frame));
        }
    }

    /// Takes a frame that has arrived.
    pub(crate) fn take(&self) -> Option<Vec<u8>> {
        let mut wire = self.inward.borrow_mut();
        let now = self.clock.nanos();
        wire.frames.pop_front_if(|(at, _)| *at <= now).map(|(_, frame)| frame)
    }
}

pub(crate) struct Rx(Vec<u8>);
pub(crate) struct Tx<'e, 'c>(&'e End<'c>);

impl RxToken for Rx {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl TxToken for Tx<'_, '_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut frame = vec![0; len];
        let result = f(&mut frame);
        self.0.put(frame);
        result
    }
}

impl<'c> Device for End<'c> {
    type RxToken<'a>
        = Rx
    where
        Self: 'a;
    type TxToken<'a>
        = Tx<'a, 'c>
    where
        Self: 'a;

    fn receive(&mut self, _: Instant) -> Option<(Rx, Tx<'_, 'c>)> {
        let frame = self.take()?;
        Some((Rx(frame), Tx(self)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Tx<'_, 'c>> {
        Some(Tx(self))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 1514;
        capabilities
    }
}
