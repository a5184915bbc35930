//! The daemon: phones on one side, clients' sockets on the other, everything on one thread.
//!
//! | file | subject |
//! |---|---|
//! | `options` | what can be asked of a daemon, as types and as a command line |
//! | `registry` | which phones are there, who listens for them, how to connect to one |
//! | `link` | one phone: the engine between its USB pipe and its connections |
//! | `relay` | one connection: a client's socket and the engine's side of it |
//! | `limits` | every limit on what one client can take |
//! | `pool` | the memory that a phone's connections may make us hold |
//! | `usb` | real phones |
//! | `simulate` | virtual phones in this process |
//! | `session` | the socket protocol with one client, until it connects |
//! | `listen` | the sockets clients come in by |
//! | `records` | pair records and the system's BUID |
//! | `places` | the folders and files a daemon makes for itself |
//! | `privileges` | from root to an ordinary user |
//! | `manager` | sockets from a service manager, and what it is told |
//! | `running` | a daemon that runs already, and what can be asked of it |
//!
//! This file puts them together and takes them down again. It leaves out: what a program does
//! around a daemon (signals, logging, exit statuses), which is `bin/umuxd.rs`.

pub(crate) mod ends;
pub mod limits;
pub(crate) mod link;
pub mod listen;
pub mod manager;
pub mod options;
pub mod places;
pub mod pool;
pub mod privileges;
pub mod records;
pub mod registry;
mod relay;
pub mod running;
pub mod session;
#[cfg(feature = "simulate")]
pub mod simulate;
pub mod usb;

use std::io;
use std::rc::Rc;
use std::time::Duration;

use smol::LocalExecutor;

use crate::address::Address;
use limits::MAX_CLIENTS;
use listen::{Clients, Listener};
use records::Records;
use registry::{Limits, Registry};

/// How long open connections may take to drain when the daemon stops.
pub const DRAIN_TIME: Duration = Duration::from_secs(1);

/// A daemon that is being put together: give it sockets and phones, then run it.
pub struct Daemon {
    executor: Rc<LocalExecutor<'static>>,
    registry: Registry,
    records: Records,
    listeners: Vec<Listener>,
}

impl Daemon {
    /// Makes a daemon without phones or sockets.
    ///
    /// # Errors
    /// The process or the system has no file descriptor left.
    pub fn new(limits: Limits, records: Records) -> io::Result<Self> {
        let executor = Rc::new(LocalExecutor::new());
        let registry = Registry::new(Rc::clone(&executor), limits)?;
        Ok(Self { executor, registry, records, listeners: Vec::new() })
    }

    /// Adds a socket clients come in by.
    pub fn listen(&mut self, listener: Listener) {
        self.listeners.push(listener);
    }

    /// Returns where it listens, in the order the sockets were added.
    pub fn addresses(&self) -> impl Iterator<Item = &Address> {
        self.listeners.iter().map(Listener::address)
    }

    /// Returns its phones.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Returns what its tasks run on.
    pub fn executor(&self) -> &Rc<LocalExecutor<'static>> {
        &self.executor
    }

    /// Serves until `stop` is ready; then lets nobody in any more, removes the sockets' files and
    /// gives the open connections [`DRAIN_TIME`] to drain. The process is expected to end soon
    /// after: what did not drain ends with it.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let Self { executor, registry, records, listeners } = self;
        let clients = Clients::new(Rc::clone(&executor), registry.clone(), records, MAX_CLIENTS);
        let accepting: Vec<_> = listeners
            .into_iter()
            .map(|listener| {
                let clients = clients.clone();
                executor.spawn(async move { clients.accept_from(&listener).await })
            })
            .collect();
        let serve = async {
            stop.await;
            for task in accepting {
                task.cancel().await;
            }
            registry.drain(DRAIN_TIME).await;
        };
        executor.run(serve).await;
    }
}
