//! What can be asked of `umuxd`, as types and as a command line.
//!
//! Only options that work are here: one of the contract that does not work yet is unknown, so that
//! nobody relies on it by mistake. Leaves out: acting on any of them.

use std::ffi::OsString;
#[cfg(feature = "simulate")]
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

#[cfg(feature = "simulate")]
use clap::Args;
use clap::{ArgAction, Parser};
use usbmux_trace::file::TraceOptions;

use super::listen::DEFAULT_SOCKET_MODE;
use crate::address::Address;

/// How many virtual phones one daemon plays at most: each has an engine of its own with a table
/// for ten thousand connections.
#[cfg(feature = "simulate")]
pub const MAX_PHONES: u32 = 64;

/// Where the process number is unless told otherwise; the reference daemon's is there too.
pub const DEFAULT_PIDFILE: &str = "/var/run/usbmuxd.pid";

const AFTER_HELP: &str = "\
With phones (as root; another daemon must be stopped: systemctl stop usbmuxd):
  umuxd                                 at /var/run/usbmuxd, where programs look
  umuxd -U usbmux                       the same, without root's rights
  umuxd -S 127.0.0.1:27015 -C DIR       elsewhere
  umuxd -X                              ends the one that runs

Without phones:
  umuxd --simulate                      a virtual one; says what to try next
  umuxd --simulate --phone-port 22=127.0.0.1:22
                                        its port 22 is this machine's
  umuxd --simulate=3 --phone-quirk 2:rst-text
                                        three, the second of which misbehaves

Programs find a daemon that is elsewhere by USBMUXD_SOCKET_ADDRESS, UNIX:/path
or host:port. SIGINT and SIGTERM end it; what clients sent is handed over first.
Sockets from systemd (LISTEN_FDS) are served instead of the default ones.
RUST_LOG chooses what is logged where -v does not, such as RUST_LOG=debug.
Exit status: 0 ended as asked, or did what was asked; 1 failed; 2 wrong usage";

/// Serves iPhones to programs that look for usbmuxd; in the foreground, logging to stderr.
#[derive(Clone, Debug, Parser, PartialEq)]
#[command(name = "umuxd", version, after_help = AFTER_HELP, args_override_self = true)]
pub struct Options {
    /// Stay in the foreground (accepted; it always does)
    #[arg(short, long)]
    pub foreground: bool,

    /// Log more; twice: every frame
    #[arg(short, long, action = ArgAction::Count)]
    pub verbose: u8,

    /// Do not prepare phones before clients ask (accepted; there is no preparation yet)
    #[arg(short = 'p', long)]
    pub no_preflight: bool,

    /// Serve only the phones that are there at the start; starting umuxd -n once more has the running
    /// daemon look again
    #[arg(short = 'n', long)]
    pub disable_hotplug: bool,

    /// Exit with the last phone, and obey -x
    #[arg(short = 'z', long)]
    pub enable_exit: bool,

    /// Run as udev wants it: -n -z
    #[arg(short = 'u', long)]
    pub udev: bool,

    /// Run as the reference daemon's unit wants it: -z -f
    #[arg(short = 's', long)]
    pub systemd: bool,

    /// Ask the running daemon to exit if it has no phones and was started with -z
    #[arg(short = 'x', long, conflicts_with = "force_exit")]
    pub exit: bool,

    /// Ask the running daemon to exit
    #[arg(short = 'X', long)]
    pub force_exit: bool,

    /// Become this user, without any capability, when sockets, log and pidfile are made; the phones'
    /// device files must be the user's (a udev rule)
    #[arg(short = 'U', long, value_name = "USER")]
    pub user: Option<String>,

    /// Listen here only: a path, UNIX:PATH or ADDRESS:PORT (port 0: a free one) [default:
    /// /var/run/usbmuxd; with --simulate a path and a port of its own, which it prints]
    #[arg(short = 'S', long, value_name = "ADDR:PORT|PATH")]
    pub socket: Option<Address>,

    /// Permissions of a Unix socket's file
    #[arg(long, value_name = "OCTAL", default_value_t = SocketMode(DEFAULT_SOCKET_MODE))]
    pub socket_mode: SocketMode,

    /// Keep pair records in this folder [default: /var/lib/lockdown; with --simulate beside the socket]
    #[arg(short = 'C', long, value_name = "DIR")]
    pub config_dir: Option<PathBuf>,

    /// Keep the process number in this file, or NONE; -x and -X look for it there [default:
    /// /var/run/usbmuxd.pid; NONE with -S, --simulate or a passed socket]
    #[arg(short = 'P', long, value_name = "PATH|NONE")]
    pub pidfile: Option<PidFilePath>,

    /// Log to this file instead of stderr
    #[arg(short = 'l', long, value_name = "FILE")]
    pub logfile: Option<PathBuf>,

    /// How long a phone may be silent after a client shut down its sending side
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    pub linger: Duration,

    #[command(flatten)]
    #[allow(missing_docs, reason = "a comment here would become a part of the help")]
    pub traces: TraceOptions,

    #[cfg(feature = "simulate")]
    #[command(flatten)]
    #[allow(missing_docs, reason = "a comment here would become a part of the help")]
    pub virtual_phones: VirtualPhones,
}

impl Options {
    /// Whether phones that come later are served too.
    pub fn hotplug(&self) -> bool {
        !(self.disable_hotplug || self.udev)
    }

    /// Whether the daemon ends with its last phone, or when asked while it has none.
    pub fn exits_without_phones(&self) -> bool {
        self.enable_exit || self.udev || self.systemd
    }

    /// Whether virtual phones are served instead of USB.
    pub fn simulates(&self) -> bool {
        #[cfg(feature = "simulate")]
        return self.virtual_phones.simulate.is_some();
        #[cfg(not(feature = "simulate"))]
        false
    }

    /// Where a daemon that makes its own sockets writes its process number, if anywhere.
    pub fn own_pidfile(&self) -> Option<&Path> {
        match &self.pidfile {
            Some(given) => given.0.as_deref(),
            None if self.socket.is_some() || self.simulates() => None,
            None => Some(Path::new(DEFAULT_PIDFILE)),
        }
    }

    /// Where the process number of a running daemon is looked for, if anywhere.
    pub fn others_pidfile(&self) -> Option<&Path> {
        match &self.pidfile {
            Some(given) => given.0.as_deref(),
            None => Some(Path::new(DEFAULT_PIDFILE)),
        }
    }
}

#[cfg(feature = "simulate")]
/// Virtual phones as a command line asks for them.
#[derive(Args, Clone, Debug, Default, PartialEq)]
#[command(next_help_heading = "Virtual phones")]
pub struct VirtualPhones {
    /// Play this many virtual phones instead of serving USB [1 if no number is given]
    #[arg(long, value_name = "N", num_args = 0..=1, require_equals = true,
          default_missing_value = "1",
          value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_PHONES)))]
    pub simulate: Option<u32>,

    /// Let a port of every virtual phone lead to a TCP address of this machine (repeatable)
    #[arg(long, value_name = "PORT=ADDR:PORT", requires = "simulate")]
    pub phone_port: Vec<PhonePort>,

    // Not a doc comment: the phone has the names.
    #[arg(long, value_name = "[N:]NAME", requires = "simulate", help = quirk_help())]
    #[allow(missing_docs, reason = "its help is computed")]
    pub phone_quirk: Vec<PhoneQuirk>,
}

#[cfg(feature = "simulate")]
fn quirk_help() -> String {
    let names = usbmux_phone::QUIRK_NAMES.join(" ");
    format!("Make virtual phones misbehave, all or number N (repeatable): {names}")
}

#[cfg(feature = "simulate")]
impl VirtualPhones {
    /// Makes what the phones are made from, by their numbers from 1; none if none were asked for.
    ///
    /// # Errors
    /// A quirk belongs to a phone that will not be there; in words.
    pub fn phones(&self) -> Result<Vec<usbmux_phone::Options>, String> {
        let phones = self.simulate.unwrap_or(0);
        let mut numbers = self.phone_quirk.iter().filter_map(|quirk| quirk.number);
        if let Some(number) = numbers.find(|number| *number > phones) {
            return Err(format!(
                "there is no phone {number} to misbehave: say --simulate={number}"
            ));
        }
        Ok((1..=phones).map(|number| self.phone(number)).collect())
    }

    fn phone(&self, number: u32) -> usbmux_phone::Options {
        let mut phone = usbmux_phone::Options::new(number);
        phone.mapped = self.phone_port.iter().map(|port| (port.port, port.address)).collect();
        let its = |of: Option<u32>| of.is_none_or(|of| of == number);
        let quirks = self.phone_quirk.iter().filter(|quirk| its(quirk.number));
        phone.quirks = quirks.map(|quirk| quirk.quirk).collect();
        phone
    }
}

/// Permission bits, written in octal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketMode(pub u32);

impl FromStr for SocketMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match u32::from_str_radix(text, 8) {
            Ok(bits) if bits <= 0o777 && !text.starts_with('+') => Ok(Self(bits)),
            _ => Err("write permission bits in octal, such as 0660".to_owned()),
        }
    }
}

impl std::fmt::Display for SocketMode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

/// Where to write the process number, if anywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PidFilePath(pub Option<PathBuf>);

impl From<OsString> for PidFilePath {
    fn from(text: OsString) -> Self {
        Self((text != "NONE").then(|| text.into()))
    }
}

#[cfg(feature = "simulate")]
/// A port of the virtual phones that leads to this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PhonePort {
    /// The phone's port.
    pub port: u16,
    /// Where it leads.
    pub address: SocketAddr,
}

#[cfg(feature = "simulate")]
impl FromStr for PhonePort {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once('=').and_then(|(port, address)| {
            let port = port.parse().ok().filter(|port| *port > 0)?;
            Some(Self { port, address: address.parse().ok()? })
        });
        parsed.ok_or_else(|| "write PORT=ADDRESS:PORT, such as 22=127.0.0.1:22".to_owned())
    }
}

/// A quirk of one virtual phone or of all; what names there are only the phone knows.
#[cfg(feature = "simulate")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PhoneQuirk {
    /// The phone's number; none for all phones.
    pub number: Option<u32>,
    /// The quirk.
    pub quirk: usbmux_phone::Quirk,
}

#[cfg(feature = "simulate")]
impl FromStr for PhoneQuirk {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, name) = match text.split_once(':') {
            Some((number, name)) => {
                let number = number.parse().ok().filter(|number| *number > 0);
                (Some(number.ok_or("write N:NAME with a phone's number from 1")?), name)
            }
            None => (None, text),
        };
        match name.parse::<usbmux_phone::Quirk>() {
            Ok(quirk) => Ok(Self { number, quirk }),
            Err(error) => Err(error.to_string()),
        }
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let parsed = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    parsed.ok_or_else(|| "write a number of seconds, such as 30 or 0.5".to_owned())
}

/// Says what is wrong with a command line in one line; none if it only asked for help or the
/// version.
pub fn complaint(error: &clap::Error) -> Option<String> {
    if !error.use_stderr() {
        return None;
    }
    let text = error.render().to_string();
    // Clap tells what is wrong in its first paragraph, and how to use the program below.
    let first = text.split("\n\n").next().unwrap_or_default();
    let first = first.strip_prefix("error: ").unwrap_or(first);
    let line = first.split_whitespace().collect::<Vec<_>>().join(" ");
    Some(format!("{line}; see umuxd --help"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)] // tests

    use super::*;
    use usbmux_trace::file::Size;

    fn parse(line: &str) -> Result<Options, clap::Error> {
        Options::try_parse_from(line.split_whitespace())
    }

    fn refused(line: &str) -> String {
        complaint(&parse(line).unwrap_err()).unwrap()
    }

    #[test]
    fn nothing_asked_gives_the_defaults() {
        let options = parse("umuxd").unwrap();
        assert_eq!(options.socket, None);
        assert_eq!(options.socket_mode, SocketMode(0o666));
        assert_eq!(options.linger, Duration::from_secs(30));
        assert_eq!(options.own_pidfile(), Some(Path::new("/var/run/usbmuxd.pid")));
        assert!(options.hotplug() && !options.exits_without_phones());
        assert_eq!(options.verbose, 0);
    }

    #[test]
    fn options_of_the_reference_daemon_are_understood() {
        let options = parse("umuxd -f -v -v -p -n -S /run/x -C /c -P /p -l /l").unwrap();
        assert_eq!(options.verbose, 2);
        assert!(!options.hotplug());
        assert_eq!(options.socket, Some(Address::Unix("/run/x".into())));
        assert_eq!(options.config_dir, Some("/c".into()));
        assert_eq!(options.logfile, Some("/l".into()));
        assert_eq!(parse("umuxd -U usbmux").unwrap().user.as_deref(), Some("usbmux"));
        assert!(parse("umuxd -x").unwrap().exit && parse("umuxd -X").unwrap().force_exit);
        refused("umuxd -x -X");
    }

    #[test]
    fn options_may_be_repeated_as_the_reference_daemon_has_it_and_the_last_counts() {
        let options = parse("umuxd -s -f -f -z -s -U a -U b -P /p -P NONE").unwrap();
        assert!(options.foreground && options.enable_exit && options.systemd);
        assert_eq!((options.user.as_deref(), options.own_pidfile()), (Some("b"), None));
    }

    #[test]
    fn modes_are_shorthands() {
        for (line, hotplug, exits) in [
            ("umuxd -z", true, true),
            ("umuxd -n", false, false),
            ("umuxd -u", false, true),
            ("umuxd -s", true, true),
        ] {
            let options = parse(line).unwrap();
            assert_eq!((options.hotplug(), options.exits_without_phones()), (hotplug, exits));
        }
    }

    #[test]
    fn pidfile_is_the_system_s_only_beside_the_system_s_socket() {
        let system = Some(Path::new(DEFAULT_PIDFILE));
        for (line, own, others) in [
            ("umuxd", system, system),
            ("umuxd -P /p", Some(Path::new("/p")), Some(Path::new("/p"))),
            ("umuxd -P NONE", None, None),
            ("umuxd -S /s", None, system),
            ("umuxd -S /s -P /p", Some(Path::new("/p")), Some(Path::new("/p"))),
        ] {
            let options = parse(line).unwrap();
            assert_eq!((options.own_pidfile(), options.others_pidfile()), (own, others), "{line}");
        }
    }

    #[test]
    fn trace_has_a_limit_and_no_payload_unless_asked_for() {
        let traces = parse("umuxd --trace f").unwrap().traces;
        assert_eq!(traces.trace, Some("f".into()));
        assert!(traces.trace_limit.is_none() && !traces.trace_payload);
        let traces = parse("umuxd --trace f --trace-limit 2M --trace-payload").unwrap().traces;
        assert_eq!(traces.trace_limit, Some(Size(2 << 20)));
        assert!(traces.trace_payload);
        refused("umuxd --trace-limit 2M");
        refused("umuxd --trace-payload");
        assert!(refused("umuxd --trace f --trace-limit 1K").contains("at least 4K"));
    }

    #[test]
    fn socket_mode_is_octal_permission_bits() {
        assert_eq!(parse("umuxd --socket-mode 660").unwrap().socket_mode, SocketMode(0o660));
        assert_eq!(parse("umuxd --socket-mode 0777").unwrap().socket_mode, SocketMode(0o777));
        for wrong in ["1777", "8", "rw", "-1", "+7", ""] {
            parse(&format!("umuxd --socket-mode={wrong}")).unwrap_err();
        }
    }

    #[test]
    fn complaints_are_one_line_that_says_where_to_look() {
        for line in ["umuxd --nonsense", "umuxd --socket-mode x", "umuxd extra", "umuxd -S"] {
            let complaint = refused(line);
            assert!(complaint.ends_with("; see umuxd --help"), "{complaint}");
            assert!(!complaint.contains('\n') && !complaint.starts_with("error"), "{complaint}");
        }
        assert_eq!(complaint(&parse("umuxd --help").unwrap_err()), None);
        assert_eq!(complaint(&parse("umuxd -V").unwrap_err()), None);
    }

    #[cfg(feature = "simulate")]
    mod simulate {
        use super::*;
        use usbmux_phone::Quirk;

        #[test]
        fn number_of_phones_is_one_unless_given_and_within_its_limit() {
            assert_eq!(parse("umuxd").unwrap().virtual_phones.simulate, None);
            assert_eq!(parse("umuxd --simulate").unwrap().virtual_phones.simulate, Some(1));
            assert_eq!(parse("umuxd --simulate=1").unwrap().virtual_phones.simulate, Some(1));
            assert_eq!(parse("umuxd --simulate=64").unwrap().virtual_phones.simulate, Some(64));
            for wrong in ["0", "65", "-1", "x", ""] {
                parse(&format!("umuxd --simulate={wrong}")).unwrap_err();
            }
        }

        #[test]
        fn ports_and_quirks_belong_to_virtual_phones() {
            let options = parse(
                "umuxd --simulate=2 --phone-port 22=127.0.0.1:2222 --phone-port 80=[::1]:8080 \
                 --phone-quirk v1 --phone-quirk 2:unplug=3",
            )
            .unwrap();
            let port = |port, address: &str| PhonePort { port, address: address.parse().unwrap() };
            assert_eq!(
                options.virtual_phones.phone_port,
                [port(22, "127.0.0.1:2222"), port(80, "[::1]:8080")]
            );
            let unplug = Quirk::Unplug { after: Duration::from_secs(3) };
            assert_eq!(
                options.virtual_phones.phone_quirk,
                [
                    PhoneQuirk { number: None, quirk: Quirk::V1 },
                    PhoneQuirk { number: Some(2), quirk: unplug },
                ]
            );
            refused("umuxd --phone-port 22=127.0.0.1:2222");
            refused("umuxd --phone-quirk v1");
        }

        #[test]
        fn wrong_ports_and_quirks_are_refused() {
            for wrong in ["22", "22=", "0=127.0.0.1:22", "65536=127.0.0.1:22", "22=localhost"] {
                refused(&format!("umuxd --simulate --phone-port {wrong}"));
            }
            for wrong in ["none", ":v1", "0:v1", "x:v1", "1:"] {
                refused(&format!("umuxd --simulate --phone-quirk {wrong}"));
            }
        }
    }
}
