//! The in-process cable: a phone whose USB host is this program.
//!
//! [`Plug`] is the host's end, shaped like a pair of bulk endpoints; [`PhoneTask`] is the phone's
//! own life. The phone does nothing inside a call of the host's: transfers wait until the task
//! runs, as they would on a bus.

use crate::descriptors;
use crate::identity::Identity;
use crate::options::{Options, Quirk};
use crate::phone::{Counters, Dial, Phone};
use crate::services::Program;
use crate::services::mapped::{self, Mapped};
use smol::{LocalExecutor, Timer};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use usbmux_core::Instant;

/// The cable is out: no transfer will complete any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unplugged;

impl fmt::Display for Unplugged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the phone was unplugged")
    }
}

impl std::error::Error for Unplugged {}

/// What lies between the two ends.
struct Cable {
    phone: Phone,
    /// Origin of the phone's time.
    start: std::time::Instant,
    unplug_at: Option<Instant>,
    unplugged: bool,
    out_submitted: VecDeque<Vec<u8>>,
    out_done: VecDeque<Vec<u8>>,
    /// Buffers with the length of the read.
    in_submitted: VecDeque<(Vec<u8>, usize)>,
    in_done: VecDeque<Vec<u8>>,
    /// Who waits for what: the host for completions, the phone for anything to do.
    out_waker: Option<Waker>,
    in_waker: Option<Waker>,
    phone_waker: Option<Waker>,
}

impl Cable {
    fn new(options: &Options) -> Self {
        let unplug_after = options.quirks.iter().rev().find_map(|quirk| match quirk {
            Quirk::Unplug { after } => Some(*after),
            _ => None,
        });
        let mut phone = Phone::new(options);
        phone.plug_in(Instant::ZERO);
        Cable {
            phone,
            start: std::time::Instant::now(),
            unplug_at: unplug_after.map(|after| Instant::ZERO + after),
            unplugged: false,
            out_submitted: VecDeque::new(),
            out_done: VecDeque::new(),
            in_submitted: VecDeque::new(),
            in_done: VecDeque::new(),
            out_waker: None,
            in_waker: None,
            phone_waker: None,
        }
    }

    fn now(&self) -> Instant {
        Instant::ZERO + self.start.elapsed()
    }

    /// Everything that can be done now: OUT transfers first, then the programs, then reads.
    ///
    /// So a reset that was submitted together with data overtakes the program that should read it.
    fn work(&mut self, now: Instant) {
        let before = (self.out_done.len(), self.in_done.len());
        self.phone.tick(now);
        loop {
            let mut moved = false;
            while self.phone.takes_out()
                && let Some(mut transfer) = self.out_submitted.pop_front()
            {
                self.phone.take_out(now, &mut transfer);
                self.out_done.push_back(transfer);
                moved = true;
            }
            self.phone.run(now);
            while let Some((buffer, requested)) = self.in_submitted.front_mut()
                && self.phone.fill_in(buffer, *requested)
            {
                if let Some((buffer, _)) = self.in_submitted.pop_front() {
                    self.in_done.push_back(buffer);
                }
                moved = true;
            }
            if !moved {
                break;
            }
        }
        if self.out_done.len() > before.0 {
            wake(&mut self.out_waker);
        }
        if self.in_done.len() > before.1 {
            wake(&mut self.in_waker);
        }
    }

    fn next_tick(&self) -> Option<Instant> {
        [self.phone.next_tick(), self.unplug_at].into_iter().flatten().min()
    }

    fn unplug(&mut self) {
        if !self.unplugged {
            self.unplugged = true;
            self.phone.unplug(self.now());
            self.out_submitted.clear();
            self.in_submitted.clear();
            wake(&mut self.out_waker);
            wake(&mut self.in_waker);
            wake(&mut self.phone_waker);
        }
    }

    fn port_reset(&mut self) {
        self.phone.port_reset(self.now());
        self.out_done.extend(self.out_submitted.drain(..));
        for buffer in &mut self.in_done {
            buffer.clear();
        }
        self.in_done.extend(self.in_submitted.drain(..).map(|(mut buffer, _)| {
            buffer.clear();
            buffer
        }));
        wake(&mut self.out_waker);
        wake(&mut self.in_waker);
        wake(&mut self.phone_waker);
    }

    /// The next completion of a direction, or its waker noted.
    fn poll(
        done: &mut VecDeque<Vec<u8>>,
        waker: &mut Option<Waker>,
        unplugged: bool,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Vec<u8>, Unplugged>> {
        if let Some(buffer) = done.pop_front() {
            return Poll::Ready(Ok(buffer));
        }
        if unplugged {
            return Poll::Ready(Err(Unplugged));
        }
        note(waker, cx);
        Poll::Pending
    }
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

fn note(waker: &mut Option<Waker>, cx: &Context<'_>) {
    if !waker.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
        *waker = Some(cx.waker().clone());
    }
}

/// The USB host's end of the cable to one phone: a bulk OUT and a bulk IN endpoint.
///
/// Transfers complete in the order of their submission, each direction for itself, while
/// [`PhoneTask`] runs. Dropping the plug pulls the cable.
///
/// ```
/// use usbmux_phone::{Options, Plug};
///
/// let executor = smol::LocalExecutor::new();
/// let (mut plug, phone) = Plug::new(Options::new(1));
/// executor.spawn(phone).detach();
/// smol::block_on(executor.run(async {
///     // VERSION 2.0, and a read for the answer.
///     plug.submit_in(Vec::with_capacity(65536), 65536);
///     plug.submit_out(vec![0, 0, 0, 0, 0, 0, 0, 20, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0]);
///     let answer = std::future::poll_fn(|cx| plug.poll_in(cx)).await.unwrap();
///     assert_eq!(answer[..12], [0, 0, 0, 0, 0, 0, 0, 20, 0, 0, 0, 2]);
/// }));
/// ```
pub struct Plug {
    cable: Rc<RefCell<Cable>>,
    identity: Identity,
    max_packet: u16,
}

impl Plug {
    /// Makes a phone and plugs it in. The task is the phone's own life: it is to be spawned on the
    /// caller's executor, runs the timers and the mapped ports, and ends when the cable is out.
    pub fn new(options: Options) -> (Plug, PhoneTask) {
        let cable = Rc::new(RefCell::new(Cable::new(&options)));
        let plug = Plug {
            cable: cable.clone(),
            identity: Identity::new(options.number),
            max_packet: options.max_packet.max(1),
        };
        (plug, PhoneTask::new(cable))
    }

    /// The serial string, without the UDID's hyphen.
    #[doc(alias = "iSerialNumber")]
    pub fn serial(&self) -> &str {
        self.identity.serial()
    }

    /// Who the phone is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The USB product number.
    #[doc(alias = "idProduct")]
    pub fn product_id(&self) -> u16 {
        descriptors::PRODUCT_ID
    }

    /// The connection's speed in bit/s.
    pub fn speed(&self) -> u64 {
        match self.max_packet {
            ..=64 => 12_000_000,
            65..=512 => 480_000_000,
            _ => 5_000_000_000,
        }
    }

    /// Size of a full packet on both endpoints, in bytes.
    #[doc(alias = "wMaxPacketSize")]
    pub fn max_packet(&self) -> u16 {
        self.max_packet
    }

    /// Submits one OUT transfer, cut into packets on the way; an empty one is a ZLP.
    ///
    /// The phone sees no end of a message where the last packet is a full one (PROTOCOL §4).
    pub fn submit_out(&mut self, transfer: Vec<u8>) {
        let mut cable = self.cable.borrow_mut();
        if !cable.unplugged {
            cable.out_submitted.push_back(transfer);
            wake(&mut cable.phone_waker);
        }
    }

    /// The next completed OUT transfer; its buffer comes back with what was sent still in it, or
    /// changed: it is for reuse.
    ///
    /// # Errors
    ///
    /// [`Unplugged`] for good once the cable is out and earlier completions were taken.
    pub fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<Result<Vec<u8>, Unplugged>> {
        let cable = &mut *self.cable.borrow_mut();
        Cable::poll(&mut cable.out_done, &mut cable.out_waker, cable.unplugged, cx)
    }

    /// Submits one IN transfer of `requested` bytes, a non-zero multiple of
    /// [`max_packet`](Self::max_packet); what stands in the buffer is discarded.
    ///
    /// The transfer completes at a short packet, at a ZLP, or when it is full. The buffer that
    /// comes back may be another one of at least the requested capacity.
    pub fn submit_in(&mut self, buffer: Vec<u8>, requested: usize) {
        let mut cable = self.cable.borrow_mut();
        if !cable.unplugged {
            cable.in_submitted.push_back((buffer, requested));
            wake(&mut cable.phone_waker);
        }
    }

    /// The next completed IN transfer; its length is what arrived: 0 for a ZLP, and for reads that
    /// a port reset ended.
    ///
    /// # Errors
    ///
    /// [`Unplugged`] for good once the cable is out and earlier completions were taken.
    pub fn poll_in(&mut self, cx: &mut Context<'_>) -> Poll<Result<Vec<u8>, Unplugged>> {
        let cable = &mut *self.cable.borrow_mut();
        Cable::poll(&mut cable.in_done, &mut cable.in_waker, cable.unplugged, cx)
    }

    /// Takes back an OUT transfer that has not completed: the `index`-th of those, the oldest being
    /// 0. It never reaches the phone.
    pub fn cancel_out(&mut self, index: usize) -> Option<Vec<u8>> {
        self.cable.borrow_mut().out_submitted.remove(index)
    }

    /// Takes back a read that has not completed: the `index`-th of those, the oldest being 0.
    pub fn cancel_in(&mut self, index: usize) -> Option<Vec<u8>> {
        self.cable.borrow_mut().in_submitted.remove(index).map(|(buffer, _)| buffer)
    }

    /// Resets the port: the phone forgets its session, and all pending transfers end; reads come
    /// back empty, those that had completed and were not yet polled included.
    pub fn reset_port(&mut self) {
        let mut cable = self.cable.borrow_mut();
        if !cable.unplugged {
            cable.port_reset();
        }
    }

    /// Pulls the cable.
    pub fn unplug(&mut self) {
        self.cable.borrow_mut().unplug();
    }

    /// What happened on the phone so far.
    pub fn counters(&self) -> Counters {
        self.cable.borrow().phone.counters()
    }

    /// Connections of the phone that have not ended.
    pub fn connections(&self) -> usize {
        self.cable.borrow().phone.connections()
    }
}

impl Drop for Plug {
    fn drop(&mut self) {
        self.unplug();
    }
}

impl fmt::Debug for Plug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plug").field("identity", &self.identity).finish_non_exhaustive()
    }
}

/// The phone's own life; see [`Plug::new`]. Dropping it before its end pulls the cable.
#[must_use = "a phone does nothing unless its task runs"]
pub struct PhoneTask {
    life: Pin<Box<dyn Future<Output = ()>>>,
    cable: Rc<RefCell<Cable>>,
}

impl PhoneTask {
    fn new(cable: Rc<RefCell<Cable>>) -> Self {
        let mut life = Life { cable: cable.clone(), timer: Timer::never(), armed: None };
        let life = async move {
            // Mapped ports have tasks of their own, which end with the phone.
            let executor = LocalExecutor::new();
            executor.run(poll_fn(|cx| life.poll(&executor, cx))).await;
        };
        PhoneTask { life: Box::pin(life), cable }
    }
}

impl Future for PhoneTask {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.life.as_mut().poll(cx)
    }
}

impl Drop for PhoneTask {
    fn drop(&mut self) {
        self.cable.borrow_mut().unplug();
    }
}

impl fmt::Debug for PhoneTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PhoneTask").finish_non_exhaustive()
    }
}

/// What the task polls.
struct Life {
    cable: Rc<RefCell<Cable>>,
    timer: Timer,
    /// When the timer fires; none if it is not set.
    armed: Option<Instant>,
}

impl Life {
    fn poll(&mut self, executor: &LocalExecutor<'_>, cx: &mut Context<'_>) -> Poll<()> {
        let mut cable = self.cable.borrow_mut();
        let now = cable.now();
        if cable.unplug_at.is_some_and(|at| at <= now) {
            cable.unplug();
        }
        if cable.unplugged {
            return Poll::Ready(());
        }
        note(&mut cable.phone_waker, cx);
        cable.work(now);
        while let Some(dial) = cable.phone.next_dial() {
            executor.spawn(serve(Rc::downgrade(&self.cable), dial)).detach();
        }
        let (due, start) = (cable.next_tick(), cable.start);
        drop(cable);
        self.wait_until(due, start, cx);
        Poll::Pending
    }

    /// Sets the timer, unless it fires early enough anyway: moving it costs more than a vain wake.
    fn wait_until(
        &mut self,
        due: Option<Instant>,
        start: std::time::Instant,
        cx: &mut Context<'_>,
    ) {
        if let Some(due) = due
            && self.armed.is_none_or(|armed| armed > due)
        {
            self.armed = Some(due);
            self.timer.set_at(start + Duration::from_micros(due.as_micros()));
        }
        if Pin::new(&mut self.timer).poll(cx).is_ready() {
            self.armed = None;
            cx.waker().wake_by_ref();
        }
    }
}

/// Makes the TCP connection behind a mapped port, then watches its socket.
async fn serve(cable: Weak<RefCell<Cable>>, dial: Dial) {
    let stream = mapped::connect(dial.address).await;
    let Some(strong) = cable.upgrade() else { return };
    let Some(stream) = stream else {
        finish_dial(&strong, dial, None);
        return;
    };
    let (program, stream, readiness) = Mapped::new(stream);
    finish_dial(&strong, dial, Some(Box::new(program)));
    drop(strong);
    let wake_program = || {
        if let Some(cable) = cable.upgrade() {
            let mut cable = cable.borrow_mut();
            cable.phone.wake(dial.conn);
            wake(&mut cable.phone_waker);
        }
    };
    mapped::watch(stream, readiness, wake_program).await;
}

fn finish_dial(cable: &Rc<RefCell<Cable>>, dial: Dial, program: Option<Box<dyn Program>>) {
    let mut cable = cable.borrow_mut();
    let now = cable.now();
    cable.phone.dialled(now, dial.conn, program);
    wake(&mut cable.phone_waker);
}
