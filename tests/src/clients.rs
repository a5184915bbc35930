//! The clients that everybody has, and what each must get from whatever speaks the socket protocol: a daemon, or a
//! dongle.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test helper: failing loudly is its job")]

use crate::tools::{Running, Server, client, tool};
use std::io::{Read, Write};
use std::process::{Command, Stdio};

/// The UDID of virtual phone 1.
pub const FIRST_PHONE: &str = "00008030-0000000000000001";

/// `idevice_id -l` must print the first phone, and no other.
///
/// # Panics
///
/// When it prints anything else.
pub fn check_idevice_id(server: &impl Server) {
    let Some((status, text)) = client(server, "idevice_id", &["-l"]) else { return };
    assert!(status.success());
    assert_eq!(text, format!("{FIRST_PHONE}\n"));
}

/// What `ideviceinfo -s` must print; it exits with 0 when it got no sense, so its text counts.
///
/// # Panics
///
/// When it prints anything else.
pub fn check_ideviceinfo(server: &impl Server) {
    let Some((_, text)) = client(server, "ideviceinfo", &["-s"]) else { return };
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(&format!("{key}: ")));
    assert_eq!(value("DeviceName"), Some("Virtual Phone 1"), "{text}");
    assert_eq!(value("UniqueDeviceID"), Some(FIRST_PHONE), "{text}");
    for key in ["DeviceClass", "ProductType", "ProductVersion", "BuildVersion"] {
        assert!(value(key).is_some_and(|value| !value.is_empty()), "{key} in {text}");
    }
}

/// Lines through `inetcat 7` come back. It ends with its input, so that is closed after the answer.
///
/// # Panics
///
/// When they do not.
pub fn check_inetcat(server: &impl Server) {
    let Some(program) = tool("inetcat") else { return };
    let mut command = Command::new(program);
    command.arg("7").env("USBMUXD_SOCKET_ADDRESS", server.address());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut inetcat = Running(command.spawn().unwrap());
    let (mut to, mut from) = (inetcat.0.stdin.take().unwrap(), inetcat.0.stdout.take().unwrap());
    for line in [&b"hello\n"[..], b"and again, a little longer\n"] {
        to.write_all(line).unwrap();
        let mut back = vec![0; line.len()];
        from.read_exact(&mut back).unwrap();
        assert_eq!(back, line);
    }
}
