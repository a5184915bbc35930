//! What a virtual phone is made from: its number, its quirks, its mapped ports.
//!
//! Only values and their spelling stand here; what a quirk does stands where the phone does it.

use core::fmt;
use core::str::FromStr;
use core::time::Duration;
use std::net::SocketAddr;

/// The packet size of a bulk endpoint at high speed, in bytes (USB 2.0 §5.8.3).
pub const HIGH_SPEED_PACKET: u16 = 512;
/// The packet size of a bulk endpoint at super speed, in bytes (USB 3.2 §9.6.6).
pub const SUPER_SPEED_PACKET: u16 = 1024;

/// Everything that distinguishes one virtual phone from another.
///
/// Made with [`Options::new`], then changed field by field, so that a new field breaks nobody.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// The phone's number: the tail of its serial and of its name.
    pub number: u32,
    /// What is wrong with it; nothing by default.
    pub quirks: Quirks,
    /// Ports behind which a TCP server of this machine stands, as (port of the phone, address).
    ///
    /// A mapped port takes precedence over a service of the phone's own; of two mappings of one
    /// port the later one counts.
    pub mapped: Vec<(u16, SocketAddr)>,
    /// wMaxPacketSize of both bulk endpoints: 64 at full, 512 at high, 1024 at super speed.
    pub max_packet: u16,
    /// Longest frame that it sends, in bytes; real ones send 32764 (PROTOCOL §3), 65535 is the cap.
    pub max_frame: u16,
}

impl Options {
    /// An ordinary phone with this number, at high speed.
    pub fn new(number: u32) -> Self {
        Options {
            number,
            quirks: Quirks::default(),
            mapped: Vec::new(),
            max_packet: HIGH_SPEED_PACKET,
            max_frame: usbmux_core::Config::PHONE.max_frame,
        }
    }
}

/// One way in which a phone can be odd or faulty, by the name that command lines use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Quirk {
    /// `lenient-seq`: a wrong tx_seq is counted and forgiven instead of ending the session.
    LenientSeq,
    /// `stale-session`: when plugged in, the phone still sends frames of an older session.
    StaleSession,
    /// `trailing-bytes`: a few bytes follow the declared length of every frame it sends.
    TrailingBytes,
    /// `v1`: it speaks version 1 only: short headers, no sequence numbers, no SETUP.
    V1,
    /// `tiny-window`: its windows are 256 to 1024 bytes.
    TinyWindow,
    /// `overrun`: it sends without regard to the host's window.
    Overrun,
    /// `silent-version` or `silent-version=N`: it ignores VERSION, for ever or `N` times; a port
    /// reset after the first of them cures it.
    SilentVersion {
        /// How many VERSION frames it ignores; `None` is all of them.
        times: Option<u32>,
    },
    /// `silent-connect`: it neither accepts nor refuses any connection.
    SilentConnect,
    /// `slow`: its programs read little at a time.
    Slow,
    /// `rst-text`: it resets every connection in mid-stream, with a textual reason.
    RstText,
    /// `unplug=SECONDS`: somebody pulls the cable after that time; fractions are allowed.
    Unplug {
        /// How long after it was plugged in.
        after: Duration,
    },
    /// `replug=SECONDS`: with `unplug`, somebody plugs it in again that long afterwards, each time.
    ///
    /// The hand is a daemon's, or the simulated board's; where nobody plugs phones in, as in QEMU,
    /// it does nothing.
    Replug {
        /// How long after the cable was pulled.
        after: Duration,
    },
    /// `lost-transfer` or `lost-transfer=N`: the OUT transfer number `N` after plugging in (counted
    /// from 1) never reaches it, once, so that the next tx_seq is wrong.
    LostTransfer {
        /// Which transfer is lost.
        number: u32,
    },
    /// `stall-mode`: it stalls the vendor requests about modes. This and the next two are about
    /// endpoint zero, which only a phone on a USB plug has.
    StallMode,
    /// `silent-mode`: it never answers the vendor requests about modes.
    SilentMode,
    /// `no-mux`: none of its configurations has the mux interface.
    NoMux,
}

/// Which OUT transfer the bare name `lost-transfer` loses: one well inside a first dialog.
const LOST_TRANSFER: u32 = 20;

/// The names as a command line's help shows them.
pub const QUIRK_NAMES: &[&str] = &[
    "lenient-seq",
    "stale-session",
    "trailing-bytes",
    "v1",
    "tiny-window",
    "overrun",
    "silent-version[=N]",
    "silent-connect",
    "slow",
    "rst-text",
    "unplug=SECONDS",
    "replug=SECONDS",
    "lost-transfer[=N]",
    "stall-mode",
    "silent-mode",
    "no-mux",
];

/// A quirk's name was not understood; displays as a line that says which there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownQuirk {
    spelling: String,
}

impl fmt::Display for UnknownQuirk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown phone quirk '{}'; there are: ", self.spelling)?;
        f.write_str(&QUIRK_NAMES.join(", "))
    }
}

impl std::error::Error for UnknownQuirk {}

impl FromStr for Quirk {
    type Err = UnknownQuirk;

    fn from_str(text: &str) -> Result<Self, UnknownQuirk> {
        let unknown = || UnknownQuirk { spelling: text.to_owned() };
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (text, None),
        };
        let seconds = || {
            let seconds = value.and_then(|value| value.parse::<f64>().ok());
            seconds.and_then(|s| Duration::try_from_secs_f64(s).ok()).ok_or_else(unknown)
        };
        let number = || value.map(|value| value.parse::<u32>().map_err(|_| unknown())).transpose();
        let quirk = match name {
            "silent-version" => Quirk::SilentVersion { times: number()? },
            "lost-transfer" => match number()? {
                Some(0) => return Err(unknown()),
                number => Quirk::LostTransfer { number: number.unwrap_or(LOST_TRANSFER) },
            },
            "unplug" => Quirk::Unplug { after: seconds()? },
            "replug" => Quirk::Replug { after: seconds()? },
            _ if value.is_some() => return Err(unknown()),
            "lenient-seq" => Quirk::LenientSeq,
            "stale-session" => Quirk::StaleSession,
            "trailing-bytes" => Quirk::TrailingBytes,
            "v1" => Quirk::V1,
            "tiny-window" => Quirk::TinyWindow,
            "overrun" => Quirk::Overrun,
            "silent-connect" => Quirk::SilentConnect,
            "slow" => Quirk::Slow,
            "stall-mode" => Quirk::StallMode,
            "silent-mode" => Quirk::SilentMode,
            "no-mux" => Quirk::NoMux,
            "rst-text" => Quirk::RstText,
            _ => return Err(unknown()),
        };
        Ok(quirk)
    }
}

impl fmt::Display for Quirk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Quirk::LenientSeq => "lenient-seq",
            Quirk::StaleSession => "stale-session",
            Quirk::TrailingBytes => "trailing-bytes",
            Quirk::V1 => "v1",
            Quirk::TinyWindow => "tiny-window",
            Quirk::Overrun => "overrun",
            Quirk::SilentConnect => "silent-connect",
            Quirk::Slow => "slow",
            Quirk::StallMode => "stall-mode",
            Quirk::SilentMode => "silent-mode",
            Quirk::NoMux => "no-mux",
            Quirk::RstText => "rst-text",
            Quirk::SilentVersion { times: None } => "silent-version",
            Quirk::SilentVersion { times: Some(times) } => {
                return write!(f, "silent-version={times}");
            }
            Quirk::Unplug { after } => return write!(f, "unplug={}", after.as_secs_f64()),
            Quirk::Replug { after } => return write!(f, "replug={}", after.as_secs_f64()),
            Quirk::LostTransfer { number } => return write!(f, "lost-transfer={number}"),
        })
    }
}

/// The quirks of one phone; of two that contradict each other the later one counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quirks(Vec<Quirk>);

impl Quirks {
    /// Adds a quirk.
    pub fn push(&mut self, quirk: Quirk) {
        self.0.push(quirk);
    }

    /// The quirks in the order in which they were added.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Quirk> {
        self.0.iter()
    }

    /// Whether the phone has exactly this quirk.
    pub fn contains(&self, quirk: Quirk) -> bool {
        self.0.contains(&quirk)
    }
}

impl FromIterator<Quirk> for Quirks {
    fn from_iter<I: IntoIterator<Item = Quirk>>(quirks: I) -> Self {
        Quirks(quirks.into_iter().collect())
    }
}

impl Extend<Quirk> for Quirks {
    fn extend<I: IntoIterator<Item = Quirk>>(&mut self, quirks: I) {
        self.0.extend(quirks);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn every_name_is_read_and_shown_the_same() {
        for name in [
            "lenient-seq",
            "stale-session",
            "trailing-bytes",
            "v1",
            "tiny-window",
            "overrun",
            "silent-version",
            "silent-version=2",
            "slow",
            "rst-text",
            "unplug=3",
            "unplug=0.25",
            "replug=0.5",
            "lost-transfer=7",
            "silent-connect",
            "stall-mode",
            "silent-mode",
            "no-mux",
        ] {
            assert_eq!(name.parse::<Quirk>().unwrap().to_string(), name);
        }
        assert_eq!("lost-transfer".parse(), Ok(Quirk::LostTransfer { number: LOST_TRANSFER }));
    }

    #[test]
    fn nonsense_is_refused_with_the_list() {
        for name in
            ["", "V1", "slow=1", "unplug", "unplug=-1", "unplug=x", "replug", "lost-transfer=0"]
        {
            let refused = name.parse::<Quirk>().unwrap_err().to_string();
            assert!(refused.contains(&format!("'{name}'")) && refused.contains("rst-text"));
        }
    }
}
