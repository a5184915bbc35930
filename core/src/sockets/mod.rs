//! Sockets: byte rings of fixed size on top of the engine, for who wants `read` and `write`.
//!
//! [`Sockets`] owns a [`Mux`] and two rings for each connection. What arrives goes into the
//! receive ring, whose size is the connection's window; what is written waits in the transmit ring until
//! [`poll_data`](Sockets::poll_data) makes a frame of it in the caller's transfer buffer. So every byte is
//! copied twice each way, where the bare engine copies it not at all: a target that has buffers of its
//! own (a TCP stack, a client's socket) should drive [`Mux`] itself.
//!
//! [`Socket`] is a connection with [`embedded_io`]'s traits, `AsyncSocket` (feature `async`) one with those
//! of embedded-io-async. Left out: half-close by us, which the protocol does not have.
//!
//! # The life of a socket
//!
//! It begins with [`connect`](Sockets::connect) or [`accept`](Sockets::accept) and may be written to at
//! once. When the peer ends the connection, what it sent stays readable to the last byte; then a read says
//! 0 (end-of-file), or the error if it was no ordinary end. The socket keeps its place until it is
//! closed, so every socket is to be closed once, with [`close`](Sockets::close) or
//! [`abort`](Sockets::abort). From then on its handle is stale, and every use of it an [`Error::Closed`];
//! what was written still leaves after `close`, and [`Event::Closed`] tells when it has arrived.
//!
//! # The run loop
//!
//! The engine's ([crate's documentation](crate)), with payload taken care of:
//!
//! ```
//! use embedded_io::Write as _;
//! use usbmux_core::sockets::{Event, Sockets};
//! use usbmux_core::{CONTROL_FRAME, Config, Instant, Role, Transfer};
//!
//! /// Sockets for 4 connections: 4 KiB from the phone, 2 KiB towards it.
//! type Net = Sockets<4, 4096, 2048>;
//!
//! /// Everything that `net` has to send, and how it gets there.
//! fn transmit(net: &mut Net, now: Instant, mut usb: impl FnMut(&[u8])) {
//!     let mut buf = [0; CONTROL_FRAME];
//!     while let Some(frame) = net.poll_transmit(now, &mut buf) {
//!         usb(&buf[..frame.len]);
//!     }
//!     let mut buf = [0; 4096];
//!     while let Some(frame) = net.poll_data(now, &mut buf) {
//!         usb(&buf[..frame.len]);
//!     }
//! }
//!
//! fn receive(net: &mut Net, now: Instant, bytes: &[u8]) {
//!     let mut transfer = Transfer::new(bytes);
//!     while let Some(_text) = net.receive(now, &mut transfer) {}
//! }
//!
//! let mut host = Net::new(Role::Host, Config::DONGLE);
//! let mut phone = Net::new(Role::Device, Config::PHONE);
//! let mut now = Instant::ZERO;
//! host.attach(now, 512);
//! phone.attach(now, 512);
//! let (mut question, mut answer) = (None, [0; 5]);
//! let mut answered = 0;
//! while answered < answer.len() {
//!     now = Instant::from_micros(now.as_micros() + 100);
//!     transmit(&mut host, now, |bytes| receive(&mut phone, now, bytes));
//!     transmit(&mut phone, now, |bytes| receive(&mut host, now, bytes));
//!     while let Some(event) = host.poll_event(now) {
//!         if let Event::LinkUp { .. } = event {
//!             let socket = host.connect(now, 7)?;
//!             host.socket(socket).write_all(b"hello")?;
//!             question = Some(socket);
//!         }
//!     }
//!     while let Some(event) = phone.poll_event(now) {
//!         if let Event::Incoming { conn, .. } = event {
//!             let socket = phone.accept(now, conn)?;
//!             phone.socket(socket).write_all(b"howdy")?;
//!         }
//!     }
//!     if let Some(socket) = question {
//!         answered += host.socket(socket).try_read(&mut answer[answered..]).unwrap_or(0);
//!     }
//!     host.tick(now);
//!     phone.tick(now);
//! }
//! assert_eq!(&answer, b"howdy");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#[cfg(feature = "async")]
mod asynchronous;
mod event;
mod handle;
mod ring;
mod socket;
mod wake;

#[cfg(feature = "async")]
pub use asynchronous::AsyncSocket;
pub use event::{AcceptError, Error, Event, SocketId, Text};
pub use handle::Socket;

use crate::mux::{
    self, CONTROL_FRAME, CloseReason, Config, ConnId, ConnectError, Frame, Mux, Received,
    ResetReason, Role, Slot, Transfer,
};
use crate::time::Instant;
use crate::wire::control;
use socket::{Phase, Stored, View};
use wake::Work;

/// Bytes of a reset's text that are kept to recognise an ordinary end.
const TEXT_PREFIX: usize = 48;

/// An engine with `N` sockets, each with a receive ring of `RX` and a transmit ring of `TX` bytes.
///
/// `RX` is at least 256, and its full 256s are each connection's window: what the peer may send before
/// the application reads. `TX` need not hold a whole frame. Nothing is allocated; the whole is about
/// `N × (RX + TX + 150)` bytes (200 with the feature `async`) and belongs in a static. A call looks at no
/// more than `N` sockets.
///
/// See the [module's documentation](self) for the loop that drives it.
#[derive(Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Sockets<const N: usize, const RX: usize, const TX: usize> {
    mux: Mux<[Slot; N]>,
    /// The latest time that a call brought: reads and writes bring none.
    now: Instant,
    drain_timeout_ms: u32,
    sockets: [Stored<RX, TX>; N],
    /// Which socket the engine's slot with this index has.
    of_slot: [u16; N],
    /// The socket whose turn to send is next.
    turn: usize,
    /// The reset whose text arrives, and the beginning of that.
    resetting: Option<ConnId>,
    reset_text: heapless::Vec<u8, TEXT_PREFIX, u8>,
    work: Work,
}

// Beside the engine and the rings, a socket costs no more than two slots do.
const _: () = assert!(
    size_of::<Sockets<4, 4096, 2048>>() <= 640 + 128 + 4 * (4096 + 2048 + 2 * size_of::<Slot>())
);

impl<const N: usize, const RX: usize, const TX: usize> Sockets<N, RX, TX> {
    /// Makes sockets over an engine whose link is down until [`attach`](Sockets::attach).
    ///
    /// Sizes that cannot work do not compile.
    pub const fn new(role: Role, config: Config) -> Self {
        const {
            assert!(N > 0 && N <= u16::MAX as usize, "the number of sockets");
            assert!(RX >= 256, "a window has at least 256 bytes");
            assert!(RX <= u32::MAX as usize, "a window is counted with 32 bits");
            assert!(TX > 0, "what is written needs room");
        }
        Sockets {
            mux: Mux::new(role, config, [Slot::EMPTY; N]),
            now: Instant::ZERO,
            drain_timeout_ms: config.drain_timeout_ms,
            sockets: [Stored::<RX, TX>::EMPTY; N],
            of_slot: [0; N],
            turn: 0,
            resetting: None,
            reset_text: heapless::Vec::new(),
            work: Work::NONE,
        }
    }

    /// The engine, to be asked: its link, its counters, what a [`SocketId::conn`] has unacknowledged.
    pub const fn mux(&self) -> &Mux<[Slot; N]> {
        &self.mux
    }

    /// A socket to read and write. A stale handle shows at its first use.
    pub const fn socket(&mut self, id: SocketId) -> Socket<'_, N, RX, TX> {
        Socket::new(self, id)
    }

    // ---- connections

    /// Opens a connection to a port of the phone's (host role).
    ///
    /// It may be written to at once. Ends in [`Event::Connected`] or [`Event::Refused`], or in
    /// [`Event::Closed`] if the link goes down.
    ///
    /// # Errors
    /// [`ConnectError`], with `NoSlot` also if no socket is free; nothing was sent.
    pub fn connect(&mut self, now: Instant, port: u16) -> Result<SocketId, ConnectError> {
        self.now = now;
        let index = self.free_socket().ok_or(ConnectError::NoSlot)?;
        let conn = self.mux.connect(now, port, RX as u32)?;
        Ok(self.opened(index, conn))
    }

    /// Accepts a connection after [`Event::Incoming`] (device role). It may be written to at once.
    ///
    /// # Errors
    /// [`AcceptError`]; with `NoSocket` the connection still waits to be decided.
    pub fn accept(&mut self, now: Instant, conn: ConnId) -> Result<SocketId, AcceptError> {
        self.now = now;
        let index = self.free_socket().ok_or(AcceptError::NoSocket)?;
        self.mux.accept(now, conn, RX as u32)?;
        Ok(self.opened(index, conn))
    }

    /// Refuses a connection after [`Event::Incoming`] (device role). A stale handle is ignored.
    pub fn refuse(&mut self, now: Instant, conn: ConnId, why: ResetReason) {
        self.now = now;
        self.mux.refuse(now, conn, why);
        self.work.is_left();
    }

    fn free_socket(&self) -> Option<u16> {
        let index = self.sockets.iter().position(|it| it.state().phase == Phase::Free)?;
        u16::try_from(index).ok()
    }

    fn opened(&mut self, index: u16, conn: ConnId) -> SocketId {
        if let Some(place) = self.of_slot.get_mut(conn.slot()) {
            *place = index;
        }
        if let Some(stored) = self.sockets.get_mut(usize::from(index)) {
            stored.view().open(conn);
        }
        self.work.is_left();
        SocketId { index, conn }
    }

    /// Closes a socket without loss: what still arrives is discarded, what was written leaves and is
    /// waited for, then the connection is reset.
    ///
    /// The handle is stale at once. [`Event::Closed`] follows, with [`CloseReason::Drained`] if the peer
    /// acknowledged everything; none does if it was told before, or if the connection was not open yet and
    /// nothing was written.
    /// What was written has [`Config::drain_timeout_ms`] to leave, and as long again to be
    /// acknowledged. A stale handle is ignored.
    pub fn close(&mut self, now: Instant, id: SocketId) {
        self.now = now;
        let deadline = now.plus_millis(self.drain_timeout_ms);
        let Some(mut socket) = view(&mut self.sockets, id) else { return };
        match socket.state.phase {
            Phase::Over(_) => socket.release(),
            Phase::Opening if socket.tx.is_empty() => {
                self.mux.abort(now, id.conn);
                socket.release();
            }
            Phase::Opening | Phase::Open => {
                socket.leave(deadline);
                if socket.sent(0) {
                    self.mux.close(now, id.conn);
                } else {
                    // Discarded from now on. `Gone` means that the end waits to be polled.
                    let _ = self.mux.set_held(now, id.conn, 0);
                }
            }
            Phase::Free | Phase::Leaving { .. } | Phase::Draining | Phase::TimedOut => {}
        }
        self.work.is_left();
    }

    /// Resets a connection now, whatever was written. The handle is stale at once, no event follows; a
    /// stale one is ignored.
    ///
    /// It also ends the wait of a socket that was closed and still drains.
    pub fn abort(&mut self, now: Instant, id: SocketId) {
        self.now = now;
        let Some(mut socket) = view(&mut self.sockets, id) else { return };
        self.mux.abort(now, id.conn);
        socket.release();
        self.work.is_left();
    }

    // ---- the run loop

    /// As [`Mux::attach`].
    pub fn attach(&mut self, now: Instant, max_packet: u16) {
        self.now = now;
        self.mux.attach(now, max_packet);
    }

    /// As [`Mux::detach`]; what was received stays readable.
    pub fn detach(&mut self, now: Instant) {
        self.now = now;
        self.mux.detach(now);
    }

    /// Takes what USB delivered; to be called until `None`. Payload goes into the rings, texts come out.
    pub fn receive<'t>(&mut self, now: Instant, transfer: &mut Transfer<'t>) -> Option<Text<'t>> {
        self.now = now;
        // Bounded: each turn takes a piece out of the transfer.
        while let Some(received) = self.mux.receive(now, transfer) {
            match received {
                Received::Data { conn, payload, .. } => self.deliver(now, conn, payload),
                Received::ResetText { conn, text } => {
                    if let Some(socket) = self.reset_says(conn, text) {
                        return Some(Text::Reset { socket, text });
                    }
                }
                Received::PhoneSays { kind, text, end } => {
                    return Some(Text::PhoneSays { kind, text, end });
                }
            }
        }
        None
    }

    fn deliver(&mut self, now: Instant, conn: ConnId, payload: &[u8]) {
        let Some(mut socket) = self.id(conn).and_then(|id| view(&mut self.sockets, id)) else {
            return;
        };
        match socket.deliver(payload) {
            // Cannot be `Gone`: the engine has just named the connection.
            Some(held) => {
                let _ = self.mux.set_held(now, conn, held as u32);
            }
            None => {
                // The window is the ring: only an engine that miscounts gets here. Never lose a byte
                // and go on.
                self.mux.abort_because(now, conn, ResetReason::Overrun);
                socket.closed(CloseReason::Overrun);
            }
        }
    }

    /// Takes a piece of a reset's text, and decides how the connection ends for the reader.
    fn reset_says(&mut self, conn: ConnId, text: &[u8]) -> Option<SocketId> {
        if self.resetting.replace(conn) != Some(conn) {
            self.reset_text.clear();
        }
        let room = TEXT_PREFIX.saturating_sub(self.reset_text.len());
        // Cannot overflow: at most the room is taken.
        let _ = self.reset_text.extend_from_slice(text.get(..room).unwrap_or(text));
        let id = self.id(conn)?;
        let socket = view(&mut self.sockets, id)?;
        socket.state.complained = !control::is_ordinary_close(&self.reset_text);
        Some(id)
    }

    /// As [`Mux::poll_transmit`]: acknowledgements, handshakes, resets. To be called until `None` while
    /// USB can take it, [`poll_data`](Sockets::poll_data) behind it.
    pub fn poll_transmit(&mut self, now: Instant, buf: &mut [u8; CONTROL_FRAME]) -> Option<Frame> {
        self.now = now;
        self.mux.poll_transmit(now, buf)
    }

    /// Makes the next frame of payload in the caller's transfer buffer, if one can be sent; sockets take
    /// turns frame by frame.
    ///
    /// To be called only when USB can take it: the frame, `frame[..len]`, is numbered and must be sent
    /// now, in this order. A buffer shorter than [`Config::max_frame`] makes shorter frames; one without
    /// room behind [`Mux::headroom`] none. May change after every other call.
    pub fn poll_data(&mut self, now: Instant, frame: &mut [u8]) -> Option<Frame> {
        self.now = now;
        let turn = self.turn.min(N);
        for index in (turn..N).chain(0..turn) {
            if let Some(sent) = self.send_from(now, index, frame) {
                self.turn = index.saturating_add(1);
                return Some(sent);
            }
        }
        None
    }

    fn send_from(&mut self, now: Instant, index: usize, frame: &mut [u8]) -> Option<Frame> {
        let mut socket = self.sockets.get_mut(index)?.view();
        if socket.state.blocked || socket.tx.is_empty() {
            return None;
        }
        let conn = socket.state.conn?;
        let headroom = self.mux.headroom();
        let room = frame.get_mut(headroom..).filter(|room| !room.is_empty())?;
        let sendable = self.mux.sendable(conn);
        if sendable == 0 {
            // `Sendable` or the end follows; until then small rooms are not asked for.
            socket.state.blocked = true;
            return None;
        }
        let most = sendable.min(room.len());
        let len = socket.tx.peek(room.get_mut(..most)?);
        // Cannot fail: the engine has just said that so much goes.
        let sent = self.mux.send_in_place(now, conn, frame, len).ok()?;
        if socket.sent(sent.taken) {
            self.mux.close(now, conn);
        }
        Some(Frame { len: headroom.saturating_add(sent.taken), needs_zlp: sent.needs_zlp })
    }

    /// Tells the next event; `None` when all are told.
    ///
    /// To be polled in every turn of the loop: sockets move on by it. May change after every other call
    /// that takes `now`.
    pub fn poll_event(&mut self, now: Instant) -> Option<Event> {
        self.now = now;
        // Bounded: each turn takes an event out of the engine's state.
        while let Some(event) = self.mux.poll_event(now) {
            let told = self.event(event);
            if told.is_some() {
                return told;
            }
        }
        self.timed_out()
    }

    /// What an event of the engine's means for its socket, and is called here; `None` if nobody need know.
    fn event(&mut self, event: mux::Event) -> Option<Event> {
        let conn = match event {
            mux::Event::LinkUp { version } => return Some(Event::LinkUp { version }),
            mux::Event::LinkFailed { reason } => return Some(Event::LinkFailed { reason }),
            mux::Event::SessionDead { cause } => return Some(Event::SessionDead { cause }),
            mux::Event::Incoming { conn, source, port } => {
                return Some(Event::Incoming { conn, source, port });
            }
            mux::Event::Connected { conn }
            | mux::Event::Sendable { conn }
            | mux::Event::Refused { conn, .. }
            | mux::Event::Finished { conn }
            | mux::Event::Closed { conn, .. } => conn,
        };
        let id = self.id(conn)?;
        let mut socket = view(&mut self.sockets, id)?;
        Some(match event {
            mux::Event::Connected { .. } => {
                socket.connected();
                // One that was closed meanwhile only drains.
                if socket.state.phase != Phase::Open {
                    return None;
                }
                Event::Connected { socket: id }
            }
            mux::Event::Refused { reason, .. } => {
                socket.refused(reason);
                Event::Refused { socket: id, reason }
            }
            mux::Event::Finished { .. } => {
                socket.finished();
                Event::Finished { socket: id }
            }
            mux::Event::Closed { reason, .. } => {
                socket.closed(reason);
                Event::Closed { socket: id, reason }
            }
            _ => {
                socket.state.blocked = false;
                return None;
            }
        })
    }

    fn timed_out(&mut self) -> Option<Event> {
        for (index, stored) in self.sockets.iter_mut().enumerate() {
            if let (Phase::TimedOut, Some(conn)) = (stored.state().phase, stored.state().conn) {
                stored.view().release();
                let socket = SocketId { index: u16::try_from(index).ok()?, conn };
                return Some(Event::Closed { socket, reason: CloseReason::DrainTimeout });
            }
        }
        None
    }

    /// Does what is due by now. To be called at [`next_tick`](Sockets::next_tick), or more often.
    pub fn tick(&mut self, now: Instant) {
        self.now = now;
        self.mux.tick(now);
        for stored in &mut self.sockets {
            let socket = stored.view();
            if let (Phase::Leaving { deadline }, Some(conn)) =
                (socket.state.phase, socket.state.conn)
                && deadline <= now
            {
                self.mux.abort(now, conn);
                socket.state.phase = Phase::TimedOut;
            }
        }
    }

    /// When [`tick`](Sockets::tick) is due; `None` if nothing is waited for.
    ///
    /// May change after every other call.
    pub fn next_tick(&self) -> Option<Instant> {
        let deadlines = self.sockets.iter().filter_map(|stored| match stored.state().phase {
            Phase::Leaving { deadline } => Some(deadline),
            _ => None,
        });
        deadlines.chain(self.mux.next_tick()).min()
    }

    // ---- reading and writing, for the handles

    fn read(&mut self, id: SocketId, to: &mut [u8]) -> Result<usize, Error> {
        let mut socket = view(&mut self.sockets, id).ok_or(Error::Closed)?;
        let count = socket.read(to)?;
        if count > 0 {
            let held = socket.rx.len() as u32;
            // `Gone` means that the peer ended the connection: what it sent is still read.
            let _ = self.mux.set_held(self.now, id.conn, held);
            self.work.is_left();
        }
        Ok(count)
    }

    fn write(&mut self, id: SocketId, from: &[u8]) -> Result<usize, Error> {
        let count = self.view(id)?.write(from)?;
        if count > 0 {
            self.work.is_left();
        }
        Ok(count)
    }

    fn view(&mut self, id: SocketId) -> Result<View<'_>, Error> {
        view(&mut self.sockets, id).ok_or(Error::Closed)
    }

    /// The handle of a connection's socket.
    fn id(&self, conn: ConnId) -> Option<SocketId> {
        Some(SocketId { index: *self.of_slot.get(conn.slot())?, conn })
    }
}

/// The socket that a handle names, if it is not stale.
fn view<const RX: usize, const TX: usize>(
    sockets: &mut [Stored<RX, TX>],
    id: SocketId,
) -> Option<View<'_>> {
    let socket = sockets.get_mut(id.place())?.view();
    (socket.state.conn == Some(id.conn)).then_some(socket)
}
