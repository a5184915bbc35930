//! `umux forward`: ports of a phone on this computer.
//!
//! | file | subject |
//! |---|---|
//! | `mod.rs` | listening, accepting, the end |
//! | `route.rs` | the way to the phone, with a daemon or without |
//! | `presence.rs` | under which number a daemon has the phone now, through replugs and restarts |
//! | `relay.rs` | one local connection and its counterpart on the phone |

mod presence;
mod relay;
mod route;

use std::error::Error;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use smol::lock::Semaphore;
use smol::net::{TcpListener, TcpStream};
use smol::stream::StreamExt;
use smol::{LocalExecutor, Timer};
use usbmux_host::client::ClientError;

use crate::args::{Forward, PortPair};
use crate::console::{Console, Now};
use crate::failure::{Failure, broke_off};
use crate::source::Source;
use crate::{output, phones};

use relay::Ender;
use route::Route;

/// How many connections are open at once; further ones wait in the kernel until one ends.
const MAX_CONNECTIONS: usize = 16_384;

/// How long a local connection waits for a phone that is away before it is closed.
const PHONE_WAIT: Duration = Duration::from_secs(30);

/// How long accepting rests after the system refused a connection, for want of descriptors mostly.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What every connection needs.
struct Forwarder {
    route: Route,
    console: Console,
    /// Bounds the connections of all ports together.
    room: Arc<Semaphore>,
}

pub(crate) async fn run(source: Source, arguments: Forward) -> Result<(), Failure> {
    let mut stop = phones::stop_signals()?;
    raise_descriptor_limit();
    let held = source.hold(arguments.udid.as_deref()).await?;
    let mut listeners = Vec::new();
    for pair in arguments.pairs {
        listeners.push(bind(&arguments.source, pair).await?);
    }
    for (listener, port) in &listeners {
        let local = listener.local_addr().map_err(Failure::failed)?;
        output::line(&format!("forwarding {local} -> {port}"))?;
    }
    let forwarder = Rc::new(Forwarder {
        route: Route::new(held),
        console: Console::new(),
        room: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
    });
    let tasks = Rc::new(LocalExecutor::new());
    for (listener, port) in listeners {
        tasks.spawn(accept(tasks.clone(), forwarder.clone(), listener, port)).detach();
    }
    let stopped = async {
        stop.next().await;
    };
    let live = async {
        let following = forwarder.route.follow(&forwarder.console);
        smol::future::zip(following, forwarder.console.show_status(status)).await;
    };
    tasks.run(smol::future::or(stopped, live)).await;
    forwarder.console.clear_status();
    forwarder.route.close().await;
    Ok(())
}

/// What goes on, in more and in fewer words.
fn status(now: &Now) -> [String; 2] {
    let plural = if now.connections == 1 { "" } else { "s" };
    let rates = format!("{} down, {} up", now.down_rate, now.up_rate);
    let count = now.connections;
    [format!("{count} connection{plural}, {rates}"), format!("{count} open, {rates}")]
}

async fn bind(source: &str, pair: PortPair) -> Result<(TcpListener, u16), Failure> {
    let listener = TcpListener::bind((source, pair.local)).await.map_err(|error| {
        let advice = match error.kind() {
            io::ErrorKind::AddrInUse => "choose another port, or 0 for a free one",
            io::ErrorKind::PermissionDenied => "choose a port from 1024",
            _ => "choose an address of this computer with -s",
        };
        let local = format!("{source}:{}", pair.local);
        Failure::failed(format!("cannot listen on {local} ({error}): {advice}"))
    })?;
    Ok((listener, pair.device))
}

/// Each connection takes two descriptors, and shells allow 1024 by default. If there are no more
/// to be had, accepting pauses at the limit.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

async fn accept(
    tasks: Rc<LocalExecutor<'static>>,
    forwarder: Rc<Forwarder>,
    listener: TcpListener,
    port: u16,
) {
    loop {
        let place = forwarder.room.acquire_arc().await;
        match listener.accept().await {
            Ok((local, peer)) => {
                let forwarder = forwarder.clone();
                let connection = async move {
                    if let Err(error) = forwarder.serve(local, port).await {
                        forwarder.console.line(&format!("{peer} -> {port}: {error}"));
                    }
                    drop(place);
                };
                tasks.spawn(connection).detach();
            }
            Err(error) => {
                forwarder.console.line(&format!("cannot accept a connection ({error})"));
                Timer::after(ACCEPT_PAUSE).await;
            }
        }
    }
}

impl Forwarder {
    /// Carries one local connection from beginning to end.
    async fn serve(&self, local: TcpStream, port: u16) -> Result<(), Box<dyn Error>> {
        let _open = self.console.count_connection();
        let device = self.route.connect(port, PHONE_WAIT).await?;
        // Small writes must not wait for each other's acknowledgement. Where this fails the
        // connection is gone, which the relay notices.
        _ = local.set_nodelay(true);
        let reason = device.end_reason();
        let ender = relay::run(local, device, &self.console.traffic).await;
        match ender.map_err(ClientError::Lost)? {
            Ender::Phone => reason.await.map_or(Ok(()), |reason| Err(broke_off(&reason).into())),
            Ender::Local => Ok(()),
        }
    }
}
