//! `umuxd`: the daemon that programs find when they look for usbmuxd.
//!
//! What a program does around a daemon: options, logging, signals, exit status. The daemon itself
//! is `usbmux_host::daemon`.

use std::error::Error;
use std::fs::OpenOptions;
use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use log::LevelFilter;
use usbmux_host::daemon::options::{Options, complaint};

/// The exit status for a command line that asks for what cannot be.
const WRONG_USAGE: u8 = 2;

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

#[cfg(feature = "simulate")]
fn serve(options: Options) -> Result<ExitCode, Box<dyn Error>> {
    if options.simulate.is_none() {
        return Ok(no_usb());
    }
    if let Some(number) = simulating::missing_phone(&options) {
        say(format_args!(
            "umuxd: there is no phone {number} to misbehave: say --simulate={number}"
        ));
        return Ok(ExitCode::from(WRONG_USAGE));
    }
    smol::block_on(simulating::serve(options))
}

#[cfg(not(feature = "simulate"))]
fn serve(_: Options) -> Result<ExitCode, Box<dyn Error>> {
    Ok(no_usb())
}

fn no_usb() -> ExitCode {
    say(format_args!("umuxd: this build serves virtual phones only yet: start it with --simulate"));
    ExitCode::from(WRONG_USAGE)
}

#[cfg(feature = "simulate")]
mod simulating {
    use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
    use std::path::PathBuf;

    use async_signal::{Signal, Signals};
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    use smol::stream::StreamExt;
    use usbmux_host::address::{Address, DEFAULT_PORT, ENVIRONMENT_VARIABLE};
    use usbmux_host::daemon::Daemon;
    use usbmux_host::daemon::listen::{IfTaken, Listener};
    use usbmux_host::daemon::places::{PidFile, runtime_folder};
    use usbmux_host::daemon::records::Records;
    use usbmux_host::daemon::registry::Limits;
    use usbmux_host::daemon::simulate;

    use super::{Error, ExitCode, Options, say};

    /// Runs a daemon with virtual phones until a signal ends it.
    pub(super) async fn serve(options: Options) -> Result<ExitCode, Box<dyn Error>> {
        let mut signals = Signals::new([Signal::Term, Signal::Int])?;
        let _pidfile = options.pidfile.0.as_deref().map(PidFile::new).transpose()?;
        raise_descriptor_limit();

        let limits = Limits { linger: options.linger, ..Limits::default() };
        let mut daemon = Daemon::new(limits, records(&options)?)?;
        listen(&mut daemon, &options)?;
        for phone in phones(&options) {
            simulate::plug_in(daemon.executor(), daemon.registry(), phone);
        }
        for address in daemon.addresses() {
            say(format_args!("listening on {address}"));
        }
        if options.socket.is_none() {
            say_what_to_try(&daemon);
        }
        daemon
            .run(async {
                if let Some(Ok(signal)) = signals.next().await {
                    log::info!("ending on signal {signal:?}");
                }
            })
            .await;
        Ok(ExitCode::SUCCESS)
    }

    /// Returns the number of a phone that has a quirk and will not be there.
    pub(super) fn missing_phone(options: &Options) -> Option<u32> {
        let phones = options.simulate.unwrap_or(0);
        let mut numbers = options.phone_quirk.iter().filter_map(|quirk| quirk.number);
        numbers.find(|number| *number > phones)
    }

    /// Pair records of virtual phones stay out of the system's folder.
    fn records(options: &Options) -> Result<Records, Box<dyn Error>> {
        let folder = match &options.config_dir {
            Some(folder) => folder.clone(),
            None => runtime_folder()?.join("lockdown"),
        };
        Ok(Records::new(folder))
    }

    fn listen(daemon: &mut Daemon, options: &Options) -> Result<(), Box<dyn Error>> {
        let mode = options.socket_mode.0;
        match &options.socket {
            Some(Address::Unix(path)) => daemon.listen(Listener::unix(path, mode)?),
            Some(Address::Tcp { host, port }) => {
                let address = resolve(host, *port)?;
                daemon.listen(Listener::tcp(address, IfTaken::Fail)?);
            }
            None => {
                let path: PathBuf = runtime_folder()?.join("usbmuxd");
                let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), DEFAULT_PORT);
                daemon.listen(Listener::unix(&path, mode)?);
                daemon.listen(Listener::tcp(address, IfTaken::TryNext)?);
            }
        }
        Ok(())
    }

    fn resolve(host: &str, port: u16) -> Result<SocketAddr, Box<dyn Error>> {
        let mut found = (host, port)
            .to_socket_addrs()
            .map_err(|error| format!("cannot listen on {host}: {error}"))?;
        found.next().ok_or_else(|| format!("{host} has no address to listen on").into())
    }

    fn phones(options: &Options) -> impl Iterator<Item = usbmux_phone::Options> {
        let mapped: Vec<_> =
            options.phone_port.iter().map(|port| (port.port, port.address)).collect();
        (1..=options.simulate.unwrap_or(0)).map(move |number| {
            let mut phone = usbmux_phone::Options::new(number);
            phone.mapped.clone_from(&mapped);
            let its = |of: Option<u32>| of.is_none_or(|of| of == number);
            phone.quirks = options
                .phone_quirk
                .iter()
                .filter(|quirk| its(quirk.number))
                .map(|quirk| quirk.quirk)
                .collect();
            phone
        })
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

    /// Ten thousand connections need as many descriptors; most systems allow a program to raise
    /// its own limit that far.
    fn raise_descriptor_limit() {
        let limit = getrlimit(Resource::Nofile);
        let raised = Rlimit { current: limit.maximum, ..limit };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            log::debug!("the limit of open files stays as it is: {error}");
        }
    }
}
