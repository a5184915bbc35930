//! One plugging: messages read from the socket, carried out, answered.

use super::tables::Tables;
use super::wire::{
    self, Capabilities, ControlPacket, Header, Malformed, Request, SHORT_HEADER, Status, kind,
};
use crate::control::{Answer, ControlEndpoint, Setup};
use crate::descriptors::{self, MUX_IN, MUX_OUT};
use crate::options::HIGH_SPEED_PACKET;
use crate::plug::{Plug, Unplugged};
use crate::remote::probe::Probe;
use crate::remote::socket::Socket;
use crate::remote::transfers::{Done, Transfers};
use crate::remote::{CableError, Ended, Step, poll_session};
use log::{debug, trace};
use smol::Async;
use std::mem;
use std::os::unix::net::UnixStream;
use std::task::{Context, Poll};

/// Speeds as `device_connect` has them.
const FULL_SPEED: u8 = 1;
const HIGH_SPEED: u8 = 2;
const SUPER_SPEED: u8 = 3;
/// The bit of an endpoint's address that stands for its direction.
const IN: u8 = 0x80;

pub(super) struct Session<'a> {
    transfers: Transfers<'a>,
    max_packet: u16,
    socket: Socket,
    /// What both ends can; nothing before the host's `hello`.
    capabilities: Capabilities,
    greeted: bool,
    /// The fixed part of the message whose rest is being read.
    header: Option<Header>,
    /// The part that is being read, sized already, with as many bytes as have arrived.
    incoming: Vec<u8>,
    have: usize,
    /// The phone has said that it goes, and why it does: when that is written, it is gone.
    leaving: Option<Ended>,
}

impl<'a> Session<'a> {
    pub(super) fn new(
        control: &'a mut ControlEndpoint,
        plug: Plug,
        probe: Probe,
        socket: Async<UnixStream>,
    ) -> Self {
        let max_packet = plug.max_packet();
        let mut session = Session {
            transfers: Transfers::new(control, plug, probe),
            max_packet,
            socket: Socket::new(socket),
            capabilities: Capabilities::NONE,
            greeted: false,
            header: None,
            incoming: vec![0; SHORT_HEADER],
            have: 0,
            leaving: None,
        };
        session.say(kind::HELLO, 0, &wire::hello());
        session
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
            moved |= self.complete(cx);
        }
        if self.may_go_on()
            && let Poll::Ready(count) = self.socket.read(cx, &mut self.incoming, &mut self.have)
        {
            if count? == 0 {
                return Ok(Step::Ended(Ended::HungUp));
            }
            self.take_read().map_err(CableError::Malformed)?;
            moved = true;
        }
        moved |= self.socket.write(cx)?;
        Ok(match self.leaving {
            Some(why) if self.socket.is_flushed() => Step::Ended(why),
            _ if moved => Step::Moved,
            _ => Step::Waits,
        })
    }

    fn may_go_on(&self) -> bool {
        self.socket.has_room() && self.leaving.is_none()
    }

    /// Takes what has been read, if it is whole, and makes ready for what follows.
    fn take_read(&mut self) -> Result<(), Malformed> {
        while self.have == self.incoming.len() {
            self.have = 0;
            let mut body = mem::take(&mut self.incoming);
            let Some(header) = self.header.take() else {
                let header = Header::parse(&body)?;
                self.transfers.recycle(body);
                self.incoming = self.transfers.buffer(header.length);
                self.header = Some(header);
                continue;
            };
            let request = Request::parse(self.capabilities, header.kind, &body)?;
            if let Request::Bulk { endpoint, .. } = request
                && endpoint & IN == 0
            {
                body.drain(..Request::data_at(self.capabilities));
            } else {
                body.clear();
            }
            self.carry_out(header, request, body)?;
            self.incoming = vec![0; self.capabilities.header()];
        }
        Ok(())
    }

    fn carry_out(
        &mut self,
        Header { kind, id, .. }: Header,
        request: Request,
        data: Vec<u8>,
    ) -> Result<(), Malformed> {
        trace!("message {id}: {request:?}");
        if !self.greeted && !matches!(request, Request::Hello(_)) {
            return Err(Malformed::NoHello(kind));
        }
        match request {
            Request::Hello(theirs) => self.hello(theirs),
            Request::Reset => self.reset(),
            Request::SetConfiguration(value) => self.set_configuration(id, value),
            Request::GetConfiguration => self.tell_configuration(id, Status::Success),
            Request::SetAlternate { interface, alternate } => {
                self.set_alternate(id, interface, alternate);
            }
            Request::GetAlternate { interface } => self.tell_alternate(id, interface, None),
            Request::Isochronous { endpoint } => {
                self.say(kind::ISO_STREAM_STATUS, id, &[Status::Stall as u8, endpoint]);
            }
            // Granted: there will be none.
            Request::Interrupts { endpoint } => {
                let status = [Status::Success as u8, endpoint];
                self.say(kind::INTERRUPT_RECEIVING_STATUS, id, &status);
            }
            Request::Cancel => self.cancel(id),
            Request::Control(packet) => self.control(id, packet),
            Request::Bulk { endpoint, length, stream } => {
                self.bulk(id, endpoint, length, stream, data);
            }
            Request::Interrupt { endpoint } => {
                self.say(kind::INTERRUPT_PACKET, id, &[endpoint, Status::Stall as u8, 0, 0]);
            }
            Request::Other(kind) => debug!("message {kind} is none that a phone needs to know"),
        }
        Ok(())
    }

    /// The host is there: the phone is plugged in.
    fn hello(&mut self, theirs: Capabilities) {
        if mem::replace(&mut self.greeted, true) {
            return;
        }
        self.capabilities = theirs.and(Capabilities::OURS);
        self.tell_tables();
        let speed = match self.max_packet {
            ..HIGH_SPEED_PACKET => FULL_SPEED,
            HIGH_SPEED_PACKET => HIGH_SPEED,
            _ => SUPER_SPEED,
        };
        let descriptor = descriptors::device(self.max_packet);
        let device = wire::device_connect(self.capabilities, speed, &descriptor);
        self.say(kind::DEVICE_CONNECT, 0, &device);
    }

    /// The interfaces and endpoints that there are now; due before each message that changes them.
    fn tell_tables(&mut self) {
        let tables = Tables::of(self.transfers.endpoint_zero(), self.max_packet);
        self.say(kind::INTERFACE_INFO, 0, &wire::interface_info(&tables.interfaces));
        let endpoints = wire::ep_info(self.capabilities, &tables.endpoints);
        self.say(kind::EP_INFO, 0, &endpoints);
    }

    /// A reset of the port: unlike usbredir's own host, which puts the configuration back, the phone
    /// is not configured after it, as USB has it (USB 2.0 §9.1.1.3).
    fn reset(&mut self) {
        for (id, endpoint) in self.transfers.reset() {
            self.answer_cancelled(id, endpoint);
        }
        self.tell_tables();
    }

    fn set_configuration(&mut self, id: u64, value: u8) {
        let setup = Setup { request_type: 0, request: 9, value: value.into(), index: 0, length: 0 };
        let status = match self.transfers.control(setup) {
            Answer::Stall | Answer::Nothing => Status::Stall,
            Answer::Data(_) | Answer::Switch { .. } => Status::Success,
        };
        self.tell_tables();
        self.tell_configuration(id, status);
    }

    fn tell_configuration(&mut self, id: u64, status: Status) {
        let value = self.transfers.endpoint_zero().configuration();
        self.say(kind::CONFIGURATION_STATUS, id, &[status as u8, value]);
    }

    fn set_alternate(&mut self, id: u64, interface: u8, alternate: u8) {
        let (value, index) = (alternate.into(), interface.into());
        let setup = Setup { request_type: 1, request: 11, value, index, length: 0 };
        let refused = self.transfers.control(setup) == Answer::Stall;
        self.tell_tables();
        self.tell_alternate(id, interface, refused.then_some(Status::Stall));
    }

    fn tell_alternate(&mut self, id: u64, interface: u8, refusal: Option<Status>) {
        let alternate = self.transfers.endpoint_zero().alternate(interface.into());
        let known = if alternate.is_some() { Status::Success } else { Status::Invalid };
        let status = refusal.unwrap_or(known) as u8;
        self.say(kind::ALT_SETTING_STATUS, id, &[status, interface, alternate.unwrap_or(0)]);
    }

    fn control(&mut self, id: u64, packet: ControlPacket) {
        let answer = match packet.endpoint & 0x0f {
            0 => self.transfers.control(packet.setup),
            _ => Answer::Stall,
        };
        let (data, status) = match &answer {
            Answer::Data(data) | Answer::Switch { data, .. } => (&data[..], Status::Success),
            Answer::Stall => (&[][..], Status::Stall),
            Answer::Nothing => return self.transfers.never_completes(id, 0),
        };
        // A transfer to the phone was taken as a whole; no answer is longer than was asked for.
        let to_phone = packet.setup.request_type & IN == 0 && status == Status::Success;
        let length = if to_phone { packet.setup.length.into() } else { data.len() };
        let mut bytes = Vec::new();
        packet.emit(status, u16::try_from(length).unwrap_or(u16::MAX), &mut bytes);
        bytes.extend_from_slice(data);
        self.say(kind::CONTROL_PACKET, id, &bytes);
        if let Answer::Switch { .. } = answer {
            self.leave(Ended::ModeSwitched);
        }
    }

    fn bulk(&mut self, id: u64, endpoint: u8, length: usize, stream: u32, data: Vec<u8>) {
        if stream != 0 || !self.transfers.has_room(data.len()) {
            self.answer_bulk(id, endpoint, Status::Invalid, &[], 0);
        } else if endpoint & IN == 0 {
            self.transfers.send(id, endpoint, data, false);
        } else {
            self.transfers.ask(id, endpoint, length);
        }
    }

    /// Answers the transfers that the phone has completed, while there is room for answers; says
    /// whether there were any.
    fn complete(&mut self, cx: &mut Context<'_>) -> bool {
        let mut some = false;
        while self.may_go_on()
            && let Poll::Ready(done) = self.transfers.poll(cx)
        {
            some = true;
            match done {
                Ok(Done::Sent { id, length }) => {
                    self.answer_bulk(id, MUX_OUT, Status::Success, &[], length);
                }
                Ok(Done::Stalled { id, address }) => {
                    self.answer_bulk(id, address, Status::Stall, &[], 0);
                }
                Ok(Done::Received { id, length, bytes }) => {
                    let babbles = bytes.len() > length;
                    let status = if babbles { Status::Babble } else { Status::Success };
                    let data = bytes.get(..length).unwrap_or(&bytes);
                    self.answer_bulk(id, MUX_IN, status, data, data.len());
                    self.transfers.recycle(bytes);
                }
                Err(Unplugged) => self.leave(Ended::Unplugged),
            }
        }
        some
    }

    /// Takes a transfer back; one that has completed was answered already.
    fn cancel(&mut self, id: u64) {
        if let Some(endpoint) = self.transfers.withdraw(id) {
            self.answer_cancelled(id, endpoint);
        }
    }

    fn answer_cancelled(&mut self, id: u64, endpoint: u8) {
        // A control transfer that the phone never answers is forgotten by the host itself.
        if endpoint != 0 {
            self.answer_bulk(id, endpoint, Status::Cancelled, &[], 0);
        }
    }

    fn answer_bulk(&mut self, id: u64, endpoint: u8, status: Status, data: &[u8], length: usize) {
        let mut bytes = Vec::with_capacity(wire::BULK_PACKET_MAX);
        wire::bulk_packet(self.capabilities, endpoint, status, length, &mut bytes);
        self.head(kind::BULK_PACKET, id, bytes.len() + data.len());
        self.socket.answer(&bytes);
        self.socket.answer(data);
    }

    /// The phone goes: nothing more is said after this.
    fn leave(&mut self, why: Ended) {
        if self.greeted {
            self.say(kind::DEVICE_DISCONNECT, 0, &[]);
        }
        self.leaving = Some(why);
    }

    fn say(&mut self, kind: u32, id: u64, body: &[u8]) {
        self.head(kind, id, body.len());
        self.socket.answer(body);
    }

    fn head(&mut self, kind: u32, id: u64, length: usize) {
        let mut bytes = Vec::with_capacity(wire::LONG_HEADER);
        Header { kind, length, id }.emit(self.capabilities, &mut bytes);
        self.socket.answer(&bytes);
    }
}
