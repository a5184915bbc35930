//! Zero-length packets: sent, trimmed away, lost.

use super::messages::{Frame, Message};
use super::stage::{Event, Stage, draw};
use super::story::Story;
use super::{Scene, SceneError};
use crate::board::BoardOptions;
use crate::bus::Happening;
use crate::pc::client::{Content, Progress, Stream};
use crate::time::Nanos;
use usbmux_core::{Config, Zlp};
use usbmux_dongle::Forward;
use usbmux_phone::{DISCARD, ECHO};

/// What happened in one act.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Heard {
    /// Lengths of the messages towards the phone, as it understood them.
    pub messages: Vec<usize>,
    /// Zero-length packets that ended them.
    pub zlps: usize,
    /// Zero-length packets that the driver forgot.
    pub forgotten: usize,
    /// What the phone said.
    pub phone_says: Vec<String>,
    /// Bytes that came back to the program on the PC.
    pub echoed: u64,
    /// Whether the program lost its connection.
    pub cut: bool,
}

/// What happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ZlpFacts {
    /// A frame of 64 bytes with a ZLP behind it.
    pub sent: Heard,
    /// The same bytes in frames that need none.
    pub trimmed: Heard,
    /// The ZLP is forgotten, and somebody says something else later.
    pub lost: Heard,
    /// The same with nothing but full packets.
    pub glued: Heard,
}

/// Ports of the dongle's in these scenes.
const FORWARDS: [Forward; 2] =
    [Forward { port: 7, device_port: ECHO }, Forward { port: 9, device_port: DISCARD }];
/// So many bytes of payload make a frame of exactly one packet.
const EXACT: u64 = 64 - 36;
/// Frames of this length are whole packets throughout.
const WHOLE_PACKETS: u16 = 1024;

/// Shows zero-length packets.
///
/// # Errors
///
/// See [`SceneError`].
pub fn zlp() -> Result<Scene<ZlpFacts>, SceneError> {
    let mut story = Story::new();
    story.text(
        "A USB transfer ends with a packet that is not full. A frame of 64 bytes fills its packet, so an \
         empty one (ZLP) must follow; a program on the PC sends 28 bytes, which make such a frame.",
    );
    let facts = ZlpFacts {
        sent: echo(&mut story, "1. Sent: the driver sends the ZLP", Zlp::Explicit, false)?,
        trimmed: echo(&mut story, "2. Trimmed away: the engine's default", Zlp::Trim, false)?,
        lost: echo(&mut story, "3. Lost: the driver forgets the ZLP", Zlp::Explicit, true)?,
        glued: glued(&mut story)?,
    };
    explain(&mut story, &facts);
    Ok(Scene { entries: story.into_entries(), facts })
}

fn stage(config: Config) -> Result<Stage, SceneError> {
    let options =
        BoardOptions { forwards: FORWARDS.to_vec(), engine: config, ..BoardOptions::default() };
    Stage::new(&options)
}

/// A program says something of a packet's length, then something short, three times in all.
fn echo(story: &mut Story, heading: &str, zlp: Zlp, forgets: bool) -> Result<Heard, SceneError> {
    const PARTS: [u64; 3] = [EXACT, 10, 10];
    story.act(heading);
    let mut stage = stage(Config { zlp, ..Config::DONGLE })?;
    story.begin_at(stage.board.now());
    stage.board.usb.swallow_zlps(forgets);
    stage.streams.0.push(Stream::new(7, Content::Echo(PARTS.iter().sum()), 1));
    let mut allowed = 0;
    for part in PARTS {
        allowed += part;
        if let Some(stream) = stage.streams.0.first_mut() {
            stream.allow(allowed);
        }
        stage.linger(Nanos::from_millis(10));
    }
    finish(story, stage)
}

/// A program sends a lot, and every packet is full.
fn glued(story: &mut Story) -> Result<Heard, SceneError> {
    story.act("4. Lost, with nothing but full packets: 80000 bytes to the discard service");
    let config = Config { zlp: Zlp::Explicit, max_frame: WHOLE_PACKETS, ..Config::DONGLE };
    let mut stage = stage(config)?;
    story.begin_at(stage.board.now());
    stage.board.usb.swallow_zlps(true);
    stage.streams.0.push(Stream::new(9, Content::Discard(80_000), 1));
    stage.linger(Nanos::from_millis(200));
    // Nothing more would happen, unless somebody else has something to say.
    stage.streams.0.push(Stream::new(7, Content::Echo(10), 2));
    stage.until("the end of the connection", |_, streams| streams.are_over())?;
    stage.linger(Nanos::from_millis(10));
    finish(story, stage)
}

/// Draws what happened; what repeats itself is drawn a few times only.
fn finish(story: &mut Story, mut stage: Stage) -> Result<Heard, SceneError> {
    const REPEATS: usize = 2;
    let mut heard = Heard::default();
    let (mut forgotten, mut segments) = (0, 0);
    for event in stage.events() {
        let hidden = match &event {
            Event::Message(message) => {
                note_message(&mut heard, message);
                if forgotten > REPEATS {
                    story.left_out(&format!("{forgotten} frames, {forgotten} ZLPs forgotten"));
                }
                (forgotten, segments) = (0, 0);
                false
            }
            Event::Bus(event) if event.what == Happening::SwallowedZlp => {
                heard.forgotten += 1;
                forgotten += 1;
                forgotten > REPEATS
            }
            Event::Segment { segment, .. } if segment.payload > 0 => {
                segments += 1;
                segments > REPEATS
            }
            _ => false,
        };
        if !hidden {
            draw(story, &event, stage.full);
        }
    }
    let stream = stage.streams.0.first();
    heard.echoed = stream.map_or(0, Stream::received);
    heard.cut = stream.is_some_and(|stream| stream.progress() == Progress::Reset);
    Ok(heard)
}

fn note_message(heard: &mut Heard, message: &Message) {
    match message.frame().0 {
        Frame::Control(_, text) if message.from_phone => heard.phone_says.push(text),
        _ => {}
    }
    if !message.from_phone {
        heard.messages.push(message.bytes.len());
        heard.zlps += message.zlps();
    }
}

fn explain(story: &mut Story, facts: &ZlpFacts) {
    let says = |heard: &Heard| heard.phone_says.first().cloned().unwrap_or_default();
    story.text(&format!(
        "Sent, the ZLP costs a packet and the {} bytes come back. Trimmed away, the frame is one byte \
         shorter and the byte goes with the next one: no ZLP is ever needed ({} sent), so none can be \
         lost. That is why trimming is the default.",
        facts.sent.echoed, facts.trimmed.zlps,
    ));
    story.text(&format!(
        "Lost, the phone goes on reading: the next frame sticks to the first, and is dropped as its \
         tail. Nobody complains until a third frame has a number that is one too high: `{}`. From then \
         on the session is dead; the dongle notices, ends its connections and says VERSION again.",
        says(&facts.lost),
    ));
    story.text(&format!(
        "When every packet is full, frame sticks to frame until the phone's read buffer is full: `{}`. \
         That sentence in a phone's log means a lost ZLP.",
        says(&facts.glued),
    ));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::scenes::tests::check_picture;

    #[test]
    fn a_zlp_is_sent_trimmed_away_or_lost() {
        let scene = zlp().unwrap();
        let (picture, facts) = (scene.picture(), scene.facts);
        check_picture(&picture);
        let ZlpFacts { sent, trimmed, lost, glued } = facts;
        assert!(sent.messages.contains(&64) && sent.zlps == 1 && sent.echoed == 48, "{sent:?}");
        assert!(trimmed.messages.windows(2).any(|two| two == [63, 37]), "{trimmed:?}");
        assert!(trimmed.zlps == 0 && trimmed.echoed == 48 && trimmed.phone_says.is_empty());
        assert!(lost.messages.contains(&(64 + 46)) && lost.forgotten == 1, "{lost:?}");
        assert!(lost.phone_says[0].starts_with("detected duplicate packet. Expected 4"));
        assert!(lost.cut && lost.echoed == 28);
        assert_eq!(
            glued.phone_says[0],
            "asyncReadComplete, message was too large (65536 bytes, max = 65535)"
        );
        assert!(glued.messages.iter().any(|length| *length > 65_536) && glued.forgotten > 64);
        assert!(picture.iter().any(|line| line.contains("the driver forgets it")));
        assert!(picture.iter().any(|line| line.contains("64 + ZLP")));
    }
}
