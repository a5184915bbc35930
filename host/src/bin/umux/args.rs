//! The command line: what may be written, and nothing of what it does.

use std::io::Write;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand};
use usbmux_host::address::Address;
#[cfg(feature = "simulate")]
use usbmux_host::daemon::options::VirtualPhones;
use usbmux_host::direct::Bus;
use usbmux_trace::file::{TraceFile, TraceOptions};

use crate::failure::Failure;
use crate::output;

/// Talks to iPhones and iPads through usbmuxd, or with --direct without it.
#[derive(Debug, Parser)]
#[command(name = "umux", version, after_help = AFTER_HELP)]
pub(crate) struct Cli {
    // Not a doc comment: brackets would be links there.
    #[arg(long, global = true, value_name = "ADDRESS", help = SOCKET_HELP)]
    pub(crate) socket: Option<Address>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const SOCKET_HELP: &str = "Where the daemon listens: UNIX:/path, /path, host:port or [v6]:port \
                           [default: USBMUXD_SOCKET_ADDRESS, else UNIX:/var/run/usbmuxd]";

const AFTER_HELP: &str = "\
Without a phone:
  umux demo                                          everything at once, explained
  umuxd --simulate                                   a daemon with a virtual phone
  echo hello | umux connect 7 --direct --simulate    a virtual phone and no daemon

With a phone, and a usbmuxd or umuxd running:
  umux list                                          who is there
  umux info                                          what it says about itself
  umux forward 2222:22                               its port 22 is 127.0.0.1:2222 here
  umux watch --json | jq .                           what is plugged in and out
  umux trace phone.pcapng                            what went wrong in a capture of USB

Each command has its own --help, with examples.
Exit status: 0 done, 1 failed, 2 wrong usage, 3 no such phone, 4 refused,
5 no daemon";

/// What stands below a command's options: examples, and the exit statuses.
macro_rules! examples {
    ($text:literal) => {
        concat!(
            "Examples:\n",
            $text,
            "\n\nExit status: 0 done, 1 failed, 2 wrong usage, 3 no such phone, 4 refused,\n5 no daemon"
        )
    };
}

const LIST_HELP: &str = examples!(
    "  umux list                              every phone that the daemon knows
  umux list --json | jq -r '.[].UDID'    their UDIDs alone
  umux list --direct                     the phones on USB, without a daemon"
);

const WATCH_HELP: &str = examples!(
    "  umux watch                       first who is there, then what happens
  umux watch --json | jq .Event    what happens alone

It ends with Ctrl-C."
);

const INFO_HELP: &str = examples!(
    "  umux info                              all that an unpaired computer may know
  umux info --json | jq -r .ProductVersion"
);

const BUID_HELP: &str = examples!("  umux buid");

const LISTENERS_HELP: &str = examples!(
    "  umux listeners                         each program's number, name and bundle
  umux listeners --json | jq length      how many there are"
);

const PAIR_RECORD_HELP: &str = examples!(
    "  umux pair-record list
  umux pair-record read >phone.plist     of the only phone
  umux pair-record read UDID | less
  umux pair-record save UDID phone.plist
  umux pair-record delete UDID

A record holds private keys: who has it can do with the phone what this
computer can."
);

#[cfg(feature = "simulate")]
const DEMO_HELP: &str = examples!("  umux demo");

const CONNECT_HELP: &str = examples!(
    "  umux connect 62078                    speak to lockdownd
  umux connect 19 | head -c 80          a virtual phone's character generator
  cat file | umux connect 9             give it a file to discard
  umux connect 7 --direct --simulate    its echo, without a daemon

At the end of standard input only the sending side is closed; what the phone
still says arrives. If the phone breaks the connection off, its reason is told.
A long transfer shows on a terminal's standard error how far it is."
);

const FORWARD_HELP: &str = examples!(
    "  umux forward 2222:22               then: ssh -p 2222 localhost
  umux forward 0:62078               any free port, which is printed
  umux forward 2222:22 8080:80       several at once

It goes on when the phone is unplugged and comes back, and ends with Ctrl-C.
On a terminal's standard error it shows what is going on."
);

const TRACE_HELP: &str = "\
Examples:
  umux trace phone.pcapng                    every frame, what is wrong with it, and why
  umux trace phone.pcapng --summary          a line for each connection
  umux trace phone.pcapng --follow 3         what was said on connection #3
  umux trace phone.pcapng --json | jq 'select(.type == \"frame\").marks[].kind'

A real phone's traffic with any host program, on Linux, as root; plug the phone in
when dumpcap runs, so that the capture begins with its descriptors:
  modprobe usbmon && dumpcap -i usbmon0 -w phone.pcapng

Under a frame, ! is a violation, and : is worth knowing. Numbers are those of the wire,
windows in bytes; times are seconds since the first packet.

With --json each line is an object with a type:
  phone       phone, udid, vendor, product, bus, device, out, in, max_packet, found_by
  frame       phone, time, packet (as Wireshark counts), from, frame (in words), length,
              tx_seq, rx_seq, conn, source, dest, flags, seq, ack, window, payload, text,
              marks: [{kind, violation, by, text}]
  note        phone, time, conn, kind, violation, by, text
  payload     with --follow: conn, time, from, seq, payload, captured, base64
  connection  conn, phone, source, dest, began, ended_at, opened, ended, text, to_phone,
              to_host, silence, round_trip: [least, mean, most], violations
  report      violations, packets, lost, seconds, diagnosis: [text]
What a line does not know is null.

Kinds of violations: glued missing-zlp trailing-bytes cut-short bad-length
  unknown-protocol bad-magic bad-header tx-gap rx-wrong rx-stuck silent-version
  unknown-version stale-session session-dead phone-complains silent-connect
  syn-reuse no-connection closed not-open bad-flags seq-gap seq-repeat ack-beyond
  ack-back overrun broken-off stall usb-error given-up out-stuck short-transfer
Kinds of remarks: capture-lost not-captured midway zlp-untold host-rx session-anew
  session-repaired no-setup refused port-reused reset-in-flight slow-ack no-ack
  unplugged told

Exit status: 0 nothing is wrong, 1 violations were found or the file cannot be read,
2 wrong usage";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Lists the phones: UDID, product, location and speed
    #[command(after_help = LIST_HELP)]
    List {
        /// Print an array of objects
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        direct: Direct,
    },
    /// Prints a line for each phone that is attached, detached or paired, until interrupted
    #[command(after_help = WATCH_HELP)]
    Watch {
        /// Print one object a line
        #[arg(long)]
        json: bool,
    },
    /// Prints what the phone says about itself
    #[command(after_help = INFO_HELP)]
    Info {
        /// The phone; may be left out if there is only one
        #[arg(short, long)]
        udid: Option<String>,
        /// Print one object
        #[arg(long)]
        json: bool,
    },
    /// Prints the identity under which this computer pairs with phones
    #[command(after_help = BUID_HELP)]
    Buid,
    /// Lists the programs that watch for phones
    #[command(after_help = LISTENERS_HELP)]
    Listeners {
        /// Print an array of objects
        #[arg(long)]
        json: bool,
    },
    /// Makes ports of a phone reachable on this computer, until interrupted
    Forward(Forward),
    /// Makes standard input and output a connection to a port of a phone
    Connect(Connect),
    /// Shows what passed between host and phone, and what is wrong with it, from a capture of USB
    /// or a trace of umuxd's
    Trace(Trace),
    /// Lists, reads, stores or removes the keys with which a phone trusts this computer
    #[command(subcommand, after_help = PAIR_RECORD_HELP)]
    PairRecord(PairRecord),
    /// Shows with a virtual phone how everything works together, in a few seconds
    #[cfg(feature = "simulate")]
    #[command(after_help = DEMO_HELP)]
    Demo,
}

#[derive(Debug, Args)]
#[command(after_help = FORWARD_HELP)]
pub(crate) struct Forward {
    /// The phone; may be left out if there is only one
    #[arg(short, long)]
    pub(crate) udid: Option<String>,
    /// The address of this computer to listen on
    #[arg(short = 's', long = "source", value_name = "ADDR", default_value = "127.0.0.1")]
    pub(crate) source: String,
    /// A port of this computer (0: any free one) and the port of the phone that it leads to
    #[arg(required = true, value_name = "LOCAL:DEVICE")]
    pub(crate) pairs: Vec<PortPair>,
    #[command(flatten)]
    pub(crate) direct: Direct,
}

#[derive(Debug, Args)]
#[command(after_help = CONNECT_HELP)]
pub(crate) struct Connect {
    /// The phone; may be left out if there is only one
    #[arg(short, long)]
    pub(crate) udid: Option<String>,
    /// After the end of standard input, how long the phone may be silent before this ends
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = seconds)]
    pub(crate) linger: Duration,
    /// The port of the phone
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: u16,
    #[command(flatten)]
    pub(crate) direct: Direct,
}

#[derive(Debug, Args)]
#[command(after_help = TRACE_HELP)]
pub(crate) struct Trace {
    /// A trace of umuxd's, or a capture of usbmon (pcap or pcapng); - is standard input
    pub(crate) file: PathBuf,
    /// Print one object a line
    #[arg(long)]
    pub(crate) json: bool,
    /// Print the payload of one connection, by its number in the ladder
    #[arg(long, value_name = "CONN", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) follow: Option<u32>,
    /// Print a table of connections instead of frames
    #[arg(long, conflicts_with = "follow")]
    pub(crate) summary: bool,
}

/// Whether to do without a daemon.
#[derive(Debug, Args)]
#[command(next_help_heading = "Without a daemon")]
pub(crate) struct Direct {
    /// Use the phone on USB itself; a daemon that serves it must be stopped first
    #[arg(long)]
    direct: bool,
    #[cfg(feature = "simulate")]
    #[command(flatten)]
    virtual_phones: VirtualPhones,
    #[command(flatten)]
    traces: TraceOptions,
}

impl Direct {
    /// Where phones are looked for without a daemon; none if there is to be one.
    pub(crate) fn bus(&self) -> Result<Option<Bus>, Failure> {
        #[cfg(feature = "simulate")]
        if self.virtual_phones.simulate.is_some() {
            if !self.direct {
                return Err(Failure::usage(
                    "--simulate goes with --direct; with a daemon, start umuxd --simulate",
                ));
            }
            let phones = self.virtual_phones.phones().map_err(Failure::usage)?;
            return Ok(Some(Bus::simulated(phones)));
        }
        Ok(self.direct.then(Bus::usb))
    }

    /// Begins the trace, if one was asked for.
    pub(crate) fn trace(&self) -> Result<Option<TraceFile>, Failure> {
        if self.traces.trace.is_some() && !self.direct {
            return Err(Failure::usage(
                "--trace goes with --direct; a daemon's phones are traced by umuxd --trace",
            ));
        }
        let program = concat!("umux ", env!("CARGO_PKG_VERSION"));
        let tell = |line: &str| drop(writeln!(std::io::stderr(), "umux: {line}"));
        self.traces.begin(program, tell).map_err(Failure::failed)
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum PairRecord {
    /// Lists the UDIDs that the daemon has a record of: those of plugged-in phones, and what its
    /// folder on this computer names
    #[command(after_help = PAIR_RECORD_HELP)]
    List,
    /// Writes a record to standard output
    #[command(after_help = PAIR_RECORD_HELP)]
    Read {
        #[command(flatten)]
        name: RecordName,
    },
    /// Stores a record
    #[command(after_help = PAIR_RECORD_HELP)]
    Save(SaveRecord),
    /// Removes a record: the phone will have to be paired again
    #[command(after_help = PAIR_RECORD_HELP)]
    Delete {
        #[command(flatten)]
        name: RecordName,
    },
}

/// Whose pair record; the phone need not be there.
#[derive(Debug, Args)]
pub(crate) struct RecordName {
    /// The phone; may be left out if there is only one
    #[arg(short = 'u', long = "udid", value_name = "UDID", conflicts_with = "id")]
    udid: Option<String>,
    /// The same
    #[arg(value_name = "UDID")]
    id: Option<String>,
}

impl RecordName {
    pub(crate) fn udid(self) -> Option<String> {
        self.udid.or(self.id)
    }
}

/// Whose pair record is stored, and where it is read from.
#[derive(Debug, Args)]
pub(crate) struct SaveRecord {
    /// The phone; may be left out if there is only one
    #[arg(short, long)]
    udid: Option<String>,
    /// The phone, unless -u names it, and the file with the record, a property list; without a file
    /// it is read from standard input
    #[arg(value_names = ["UDID", "FILE"], num_args = 0..=2)]
    words: Vec<String>,
}

impl SaveRecord {
    /// The phone and the file, `-` for standard input; an error if more is named than there is.
    pub(crate) fn parts(self) -> Result<(Option<String>, PathBuf), &'static str> {
        let mut words = self.words.into_iter();
        let udid = self.udid.or_else(|| words.next());
        let file = words.next().unwrap_or_else(|| "-".to_owned());
        match words.next() {
            Some(_) => Err("with -u UDID only a file follows"),
            None => Ok((udid, file.into())),
        }
    }
}

/// A local port and the phone's port that it leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PortPair {
    pub(crate) local: u16,
    pub(crate) device: u16,
}

impl FromStr for PortPair {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (local, device) = text.split_once(':').ok_or("write LOCAL:DEVICE, such as 2222:22")?;
        let local = local.parse().map_err(|_| "the local port is not a number up to 65535")?;
        match device.parse() {
            Ok(device) if device > 0 => Ok(PortPair { local, device }),
            _ => Err("the phone's port is not a number from 1 to 65535"),
        }
    }
}

fn seconds(text: &str) -> Result<Duration, &'static str> {
    let seconds = text.parse().map_err(|_| "not a number of seconds")?;
    Duration::try_from_secs_f64(seconds).map_err(|_| "out of range")
}

/// Reads the arguments of this process. Help and version are printed here.
pub(crate) fn parse() -> Result<Cli, Failure> {
    Cli::try_parse().map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            match output::text(&error.to_string()) {
                Ok(()) => Failure::done(),
                Err(failure) => failure,
            }
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            Failure::usage("no command is given: see umux --help")
        }
        _ => Failure::usage(one_line(&error.to_string())),
    })
}

/// The first paragraph of clap's message, which says what is wrong, as one line.
fn one_line(message: &str) -> String {
    let first = message.split("\n\n").next().unwrap_or_default();
    let words: Vec<&str> = first.split_whitespace().collect();
    let what = words.join(" ");
    format!("{}: see umux --help", what.strip_prefix("error: ").unwrap_or(&what))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_pair_of_ports_is_bounded_at_both_edges() {
        let pair = |local, device| Ok(PortPair { local, device });
        assert_eq!("2222:22".parse(), pair(2222, 22));
        assert_eq!("0:1".parse(), pair(0, 1));
        assert_eq!("65535:65535".parse(), pair(65535, 65535));
        for bad in ["22", "", ":", "1:", ":1", "1:0", "1:65536", "65536:1", "-1:1", "a:b", "1:2:3"]
        {
            assert!(bad.parse::<PortPair>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_linger_time_may_be_a_fraction_and_not_negative() {
        assert_eq!(seconds("2"), Ok(Duration::from_secs(2)));
        assert_eq!(seconds("0.25"), Ok(Duration::from_millis(250)));
        for bad in ["", "x", "-1", "NaN", "1e300"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }
}
