//! A real phone's two bulk endpoints as a pipe. Below this seam there are only calls of nusb.
//!
//! One IN transfer asks for more than the largest frame, so that it ends where the phone's transfer
//! ends. A zero-length packet is an empty OUT transfer. Leaves out: finding and opening devices.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use nusb::transfer::{Buffer, Bulk, Completion, In, Out, TransferError};
use nusb::{Device, Endpoint, ErrorKind, MaybeFuture};

use super::choose::MuxInterface;
use crate::pipe::{InTransfer, Pipe, PipeError, READ_LENGTH, READS_IN_FLIGHT};

/// OUT transfers from this length on stand in memory that the kernel maps for us, as IN transfers
/// do: of others it makes a copy, for which it takes and clears pages each time. A mapping has whole
/// pages, so shorter transfers are left as they are.
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

    fn submit_out(&mut self, most: usize, fill: &mut dyn FnMut(&mut [u8]) -> usize) -> usize {
        match &mut self.ends {
            Some(ends) => ends.submit_out(most, fill),
            None => 0,
        }
    }

    fn submit_zlp(&mut self) {
        if let Some(ends) = &mut self.ends {
            ends.bulk_out.submit(Buffer::new(0));
        }
    }

    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), PipeError>> {
        let ends = self.ends.as_mut().ok_or(PipeError::Unplugged)?;
        let done = ready!(ends.bulk_out.poll_next_complete(cx));
        let sent = done.actual_len;
        let buffer = result(done)?;
        // A part of a frame is as bad as none.
        let whole = sent == buffer.len();
        if buffer.capacity() >= READ_LENGTH {
            ends.spare.push(buffer);
        }
        Poll::Ready(if whole { Ok(()) } else { Err(PipeError::Fault) })
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
    /// Mapped OUT buffers that are not in flight, each as long as what it carried last.
    spare: Vec<Buffer>,
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
        Ok(Self { bulk_out, bulk_in, spare: Vec::new() })
    }

    /// Has a transfer filled where it will leave from. A buffer that is filled to its length leaves at
    /// once; since none can be shortened, what is less than that is copied into another.
    fn submit_out(&mut self, most: usize, fill: &mut dyn FnMut(&mut [u8]) -> usize) -> usize {
        let mut buffer = self.buffer(most);
        let filled = fill(buffer.get_mut(..most).unwrap_or_default());
        let whole = filled == buffer.len();
        let transfer = match buffer.get(..filled) {
            Some(bytes) if !whole && filled > 0 => Some(self.copied(bytes)),
            _ => None,
        };
        match transfer {
            None if whole => self.bulk_out.submit(buffer),
            None => self.spare.push(buffer),
            Some(transfer) => {
                self.spare.push(buffer);
                self.bulk_out.submit(transfer);
            }
        }
        filled
    }

    /// Returns a buffer of at least this length: of just this if there is one, so that it can leave
    /// when it is full.
    fn buffer(&mut self, length: usize) -> Buffer {
        let place = self.spare.iter().position(|buffer| buffer.len() == length);
        let place = place.or_else(|| self.spare.iter().position(|buffer| buffer.len() > length));
        let mut buffer = match place {
            Some(place) => self.spare.swap_remove(place),
            None => self.spare.pop().unwrap_or_else(|| self.bulk_out.allocate(READ_LENGTH)),
        };
        let lacking = length.saturating_sub(buffer.len()).min(buffer.remaining_capacity());
        buffer.extend_fill(lacking, 0);
        buffer
    }

    /// Returns a buffer with these bytes; of the spare ones the shortest, which is of least use for
    /// anything longer.
    fn copied(&mut self, bytes: &[u8]) -> Buffer {
        if bytes.len() < MAPPED_FROM {
            return Buffer::from(bytes);
        }
        let shortest = self.spare.iter().enumerate().min_by_key(|(_, buffer)| buffer.len());
        let mut buffer = match shortest.map(|(place, _)| place) {
            Some(place) => self.spare.swap_remove(place),
            None => self.bulk_out.allocate(READ_LENGTH),
        };
        buffer.clear();
        buffer.extend_from_slice(bytes);
        buffer
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
