//! A real phone's two bulk endpoints as a pipe. Below this seam there are only calls of nusb.
//!
//! One IN transfer asks for more than the largest frame, so that it ends where the phone's transfer
//! ends. A zero-length packet is an empty OUT transfer. Leaves out: finding and opening devices.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use nusb::transfer::{Buffer, Bulk, Completion, In, Out, TransferError};
use nusb::{Device, Endpoint, ErrorKind, MaybeFuture};

use super::choose::MuxInterface;
use crate::pipe::{InTransfer, Pipe, PipeError, READ_LENGTH, READS_IN_FLIGHT};

/// Transfers from this length on stand in memory that the kernel maps for us. From memory of our own
/// it makes a copy, for which it takes and clears pages each time; that costs more than our copying
/// into the mapped memory does. A mapping has whole pages, so short transfers are left as they are.
const MAPPED_FROM: usize = 4096;

/// The pipe to a real phone.
pub struct NusbPipe {
    device: Device,
    mux: MuxInterface,
    /// None while the port is being reset, and for good when that failed.
    ends: Option<Ends>,
    /// The IN buffer handed out last; it goes back with the next `poll_in`.
    looked_at: Option<Buffer>,
    reset: Option<Reset>,
}

/// A reset of the port that is going on.
type Reset = Pin<Box<dyn Future<Output = Result<Ends, PipeError>> + Send>>;

impl NusbPipe {
    /// Takes the mux interface of an open device, whose active configuration must be the
    /// interface's, and starts reading. A kernel driver is detached, another program never is.
    /// Blocks.
    ///
    /// # Errors
    /// Another program has the interface, or the device is gone.
    pub fn new(device: Device, mux: MuxInterface) -> Result<Self, nusb::Error> {
        let ends = Ends::claim(&device, &mux)?;
        Ok(Self { device, mux, ends: Some(ends), looked_at: None, reset: None })
    }

    fn begin_reset(&mut self) -> Result<Reset, PipeError> {
        self.looked_at = None;
        let ends = self.ends.take().ok_or(PipeError::Unplugged)?;
        Ok(Box::pin(reset(self.device.clone(), self.mux, ends)))
    }
}

impl Pipe for NusbPipe {
    fn max_packet_size(&self) -> u16 {
        self.mux.bulk_out.max_packet
    }

    fn submit_out(&mut self, transfer: Vec<u8>) {
        if let Some(ends) = &mut self.ends {
            ends.submit_out(transfer);
        }
    }

    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<Result<Vec<u8>, PipeError>> {
        let ends = self.ends.as_mut().ok_or(PipeError::Unplugged)?;
        let done = ready!(ends.bulk_out.poll_next_complete(cx));
        let sent = done.actual_len;
        let buffer = result(done)?;
        // A part of a frame is as bad as none.
        if sent != buffer.len() {
            return Poll::Ready(Err(PipeError::Fault));
        }
        Poll::Ready(Ok(ends.take_back(buffer)))
    }

    fn poll_in(&mut self, cx: &mut Context<'_>) -> Poll<Result<InTransfer<'_>, PipeError>> {
        let ends = self.ends.as_mut().ok_or(PipeError::Unplugged)?;
        if let Some(buffer) = self.looked_at.take() {
            ends.bulk_in.submit(buffer);
        }
        if ends.bulk_in.pending() == 0 {
            // Each of them failed and nobody reset the port: nusb must not be asked.
            return Poll::Ready(Err(PipeError::Fault));
        }
        let done = ready!(ends.bulk_in.poll_next_complete(cx));
        let bytes: &[u8] = self.looked_at.insert(result(done)?);
        Poll::Ready(Ok(InTransfer { bytes, ended: bytes.len() < READ_LENGTH }))
    }

    fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), PipeError>> {
        let mut reset = match self.reset.take() {
            Some(reset) => reset,
            None => self.begin_reset()?,
        };
        let Poll::Ready(done) = reset.as_mut().poll(cx) else {
            self.reset = Some(reset);
            return Poll::Pending;
        };
        self.ends = Some(done?);
        Poll::Ready(Ok(()))
    }
}

/// The endpoints; with both, the interface is released.
struct Ends {
    bulk_out: Endpoint<Bulk, Out>,
    bulk_in: Endpoint<Bulk, In>,
    /// Mapped buffers that are not in flight.
    mapped: Vec<Buffer>,
    /// The caller's own memory for each OUT transfer in flight, in order; none where that is in flight itself.
    copied: VecDeque<Option<Vec<u8>>>,
}

impl Ends {
    fn claim(device: &Device, mux: &MuxInterface) -> Result<Self, nusb::Error> {
        let interface = device.detach_and_claim_interface(mux.number).wait()?;
        let bulk_out = interface.endpoint(mux.bulk_out.address)?;
        let mut bulk_in = interface.endpoint::<Bulk, In>(mux.bulk_in.address)?;
        for _ in 0..READS_IN_FLIGHT {
            let buffer = bulk_in.allocate(READ_LENGTH);
            bulk_in.submit(buffer);
        }
        Ok(Self { bulk_out, bulk_in, mapped: Vec::new(), copied: VecDeque::new() })
    }

    fn submit_out(&mut self, transfer: Vec<u8>) {
        if transfer.len() < MAPPED_FROM {
            self.bulk_out.submit(Buffer::from(transfer));
            return self.copied.push_back(None);
        }
        let mut buffer = self.mapped.pop().unwrap_or_else(|| self.bulk_out.allocate(READ_LENGTH));
        buffer.clear();
        buffer.extend_from_slice(&transfer);
        self.bulk_out.submit(buffer);
        self.copied.push_back(Some(transfer));
    }

    /// The caller's memory of the oldest OUT transfer, which is done.
    fn take_back(&mut self, buffer: Buffer) -> Vec<u8> {
        match self.copied.pop_front().flatten() {
            Some(transfer) => {
                self.mapped.push(buffer);
                transfer
            }
            None => buffer.into_vec(),
        }
    }

    /// Ends all transfers, so that dropping the endpoints releases the interface.
    async fn cancel(&mut self) {
        self.bulk_out.cancel_all();
        self.bulk_in.cancel_all();
        while self.bulk_out.pending() > 0 {
            self.bulk_out.next_complete().await;
        }
        while self.bulk_in.pending() > 0 {
            self.bulk_in.next_complete().await;
        }
    }
}

/// Resets the port of a device. The kernel takes claimed interfaces away for that and may give them
/// to a driver of its own, therefore ours is released before and claimed again after.
async fn reset(device: Device, mux: MuxInterface, mut ends: Ends) -> Result<Ends, PipeError> {
    ends.cancel().await;
    let resetting = smol::unblock(move || {
        drop(ends);
        device.reset().wait()?;
        Ends::claim(&device, &mux)
    });
    resetting.await.map_err(|error| match error.kind() {
        // Or it came back as a new device, with other descriptors: the kernel tells both so.
        ErrorKind::Disconnected => PipeError::Unplugged,
        _ => {
            log::warn!("the reset of a port failed: {error}");
            PipeError::Fault
        }
    })
}

/// Tells how a transfer ended.
fn result(done: Completion) -> Result<Buffer, PipeError> {
    done.into_result().map_err(|error| match error {
        // Whoever cancelled it, it was not us: the kernel took the interface away, since the phone
        // was unplugged, or another program changed its configuration or reset its port.
        TransferError::Disconnected | TransferError::Cancelled => PipeError::Unplugged,
        // An unplugged phone may show so before the kernel knows; then the reset tells.
        _ => {
            log::debug!("a transfer failed: {error}");
            PipeError::Fault
        }
    })
}
