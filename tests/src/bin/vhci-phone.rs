//! The virtual phone on this kernel's virtual host controller, plugged and unplugged by words on
//! standard input: what the runs on a real kernel have for a hand and a cable.
//!
//! Each line of input is `plug`, `unplug` or `quit`; the phone is plugged in at the start. Each
//! change is told in one line on standard output, so that a script can wait for it:
//! `plugged into port N`, `unplugged: REASON`. When input ends, the phone goes with it. A phone
//! that switches its mode comes back by itself, as a real one does.

use clap::Parser;
use futures_lite::io::{AsyncBufReadExt, BufReader, Lines};
use futures_lite::{StreamExt, future};
use smol::Async;
use std::error::Error;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use usbmux_phone::usbip::{Ended, UsbIp, UsbIpError};
use usbmux_phone::vhci::{self, Speed};
use usbmux_phone::{HIGH_SPEED_PACKET, Options, Quirk};

/// Plugs a virtual phone into this kernel's vhci_hcd, and takes `plug`, `unplug` and `quit` on
/// standard input.
#[derive(Parser, Debug)]
#[command(name = "vhci-phone")]
struct Arguments {
    /// The phone's number: the end of its serial.
    #[arg(long, default_value_t = 1)]
    number: u32,
    /// A port of the phone's that a TCP server of this machine serves.
    #[arg(long, value_name = "PORT=ADDR:PORT", value_parser = phone_port)]
    phone_port: Vec<(u16, SocketAddr)>,
    /// A way in which the phone misbehaves.
    #[arg(long, value_name = "NAME")]
    phone_quirk: Vec<Quirk>,
    /// Size of a full bulk packet: 64 is full speed, 512 high speed.
    #[arg(long, value_name = "BYTES", default_value_t = HIGH_SPEED_PACKET)]
    max_packet: u16,
}

fn phone_port(text: &str) -> Result<(u16, SocketAddr), String> {
    let (port, address) = text.split_once('=').ok_or("say PORT=ADDR:PORT")?;
    let port = port.parse().map_err(|_| format!("{port} is no port"))?;
    let address = address.parse().map_err(|_| format!("{address} is no address with a port"))?;
    Ok((port, address))
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    env_logger::init();
    match smol::block_on(run(arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vhci-phone: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What a line of input says.
enum Word {
    Plug,
    Unplug,
    Quit,
}

type Input = Lines<BufReader<smol::Unblock<io::Stdin>>>;

/// The next word that makes sense; the end of input is `quit`.
async fn next_word(input: &mut Input) -> io::Result<Word> {
    while let Some(line) = input.next().await {
        match line?.trim() {
            "plug" => return Ok(Word::Plug),
            "unplug" => return Ok(Word::Unplug),
            "quit" => return Ok(Word::Quit),
            other => eprintln!("vhci-phone: {other}: say plug, unplug or quit"),
        }
    }
    Ok(Word::Quit)
}

async fn run(arguments: Arguments) -> Result<(), Box<dyn Error>> {
    let mut options = Options::new(arguments.number);
    options.mapped = arguments.phone_port;
    options.quirks.extend(arguments.phone_quirk);
    options.max_packet = arguments.max_packet;
    let speed = Speed::of_packets(arguments.max_packet);
    let mut phone = UsbIp::new(options);
    let mut input = BufReader::new(smol::Unblock::new(io::stdin())).lines();
    loop {
        let (ours, kernels) = UnixStream::pair()?;
        let port = vhci::attach(kernels.into(), arguments.number, speed)?;
        say(format_args!("plugged into port {port}"))?;
        let cable = phone.serve(Async::new(ours)?);
        match until_out(cable, &mut input).await? {
            Out::ByItself(Ended::ModeSwitched) => {
                say(format_args!("unplugged: mode switched"))?;
                continue;
            }
            Out::ByItself(why) => say(format_args!("unplugged: {why:?}"))?,
            Out::ByHand => say(format_args!("unplugged: by hand"))?,
            Out::Quit => return Ok(()),
        }
        loop {
            match next_word(&mut input).await? {
                Word::Plug => break,
                Word::Unplug => {}
                Word::Quit => return Ok(()),
            }
        }
    }
}

/// Who pulled the cable.
enum Out {
    ByItself(Ended),
    ByHand,
    Quit,
}

/// Waits until the cable is out.
async fn until_out(
    cable: impl Future<Output = Result<Ended, UsbIpError>>,
    input: &mut Input,
) -> Result<Out, Box<dyn Error>> {
    let cable = async { Ok(Out::ByItself(cable.await?)) };
    let hand = async {
        loop {
            match next_word(input).await? {
                Word::Plug => {}
                Word::Unplug => return Ok(Out::ByHand),
                Word::Quit => return Ok(Out::Quit),
            }
        }
    };
    future::or(cable, hand).await
}

/// A line for whoever waits for it.
fn say(line: std::fmt::Arguments<'_>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}
