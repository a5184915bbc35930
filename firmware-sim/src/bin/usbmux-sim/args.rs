//! The command line: what may be written, and nothing of what it does.

use crate::failure::Failure;
use crate::phone::PhoneArgs;
use crate::ports::PortPair;
use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use usbmux_dongle::usb;
use usbmux_trace::file::TraceOptions;

/// Runs the usbmux dongle and a virtual phone on a simulated board.
#[derive(Debug, Parser)]
#[command(name = "usbmux-sim", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Lets programs of this machine use a phone through the simulated dongle, until interrupted
    Dongle(DongleArgs),
    /// Writes a page to learn from, in which the engine itself runs: a file for any browser
    Page {
        /// The folder that it is written to
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
    /// Prints what the firmware does with the RAM of a board
    Ram {
        /// Of a board with so much RAM only
        #[arg(long, value_name = "KIB")]
        ram: Option<u32>,
    },
    /// Shows a scene of the protocol, packet by packet, and explains it
    Show {
        /// Which one
        #[arg(value_enum)]
        scene: SceneName,
    },
    /// Explains the protocol in twelve lessons: lists them, or runs one
    Lessons {
        /// Which one, or all of them
        #[arg(value_name = "N|all")]
        which: Option<String>,
    },
    /// Plugs a virtual phone into QEMU, or into this kernel
    Phone(PlugArgs),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SceneName {
    /// The longest frame, and one byte more
    Cap,
    /// Zero-length packets: sent, trimmed away, lost
    Zlp,
    /// The window: announced, closed, open again, ignored
    Window,
}

const DONGLE_HELP: &str = "\
Examples:
  usbmux-sim dongle --forward 2222:22 --phone-port 22=127.0.0.1:22
  usbmux-sim dongle --speed high --phone-quirk slow --seconds 60

It ends with Ctrl-C. Exit status: 0 done, 1 failed, 2 wrong usage";

#[derive(Debug, Args)]
#[command(after_help = DONGLE_HELP)]
pub(crate) struct DongleArgs {
    /// Where this machine's programs find the dongle's socket protocol
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:27015")]
    pub(crate) listen: SocketAddr,
    /// A port of this machine (0: any free one) and the port of the phone that it leads to, through
    /// the dongle (repeatable)
    #[arg(long, value_name = "LOCAL:DEVICE")]
    pub(crate) forward: Vec<PortPair>,
    /// How much RAM the board has, in KiB: what does not fit is left out
    #[arg(long, value_name = "KIB", default_value_t = 64)]
    pub(crate) ram: u32,
    /// Bit rate of the dongle's USB port
    #[arg(long, value_enum, default_value_t = Speed::Full)]
    pub(crate) speed: Speed,
    /// End after this time
    #[arg(long, value_name = "N", value_parser = seconds)]
    pub(crate) seconds: Option<Duration>,
    /// Say more (repeatable)
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    #[command(flatten)]
    pub(crate) phone: PhoneArgs,
    #[command(flatten)]
    pub(crate) traces: TraceOptions,
}

const PHONE_HELP: &str = "\
Lines of standard input say what happens to the cable: plug, unplug, quit. The lines stall in and \
stall out halt an endpoint of the mux interface, traffic asks what these have carried since the last \
time. Each change and each answer is a line on standard output. At the end of input the phone goes.

Examples:
  qemu-system-arm -M mcimx6ul-evk … -chardev socket,id=ur,path=usb.sock,server=on,wait=off \
-device usb-redir,chardev=ur,bus=usb-bus.0,port=1 &
  usbmux-sim phone --usbredir usb.sock
  sudo modprobe vhci-hcd && sudo usbmux-sim phone --vhci

Exit status: 0 done, 1 failed, 2 wrong usage";

#[derive(Debug, Args)]
#[command(after_help = PHONE_HELP)]
pub(crate) struct PlugArgs {
    #[command(flatten)]
    pub(crate) host: HostArgs,
    /// Bit rate of the port
    #[arg(long, value_enum, default_value_t = PortSpeed::High)]
    pub(crate) speed: PortSpeed,
    /// The longest frame that the phone sends; real ones send 32764
    #[arg(long, value_name = "BYTES")]
    pub(crate) longest_frame: Option<u16>,
    /// The phone's number: the end of its serial
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) number: u32,
    /// Say more (repeatable)
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    #[command(flatten)]
    pub(crate) phone: PhoneArgs,
}

/// Whose USB port it is.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub(crate) struct HostArgs {
    /// QEMU's: the Unix socket of its device usb-redir
    #[arg(long, value_name = "SOCKET")]
    pub(crate) usbredir: Option<PathBuf>,
    /// This kernel's: its virtual host controller (as root)
    #[arg(long)]
    pub(crate) vhci: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Speed {
    /// 12 Mbit/s, packets of 64 bytes
    Full,
    /// 480 Mbit/s, packets of 512 bytes
    High,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PortSpeed {
    /// 12 Mbit/s, packets of 64 bytes
    Full,
    /// 480 Mbit/s, packets of 512 bytes
    High,
    /// 5 Gbit/s, packets of 1024 bytes
    Super,
}

impl From<Speed> for usb::Speed {
    fn from(speed: Speed) -> Self {
        match speed {
            Speed::Full => usb::Speed::Full,
            Speed::High => usb::Speed::High,
        }
    }
}

fn seconds(text: &str) -> Result<Duration, &'static str> {
    let parsed = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    parsed.ok_or("write a number of seconds, such as 30 or 0.5")
}

/// Reads the arguments of this process. Help and version are printed here.
pub(crate) fn parse() -> Result<Cli, Failure> {
    Cli::try_parse().map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // There is nothing to do about an output that is closed.
            let _ = write!(std::io::stdout(), "{error}");
            Failure::done()
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            Failure::usage("no command is given; see usbmux-sim --help")
        }
        _ => Failure::usage(one_line(&error.to_string())),
    })
}

/// The first paragraph of clap's message, which says what is wrong, as one line.
fn one_line(message: &str) -> String {
    let first = message.split("\n\n").next().unwrap_or_default();
    let words: Vec<&str> = first.split_whitespace().collect();
    let what = words.join(" ");
    format!("{}; see usbmux-sim --help", what.strip_prefix("error: ").unwrap_or(&what))
}
