//! `usbmux-sim`: the dongle and the virtual phone on a simulated board, for programs of this machine
//! and for people who want to see what happens.
//!
//! What a command line is made of stands in `args`, each subcommand in its own file.

mod args;
mod dongle;
mod failure;
mod lessons;
mod page;
mod phone;
mod plug;
mod ports;
mod ram;
mod show;

use args::{Cli, Command};
use failure::Failure;
use std::process::ExitCode;

fn main() -> ExitCode {
    let done = args::parse().and_then(run);
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    match cli.command {
        Command::Dongle(arguments) => dongle::run(arguments),
        Command::Page { out } => page::run(&out),
        Command::Ram { ram } => ram::run(ram),
        Command::Show { scene } => show::run(scene),
        Command::Lessons { which } => lessons::run(which.as_deref()),
        Command::Phone(arguments) => plug::run(arguments),
    }
}
