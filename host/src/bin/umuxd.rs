//! `umuxd`: the daemon that programs find when they look for usbmuxd.
//!
//! What a program does around a daemon: options, logging, signals, whose rights it has when, exit
//! status. The daemon itself is `usbmux_host::daemon`.

use std::env;
use std::error::Error;
use std::fs::OpenOptions;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use async_signal::{Signal, Signals};
use clap::Parser;
use log::LevelFilter;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use smol::channel::{self, Receiver, Sender};
use smol::future::or;
use smol::stream::StreamExt;
use usbmux_host::address::{Address, DEFAULT_PATH, DEFAULT_PORT};
use usbmux_host::daemon::listen::{IfTaken, Listener};
use usbmux_host::daemon::manager::{passed_sockets, tell_ready, tell_stopping};
use usbmux_host::daemon::options::{Options, complaint};
use usbmux_host::daemon::places::{PidFile, PlaceError, folder_for, runtime_folder};
use usbmux_host::daemon::privileges::User;
use usbmux_host::daemon::records::{self, Records};
use usbmux_host::daemon::registry::{Limits, Registry};
use usbmux_host::daemon::running::{Request, ask};
use usbmux_host::daemon::{Daemon, usb};
use usbmux_host::reactor;
use usbmux_host::usb::Hotplug;

/// The exit status for a command line that asks for what cannot be.
const WRONG_USAGE: u8 = 2;

/// How long the last phone may be gone before a daemon that ends with it ends: a phone that changes its
/// mode or is reset leaves the bus for a moment, and one that was lost is looked for every 3 seconds.
const RETURN_TIME: Duration = Duration::from_secs(5);

/// The daemon's own descriptors, and a few for clients.
const LEAST_DESCRIPTORS: u64 = 32;

/// The crates whose log is ours; the others' is of no use to anybody here.
const OUR_CRATES: [&str; 4] = ["umuxd", "usbmux_host", "usbmux_core", "usbmux_phone"];

fn main() -> ExitCode {
    let options = match Options::try_parse() {
        Ok(options) => options,
        Err(error) => {
            let Some(complaint) = complaint(&error) else {
                // Help and version; there is nothing to do about an output that is closed.
                let _ = error.print();
                return ExitCode::SUCCESS;
            };
            say(format_args!("umuxd: {complaint}"));
            return ExitCode::from(WRONG_USAGE);
        }
    };
    match carry_out(options) {
        Ok(status) => status,
        Err(error) => {
            say(format_args!("umuxd: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn carry_out(options: Options) -> Result<ExitCode, Box<dyn Error>> {
    if options.exit || options.force_exit {
        let request = if options.exit { Request::Exit } else { Request::ForceExit };
        let Some(pidfile) = options.others_pidfile() else {
            say(format_args!("umuxd: a daemon is found by its pidfile, which -P NONE is not"));
            return Ok(ExitCode::from(WRONG_USAGE));
        };
        ask(pidfile, request)?;
        return Ok(ExitCode::SUCCESS);
    }
    #[cfg(feature = "simulate")]
    if let Err(complaint) = options.virtual_phones.phones() {
        say(format_args!("umuxd: {complaint}"));
        return Ok(ExitCode::from(WRONG_USAGE));
    }
    start_log(&options)?;
    serve(&options)
}

/// Prints a line on stderr; a stderr that nobody reads any more is no reason to end.
fn say(line: std::fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn start_log(options: &Options) -> Result<(), Box<dyn Error>> {
    let level = match options.verbose {
        0 => LevelFilter::Info,
        1 => LevelFilter::Debug,
        _ => LevelFilter::Trace,
    };
    let mut log = env_logger::Builder::new();
    // What -v says of our crates counts more than a RUST_LOG that names none of them.
    if options.verbose > 0 || env::var_os(env_logger::DEFAULT_FILTER_ENV).is_none() {
        for name in OUR_CRATES {
            log.filter_module(name, level);
        }
    }
    log.parse_default_env();
    if let Some(path) = &options.logfile {
        let file = OpenOptions::new().append(true).create(true).open(path);
        let file = file.map_err(|error| format!("cannot log to {}: {error}", path.display()))?;
        log.target(env_logger::Target::Pipe(Box::new(file)));
    }
    log.init();
    Ok(())
}

/// Takes what only root may, becomes the wanted user, and runs a daemon until its end.
fn serve(options: &Options) -> Result<ExitCode, Box<dyn Error>> {
    let user = options.user.as_deref().map(User::find).transpose()?;
    // These two come before the first other thread, which is the signals'.
    user.as_ref().map_or(Ok(()), User::begin)?;
    let passed = passed_sockets()?;
    raise_descriptor_limit()?;
    // Before the pidfile tells others whom to signal.
    let signals = Signals::new([Signal::Term, Signal::Int, Signal::Usr1, Signal::Usr2])?;

    let pidfile = options.own_pidfile().filter(|_| passed.is_empty() || options.pidfile.is_some());
    let _pidfile = match pidfile.map(|path| (path, PidFile::new(path))) {
        Some((path, Err(error))) if error.is_held() && !options.hotplug() => {
            ask(path, Request::Look)?;
            say(format_args!("the daemon that holds {} looks for phones", path.display()));
            return Ok(ExitCode::SUCCESS);
        }
        Some((_, made)) => Some(made?),
        None => None,
    };
    let listeners = listeners(options, passed, user.as_ref())?;
    let records = records_folder(options, user.as_ref())?;
    // Where only root may write, perhaps. It is complete when this is dropped.
    let program = concat!("umuxd ", env!("CARGO_PKG_VERSION"));
    let trace = options.traces.begin(program, |line| log::warn!("{line}"))?;
    if let Some(user) = &user {
        folder_for(user, &records)?;
        user.become_it()?;
    }

    let limits = Limits { linger: options.linger, ..Limits::default() };
    let mut daemon = Daemon::new(limits, Records::new(records))?;
    if let Some(trace) = &trace {
        daemon.registry().trace_to(trace.trace());
    }
    for listener in listeners {
        daemon.listen(listener);
    }
    reactor::block_on(run(daemon, signals, options))??;
    Ok(ExitCode::SUCCESS)
}

async fn run(daemon: Daemon, signals: Signals, options: &Options) -> Result<(), Box<dyn Error>> {
    for address in daemon.addresses() {
        say(format_args!("listening on {address}"));
    }
    let (look, looks) = channel::bounded(1);
    plug_in(&daemon, options, looks)?;
    tell_ready();

    let (registry, may_exit) = (daemon.registry().clone(), options.exits_without_phones());
    // A task of its own is polled when a signal has come, and not each time when anything has happened.
    let end = daemon.executor().spawn(async move {
        let asked = until_asked(signals, &registry, may_exit, look);
        if may_exit {
            let deserted = async {
                registry.deserted(RETURN_TIME).await;
                log::info!("ending without phones");
            };
            or(asked, deserted).await;
        } else {
            asked.await;
        }
        tell_stopping();
    });
    daemon.run(end).await;
    Ok(())
}

/// Obeys signals until one of them ends the daemon.
async fn until_asked(mut signals: Signals, registry: &Registry, may_exit: bool, look: Sender<()>) {
    while let Some(Ok(signal)) = signals.next().await {
        match signal {
            Signal::Usr1 if !may_exit => log::info!("asked to exit, but started without -z"),
            Signal::Usr1 if registry.plugged_in() > 0 => {
                log::info!("asked to exit, but has phones")
            }
            // A look that is due already covers this one; with hotplug nobody waits to be told.
            Signal::Usr2 => drop(look.try_send(())),
            _ => {
                log::info!("ending on signal {signal:?}");
                return;
            }
        }
    }
}

/// Pair records of virtual phones stay out of the system's folder.
fn records_folder(options: &Options, user: Option<&User>) -> Result<PathBuf, PlaceError> {
    match &options.config_dir {
        Some(folder) => Ok(folder.clone()),
        None if options.simulates() => Ok(runtime_folder(user)?.join("lockdown")),
        None => Ok(records::DEFAULT_FOLDER.into()),
    }
}

/// Makes the sockets, if there are none yet or one was asked for.
fn listeners(
    options: &Options,
    passed: Vec<Listener>,
    user: Option<&User>,
) -> Result<Vec<Listener>, Box<dyn Error>> {
    let mode = options.socket_mode.0;
    let mut listeners = passed;
    match &options.socket {
        Some(Address::Unix(path)) => listeners.push(Listener::unix(path, mode)?),
        Some(Address::Tcp { host, port }) => {
            let address = resolve(host, *port)?;
            listeners.push(Listener::tcp(address, IfTaken::Fail)?);
        }
        None if !listeners.is_empty() => {}
        None if options.simulates() => {
            let path = runtime_folder(user)?.join("usbmuxd");
            let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), DEFAULT_PORT);
            listeners.push(Listener::unix(&path, mode)?);
            listeners.push(Listener::tcp(address, IfTaken::TryNext)?);
        }
        None => listeners.push(Listener::unix(Path::new(DEFAULT_PATH), mode)?),
    }
    Ok(listeners)
}

fn resolve(host: &str, port: u16) -> Result<SocketAddr, Box<dyn Error>> {
    let mut found = (host, port)
        .to_socket_addrs()
        .map_err(|error| format!("cannot listen on {host}: {error}"))?;
    found.next().ok_or_else(|| format!("{host} has no address to listen on").into())
}

/// Brings the phones: virtual ones if asked for, else those on USB.
fn plug_in(daemon: &Daemon, options: &Options, looks: Receiver<()>) -> Result<(), Box<dyn Error>> {
    #[cfg(feature = "simulate")]
    if options.simulates() {
        return simulating::plug_in(daemon, options);
    }
    let hotplug = if options.hotplug() { Hotplug::On } else { Hotplug::Off };
    usb::serve(daemon.executor(), daemon.registry(), hotplug, looks);
    Ok(())
}

/// Ten thousand connections need as many descriptors; most systems allow a program to raise its own
/// limit that far. With hardly any, not even the event loop can be made.
fn raise_descriptor_limit() -> Result<(), String> {
    let limit = getrlimit(Resource::Nofile);
    if let Some(most) = limit.maximum.filter(|most| *most < LEAST_DESCRIPTORS) {
        return Err(format!(
            "only {most} files may be open at once, {LEAST_DESCRIPTORS} are needed: raise ulimit -n"
        ));
    }
    let raised = Rlimit { current: limit.maximum, ..limit };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        log::debug!("the limit of open files stays as it is: {error}");
    }
    Ok(())
}

#[cfg(feature = "simulate")]
mod simulating {
    use std::error::Error;

    use usbmux_host::address::{Address, ENVIRONMENT_VARIABLE};
    use usbmux_host::daemon::{Daemon, simulate};

    use super::{Options, say};

    /// Plugs the virtual phones in and says what to try with them.
    pub(super) fn plug_in(daemon: &Daemon, options: &Options) -> Result<(), Box<dyn Error>> {
        let registry = daemon.registry();
        registry.begin_first_look();
        for phone in options.virtual_phones.phones()? {
            simulate::plug_in(daemon.executor(), registry, phone);
        }
        registry.end_first_look();
        if options.socket.is_none() {
            say_what_to_try(daemon);
        }
        Ok(())
    }

    fn say_what_to_try(daemon: &Daemon) {
        // No spelling of a path works in all clients; host:port does.
        let Some(address) = daemon.addresses().find(|at| matches!(at, Address::Tcp { .. })) else {
            return;
        };
        say(format_args!("try in another terminal:"));
        say(format_args!("  export {ENVIRONMENT_VARIABLE}={address}"));
        say(format_args!("  idevice_id -l"));
        say(format_args!("  ideviceinfo -s"));
        say(format_args!("  (echo hello; sleep 1) | inetcat 7"));
    }
}
