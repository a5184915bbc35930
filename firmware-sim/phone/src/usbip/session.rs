//! One plugging: requests read from the socket, carried out, answered.

use super::wire::{self, Command, Direction, HEADER, Malformed, Status, Submit, Unlink};
use crate::control::{Answer, ControlEndpoint, Setup};
use crate::plug::{Plug, Unplugged};
use crate::remote::probe::Probe;
use crate::remote::socket::Socket;
use crate::remote::transfers::{Done, Transfers};
use crate::remote::{CableError, Ended, Step, poll_session};
use log::{debug, trace};
use smol::Async;
use std::collections::HashSet;
use std::io;
use std::mem;
use std::os::unix::net::UnixStream;
use std::task::{Context, Poll};

/// The bit of an endpoint's address that stands for its direction.
const IN: u8 = 0x80;
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

pub(super) struct Session<'a> {
    transfers: Transfers<'a>,
    socket: Socket,
    reading: Reading,
    /// Reads that the host does not want to be short.
    short_not_ok: HashSet<u64>,
    /// A mode switch was answered: when the answer is written, the phone leaves.
    leaving: bool,
}

impl<'a> Session<'a> {
    pub(super) fn new(
        control: &'a mut ControlEndpoint,
        plug: Plug,
        probe: Probe,
        socket: Async<UnixStream>,
    ) -> Self {
        Session {
            transfers: Transfers::new(control, plug, probe),
            socket: Socket::new(socket),
            reading: Reading::NOTHING,
            short_not_ok: HashSet::new(),
            leaving: false,
        }
    }

    /// Goes on until nothing can be done; ready when the cable is out.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Ended, CableError<Malformed>>> {
        poll_session(cx, |cx| self.step(cx))
    }

    fn step(&mut self, cx: &mut Context<'_>) -> Result<Step, CableError<Malformed>> {
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
        moved |= self.socket.write(cx)?;
        Ok(match moved {
            _ if self.leaving && self.socket.is_flushed() => Step::Ended(Ended::ModeSwitched),
            true => Step::Moved,
            false => Step::Waits,
        })
    }

    fn may_go_on(&self) -> bool {
        self.socket.has_room() && !self.leaving
    }

    /// Reads into what is being read, at least one byte; 0 when the host hung up.
    fn read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        match &mut self.reading {
            Reading::Header(bytes, have) => self.socket.read(cx, bytes, have),
            Reading::Body(_, bytes, have) => self.socket.read(cx, bytes, have),
            Reading::Skipping(left, _) => {
                let mut nowhere = [0; SKIP_AT_ONCE];
                let (nowhere, _) = nowhere.split_at_mut(SKIP_AT_ONCE.min(*left));
                self.socket.read(cx, nowhere, &mut 0).map_ok(|count| {
                    *left -= count;
                    count
                })
            }
        }
    }

    /// Takes what has been read, if it is whole, and begins to read the next.
    fn take_read(&mut self) -> Result<(), CableError<Malformed>> {
        self.reading = match mem::replace(&mut self.reading, Reading::NOTHING) {
            Reading::Header(bytes, HEADER) => {
                match Command::parse(&bytes).map_err(CableError::Malformed)? {
                    Command::Submit(submit) => self.begin(submit),
                    Command::Unlink(unlink) => {
                        self.unlink(unlink);
                        Reading::NOTHING
                    }
                }
            }
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
        let status = if submit.trailer > 0 {
            Some(Status::STALL)
        } else if !self.transfers.has_room(submit.body()) {
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
                let bytes = self.transfers.buffer(submit.body());
                Reading::Body(submit, bytes, 0)
            }
        }
    }

    /// A transfer is whole: the phone gets it.
    fn submit(&mut self, submit: Submit, bytes: Vec<u8>) {
        trace!("submit {submit:?}");
        let id = u64::from(submit.seqnum);
        match (submit.endpoint, submit.direction) {
            (0, _) => self.control(&submit),
            (endpoint, Direction::Out) => {
                self.transfers.send(id, endpoint, bytes, submit.zero_packet);
            }
            (endpoint, Direction::In) => {
                if submit.short_not_ok {
                    self.short_not_ok.insert(id);
                }
                self.transfers.ask(id, endpoint | IN, submit.length);
            }
        }
    }

    fn control(&mut self, submit: &Submit) {
        let data = match self.transfers.control(Setup::parse(&submit.setup)) {
            Answer::Data(data) => data,
            Answer::Switch { data, .. } => {
                self.leaving = true;
                data
            }
            Answer::Stall => return self.answer(submit.seqnum, Status::STALL, 0, &[]),
            Answer::Nothing => {
                return self.transfers.never_completes(u64::from(submit.seqnum), 0);
            }
        };
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
        while self.socket.has_room()
            && let Poll::Ready(done) = self.transfers.poll(cx)
        {
            some = true;
            match done? {
                Done::Sent { id, length } => self.answer(seqnum(id), Status::OK, length, &[]),
                Done::Stalled { id, .. } => {
                    self.short_not_ok.remove(&id);
                    self.answer(seqnum(id), Status::STALL, 0, &[]);
                }
                Done::Received { id, length, bytes } => {
                    let status = match (bytes.len(), self.short_not_ok.remove(&id)) {
                        (actual, _) if actual > length => Status::OVERFLOW,
                        (actual, true) if actual < length => Status::SHORT,
                        _ => Status::OK,
                    };
                    let data = bytes.get(..length).unwrap_or(&bytes);
                    self.answer(seqnum(id), status, data.len(), data);
                    self.transfers.recycle(bytes);
                }
            }
        }
        Ok(some)
    }

    /// Takes a transfer back, if it has not completed.
    fn unlink(&mut self, unlink: Unlink) {
        let id = u64::from(unlink.target);
        let found = self.transfers.withdraw(id).is_some();
        self.short_not_ok.remove(&id);
        trace!("{unlink:?}: {found}");
        let status = if found { Status::UNLINKED } else { Status::OK };
        self.socket.answer(&wire::unlinked(unlink.seqnum, status));
    }

    fn answer(&mut self, seqnum: u32, status: Status, actual: usize, data: &[u8]) {
        self.socket.answer(&wire::submitted(seqnum, status, actual));
        self.socket.answer(data);
    }
}

/// The number that a transfer was submitted with.
fn seqnum(id: u64) -> u32 {
    u32::try_from(id).expect("a transfer's number is the seqnum it came with")
}
