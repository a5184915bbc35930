//! The way to the phone's ports, through replugs: by a daemon that knows where the phone is, or to
//! a phone that this program holds itself and opens again when it was away.

use std::cell::RefCell;
use std::error::Error;
use std::rc::Rc;
use std::time::Duration;

use event_listener::Event as Arrived;
use smol::Timer;
use smol::future::or;
use usbmux_host::client::{Daemon, DeviceStream};
use usbmux_host::direct::{Bus, DirectError, OpenPhone};

use super::presence::Presence;
use crate::console::Console;
use crate::source::Held;

/// How often a phone that is away is looked for.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long connections may take to drain when forwarding ends.
const DRAIN_TIME: Duration = Duration::from_secs(1);

pub(super) enum Route {
    Daemon(Daemon, Presence),
    Direct(Direct),
}

impl Route {
    pub(super) fn new(held: Held) -> Self {
        match held {
            Held::Daemon(daemon, phone) => Route::Daemon(daemon, Presence::new(&phone)),
            Held::Direct(bus, phone) => Route::Direct(Direct::new(bus, phone)),
        }
    }

    /// Connects to a port; while the phone is away, waits for it to come back.
    pub(super) async fn connect(
        &self,
        port: u16,
        patience: Duration,
    ) -> Result<DeviceStream, Box<dyn Error>> {
        Ok(match self {
            Route::Daemon(daemon, presence) => presence.connect(daemon, port, patience).await?,
            Route::Direct(direct) => direct.connect(port, patience).await?,
        })
    }

    /// Keeps up with the phone, for ever.
    pub(super) async fn follow(&self, console: &Console) {
        match self {
            Route::Daemon(daemon, presence) => presence.follow(daemon, console).await,
            Route::Direct(direct) => direct.follow(console).await,
        }
    }

    /// Lets the phone have what was sent to it; a daemon sees to that by itself.
    pub(super) async fn close(&self) {
        if let Route::Direct(direct) = self {
            let phone = direct.phone.take();
            let time_is_up = async {
                Timer::after(DRAIN_TIME).await;
            };
            if let Some(phone) = phone {
                or(phone.close(), time_is_up).await;
            }
        }
    }
}

/// A phone that is held without a daemon, whether it is there or not.
pub(super) struct Direct {
    bus: Bus,
    udid: String,
    phone: RefCell<Option<Rc<OpenPhone>>>,
    arrived: Arrived,
}

impl Direct {
    fn new(bus: Bus, phone: OpenPhone) -> Self {
        Direct {
            bus,
            udid: phone.phone().udid.clone(),
            phone: RefCell::new(Some(Rc::new(phone))),
            arrived: Arrived::new(),
        }
    }

    async fn connect(&self, port: u16, patience: Duration) -> Result<DeviceStream, DirectError> {
        let attempts = async {
            let mut tried = None;
            loop {
                let phone = self.other_than(tried).await;
                match phone.connect(port).await {
                    Err(DirectError::Unplugged) => tried = Some(phone),
                    outcome => return outcome,
                }
            }
        };
        let alarm = async {
            Timer::after(patience).await;
            Err(DirectError::Unplugged)
        };
        or(attempts, alarm).await
    }

    /// The phone when it is there, as often as it was plugged in anew.
    async fn other_than(&self, tried: Option<Rc<OpenPhone>>) -> Rc<OpenPhone> {
        loop {
            let arrived = self.arrived.listen();
            let phone = self.phone.borrow().clone();
            match (phone, &tried) {
                (Some(phone), Some(tried)) if !Rc::ptr_eq(&phone, tried) => return phone,
                (Some(phone), None) => return phone,
                _ => arrived.await,
            }
        }
    }

    async fn follow(&self, console: &Console) {
        loop {
            let phone = self.phone.borrow().clone();
            if let Some(phone) = phone {
                phone.gone().await;
            }
            self.phone.take();
            console.line(&format!("phone {} was unplugged; waiting for it", self.udid));
            let phone = self.open_again(console).await;
            *self.phone.borrow_mut() = Some(Rc::new(phone));
            console.line(&format!("phone {} is back", self.udid));
            self.arrived.notify(usize::MAX);
        }
    }

    async fn open_again(&self, console: &Console) -> OpenPhone {
        let mut told = String::new();
        loop {
            Timer::after(LOOK_EVERY).await;
            match self.bus.open(Some(&self.udid)).await {
                Ok(phone) => return phone,
                Err(DirectError::NoPhone { .. } | DirectError::Unplugged) => {}
                Err(error) => {
                    let why = error.to_string();
                    if told != why {
                        console.line(&why);
                        told = why;
                    }
                }
            }
        }
    }
}
