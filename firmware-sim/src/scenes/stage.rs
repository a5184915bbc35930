//! A board with everything written down: what the scenes with the whole firmware stand on.

use super::SceneError;
use super::messages::{Gatherer, Message};
use super::story::{Story, Who};
use crate::board::{Board, BoardOptions};
use crate::bus::{BusEvent, Happening};
use crate::cable::{End, SentFrame};
use crate::pc::client::Streams;
use crate::time::Nanos;
use smoltcp::wire::{EthernetFrame, EthernetProtocol, IpProtocol, Ipv4Packet, TcpPacket};

/// How long a scene waits for anything, in simulated time.
const PATIENCE: Nanos = Nanos::from_millis(20_000);

/// What is written down.
pub(super) enum Event {
    Message(Message),
    Bus(BusEvent),
    Segment { at: Nanos, from_dongle: bool, segment: Segment },
}

/// A TCP segment on Ethernet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) payload: usize,
    pub(super) window: u16,
    pub(super) syn: bool,
    pub(super) fin: bool,
    pub(super) rst: bool,
}

pub(super) struct Stage {
    pub(super) board: Board,
    pub(super) streams: Streams,
    gatherer: Gatherer,
    pub(super) full: u16,
}

impl Stage {
    /// A dongle with an address and a phone that it knows.
    pub(super) fn new(options: &BoardOptions) -> Result<Self, SceneError> {
        let mut board = Board::new(options)?;
        board.plug_in();
        let limit = board.now() + PATIENCE;
        let ready = board.run_while(limit, &mut (), |board| {
            board.pc.dongle_address().is_none() || board.dongle().phone().is_none()
        });
        if !ready {
            return Err(SceneError::Stuck("the dongle finds no phone or no address"));
        }
        // The last frame of the handshake goes out.
        board.run(board.now() + Nanos::from_millis(5), &mut ());
        let full = board.usb.bus.timing().max_packet;
        board.usb.bus.take_log();
        board.cable.take_log();
        let gatherer = Gatherer::new(full);
        Ok(Stage { board, streams: Streams::default(), gatherer, full })
    }

    /// Goes on until something is true.
    pub(super) fn until(
        &mut self,
        what: &'static str,
        mut reached: impl FnMut(&Board, &Streams) -> bool,
    ) -> Result<(), SceneError> {
        let limit = self.board.now() + PATIENCE;
        self.board.wake_programs();
        while !reached(&self.board, &self.streams) {
            if !self.board.step(limit, &mut self.streams) {
                return Err(SceneError::Stuck(what));
            }
        }
        Ok(())
    }

    /// Goes on for a while.
    pub(super) fn linger(&mut self, time: Nanos) {
        self.board.wake_programs();
        self.board.run(self.board.now() + time, &mut self.streams);
    }

    /// What was written down since the last time, in the order of its time.
    pub(super) fn events(&mut self) -> Vec<Event> {
        let mut events: Vec<(Nanos, Event)> = Vec::new();
        for event in self.board.usb.bus.take_log() {
            if let Some(message) = self.gatherer.take(&event) {
                events.push((event.at, Event::Message(message)));
            } else if !matches!(event.what, Happening::In { .. } | Happening::Out { .. }) {
                events.push((event.at, Event::Bus(event)));
            }
        }
        for frame in self.board.cable.take_log() {
            if let Some(segment) = segment(&frame) {
                let from_dongle = frame.from == End::Dongle;
                events.push((frame.at, Event::Segment { at: frame.at, from_dongle, segment }));
            }
        }
        events.sort_by_key(|(at, _)| *at);
        events.into_iter().map(|(_, event)| event).collect()
    }
}

fn segment(frame: &SentFrame) -> Option<Segment> {
    let ethernet = EthernetFrame::new_checked(&frame.bytes[..]).ok()?;
    if ethernet.ethertype() != EthernetProtocol::Ipv4 {
        return None;
    }
    let ip = Ipv4Packet::new_checked(ethernet.payload()).ok()?;
    if ip.next_header() != IpProtocol::Tcp {
        return None;
    }
    let tcp = TcpPacket::new_checked(ip.payload()).ok()?;
    Some(Segment {
        payload: tcp.payload().len(),
        window: tcp.window_len(),
        syn: tcp.syn(),
        fin: tcp.fin(),
        rst: tcp.rst(),
    })
}

impl Segment {
    /// In a few words; none for one that only acknowledges.
    pub(super) fn in_words(&self) -> Option<String> {
        let Segment { payload, syn, fin, rst, .. } = *self;
        match (payload, syn, fin, rst) {
            (_, _, _, true) => Some("RST".to_owned()),
            (0, true, _, _) => Some("SYN".to_owned()),
            (0, _, true, _) => Some("FIN".to_owned()),
            (0, ..) => None,
            (payload, ..) => Some(format!("{payload} B")),
        }
    }
}

/// Draws what happened, segments without payload left out.
pub(super) fn draw(story: &mut Story, event: &Event, full: u16) {
    match event {
        Event::Message(message) => story.message(message, full),
        Event::Segment { at, from_dongle, segment } => {
            if let Some(words) = segment.in_words() {
                story.ethernet(*at, *from_dongle, &words);
            }
        }
        Event::Bus(BusEvent { what, .. }) => {
            let remark = match what {
                Happening::SwallowedZlp => "a ZLP is due, and the driver forgets it",
                Happening::Reset => "resets the port",
                _ => return,
            };
            story.remark(Who::Host, remark);
        }
    }
}
