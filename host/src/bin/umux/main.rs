//! `umux`: phones through a usbmuxd, from the command line.
//!
//! Here is only the way from the arguments to a subcommand and from its outcome to an exit status.
//! Subcommands ask a daemon; with `--direct` some use the phone itself instead.

mod about;
mod args;
mod choose;
mod connect;
mod console;
#[cfg(feature = "simulate")]
mod demo;
mod failure;
mod forward;
mod info;
mod json;
mod output;
mod phones;
mod records;
mod source;
mod trace;

use std::process::ExitCode;

use usbmux_host::address::Address;
use usbmux_host::client::Daemon;
use usbmux_trace::file::TraceFile;

use args::{Cli, Command, Direct};
use failure::Failure;
use source::Source;

fn main() -> ExitCode {
    let outcome = args::parse().and_then(|cli| smol::block_on(run(cli)));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

async fn run(Cli { socket, command }: Cli) -> Result<(), Failure> {
    match command {
        Command::List { json, direct } => {
            let (source, _trace) = source(socket, &direct)?;
            phones::list(&source, json).await
        }
        Command::Watch { json } => phones::watch(&daemon(socket)?, json).await,
        Command::Info { udid, json } => info::run(&daemon(socket)?, udid.as_deref(), json).await,
        Command::Buid => about::buid(&daemon(socket)?).await,
        Command::Listeners { json } => about::listeners(&daemon(socket)?, json).await,
        Command::Forward(it) => {
            let (source, _trace) = source(socket, &it.direct)?;
            forward::run(source, it).await
        }
        Command::Connect(it) => {
            let (source, _trace) = source(socket, &it.direct)?;
            connect::run(source, it).await
        }
        Command::Trace(it) => trace::run(&it),
        Command::PairRecord(command) => records::run(&daemon(socket)?, command).await,
        #[cfg(feature = "simulate")]
        Command::Demo => demo::run().await,
    }
}

fn daemon(socket: Option<Address>) -> Result<Daemon, Failure> {
    let address = match socket {
        Some(address) => address,
        None => Address::from_environment().map_err(Failure::usage)?,
    };
    Ok(Daemon::new(address).program("umux"))
}

/// Where the phones are, and the trace of what passes there; it is complete when it is dropped.
fn source(
    socket: Option<Address>,
    direct: &Direct,
) -> Result<(Source, Option<TraceFile>), Failure> {
    let bus = direct.bus()?;
    let trace = direct.trace()?;
    Ok(match bus {
        Some(_) if socket.is_some() => {
            return Err(Failure::usage(
                "--socket names a daemon and --direct does without one: leave one of them out",
            ));
        }
        Some(bus) => match &trace {
            Some(file) => (Source::Bus(bus.traced(file.trace())), trace),
            None => (Source::Bus(bus), None),
        },
        None => (Source::Daemon(daemon(socket)?), None),
    })
}
