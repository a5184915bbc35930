//! What the page asks, and what it is told: the laboratory and the scenes of `usbmux-firmware-sim`,
//! as JSON.
//!
//! | floor | file | what it does |
//! |---|---|---|
//! | linear memory | `exports.rs` | three functions that a browser calls |
//! | conversation | `answer.rs` | a question in, an answer out; owns the lab |
//! | traces | `trace.rs` | the reader of `usbmux-trace` |
//! | rows | `row.rs` | what happened, with everything that is shown of it |
//!
//! The page itself stands in `web/`: plain HTML, CSS and JavaScript that know nothing of the protocol.
//! `usbmux-sim page` compiles this crate and writes all of it into one file.

mod answer;
#[cfg(target_family = "wasm")]
mod exports;
mod row;
mod trace;

pub use answer::Desk;
