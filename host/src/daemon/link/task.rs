//! The one task of a phone.
//!
//! Each time it wakes it takes what the pipe has received, hands the pieces to their connections,
//! acts on the engine's events, and fills the pipe again: data frames first come, first served,
//! one frame a turn, and the engine's own frames between them. A frame is numbered only when the
//! pipe takes it in the same breath. When the session is dead the engine greets the phone again by
//! itself; when that fails the port is reset once; when that fails too the link ends, and with it
//! the phone's place in the registry.
//! Leaves out: what connections do with their turn (`relay`).

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use usbmux_core::{CONTROL_FRAME, Event, Instant, Received, Transfer};
use usbmux_trace::file::PhoneTrace;
use usbmux_trace::write::Sender;
use usbmux_trace::write::record::What;

use super::{Link, Shared};
use crate::daemon::relay::{Filled, RESTS_BEHIND, Relay};
use crate::pipe::{InTransfer, Pipe, PipeError, READS_IN_FLIGHT};
use crate::reactor::Timer;

/// How many data transfers are submitted at once: enough to keep the bus busy while we fill the
/// next, few enough that an acknowledgement never waits behind much.
pub(super) const DATA_IN_FLIGHT: usize = 4;

/// How many OUT transfers of any kind are submitted at once.
const OUT_IN_FLIGHT: usize = 16;

/// How long a failed OUT transfer may go unnoticed when nobody waits for it.
pub(super) const OUT_LOOK: Duration = Duration::from_millis(50);

/// How often the task goes round in one wake before it lets others run.
const ROUNDS_PER_WAKE: usize = 8;

/// Why a link ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkEnd {
    /// The phone was unplugged.
    Unplugged,
    /// The phone does not answer, not even after a reset of its port.
    NoAnswer,
}

impl LinkEnd {
    fn words(self) -> &'static str {
        match self {
            Self::Unplugged => "unplugged",
            Self::NoAnswer => "it does not answer, replug it",
        }
    }
}

impl fmt::Display for LinkEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())
    }
}

/// What an OUT transfer is; completions come in the order of submission.
enum Kind {
    /// A data frame of a connection, and its length.
    Data(Rc<Relay>, usize),
    /// A frame of the engine's own.
    Own,
    /// A zero-length packet.
    Zlp,
}

/// The task of one phone.
pub(crate) struct LinkTask {
    link: Rc<Link>,
    pipe: Box<dyn Pipe>,
    /// What was submitted and has not come back, in order.
    in_flight: VecDeque<Kind>,
    data_in_flight: usize,
    /// Their bytes.
    data_bytes_in_flight: usize,
    /// When something was submitted last.
    submitted_at: Instant,
    /// How often the link had to be begun anew since it was last up.
    failures: u32,
    /// Whether the port is being reset.
    resetting: bool,
    timer: Timer,
    /// When the timer fires; it may fire earlier than anything is due, never later.
    timer_at: Option<Instant>,
    /// Who is told of everything that passes, if anybody is.
    trace: Option<PhoneTrace>,
}

impl LinkTask {
    pub(crate) fn new(link: Rc<Link>, pipe: Box<dyn Pipe>) -> Self {
        let timer = Timer::never(link.reactor());
        Self {
            link,
            pipe,
            in_flight: VecDeque::new(),
            data_in_flight: 0,
            data_bytes_in_flight: 0,
            submitted_at: Instant::ZERO,
            failures: 0,
            resetting: false,
            timer,
            timer_at: None,
            trace: None,
        }
    }

    /// Has everything that passes told to this trace.
    pub(crate) fn traced(self, trace: Option<PhoneTrace>) -> Self {
        Self { trace, ..self }
    }

    /// Runs the link until its end; `up` is called each time the phone has answered the greeting.
    pub(crate) async fn run(mut self, mut up: impl FnMut()) -> LinkEnd {
        self.attach();
        let end = poll_fn(|cx| self.poll(cx, &mut up)).await;
        self.tell(|| What::Detached(end.words()));
        self.end();
        end
    }

    pub(super) fn attach(&mut self) {
        let now = self.link.now();
        self.link.shared.borrow_mut().engine.attach(now, self.pipe.max_packet_size());
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>, up: &mut impl FnMut()) -> Poll<LinkEnd> {
        self.register(cx);
        for _ in 0..ROUNDS_PER_WAKE {
            match self.round(cx, up) {
                Ok(true) => {}
                Ok(false) => return self.sleep(cx),
                Err(end) => return Poll::Ready(end),
            }
        }
        // There is more to do, but clients and other phones have waited long enough.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn register(&self, cx: &Context<'_>) {
        let mut task = self.link.task.borrow_mut();
        if !task.as_ref().is_some_and(|task| task.will_wake(cx.waker())) {
            *task = Some(cx.waker().clone());
        }
    }

    /// Does everything that can be done now, once; says whether that was anything.
    fn round(&mut self, cx: &mut Context<'_>, up: &mut impl FnMut()) -> Result<bool, LinkEnd> {
        let now = self.link.now();
        self.link.shared.borrow_mut().engine.tick(now);
        if self.resetting {
            self.events(now, up)?;
            return self.reset(cx);
        }
        let received = self.receive(cx, now)?;
        self.events(now, up)?;
        self.take_back(cx)?;
        let sent = self.transmit(now);
        // A data frame may have found its connection at an end.
        self.events(now, up)?;
        Ok(received || sent || self.resetting)
    }

    /// Takes the completed IN transfers, at most as many as were submitted.
    fn receive(&mut self, cx: &mut Context<'_>, now: Instant) -> Result<bool, LinkEnd> {
        for taken in 0..READS_IN_FLIGHT {
            let fault = match self.pipe.poll_in(cx) {
                Poll::Pending => return Ok(taken > 0),
                Poll::Ready(Ok(transfer)) => {
                    if let Some(trace) = &mut self.trace {
                        trace.carried(Sender::Phone, transfer.bytes, transfer.ended);
                    }
                    take_in(&mut self.link.shared.borrow_mut(), now, transfer);
                    continue;
                }
                Poll::Ready(Err(error)) => error,
            };
            self.fault(now, fault)?;
            break;
        }
        Ok(true)
    }

    /// Notes which OUT transfers are done. To be woken for each would cost more than sending it did:
    /// where nobody waits for one, they are looked at with whatever happens next.
    fn take_back(&mut self, cx: &mut Context<'_>) -> Result<(), LinkEnd> {
        while !self.resetting && !self.in_flight.is_empty() {
            let mut unheard = Context::from_waker(Waker::noop());
            let cx = if self.out_is_awaited() { &mut *cx } else { &mut unheard };
            let Poll::Ready(done) = self.pipe.poll_out(cx) else {
                break;
            };
            if let Some(Kind::Data(relay, length)) = self.in_flight.pop_front() {
                self.data_in_flight -= 1;
                self.data_bytes_in_flight -= length;
                if relay.has_left(length) {
                    self.link.shared.borrow_mut().ready.push_back(relay);
                }
            }
            if let Err(error) = done {
                self.fault(self.link.now(), error)?;
            }
        }
        Ok(())
    }

    /// Whether somebody may be waiting until an OUT transfer is done: frames for a place among them, or
    /// a connection that rests.
    fn out_is_awaited(&self) -> bool {
        self.data_in_flight >= DATA_IN_FLIGHT
            || self.in_flight.len() >= OUT_IN_FLIGHT
            || self.data_bytes_in_flight >= RESTS_BEHIND
    }

    /// Fills the pipe: by turns a data frame of the connection first in line, and a frame of the
    /// engine's own. Data goes first because it acknowledges too.
    fn transmit(&mut self, now: Instant) -> bool {
        let link = Rc::clone(&self.link);
        let mut shared = link.shared.borrow_mut();
        let mut sent = false;
        while !self.resetting && self.in_flight.len() < OUT_IN_FLIGHT {
            let data = self.data_in_flight < DATA_IN_FLIGHT && self.send_data(&mut shared, now);
            let own = self.send_own(&mut shared, now);
            if !data && !own {
                break;
            }
            sent = true;
            self.submitted_at = now;
        }
        sent
    }

    /// Sends one data frame of the first connection in line that has one.
    fn send_data(&mut self, shared: &mut Shared, now: Instant) -> bool {
        while let Some(relay) = shared.ready.pop_front() {
            let engine = &mut shared.engine;
            let room = relay.room(engine);
            if room == 0 {
                continue;
            }
            let mut filled = Filled::Nothing;
            self.pipe.submit_out(room, &mut |frame| {
                filled = relay.fill(engine, now, frame);
                match filled {
                    Filled::Nothing => 0,
                    Filled::Frame { length, needs_zlp, .. } => {
                        if let Some(trace) = &mut self.trace {
                            let frame = frame.get(..length).unwrap_or_default();
                            trace.carried(Sender::Host, frame, !needs_zlp);
                        }
                        length
                    }
                }
            });
            if let Filled::Frame { length, needs_zlp, more } = filled {
                log::trace!("phone {}: {length} bytes of data out", self.link.device_id);
                self.data_in_flight += 1;
                self.data_bytes_in_flight += length;
                self.submitted(Kind::Data(Rc::clone(&relay), length), needs_zlp);
                if more {
                    shared.ready.push_back(relay);
                }
                return true;
            }
        }
        false
    }

    /// Sends one frame of the engine's own, if one is due.
    fn send_own(&mut self, shared: &mut Shared, now: Instant) -> bool {
        let mut buffer = [0; CONTROL_FRAME];
        let Some(frame) = shared.engine.poll_transmit(now, &mut buffer) else {
            return false;
        };
        log::trace!("phone {}: {} bytes of our own out", self.link.device_id, frame.len);
        let bytes = buffer.get(..frame.len).unwrap_or_default();
        if let Some(trace) = &mut self.trace {
            trace.carried(Sender::Host, bytes, !frame.needs_zlp);
        }
        self.pipe.submit_out(frame.len, &mut |transfer| {
            transfer.copy_from_slice(bytes);
            frame.len
        });
        self.submitted(Kind::Own, frame.needs_zlp);
        true
    }

    /// Notes what was submitted, and has a zero-length packet follow if it must.
    fn submitted(&mut self, kind: Kind, needs_zlp: bool) {
        self.in_flight.push_back(kind);
        if needs_zlp {
            self.in_flight.push_back(Kind::Zlp);
            if let Some(trace) = &mut self.trace {
                trace.carried(Sender::Host, &[], true);
            }
            self.pipe.submit_zlp();
        }
    }

    /// Acts on what the engine has to tell.
    fn events(&mut self, now: Instant, up: &mut impl FnMut()) -> Result<(), LinkEnd> {
        let link = Rc::clone(&self.link);
        let id = link.device_id;
        loop {
            let mut shared = link.shared.borrow_mut();
            let Some(event) = shared.engine.poll_event(now) else {
                return Ok(());
            };
            match event {
                Event::LinkUp { version } => {
                    log::debug!("phone {id}: link up, version {version}");
                    self.tell(|| What::SessionUp(version));
                    self.failures = 0;
                    drop(shared);
                    up();
                    link.tell_waiting();
                }
                Event::LinkFailed { reason } => {
                    log::warn!("phone {id}: no link: {reason:?}");
                    self.tell(|| What::SessionFailed(format!("{reason:?}")));
                    drop(shared);
                    self.begin_anew(now)?;
                }
                Event::SessionDead { cause } => {
                    log::warn!("phone {id}: the session is dead ({cause:?}), greeting it again");
                    self.tell(|| What::SessionDead(format!("{cause:?}")));
                }
                other => connection_event(&mut shared, now, other),
            }
        }
    }

    /// A transfer failed: a frame may be lost, so the session cannot go on.
    fn fault(&mut self, now: Instant, error: PipeError) -> Result<(), LinkEnd> {
        if error == PipeError::Unplugged {
            return Err(LinkEnd::Unplugged);
        }
        log::warn!("phone {}: {error}", self.link.device_id);
        self.tell(|| What::Fault("a transfer failed"));
        self.begin_anew(now)
    }

    /// Has the port reset and the phone greeted again, once between two successes. All connections
    /// end now.
    fn begin_anew(&mut self, now: Instant) -> Result<(), LinkEnd> {
        if self.resetting {
            return Ok(());
        }
        self.failures += 1;
        if self.failures > 1 {
            return Err(LinkEnd::NoAnswer);
        }
        self.resetting = true;
        self.tell(|| What::Reset);
        self.link.shared.borrow_mut().engine.detach(now);
        Ok(())
    }

    /// Goes on with the reset; when the port is back, so says the result, the phone is greeted.
    fn reset(&mut self, cx: &mut Context<'_>) -> Result<bool, LinkEnd> {
        match self.pipe.poll_reset(cx) {
            Poll::Pending => Ok(false),
            Poll::Ready(Ok(())) => {
                log::debug!("phone {}: port reset", self.link.device_id);
                self.tell(|| What::ResetDone);
                self.resetting = false;
                self.in_flight.clear();
                self.data_in_flight = 0;
                self.data_bytes_in_flight = 0;
                self.attach();
                Ok(true)
            }
            Poll::Ready(Err(PipeError::Unplugged)) => Err(LinkEnd::Unplugged),
            Poll::Ready(Err(_)) => Err(LinkEnd::NoAnswer),
        }
    }

    /// Tells the trace, if there is one.
    fn tell(&mut self, what: impl FnOnce() -> What) {
        if let Some(trace) = &mut self.trace {
            trace.happened(what());
        }
    }

    /// Goes to sleep until something is due; readiness of the pipe and of connections wakes too.
    fn sleep(&mut self, cx: &mut Context<'_>) -> Poll<LinkEnd> {
        let due = self.link.shared.borrow().engine.next_tick();
        let look = (!self.in_flight.is_empty()).then(|| self.submitted_at + OUT_LOOK);
        let due = [due, look].into_iter().flatten().min();
        loop {
            if let Some(due) = due
                && self.timer_at.is_none_or(|at| due < at)
            {
                // Only ever brought forward: most deadlines go away before they come.
                self.timer.set_at(self.link.clock_at(due));
                self.timer_at = Some(due);
            }
            if self.timer_at.is_none() || Pin::new(&mut self.timer).poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.timer_at = None;
            if due.is_some_and(|due| due <= self.link.now()) {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
    }

    /// Ends every connection, after the pipe is gone.
    pub(super) fn end(&mut self) {
        let now = self.link.now();
        self.link.gone.set(true);
        let mut shared = self.link.shared.borrow_mut();
        shared.engine.detach(now);
        while let Some(event) = shared.engine.poll_event(now) {
            connection_event(&mut shared, now, event);
        }
        shared.ready.clear();
        log::debug!("phone {}: {:?}", self.link.device_id, shared.engine.stats());
        drop(shared);
        self.link.tell_waiting();
    }
}

/// Hands one IN transfer's pieces to their connections.
fn take_in(shared: &mut Shared, now: Instant, transfer: InTransfer<'_>) {
    log::trace!("{} bytes in", transfer.bytes.len());
    let mut pieces = match transfer.ended {
        true => Transfer::new(transfer.bytes),
        false => Transfer::part(transfer.bytes),
    };
    while let Some(piece) = shared.engine.receive(now, &mut pieces) {
        match piece {
            Received::Data { conn, payload, .. } => {
                if let Some(relay) = shared.relays.get(conn.slot()).and_then(Option::as_ref) {
                    relay.deliver(&mut shared.engine, now, payload);
                }
            }
            Received::ResetText { conn, text } => {
                if let Some(relay) = shared.relay(conn) {
                    log::debug!("{relay}: reset: {}", text.escape_ascii());
                    relay.reset_text(text);
                }
            }
            Received::PhoneSays { kind, text, .. } => {
                log::debug!("the phone says ({kind}): {}", text.escape_ascii());
            }
        }
    }
}

/// Tells a connection what the engine says of it.
fn connection_event(shared: &mut Shared, now: Instant, event: Event) {
    match event {
        Event::Connected { conn } => {
            if let Some(relay) = shared.relay(conn) {
                relay.connected();
            }
        }
        Event::Sendable { conn } => {
            if let Some(relay) = shared.relay(conn).filter(|relay| relay.unblocked()).cloned() {
                shared.ready.push_back(relay);
            }
        }
        Event::Refused { conn, reason } => {
            if let Some(relay) = shared.take(conn) {
                log::debug!("{relay}: refused: {reason:?}");
                relay.refused();
            }
        }
        Event::Finished { conn } => {
            if let Some(relay) = shared.relay(conn) {
                relay.finished();
            }
        }
        Event::Closed { conn, reason } => {
            if let Some(relay) = shared.take(conn) {
                relay.closed(reason);
            }
        }
        // Phones open no connections to us.
        Event::Incoming { conn, .. } => shared.engine.abort(now, conn),
        _ => {}
    }
}
