//! The clients that everybody has, each doing what it is for.

use std::env;
use std::process::Command;
use usbmux_tests::clients::{FIRST_PHONE, check_ideviceinfo, check_inetcat};
use usbmux_tests::daemon_process::Daemon;
use usbmux_tests::tools::{client, missing, run};

#[test]
fn idevice_id_lists_the_phones() {
    let daemon = Daemon::start(3, &[]);
    let Some((status, text)) = client(&daemon, "idevice_id", &["-l"]) else { return };
    assert!(status.success());
    let mut phones: Vec<&str> = text.lines().collect();
    phones.sort_unstable();
    let expected = [FIRST_PHONE, "00008030-0000000000000002", "00008030-0000000000000003"];
    assert_eq!(phones, expected);
}

#[test]
fn ideviceinfo_prints_the_phones_values() {
    let daemon = Daemon::start(1, &[]);
    check_ideviceinfo(&daemon);
}

#[test]
fn ideviceinfo_gets_a_single_value() {
    let daemon = Daemon::start(1, &[]);
    let arguments = ["-s", "-k", "DeviceName"];
    let Some((_, text)) = client(&daemon, "ideviceinfo", &arguments) else { return };
    assert_eq!(text, "Virtual Phone 1\n");
}

#[test]
fn inetcat_gets_an_echo() {
    let daemon = Daemon::start(1, &[]);
    check_inetcat(&daemon);
}

#[test]
fn a_port_where_nothing_listens_is_refused() {
    let daemon = Daemon::start(1, &[]);
    let mut raw = daemon.client();
    assert_eq!(raw.connect_port(1, 99).unwrap(), 3);
    assert_eq!(raw.connect_port(2, 7).unwrap(), 2, "there is no such phone");
    assert_eq!(raw.connect_port(1, 7).unwrap(), 0, "the socket stayed in command mode");
    let Some((status, text)) = client(&daemon, "inetcat", &["99"]) else { return };
    assert!(!status.success());
    assert_eq!(text, "");
}

#[test]
fn pymobiledevice3_lists_the_phone() {
    let Some(program) = env::var_os("USBMUX_PYMOBILEDEVICE3") else {
        return missing("pymobiledevice3 (USBMUX_PYMOBILEDEVICE3)");
    };
    let daemon = Daemon::start(1, &[]);
    let mut command = Command::new(program);
    command.args(["usbmux", "list", "--usbmux"]).arg(&daemon.socket);
    let output = run(&mut command, b"");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains(FIRST_PHONE) && text.contains("Virtual Phone 1"), "{text}");
}

#[test]
fn umux_lists_the_phone_too() {
    let daemon = Daemon::start(1, &[]);
    let mut command = Command::new(usbmux_tests::daemon_process::program("umux"));
    command.arg("list").env("USBMUXD_SOCKET_ADDRESS", daemon.address());
    let output = run(&mut command, b"");
    assert!(String::from_utf8_lossy(&output.stdout).starts_with(FIRST_PHONE));
    assert!(output.status.success());
}
