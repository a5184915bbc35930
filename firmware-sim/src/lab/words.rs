//! Messages in few words, and the host's news in a sentence.

use super::host::News;
use super::seen::Seen;
use crate::scenes::{Message, in_words};
use usbmux_core::{CloseReason, DeathCause, LinkFailure, RefusedBy};

/// A message in few words, as the scenes have them, and what a kernel says in it.
pub fn label(message: &Message, full: usize) -> String {
    let (frame, behind) = message.frame();
    let words = match message.frames() {
        frames if behind > 0 && frames > 1 && !message.from_phone => {
            format!("{frames} frames stuck together")
        }
        _ => in_words(&frame),
    };
    let words = match message.packets.len() {
        0 | 1 => words,
        _ => format!("{words}: {}", message.packets_in_words(full)),
    };
    match Seen::new(&message.bytes).text {
        text if text.is_empty() => words,
        text => format!("{words} “{text}”"),
    }
}

/// News of the host's in a sentence.
pub(super) fn in_a_sentence(news: &News) -> String {
    match news {
        News::LinkUp(version) => {
            format!("The link is up, in version {version}: connections can be opened.")
        }
        News::LinkFailed(LinkFailure::UnknownVersion(version)) => {
            format!("The host gives up: nobody knows version {version}.")
        }
        News::LinkFailed(_) => {
            "The host gives up: it asked for a version three times, and the phone is silent. Now it would \
             reset the port."
                .to_owned()
        }
        News::SessionDead(cause) => format!(
            "The host finds the session dead, for {}. All connections end with that reason, and it says \
             VERSION again.",
            match cause {
                DeathCause::DuplicatePacket => "the phone spoke of a duplicate packet",
                _ => "the phone's rx_seq stands still",
            }
        ),
        News::Connected(port) => format!("The connection to port {port} is open."),
        News::Refused(port, RefusedBy::Reset) => {
            format!("The program learns: port {port} refused, nobody listens there.")
        }
        News::Refused(port, RefusedBy::Timeout) => {
            format!("The program learns: port {port} did not answer in 5 seconds.")
        }
        News::Refused(port, _) => format!("The program learns: port {port} answered nonsense."),
        News::Closed(port, reason) => {
            format!("The connection to port {port} is over: {}.", why_closed(*reason))
        }
        _ => String::new(),
    }
}

fn why_closed(reason: CloseReason) -> &'static str {
    match reason {
        CloseReason::Reset => "the phone reset it",
        CloseReason::Drained => "everything is acknowledged, so RST may go out now",
        CloseReason::DrainTimeout => "the phone did not acknowledge everything in time",
        CloseReason::LinkLost => "the cable is out",
        CloseReason::SessionDead => "the session died",
        CloseReason::Gap => "bytes of the phone's are missing, and nothing is ever sent twice",
        CloseReason::Overrun => "the phone sent more than its window allowed",
        CloseReason::BadAck => "the phone acknowledged what was never sent",
        CloseReason::Truncated => "a frame was cut short after part of it had been delivered",
        _ => "the phone broke the rules",
    }
}
