//! Where a daemon listens, as people and programs write it.
//!
//! No spelling is understood by every client: libusbmuxd wants `UNIX:/path`, pymobiledevice3 a bare
//! path, both take `host:port`. This module reads all of them, for `USBMUXD_SOCKET_ADDRESS`,
//! `umux --socket` and `umuxd --socket` alike (PROTOCOL §5). It opens nothing: names are resolved
//! by whoever connects or binds.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// The environment variable in which clients look for the daemon.
pub const ENVIRONMENT_VARIABLE: &str = "USBMUXD_SOCKET_ADDRESS";

/// Where the daemon listens on Unix systems unless told otherwise.
pub const DEFAULT_PATH: &str = "/var/run/usbmuxd";

/// The TCP port of the socket protocol, the default on systems without Unix sockets.
pub const DEFAULT_PORT: u16 = 27015;

const UNIX_PREFIX: &str = "UNIX:";

/// The address of a daemon's socket.
///
/// Printing one gives a spelling that parses back to it and that libusbmuxd understands.
///
/// ```
/// use usbmux_host::address::Address;
/// let address: Address = "unix:/var/run/usbmuxd".parse()?;
/// assert_eq!(address.to_string(), "UNIX:/var/run/usbmuxd");
/// let address: Address = "[::1]:27015".parse()?;
/// assert_eq!(address, Address::Tcp { host: "::1".into(), port: 27015 });
/// # Ok::<(), usbmux_host::address::AddressError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// A Unix socket by its path.
    Unix(PathBuf),
    /// A TCP port of a host.
    Tcp {
        /// A name or an IP address; an IPv6 address stands here without its brackets.
        host: String,
        /// The port; 0 makes sense to bind only.
        port: u16,
    },
}

impl Address {
    /// The address that is used when nobody says anything.
    pub fn platform_default() -> Self {
        if cfg!(unix) {
            Address::Unix(PathBuf::from(DEFAULT_PATH))
        } else {
            Address::Tcp { host: "127.0.0.1".to_owned(), port: DEFAULT_PORT }
        }
    }

    /// Reads the value of [`ENVIRONMENT_VARIABLE`]; an empty one counts as not set.
    ///
    /// # Errors
    /// The value is set and is no address.
    pub fn from_variable(value: Option<OsString>) -> Result<Option<Self>, AddressError> {
        let Some(value) = value.filter(|value| !value.is_empty()) else { return Ok(None) };
        let text = value.into_string().map_err(|value| AddressError {
            text: value.to_string_lossy().into_owned(),
            what: Mistake::NotUtf8,
        })?;
        text.parse().map(Some)
    }

    /// The address a client uses: from this process's environment, else the platform's default.
    ///
    /// # Errors
    /// The variable is set and is no address.
    pub fn from_environment() -> Result<Self, AddressError> {
        let variable = Self::from_variable(std::env::var_os(ENVIRONMENT_VARIABLE))?;
        Ok(variable.unwrap_or_else(Self::platform_default))
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        parse(text).map_err(|what| AddressError { text: text.to_owned(), what })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Unix(path) => write!(f, "{UNIX_PREFIX}{}", path.display()),
            Address::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Address::Tcp { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

/// A text that is no address. It prints as one line that says how to write one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressError {
    text: String,
    what: Mistake,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mistake {
    Empty,
    EmptyPath,
    NotUtf8,
    ContainsNul,
    EmptyHost,
    NoPort,
    BadPort,
    BareV6,
    UnclosedBracket,
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.what {
            Mistake::Empty => "it is empty",
            Mistake::EmptyPath => "no path follows UNIX:",
            Mistake::NotUtf8 => "it is not UTF-8",
            Mistake::ContainsNul => "it contains a NUL",
            Mistake::EmptyHost => "no host stands in front of the port",
            Mistake::NoPort => "the port is missing",
            Mistake::BadPort => "the port is not a number from 0 to 65535",
            Mistake::BareV6 => "an IPv6 address needs brackets",
            Mistake::UnclosedBracket => "the bracket is not closed",
        };
        write!(
            f,
            "{:?} is no socket address: {what}; write UNIX:/path, /path, host:port or [v6]:port",
            self.text
        )
    }
}

impl std::error::Error for AddressError {}

fn parse(text: &str) -> Result<Address, Mistake> {
    if text.is_empty() {
        return Err(Mistake::Empty);
    }
    if text.contains('\0') {
        return Err(Mistake::ContainsNul);
    }
    if let Some((prefix, path)) = text.split_at_checked(UNIX_PREFIX.len())
        && prefix.eq_ignore_ascii_case(UNIX_PREFIX)
    {
        if path.is_empty() {
            return Err(Mistake::EmptyPath);
        }
        return Ok(Address::Unix(PathBuf::from(path)));
    }
    // No host name contains a slash, and a bare path without one would be taken for a host.
    if text.contains('/') {
        return Ok(Address::Unix(PathBuf::from(text)));
    }
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']').ok_or(Mistake::UnclosedBracket)?;
            (host, rest.strip_prefix(':').ok_or(Mistake::NoPort)?)
        }
        None => text.rsplit_once(':').ok_or(Mistake::NoPort)?,
    };
    if host.is_empty() {
        return Err(Mistake::EmptyHost);
    }
    if !text.starts_with('[') && host.contains(':') {
        return Err(Mistake::BareV6);
    }
    // `u16::from_str` would take a sign.
    if !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Mistake::BadPort);
    }
    let port = port.parse().map_err(|_| Mistake::BadPort)?;
    Ok(Address::Tcp { host: host.to_owned(), port })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
    use super::*;

    fn unix(path: &str) -> Result<Address, Mistake> {
        Ok(Address::Unix(PathBuf::from(path)))
    }

    fn tcp(host: &str, port: u16) -> Result<Address, Mistake> {
        Ok(Address::Tcp { host: host.to_owned(), port })
    }

    #[test]
    fn every_spelling_is_understood() {
        let cases = [
            ("UNIX:/var/run/usbmuxd", unix("/var/run/usbmuxd")),
            ("unix:/var/run/usbmuxd", unix("/var/run/usbmuxd")),
            ("Unix:relative", unix("relative")),
            ("/var/run/usbmuxd", unix("/var/run/usbmuxd")),
            ("./socket", unix("./socket")),
            ("/tmp/odd:27015", unix("/tmp/odd:27015")),
            ("127.0.0.1:27015", tcp("127.0.0.1", 27015)),
            ("localhost:0", tcp("localhost", 0)),
            ("dongle.local:65535", tcp("dongle.local", 65535)),
            ("[::1]:27015", tcp("::1", 27015)),
            ("[fe80::1%eth0]:1", tcp("fe80::1%eth0", 1)),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text), expected, "{text}");
        }
    }

    #[test]
    fn every_mistake_is_named() {
        let cases = [
            ("", Mistake::Empty),
            ("UNIX:", Mistake::EmptyPath),
            ("/a\0b", Mistake::ContainsNul),
            ("usbmuxd", Mistake::NoPort),
            ("[::1]", Mistake::NoPort),
            ("[::1]27015", Mistake::NoPort),
            (":27015", Mistake::EmptyHost),
            ("[]:27015", Mistake::EmptyHost),
            ("::1:27015", Mistake::BareV6),
            ("[::1:27015", Mistake::UnclosedBracket),
            ("host:", Mistake::BadPort),
            ("host:65536", Mistake::BadPort),
            ("host:+1", Mistake::BadPort),
            ("host:ssh", Mistake::BadPort),
            ("ü:x", Mistake::BadPort),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text), Err(expected), "{text}");
        }
    }

    #[test]
    fn an_error_is_one_line_that_shows_the_text_and_the_grammar() {
        let error = "a\nb".parse::<Address>().unwrap_err().to_string();
        assert_eq!(
            error,
            "\"a\\nb\" is no socket address: the port is missing; \
             write UNIX:/path, /path, host:port or [v6]:port"
        );
    }

    #[test]
    fn what_is_printed_parses_back() {
        for text in ["UNIX:/a b", "localhost:1", "[::1]:27015", "10.0.0.1:27015"] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string(), text);
            assert_eq!(address.to_string().parse::<Address>().unwrap(), address);
        }
    }

    #[test]
    fn an_empty_variable_counts_as_not_set() {
        assert_eq!(Address::from_variable(None), Ok(None));
        assert_eq!(Address::from_variable(Some(OsString::new())), Ok(None));
        let set = Address::from_variable(Some("UNIX:/x".into()));
        assert_eq!(set, Ok(Some(Address::Unix(PathBuf::from("/x")))));
        assert!(Address::from_variable(Some("x".into())).is_err());
    }
}
