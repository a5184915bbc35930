//! Notices phones that are plugged in and pulled out, and opens them.
//!
//! The system's events only say that something changed: they can get lost, and without a device
//! manager (udevd) there are none. So after each event, and now and then without one, the list of
//! devices is looked at, and `roster` says what follows. The events are asked for before the list is
//! read for the first time, so that no phone falls between.
//!
//! Everything that blocks runs on threads of their own: listing devices waits for a device that
//! somebody is just resetting, and a slow phone takes seconds to open. Leaves out: serving phones.

use std::collections::HashMap;
use std::future::pending;
use std::io;
use std::thread;
use std::time::Duration;

use nusb::{DeviceId, DeviceInfo, MaybeFuture};
use smol::Timer;
use smol::channel::{self, Receiver, Sender, TrySendError};
use smol::future::or;

use super::choose;
use super::open::{OpenError, Opened, open};
use super::roster::{Chance, Roster};

/// How long the list of devices is not looked at without an event.
const LOOK_EVERY: Duration = Duration::from_secs(3);

/// Which phones are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hotplug {
    /// All that come.
    On,
    /// Only those present when the watcher starts.
    Off,
}

/// A phone that was plugged in and opened.
pub struct Plugged {
    /// What it is, and the pipe to it.
    pub opened: Opened,
    /// To be used if the phone is lost.
    pub lost: Lost,
}

/// Lets a watcher know that a phone was lost; if it turns out to be still there, it is opened again
/// as if it had been plugged in. Dropped unused, it leaves the phone alone until it is replugged.
pub struct Lost {
    id: DeviceId,
    notes: Sender<Note>,
}

impl Lost {
    /// Says that the pipe ended as it does when a phone is unplugged.
    pub fn tell(self) {
        // Nobody is there to hear it when the watcher is gone.
        let _ = self.notes.try_send(Note::Lost(self.id));
    }
}

/// What others tell the watcher; at most one of each kind for each device on the bus.
enum Note {
    Opened(DeviceId, Box<Result<Opened, OpenError>>),
    Lost(DeviceId),
}

/// Watches for phones.
pub struct Watcher {
    hotplug: Hotplug,
    roster: Roster<DeviceId>,
    /// Where the phones are, in words, for the log.
    places: HashMap<DeviceId, String>,
    /// Why there are no events, until it was told.
    no_events: Option<io::Error>,
    changes: Option<Receiver<()>>,
    notes: (Sender<Note>, Receiver<Note>),
    /// Whether it is time to look at the list.
    due: bool,
    /// What was said last about there being no phone.
    nothing_told: String,
}

impl Watcher {
    /// Begins to watch.
    pub fn new(hotplug: Hotplug) -> Self {
        let (changes, no_events) = match hotplug {
            Hotplug::Off => (None, None),
            Hotplug::On => match events() {
                Ok(changes) => (Some(changes), None),
                Err(error) => (None, Some(error)),
            },
        };
        Self {
            hotplug,
            roster: Roster::new(),
            places: HashMap::new(),
            no_events,
            changes,
            notes: channel::unbounded(),
            due: true,
            nothing_told: String::new(),
        }
    }

    /// Waits for the next phone and opens it. A phone that cannot be opened is told to the log, with
    /// what to do about it. `None` when no more will come unless [`look_again`](Self::look_again) is
    /// called, which never happens with [`Hotplug::On`]. To be called again soon: between the calls nothing is noticed.
    pub async fn next(&mut self) -> Option<Plugged> {
        loop {
            if let Some(plugged) = self.next_present().await {
                return Some(plugged);
            }
            if self.hotplug == Hotplug::Off {
                return None;
            }
            if let Some(plugged) = self.take_note().await {
                return Some(plugged);
            }
        }
    }

    /// As [`next`](Self::next), but waits for nobody to come: `None` when every phone on the bus has
    /// been opened or told to the log.
    pub async fn next_present(&mut self) -> Option<Plugged> {
        loop {
            if std::mem::take(&mut self.due) {
                self.look().await;
            }
            if !self.roster.is_opening() {
                return None;
            }
            if let Some(plugged) = self.take_note().await {
                return Some(plugged);
            }
        }
    }

    /// Waits for a note and does what follows from it.
    async fn take_note(&mut self) -> Option<Plugged> {
        match self.note().await {
            None => self.due = true,
            Some(Note::Lost(id)) => self.roster.lost(id),
            Some(Note::Opened(id, result)) => return self.judge(id, *result),
        }
        None
    }

    /// Has the next call of [`next`](Self::next) look at the list, whatever it returned before.
    pub fn look_again(&mut self) {
        self.due = true;
    }

    /// Waits for a note; `None` when it is time to look at the list again.
    async fn note(&self) -> Option<Note> {
        let note = async { self.notes.1.recv().await.ok() };
        if self.hotplug == Hotplug::Off {
            return note.await;
        }
        let changed = async {
            match &self.changes {
                Some(changes) if changes.recv().await.is_ok() => None,
                _ => pending().await,
            }
        };
        let timer = async {
            Timer::after(LOOK_EVERY).await;
            None
        };
        or(note, or(changed, timer)).await
    }

    /// Looks at the system's list and has opened what is new there.
    async fn look(&mut self) {
        let phones = match phones().await {
            Ok(phones) => phones,
            // No USB at all, or it cannot be seen: phones that are served end by themselves.
            Err(error) => {
                return self.say_nothing(&format!("no USB here ({error})"));
            }
        };
        if let Some(error) = self.no_events.take() {
            log::warn!("phones are noticed within {LOOK_EVERY:?}, not at once: {error}");
        }
        let present: Vec<_> = phones.iter().map(DeviceInfo::id).collect();
        let mut new = self.roster.look(&present);
        self.places.retain(|id, _| present.contains(id));
        if self.roster.is_empty() {
            self.say_nothing("no phone on USB");
        }
        for phone in phones {
            // A device stands in the list once; if ever it did not, it is opened once.
            if let Some(at) = new.iter().position(|id| *id == phone.id()) {
                new.swap_remove(at);
                self.begin(phone);
            }
        }
    }

    /// Opens a phone on a thread of its own.
    fn begin(&mut self, phone: DeviceInfo) {
        let place = format!("bus {} address {}", phone.bus_id(), phone.device_address());
        log::debug!("phone at {place}: {:#06x}, opening it", phone.product_id());
        self.places.insert(phone.id(), place);
        let notes = self.notes.0.clone();
        smol::unblock(move || {
            let result = open(&phone, choose::USUAL_HIGHEST);
            let _ = notes.try_send(Note::Opened(phone.id(), Box::new(result)));
        })
        .detach();
    }

    fn judge(&mut self, id: DeviceId, result: Result<Opened, OpenError>) -> Option<Plugged> {
        match result {
            Ok(opened) => {
                let wanted = self.roster.opened(id);
                let lost = Lost { id, notes: self.notes.0.clone() };
                wanted.then_some(Plugged { opened, lost })
            }
            Err(error) => {
                if self.roster.failed(id, chance(&error), &error.to_string()) {
                    let place = self.places.get(&id).map_or("an unknown place", String::as_str);
                    log::warn!("phone at {place}: {error}");
                }
                None
            }
        }
    }

    /// Says once that there is nothing to serve.
    fn say_nothing(&mut self, why: &str) {
        let then = match self.hotplug {
            Hotplug::On => "waiting for phones",
            Hotplug::Off => "and no phone is waited for",
        };
        if self.nothing_told != why {
            log::info!("{why}: {then}");
            why.clone_into(&mut self.nothing_told);
        }
    }
}

/// Lists the phones on the bus.
pub(crate) async fn phones() -> Result<Vec<DeviceInfo>, nusb::Error> {
    let list = || {
        let devices = nusb::list_devices().wait()?;
        let is_phone =
            |device: &DeviceInfo| choose::is_phone(device.vendor_id(), device.product_id());
        Ok(devices.filter(is_phone).collect())
    };
    smol::unblock(list).await
}

/// Tells of the system's events: that there were some, not which.
fn events() -> io::Result<Receiver<()>> {
    let events = nusb::watch_devices()?;
    let (tell, told) = channel::bounded(1);
    // A thread of its own: nusb looks at the new device as it takes the event.
    thread::Builder::new().name("usb-events".to_owned()).spawn(move || {
        for _ in smol::stream::block_on(events) {
            if let Err(TrySendError::Closed(())) = tell.try_send(()) {
                return;
            }
        }
    })?;
    Ok(told)
}

/// Tells what to expect of a phone that could not be opened.
fn chance(error: &OpenError) -> Chance {
    match error {
        OpenError::Permission | OpenError::Busy => Chance::Lasting,
        OpenError::Gone => Chance::Gone,
        OpenError::NoMux { .. } | OpenError::NoSerial => Chance::None,
        OpenError::Failed { .. } => Chance::Little,
    }
}
