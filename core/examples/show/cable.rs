//! Two engines on a cable, the programs behind them, and what is to be seen of it all.
//!
//! Each frame is printed as it crosses, and behind it in brackets what changed at either end: the
//! link, the state of a connection (`core/DESIGN.md` §2 has the arrows), and the figures that a
//! lesson watches. One transfer carries one frame.

use super::side::Side;
use super::{Detail, Frame, line};
use usbmux_core::wire::TcpHeader;
use usbmux_core::{CONTROL_FRAME, CloseReason, Config, Event, Instant, ResetReason, Role, Sent};

/// Ports of the phone's with a program behind them; the others refuse.
const LISTENS: [u16; 2] = [7, 62078];
/// The window that the phone's programs give, in bytes.
const PHONE_WINDOW: u32 = 131_072;
/// wMaxPacketSize of the cable, in bytes.
const MAX_PACKET: u16 = 512;
/// Columns of a frame's fields at most.
const FIELDS: usize = 73;
/// Column of the fields.
const INDENT: usize = 25;

/// An end of the cable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Host,
    Phone,
}

/// Host, phone, and the cable between them.
pub(crate) struct Cable {
    pub(crate) host: Side,
    pub(crate) phone: Side,
    pub(crate) now: Instant,
    pub(crate) detail: Detail,
    /// Figures to show beside states: `in flight`, `unread`, `credit`, `read`.
    pub(crate) watch: &'static [&'static str],
    pub(crate) quiet: bool,
    /// So many frames do not arrive, from the next on.
    pub(crate) lose: u32,
    /// The next frame arrives with its byte at this place changed to this value.
    pub(crate) tamper: Option<(usize, u8)>,
    /// Frames of the host's wait on the way, until [`Cable::arrive`].
    pub(crate) delay: bool,
    on_the_way: Vec<Vec<u8>>,
    /// The phone's programs neither accept nor refuse.
    pub(crate) hesitate: bool,
    /// What connections are called, by the phone's port; the latest is the last.
    names: Vec<(u16, &'static str)>,
    frames: Vec<(End, Frame)>,
    /// How many of them [`Cable::crossed`] has told.
    told: usize,
}

impl Cable {
    /// A host and a phone, not plugged in.
    pub(crate) fn new(host: Config, phone: Config) -> Cable {
        Cable {
            host: Side::new("host", Role::Host, host),
            phone: Side::new("phone", Role::Device, phone),
            now: Instant::ZERO,
            detail: Detail::Segment,
            watch: &[],
            quiet: false,
            lose: 0,
            tamper: None,
            delay: false,
            on_the_way: Vec::new(),
            hesitate: false,
            names: Vec::new(),
            frames: Vec::new(),
            told: 0,
        }
    }

    /// The same with the handshake of lesson 3 behind it, unseen.
    pub(crate) fn up(host: Config, phone: Config) -> Cable {
        let mut cable = Cable::new(host, phone);
        cable.quiet = true;
        cable.plug_in();
        cable.run();
        cable.quiet = false;
        cable.told = cable.frames.len();
        cable
    }

    /// Plugs the phone in. Nothing has crossed yet.
    pub(crate) fn plug_in(&mut self) {
        self.act("the cable is plugged in");
        self.host.mux.attach(self.now, MAX_PACKET);
        self.phone.mux.attach(self.now, MAX_PACKET);
        self.show_changes();
    }

    /// One of the ends.
    pub(crate) fn side(&mut self, end: End) -> &mut Side {
        match end {
            End::Host => &mut self.host,
            End::Phone => &mut self.phone,
        }
    }

    /// Prints what a program does.
    pub(crate) fn act(&self, what: &str) {
        if !self.quiet {
            line(format!("  * {what}"));
        }
    }

    // ---- what the programs do; connections are numbered from 0, in the order of their SYNs

    /// The host's program connects.
    pub(crate) fn connect(&mut self, name: &'static str, port: u16, window: u32) {
        self.act(&format!("the host's program connects to port {port}, window {window}"));
        let conn = self.host.mux.connect(self.now, port, window).expect("a free slot");
        self.host.open(conn, name, "SynSent");
        self.names.push((port, name));
        self.show_changes();
    }

    /// A connection that opened unseen.
    pub(crate) fn opened(&mut self, name: &'static str, port: u16, window: u32) {
        self.quiet = true;
        self.connect(name, port, window);
        self.run();
        self.quiet = false;
        self.told = self.frames.len();
    }

    /// A program sends; says how many bytes the engine took.
    pub(crate) fn send(&mut self, from: End, talk: usize, payload: &[u8]) -> usize {
        let Some((frame, sent)) = self.numbered(from, talk, payload) else { return 0 };
        self.cross(from, &frame);
        sent.taken
    }

    /// The next frame with payload, numbered and to be sent now; none if there is no room.
    pub(crate) fn numbered(
        &mut self,
        from: End,
        talk: usize,
        payload: &[u8],
    ) -> Option<(Vec<u8>, Sent)> {
        let now = self.now;
        let side = self.side(from);
        let (conn, headroom) = (side.talks[talk].conn, side.mux.headroom());
        let len = side.mux.sendable(conn).min(payload.len());
        let mut frame = vec![0; headroom + len];
        frame[headroom..].copy_from_slice(&payload[..len]);
        let sent = side.mux.send_in_place(now, conn, &mut frame, len).ok()?;
        frame.truncate(headroom + sent.taken);
        Some((frame, sent))
    }

    /// A program that had stopped reading takes bytes out of what is unread.
    pub(crate) fn read(&mut self, end: End, talk: usize, bytes: usize) {
        let now = self.now;
        let side = self.side(end);
        let it = &mut side.talks[talk];
        let taken: Vec<u8> = it.unread.drain(..bytes).collect();
        it.read.extend(taken);
        let (conn, held, who) = (it.conn, it.unread.len(), side.who);
        // `Gone` if the connection has ended: then nobody is to be told.
        let _ = side.mux.set_held(now, conn, held as u32);
        self.act(&format!("the {who}'s program reads {bytes} bytes"));
        self.show_changes();
    }

    /// A program closes its connection.
    pub(crate) fn close(&mut self, end: End, talk: usize) {
        let now = self.now;
        let side = self.side(end);
        let it = &mut side.talks[talk];
        it.state = "Draining".to_owned();
        let (conn, who) = (it.conn, side.who);
        side.mux.close(now, conn);
        self.act(&format!("the {who}'s program calls close"));
        self.show_changes();
    }

    /// A program gives its connection up.
    pub(crate) fn abort(&mut self, end: End, talk: usize, why: ResetReason) {
        let now = self.now;
        let side = self.side(end);
        let it = &mut side.talks[talk];
        it.state = "Closed (aborted)".to_owned();
        let (conn, who) = (it.conn, side.who);
        side.mux.abort_because(now, conn, why);
        self.act(&match why {
            ResetReason::Closed => format!("the {who}'s program ends"),
            _ => format!("the {who}'s program calls abort"),
        });
        self.show_changes();
    }

    // ---- what the cable does

    /// Carries frames of the engines' own until none is due.
    pub(crate) fn run(&mut self) {
        // Bounded: two engines that have nothing new to say fall silent.
        while self.step(End::Host) || self.step(End::Phone) {}
    }

    /// Carries the next frame that an engine wants to send; says whether there was one.
    pub(crate) fn step(&mut self, from: End) -> bool {
        let mut buf = [0; CONTROL_FRAME];
        let now = self.now;
        let Some(frame) = self.side(from).mux.poll_transmit(now, &mut buf) else { return false };
        self.cross(from, &buf[..frame.len]);
        true
    }

    /// Lets time pass.
    pub(crate) fn wait(&mut self, millis: u64) {
        self.now = self.now + core::time::Duration::from_millis(millis);
        self.act(&format!("{millis} ms pass"));
        self.host.mux.tick(self.now);
        self.phone.mux.tick(self.now);
        self.events();
        self.show_changes();
        self.run();
    }

    /// Carries a transfer with a frame in it.
    pub(crate) fn cross(&mut self, from: End, bytes: &[u8]) {
        let mut bytes = bytes.to_vec();
        let mut fate = "";
        if let Some((at, byte)) = self.tamper.take() {
            bytes[at] = byte;
        }
        if self.lose > 0 {
            self.lose -= 1;
            fate = ", LOST ON THE WAY";
        } else if self.delay && from == End::Host {
            fate = ", on the way";
        }
        let frame = Frame::parse(&bytes);
        self.show_frame(from, &frame, fate);
        self.frames.push((from, frame));
        match fate {
            "" => self.deliver(from, &bytes),
            ", on the way" => self.on_the_way.push(bytes),
            _ => {}
        }
        self.show_changes();
    }

    /// A frame arrives that was not printed.
    pub(crate) fn deliver(&mut self, from: End, bytes: &[u8]) {
        let now = self.now;
        match from {
            End::Host => self.phone.take(now, bytes),
            End::Phone => self.host.take(now, bytes),
        }
        self.events();
        self.show_changes();
    }

    /// Everything that was on the way arrives.
    pub(crate) fn arrive(&mut self) {
        self.delay = false;
        self.act("what was on the way arrives");
        for bytes in core::mem::take(&mut self.on_the_way) {
            self.deliver(End::Host, &bytes);
        }
    }

    /// Step 2 of the run loop, at both ends.
    fn events(&mut self) {
        let now = self.now;
        for end in [End::Host, End::Phone] {
            while let Some(event) = self.side(end).mux.poll_event(now) {
                self.happened(end, event);
            }
        }
    }

    fn happened(&mut self, end: End, event: Event) {
        let now = self.now;
        let side = self.side(end);
        let (conn, state) = match event {
            Event::SessionDead { cause } => {
                side.notes.push(format!("session dead ({cause})"));
                return;
            }
            Event::LinkFailed { reason } => {
                side.notes.push(format!("link failed ({reason})"));
                return;
            }
            Event::Incoming { conn, port, .. } => {
                let name = self.name(port).unwrap_or("?");
                if self.hesitate {
                    self.phone.open(conn, name, "Incoming");
                } else if LISTENS.contains(&port) {
                    self.phone.mux.accept(now, conn, PHONE_WINDOW).expect("it is still there");
                    self.phone.open(conn, name, "SynReceived");
                } else {
                    self.phone.mux.refuse(now, conn, ResetReason::Refused);
                    self.phone.notes.push(format!("nobody listens on port {port}"));
                }
                return;
            }
            Event::Connected { conn } => (conn, "Established".to_owned()),
            Event::Refused { conn, reason } => (conn, format!("Refused ({reason})")),
            Event::Closed { conn, reason } => {
                side.drop_unread(conn, reason);
                let reason = match reason {
                    CloseReason::LinkLost if end == End::Phone => "a new session".to_owned(),
                    reason => reason.to_string(),
                };
                (conn, format!("Closed ({})", reason.trim_start_matches("closed, ")))
            }
            _ => return,
        };
        if let Some(talk) = side.talk(conn) {
            talk.state = state;
        }
    }

    // ---- what is seen of it

    /// Who sent what since the last call, in words.
    pub(crate) fn crossed(&mut self) -> Vec<String> {
        let fresh = &self.frames[self.told..];
        self.told = self.frames.len();
        let who = |end: &End| if *end == End::Host { "host" } else { "phone" };
        fresh.iter().map(|(end, frame)| format!("{} {}", who(end), frame.name())).collect()
    }

    /// The last frame that crossed.
    pub(crate) fn last(&self) -> &Frame {
        &self.frames.last().expect("something has crossed").1
    }

    /// The last frame with this name, in words as [`Cable::crossed`] has them.
    pub(crate) fn last_named(&self, end: End, name: &str) -> &Frame {
        let found = self.frames.iter().rev().find(|(from, it)| *from == end && it.name() == name);
        &found.expect("such a frame has crossed").1
    }

    /// The header of the last segment that the host sent to this port of the phone's.
    pub(crate) fn announced(&self, port: u16) -> Option<TcpHeader> {
        let from_host = self.frames.iter().rev().filter(|(from, _)| *from == End::Host);
        from_host.filter_map(|(_, frame)| frame.tcp).find(|tcp| tcp.dest == port)
    }

    fn name(&self, port: u16) -> Option<&'static str> {
        self.names.iter().rev().find(|(its, _)| *its == port).map(|(_, name)| *name)
    }

    fn show_frame(&self, from: End, frame: &Frame, fate: &str) {
        let who = if from == End::Host { "  host >       " } else { "       < phone " };
        let start = format!("{who} {:<9}", frame.name());
        let port = frame.tcp.map(|tcp| if from == End::Host { tcp.dest } else { tcp.source });
        let name = port.and_then(|port| self.name(port)).filter(|_| self.names.len() > 1);
        let name = name.map_or(String::new(), |name| format!("{name}: "));
        self.show(start, &(name + &frame.in_words(self.detail) + fate));
    }

    fn show_changes(&mut self) {
        let watch = self.watch;
        let rows = [&mut self.host, &mut self.phone].map(|side| (side.who, side.changes(watch)));
        for (who, changes) in rows.into_iter().filter(|(_, changes)| !changes.is_empty()) {
            self.show(format!("{:INDENT$}[{who}: ", ""), &format!("{}]", changes.join(", ")));
        }
    }

    /// Prints words behind a start, and what finds no room in the line below.
    fn show(&self, start: String, words: &str) {
        if self.quiet {
            return;
        }
        let (mut row, mut empty) = (start, true);
        for word in words.split_inclusive(' ') {
            if !empty && row.len() + word.trim_end().len() > INDENT + FIELDS {
                line(row.trim_end());
                row = format!("{:INDENT$}", "");
            }
            row.push_str(word);
            empty = false;
        }
        line(row.trim_end());
    }
}
