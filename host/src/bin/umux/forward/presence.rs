//! Under which number the daemon knows the phone at this moment.
//!
//! A phone gets a new number each time it is plugged in, and all numbers end with the daemon. One
//! listening socket keeps up with both, so that a connection costs no question.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use event_listener::Event as Arrived;
use smol::Timer;
use smol::future::or;
use smol::stream::StreamExt;
use usbmux_host::client::{ClientError, Daemon, DeviceStream, Event, Phone};

use crate::choose::USB;
use crate::console::Console;

/// How long to wait before a daemon that has gone is looked for again.
const DAEMON_PAUSE: Duration = Duration::from_secs(1);

/// One phone, whether it is there or not.
pub(super) struct Presence {
    udid: String,
    /// The numbers under which it is there: one for its cable, one more if the daemon sees it on
    /// the network too. The first is used.
    numbers: RefCell<Vec<u32>>,
    /// Counts how often it came: a daemon that is started again begins its numbers anew.
    arrivals: Cell<u64>,
    arrived: Arrived,
}

impl Presence {
    pub(super) fn new(phone: &Phone) -> Self {
        Presence {
            udid: phone.udid.clone(),
            numbers: RefCell::new(vec![phone.device_id]),
            arrivals: Cell::new(1),
            arrived: Arrived::new(),
        }
    }

    /// Connects to a port; while the phone is away, waits for it to come back.
    pub(super) async fn connect(
        &self,
        daemon: &Daemon,
        port: u16,
        patience: Duration,
    ) -> Result<DeviceStream, ClientError> {
        let attempts = async {
            let mut tried = 0;
            loop {
                let number;
                (number, tried) = self.arrival_after(tried).await;
                match daemon.connect(number, port).await {
                    // Unplugged, and the event that says so is still on its way.
                    Err(ClientError::NoSuchPhone) => {}
                    outcome => return outcome,
                }
            }
        };
        let alarm = async {
            Timer::after(patience).await;
            Err(ClientError::NoSuchPhone)
        };
        or(attempts, alarm).await
    }

    /// The phone's number, and the count of arrivals with which it came; waits for one beyond
    /// `tried`.
    async fn arrival_after(&self, tried: u64) -> (u32, u64) {
        loop {
            let arrived = self.arrived.listen();
            let number = self.numbers.borrow().first().copied();
            match number {
                Some(number) if self.arrivals.get() > tried => {
                    return (number, self.arrivals.get());
                }
                _ => arrived.await,
            }
        }
    }

    /// Keeps up with the phone, for ever.
    pub(super) async fn follow(&self, daemon: &Daemon, console: &Console) {
        let mut daemon_there = true;
        loop {
            match self.listen(daemon, console, &mut daemon_there).await {
                Err(error) if daemon_there => {
                    console.line(&format!("{error}; waiting for it"));
                    daemon_there = false;
                }
                _ => {}
            }
            self.numbers.borrow_mut().clear();
            Timer::after(DAEMON_PAUSE).await;
        }
    }

    async fn listen(
        &self,
        daemon: &Daemon,
        console: &Console,
        daemon_there: &mut bool,
    ) -> Result<(), ClientError> {
        let mut events = daemon.listen().await?;
        if !*daemon_there {
            console.line("the daemon is back");
            *daemon_there = true;
        }
        while let Some(event) = events.next().await {
            match event? {
                Event::Attached(phone) if phone.is_called(&self.udid) => {
                    self.attached(&phone, console)
                }
                Event::Detached(number) => self.detached(number, console),
                _ => {}
            }
        }
        Ok(())
    }

    fn attached(&self, phone: &Phone, console: &Console) {
        let mut numbers = self.numbers.borrow_mut();
        if numbers.contains(&phone.device_id) {
            // Listening begins with whom we know: no reason to ask for that number again.
            return;
        }
        if numbers.is_empty() {
            console.line(&format!("phone {} is back", self.udid));
        }
        let place = if phone.connection_type == USB { 0 } else { numbers.len() };
        numbers.insert(place, phone.device_id);
        self.arrivals.set(self.arrivals.get() + 1);
        self.arrived.notify(usize::MAX);
    }

    fn detached(&self, number: u32, console: &Console) {
        let mut numbers = self.numbers.borrow_mut();
        let before = numbers.len();
        numbers.retain(|&known| known != number);
        if numbers.is_empty() && before > 0 {
            console.line(&format!("phone {} was unplugged; waiting for it", self.udid));
        }
    }
}
