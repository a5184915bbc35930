//! What a hand at the cable sees and does while a phone is plugged in: traffic counted where the host
//! controller meets the phone, and endpoints halted.

use crate::descriptors::{MUX_IN, MUX_OUT};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What one of the mux interface's endpoints carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// Transfers that completed, empty ones among them.
    pub transfers: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Zero-length packets: empty transfers, and those that a flag put behind a transfer.
    pub zlps: u64,
    /// Length of the longest transfer.
    pub longest: usize,
    /// Transfers that were stalled.
    pub stalled: u64,
}

impl Carried {
    fn count(&mut self, length: usize, zlp: bool) {
        self.transfers += 1;
        self.bytes += length as u64;
        self.zlps += u64::from(zlp);
        self.longest = self.longest.max(length);
    }
}

impl fmt::Display for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Carried { transfers, bytes, zlps, longest, stalled } = self;
        write!(f, "{transfers} transfers {bytes} bytes {zlps} ZLPs longest {longest}")?;
        write!(f, " stalled {stalled}")
    }
}

/// What both carried; displays as one line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Traffic {
    /// To the phone.
    pub out: Carried,
    /// From the phone.
    pub input: Carried,
}

impl fmt::Display for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "out {}, in {}", self.out, self.input)
    }
}

/// One of the mux interface's endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MuxEndpoint {
    /// To the phone.
    Out,
    /// From the phone.
    In,
}

impl MuxEndpoint {
    pub(crate) fn address(self) -> u8 {
        match self {
            MuxEndpoint::Out => MUX_OUT,
            MuxEndpoint::In => MUX_IN,
        }
    }
}

#[derive(Debug, Default)]
struct Shared {
    traffic: Traffic,
    halted_out: bool,
    halted_in: bool,
}

/// A hand on the cable of one phone; clones are hands on the same.
#[derive(Clone, Debug, Default)]
pub struct Probe {
    shared: Arc<Mutex<Shared>>,
}

impl Probe {
    /// What the mux interface's endpoints carried since this was last asked.
    pub fn take_traffic(&self) -> Traffic {
        std::mem::take(&mut self.shared().traffic)
    }

    /// Halts an endpoint: what is asked of it is stalled until the host clears the halt, chooses a
    /// configuration or resets the port (USB 2.0 §9.4.5). The cable must be polled to notice.
    pub fn halt(&self, endpoint: MuxEndpoint) {
        *self.halted_mut(endpoint, &mut self.shared()) = true;
    }

    pub(crate) fn is_halted(&self, endpoint: MuxEndpoint) -> bool {
        *self.halted_mut(endpoint, &mut self.shared())
    }

    /// The host wants to use the endpoint with this address again.
    pub(crate) fn clear_halt(&self, address: u16) {
        for endpoint in [MuxEndpoint::Out, MuxEndpoint::In] {
            if u16::from(endpoint.address()) == address {
                *self.halted_mut(endpoint, &mut self.shared()) = false;
            }
        }
    }

    /// Both may be used again.
    pub(crate) fn clear_halts(&self) {
        let shared = &mut *self.shared();
        (shared.halted_out, shared.halted_in) = (false, false);
    }

    pub(crate) fn sent(&self, length: usize, zlp: bool) {
        self.shared().traffic.out.count(length, zlp);
    }

    pub(crate) fn received(&self, length: usize) {
        self.shared().traffic.input.count(length, length == 0);
    }

    pub(crate) fn stalled(&self, endpoint: MuxEndpoint) {
        let traffic = &mut self.shared().traffic;
        match endpoint {
            MuxEndpoint::Out => traffic.out.stalled += 1,
            MuxEndpoint::In => traffic.input.stalled += 1,
        }
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        // Counters and flags are whole after any panic.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn halted_mut<'s>(&self, endpoint: MuxEndpoint, shared: &'s mut Shared) -> &'s mut bool {
        match endpoint {
            MuxEndpoint::Out => &mut shared.halted_out,
            MuxEndpoint::In => &mut shared.halted_in,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traffic_is_counted_from_one_question_to_the_next() {
        let probe = Probe::default();
        probe.sent(512, true);
        probe.sent(0, true);
        probe.received(36);
        probe.stalled(MuxEndpoint::In);
        assert_eq!(
            probe.take_traffic().to_string(),
            "out 2 transfers 512 bytes 2 ZLPs longest 512 stalled 0, \
             in 1 transfers 36 bytes 0 ZLPs longest 36 stalled 1"
        );
        assert_eq!(probe.clone().take_traffic(), Traffic::default());
    }

    #[test]
    fn a_halt_ends_for_the_endpoint_whose_address_is_named() {
        let probe = Probe::default();
        probe.halt(MuxEndpoint::Out);
        probe.clear_halt(u16::from(MUX_IN));
        assert!(probe.is_halted(MuxEndpoint::Out) && !probe.is_halted(MuxEndpoint::In));
        probe.clear_halt(u16::from(MUX_OUT));
        assert!(!probe.is_halted(MuxEndpoint::Out));
        probe.halt(MuxEndpoint::In);
        probe.clear_halts();
        assert!(!probe.is_halted(MuxEndpoint::In));
    }
}
