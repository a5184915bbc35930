//! Scenes to learn from: the real engine, firmware and phone on the simulated board, in virtual time,
//! with everything written down and explained.
//!
//! A scene returns what it tells, of which a terminal and a page draw their pictures, and the facts of the run that its explanation speaks of. Nothing in a
//! picture is drawn from memory: every arrow was a packet or a frame.

mod cap;
mod messages;
mod small_host;
mod stage;
mod story;
mod terminal;
mod window;
mod zlp;

pub use cap::{CapFacts, cap};
pub(crate) use messages::Gatherer;
pub use messages::{Frame, Message, in_words};
pub use story::{Arrow, Entry, Who};
pub use window::{WindowFacts, window};
pub use zlp::{Heard, ZlpFacts, zlp};

use std::fmt;
use usbmux_dongle::ConfigError;

/// The widest line of a picture, in characters.
pub const WIDTH: usize = 100;

/// What was to be seen in a scene.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scene<F> {
    /// What it tells, in order.
    pub entries: Vec<Entry>,
    /// What happened.
    pub facts: F,
}

impl<F> Scene<F> {
    /// The picture for a terminal, line by line, none wider than [`WIDTH`].
    pub fn picture(&self) -> Vec<String> {
        terminal::draw(&self.entries)
    }
}

/// A scene did not come to its end.
#[derive(Debug)]
#[non_exhaustive]
pub enum SceneError {
    /// The firmware does not start.
    Config(ConfigError),
    /// Something that the scene waits for did not happen in time.
    Stuck(&'static str),
}

impl fmt::Display for SceneError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SceneError::Config(error) => error.fmt(f),
            SceneError::Stuck(what) => write!(f, "the scene does not go on: {what}"),
        }
    }
}

impl std::error::Error for SceneError {}

impl From<ConfigError> for SceneError {
    fn from(error: ConfigError) -> Self {
        SceneError::Config(error)
    }
}

#[cfg(test)]
mod tests {
    use super::WIDTH;

    /// What is true of each picture: it fits, it has an introduction, acts and an explanation.
    pub(super) fn check_picture(picture: &[String]) {
        for line in picture {
            assert!(line.chars().count() <= WIDTH, "too wide: {line}");
        }
        let acts =
            picture.iter().filter(|line| line.contains(". ") && line.starts_with(char::is_numeric));
        assert!(acts.count() >= 2);
        assert!(picture.iter().any(|line| line.contains("->|")));
        assert!(picture.iter().any(|line| line.contains("|<-")));
        assert!(
            !picture[0].starts_with(' ') && picture.last().is_some_and(|line| line.ends_with('.'))
        );
    }
}
