//! `usbmux-sim lessons`: the lessons of `core/examples`, compiled in, listed and run.
//!
//! Each is a program of its own there (`cargo run -p usbmux-core --example 01_a_header`); here its
//! `main` is a function. Left out is anything about their content.

#![allow(clippy::duplicate_mod, reason = "each lesson brings the code that prints it")]

use crate::failure::Failure;
use crate::show::print;

#[path = "../../../../core/examples/01_a_header.rs"]
mod a_header;
#[path = "../../../../core/examples/02_any_slicing.rs"]
mod any_slicing;
#[path = "../../../../core/examples/08_closing_without_fin.rs"]
mod closing_without_fin;
#[path = "../../../../core/examples/05_data_seq_and_ack.rs"]
mod data_seq_and_ack;
#[path = "../../../../core/examples/10_a_dead_session.rs"]
mod dead_session;
#[path = "../../../../core/examples/12_the_dongle_loop.rs"]
mod dongle_loop;
#[path = "../../../../core/examples/03_the_handshake.rs"]
mod handshake;
#[path = "../../../../core/examples/04_opening_and_refusing.rs"]
mod opening_and_refusing;
#[path = "../../../../core/examples/11_the_run_loop.rs"]
mod run_loop;
#[path = "../../../../core/examples/07_a_slow_reader.rs"]
mod slow_reader;
#[path = "../../../../core/examples/06_window_and_credit.rs"]
mod window_and_credit;
#[path = "../../../../core/examples/09_zlp_and_the_cap.rs"]
mod zlp_and_the_cap;

struct Lesson {
    title: &'static str,
    shows: &'static str,
    run: fn(),
}

macro_rules! lessons {
    ($($name:ident)*) => {
        [$(Lesson { title: $name::TITLE, shows: $name::SHOWS, run: $name::main }),*]
    };
}

/// In the order in which one understands; lesson 1 comes first.
const LESSONS: [Lesson; 12] = lessons![
    a_header any_slicing handshake opening_and_refusing data_seq_and_ack window_and_credit
    slow_reader closing_without_fin zlp_and_the_cap dead_session run_loop dongle_loop
];

/// Lists the lessons, or runs one or all of them.
pub(crate) fn run(which: Option<&str>) -> Result<(), Failure> {
    let Some(which) = which else { return print(&list()) };
    if which == "all" {
        for (at, lesson) in LESSONS.iter().enumerate() {
            if at > 0 {
                print(&[String::new(), String::new()])?;
            }
            (lesson.run)();
        }
        return Ok(());
    }
    let number = which.parse().ok().and_then(|number: usize| number.checked_sub(1));
    let lesson = number.and_then(|at| LESSONS.get(at)).ok_or_else(|| {
        let last = LESSONS.len();
        Failure::usage(format!(
            "there is no lesson {which}; write a number from 1 to {last}, or all"
        ))
    })?;
    (lesson.run)();
    Ok(())
}

fn list() -> Vec<String> {
    let mut lines = vec![
        "The usbmux protocol in twelve lessons, for those who know TCP. Each shows the real engine at work,"
            .to_owned(),
        "five minutes each: usbmux-sim lessons 1".to_owned(),
        String::new(),
    ];
    for (at, lesson) in LESSONS.iter().enumerate() {
        lines.push(format!("{:>3}  {}", at + 1, lesson.title));
        lines.push(format!("       {}", lesson.shows));
    }
    lines
}
