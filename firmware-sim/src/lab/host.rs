//! The lab's host: the engine, and a program for each connection, on a USB host controller. Between
//! the engine and USB stands a hand that can lose or damage what passes.

use super::fault::{Armed, Field};
use super::seen::Seen;
use super::witness::State;
use crate::controller::Controller;
use crate::time::Nanos;
use std::collections::VecDeque;
use std::task::Poll;
use usbmux_core::wire::Flags;
use usbmux_core::{
    CONTROL_FRAME, CloseReason, Config, ConnId, DeathCause, Event, LinkFailure, LinkState, Mux,
    Received, RefusedBy, Role, Slot, Transfer,
};
use usbmux_dongle::usb::{HostController, TransferError};

/// Connections at once.
const SLOTS: usize = 8;
/// Connections that are remembered, those that ended included; the oldest of these goes first.
const LINES: usize = 24;

/// A connection with its program.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    pub(super) conn: ConnId,
    /// Port of the phone's.
    pub port: u16,
    /// Port of the host's own, once the first frame was seen.
    pub host_port: u16,
    /// Where the connection stands, as its program knows.
    pub state: State,
    /// Bytes that the program still wants to send.
    pub queued: u64,
    /// Bytes that it will still read; none: all that come.
    pub wants: Option<u64>,
    /// Whether it reads at all.
    pub reads: bool,
    /// Bytes that arrived and that it has not read.
    pub held: u32,
    /// Bytes that it has read.
    pub read: u64,
    /// Bytes that it has sent.
    pub sent: u64,
    /// The window that the host gave it.
    pub window: u32,
}

/// Something that a person might want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum News {
    LinkUp(u32),
    LinkFailed(LinkFailure),
    SessionDead(DeathCause),
    Connected(u16),
    Refused(u16, RefusedBy),
    Closed(u16, CloseReason),
    /// A frame of the host's was numbered, and never reached USB.
    LostOut(Vec<u8>),
    /// A message of the phone's never reached the engine.
    LostIn,
    /// An empty packet was due, and did not go out.
    LostZlp(usize),
    /// A bit of a message of the phone's was turned over.
    DamagedIn(Field),
}

pub(super) struct Host {
    pub(super) mux: Mux<[Slot; SLOTS]>,
    pub(super) usb: Controller,
    pub(super) now: Nanos,
    pub(super) lines: Vec<Line>,
    pub(super) armed: Armed,
    pub(super) news: Vec<News>,
    window: u32,
    full: usize,
    /// What is still to go out of the frame that is under way; an empty packet is an empty piece.
    outgoing: VecDeque<Vec<u8>>,
    /// Damage to a frame that is under way, and that frame.
    damaged: Option<(Field, Vec<u8>)>,
    /// Whether the message that is coming in is to be lost.
    losing_in: bool,
    /// Whether the next piece begins a message.
    in_begins: bool,
}

impl Host {
    pub(super) fn new(usb: Controller, config: Config, window: u32, full: usize) -> Self {
        Host {
            mux: Mux::new(Role::Host, config, [Slot::EMPTY; SLOTS]),
            usb,
            now: Nanos::ZERO,
            lines: Vec::new(),
            armed: Armed::default(),
            news: Vec::new(),
            window,
            full,
            outgoing: VecDeque::new(),
            damaged: None,
            losing_in: false,
            in_begins: true,
        }
    }

    /// A phone is ready to talk.
    pub(super) fn attach(&mut self) {
        self.outgoing.clear();
        (self.losing_in, self.in_begins) = (false, true);
        self.mux.attach(self.now.instant(), u16::try_from(self.full).unwrap_or(64));
    }

    /// The cable is out.
    pub(super) fn detach(&mut self) {
        self.outgoing.clear();
        self.mux.detach(self.now.instant());
        self.poll_events();
    }

    /// Opens a connection; says why not, if not.
    pub(super) fn open(&mut self, port: u16) -> Result<usize, String> {
        let conn = self.mux.connect(self.now.instant(), port, self.window);
        let conn = conn.map_err(|error| error.to_string())?;
        if self.lines.len() >= LINES {
            let over = |line: &Line| line.state == State::Closed;
            let oldest = self.lines.iter().position(over).unwrap_or(0);
            self.lines.remove(oldest);
        }
        self.lines.push(Line {
            conn,
            port,
            host_port: 0,
            state: State::SynSent,
            queued: 0,
            wants: None,
            reads: true,
            held: 0,
            read: 0,
            sent: 0,
            window: self.window,
        });
        Ok(self.lines.len() - 1)
    }

    /// Closes in the orderly way: the engine waits until everything is acknowledged.
    pub(super) fn close(&mut self, index: usize) {
        let Some(line) = self.lines.get_mut(index) else { return };
        line.state = State::Draining;
        (line.held, line.queued) = (0, 0);
        self.mux.close(self.now.instant(), line.conn);
    }

    /// Resets now.
    pub(super) fn abort(&mut self, index: usize) {
        let Some(line) = self.lines.get_mut(index) else { return };
        line.state = State::Closed;
        (line.held, line.queued) = (0, 0);
        self.mux.abort(self.now.instant(), line.conn);
    }

    /// Whether the cable's end shows here.
    pub(super) fn lost_phone(&self) -> bool {
        self.mux.link() != LinkState::Down && !self.usb.bus.phone().is_plugged()
    }

    /// What was damaged in this message of the host's. Others may have stood in the queue before it.
    pub(super) fn take_damaged_out(&mut self, message: &[u8]) -> Option<Field> {
        let is_in =
            |(_, frame): &mut (Field, Vec<u8>)| message.windows(frame.len()).any(|w| w == frame);
        self.damaged.take_if(is_in).map(|(field, _)| field)
    }

    /// When the engine wants a tick.
    pub(super) fn next_tick(&self) -> Option<Nanos> {
        self.mux.next_tick().map(Nanos::from)
    }

    /// Does all that can be done now.
    pub(super) fn work(&mut self) {
        self.mux.tick(self.now.instant());
        self.take_pieces();
        self.read();
        self.poll_events();
        self.send();
    }

    // ---- in

    fn take_pieces(&mut self) {
        loop {
            self.usb.request();
            let Poll::Ready(Ok(piece)) = self.usb.receive() else { return };
            let ends = piece.ends_transfer;
            let mut bytes = piece.bytes.to_vec();
            if std::mem::replace(&mut self.in_begins, ends) {
                self.losing_in = self.armed.take_lost_in();
                if !self.losing_in
                    && let Some(field) = self.armed.damage(true, &mut bytes)
                {
                    self.news.push(News::DamagedIn(field));
                }
            }
            if self.losing_in {
                if ends {
                    self.news.push(News::LostIn);
                    self.losing_in = false;
                }
                continue;
            }
            let mut transfer = if ends { Transfer::new(&bytes) } else { Transfer::part(&bytes) };
            while let Some(received) = self.mux.receive(self.now.instant(), &mut transfer) {
                let Received::Data { conn, payload, .. } = received else { continue };
                if let Some(line) = self.lines.iter_mut().find(|line| line.conn == conn) {
                    line.held = line.held.saturating_add(payload.len() as u32);
                    line.take();
                    // A stale handle means that its end waits to be told.
                    let _ = self.mux.set_held(self.now.instant(), conn, line.held);
                }
            }
        }
    }

    /// Programs read.
    fn read(&mut self) {
        for line in &mut self.lines {
            let before = line.held;
            line.take();
            if line.held != before {
                let _ = self.mux.set_held(self.now.instant(), line.conn, line.held);
            }
        }
    }

    fn poll_events(&mut self) {
        while let Some(event) = self.mux.poll_event(self.now.instant()) {
            let news = match event {
                Event::LinkUp { version } => News::LinkUp(version),
                Event::LinkFailed { reason } => News::LinkFailed(reason),
                Event::SessionDead { cause } => News::SessionDead(cause),
                Event::Connected { conn } => News::Connected(self.change(conn, State::Established)),
                Event::Refused { conn, reason } => {
                    News::Refused(self.change(conn, State::Closed), reason)
                }
                Event::Closed { conn, reason } => {
                    News::Closed(self.change(conn, State::Closed), reason)
                }
                _ => continue,
            };
            self.news.push(news);
        }
    }

    /// A connection is somewhere else now; its port.
    fn change(&mut self, conn: ConnId, state: State) -> u16 {
        let Some(line) = self.lines.iter_mut().find(|line| line.conn == conn) else { return 0 };
        line.state = state;
        if state == State::Closed {
            (line.held, line.queued) = (0, 0);
        }
        line.port
    }

    // ---- out

    fn send(&mut self) {
        loop {
            if let Some(packet) = self.outgoing.front() {
                let Some(space) = self.usb.space().and_then(|space| space.get_mut(..packet.len()))
                else {
                    return;
                };
                space.copy_from_slice(packet);
                let length = packet.len();
                self.outgoing.pop_front();
                self.usb.send(length);
                continue;
            }
            if self.usb.space().is_none() || !self.number_a_frame() {
                return;
            }
        }
    }

    /// Takes the next frame of the engine's or of a program's, and hands it to USB, which is one step.
    fn number_a_frame(&mut self) -> bool {
        let now = self.now.instant();
        let mut control = [0; CONTROL_FRAME];
        if let Some(frame) = self.mux.poll_transmit(now, &mut control) {
            let bytes = control.get(..frame.len).unwrap_or_default().to_vec();
            self.hand_over(bytes, frame.needs_zlp);
            return true;
        }
        for line in &mut self.lines {
            if line.queued == 0 || line.state != State::Established {
                continue;
            }
            let room = self.mux.sendable(line.conn) as u64;
            let Ok(sent) = self.mux.send(now, line.conn, line.queued.min(room) as usize) else {
                continue;
            };
            let mut bytes = sent.header().to_vec();
            bytes.extend((0..sent.taken as u64).map(|i| letter(line.sent + i)));
            line.queued -= sent.taken as u64;
            line.sent += sent.taken as u64;
            let needs_zlp = sent.needs_zlp;
            self.hand_over(bytes, needs_zlp);
            return true;
        }
        false
    }

    fn hand_over(&mut self, mut bytes: Vec<u8>, needs_zlp: bool) {
        self.learn_port(&bytes);
        if let Some(field) = self.armed.damage(false, &mut bytes) {
            self.damaged = Some((field, bytes.clone()));
        }
        if self.armed.take_lost_out() {
            self.news.push(News::LostOut(bytes));
            return;
        }
        let length = bytes.len();
        self.outgoing.extend(bytes.chunks(self.full).map(<[u8]>::to_vec));
        if needs_zlp {
            match self.armed.take_lost_zlp() {
                true => self.news.push(News::LostZlp(length)),
                false => self.outgoing.push_back(Vec::new()),
            }
        }
    }

    /// The engine chooses the host's port; it shows in the SYN.
    fn learn_port(&mut self, frame: &[u8]) {
        let Some(tcp) = Seen::new(frame).tcp else { return };
        let unknown = |line: &&mut Line| line.host_port == 0 && line.port == tcp.dest;
        if tcp.flags == Flags::SYN
            && let Some(line) = self.lines.iter_mut().find(unknown)
        {
            line.host_port = tcp.source;
        }
    }
}

impl Line {
    /// Its program reads what it wants.
    fn take(&mut self) {
        if !self.reads {
            return;
        }
        let count = self.wants.map_or(u64::from(self.held), |wants| wants.min(self.held.into()));
        self.wants = self.wants.map(|wants| wants - count);
        self.read += count;
        self.held -= count as u32;
    }
}

/// The payload of the lab's programs: the alphabet, so that one sees the bytes go on.
fn letter(index: u64) -> u8 {
    b'a' + (index % 26) as u8
}

/// Whether the phone is gone, by what a transfer says.
pub(super) fn is_gone(error: TransferError) -> bool {
    error == TransferError::Gone
}
