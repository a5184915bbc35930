//! The transfers that a host has asked for and that have not completed.
//!
//! Endpoint zero answers at once; the mux interface's bulk endpoints are those of a [`Plug`]; the
//! other interfaces' endpoints answer NAK for ever, as those of a phone with nothing to say.
//! Transfers of one endpoint complete in the order in which they were submitted, so the lists here
//! and those of the plug have the same order, and a completion belongs to the front entry.

use super::TRANSFER_MAX;
use super::probe::{MuxEndpoint, Probe};
use crate::control::{Answer, ControlEndpoint, Setup};
use crate::descriptors::{MUX_IN, MUX_OUT};
use crate::plug::{Plug, Unplugged};
use log::{debug, trace};
use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

/// Transfers waiting for the phone at most; one more fails, as it would in a host controller.
const WAITING_MAX: usize = 1024;
/// Bytes of OUT transfers waiting at most; a transfer beyond fails in the same way.
const WAITING_BYTES_MAX: usize = 4 * TRANSFER_MAX;
/// Emptied buffers kept for the next transfers, and the capacity above which one is let go.
const SPARE_BUFFERS: usize = 16;
const SPARE_CAPACITY: usize = 64 << 10;

/// A bulk OUT transfer in the plug.
struct Sending {
    id: u64,
    length: usize,
    /// Transfers of the plug's that have not completed: itself, and its ZLP if it has one.
    parts: usize,
    /// Whether it is a ZLP or has one.
    zlp: bool,
}

/// A bulk IN transfer in the plug.
struct Asking {
    id: u64,
    length: usize,
}

/// A transfer that has completed.
pub(crate) enum Done {
    /// An OUT transfer of so many bytes.
    Sent { id: u64, length: usize },
    /// An IN transfer: the bytes may be more than the `length` asked for (babble).
    Received { id: u64, length: usize, bytes: Vec<u8> },
    /// A transfer of the halted endpoint with this address.
    Stalled { id: u64, address: u8 },
}

/// What endpoints have to do, by the numbers that the host gave its transfers.
pub(crate) struct Transfers<'a> {
    control: &'a mut ControlEndpoint,
    plug: Plug,
    probe: Probe,
    sending: VecDeque<Sending>,
    /// Bytes in `sending`.
    sending_bytes: usize,
    asking: VecDeque<Asking>,
    /// Transfers that are answered with NAK for ever, with the endpoint's address.
    nak: Vec<(u64, u8)>,
    spare: Vec<Vec<u8>>,
}

impl<'a> Transfers<'a> {
    pub(crate) fn new(control: &'a mut ControlEndpoint, plug: Plug, probe: Probe) -> Self {
        probe.clear_halts();
        Transfers {
            control,
            plug,
            probe,
            sending: VecDeque::new(),
            sending_bytes: 0,
            asking: VecDeque::new(),
            nak: Vec::new(),
            spare: Vec::new(),
        }
    }

    /// Whether one more transfer may wait, with so many bytes to the phone.
    pub(crate) fn has_room(&self, out_bytes: usize) -> bool {
        let waiting = self.sending.len() + self.asking.len() + self.nak.len();
        waiting < WAITING_MAX && self.sending_bytes + out_bytes <= WAITING_BYTES_MAX
    }

    /// Endpoint zero, to look at.
    pub(crate) fn endpoint_zero(&self) -> &ControlEndpoint {
        self.control
    }

    /// Carries out a control transfer. A configuration chosen anew ends the mux session.
    pub(crate) fn control(&mut self, setup: Setup) -> Answer {
        let had_mux = self.control.has_mux();
        let answer = self.control.answer(setup);
        match &answer {
            Answer::Stall => debug!("stalled: {setup:?}"),
            Answer::Nothing => debug!("never answered: {setup:?}"),
            Answer::Data(data) => trace!("{setup:?}: {data:?}"),
            Answer::Switch { mode, .. } => debug!("leaves the bus for mode {mode}"),
        }
        let done = matches!(answer, Answer::Data(_) | Answer::Switch { .. });
        if done && setup.is_set_configuration() {
            self.probe.clear_halts();
            if had_mux {
                self.plug.reset_port();
            }
        }
        if done && setup.is_clear_halt() {
            self.probe.clear_halt(setup.index);
        }
        answer
    }

    /// Keeps a transfer to the endpoint with this address that the phone answers with NAK for ever.
    pub(crate) fn never_completes(&mut self, id: u64, address: u8) {
        self.nak.push((id, address));
    }

    /// Begins a bulk or interrupt OUT transfer to the endpoint with this address; with `zero_packet`,
    /// a ZLP follows where the last packet is a full one.
    pub(crate) fn send(&mut self, id: u64, address: u8, bytes: Vec<u8>, zero_packet: bool) {
        if address != MUX_OUT || !self.control.has_mux() {
            return self.never_completes(id, address);
        }
        let length = bytes.len();
        let full = length > 0 && length.is_multiple_of(usize::from(self.plug.max_packet()));
        let zlp = zero_packet && full;
        self.plug.submit_out(bytes);
        if zlp {
            self.plug.submit_out(Vec::new());
        }
        self.sending_bytes += length;
        let parts = 1 + usize::from(zlp);
        self.sending.push_back(Sending { id, length, parts, zlp: zlp || length == 0 });
    }

    /// Begins a bulk or interrupt IN transfer from the endpoint with this address.
    pub(crate) fn ask(&mut self, id: u64, address: u8, length: usize) {
        if address != MUX_IN || !self.control.has_mux() {
            return self.never_completes(id, address);
        }
        let buffer = self.spare.pop().unwrap_or_default();
        self.plug.submit_in(buffer, length);
        self.asking.push_back(Asking { id, length });
    }

    /// The next transfer that has completed.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Done, Unplugged>> {
        if let Some(stalled) = self.stall() {
            return Poll::Ready(Ok(stalled));
        }
        while let Poll::Ready(bytes) = self.plug.poll_in(cx) {
            let bytes = bytes?;
            match self.asking.pop_front() {
                Some(Asking { id, length }) => {
                    self.probe.received(bytes.len());
                    return Poll::Ready(Ok(Done::Received { id, length, bytes }));
                }
                None => self.recycle(bytes),
            }
        }
        while let Poll::Ready(bytes) = self.plug.poll_out(cx) {
            self.recycle(bytes?);
            let Some(sending) = self.sending.front_mut() else { continue };
            sending.parts -= 1;
            if sending.parts == 0 {
                let Sending { id, length, zlp, .. } = *sending;
                self.probe.sent(length, zlp);
                self.sending.pop_front();
                self.sending_bytes -= length;
                return Poll::Ready(Ok(Done::Sent { id, length }));
            }
        }
        Poll::Pending
    }

    /// The oldest transfer of an endpoint that is halted, taken back.
    fn stall(&mut self) -> Option<Done> {
        let oldest = [
            (MuxEndpoint::In, self.asking.front().map(|asking| asking.id)),
            (MuxEndpoint::Out, self.sending.front().map(|sending| sending.id)),
        ];
        let mut halted = oldest.into_iter().filter(|(endpoint, _)| self.probe.is_halted(*endpoint));
        let (endpoint, id) = halted.find_map(|(endpoint, id)| Some((endpoint, id?)))?;
        let address = self.withdraw(id)?;
        self.probe.stalled(endpoint);
        debug!("stalled: a transfer of endpoint {address:#04x}");
        Some(Done::Stalled { id, address })
    }

    /// Takes a transfer back, if it has not completed; the address of its endpoint.
    pub(crate) fn withdraw(&mut self, id: u64) -> Option<u8> {
        if let Some(at) = self.nak.iter().position(|(waiting, _)| *waiting == id) {
            return Some(self.nak.swap_remove(at).1);
        }
        if let Some(at) = self.asking.iter().position(|asking| asking.id == id) {
            self.asking.remove(at);
            if let Some(buffer) = self.plug.cancel_in(at) {
                self.recycle(buffer);
            }
            return Some(MUX_IN);
        }
        let at = self.sending.iter().position(|sending| sending.id == id)?;
        let before: usize = self.sending.iter().take(at).map(|sending| sending.parts).sum();
        let sending = self.sending.remove(at)?;
        self.sending_bytes -= sending.length;
        for _ in 0..sending.parts {
            if let Some(bytes) = self.plug.cancel_out(before) {
                self.recycle(bytes);
            }
        }
        Some(MUX_OUT)
    }

    /// The host resets the port: the phone is not configured any more, and forgets its session. Tells
    /// each transfer that ended with it, by number and endpoint address.
    pub(crate) fn reset(&mut self) -> Vec<(u64, u8)> {
        self.control.leave_bus();
        self.probe.clear_halts();
        self.plug.reset_port();
        // What the plug calls completed now did not.
        let mut cx = Context::from_waker(Waker::noop());
        while let Poll::Ready(Ok(_)) = self.plug.poll_in(&mut cx) {}
        while let Poll::Ready(Ok(_)) = self.plug.poll_out(&mut cx) {}
        self.sending_bytes = 0;
        let asked = self.asking.drain(..).map(|asking| (asking.id, MUX_IN));
        let sent = self.sending.drain(..).map(|sending| (sending.id, MUX_OUT));
        self.nak.drain(..).chain(asked).chain(sent).collect()
    }

    /// A buffer of so many bytes.
    pub(crate) fn buffer(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = self.spare.pop().unwrap_or_default();
        bytes.resize(length, 0);
        bytes
    }

    /// Takes a buffer back.
    pub(crate) fn recycle(&mut self, bytes: Vec<u8>) {
        if self.spare.len() < SPARE_BUFFERS && bytes.capacity() <= SPARE_CAPACITY {
            self.spare.push(bytes);
        }
    }
}
