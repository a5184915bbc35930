//! The cap: 65535 bytes pass, 65536 do not.

use super::messages::{Frame, Message};
use super::small_host::SmallHost;
use super::story::{Story, Who};
use super::{Scene, SceneError};
use crate::time::Nanos;
use usbmux_core::{Config, Zlp};
use usbmux_phone::{DISCARD, ECHO, Options, Quirk};

/// What happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CapFacts {
    /// Length of the longest frame towards the phone that arrived, and of how many packets it was.
    pub longest_out: (usize, usize),
    /// The same of the phone's frames.
    pub longest_in: (usize, usize),
    /// Most bytes that the host had in its memory at a time.
    pub most_buffered: usize,
    /// What the phone said to one byte more.
    pub complaint: String,
    /// What it said to the frame after that.
    pub second_complaint: String,
    /// Connections that ended because of it on a phone that forgives a gap in the frames' numbers,
    /// of two.
    pub lost_if_forgiven: usize,
    /// The same on a phone as they are.
    pub lost_if_strict: usize,
}

/// Headers of a frame in version 2.
const HEADERS: usize = 36;

/// Shows the cap.
///
/// # Errors
///
/// See [`SceneError`].
pub fn cap() -> Result<Scene<CapFacts>, SceneError> {
    let mut story = Story::new();
    let mut facts = CapFacts::default();
    story.text(
        "A frame has at most 65535 bytes, headers included. A host that has 4 KiB for payload, and USB \
         packets of 64 bytes, can still send and receive the longest one.",
    );
    longest(&mut story, &mut facts)?;
    facts.lost_if_forgiven = one_more(&mut story, &mut facts, true)?;
    facts.lost_if_strict = one_more(&mut story, &mut facts, false)?;
    explain(&mut story, &facts);
    Ok(Scene { entries: story.into_entries(), facts })
}

fn config() -> Config {
    let max_frame = u16::try_from(SmallHost::LONGEST).unwrap_or(u16::MAX);
    Config { max_frame, zlp: Zlp::Explicit, ..Config::DONGLE }
}

fn longest(story: &mut Story, facts: &mut CapFacts) -> Result<(), SceneError> {
    story.act("1. The longest frame, there and back: the echo of 65499 bytes");
    let mut phone = Options::new(1);
    phone.max_frame = u16::MAX;
    let mut host = SmallHost::linked(&phone, config())?;
    story.begin_at(host.now());
    host.messages.clear();
    let conn = host.connect(ECHO, 65536)?;
    let payload = SmallHost::LONGEST - HEADERS;
    host.send(conn, payload, 0)?;
    host.until("the echo", |host| host.line(conn).received == payload as u64)?;
    host.until("the last ACK", |host| host.unacknowledged(conn) == 0)?;
    host.linger(Nanos::from_millis(5));
    for message in &host.messages {
        story.message(message, 64);
        let longest =
            if message.from_phone { &mut facts.longest_in } else { &mut facts.longest_out };
        *longest = (*longest).max((message.bytes.len(), message.packets.len()));
    }
    facts.most_buffered = host.most_buffered;
    story.remark(
        Who::Host,
        &format!("at most {} bytes of it were in memory at a time", host.most_buffered),
    );
    Ok(())
}

/// Sends one byte too many; how many of two connections that costs.
fn one_more(story: &mut Story, facts: &mut CapFacts, lenient: bool) -> Result<usize, SceneError> {
    story.act(match lenient {
        true => "2. One byte more, and a phone that forgives a missing frame number (lenient-seq)",
        false => "3. One byte more, and a phone as they are",
    });
    let mut phone = Options::new(1);
    if lenient {
        phone.quirks.push(Quirk::LenientSeq);
    }
    let mut host = SmallHost::linked(&phone, config())?;
    story.begin_at(host.now());
    let victim = host.connect(DISCARD, 4096)?;
    let other = host.connect(ECHO, 4096)?;
    host.linger(Nanos::from_millis(1));
    let before = host.messages.len();
    host.send(victim, SmallHost::LONGEST - HEADERS, 1)?;
    host.linger(Nanos::from_millis(5));
    // What follows shows who was harmed.
    for (conn, payload) in [(victim, 100), (other, 50)] {
        if !host.dead && !host.line(conn).ended {
            host.send(conn, payload, 0)?;
        }
        host.linger(Nanos::from_millis(10));
    }
    let said: Vec<Message> = host.messages.split_off(before);
    for message in &said {
        story.message(message, 64);
    }
    let mut texts = said.iter().filter_map(|message| match message.frame().0 {
        Frame::Control(_, text) if message.from_phone => Some(text),
        _ => None,
    });
    facts.complaint = texts.next().unwrap_or_default();
    facts.second_complaint = texts.next().unwrap_or_default();
    let lost = [victim, other].iter().filter(|conn| host.line(**conn).ended).count();
    story.remark(Who::Host, &format!("{lost} of 2 connections ended"));
    Ok(lost)
}

fn explain(story: &mut Story, facts: &CapFacts) {
    let (length, packets) = facts.longest_out;
    story.text(&format!(
        "The frame of {length} bytes went out in {packets} packets and came back in {}; the host never \
         held more than {} bytes of it, of the 4 KiB that it would have, because the engine owns no payload: it writes a header in \
         front of bytes that are yet to come, and hands out bytes as they arrive.",
        facts.longest_in.1, facts.most_buffered,
    ));
    story.text(&format!(
        "With one byte more the phone's read buffer is full before a short packet ends the message. It \
         says `{}` and drops the message. The bytes are gone for ever, since nothing is ever sent \
         again: the phone sees a gap in that connection and resets it ({} of 2 connections lost). A \
         phone as they are counts frames too: the next number is one too high (`{}`), and the whole \
         session is dead ({} of 2 lost). The engine's send never makes such a frame.",
        facts.complaint, facts.lost_if_forgiven, facts.second_complaint, facts.lost_if_strict,
    ));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::scenes::tests::check_picture;

    #[test]
    fn the_longest_frame_passes_and_one_byte_more_does_not() {
        let scene = cap().unwrap();
        let (picture, facts) = (scene.picture(), scene.facts);
        check_picture(&picture);
        let expected = CapFacts {
            longest_out: (65535, 1024),
            longest_in: (65535, 1024),
            most_buffered: 64,
            complaint: "asyncReadComplete, message was too large (65536 bytes, max = 65535)"
                .to_owned(),
            second_complaint: "detected duplicate packet. Expected 5 received 6".to_owned(),
            lost_if_forgiven: 1,
            lost_if_strict: 2,
        };
        assert_eq!(facts, expected);
        assert!(picture.iter().any(|line| line.contains("65499 B win 256: 1023 x 64 + 63 --")));
        assert!(picture.iter().any(|line| line.contains("1024 x 64 + ZLP --")));
    }
}
