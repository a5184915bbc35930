//! `umuxd`: the daemon that programs find when they look for usbmuxd.
//!
//! What a program does around a daemon: options, logging, signals, exit status. The daemon itself
//! is `usbmux_host::daemon`.

use std::error::Error;
use std::fs::OpenOptions;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use async_signal::{Signal, Signals};
use clap::Parser;
use log::LevelFilter;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use smol::stream::StreamExt;
use usbmux_host::address::{Address, DEFAULT_PATH, DEFAULT_PORT};
use usbmux_host::daemon::listen::{IfTaken, Listener};
use usbmux_host::daemon::options::{Options, complaint};
use usbmux_host::daemon::places::{PidFile, PlaceError, runtime_folder};
use usbmux_host::daemon::records::{self, Records};
use usbmux_host::daemon::registry::Limits;
use usbmux_host::daemon::{Daemon, usb};
use usbmux_host::usb::Hotplug;

/// The exit status for a command line that asks for what cannot be.
const WRONG_USAGE: u8 = 2;

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
    match start_log(&options).and_then(|()| serve(options)) {
        Ok(status) => status,
        Err(error) => {
            say(format_args!("umuxd: {error}"));
            ExitCode::FAILURE
        }
    }
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
    for name in OUR_CRATES {
        log.filter_module(name, level);
    }
    if let Some(path) = &options.logfile {
        let file = OpenOptions::new().append(true).create(true).open(path);
        let file = file.map_err(|error| format!("cannot log to {}: {error}", path.display()))?;
        log.target(env_logger::Target::Pipe(Box::new(file)));
    }
    log.init();
    Ok(())
}

/// Runs a daemon until a signal ends it.
fn serve(options: Options) -> Result<ExitCode, Box<dyn Error>> {
    #[cfg(feature = "simulate")]
    if let Err(complaint) = options.virtual_phones.phones() {
        say(format_args!("umuxd: {complaint}"));
        return Ok(ExitCode::from(WRONG_USAGE));
    }
    raise_descriptor_limit()?;
    smol::block_on(run(&options))?;
    Ok(ExitCode::SUCCESS)
}

async fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let mut signals = Signals::new([Signal::Term, Signal::Int])?;
    let _pidfile = options.pidfile.0.as_deref().map(PidFile::new).transpose()?;

    let limits = Limits { linger: options.linger, ..Limits::default() };
    let mut daemon = Daemon::new(limits, Records::new(records_folder(options)?))?;
    listen(&mut daemon, options)?;
    for address in daemon.addresses() {
        say(format_args!("listening on {address}"));
    }
    plug_in(&daemon, options)?;
    // A task of its own is polled when a signal has come, and not each time when anything has happened.
    let signal = daemon.executor().spawn(async move {
        if let Some(Ok(signal)) = signals.next().await {
            log::info!("ending on signal {signal:?}");
        }
    });
    daemon.run(signal).await;
    Ok(())
}

/// Pair records of virtual phones stay out of the system's folder.
fn records_folder(options: &Options) -> Result<PathBuf, PlaceError> {
    match &options.config_dir {
        Some(folder) => Ok(folder.clone()),
        None if simulates(options) => Ok(runtime_folder()?.join("lockdown")),
        None => Ok(records::DEFAULT_FOLDER.into()),
    }
}

fn listen(daemon: &mut Daemon, options: &Options) -> Result<(), Box<dyn Error>> {
    let mode = options.socket_mode.0;
    match &options.socket {
        Some(Address::Unix(path)) => daemon.listen(Listener::unix(path, mode)?),
        Some(Address::Tcp { host, port }) => {
            let address = resolve(host, *port)?;
            daemon.listen(Listener::tcp(address, IfTaken::Fail)?);
        }
        None if simulates(options) => {
            let path = runtime_folder()?.join("usbmuxd");
            let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), DEFAULT_PORT);
            daemon.listen(Listener::unix(&path, mode)?);
            daemon.listen(Listener::tcp(address, IfTaken::TryNext)?);
        }
        None => daemon.listen(Listener::unix(Path::new(DEFAULT_PATH), mode)?),
    }
    Ok(())
}

fn resolve(host: &str, port: u16) -> Result<SocketAddr, Box<dyn Error>> {
    let mut found = (host, port)
        .to_socket_addrs()
        .map_err(|error| format!("cannot listen on {host}: {error}"))?;
    found.next().ok_or_else(|| format!("{host} has no address to listen on").into())
}

/// Brings the phones: virtual ones if asked for, else those on USB.
fn plug_in(daemon: &Daemon, options: &Options) -> Result<(), Box<dyn Error>> {
    #[cfg(feature = "simulate")]
    if simulates(options) {
        return simulating::plug_in(daemon, options);
    }
    let hotplug = if options.disable_hotplug { Hotplug::Off } else { Hotplug::On };
    usb::serve(daemon.executor(), daemon.registry(), hotplug);
    Ok(())
}

#[cfg(feature = "simulate")]
fn simulates(options: &Options) -> bool {
    options.virtual_phones.simulate.is_some()
}

#[cfg(not(feature = "simulate"))]
fn simulates(_: &Options) -> bool {
    false
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
        for phone in options.virtual_phones.phones()? {
            simulate::plug_in(daemon.executor(), daemon.registry(), phone);
        }
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
