//! `usbmux-sim lessons` is the same course as the examples of `core`: same order, same words.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::path::PathBuf;
use std::process::{Command, Output};

fn usbmux_sim(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_usbmux-sim")).args(arguments).output().unwrap()
}

fn said(output: &Output) -> &str {
    assert!(output.status.success(), "{output:?}");
    str::from_utf8(&output.stdout).unwrap()
}

/// The examples' files in their order.
fn files() -> Vec<PathBuf> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../core/examples");
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        entries.filter(|path| path.extension() == Some("rs".as_ref())).collect();
    files.sort();
    files
}

/// What an example prints, built as it is now.
fn example(name: &str) -> String {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["run", "--quiet", "-p", "usbmux-core", "--example", name]);
    let output = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    said(&output).to_owned()
}

#[test]
fn each_lesson_says_what_its_example_says() {
    let files = files();
    assert_eq!(files.len(), 12);
    let mut all = Vec::new();
    for (at, file) in files.iter().enumerate() {
        let name = file.file_stem().unwrap().to_str().unwrap();
        let number = (at + 1).to_string();
        assert!(name.starts_with(&format!("{:02}_", at + 1)), "{name}");
        let lesson = said(&usbmux_sim(&["lessons", &number])).to_owned();
        assert_eq!(lesson, example(name), "{name}");
        all.push(lesson);
    }
    assert_eq!(said(&usbmux_sim(&["lessons", "all"])), all.join("\n\n"));
}

#[test]
fn the_list_has_each_lesson_under_the_title_of_its_file() {
    let output = usbmux_sim(&["lessons"]);
    let list = said(&output);
    for (at, file) in files().iter().enumerate() {
        let source = std::fs::read_to_string(file).unwrap();
        let title = source.lines().next().unwrap();
        let title = title.strip_prefix(&format!("//! Lesson {}: ", at + 1)).unwrap();
        let row = format!("{:>3}  {}", at + 1, title.trim_end_matches('.'));
        assert!(list.lines().any(|line| line == row), "{row:?} in\n{list}");
    }
}

/// The paragraph that begins with these words, in one line.
fn paragraph(text: &str, start: &str) -> Option<String> {
    let (_, rest) = text.split_once(&format!("\n{start}"))?;
    let end = rest.find("?\n").unwrap() + 1;
    Some(rest[..end].split_whitespace().collect::<Vec<_>>().join(" "))
}

#[test]
fn a_lesson_is_short_fits_a_terminal_and_answers_the_question_of_the_one_before() {
    let mut asked = None;
    for number in 1..=12 {
        let output = usbmux_sim(&["lessons", &number.to_string()]);
        let text = said(&output);
        for line in text.lines() {
            assert!(line.chars().count() <= 100, "lesson {number}: {line}");
        }
        assert!(text.lines().count() <= 120, "lesson {number} is longer than a sitting");
        assert_eq!(paragraph(text, "Asked last: "), asked, "lesson {number}");
        asked = paragraph(text, "Question: ");
        assert_eq!(asked.is_some(), number < 12, "lesson {number}");
        if number < 12 {
            assert!(text.ends_with(&format!("\nLesson {} answers.\n", number + 1)));
        }
    }
}

#[test]
fn a_lesson_that_is_not_there_is_one_line_and_status_2() {
    for wrong in ["0", "13", "-1", "window", ""] {
        let output = usbmux_sim(&["lessons", "--", wrong]);
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
        assert!(output.stdout.is_empty(), "{wrong:?}");
        let line = String::from_utf8(output.stderr).unwrap();
        let expected = "write a number from 1 to 12, or all\n";
        assert!(line.starts_with(&format!("usbmux-sim: there is no lesson {wrong}; ")), "{line}");
        assert!(line.ends_with(expected) && line.lines().count() == 1, "{line}");
    }
}

/// Somebody who has seen enough: `usbmux-sim lessons all | head -1`.
#[test]
fn a_reader_who_hangs_up_is_no_failure() {
    use std::process::Stdio;
    let mut command = Command::new(env!("CARGO_BIN_EXE_usbmux-sim"));
    command.args(["lessons", "all"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
}
