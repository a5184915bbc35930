//! The table of rows is complete: all rows of PROTOCOL §7, all quirks, and only tests that exist.
//!
//! Whether they passed is for `rows`, which reads what a run printed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use usbmux_tests::rows::{Row, TABLE, parse};

/// Rows of PROTOCOL §7, by state.
const STATES: [(&str, usize); 5] =
    [("link down", 3), ("link up", 2), ("SYN sent", 3), ("established", 6), ("unknown", 1)];

fn rows() -> Vec<Row> {
    parse(TABLE).unwrap_or_else(|sentence| panic!("{sentence}"))
}

#[test]
fn every_row_of_the_protocol_stands_in_the_table() {
    for (state, count) in STATES {
        let events: BTreeSet<String> =
            rows().into_iter().filter(|row| row.state == state).map(|row| row.event).collect();
        assert_eq!(events.len(), count, "{state}: {events:#?}");
    }
}

#[test]
fn every_quirk_stands_in_the_table() {
    let quirks: BTreeSet<String> =
        rows().into_iter().filter(|row| row.state == "quirk").map(|row| row.event).collect();
    let name = |shown: &&str| shown.split(['=', '[']).next().unwrap().to_owned();
    assert_eq!(quirks, usbmux_phone::QUIRK_NAMES.iter().map(name).collect());
    assert_eq!(rows().len(), quirks.len() + STATES.iter().map(|(_, count)| count).sum::<usize>());
}

#[test]
fn every_test_in_the_table_is_a_function_of_its_file() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for row in rows() {
        for test in row.engine.iter().chain(&row.end_to_end) {
            let parts: Vec<&str> = test.split("::").collect();
            let (binary, name) = (parts[0], parts[parts.len() - 1]);
            let inner = parts[1..parts.len() - 1].join("/");
            let folder = |house: &str| root.join(house).join("tests");
            let places =
                ["tests", "firmware-sim/phone", "host", "core"].map(|house| match &*inner {
                    "" => folder(house).join(format!("{binary}.rs")),
                    module => folder(house).join(binary).join(format!("{module}.rs")),
                });
            let declared = format!("fn {name}(");
            let found = places.iter().filter_map(|file| fs::read_to_string(file).ok());
            assert!(found.into_iter().any(|text| text.contains(&declared)), "{test} is nowhere");
        }
    }
}
