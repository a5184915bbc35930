//! Pair records that are none, that are too large, or that cannot be kept.

use super::bystander::Bystander;
use plist::{Dictionary, Value};
use std::fs;
use std::path::{Path, PathBuf};
use usbmux_tests::daemon_process::Daemon;
use usbmux_tests::random::pattern;
use usbmux_tests::socket::{Client, Message, request};

const ID: &str = "00008030-001A2B3C4D5E6F70";

/// A binary record whose one value has so many bytes.
fn record(length: usize) -> Vec<u8> {
    let mut dictionary = Dictionary::new();
    dictionary.insert("HostCertificate".into(), Value::Data(pattern(1, 0, length)));
    let mut bytes = Vec::new();
    Value::Dictionary(dictionary).to_writer_binary(&mut bytes).unwrap();
    bytes
}

fn about(message: &str, id: &str, data: Option<&[u8]>) -> Vec<u8> {
    let mut keys = vec![("PairRecordID", Value::from(id))];
    keys.extend(data.map(|data| ("PairRecordData", Value::Data(data.to_vec()))));
    request(5, message, &keys)
}

fn result(client: &mut Client, message: &[u8]) -> u64 {
    client.send(message).unwrap();
    client.receive().unwrap().number("Number").unwrap()
}

fn read(client: &mut Client, id: &str) -> Result<Vec<u8>, u64> {
    client.send(&about("ReadPairRecord", id, None)).unwrap();
    let answer = client.receive().unwrap();
    match answer.dictionary().get("PairRecordData") {
        Some(data) => Ok(data.as_data().unwrap().to_vec()),
        None => Err(answer.number("Number").unwrap()),
    }
}

/// Everything in the daemon's folder, by path.
fn tree(folder: &Path) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            paths.extend(tree(&path));
        }
        paths.push(path);
    }
    paths.sort();
    paths
}

#[test]
fn ids_that_are_no_names_are_refused_and_touch_nothing() {
    let daemon = Daemon::start_prepared(1, &[], |folder| {
        fs::write(folder.join("x.plist"), b"outside").unwrap();
        fs::write(folder.parent().unwrap().join("y.plist"), b"outside").unwrap();
    });
    let bystander = Bystander::of(&daemon);
    let before = tree(daemon.folder());
    let long = "A".repeat(10_000);
    let absolute = daemon.folder().join("z").display().to_string();
    let mut client = daemon.client();
    for id in [
        "",
        ".",
        "..",
        "../y",
        "a/b",
        "/",
        &absolute,
        "..\\x",
        "a b",
        "ä",
        "A\n",
        "A.plist",
        &long,
        "SystemConfiguration",
        "%2e%2e",
    ] {
        let data = record(10);
        for message in ["ReadPairRecord", "SavePairRecord", "DeletePairRecord"] {
            let data = (message == "SavePairRecord").then_some(&*data);
            assert_eq!(result(&mut client, &about(message, id, data)), 22, "{message} {id:?}");
        }
    }
    // XML has no NUL: such a document is none, or its id is.
    for message in ["ReadPairRecord", "SavePairRecord", "DeletePairRecord"] {
        let code = result(&mut client, &about(message, "A\0", Some(&record(10))));
        assert!([1, 22].contains(&code), "{message} {code}");
        assert_eq!(result(&mut client, &request(5, message, &[])), 22);
    }
    assert_eq!(tree(daemon.folder()), before);
    bystander.was_undisturbed(&daemon);
}

#[test]
fn record_in_a_message_of_60_kilobytes_comes_back_whole() {
    let daemon = Daemon::start(1, &[]);
    let bystander = Bystander::of(&daemon);
    let mut client = daemon.client();
    let record = record(44_000);
    let message = about("SavePairRecord", ID, Some(&record));
    assert!((60_000..=65_536).contains(&message.len()), "{}", message.len());
    assert_eq!(result(&mut client, &message), 0);
    assert_eq!(read(&mut client, ID), Ok(record));
    bystander.was_undisturbed(&daemon);
}

#[test]
fn record_of_60_kilobytes_is_read_from_disk_but_its_message_is_too_long() {
    let large = record(60_000);
    let daemon = Daemon::start_prepared(1, &[], |folder| {
        fs::write(folder.join(format!("{ID}.plist")), &large).unwrap();
    });
    let bystander = Bystander::of(&daemon);
    let mut client = daemon.client();
    assert_eq!(read(&mut client, ID).as_ref(), Ok(&large));
    let message = about("SavePairRecord", "NEW", Some(&large));
    assert!(message.len() > 65_536);
    let _ = client.send(&message);
    assert!(client.hung_up().unwrap());
    assert!(!daemon.config_dir.join("NEW.plist").exists());
    bystander.was_undisturbed(&daemon);
}

#[test]
fn record_of_a_megabyte_on_disk_is_refused_and_said_so() {
    let daemon = Daemon::start_prepared(1, &[], |folder| {
        fs::write(folder.join(format!("{ID}.plist")), record(1_000_000)).unwrap();
        fs::write(folder.join("SystemConfiguration.plist"), record(1_000_000)).unwrap();
    });
    let bystander = Bystander::of(&daemon);
    let mut client = daemon.client();
    assert_eq!(read(&mut client, ID), Err(27), "EFBIG");
    let line = daemon.log.wait_for(ID);
    assert!(line.contains("cannot read") && line.contains("File too large"), "{line}");
    assert_eq!(client.ask(5, "ReadBUID", &[]).unwrap(), Message::result(5, 27));
    // It can be replaced by one that fits, and what was the system's identity stays.
    assert_eq!(result(&mut client, &about("SavePairRecord", ID, Some(&record(100)))), 0);
    assert_eq!(read(&mut client, ID), Ok(record(100)));
    let configuration = fs::read(daemon.config_dir.join("SystemConfiguration.plist")).unwrap();
    assert!(configuration == record(1_000_000));
    bystander.was_undisturbed(&daemon);
}

#[test]
fn unusable_folder_is_told_by_its_errno_and_one_line() {
    // A file, and a link to itself: not even root can use them as folders.
    for (kind, errno, text) in [("file", 20, "Not a directory"), ("link", 40, "symbolic links")] {
        let daemon = Daemon::start_prepared(1, &[], |folder| {
            fs::remove_dir(folder).unwrap();
            match kind {
                "file" => fs::write(folder, b"").unwrap(),
                _ => std::os::unix::fs::symlink(folder, folder).unwrap(),
            }
        });
        let bystander = Bystander::of(&daemon);
        let mut client = daemon.client();
        assert_eq!(read(&mut client, ID), Err(errno), "{kind}");
        assert!(daemon.log.wait_for("cannot read").contains(text), "{kind}");
        assert_eq!(result(&mut client, &about("DeletePairRecord", ID, None)), errno, "{kind}");
        let saved = result(&mut client, &about("SavePairRecord", ID, Some(&record(10))));
        assert!([17, errno].contains(&saved), "{kind}: {saved}");
        assert!(daemon.log.wait_for("cannot write").contains(ID), "{kind}");
        assert_ne!(client.ask(5, "ReadBUID", &[]).unwrap().number("Number"), Some(0));
        bystander.was_undisturbed(&daemon);
    }
}

#[test]
fn folder_without_permission_is_told_by_its_errno() {
    use std::os::unix::fs::PermissionsExt;
    // Root may do everything, unless it has given its capabilities away.
    let powerless =
        r#"[ "$(id -u)" != 0 ] || set -- setpriv --inh-caps=-all --bounding-set=-all "$@""#;
    let daemon = Daemon::start_after(powerless, 1, &[]);
    fs::set_permissions(&daemon.config_dir, fs::Permissions::from_mode(0o000)).unwrap();
    let bystander = Bystander::of(&daemon);
    let mut client = daemon.client();
    assert_eq!(read(&mut client, ID), Err(13));
    assert_eq!(result(&mut client, &about("SavePairRecord", ID, Some(&record(10)))), 13);
    fs::set_permissions(&daemon.config_dir, fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(result(&mut client, &about("SavePairRecord", ID, Some(&record(10)))), 0);
    bystander.was_undisturbed(&daemon);
}

#[test]
fn record_that_finds_no_room_leaves_the_old_one_whole() {
    // No file may be longer than 8 KiB: a write ends in its middle, as on a full disk.
    let daemon = Daemon::start_after("trap '' XFSZ; ulimit -f 16", 1, &[]);
    let bystander = Bystander::of(&daemon);
    let mut client = daemon.client();
    let small = record(100);
    assert_eq!(result(&mut client, &about("SavePairRecord", ID, Some(&small))), 0);
    let before = tree(daemon.folder());
    let large = about("SavePairRecord", ID, Some(&record(30_000)));
    assert_eq!(result(&mut client, &large), 27, "EFBIG");
    assert!(daemon.log.wait_for("cannot write").contains(ID));
    assert_eq!(read(&mut client, ID), Ok(small));
    assert_eq!(tree(daemon.folder()), before, "nothing half-written stays");
    bystander.was_undisturbed(&daemon);
}

#[test]
fn folder_that_is_full_takes_no_new_record_but_keeps_its_own() {
    const MOST: usize = 16 * 1024;
    const FULL: u64 = 28; // ENOSPC
    let daemon = Daemon::start_prepared(1, &[], |folder| {
        for number in 0..MOST - 1 {
            fs::write(folder.join(format!("{number}.plist")), b"").unwrap();
        }
    });
    let bystander = Bystander::of(&daemon);
    let mut client = daemon.client();
    let save = |id, length| about("SavePairRecord", id, Some(&record(length)));
    assert_eq!(result(&mut client, &save(ID, 10)), 0, "one place is left");
    assert_eq!(result(&mut client, &save("NEW", 10)), FULL);
    assert!(daemon.log.wait_for("cannot write").contains("NEW"));
    assert!(!daemon.config_dir.join("NEW.plist").exists());
    assert_eq!(result(&mut client, &save(ID, 20)), 0, "a record can be replaced");
    assert_eq!(read(&mut client, ID), Ok(record(20)));
    assert_eq!(result(&mut client, &about("DeletePairRecord", ID, None)), 0);
    assert_eq!(result(&mut client, &save("NEW", 10)), 0, "and make room");
    bystander.was_undisturbed(&daemon);
}
