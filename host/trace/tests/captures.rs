//! Captures of a real USB stack (`tests/captures-usbmon`, made by `tests/real-usb/capture`) and traces of umuxd's
//! own (`tests/traces`, from its virtual phone with the quirk in the name): what is said of each in the end is
//! in `diagnoses.txt` of their folder, and some have their whole ladder in a file beside them.
//!
//! `USBMUX_BLESS=1` writes these files anew, after new captures; then they are to be read.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::read;

/// Where the files are, and those whose ladder is kept whole.
const FOLDERS: [(&str, &[&str]); 2] = [
    ("captures-usbmon", &["umuxd", "usbmuxd", "rusbmux", "lost-transfer", "midway"]),
    ("traces", &["own-lost-transfer", "own-trailing-bytes"]),
];

fn path(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests").join(folder)
}

/// The files of a folder, by name.
fn captures(folder: &str) -> Vec<(String, Vec<u8>)> {
    let files = fs::read_dir(path(folder)).unwrap().map(|entry| entry.unwrap().path());
    let is_capture =
        |path: &PathBuf| path.extension().is_some_and(|kind| kind == "pcapng" || kind == "pcap");
    let mut files: Vec<PathBuf> = files.filter(is_capture).collect();
    files.sort();
    let name = |path: &Path| path.file_stem().unwrap().to_str().unwrap().to_owned();
    files.iter().map(|path| (name(path), fs::read(path).unwrap())).collect()
}

#[track_caller]
fn compare(folder: &str, name: &str, found: &str) {
    let path = path(folder).join(name);
    if std::env::var_os("USBMUX_BLESS").is_some() {
        fs::write(&path, found).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap();
    assert_eq!(found, expected, "{name}");
}

#[test]
fn each_has_its_diagnosis() {
    for (folder, _) in FOLDERS {
        let mut all = String::new();
        for (name, bytes) in captures(folder) {
            let read = read(&bytes);
            assert_eq!(read.error, None, "{name}");
            let mut kinds = read.violations();
            kinds.dedup();
            let kinds = if kinds.is_empty() { "nothing".to_owned() } else { kinds.join(" ") };
            all += &format!("{name}: {kinds}\n");
            for line in &read.report.diagnosis {
                all += &format!("  {line}\n");
            }
        }
        compare(folder, "diagnoses.txt", &all);
    }
}

#[test]
fn some_are_compared_to_the_last_number() {
    for (folder, whole) in FOLDERS {
        for (name, bytes) in captures(folder) {
            if whole.contains(&name.as_str()) {
                compare(folder, &format!("{name}.txt"), &(read(&bytes).ladder.join("\n") + "\n"));
            }
        }
    }
}

#[test]
fn every_line_fits() {
    for (folder, _) in FOLDERS {
        for (name, bytes) in captures(folder) {
            for line in read(&bytes).ladder {
                assert!(line.chars().count() <= 100, "{name}: {line}");
            }
        }
    }
}
