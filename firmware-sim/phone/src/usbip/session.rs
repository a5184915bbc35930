//! One plugging: requests read from the socket, carried out, answered.
//!
//! Transfers of one endpoint complete in the order in which they were submitted, so the lists here
//! and those of the plug have the same order, and a completion belongs to the front entry.

use super::wire::{self, Command, Direction, HEADER, Status, Submit, TRANSFER_MAX, Unlink};
use super::{Ended, UsbIpError};
use crate::control::{Answer, ControlEndpoint, Setup};
use crate::descriptors::{MUX_IN, MUX_OUT};
use crate::plug::{Plug, Unplugged};
use futures_lite::{AsyncRead, AsyncWrite};
use log::{debug, trace};
use smol::Async;
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::mem;
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Transfers waiting for the phone at most; one more fails for want of memory, as it would in a
/// host controller.
const WAITING_MAX: usize = 1024;
/// Bytes of OUT transfers waiting at most; a transfer beyond fails in the same way.
const WAITING_BYTES_MAX: usize = 4 * TRANSFER_MAX;
/// With so many bytes of answers waiting for the socket, no request is read and no completion taken.
const ANSWERS_HIGH: usize = 256 << 10;
/// Steps taken before other tasks get their turn.
const STEPS: usize = 64;
/// Emptied buffers kept for the next transfers, and the capacity above which one is let go.
const SPARE_BUFFERS: usize = 16;
const SPARE_CAPACITY: usize = 64 << 10;
/// Bytes skipped at a time.
const SKIP_AT_ONCE: usize = 4096;

/// What is being read.
enum Reading {
    /// The fixed part of a message, with as many bytes as have arrived.
    Header([u8; HEADER], usize),
    /// The bytes of an OUT transfer, sized already, with as many as have arrived.
    Body(Submit, Vec<u8>, usize),
    /// Bytes that nobody wants, and how many; then the answer that the transfer gets.
    Skipping(usize, Option<(u32, Status)>),
}

impl Reading {
    const NOTHING: Reading = Reading::Header([0; HEADER], 0);
}

/// A bulk OUT transfer in the plug.
struct Sending {
    seqnum: u32,
    length: usize,
    /// Transfers of the plug's that have not completed: itself, and its ZLP if it has one.
    parts: usize,
}

/// A bulk IN transfer in the plug.
struct Asking {
    seqnum: u32,
    length: usize,
    short_not_ok: bool,
}

pub(super) struct Session<'a> {
    control: &'a mut ControlEndpoint,
    plug: Plug,
    socket: Async<UnixStream>,
    reading: Reading,
    sending: VecDeque<Sending>,
    /// Bytes in `sending`.
    sending_bytes: usize,
    asking: VecDeque<Asking>,
    /// Transfers that are answered with NAK for ever.
    nak: Vec<u32>,
    answers: Vec<u8>,
    /// How many bytes of the answers are written.
    written: usize,
    spare: Vec<Vec<u8>>,
    /// A mode switch was answered: when the answer is written, the phone leaves.
    leaving: bool,
}

impl<'a> Session<'a> {
    pub(super) fn new(
        control: &'a mut ControlEndpoint,
        plug: Plug,
        socket: Async<UnixStream>,
    ) -> Self {
        Session {
            control,
            plug,
            socket,
            reading: Reading::NOTHING,
            sending: VecDeque::new(),
            sending_bytes: 0,
            asking: VecDeque::new(),
            nak: Vec::new(),
            answers: Vec::new(),
            written: 0,
            spare: Vec::new(),
            leaving: false,
        }
    }

    /// Goes on until nothing can be done; ready when the cable is out.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Ended, UsbIpError>> {
        for _ in 0..STEPS {
            match self.step(cx) {
                Ok(Step::Moved) => {}
                Ok(Step::Waits) => return Poll::Pending,
                Ok(Step::Ended(why)) => return Poll::Ready(Ok(why)),
                Err(UsbIpError::Socket(error)) if is_hang_up(&error) => {
                    return Poll::Ready(Ok(Ended::HungUp));
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn step(&mut self, cx: &mut Context<'_>) -> Result<Step, UsbIpError> {
        let mut moved = false;
        if self.may_go_on() {
            moved |= match self.complete(cx) {
                Ok(some) => some,
                Err(Unplugged) => return Ok(Step::Ended(Ended::Unplugged)),
            };
        }
        // Only when everything that has completed is answered: a kernel that is told of an unlinking
        // before the transfer's completion takes the late answer for a broken cable.
        if self.may_go_on()
            && let Poll::Ready(count) = self.read(cx)
        {
            if count? == 0 {
                return Ok(Step::Ended(Ended::HungUp));
            }
            self.take_read()?;
            moved = true;
        }
        moved |= self.write(cx)?;
        Ok(match moved {
            _ if self.leaving && self.answers.is_empty() => Step::Ended(Ended::ModeSwitched),
            true => Step::Moved,
            false => Step::Waits,
        })
    }

    fn may_go_on(&self) -> bool {
        self.answers.len() < ANSWERS_HIGH && !self.leaving
    }

    /// Reads into what is being read, at least one byte; 0 when the host hung up.
    fn read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let socket = Pin::new(&mut self.socket);
        match &mut self.reading {
            Reading::Header(bytes, have) => {
                let read = socket.poll_read(cx, bytes.get_mut(*have..).unwrap_or_default());
                read.map_ok(|count| {
                    *have += count;
                    count
                })
            }
            Reading::Body(_, bytes, have) => {
                let read = socket.poll_read(cx, bytes.get_mut(*have..).unwrap_or_default());
                read.map_ok(|count| {
                    *have += count;
                    count
                })
            }
            Reading::Skipping(left, _) => {
                let mut nowhere = [0; SKIP_AT_ONCE];
                let (nowhere, _) = nowhere.split_at_mut(SKIP_AT_ONCE.min(*left));
                socket.poll_read(cx, nowhere).map_ok(|count| {
                    *left -= count;
                    count
                })
            }
        }
    }

    /// Takes what has been read, if it is whole, and begins to read the next.
    fn take_read(&mut self) -> Result<(), UsbIpError> {
        self.reading = match mem::replace(&mut self.reading, Reading::NOTHING) {
            Reading::Header(bytes, HEADER) => match Command::parse(&bytes)? {
                Command::Submit(submit) => self.begin(submit),
                Command::Unlink(unlink) => {
                    self.unlink(unlink);
                    Reading::NOTHING
                }
            },
            Reading::Body(submit, bytes, have) if have == bytes.len() => {
                self.submit(submit, bytes);
                Reading::NOTHING
            }
            Reading::Skipping(0, answer) => {
                if let Some((seqnum, status)) = answer {
                    self.answer(seqnum, status, 0, &[]);
                }
                Reading::NOTHING
            }
            unfinished => unfinished,
        };
        Ok(())
    }

    /// A transfer's fixed part was read: decides what happens to the rest.
    fn begin(&mut self, submit: Submit) -> Reading {
        let waiting = self.sending.len() + self.asking.len() + self.nak.len();
        let status = if submit.trailer > 0 {
            Some(Status::STALL)
        } else if waiting >= WAITING_MAX || self.sending_bytes + submit.body() > WAITING_BYTES_MAX {
            Some(Status::NO_MEMORY)
        } else {
            None
        };
        match status {
            Some(status) => {
                debug!("a transfer at endpoint {} is refused: {status:?}", submit.endpoint);
                let answer = Some((submit.seqnum, status));
                match submit.body() + submit.trailer {
                    0 => {
                        self.answer(submit.seqnum, status, 0, &[]);
                        Reading::NOTHING
                    }
                    length => Reading::Skipping(length, answer),
                }
            }
            None if submit.body() == 0 => {
                self.submit(submit, Vec::new());
                Reading::NOTHING
            }
            None => {
                let mut bytes = self.spare.pop().unwrap_or_default();
                bytes.resize(submit.body(), 0);
                Reading::Body(submit, bytes, 0)
            }
        }
    }

    /// A transfer is whole: the phone gets it.
    fn submit(&mut self, submit: Submit, bytes: Vec<u8>) {
        trace!("submit {submit:?}");
        const OUT: u8 = MUX_OUT & 0x0f;
        const IN: u8 = MUX_IN & 0x0f;
        let Submit { seqnum, length, .. } = submit;
        match (submit.endpoint, submit.direction) {
            (0, _) => self.control(&submit),
            (OUT, Direction::Out) if self.control.has_mux() => {
                let full = length > 0 && length.is_multiple_of(usize::from(self.plug.max_packet()));
                let zlp = submit.zero_packet && full;
                self.plug.submit_out(bytes);
                if zlp {
                    self.plug.submit_out(Vec::new());
                }
                self.sending_bytes += length;
                self.sending.push_back(Sending { seqnum, length, parts: 1 + usize::from(zlp) });
            }
            (IN, Direction::In) if self.control.has_mux() => {
                let buffer = self.spare.pop().unwrap_or_default();
                self.plug.submit_in(buffer, length);
                let short_not_ok = submit.short_not_ok;
                self.asking.push_back(Asking { seqnum, length, short_not_ok });
            }
            _ => self.nak.push(seqnum),
        }
    }

    fn control(&mut self, submit: &Submit) {
        let setup = Setup::parse(&submit.setup);
        let had_mux = self.control.has_mux();
        let (data, mode) = match self.control.answer(setup) {
            Answer::Data(data) => (data, None),
            Answer::Switch { data, mode } => (data, Some(mode)),
            Answer::Stall => {
                debug!("stalled: {setup:?}");
                return self.answer(submit.seqnum, Status::STALL, 0, &[]);
            }
            Answer::Nothing => {
                debug!("never answered: {setup:?}");
                return self.nak.push(submit.seqnum);
            }
        };
        trace!("{setup:?}: {data:?}");
        if setup.is_set_configuration() && had_mux {
            self.plug.reset_port();
        }
        if let Some(mode) = mode {
            debug!("leaves the bus for mode {mode}");
            self.leaving = true;
        }
        match submit.direction {
            Direction::Out => self.answer(submit.seqnum, Status::OK, submit.length, &[]),
            Direction::In => {
                let data = data.get(..submit.length).unwrap_or(&data);
                self.answer(submit.seqnum, Status::OK, data.len(), data);
            }
        }
    }

    /// Answers the transfers that the phone has completed, while there is room for answers; says
    /// whether there were any.
    fn complete(&mut self, cx: &mut Context<'_>) -> Result<bool, Unplugged> {
        let mut some = false;
        while self.answers.len() < ANSWERS_HIGH
            && let Poll::Ready(bytes) = self.plug.poll_in(cx)
        {
            let bytes = bytes?;
            some = true;
            if let Some(Asking { seqnum, length, short_not_ok }) = self.asking.pop_front() {
                let status = match bytes.len() {
                    actual if actual > length => Status::OVERFLOW,
                    actual if actual < length && short_not_ok => Status::SHORT,
                    _ => Status::OK,
                };
                let data = bytes.get(..length).unwrap_or(&bytes);
                self.answer(seqnum, status, data.len(), data);
            }
            self.recycle(bytes);
        }
        while self.answers.len() < ANSWERS_HIGH
            && let Poll::Ready(bytes) = self.plug.poll_out(cx)
        {
            self.recycle(bytes?);
            some = true;
            let Some(sending) = self.sending.front_mut() else { continue };
            sending.parts -= 1;
            if sending.parts == 0 {
                let Sending { seqnum, length, .. } = *sending;
                self.sending.pop_front();
                self.sending_bytes -= length;
                self.answer(seqnum, Status::OK, length, &[]);
            }
        }
        Ok(some)
    }

    /// Takes a transfer back, if it has not completed.
    fn unlink(&mut self, unlink: Unlink) {
        let found = self.withdraw(unlink.target);
        trace!("{unlink:?}: {found}");
        let status = if found { Status::UNLINKED } else { Status::OK };
        self.answers.extend_from_slice(&wire::unlinked(unlink.seqnum, status));
    }

    fn withdraw(&mut self, target: u32) -> bool {
        if let Some(at) = self.nak.iter().position(|seqnum| *seqnum == target) {
            self.nak.swap_remove(at);
            return true;
        }
        if let Some(at) = self.asking.iter().position(|asking| asking.seqnum == target) {
            self.asking.remove(at);
            if let Some(buffer) = self.plug.cancel_in(at) {
                self.recycle(buffer);
            }
            return true;
        }
        let Some(at) = self.sending.iter().position(|sending| sending.seqnum == target) else {
            return false;
        };
        let before: usize = self.sending.iter().take(at).map(|sending| sending.parts).sum();
        let Some(sending) = self.sending.remove(at) else { return false };
        self.sending_bytes -= sending.length;
        for _ in 0..sending.parts {
            if let Some(bytes) = self.plug.cancel_out(before) {
                self.recycle(bytes);
            }
        }
        true
    }

    fn answer(&mut self, seqnum: u32, status: Status, actual: usize, data: &[u8]) {
        self.answers.extend_from_slice(&wire::submitted(seqnum, status, actual));
        self.answers.extend_from_slice(data);
    }

    /// Writes answers; says whether any byte went.
    fn write(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        let mut some = false;
        while let Some(rest) = self.answers.get(self.written..).filter(|rest| !rest.is_empty()) {
            match Pin::new(&mut self.socket).poll_write(cx, rest) {
                Poll::Ready(count) => self.written += count?,
                Poll::Pending => return Ok(some),
            }
            some = true;
        }
        self.answers.clear();
        self.written = 0;
        Ok(some)
    }

    fn recycle(&mut self, bytes: Vec<u8>) {
        if self.spare.len() < SPARE_BUFFERS && bytes.capacity() <= SPARE_CAPACITY {
            self.spare.push(bytes);
        }
    }
}

/// The other end closed its socket, with or without answers unread.
fn is_hang_up(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
}

/// What one round led to.
enum Step {
    Moved,
    Waits,
    Ended(Ended),
}
