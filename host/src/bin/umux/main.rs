//! `umux`: phones through a usbmuxd, from the command line.
//!
//! Here is only the way from the arguments to a subcommand and from its outcome to an exit status.
//! All subcommands ask a daemon; none touches USB.

mod about;
mod args;
mod choose;
mod connect;
mod failure;
mod forward;
mod info;
mod json;
mod output;
mod phones;
mod records;

use std::process::ExitCode;

use usbmux_host::address::Address;
use usbmux_host::client::Daemon;

use args::{Cli, Command};
use failure::Failure;

fn main() -> ExitCode {
    let outcome = args::parse().and_then(|cli| smol::block_on(run(cli)));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

async fn run(cli: Cli) -> Result<(), Failure> {
    let address = match cli.socket {
        Some(address) => address,
        None => Address::from_environment().map_err(Failure::usage)?,
    };
    let daemon = Daemon::new(address).program("umux");
    match cli.command {
        Command::List { json } => phones::list(&daemon, json).await,
        Command::Watch { json } => phones::watch(&daemon, json).await,
        Command::Info { udid, json } => info::run(&daemon, udid.as_deref(), json).await,
        Command::Buid => about::buid(&daemon).await,
        Command::Listeners { json } => about::listeners(&daemon, json).await,
        Command::Forward(arguments) => forward::run(&daemon, arguments).await,
        Command::Connect(arguments) => connect::run(&daemon, arguments).await,
        Command::PairRecord(command) => records::run(&daemon, command).await,
    }
}
