//! A laboratory: the engine as host and the virtual phone on a simulated USB bus, to be lived step by
//! step by somebody who may interfere at any time.
//!
//! Each step ends with something to be seen, a [`Row`]: a message that went over USB, or news of
//! somebody's. What a row says of states and credit comes from the engines where they can be asked,
//! else from a [witness] of the frames. Time is simulated, nothing is random, and nothing here
//! knows how it is shown.
//!
//! Left out: Ethernet, and whatever the dongle's firmware does; see [`board`](crate::board).

mod cable;
mod fault;
mod host;
pub mod seen;
mod tell;
pub mod witness;
mod words;

pub use fault::{Armed, Field};
pub use host::Line;
pub use tell::{Told, sentences, service};
pub use words::label;

use crate::bus::BusEvent;
use crate::controller::Controller;
use crate::scenes::{Gatherer, Message};
use crate::time::Nanos;
use host::{Host, News, is_gone};
use seen::Seen;
use std::task::Poll;
use usbmux_core::{Config, LinkState, WindowStyle, Zlp};
use usbmux_dongle::usb::{HostController, Speed};
use usbmux_phone::{CHARGEN, ECHO, Options, Quirk};
use witness::{Link, State, View};
use words::in_a_sentence;

/// Turns of the world that a step takes at most: the longest frame has 1024 packets, each of them a
/// few. What goes on for longer is seen with the next step.
const TURNS: usize = 100_000;

/// What a lab is made from.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Whether empty packets are sent; else frames are made one byte shorter.
    pub explicit_zlp: bool,
    /// The window that the host gives each connection, in bytes.
    pub window: u32,
    /// Whether it says the room that is left (credit), or always the same (constant).
    pub credit: bool,
    /// The longest frame of the host's.
    pub max_frame: u16,
    /// Whether packets have 512 bytes; else 64.
    pub high_speed: bool,
    /// The phone's quirk.
    pub quirk: Option<Quirk>,
}

impl Default for Setup {
    /// The dongle's: 4 KiB for each connection, packets of 64 bytes, no empty ones.
    fn default() -> Self {
        Setup {
            explicit_zlp: false,
            window: 4096,
            credit: true,
            max_frame: 4096,
            high_speed: false,
            quirk: None,
        }
    }
}

/// What somebody does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// The cable goes in.
    PlugIn,
    /// The cable goes out.
    Unplug,
    /// A program connects to a port of the phone's.
    Open(u16),
    /// A program sends so many bytes more.
    Send(u64),
    /// A program wants so many bytes of the phone's character generator.
    Ask(u64),
    /// A program reads, or does not.
    Read(bool),
    /// A program is done: what it sent is to arrive.
    Close,
    /// A program is killed.
    Abort,
    /// The next empty packet is forgotten.
    LoseZlp,
    /// The next frame towards the phone is lost.
    LoseOut,
    /// The next message of the phone's is lost.
    LoseIn,
    /// A bit of the next segment with payload is turned over.
    Flip {
        /// Of the phone's next.
        from_phone: bool,
        /// Which.
        field: Field,
    },
    /// The phone ignores the host's window, or heeds it.
    Overrun(bool),
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It arrived.
    Arrived,
    /// It was lost.
    Lost,
    /// A bit was turned over on its way.
    Damaged(Field),
}

/// Whose row it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// The person's in front of the lab.
    Yours,
    /// The host's.
    Host,
    /// The phone's.
    Phone,
    /// The hand's between engine and USB.
    Hand,
}

/// What a row shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A message over USB.
    Message(Message, Fate),
    /// News, in words.
    Note(Whose),
}

/// One thing that happened.
#[derive(Clone, Debug)]
pub struct Row {
    /// When.
    pub at: Nanos,
    /// What.
    pub what: What,
    /// In few words.
    pub label: String,
    /// In sentences.
    pub sentence: String,
    /// How things stand then.
    pub view: View,
    /// The host's connections and their programs.
    pub lines: Vec<Line>,
}

/// The laboratory.
pub struct Lab {
    host: Host,
    gatherer: Gatherer,
    view: View,
    /// How things stood before the message that is told next.
    before: View,
    full: usize,
    /// The connection that actions are about.
    chosen: Option<usize>,
    rows: Vec<Row>,
    /// Damage to a message of the phone's whose end did not come yet.
    damaged_in: Option<Field>,
}

impl Lab {
    /// Makes a lab; the phone lies beside the host.
    pub fn new(setup: &Setup) -> Self {
        let speed = if setup.high_speed { Speed::High } else { Speed::Full };
        let mut phone = Options::new(1);
        phone.quirks.extend(setup.quirk);
        if setup.max_frame == u16::MAX {
            phone.max_frame = u16::MAX;
        }
        let mut usb = Controller::with_fifo(speed, &phone, 1, 1);
        usb.bus.take_log();
        let full = usize::from(usb.bus.timing().max_packet);
        let config = Config {
            zlp: if setup.explicit_zlp { Zlp::Explicit } else { Zlp::Trim },
            window_style: if setup.credit { WindowStyle::Credit } else { WindowStyle::Constant },
            max_frame: setup.max_frame,
            ..Config::DONGLE
        };
        Lab {
            host: Host::new(usb, config, setup.window, full),
            gatherer: Gatherer::new(full as u16),
            view: View::default(),
            before: View::default(),
            full,
            chosen: None,
            rows: Vec::new(),
            damaged_in: None,
        }
    }

    /// The time.
    pub fn now(&self) -> Nanos {
        self.host.now
    }

    /// Bytes of a full packet.
    pub fn max_packet(&self) -> usize {
        self.full
    }

    /// What is prepared for the next messages.
    pub fn armed(&self) -> &Armed {
        &self.host.armed
    }

    /// Whether the cable is in.
    pub fn is_plugged(&self) -> bool {
        self.host.usb.bus.phone().is_plugged()
    }

    /// Connections, the oldest first.
    pub fn lines(&self) -> &[Line] {
        &self.host.lines
    }

    /// The place in [`lines`](Self::lines) of the connection that actions are about.
    pub fn chosen(&self) -> Option<usize> {
        self.chosen
    }

    /// Makes actions be about another connection.
    pub fn choose(&mut self, index: usize) {
        if index < self.host.lines.len() {
            self.chosen = Some(index);
        }
    }

    /// What the phone has counted.
    pub fn counters(&self) -> usbmux_phone::Counters {
        self.host.usb.bus.phone().counters()
    }

    /// What happened since this was asked last.
    pub fn take_rows(&mut self) -> Vec<Row> {
        std::mem::take(&mut self.rows)
    }

    /// Goes on until there is something to be seen; says whether there was.
    pub fn step(&mut self) -> bool {
        let rows = self.rows.len();
        self.host.work();
        self.tell(Vec::new());
        for _ in 0..TURNS {
            if self.rows.len() > rows {
                return true;
            }
            if !self.turn() {
                return false;
            }
        }
        true
    }

    /// Whether something will happen if nobody does anything: more than the expiry of timers.
    pub fn is_busy(&self) -> bool {
        self.host.usb.bus.next_event().is_some()
    }

    // ---- what people do

    /// Does something.
    pub fn act(&mut self, action: Action) {
        match action {
            Action::PlugIn if !self.is_plugged() => self.plug_in(),
            Action::Unplug if self.is_plugged() => self.unplug(),
            Action::PlugIn => self.you("The cable is in already."),
            Action::Unplug => self.you("The cable is out already."),
            Action::Open(port) => {
                self.open(port);
            }
            Action::Send(bytes) => self.send(bytes),
            Action::Ask(bytes) => self.ask(bytes),
            Action::Read(reads) => self.read(reads),
            Action::Close => self.end(true),
            Action::Abort => self.end(false),
            Action::LoseZlp => {
                self.host.armed.lost_zlp = true;
                self.you("The next empty packet (ZLP) of the host's will be lost.");
            }
            Action::LoseOut => {
                self.host.armed.lost_out = true;
                self.you("The host's next frame will be lost, after it got its number.");
            }
            Action::LoseIn => {
                self.host.armed.lost_in = true;
                self.you("The phone's next message will be lost on its way to the engine.");
            }
            Action::Flip { from_phone, field } => {
                let armed = &mut self.host.armed;
                let order = if from_phone { &mut armed.flip_in } else { &mut armed.flip_out };
                *order = Some(field);
                let whose = if from_phone { "phone" } else { "host" };
                self.you(&format!(
                    "A bit in the field {} of the {whose}'s next frame with payload will be turned over.",
                    field.name()
                ));
            }
            Action::Overrun(overruns) => {
                self.host.usb.bus.device().overrun(overruns);
                self.you(match overruns {
                    true => "From the next window that it hears of, the phone ignores windows.",
                    false => "The phone heeds windows again.",
                });
            }
        }
    }

    fn you(&mut self, what: &str) {
        self.note(Whose::Yours, what.to_owned());
    }

    fn note(&mut self, whose: Whose, sentence: String) {
        let label = sentence.clone();
        self.push(What::Note(whose), label, sentence);
    }

    fn push(&mut self, what: What, label: String, sentence: String) {
        let (at, view, lines) = (self.host.now, self.view(), self.host.lines.clone());
        self.rows.push(Row { at, what, label, sentence, view, lines });
    }

    fn line_port(&self) -> Option<u16> {
        let line = self.chosen.and_then(|index| self.host.lines.get(index));
        line.filter(|line| line.state != State::Closed).map(|line| line.port)
    }

    fn open(&mut self, port: u16) -> bool {
        match self.host.open(port) {
            Ok(index) => {
                self.chosen = Some(index);
                if let Some(line) = self.host.lines.get_mut(index).filter(|_| port == CHARGEN) {
                    // The generator has no end: its program reads what somebody wants of it.
                    line.wants = Some(0);
                }
                self.you(&format!("A program connects to port {port} ({}).", service(port)));
                true
            }
            Err(why) => {
                self.you(&format!("A program would connect to port {port}, but: {why}."));
                false
            }
        }
    }

    fn send(&mut self, bytes: u64) {
        if self.line_port().is_none() && !self.open(ECHO) {
            return;
        }
        let Some(line) = self.chosen.and_then(|index| self.host.lines.get_mut(index)) else {
            return;
        };
        line.queued += bytes;
        let port = line.port;
        self.you(&format!("The program sends {bytes} bytes to port {port}."));
    }

    fn ask(&mut self, bytes: u64) {
        if self.line_port() != Some(CHARGEN) {
            let is_open = |line: &Line| line.port == CHARGEN && line.state != State::Closed;
            match self.host.lines.iter().rposition(is_open) {
                Some(index) => self.chosen = Some(index),
                None if self.open(CHARGEN) => {}
                None => return,
            }
        }
        let Some(line) = self.chosen.and_then(|index| self.host.lines.get_mut(index)) else {
            return;
        };
        line.reads = true;
        line.wants = Some(line.wants.unwrap_or(0) + bytes);
        self.you(&format!("The program reads {bytes} bytes of the generator's, then no more."));
    }

    fn read(&mut self, reads: bool) {
        let Some(line) = self.chosen.and_then(|index| self.host.lines.get_mut(index)) else {
            return self.you("There is no program that could read: open a connection first.");
        };
        line.reads = reads;
        if reads {
            line.wants = None;
        }
        self.you(match reads {
            true => "The program reads again, all that comes.",
            false => "The program stops reading: what arrives stays in the host's buffer.",
        });
    }

    fn end(&mut self, orderly: bool) {
        let (Some(index), Some(_)) = (self.chosen, self.line_port()) else {
            return self.you("There is no open connection to be closed.");
        };
        match orderly {
            true => {
                self.host.close(index);
                self.you(
                    "The program is done. The host waits until the phone has acknowledged everything.",
                );
            }
            false => {
                self.host.abort(index);
                self.you("The program is killed: the host resets its connection at once.");
            }
        }
    }

    // ---- what happens

    /// The world goes to its next event; `false` if there is none.
    fn turn(&mut self) -> bool {
        let next = self.host.usb.bus.next_event().into_iter().chain(self.host.next_tick()).min();
        let Some(next) = next else { return false };
        // What is due and cannot be done yet must not stop the clock.
        self.host.now = next.max(self.host.now + Nanos(1));
        self.host.usb.bus.run(self.host.now);
        if let Poll::Ready(Err(error)) = self.host.usb.poll_sent()
            && is_gone(error)
            && self.host.lost_phone()
        {
            self.host.detach();
            self.view.cable(false);
            self.note(Whose::Phone, "The phone is gone from the bus.".to_owned());
        }
        let log: Vec<BusEvent> = self.host.usb.bus.take_log();
        let messages: Vec<Message> =
            log.iter().filter_map(|event| self.gatherer.take(event)).collect();
        if !messages.is_empty() {
            self.before = self.view();
        }
        self.host.work();
        self.tell(messages);
        true
    }

    /// Makes rows of what happened.
    fn tell(&mut self, messages: Vec<Message>) {
        let mut news = std::mem::take(&mut self.host.news);
        for mut message in messages {
            let mut fate = Fate::Arrived;
            if message.from_phone {
                let is_damage = |news: &News| matches!(news, News::DamagedIn(_));
                if let Some(at) = news.iter().position(is_damage)
                    && let News::DamagedIn(field) = news.remove(at)
                {
                    self.damaged_in = Some(field);
                }
                if let Some(at) = news.iter().position(|news| *news == News::LostIn) {
                    news.remove(at);
                    fate = Fate::Lost;
                }
                if let Some(field) = self.damaged_in.take() {
                    fate = Fate::Damaged(field);
                    let mut again = Armed { flip_in: Some(field), ..Armed::default() };
                    again.damage(true, &mut message.bytes);
                }
            } else if let Some(field) = self.host.take_damaged_out(&message.bytes) {
                fate = Fate::Damaged(field);
            }
            self.message(message, fate);
        }
        for news in news {
            self.news(news);
        }
    }

    fn message(&mut self, message: Message, fate: Fate) {
        match fate {
            Fate::Lost => self.view.take(message.from_phone, &Seen::new(&message.bytes), false),
            _ => self.view.message(message.from_phone, &message.bytes),
        }
        let after = self.view();
        let told = Told {
            from_phone: message.from_phone,
            message: &message.bytes,
            packets: &message.packets,
            full: self.full,
            before: &self.before,
            after: &after,
        };
        let mut sentence = sentences(&told);
        self.before = after;
        match fate {
            Fate::Arrived => {}
            Fate::Lost => sentence.push_str(" It never arrives."),
            Fate::Damaged(field) => sentence.push_str(&format!(
                " On its way a bit of the field {} is turned over. There is no checksum; {}.",
                field.name(),
                match field {
                    Field::Payload => "nothing in the protocol notices",
                    Field::Length => "what the field says is believed",
                    _ => "but this field has to be what its receiver expects",
                }
            )),
        }
        let label = label(&message, self.full);
        self.push(What::Message(message, fate), label, sentence);
    }

    fn news(&mut self, news: News) {
        match news {
            News::LostOut(bytes) => {
                let now = self.host.now;
                let packets = bytes.chunks(self.full).map(<[u8]>::len).collect();
                let (began, ended) = (now, now);
                self.before = self.view();
                self.message(
                    Message { began, ended, from_phone: false, bytes, packets },
                    Fate::Lost,
                );
            }
            News::LostIn => {}
            News::DamagedIn(field) => self.damaged_in = Some(field),
            News::LostZlp(length) => self.note(
                Whose::Hand,
                format!(
                    "{length} bytes fill their packets exactly, and the empty packet behind them is \
                     lost. The phone still waits for the end of the message."
                ),
            ),
            told => {
                if matches!(told, News::LinkFailed(_)) {
                    self.view.host = Link::Failed;
                }
                self.note(Whose::Host, in_a_sentence(&told));
            }
        }
    }

    /// How things stand, as the engines know where they can be asked.
    fn view(&self) -> View {
        let mut view = self.view.clone();
        view.host = link(self.host.mux.link());
        view.phone = link(self.host.usb.bus.phone().link());
        for line in &self.host.lines {
            let same = |c: &&mut witness::Connection| {
                (c.host_port, c.phone_port) == (line.host_port, line.port)
            };
            if let Some(connection) = view.connections.iter_mut().rev().find(same) {
                connection.host = line.state;
            }
        }
        view
    }
}

fn link(state: LinkState) -> Link {
    match state {
        LinkState::Greeting => Link::Greeting,
        LinkState::Up { .. } => Link::Up,
        LinkState::Dead { .. } => Link::Dead,
        LinkState::Failed => Link::Failed,
        _ => Link::Down,
    }
}

#[cfg(test)]
mod tests;
