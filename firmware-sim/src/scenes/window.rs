//! The window: announced, scaled by 8 bits, closing to 0 and reopening; and a phone that overruns.

use super::messages::{Frame, Message};
use super::stage::{Event, Stage, draw};
use super::story::{Story, Who};
use super::{Scene, SceneError};
use crate::board::BoardOptions;
use crate::pc::client::{Content, Progress, Stream};
use crate::time::Nanos;
use usbmux_core::wire::{Flags, TcpHeader};
use usbmux_dongle::Forward;
use usbmux_phone::{CHARGEN, ECHO, Quirk};

/// What happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WindowFacts {
    /// The window field of each of the dongle's frames to the generator, in units of 256 bytes.
    pub announced_units: Vec<u16>,
    /// Payload of each of the phone's frames.
    pub sent_by_phone: Vec<usize>,
    /// Most bytes that the phone had sent beyond what the dongle had acknowledged, when the window
    /// was first closed.
    pub before_closing: usize,
    /// For how long the phone sent nothing, because the window was closed.
    pub closed_for: Nanos,
    /// Bytes that reached the program on the PC.
    pub received: u64,
    /// What became of the connection on which the phone ignores the window.
    pub overrun: Option<Progress>,
    /// What became of another connection meanwhile.
    pub bystander: Option<Progress>,
    /// Whether the dongle started the session anew because of it.
    pub new_session: bool,
}

const FORWARDS: [Forward; 2] =
    [Forward { port: 7, device_port: ECHO }, Forward { port: 19, device_port: CHARGEN }];
/// The program on the PC wants so many bytes.
const WANTED: u64 = 16_000;
/// The receive buffer of the PC's socket: small, so that the picture is.
const PC_BUFFER: usize = 2048;
/// How long the program does not read.
const PAUSE: Nanos = Nanos::from_millis(50);

/// Shows the window.
///
/// # Errors
///
/// See [`SceneError`].
pub fn window() -> Result<Scene<WindowFacts>, SceneError> {
    let mut story = Story::new();
    let mut facts = WindowFacts::default();
    story.text(
        "A window says how many bytes the other side may still send. Its field counts in steps of 256 \
         bytes: `win 16` is 4096 bytes, the dongle's buffer for one connection towards Ethernet. An arrow \
         stands at the time when its last packet arrived.",
    );
    closing(&mut story, &mut facts)?;
    overrun(&mut story, &mut facts)?;
    explain(&mut story, &facts);
    Ok(Scene { entries: story.into_entries(), facts })
}

fn closing(story: &mut Story, facts: &mut WindowFacts) -> Result<(), SceneError> {
    story.act(
        "1. A program on the PC connects to the phone's character generator and does not read",
    );
    let options = BoardOptions { forwards: FORWARDS.to_vec(), ..BoardOptions::default() };
    let mut stage = Stage::new(&options)?;
    story.begin_at(stage.board.now());
    let mut stream = Stream::new(19, Content::Chargen(WANTED), 1).with_receive_buffer(PC_BUFFER);
    stream.pause(true);
    stage.streams.0.push(stream);
    stage.linger(PAUSE);
    let events = stage.events();
    let closed_at = phone_messages(&events).last().map(|message| message.ended);
    show(story, facts, events, stage.full);
    facts.before_closing = facts.sent_by_phone.iter().sum();
    story.remark(Who::Phone, "waits for the dongle");
    story.remark(Who::Host, "waits for the PC");
    story.remark(Who::Pc, "does not read");
    story.remark(Who::Pc, "reads again");
    if let Some(stream) = stage.streams.0.first_mut() {
        stream.pause(false);
    }
    stage.until("the rest", |_, streams| streams.are_over())?;
    let events = stage.events();
    let reopened_at = phone_messages(&events).next().map(|message| message.began);
    if let (Some(from), Some(to)) = (closed_at, reopened_at) {
        facts.closed_for = to - from;
    }
    show(story, facts, events, stage.full);
    facts.received = stage.streams.received();
    Ok(())
}

fn phone_messages(events: &[Event]) -> impl Iterator<Item = &Message> {
    events.iter().filter_map(|event| match event {
        Event::Message(message) if message.from_phone => Some(message),
        _ => None,
    })
}

fn overrun(story: &mut Story, facts: &mut WindowFacts) -> Result<(), SceneError> {
    story
        .act("2. The same with a phone that ignores the window (overrun), and a second connection");
    let mut options = BoardOptions { forwards: FORWARDS.to_vec(), ..BoardOptions::default() };
    options.phone.quirks.push(Quirk::Overrun);
    let mut stage = Stage::new(&options)?;
    story.begin_at(stage.board.now());
    let mut victim = Stream::new(19, Content::Chargen(WANTED), 1).with_receive_buffer(PC_BUFFER);
    victim.pause(true);
    stage.streams.0.push(Stream::new(7, Content::Echo(20), 2));
    stage.streams.0.push(victim);
    if let Some(bystander) = stage.streams.0.first_mut() {
        bystander.allow(10);
    }
    stage.linger(PAUSE);
    if let Some(bystander) = stage.streams.0.first_mut() {
        bystander.allow(20);
    }
    if let Some(victim) = stage.streams.0.get_mut(1) {
        victim.pause(false);
    }
    stage.until("the end of both", |_, streams| streams.are_over())?;
    let mut other = WindowFacts::default();
    let events = stage.events();
    facts.new_session = events.iter().any(|event| match event {
        Event::Message(message) => matches!(message.frame().0, Frame::Version(_)),
        _ => false,
    });
    show(story, &mut other, events, stage.full);
    let mut streams = stage.streams.0.iter().map(Stream::progress);
    (facts.bystander, facts.overrun) = (streams.next(), streams.next());
    Ok(())
}

/// Draws what happened; a phone that floods is drawn a few times only.
fn show(story: &mut Story, facts: &mut WindowFacts, events: Vec<Event>, full: u16) {
    const FLOOD: usize = 3;
    let mut pc_window = None;
    let (mut resets, mut left_out) = (0, 0);
    for event in events {
        if let Event::Message(message) = &event
            && let Frame::Tcp { header, payload, .. } = message.frame().0
        {
            note_frame(facts, message.from_phone, &header, payload);
            resets += usize::from(header.flags.contains(Flags::RST));
            let generator = [header.source, header.dest].contains(&CHARGEN);
            if generator && resets > FLOOD {
                left_out += 1;
                continue;
            }
            let missing = std::mem::take(&mut left_out);
            if missing > 0 {
                story.left_out(&format!("{missing} more of these"));
            }
        }
        if let Event::Segment { at, from_dongle: false, segment } = &event
            && segment.in_words().is_none()
            && pc_window != Some(segment.window)
        {
            pc_window = Some(segment.window);
            story.ethernet(*at, false, &format!("ACK, window {}", segment.window));
            continue;
        }
        draw(story, &event, full);
    }
}

fn note_frame(facts: &mut WindowFacts, from_phone: bool, header: &TcpHeader, payload: usize) {
    match from_phone {
        true if header.source == CHARGEN && payload > 0 => facts.sent_by_phone.push(payload),
        false if header.dest == CHARGEN => facts.announced_units.push(header.window_units),
        _ => {}
    }
}

fn explain(story: &mut Story, facts: &WindowFacts) {
    story.text(&format!(
        "While nobody reads, the PC's socket fills first ({PC_BUFFER} bytes), then the dongle's buffer: \
         {} bytes in all. Each ACK announces the room that is left, and less than 256 bytes of it is \
         `win 0`. The phone was silent for {:.0} ms and lost nothing: as the program read, the window \
         opened in steps, and all {WANTED} bytes arrived. A frame's first bytes are on Ethernet while \
         its last ones are still with the phone.",
        facts.before_closing,
        facts.closed_for.as_millis_f64(),
    ));
    let fate = |progress: Option<Progress>| progress.map_or(String::new(), |p| p.to_string());
    story.text(&format!(
        "A phone that sends more than the window allows finds no room for it, and nothing is ever sent \
         twice: that connection ends (`{}`), at its first byte too many. The other one has to wait \
         until the phone's queue is empty, and comes to its end (`{}`), in the same session.",
        fate(facts.overrun),
        fate(facts.bystander),
    ));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::scenes::tests::check_picture;

    #[test]
    fn the_window_closes_reopens_and_ends_one_connection_that_overruns_it() {
        let scene = window().unwrap();
        let (picture, facts) = (scene.picture(), scene.facts);
        check_picture(&picture);
        assert_eq!(facts.announced_units[..2], [16, 16], "4096 bytes in the SYN");
        let closed = facts.announced_units.iter().rposition(|units| *units == 0).unwrap();
        assert!(facts.announced_units[closed + 1..].iter().any(|units| *units >= 8), "{facts:?}");
        assert!(facts.before_closing <= PC_BUFFER + 4096 && facts.before_closing > 4096);
        assert!(facts.closed_for >= Nanos::from_millis(5) && facts.received >= WANTED, "{facts:?}");
        assert_eq!(facts.overrun, Some(Progress::Reset));
        assert_eq!(facts.bystander, Some(Progress::Done));
        assert!(!facts.new_session);
        assert!(picture.iter().any(|line| line.contains("ACK win 0 ")));
    }
}
