//! Scripted programs on the PC, for simulations in virtual time: streams through forwards of the
//! dongle's, with every byte compared.

use super::{Connection, Pc, SOCKET_BUFFER, is_over};
use crate::board::{Board, Programs};
use crate::time::Nanos;
use smoltcp::socket::tcp::{Socket, State};
use std::fmt;

/// What a stream is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// So many bytes are sent, and come back: the phone's echo service.
    Echo(u64),
    /// So many bytes are sent and nothing comes: the phone's discard service.
    Discard(u64),
    /// So many bytes come: the phone's character generator.
    Chargen(u64),
}

impl Content {
    fn sends(self) -> u64 {
        match self {
            Content::Echo(bytes) | Content::Discard(bytes) => bytes,
            Content::Chargen(_) => 0,
        }
    }

    fn receives(self) -> u64 {
        match self {
            Content::Echo(bytes) | Content::Chargen(bytes) => bytes,
            Content::Discard(_) => 0,
        }
    }
}

/// How a stream stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The dongle has no address yet.
    Waiting,
    /// Bytes are on their way.
    Open,
    /// Everything came.
    Done,
    /// The connection ended before that.
    Reset,
    /// A byte was another than it should be: the place in the stream.
    Wrong(u64),
}

/// One program: a connection to a port of the dongle's.
#[derive(Debug)]
pub struct Stream {
    port: u16,
    content: Content,
    salt: u32,
    connection: Option<Connection>,
    progress: Progress,
    sent: u64,
    acknowledged: u64,
    received: u64,
    began: Nanos,
    ended: Nanos,
    paused: bool,
    /// Bytes that the script allows to be sent so far.
    allowed: u64,
    receive_bytes: usize,
}

impl Stream {
    /// A stream to a port of the dongle's; `salt` makes its bytes different from another's.
    pub fn new(port: u16, content: Content, salt: u32) -> Self {
        Stream {
            port,
            content,
            salt,
            connection: None,
            progress: Progress::Waiting,
            sent: 0,
            acknowledged: 0,
            received: 0,
            began: Nanos::ZERO,
            ended: Nanos::ZERO,
            paused: false,
            allowed: u64::MAX,
            receive_bytes: SOCKET_BUFFER,
        }
    }

    /// How it stands.
    pub fn progress(&self) -> Progress {
        self.progress
    }

    /// Bytes that the dongle has acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// Bytes that came.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// From its beginning to its end.
    pub fn duration(&self) -> Nanos {
        self.ended - self.began
    }

    /// Stops reading what comes, or goes on.
    pub fn pause(&mut self, paused: bool) {
        self.paused = paused;
    }

    /// Gives it a receive buffer of so many bytes instead of a PC's usual one.
    #[must_use]
    pub fn with_receive_buffer(mut self, bytes: usize) -> Self {
        self.receive_bytes = bytes;
        self
    }

    /// Lets it send only its first so many bytes, until it may send more.
    pub fn allow(&mut self, bytes: u64) {
        self.allowed = bytes;
    }

    fn poll(&mut self, now: Nanos, pc: &mut Pc) {
        if self.progress == Progress::Waiting {
            self.connection = pc.connect_with(self.port, self.receive_bytes);
            if self.connection.is_some() {
                (self.progress, self.began) = (Progress::Open, now);
            }
        }
        let Some(connection) = self.connection else { return };
        let socket = pc.socket(connection);
        if self.progress == Progress::Open {
            self.send(socket);
            self.receive(socket);
            self.look_for_end(now, socket);
        }
        if self.progress != Progress::Open && is_over(pc.socket(connection)) {
            pc.remove(connection);
            self.connection = None;
        }
    }

    fn send(&mut self, socket: &mut Socket<'static>) {
        let until = self.content.sends().min(self.allowed);
        while self.sent < until && socket.can_send() {
            let (salt, at, left) = (self.salt, self.sent, until - self.sent);
            let count = socket.send(|room| {
                let count = room.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                for (place, byte) in (at..).zip(room.iter_mut().take(count)) {
                    *byte = pattern(salt, place);
                }
                (count, count)
            });
            self.sent += count.unwrap_or(0) as u64;
        }
        self.acknowledged = self.acknowledged.max(self.sent - socket.send_queue() as u64);
    }

    fn receive(&mut self, socket: &mut Socket<'static>) {
        while !self.paused && socket.can_recv() {
            let (at, salt, content) = (self.received, self.salt, self.content);
            let seen = socket.recv(|bytes| {
                let wrong = (at..).zip(bytes.iter()).find_map(|(place, byte)| {
                    let expected = match content {
                        Content::Chargen(_) => chargen(place),
                        _ => pattern(salt, place),
                    };
                    (*byte != expected).then_some(place)
                });
                (bytes.len(), (bytes.len(), wrong))
            });
            let Ok((count, wrong)) = seen else { return };
            self.received += count as u64;
            if let Some(place) = wrong {
                self.progress = Progress::Wrong(place);
                socket.abort();
                return;
            }
        }
    }

    fn look_for_end(&mut self, now: Nanos, socket: &mut Socket<'static>) {
        let sent = self.acknowledged == self.content.sends();
        if sent && self.received >= self.content.receives() {
            self.progress = Progress::Done;
            // A generator never ends by itself.
            match self.content {
                Content::Chargen(_) => socket.abort(),
                _ => socket.close(),
            }
        } else if self.progress == Progress::Open
            && matches!(socket.state(), State::Closed | State::CloseWait)
            && !socket.can_recv()
        {
            self.progress = Progress::Reset;
            socket.abort();
        }
        self.ended = now;
    }
}

/// A byte that tells its place.
fn pattern(salt: u32, place: u64) -> u8 {
    let mixed = (place as u32).wrapping_add(salt).wrapping_mul(0x9e37_79b1);
    (mixed ^ (mixed >> 15)) as u8
}

/// The byte at this place of RFC 864's pattern.
fn chargen(place: u64) -> u8 {
    const CHARACTERS: u64 = 95;
    const LINE: u64 = 72;
    let (line, column) = (place / (LINE + 2), place % (LINE + 2));
    match column {
        LINE => b'\r',
        column if column > LINE => b'\n',
        column => b' ' + ((line + column) % CHARACTERS) as u8,
    }
}

/// Several streams at once.
#[derive(Debug, Default)]
pub struct Streams(pub Vec<Stream>);

impl Streams {
    /// Whether none is waiting or open.
    pub fn are_over(&self) -> bool {
        let over = |progress| !matches!(progress, Progress::Waiting | Progress::Open);
        self.0.iter().all(|stream| over(stream.progress))
    }

    /// Goes on until all are over; says whether that was before the time was.
    pub fn run(&mut self, board: &mut Board, until: Nanos) -> bool {
        board.wake_programs();
        while !self.are_over() {
            if !board.step(until, self) {
                return false;
            }
        }
        true
    }

    /// Bytes that came, on all of them.
    pub fn received(&self) -> u64 {
        self.0.iter().map(Stream::received).sum()
    }
}

impl Programs for Streams {
    fn poll(&mut self, now: Nanos, pc: &mut Pc) {
        for stream in &mut self.0 {
            stream.poll(now, pc);
        }
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Progress::Waiting => f.write_str("waiting for the dongle's address"),
            Progress::Open => f.write_str("under way"),
            Progress::Done => f.write_str("done"),
            Progress::Reset => f.write_str("reset"),
            Progress::Wrong(place) => write!(f, "another byte at {place}"),
        }
    }
}
