//! `umux trace` as its user sees it: what it prints, and how it ends. What it finds is tested in `usbmux-trace`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::io::Write;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use usbmux_trace::read::Kind;

fn capture(name: &str) -> String {
    format!("{}/../tests/captures-usbmon/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn trace(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_umux"));
    command.arg("trace").args(arguments).env_remove("NO_COLOR").output().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Standard error, which has one line.
fn complaint(output: &Output) -> String {
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    text.trim_end().to_owned()
}

#[test]
fn a_sound_capture_ends_with_0_and_a_violation_with_1() {
    let sound = trace(&[&capture("umuxd.pcapng")]);
    assert_eq!(sound.status.code(), Some(0));
    assert!(out(&sound).contains("|- VERSION 2.0 ---"), "{}", out(&sound));
    assert!(
        out(&sound).contains("\nNothing is wrong: version 2, 2 connections, "),
        "{}",
        out(&sound)
    );
    let dead = trace(&[&capture("lost-transfer.pcapng")]);
    assert_eq!(dead.status.code(), Some(1));
    assert!(dead.stderr.is_empty(), "it was said on standard output");
    assert!(out(&dead).contains("           ! the session is dead: "), "{}", out(&dead));
    assert!(
        out(&dead).contains("\nThe phone reports a duplicate packet after frame "),
        "{}",
        out(&dead)
    );
}

#[test]
fn json_has_an_object_a_line() {
    for (name, status) in [("umuxd.pcapng", 0), ("lost-transfer.pcapng", 1)] {
        let output = trace(&[&capture(name), "--json"]);
        assert_eq!(output.status.code(), Some(status));
        let text = out(&output);
        let objects: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(objects[0]["type"], "phone");
        assert_eq!(objects[0]["udid"], "00008030-0000000000000001");
        assert_eq!(objects[1]["frame"], "VERSION 2.0");
        assert_eq!(objects[1]["tx_seq"], Value::Null);
        let last = objects.last().unwrap();
        assert_eq!(last["type"], "report");
        assert_eq!(last["violations"], status);
        let syn = objects.iter().find(|one| one["flags"] == "SYN").unwrap();
        assert_eq!((&syn["conn"], &syn["window"]), (&Value::from(1), &Value::from(131_072)));
        let marks = objects.iter().filter_map(|one| one["marks"].as_array()).flatten();
        let kinds: Vec<&Value> =
            marks.filter(|mark| mark["violation"] == true).map(|mark| &mark["kind"]).collect();
        let expected = if status == 0 { vec![] } else { vec!["session-dead"] };
        assert_eq!(kinds, expected);
    }
}

#[test]
fn follow_prints_what_was_said_or_that_it_is_not_there() {
    let output = trace(&[&capture("umuxd.pcapng"), "--follow", "1"]);
    assert_eq!(output.status.code(), Some(0));
    let text = out(&output);
    assert!(text.contains(" host > phone: 13 bytes\n"), "{text}");
    assert!(
        text.contains("68 65 6c 6c 6f 2c 20 70 68 6f 6e 65 0a           hello, phone."),
        "{text}"
    );
    let snapped = out(&trace(&[&capture("download-snapped.pcapng"), "--follow", "1"]));
    assert!(snapped.contains(": 32728 bytes, 60 of them in the trace\n"), "{snapped}");
    assert!(
        snapped.contains("are in this trace; the others were left out when it was made"),
        "{snapped}"
    );
    let json = out(&trace(&[&capture("umuxd.pcapng"), "--follow", "1", "--json"]));
    let first: Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
    assert_eq!(first["base64"], "aGVsbG8sIHBob25lCg==");
    let none = trace(&[&capture("umuxd.pcapng"), "--follow", "99"]);
    assert_eq!(none.status.code(), Some(1));
    assert_eq!(complaint(&none), "umux: there is no connection #99: the last is #2");
}

#[test]
fn summary_has_a_line_for_each_connection() {
    let output = trace(&[&capture("umuxd.pcapng"), "--summary"]);
    assert_eq!(output.status.code(), Some(0));
    let text = out(&output);
    let rows: Vec<&str> = text.lines().filter(|line| line.trim_start().starts_with('#')).collect();
    assert_eq!(rows.len(), 2, "{text}");
    assert!(
        rows[0].contains(" > 7 ") && rows[0].contains(" 13 B ") && rows[0].ends_with("by host"),
        "{text}"
    );
    assert!(!text.contains("VERSION 2.0"), "{text}");
    let both = trace(&[&capture("umuxd.pcapng"), "--summary", "--follow", "1"]);
    assert_eq!(both.status.code(), Some(2));
}

#[test]
fn help_names_every_kind_of_mark() {
    let help = out(&trace(&["--help"]));
    let words: Vec<&str> = help.split_whitespace().collect();
    for kind in Kind::ALL {
        assert!(words.contains(&kind.name()), "{kind}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_one_line() {
    let missing = trace(&["/nowhere/phone.pcapng"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(complaint(&missing).starts_with("umux: /nowhere/phone.pcapng: cannot be opened ("));
    let text = trace(&[&capture("umuxd.txt")]);
    assert_eq!(text.status.code(), Some(1));
    assert!(complaint(&text).ends_with("this is no capture: pcap or pcapng is expected"));
    assert_eq!(trace(&[]).status.code(), Some(2));
}

#[test]
fn standard_input_may_end_in_the_middle() {
    let whole = std::fs::read(capture("umuxd.pcapng")).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_umux"))
        .args(["trace", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&whole[..whole.len() / 2]).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(complaint(&output), "umux: -: the file ends inside a packet");
    assert!(out(&output).contains("bus 1 device") || out(&output).is_empty());
}
