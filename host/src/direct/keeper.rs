//! The thread that runs one phone's link and connections, and how the rest of the program talks to
//! it.
//!
//! The link and its connections live on one thread and cannot leave it. What leaves it are the other
//! ends of socket pairs; orders come by a channel, and the end of that channel is the order to let
//! the phone go when the last connection has ended.
//! Leaves out: which phone that is, and what its link does (`daemon::link`).

use std::convert::Infallible;
use std::future::{pending, poll_fn};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use smol::channel::{self, Receiver, Sender};
use smol::future::or;
use smol::{Async, LocalExecutor, Timer};
use usbmux_trace::file::Trace;

use super::error::DirectError;
use crate::client::DeviceStream;
use crate::daemon::ends::{Ends, Hearer};
use crate::daemon::link::{Link, LinkEnd, LinkTask};
use crate::daemon::registry::{ConnectFailure, Connection, Limits};
#[cfg(feature = "simulate")]
use crate::daemon::simulate;
use crate::pipe::Pipe;
use crate::reactor::{self, Reactor};
use crate::stream::ClientStream;
use crate::usb::{NusbPipe, PhoneInfo};

/// How long closing a phone waits for it to take what was written: as long as the engine drains a
/// single connection.
pub const CLOSE_TIME: Duration = Duration::from_secs(30);

/// How many orders may wait; further ones wait outside.
const ORDERS: usize = 64;

/// The number that stands for the phone in the log.
const DEVICE_ID: u32 = 1;

/// What a phone's thread begins with.
pub(super) enum PluggedIn {
    /// A real phone that was opened.
    Usb(PhoneInfo, Box<NusbPipe>),
    /// A virtual phone, which cannot leave the thread on which it is made.
    #[cfg(feature = "simulate")]
    Simulated(usbmux_phone::Options),
}

impl PluggedIn {
    /// Returns what USB says of it and the pipe to it; what a virtual phone does by itself runs on `executor`.
    #[cfg_attr(not(feature = "simulate"), expect(unused_variables, reason = "no virtual phones"))]
    fn pipe(self, executor: &LocalExecutor<'static>) -> (PhoneInfo, Box<dyn Pipe>) {
        match self {
            Self::Usb(info, pipe) => (info, pipe),
            #[cfg(feature = "simulate")]
            Self::Simulated(options) => {
                let (info, pipe) = simulate::pipe(executor, options);
                (info, Box::new(pipe))
            }
        }
    }
}

enum Order {
    Connect { port: u16, answer: Sender<Result<DeviceStream, DirectError>> },
    Close,
}

/// A phone's thread, seen from outside.
#[derive(Debug)]
pub(super) struct Keeper {
    orders: Sender<Order>,
    /// Closed when the phone is gone.
    gone: Receiver<Infallible>,
    /// Closed when the thread has let go of everything.
    finished: Receiver<Infallible>,
}

impl Keeper {
    /// Starts the thread and waits until the phone has answered the greeting.
    pub(super) async fn keep(phone: PluggedIn, trace: Option<Trace>) -> Result<Self, DirectError> {
        let (orders, ordered) = channel::bounded(ORDERS);
        let (up, came_up) = channel::bounded(1);
        let (here, gone) = channel::bounded(1);
        let (working, finished) = channel::bounded(1);
        let work = move || {
            let unheard = up.clone();
            if let Err(error) = reactor::block_on(run(phone, trace, up, here, ordered)) {
                let _ = unheard.try_send(Err(DirectError::System(error)));
            }
            drop(working);
        };
        let thread = thread::Builder::new().name("usbmux-phone".to_owned());
        thread.spawn(work).map_err(DirectError::System)?;
        // Without an answer the thread has ended, of which only a lost phone can be the reason.
        came_up.recv().await.unwrap_or(Err(DirectError::Unplugged))?;
        Ok(Self { orders, gone, finished })
    }

    pub(super) async fn connect(&self, port: u16) -> Result<DeviceStream, DirectError> {
        let (answer, answered) = channel::bounded(1);
        let order = Order::Connect { port, answer };
        self.orders.send(order).await.map_err(|_| DirectError::Unplugged)?;
        answered.recv().await.unwrap_or(Err(DirectError::Unplugged))
    }

    pub(super) async fn gone(&self) {
        let Err(_) = self.gone.recv().await;
    }

    pub(super) async fn close(&self) {
        // If nobody hears it, it has happened.
        let _ = self.orders.send(Order::Close).await;
        let Err(_) = self.finished.recv().await;
    }
}

/// The thread's work: everything on it ends with this future.
async fn run(
    phone: PluggedIn,
    trace: Option<Trace>,
    up: Sender<Result<(), DirectError>>,
    here: Sender<Infallible>,
    orders: Receiver<Order>,
) {
    let executor = Rc::new(LocalExecutor::new());
    let reactor = match Reactor::here() {
        Ok(reactor) => reactor,
        Err(error) => {
            let _ = up.try_send(Err(DirectError::System(error)));
            return;
        }
    };
    let (info, pipe) = phone.pipe(&executor);
    let trace = trace.map(|trace| info.traced(&trace, pipe.max_packet_size()));
    let link = Link::new(DEVICE_ID, Limits::default(), reactor, Ends::default());
    let task = LinkTask::new(Rc::clone(&link), pipe).traced(trace);
    let living = async {
        let end = task.run(|| drop(up.try_send(Ok(())))).await;
        let _ = up.try_send(Err(match end {
            LinkEnd::Unplugged => DirectError::Unplugged,
            LinkEnd::NoAnswer => DirectError::NoAnswer,
        }));
        drop(here);
        // What it said last is still on its way to the streams.
        pending().await
    };
    let obeying = obey(&executor, &link, orders);
    executor.run(or(obeying, living)).await;
}

/// Does what is ordered, until the phone is to be let go.
async fn obey(executor: &Rc<LocalExecutor<'static>>, link: &Rc<Link>, orders: Receiver<Order>) {
    let emptied = || poll_fn(|cx| link.pool().poll_empty(cx));
    loop {
        match orders.recv().await {
            Ok(Order::Connect { port, answer }) => {
                let (link, on) = (Rc::clone(link), Rc::clone(executor));
                let connecting = async move {
                    // Nobody waits for it any more: the stream is dropped, and the connection ends.
                    let _ = answer.try_send(connect(&link, on, port).await);
                };
                executor.spawn(connecting).detach();
            }
            Ok(Order::Close) => {
                link.stop();
                let time_is_up = async {
                    Timer::after(CLOSE_TIME).await;
                };
                return or(emptied(), time_is_up).await;
            }
            Err(_) => return emptied().await,
        }
    }
}

async fn connect(
    link: &Rc<Link>,
    executor: Rc<LocalExecutor<'static>>,
    port: u16,
) -> Result<DeviceStream, DirectError> {
    let (ours, theirs) = UnixStream::pair().map_err(DirectError::System)?;
    let ours = ClientStream::unix(ours).map_err(DirectError::System)?;
    let theirs = Async::new(theirs).map_err(DirectError::System)?;
    let relay = link.connect(port).await.map_err(|failure| match failure {
        ConnectFailure::NoDevice => DirectError::Unplugged,
        ConnectFailure::Refused => DirectError::Refused { port },
    })?;
    let (telling, told) = channel::bounded(1);
    let mut connection = Connection::new(relay, executor);
    connection.tell_end(Hearer::Waiting(telling));
    connection.relay(ours, Vec::new());
    Ok(DeviceStream::joined(theirs, told))
}

#[cfg(all(test, feature = "simulate"))]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)] // tests

    use smol::io::{AsyncReadExt, AsyncWriteExt};
    use usbmux_phone::{ECHO, Options};

    use super::*;

    #[test]
    fn phone_is_let_go_when_the_last_stream_of_a_dropped_handle_ends() {
        smol::block_on(async {
            let keeper = Keeper::keep(PluggedIn::Simulated(Options::new(1)), None).await.unwrap();
            let finished = keeper.finished.clone();
            let mut stream = keeper.connect(ECHO).await.unwrap();
            drop(keeper);
            stream.write_all(b"x").await.unwrap();
            stream.read_exact(&mut [0]).await.unwrap();
            assert!(!finished.is_closed());
            drop(stream);
            let Err(_) = finished.recv().await;
        });
    }
}
