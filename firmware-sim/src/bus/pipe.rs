//! The host's memory of its three pipes: what is asked, what is under way, what came of it.

use crate::time::Nanos;
use std::collections::VecDeque;
use usbmux_dongle::usb::{BulkEndpoint, Setup, TransferError};
use usbmux_phone::device::Toggle;

/// Endpoint zero.
#[derive(Debug, Default)]
pub(crate) struct ControlPipe {
    pub(crate) state: ControlState,
}

#[derive(Debug, Default)]
pub(crate) enum ControlState {
    #[default]
    Idle,
    Pending {
        address: u8,
        setup: Setup,
        max_packet: u8,
        /// How often nobody answered.
        attempts: u8,
    },
    Done(Result<Vec<u8>, TransferError>),
}

/// When a pipe was refused, and when it is asked again.
#[derive(Debug, Default)]
struct Patience {
    since: Option<Nanos>,
    retry_at: Nanos,
    /// What the phone had seen when it refused.
    epoch: Option<u64>,
    unanswered: u8,
}

impl Patience {
    fn ready(&self, epoch: u64) -> Option<Nanos> {
        (self.epoch != Some(epoch)).then_some(self.retry_at)
    }

    fn refused(&mut self, at: Nanos, retry_at: Nanos, epoch: u64) {
        self.since.get_or_insert(at);
        (self.retry_at, self.epoch, self.unanswered) = (retry_at, Some(epoch), 0);
    }

    fn unanswered(&mut self) -> u8 {
        self.unanswered += 1;
        self.unanswered
    }

    fn served(&mut self) {
        *self = Patience { retry_at: self.retry_at, ..Patience::default() };
    }
}

/// Bulk IN, with the controller's receive FIFO.
#[derive(Debug)]
pub(crate) struct InPipe {
    pub(crate) place: Option<(u8, BulkEndpoint)>,
    pub(crate) toggle: Toggle,
    /// The firmware has asked for a piece and not got it.
    pub(crate) asked: bool,
    /// The controller polls the endpoint: from the first time it is asked to, as long as there is
    /// room in the FIFO, until a failure.
    polling: bool,
    fifo: VecDeque<Vec<u8>>,
    fifo_used: usize,
    fifo_bytes: usize,
    failed: Option<TransferError>,
    patience: Patience,
}

impl InPipe {
    pub(crate) fn new(fifo_bytes: usize) -> Self {
        InPipe {
            place: None,
            toggle: Toggle::Data0,
            asked: false,
            polling: false,
            fifo: VecDeque::new(),
            fifo_used: 0,
            fifo_bytes,
            failed: None,
            patience: Patience::default(),
        }
    }

    pub(crate) fn open(&mut self, address: u8, endpoint: BulkEndpoint) {
        *self = InPipe::new(self.fifo_bytes);
        self.place = Some((address, endpoint));
    }

    pub(crate) fn close(&mut self) {
        *self = InPipe::new(self.fifo_bytes);
    }

    /// Begins to poll, if it does not yet.
    pub(crate) fn request(&mut self) {
        if self.place.is_some() && !self.asked {
            self.asked = true;
            self.polling |= self.failed.is_none();
        }
    }

    /// When the endpoint may be asked, if it is to be.
    pub(crate) fn ready(&self, packet: usize, epoch: u64) -> Option<Nanos> {
        let room = self.fifo_used + packet <= self.fifo_bytes;
        if self.polling && room { self.patience.ready(epoch) } else { None }
    }

    pub(crate) fn refused(&mut self, at: Nanos, retry_at: Nanos, epoch: u64) {
        self.patience.refused(at, retry_at, epoch);
    }

    pub(crate) fn refused_since(&self) -> Option<Nanos> {
        self.patience.since
    }

    pub(crate) fn unanswered(&mut self) -> u8 {
        self.patience.unanswered()
    }

    pub(crate) fn arrived(&mut self, packet: Vec<u8>) {
        self.patience.served();
        self.toggle = self.toggle.next();
        self.fifo_used += packet.len();
        self.fifo.push_back(packet);
    }

    pub(crate) fn fail(&mut self, error: TransferError) {
        if self.polling {
            self.polling = false;
            self.failed = Some(error);
            self.patience.served();
        }
    }

    /// Takes the next packet out of the FIFO.
    pub(crate) fn take(&mut self) -> Option<Vec<u8>> {
        let packet = self.fifo.pop_front()?;
        self.fifo_used -= packet.len();
        Some(packet)
    }

    /// What comes after the FIFO's packets.
    pub(crate) fn take_failure(&mut self) -> Option<TransferError> {
        self.failed.take()
    }

    /// Whether there are packets in the FIFO.
    pub(crate) fn has_packets(&self) -> bool {
        !self.fifo.is_empty()
    }
}

/// Bulk OUT, with the controller's transmit buffer.
#[derive(Debug)]
pub(crate) struct OutPipe {
    pub(crate) place: Option<(u8, BulkEndpoint)>,
    pub(crate) toggle: Toggle,
    pub(crate) buffer: Vec<u8>,
    /// Length of what is being sent, and how much of it went.
    sending: Option<(usize, usize)>,
    failed: Option<TransferError>,
    /// The packet under way was taken by the phone before, but the host did not hear of it.
    pub(crate) repeats: bool,
    patience: Patience,
}

impl OutPipe {
    pub(crate) fn new(buffer_bytes: usize) -> Self {
        OutPipe {
            place: None,
            toggle: Toggle::Data0,
            buffer: vec![0; buffer_bytes],
            sending: None,
            failed: None,
            repeats: false,
            patience: Patience::default(),
        }
    }

    pub(crate) fn open(&mut self, address: u8, endpoint: BulkEndpoint) {
        self.close();
        self.place = Some((address, endpoint));
    }

    pub(crate) fn close(&mut self) {
        *self = OutPipe { buffer: std::mem::take(&mut self.buffer), ..OutPipe::new(0) };
    }

    pub(crate) fn is_sending(&self) -> bool {
        self.sending.is_some()
    }

    pub(crate) fn send(&mut self, length: usize) {
        self.sending = Some((length.min(self.buffer.len()), 0));
    }

    pub(crate) fn take_failure(&mut self) -> Option<TransferError> {
        self.failed.take()
    }

    /// The packet that goes next.
    pub(crate) fn packet(&self, size: usize) -> &[u8] {
        let Some((length, gone)) = self.sending else { return &[] };
        let end = length.min(gone + size);
        self.buffer.get(gone..end).unwrap_or_default()
    }

    pub(crate) fn ready(&self, epoch: u64) -> Option<Nanos> {
        self.sending.and_then(|_| self.patience.ready(epoch))
    }

    pub(crate) fn refused(&mut self, at: Nanos, retry_at: Nanos, epoch: u64) {
        self.patience.refused(at, retry_at, epoch);
    }

    pub(crate) fn refused_since(&self) -> Option<Nanos> {
        self.patience.since
    }

    pub(crate) fn unanswered(&mut self) -> u8 {
        self.patience.unanswered()
    }

    /// The phone has the packet; says whether that was the last one.
    pub(crate) fn went(&mut self, packet: usize) -> bool {
        self.patience.served();
        self.toggle = self.toggle.next();
        self.repeats = false;
        let Some((length, gone)) = &mut self.sending else { return false };
        *gone += packet;
        let done = *gone >= *length;
        if done {
            self.sending = None;
        }
        done
    }

    pub(crate) fn fail(&mut self, error: TransferError) {
        if self.sending.take().is_some() {
            self.failed = Some(error);
            self.patience.served();
        }
    }
}
