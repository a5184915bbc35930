//! The table of what must be tested: every row of PROTOCOL §7 and every quirk of the virtual phone, with the names of
//! its tests, and what `cargo test` said about them.

use std::collections::HashMap;
use std::fmt;

/// `data/rows.tsv`.
pub const TABLE: &str = include_str!("../data/rows.tsv");

/// One row of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The state of PROTOCOL §7, or `quirk`.
    pub state: String,
    /// The event, or the quirk's name.
    pub event: String,
    /// Tests of engine or phone, as `binary::path::of::test`.
    pub engine: Vec<String>,
    /// Runs through `umuxd` with a client; none where no client can see it.
    pub end_to_end: Vec<String>,
    /// Why there is no such run.
    pub unseen: Option<String>,
}

/// The rows of a table.
///
/// # Errors
///
/// A sentence about the first line that is none.
pub fn parse(table: &str) -> Result<Vec<Row>, String> {
    let lines = table.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| row(line).ok_or_else(|| format!("not a row: {line}"))).collect()
}

fn row(line: &str) -> Option<Row> {
    let columns: Vec<&str> = line.split('\t').collect();
    let [state, event, engine, end_to_end] = columns[..] else { return None };
    let names = |column: &str| column.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let unseen = end_to_end.strip_prefix("- ").map(str::to_owned);
    let end_to_end = if unseen.is_some() { Vec::new() } else { names(end_to_end) };
    if engine.trim().is_empty() || unseen.is_none() && end_to_end.is_empty() {
        return None;
    }
    let (state, event) = (state.to_owned(), event.to_owned());
    Some(Row { state, event, engine: names(engine), end_to_end, unseen })
}

/// What became of a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It passed.
    Passed,
    /// It failed.
    Failed,
    /// It was left out by its author.
    Ignored,
    /// It did not run: there is no such test, or its program stopped before.
    Absent,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Outcome::Passed => "ok",
            Outcome::Failed => "FAILED",
            Outcome::Ignored => "IGNORED",
            Outcome::Absent => "DID NOT RUN",
        })
    }
}

/// The outcomes in the output of `cargo test`, by `binary::path::of::test`.
#[must_use]
pub fn outcomes(log: &str) -> HashMap<String, Outcome> {
    let mut outcomes = HashMap::new();
    let mut binary = String::new();
    for line in log.lines().map(str::trim) {
        if let Some(running) = line.strip_prefix("Running ") {
            binary = binary_name(running).unwrap_or_default();
        } else if let Some((name, result)) = result(line) {
            outcomes.insert(format!("{binary}::{name}"), result);
        }
    }
    outcomes
}

/// `tests/engine_rows.rs (target/debug/deps/engine_rows-0123456789abcdef)` → `engine_rows`.
fn binary_name(running: &str) -> Option<String> {
    let file = running.strip_suffix(')')?.rsplit(['(', '/']).next()?;
    let (name, _hash) = file.rsplit_once('-')?;
    Some(name.to_owned())
}

/// `test path::of::test ... ok`.
fn result(line: &str) -> Option<(&str, Outcome)> {
    let (name, result) = line.strip_prefix("test ")?.split_once(" ... ")?;
    let outcome = match result.split([' ', ',']).next()? {
        "ok" => Outcome::Passed,
        "FAILED" => Outcome::Failed,
        "ignored" => Outcome::Ignored,
        _ => return None,
    };
    Some((name.strip_suffix(" - should panic").unwrap_or(name), outcome))
}

/// The report `row → test → result`, and whether every row has only tests that passed.
#[must_use]
pub fn report(rows: &[Row], outcomes: &HashMap<String, Outcome>) -> (String, bool) {
    let (mut text, mut good) = (String::new(), true);
    for row in rows {
        for test in row.engine.iter().chain(&row.end_to_end) {
            let outcome = outcomes.get(test).copied().unwrap_or(Outcome::Absent);
            good &= outcome == Outcome::Passed;
            text += &format!("{}: {} → {test} → {outcome}\n", row.state, row.event);
        }
        if let Some(reason) = &row.unseen {
            text += &format!("{}: {} → no client sees it: {reason}\n", row.state, row.event);
        }
    }
    (text, good)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    const LOG: &str = "
     Running unittests src/lib.rs (target/debug/deps/usbmux_tests-0011223344556677)
test naive::phone::tests::opens ... ok
     Running tests/engine_rows.rs (/a/b/target/debug/deps/engine_rows-1011223344556677)
test a_gap ... ok
test a_fin ... FAILED
test slow_one ... ignored, takes minutes
test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured
";

    #[test]
    fn outcomes_are_found_by_binary_and_path() {
        let outcomes = outcomes(LOG);
        assert_eq!(outcomes.len(), 4);
        assert_eq!(outcomes["usbmux_tests::naive::phone::tests::opens"], Outcome::Passed);
        assert_eq!(outcomes["engine_rows::a_gap"], Outcome::Passed);
        assert_eq!(outcomes["engine_rows::a_fin"], Outcome::Failed);
        assert_eq!(outcomes["engine_rows::slow_one"], Outcome::Ignored);
    }

    #[test]
    fn a_row_is_good_only_if_all_its_tests_passed() {
        let outcomes = outcomes(LOG);
        let good = |tests: &str| {
            let rows = parse(&format!("s\te\t{tests}\t- frames\n")).unwrap();
            report(&rows, &outcomes).1
        };
        assert!(good("engine_rows::a_gap"));
        assert!(!good("engine_rows::a_gap engine_rows::a_fin"));
        assert!(!good("engine_rows::slow_one"));
        assert!(!good("engine_rows::no_such_test"));
    }

    #[test]
    fn a_row_without_tests_is_none() {
        assert!(parse("s\te\t\t- frames\n").is_err());
        assert!(parse("s\te\ta::b\t\n").is_err());
        assert!(parse("s\te\ta::b\n").is_err());
    }
}
