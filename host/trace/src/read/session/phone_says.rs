//! CONTROL frames: what a phone finds wrong itself.

use std::time::Duration;

use usbmux_core::wire::ControlKind;
use usbmux_core::wire::control::{SOCKET_CLOSED, is_duplicate_packet};

use super::numbers::received_after;
use super::{Death, Session};
use crate::read::mark::{Kind, Mark};
use crate::read::model::{Frame, Side};

/// Part of what a phone says of a message whose end it did not see (PROTOCOL §2).
const TOO_LARGE: &str = "message was too large";

impl Session {
    pub(super) fn control(&mut self, frame: &Frame, kind: u8, text: &str, marks: &mut Vec<Mark>) {
        if is_duplicate_packet(text.as_bytes()) {
            let death = self.death(frame.at, text);
            let said = match (&death.numbers, &death.missed) {
                (Some((expected, received)), Some(missed)) => format!(
                    "the session is dead: the phone got frame {received}, but never frame {expected} \
                     ({missed})"
                ),
                (Some((expected, received)), None) => format!(
                    "the session is dead: the phone waited for frame {expected} and got {received}"
                ),
                (None, _) => "the session is dead: a frame's number was not the next".to_owned(),
            };
            marks.push(Mark::new(Kind::SessionDead, Side::Phone, said));
            if let Some((expected, _)) = death.numbers {
                self.explain_silent(expected);
            }
            self.facts.deaths.push(death);
            return;
        }
        let ordinary = text.as_bytes().starts_with(SOCKET_CLOSED);
        if ordinary {
            return;
        }
        // What is less grave stands under the frame anyway.
        if kind > ControlKind::WARNING.0 {
            return;
        }
        let said = match text.contains(TOO_LARGE) {
            true => "the phone took several frames for one: the end of a transfer was lost",
            false => "the phone complains",
        };
        marks.push(Mark::new(Kind::PhoneComplains, Side::Phone, said));
    }

    fn death(&self, at: Duration, text: &str) -> Death {
        let mut numbers =
            text.split(|c: char| !c.is_ascii_digit()).filter_map(|one| one.parse().ok());
        let numbers = numbers.next().zip(numbers.next());
        let missed = numbers.and_then(|(expected, received)| {
            let distance = received_after(expected, received);
            let sent = self.sent.iter().rev().find(|sent| sent.tx == expected)?;
            (distance > 0).then(|| sent.words.clone())
        });
        Death { at, numbers, missed, in_vain: 0, repaired: None }
    }
}
