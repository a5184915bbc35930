//! Which phones are there, who wants to know, and how to connect to one.
//!
//! A phone is attached with its USB pipe and becomes visible once its link is up; it stays visible,
//! under one device id, until its link is given up. A device id is never used twice while the
//! daemon runs. Listeners see every visible phone come and go, through a queue with a bound: one
//! that does not read is hung up on and harms nobody else.
//! Leaves out: the protocol with phones (`link`) and with clients (`session`).

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::error::Error;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use event_listener::Event;
use smol::LocalExecutor;
use smol::future::or;
use usbmux_trace::file::Trace;

use super::ends::{Ends, Hearer};
use super::limits::{DEFAULT_CONNECTIONS, DEFAULT_WINDOW_BYTES, MAX_QUEUED_EVENTS};
use super::link::{Link, LinkEnd, LinkTask};
use super::relay::Relay;
use crate::pipe::Pipe;
use crate::reactor::Reactor;
use crate::stream::ClientStream;
pub use crate::usb::PhoneInfo;

/// How long a half-closed connection may be silent, unless told otherwise.
pub const DEFAULT_LINGER: Duration = Duration::from_secs(30);

/// How long the first clients wait at most for phones that are plugged in already, from the daemon's
/// start on; their own patience is 5 seconds (PROTOCOL §5).
const FIRST_LOOK: Duration = Duration::from_secs(3);

/// What the daemon allows its phones and clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections to one phone at once; a Connect beyond gets "refused".
    pub connections: usize,
    /// Bytes that the windows of one phone's connections may add up to.
    pub window_bytes: usize,
    /// How long a phone may be silent towards a client that has shut down its sending side.
    pub linger: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: DEFAULT_CONNECTIONS,
            window_bytes: DEFAULT_WINDOW_BYTES,
            linger: DEFAULT_LINGER,
        }
    }
}

/// A phone as clients see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Phone {
    /// The number clients connect by; from 1, never used twice.
    pub device_id: u32,
    /// The UDID: the serial number with the hyphen after the 8th of 24 characters.
    pub serial: String,
    /// USB idProduct.
    pub product_id: u16,
    /// bus << 16 | address.
    pub location_id: u32,
    /// Bit/s.
    pub speed: u64,
}

/// Something listeners are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceEvent {
    /// A phone is there, or became visible.
    Attached(Phone),
    /// The phone with this device id is gone.
    Detached(u32),
    /// A pair record was saved for the phone with this device id.
    Paired(u32),
}

/// Who listens, as ListListeners tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListenerInfo {
    /// The listener's number, unique among those present.
    pub number: u32,
    /// The program's name, if it gave one.
    pub prog_name: Option<String>,
    /// The program's bundle id, if it gave one.
    pub bundle_id: Option<String>,
    /// Its kLibUSBMuxVersion; 0 if it gave none.
    pub lib_version: u64,
}

/// Why a Connect failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectFailure {
    /// No visible phone has this device id, or it went while connecting (Result 2).
    NoDevice,
    /// The phone refused or did not answer, or the connection limit is reached (Result 3).
    Refused,
}

impl fmt::Display for ConnectFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoDevice => "no such phone",
            Self::Refused => "connection refused",
        })
    }
}

impl Error for ConnectFailure {}

/// The phones and listeners of a daemon; clones are the same registry.
#[derive(Clone)]
pub struct Registry(Rc<Inner>);

struct Inner {
    executor: Rc<LocalExecutor<'static>>,
    limits: Limits,
    reactor: Reactor,
    ends: Ends,
    last_device_id: Cell<u32>,
    /// Whether no phone will come any more.
    complete: Cell<bool>,
    first_look: Cell<FirstLook>,
    /// That a phone came, became visible or went, or that `complete` or `first_look` changed.
    changed: Event,
    phones: RefCell<BTreeMap<u32, Entry>>,
    listeners: RefCell<BTreeMap<u64, Rc<Listener>>>,
    last_listener: Cell<u64>,
    trace: OnceCell<Trace>,
}

/// How far a daemon that has just started is with the phones that are plugged in already.
#[derive(Clone, Copy, PartialEq, Eq)]
enum FirstLook {
    /// It is finding and opening them.
    Begun,
    /// All are attached whose links will come up.
    Ended,
    /// What there is to be seen is visible, or was waited for long enough.
    Over,
}

struct Entry {
    phone: Phone,
    link: Rc<Link>,
    visible: bool,
}

impl Registry {
    /// Makes a registry without phones, whose tasks run on `executor`.
    ///
    /// # Errors
    /// The process or the system has no file descriptor left.
    pub fn new(executor: Rc<LocalExecutor<'static>>, limits: Limits) -> io::Result<Self> {
        let reactor = Reactor::here()?;
        let serving = reactor.clone();
        executor
            .spawn(async move {
                if let Err(error) = serving.serve().await {
                    log::error!("clients are not heard any more: {error}");
                }
            })
            .detach();
        Ok(Self(Rc::new(Inner {
            executor,
            limits,
            reactor,
            ends: Ends::default(),
            last_device_id: Cell::new(0),
            complete: Cell::new(false),
            first_look: Cell::new(FirstLook::Over),
            changed: Event::new(),
            phones: RefCell::default(),
            listeners: RefCell::default(),
            last_listener: Cell::new(0),
            trace: OnceCell::new(),
        })))
    }

    /// Has what passes between phones and the daemon traced, of all that are attached from now on.
    /// Only the first trace counts.
    pub fn trace_to(&self, trace: Trace) {
        let _ = self.0.trace.set(trace);
    }

    /// Starts the link to a phone that was plugged in and returns its device id. The phone becomes
    /// visible when its link is up.
    pub fn attach(&self, info: PhoneInfo, pipe: Box<dyn Pipe>) -> u32 {
        self.attach_until(info, pipe, |_| {})
    }

    /// As [`attach`](Self::attach), and `ended` is called when the phone is gone from the registry.
    pub(crate) fn attach_until(
        &self,
        info: PhoneInfo,
        pipe: Box<dyn Pipe>,
        ended: impl FnOnce(LinkEnd) + 'static,
    ) -> u32 {
        let device_id = self.0.last_device_id.get() + 1;
        self.0.last_device_id.set(device_id);
        let trace = self.0.trace.get().map(|trace| info.traced(trace, pipe.max_packet_size()));
        let PhoneInfo { serial, product_id, location_id, speed } = info;
        log::debug!("phone {device_id} ({serial}) plugged in at {location_id:#x}");
        let phone = Phone { device_id, serial, product_id, location_id, speed };
        let link = Link::new(device_id, self.0.limits, self.0.reactor.clone(), self.0.ends.clone());
        let entry = Entry { phone, link: Rc::clone(&link), visible: false };
        self.0.phones.borrow_mut().insert(device_id, entry);
        self.0.changed.notify(usize::MAX);
        let registry = self.clone();
        let task = LinkTask::new(link, pipe).traced(trace);
        self.0
            .executor
            .spawn(async move {
                let end = task.run(|| registry.show(device_id)).await;
                registry.remove(device_id, end);
                ended(end);
            })
            .detach();
        device_id
    }

    /// Lists the visible phones in the order they came.
    pub fn phones(&self) -> Vec<Phone> {
        let phones = self.0.phones.borrow();
        phones.values().filter(|entry| entry.visible).map(|entry| entry.phone.clone()).collect()
    }

    /// Counts the phones plugged in, those not yet visible included.
    pub fn plugged_in(&self) -> usize {
        self.0.phones.borrow().len()
    }

    /// Says that the phones plugged in already are being attached: whoever wants to know which there
    /// are, the client for whom a service manager started the daemon too, waits for them in
    /// [`first_look`](Self::first_look).
    pub fn begin_first_look(&self) {
        self.0.first_look.set(FirstLook::Begun);
        let registry = self.clone();
        let bound = async move {
            smol::Timer::after(FIRST_LOOK).await;
            registry.0.first_look.set(FirstLook::Over);
            registry.0.changed.notify(usize::MAX);
        };
        self.0.executor.spawn(bound).detach();
    }

    /// Says that all of them are attached, or will not be.
    pub fn end_first_look(&self) {
        if self.0.first_look.get() == FirstLook::Begun {
            self.0.first_look.set(FirstLook::Ended);
            self.0.changed.notify(usize::MAX);
        }
    }

    /// Waits until the phones that were plugged in at the start are visible or given up; not longer
    /// than 3 seconds from then.
    pub async fn first_look(&self) {
        loop {
            let changed = self.0.changed.listen();
            match self.0.first_look.get() {
                FirstLook::Over => return,
                FirstLook::Ended if self.0.phones.borrow().values().all(|it| it.visible) => {
                    self.0.first_look.set(FirstLook::Over);
                    return;
                }
                FirstLook::Begun | FirstLook::Ended => changed.await,
            }
        }
    }

    /// Says whether no phone will come any more, as far as is known.
    pub fn set_complete(&self, complete: bool) {
        self.0.complete.set(complete);
        self.0.changed.notify(usize::MAX);
    }

    /// Waits until there are no phones any more: until none is plugged in and none will come, or
    /// until the last one has been gone for this long.
    pub async fn deserted(&self, for_at_least: Duration) {
        loop {
            let changed = self.0.changed.listen();
            let empty = self.plugged_in() == 0;
            if empty && self.0.complete.get() {
                return;
            }
            let change = async {
                changed.await;
                false
            };
            if empty && self.0.last_device_id.get() > 0 {
                let gone = async {
                    smol::Timer::after(for_at_least).await;
                    true
                };
                if or(gone, change).await {
                    return;
                }
            } else {
                change.await;
            }
        }
    }

    /// Begins to tell a listener: first every visible phone, then what happens.
    pub fn subscribe(&self, who: ListenerInfo) -> Subscription {
        let key = self.0.last_listener.get() + 1;
        self.0.last_listener.set(key);
        let queue = self.phones().into_iter().map(DeviceEvent::Attached).collect();
        let listener = Rc::new(Listener {
            who,
            queue: RefCell::new(queue),
            too_slow: Cell::new(false),
            waker: RefCell::new(None),
        });
        self.0.listeners.borrow_mut().insert(key, Rc::clone(&listener));
        Subscription { registry: self.clone(), key, listener }
    }

    /// Lists who listens, in the order they came.
    pub fn listeners(&self) -> Vec<ListenerInfo> {
        let listeners = self.0.listeners.borrow();
        listeners.values().map(|listener| listener.who.clone()).collect()
    }

    /// Tells, once, why the connection with this token ended; nothing if it ended in the ordinary way.
    pub fn end_reason(&self, token: &str) -> Option<String> {
        self.0.ends.take(token)
    }

    /// Tells every listener that a pair record was saved for a phone.
    pub fn paired(&self, device_id: u32) {
        self.tell(&DeviceEvent::Paired(device_id));
    }

    /// Connects to a port of a phone. Dropping the future gives the attempt up.
    ///
    /// # Errors
    /// As [`ConnectFailure`] says.
    pub async fn connect(&self, device_id: u32, port: u16) -> Result<Connection, ConnectFailure> {
        let link = {
            let phones = self.0.phones.borrow();
            let entry = phones.get(&device_id).filter(|entry| entry.visible);
            Rc::clone(&entry.ok_or(ConnectFailure::NoDevice)?.link)
        };
        let relay = link.connect(port).await?;
        Ok(Connection::new(relay, Rc::clone(&self.0.executor)))
    }

    /// Ends every connection: what clients have sent is handed to the phones and acknowledged,
    /// what phones have sent is handed to the clients. Whatever takes longer than `at_most` is cut
    /// off by the caller's exit.
    pub async fn drain(&self, at_most: Duration) {
        let links: Vec<_> =
            self.0.phones.borrow().values().map(|entry| Rc::clone(&entry.link)).collect();
        for link in &links {
            link.stop();
        }
        let all_empty = async {
            for link in &links {
                poll_fn(|cx| link.pool().poll_empty(cx)).await;
            }
        };
        let time_is_up = async {
            smol::Timer::after(at_most).await;
            log::debug!("some connections did not drain in time");
        };
        or(all_empty, time_is_up).await;
    }

    fn show(&self, device_id: u32) {
        let attached = {
            let mut phones = self.0.phones.borrow_mut();
            let Some(entry) = phones.get_mut(&device_id).filter(|entry| !entry.visible) else {
                return;
            };
            entry.visible = true;
            log::info!("phone {device_id} is there: {}", entry.phone.serial);
            DeviceEvent::Attached(entry.phone.clone())
        };
        self.0.changed.notify(usize::MAX);
        self.tell(&attached);
    }

    fn remove(&self, device_id: u32, end: LinkEnd) {
        let entry = self.0.phones.borrow_mut().remove(&device_id);
        self.0.changed.notify(usize::MAX);
        log::info!("phone {device_id} is gone: {end}");
        if entry.is_some_and(|entry| entry.visible) {
            self.tell(&DeviceEvent::Detached(device_id));
        }
    }

    fn tell(&self, event: &DeviceEvent) {
        for listener in self.0.listeners.borrow().values() {
            listener.tell(event.clone());
        }
    }
}

/// What one listener has not yet been told.
struct Listener {
    who: ListenerInfo,
    queue: RefCell<VecDeque<DeviceEvent>>,
    too_slow: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Listener {
    fn tell(&self, event: DeviceEvent) {
        let mut queue = self.queue.borrow_mut();
        if queue.len() >= MAX_QUEUED_EVENTS {
            // Telling it some events and not others would be worse than hanging up.
            self.too_slow.set(true);
        } else {
            queue.push_back(event);
        }
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }
}

/// A listener's view of the phones; dropping it unsubscribes.
pub struct Subscription {
    registry: Registry,
    key: u64,
    listener: Rc<Listener>,
}

impl Subscription {
    /// Waits for the next event; `None` means that the listener was too slow and must be hung up
    /// on. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<DeviceEvent> {
        poll_fn(|cx| {
            if self.listener.too_slow.get() {
                return Poll::Ready(None);
            }
            if let Some(event) = self.listener.queue.borrow_mut().pop_front() {
                return Poll::Ready(Some(event));
            }
            *self.listener.waker.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.registry.0.listeners.borrow_mut().remove(&self.key);
    }
}

/// An open connection to a port of a phone; dropping it resets the connection.
pub struct Connection {
    relay: Option<Rc<Relay>>,
    executor: Rc<LocalExecutor<'static>>,
}

impl Connection {
    /// Has somebody told the reason of its end.
    pub(crate) fn tell_end(&mut self, hearer: Hearer) {
        if let Some(relay) = &self.relay {
            relay.tell_end(hearer);
        }
    }

    /// Takes over what a link has opened; its task will run on `executor`.
    pub(crate) fn new(relay: Rc<Relay>, executor: Rc<LocalExecutor<'static>>) -> Self {
        Self { relay: Some(relay), executor }
    }

    /// Joins the connection to a client's socket and lets both live on by themselves.
    ///
    /// `leftover` is what the client sent behind its Connect and is already read.
    pub fn relay(mut self, client: ClientStream, leftover: Vec<u8>) {
        if let Some(relay) = self.relay.take() {
            relay.join(client, leftover);
            self.executor.spawn(poll_fn(move |cx| relay.poll(cx))).detach();
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(relay) = self.relay.take() {
            relay.abandon();
        }
    }
}
