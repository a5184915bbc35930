//! The smallest host there can be: the engine on a USB host controller, without TCP. It reads and
//! writes packets of 64 bytes and never has a frame in its memory.

use super::SceneError;
use super::messages::{Gatherer, Message};
use crate::bus::BusEvent;
use crate::controller::Controller;
use crate::time::Nanos;
use std::task::Poll;
use usbmux_core::wire::MAX_FRAME;
use usbmux_core::{CONTROL_FRAME, Config, ConnId, Event, Mux, Received, Role, Slot, Transfer};
use usbmux_dongle::usb::{BulkEndpoint, HostController, Port, Setup, Speed};
use usbmux_phone::Options;
use usbmux_phone::descriptors::{MUX_IN, MUX_OUT};

const ADDRESS: u8 = 1;
/// How long the host waits for anything, in simulated time.
const PATIENCE: Nanos = Nanos::from_millis(2_000);

/// A connection's fate, and what came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) open: bool,
    pub(super) ended: bool,
    pub(super) received: u64,
}

pub(super) struct SmallHost {
    mux: Mux<[Slot; 4]>,
    usb: Controller,
    now: Nanos,
    linked: bool,
    pub(super) dead: bool,
    lines: Vec<(ConnId, Line)>,
    gatherer: Gatherer,
    pub(super) messages: Vec<Message>,
    /// Most bytes of payload that were in its memory at a time.
    pub(super) most_buffered: usize,
}

impl SmallHost {
    /// A phone is plugged in, and the link is up.
    pub(super) fn linked(phone: &Options, config: Config) -> Result<Self, SceneError> {
        let mut host = SmallHost {
            mux: Mux::new(Role::Host, config, [Slot::EMPTY; 4]),
            usb: Controller::with_fifo(Speed::Full, phone, 1, 1),
            now: Nanos::ZERO,
            linked: false,
            dead: false,
            lines: Vec::new(),
            gatherer: Gatherer::new(64),
            messages: Vec::new(),
            most_buffered: 0,
        };
        host.usb.bus.take_log();
        host.usb.bus.device().plug_in(host.now.instant());
        host.usb.bus.run(host.now);
        host.usb.reset_port();
        host.until("the port's reset", |host| matches!(host.usb.port(), Port::Enabled(_)))?;
        host.control(0, 5, ADDRESS.into())?;
        host.control(ADDRESS, 9, 3)?;
        let max_packet = 64;
        let endpoint = |address| BulkEndpoint { address, max_packet };
        host.usb.open_bulk(ADDRESS, endpoint(MUX_IN), endpoint(MUX_OUT));
        host.mux.attach(host.now.instant(), max_packet);
        host.until("the link", |host| host.linked)?;
        host.linger(Nanos::from_millis(1));
        Ok(host)
    }

    /// A control transfer without data.
    fn control(&mut self, address: u8, request: u8, value: u16) -> Result<(), SceneError> {
        let setup = Setup { request_type: 0, request, value, index: 0, length: 0 };
        self.usb.start_control(address, 64, setup);
        self.until("a control transfer", |host| host.usb.poll_control(&mut []).is_ready())
    }

    /// Opens a connection with a window of so many bytes.
    pub(super) fn connect(&mut self, port: u16, window: u32) -> Result<ConnId, SceneError> {
        let conn = self.mux.connect(self.now.instant(), port, window);
        let conn = conn.map_err(|_| SceneError::Stuck("no connection"))?;
        self.lines.push((conn, Line::default()));
        self.until("the phone's SYN|ACK", |host| host.line(conn).open)?;
        Ok(conn)
    }

    pub(super) fn now(&self) -> Nanos {
        self.now
    }

    pub(super) fn line(&self, conn: ConnId) -> Line {
        let line = self.lines.iter().find(|(id, _)| *id == conn);
        line.map_or(Line::default(), |(_, line)| *line)
    }

    pub(super) fn unacknowledged(&self, conn: ConnId) -> u32 {
        self.mux.unacknowledged(conn)
    }

    /// Sends one frame with so many bytes of payload, made packet by packet. `excess` bytes more
    /// than the engine allows make a frame that no host should send: the length field says so too.
    pub(super) fn send(
        &mut self,
        conn: ConnId,
        payload: usize,
        excess: usize,
    ) -> Result<(), SceneError> {
        self.until("room in the phone's window", |host| host.mux.sendable(conn) >= payload)?;
        self.until("the pipe", |host| host.usb.space().is_some())?;
        let sent = self.mux.send(self.now.instant(), conn, payload);
        let sent = sent.map_err(|_| SceneError::Stuck("the engine does not send"))?;
        let mut header = sent.header().to_vec();
        if let Some(field) = header.get_mut(4..8) {
            let length = u32::try_from(sent.header().len() + payload + excess).unwrap_or(u32::MAX);
            field.copy_from_slice(&length.to_be_bytes());
        }
        let mut left = sent.taken + excess;
        let mut packet = header;
        loop {
            let more = left.min(64 - packet.len());
            packet.extend(std::iter::repeat_n(0x55, more));
            left -= more;
            self.note_buffered(packet.len());
            let short = packet.len() < 64;
            self.put(&packet)?;
            packet.clear();
            if short || (left == 0 && excess == 0 && !sent.needs_zlp) {
                return Ok(());
            }
        }
    }

    /// Sends one packet.
    fn put(&mut self, packet: &[u8]) -> Result<(), SceneError> {
        self.until_pipe_is_free()?;
        if let Some(space) = self.usb.space().and_then(|space| space.get_mut(..packet.len())) {
            space.copy_from_slice(packet);
            self.usb.send(packet.len());
        }
        Ok(())
    }

    /// Waits for the pipe without sending frames of the engine's between: one is under way.
    fn until_pipe_is_free(&mut self) -> Result<(), SceneError> {
        let deadline = self.now + PATIENCE;
        while self.usb.space().is_none() {
            self.pass_time(deadline)?;
            self.take_pieces();
        }
        Ok(())
    }

    /// Lives until something is true.
    pub(super) fn until(
        &mut self,
        what: &'static str,
        mut reached: impl FnMut(&mut Self) -> bool,
    ) -> Result<(), SceneError> {
        let deadline = self.now + PATIENCE;
        loop {
            self.work();
            if reached(self) {
                return Ok(());
            }
            self.pass_time(deadline).map_err(|_| SceneError::Stuck(what))?;
        }
    }

    /// Lives for a while.
    pub(super) fn linger(&mut self, time: Nanos) {
        let end = self.now + time;
        while self.pass_time(end).is_ok() {
            self.work();
        }
        self.now = end;
    }

    fn pass_time(&mut self, deadline: Nanos) -> Result<(), SceneError> {
        let tick = self.mux.next_tick().map(Nanos::from);
        let next = self.usb.bus.next_event().into_iter().chain(tick).min();
        let next = next.filter(|at| *at <= deadline).ok_or(SceneError::Stuck("nothing happens"))?;
        // A tick that is due and cannot be served yet must not stop the clock.
        self.now = next.max(self.now + Nanos(1));
        self.usb.bus.run(self.now);
        self.mux.tick(self.now.instant());
        let log: Vec<BusEvent> = self.usb.bus.take_log();
        self.messages.extend(log.iter().filter_map(|event| self.gatherer.take(event)));
        Ok(())
    }

    fn work(&mut self) {
        self.take_pieces();
        let mut control = [0; CONTROL_FRAME];
        if let Some(space) = self.usb.space()
            && let Some(frame) = self.mux.poll_transmit(self.now.instant(), &mut control)
            && let Some(space) = space.get_mut(..frame.len)
        {
            space.copy_from_slice(control.get(..frame.len).unwrap_or_default());
            self.usb.send(frame.len);
        }
        while let Some(event) = self.mux.poll_event(self.now.instant()) {
            match event {
                Event::LinkUp { .. } => self.linked = true,
                Event::SessionDead { .. } => self.dead = true,
                Event::Connected { conn } => self.change(conn, |line| line.open = true),
                Event::Refused { conn, .. } | Event::Closed { conn, .. } => {
                    self.change(conn, |line| line.ended = true);
                }
                _ => {}
            }
        }
    }

    fn change(&mut self, conn: ConnId, change: impl FnOnce(&mut Line)) {
        if let Some((_, line)) = self.lines.iter_mut().find(|(id, _)| *id == conn) {
            change(line);
        }
    }

    fn take_pieces(&mut self) {
        loop {
            self.usb.request();
            let Poll::Ready(Ok(piece)) = self.usb.receive() else { return };
            let mut transfer = match piece.ends_transfer {
                true => Transfer::new(piece.bytes),
                false => Transfer::part(piece.bytes),
            };
            let mut buffered = 0;
            while let Some(received) = self.mux.receive(self.now.instant(), &mut transfer) {
                if let Received::Data { conn, payload, .. } = received {
                    // Whoever wants the bytes takes them here, faster than USB brings them.
                    buffered = payload.len();
                    if let Some((_, line)) = self.lines.iter_mut().find(|(id, _)| *id == conn) {
                        line.received += payload.len() as u64;
                    }
                }
            }
            self.most_buffered = self.most_buffered.max(buffered);
        }
    }

    fn note_buffered(&mut self, bytes: usize) {
        self.most_buffered = self.most_buffered.max(bytes);
    }

    /// The longest frame that the engine may send.
    pub(super) const LONGEST: usize = MAX_FRAME;
}
