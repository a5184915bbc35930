//! The same requests at the dongle and at `umuxd`: the answers mean the same.

use std::path::Path;

use plist::Value;
use usbmux_dongle::talk::PhoneInfo;
use usbmux_tests::daemon_process::Daemon;
use usbmux_tests::random::{Random, seeds};
use usbmux_tests::socket::{Client, Message};

use crate::desk::{BUID, Desk, Fate, ask};
use crate::wording::{Wording, random_request};

/// Slices of requests: all small ones, those around a header, and more than any request.
const SLICES: [usize; 22] =
    [1, 2, 3, 4, 5, 7, 8, 11, 13, 15, 16, 17, 19, 23, 31, 32, 33, 64, 100, 255, 511, 100_000];

fn captures(folder: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/captures").join(folder)
}

fn with_buid(config_dir: &Path) {
    let mut configuration = plist::Dictionary::new();
    configuration.insert("SystemBUID".into(), BUID.into());
    Value::Dictionary(configuration)
        .to_file_xml(config_dir.join("SystemConfiguration.plist"))
        .unwrap();
}

/// Makes the dongle's phone the one that the daemon has.
fn same_phone(daemon: &Daemon) -> PhoneInfo {
    let answer = daemon.client().ask(3, "ListDevices", &[]).unwrap();
    let list = answer.dictionary().get("DeviceList").and_then(Value::as_array).unwrap();
    let attached = list[0].as_dictionary().unwrap();
    let properties = attached.get("Properties").and_then(Value::as_dictionary).unwrap();
    let number = |key: &str| properties.get(key).and_then(Value::as_unsigned_integer).unwrap();
    let serial = properties.get("SerialNumber").and_then(Value::as_string).unwrap();
    PhoneInfo {
        device_id: number("DeviceID").try_into().unwrap(),
        product_id: number("ProductID").try_into().unwrap(),
        location_id: number("LocationID").try_into().unwrap(),
        serial: serial.try_into().unwrap(),
        speed: number("ConnectionSpeed").try_into().unwrap(),
    }
}

/// Says the same to both. The dongle hears it in each slicing, the daemon once.
fn compare(
    name: &str,
    request: &[u8],
    desk: &mut Desk,
    daemon: &Daemon,
    slices: &[usize],
) -> Vec<Message> {
    let before = desk.clone();
    let (ours, fate) = ask(desk, request, request.len());
    for &slice in slices {
        let mut desk = before.clone();
        let answers = ask(&mut desk, request, slice);
        assert_eq!(answers, (ours.clone(), fate), "{name} in slices of {slice}");
    }
    let mut client = daemon.client();
    // A daemon that hangs up early does not want the rest.
    let _sent = client.send(request);
    for ours in &ours {
        let theirs = client.receive().unwrap_or_else(|error| panic!("{name}: {error}: {ours:?}"));
        assert_eq!(*ours, theirs, "{name}");
    }
    let buid = |client: &mut Client| client.ask(0x1234, "ReadBUID", &[]).unwrap();
    match fate {
        Fate::Closed => assert!(client.hung_up().unwrap(), "{name}: the daemon goes on"),
        Fate::Open => assert_eq!(buid(&mut client).text("BUID"), Some(BUID), "{name}"),
        Fate::Listening => {
            assert_eq!(buid(&mut client), Message::result(0x1234, 1), "{name}");
            assert!(client.hung_up().unwrap(), "{name}");
        }
        Fate::Piped => {}
    }
    ours
}

#[test]
fn requests_of_real_clients_are_answered_as_by_the_daemon() {
    let daemon = Daemon::start_prepared(1, &["--phone-port=22=127.0.0.1:9"], with_buid);
    // Nobody listens on port 9 of this machine, so port 22 of the phone refuses.
    let mut desk = Desk { phone: Some(same_phone(&daemon)), ..Desk::new() };
    desk.ports = vec![7, 9, 19, 62078];
    let table = std::fs::read_to_string(captures("../requests.tsv")).unwrap();
    let mut count = 0;
    for line in table.lines().filter(|line| !line.starts_with('#')) {
        let mut columns = line.split('\t');
        let (program, file) = (columns.next().unwrap(), columns.next().unwrap());
        if file.contains("stream") {
            continue;
        }
        let path = captures("requests").join(program).join(file);
        let request = std::fs::read(path).unwrap();
        compare(&format!("{program}/{file}"), &request, &mut desk, &daemon, &SLICES);
        count += 1;
    }
    assert!(count >= 90, "only {count} requests");
    assert!(desk.store.count() > 0, "no client saved a record");
}

#[test]
fn cases_of_the_reference_daemon_are_answered_as_by_umuxd() {
    let daemon = Daemon::start_without_phones(with_buid);
    let mut desk = Desk::new();
    let summary = std::fs::read_to_string(captures("reference-daemon/SUMMARY.txt")).unwrap();
    let names: Vec<&str> =
        summary.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert!(names.len() >= 40, "only {} cases", names.len());
    for name in names {
        let path = captures("reference-daemon").join(format!("{name}.req.bin"));
        compare(name, &std::fs::read(path).unwrap(), &mut desk, &daemon, &SLICES);
    }
}

#[test]
fn requests_in_any_wording_are_answered_as_by_the_daemon() {
    let daemon = Daemon::start_prepared(1, &[], with_buid);
    let mut desk = Desk { phone: Some(same_phone(&daemon)), ..Desk::new() };
    desk.ports = vec![7, 9, 19, 62078];
    let (mut understood, mut refused) = (0, 0);
    for seed in seeds(600) {
        let mut random = Random::new(seed);
        let body = random_request(&mut random, Wording::Understood);
        let request = usbmux_tests::socket::message_bytes(1, 8, 7, body.as_bytes());
        let slice = random.between(1, 700);
        let name = format!("USBMUX_SEED={seed}: {body}");
        let answer = compare(&name, &request, &mut desk, &daemon, &[1, slice]).remove(0);
        *if answer.number("Number") == Some(1) { &mut refused } else { &mut understood } += 1;
    }
    println!("{understood} requests understood, {refused} refused as bad commands");
}
