//! `usbmux-sim dongle`: firmware and phone in real time, with this machine's programs as clients.

use crate::args::DongleArgs;
use crate::failure::{Failure, say};
use crate::ram;
use async_signal::{Signal, Signals};
use log::LevelFilter;
use smol::Timer;
use smol::stream::StreamExt;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use usbmux_dongle::usb::Speed;
use usbmux_dongle::{Forward, PAGE_PORT, TALK_PORT};
use usbmux_firmware_sim::board::{Board, BoardOptions};
use usbmux_firmware_sim::cpu::Cpu;
use usbmux_firmware_sim::live::{self, BusTrace, Gate};

/// The crates whose log is ours; the others' is of no use to anybody here.
const OUR_CRATES: [&str; 5] =
    ["usbmux_sim", "usbmux_firmware_sim", "usbmux_core", "usbmux_dongle", "usbmux_phone"];
/// The first port of the dongle's that is tried for a forward whose own number is taken.
const FORWARD_PORTS: u16 = 40_000;

pub(crate) fn run(arguments: DongleArgs) -> Result<(), Failure> {
    let ram_plan = ram::plan(arguments.ram)?;
    let plan = ram_plan.plan();
    if arguments.forward.len() > plan.forwards {
        let (kib, most) = (arguments.ram, plan.forwards);
        let line =
            format!("a dongle with {kib} KiB has forwards: {most}; leave some --forward out");
        return Err(Failure::usage(line));
    }
    start_log(arguments.verbose);
    let mut signals = Signals::new([Signal::Term, Signal::Int]).map_err(Failure::failed)?;
    let mut gate = Gate::new();
    let talk = gate.open(arguments.listen, TALK_PORT).map_err(Failure::failed)?;
    let near = SocketAddr::new(talk.ip(), talk.port().saturating_add(1));
    let page = match plan.has_page {
        true => Some(gate.open_near(near, PAGE_PORT).map_err(Failure::failed)?),
        false => None,
    };
    let (forwards, addresses) = open_forwards(&mut gate, &arguments)?;
    let speed = Speed::from(arguments.speed);
    let options = BoardOptions {
        speed,
        cpu: match speed {
            Speed::Full => Cpu::MHZ_72,
            Speed::High => Cpu::MHZ_528,
        },
        phone: arguments.phone.options(),
        forwards,
        plan: ram_plan,
        ..BoardOptions::default()
    };
    let mut board = Board::new(&options).map_err(Failure::failed)?;
    let program = concat!("usbmux-sim ", env!("CARGO_PKG_VERSION"));
    // It is complete when this is dropped.
    let trace = arguments.traces.begin(program, |line| log::warn!("{line}"));
    let trace = trace.map_err(Failure::failed)?;
    let bus_trace = trace.as_ref().map(|file| BusTrace::new(file.trace(), &mut board));
    board.plug_in();
    if !talk.ip().is_loopback() {
        say(format_args!("{talk} can be reached by other machines: they can use this phone"));
    }
    say(format_args!("listening on {talk}"));
    say_what_to_try(talk, page);
    print_forwards(&addresses, &arguments);
    let end = async {
        let signal = async {
            signals.next().await;
        };
        let over = async {
            match arguments.seconds {
                Some(seconds) => _ = Timer::after(seconds).await,
                None => std::future::pending().await,
            }
        };
        smol::future::or(signal, over).await;
    };
    smol::block_on(live::run(&mut board, &mut gate, bus_trace, end));
    Ok(())
}

/// Starts the log of this project's own crates.
pub(crate) fn start_log(verbose: u8) {
    let level = match verbose {
        0 => LevelFilter::Warn,
        1 => LevelFilter::Info,
        2 => LevelFilter::Debug,
        _ => LevelFilter::Trace,
    };
    let mut log = env_logger::Builder::new();
    for name in OUR_CRATES {
        log.filter_module(name, level);
    }
    log.init();
}

/// Opens a port of this machine for each forward, and chooses the port of the dongle's that it
/// leads to: the same number, unless that is taken there.
fn open_forwards(
    gate: &mut Gate,
    arguments: &DongleArgs,
) -> Result<(Vec<Forward>, Vec<SocketAddr>), Failure> {
    let mut forwards: Vec<Forward> = Vec::new();
    let mut addresses = Vec::new();
    for pair in &arguments.forward {
        let taken = |port: u16| {
            [TALK_PORT, PAGE_PORT].contains(&port) || forwards.iter().any(|f| f.port == port)
        };
        let wanted = Some(pair.local).filter(|local| *local > 0 && !taken(*local));
        let port = wanted.or_else(|| (FORWARD_PORTS..).find(|port| !taken(*port)));
        let Some(port) = port else { continue };
        let local = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), pair.local);
        addresses.push(gate.open(local, port).map_err(Failure::failed)?);
        forwards.push(Forward { port, device_port: pair.device });
    }
    Ok((forwards, addresses))
}

fn say_what_to_try(talk: SocketAddr, page: Option<SocketAddr>) {
    match page {
        Some(page) => say(format_args!("status page: http://{page}/")),
        None => say(format_args!("no status page on a board of this size; see usbmux-sim ram")),
    }
    say(format_args!("try in another terminal:"));
    say(format_args!("  export USBMUXD_SOCKET_ADDRESS={talk}"));
    say(format_args!("  idevice_id -l"));
    say(format_args!("  ideviceinfo -s"));
    say(format_args!("  (echo hello; sleep 1) | inetcat 7"));
}

fn print_forwards(addresses: &[SocketAddr], arguments: &DongleArgs) {
    let mut out = std::io::stdout().lock();
    for (address, pair) in addresses.iter().zip(&arguments.forward) {
        // A reader that is gone does not stop the forwards.
        let _ = writeln!(out, "forwarding {address} -> {}", pair.device);
    }
    let _ = out.flush();
}
