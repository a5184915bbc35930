//! `usbmux-sim show`: scenes to learn from.

use crate::args::SceneName;
use crate::failure::Failure;
use std::io::{ErrorKind, Write};
use usbmux_firmware_sim::scenes;

pub(crate) fn run(scene: SceneName) -> Result<(), Failure> {
    let picture = match scene {
        SceneName::Cap => scenes::cap().map(|scene| scene.picture()),
        SceneName::Zlp => scenes::zlp().map(|scene| scene.picture()),
        SceneName::Window => scenes::window().map(|scene| scene.picture()),
    };
    print(&picture.map_err(Failure::failed)?)
}

/// Prints lines on stdout; a reader that has seen enough is no failure.
pub(crate) fn print(lines: &[String]) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    for line in lines {
        match writeln!(out, "{line}") {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
            written => written.map_err(Failure::failed)?,
        }
    }
    out.flush().map_err(Failure::failed)
}
