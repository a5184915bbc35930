//! The USB-pipe seam: one phone's two bulk endpoints, as a link needs them.
//!
//! A pipe moves *transfers*; it knows nothing of frames. It is shaped after the raw endpoints of
//! nusb (`submit`, `poll_next_complete`, completions in order), except that all memory is the pipe's
//! own, since the best kind depends on the bus: an OUT transfer is written where it will leave from, and a
//! completed IN transfer is looked at where it lies. Here is the implementation for a virtual phone in this process; the
//! one for real phones is `usb::NusbPipe`.
//! Leaves out: finding, opening and choosing USB devices.

use std::error::Error;
use std::fmt;
use std::task::{Context, Poll};

/// How many IN transfers a pipe keeps submitted: with one, the bus idles while we look at it;
/// three raised a real phone's download from 7.5 to 23.8 MB/s (PROTOCOL §3).
pub const READS_IN_FLIGHT: usize = 3;

/// How much one IN transfer asks for: the first multiple of every packet size that is not below
/// the largest frame, so that one read is one frame.
pub const READ_LENGTH: usize = 65536;

/// One phone's bulk OUT and bulk IN endpoint.
///
/// All calls come from one task; both `poll_…` calls arrange for that task to be woken.
pub trait Pipe {
    /// Returns wMaxPacketSize of the OUT endpoint's descriptor, in bytes.
    fn max_packet_size(&self) -> u16;

    /// Submits one OUT transfer behind those already submitted. `fill` gets `most` bytes of memory,
    /// whatever stands in it, and returns how many of them, from the first, are the transfer; with 0
    /// nothing is submitted. No zero-length packet is appended. Returns what `fill` did; any failure
    /// shows in [`poll_out`](Self::poll_out).
    fn submit_out(&mut self, most: usize, fill: &mut dyn FnMut(&mut [u8]) -> usize) -> usize;

    /// Submits a zero-length packet as an OUT transfer of its own.
    fn submit_zlp(&mut self);

    /// Tells when the oldest OUT transfer is done. Only asked while one is submitted of which it has
    /// not told, as nusb demands.
    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), PipeError>>;

    /// Returns the next IN transfer in order; the buffer of the one before is submitted again
    /// by this call.
    fn poll_in(&mut self, cx: &mut Context<'_>) -> Poll<Result<InTransfer<'_>, PipeError>>;

    /// Resets the phone's USB port: the first call begins, ready means done, and until then the pipe
    /// is asked for nothing else. OUT transfers in flight end and do not come back; IN ones are
    /// submitted again.
    ///
    /// # Errors
    /// The device will not come back through this pipe: a phone that enumerates again is a new
    /// device with a pipe of its own, and this one was [`Unplugged`](PipeError::Unplugged).
    fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), PipeError>>;
}

/// A completed IN transfer, or the first part of one that is longer than the read was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InTransfer<'p> {
    /// The bytes, in the pipe's own memory.
    pub bytes: &'p [u8],
    /// Whether the transfer ended with these bytes (at a short or zero-length packet), rather than
    /// the read being full.
    pub ended: bool,
}

/// Why a pipe carries nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PipeError {
    /// The phone was unplugged. Nothing to do but to forget it.
    Unplugged,
    /// The host controller or the phone failed a transfer: a frame may be lost, so the session
    /// has to begin anew.
    Fault,
}

impl fmt::Display for PipeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unplugged => "the phone was unplugged",
            Self::Fault => "a USB transfer failed",
        })
    }
}

impl Error for PipeError {}

#[cfg(feature = "simulate")]
pub use simulated::SimulatedPipe;

#[cfg(feature = "simulate")]
mod simulated {
    use std::task::{Context, Poll, ready};

    use usbmux_phone::{Plug, Unplugged};

    use super::{InTransfer, Pipe, PipeError, READ_LENGTH, READS_IN_FLIGHT};

    /// The pipe to a virtual phone in this process.
    pub struct SimulatedPipe {
        plug: Plug,
        /// Memory for the next OUT transfer.
        staged: Vec<u8>,
        /// Memory that came back from earlier ones.
        spare: Vec<Vec<u8>>,
        /// The IN buffer handed out last; it goes back with the next `poll_in`.
        looked_at: Option<Vec<u8>>,
    }

    impl SimulatedPipe {
        /// Takes the host's end of a virtual phone's cable and starts reading from it.
        pub fn new(mut plug: Plug) -> Self {
            for _ in 0..READS_IN_FLIGHT {
                plug.submit_in(Vec::with_capacity(READ_LENGTH), READ_LENGTH);
            }
            Self { plug, staged: Vec::new(), spare: Vec::new(), looked_at: None }
        }
    }

    impl From<Unplugged> for PipeError {
        fn from(_: Unplugged) -> Self {
            Self::Unplugged
        }
    }

    impl Pipe for SimulatedPipe {
        fn max_packet_size(&self) -> u16 {
            self.plug.max_packet()
        }

        fn submit_out(&mut self, most: usize, fill: &mut dyn FnMut(&mut [u8]) -> usize) -> usize {
            if self.staged.len() < most {
                self.staged.resize(most, 0);
            }
            let filled = fill(self.staged.get_mut(..most).unwrap_or_default());
            if filled == 0 {
                return 0;
            }
            let mut transfer = self.spare.pop().unwrap_or_default();
            if filled >= self.staged.len() / 2 {
                // The next staging writes what is lacking then, which is less than would be copied.
                self.staged.truncate(filled);
                std::mem::swap(&mut transfer, &mut self.staged);
            } else {
                transfer.clear();
                transfer.extend_from_slice(self.staged.get(..filled).unwrap_or_default());
            }
            self.plug.submit_out(transfer);
            filled
        }

        fn submit_zlp(&mut self) {
            self.plug.submit_out(Vec::new());
        }

        fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), PipeError>> {
            let buffer = ready!(self.plug.poll_out(cx))?;
            self.spare.push(buffer);
            Poll::Ready(Ok(()))
        }

        fn poll_in(&mut self, cx: &mut Context<'_>) -> Poll<Result<InTransfer<'_>, PipeError>> {
            if let Some(buffer) = self.looked_at.take() {
                self.plug.submit_in(buffer, READ_LENGTH);
            }
            let done = ready!(self.plug.poll_in(cx))?;
            let bytes = self.looked_at.insert(done).as_slice();
            Poll::Ready(Ok(InTransfer { bytes, ended: bytes.len() < READ_LENGTH }))
        }

        fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), PipeError>> {
            self.plug.reset_port();
            while let Poll::Ready(ended) = self.plug.poll_out(cx) {
                ended?;
            }
            Poll::Ready(Ok(()))
        }
    }
}
