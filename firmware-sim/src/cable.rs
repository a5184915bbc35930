//! An Ethernet cable of 100 Mbit/s between the dongle and the PC, with delay and loss, and the
//! descriptor rings at both ends.

use crate::time::Nanos;
use fastrand::Rng;
use smoltcp::phy::{self, Device, DeviceCapabilities, Medium};
use smoltcp::time::Instant;
use std::collections::VecDeque;

/// Largest frame without its checksum, in bytes.
const MTU: usize = 1514;
/// Preamble, checksum and gap, in bytes.
const FRAME_OVERHEAD: u64 = 24;
/// A byte at 100 Mbit/s.
const BYTE: Nanos = Nanos(80);
/// Frames that wait to be sent at most; then the sender has to wait. Two each way are what the
/// dongle's budget has memory for.
const TRANSMIT_RING: usize = 2;
/// Frames that wait to be read in memory at most; the next ones stay in the controller's FIFO.
const RECEIVE_RING: usize = 2;
/// That FIFO, in bytes, as the STM32F107's Ethernet block has it; what finds no room is lost.
const RECEIVE_FIFO: usize = 2048;
/// The same of a PC.
const PC_TRANSMIT_RING: usize = 64;
const PC_RECEIVE_RING: usize = 256;

/// The ends of the cable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// The microcontroller's.
    Dongle,
    /// The PC's.
    Pc,
}

/// How good a cable is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CableQuality {
    /// From one end to the other, switches included.
    pub delay: Nanos,
    /// Frames lost of a million.
    pub loss_ppm: u32,
}

impl Default for CableQuality {
    /// A switch between, and nothing lost.
    fn default() -> Self {
        CableQuality { delay: Nanos::from_micros(50), loss_ppm: 0 }
    }
}

/// What a direction of the cable counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CableStats {
    /// Frames sent.
    pub sent: u64,
    /// Frames that the cable lost.
    pub lost: u64,
    /// Frames that found the receiver's ring full.
    pub overrun: u64,
}

/// One direction.
#[derive(Debug)]
struct Lane {
    /// When the frames that wait to be sent will have left.
    leaving: VecDeque<Nanos>,
    in_flight: VecDeque<(Nanos, Vec<u8>)>,
    arrived: VecDeque<Vec<u8>>,
    ring: usize,
    fifo_bytes: usize,
    transmit_ring: usize,
    /// Somebody wanted to send and could not.
    awaited: bool,
    stats: CableStats,
}

impl Lane {
    fn new(transmit_ring: usize, ring: usize, fifo_bytes: usize) -> Self {
        Lane {
            leaving: VecDeque::new(),
            in_flight: VecDeque::new(),
            arrived: VecDeque::new(),
            ring,
            fifo_bytes,
            transmit_ring,
            awaited: false,
            stats: CableStats::default(),
        }
    }

    /// Whether anything came to the receiver's or the sender's notice.
    fn run(&mut self, now: Nanos) -> (bool, bool) {
        let mut arrived = false;
        while self.in_flight.front().is_some_and(|(at, _)| *at <= now)
            && let Some((_, frame)) = self.in_flight.pop_front()
        {
            let in_fifo = self.arrived.iter().skip(self.ring).map(Vec::len).sum::<usize>();
            if self.arrived.len() < self.ring || in_fifo + frame.len() <= self.fifo_bytes {
                self.arrived.push_back(frame);
            } else {
                self.stats.overrun += 1;
            }
            arrived = true;
        }
        while self.leaving.front().is_some_and(|at| *at <= now) {
            self.leaving.pop_front();
        }
        let room = self.leaving.len() < self.transmit_ring;
        (arrived, room && std::mem::take(&mut self.awaited))
    }

    fn next_event(&self) -> Option<Nanos> {
        let arrival = self.in_flight.front().map(|(at, _)| *at);
        let room = self.leaving.front().copied().filter(|_| self.awaited);
        arrival.into_iter().chain(room).min()
    }
}

/// The cable.
#[derive(Debug)]
pub struct Cable {
    now: Nanos,
    quality: CableQuality,
    random: Rng,
    to_pc: Lane,
    to_dongle: Lane,
    news: [bool; 2],
    moved_bytes: [u64; 2],
    log: Option<Vec<SentFrame>>,
}

/// A frame on the cable, for those who write it down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentFrame {
    /// When it was handed to the sender's ring.
    pub at: Nanos,
    /// Who sent it.
    pub from: End,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl Cable {
    /// Makes a cable; what it loses depends on the seed alone.
    pub fn new(quality: CableQuality, seed: u64) -> Self {
        Cable {
            now: Nanos::ZERO,
            quality,
            random: Rng::with_seed(seed),
            to_pc: Lane::new(TRANSMIT_RING, PC_RECEIVE_RING, 0),
            to_dongle: Lane::new(PC_TRANSMIT_RING, RECEIVE_RING, RECEIVE_FIFO),
            news: [false; 2],
            moved_bytes: [0; 2],
            log: None,
        }
    }

    /// Begins to write down what is sent, or takes what was written and goes on.
    pub fn take_log(&mut self) -> Vec<SentFrame> {
        self.log.replace(Vec::new()).unwrap_or_default()
    }

    /// Makes it better or worse from now on.
    pub fn set_quality(&mut self, quality: CableQuality) {
        self.quality = quality;
    }

    /// What was counted in the direction towards this end.
    pub fn stats_towards(&self, end: End) -> CableStats {
        match end {
            End::Pc => self.to_pc.stats,
            End::Dongle => self.to_dongle.stats,
        }
    }

    /// When a frame arrives next, or room that somebody waits for.
    pub fn next_event(&self) -> Option<Nanos> {
        self.to_pc.next_event().into_iter().chain(self.to_dongle.next_event()).min()
    }

    /// Lets everything happen that happens until `now`.
    pub fn run(&mut self, now: Nanos) {
        self.now = now;
        let [dongle, pc] = &mut self.news;
        let (arrived, room) = self.to_pc.run(now);
        (*pc, *dongle) = (*pc | arrived, *dongle | room);
        let (arrived, room) = self.to_dongle.run(now);
        (*dongle, *pc) = (*dongle | arrived, *pc | room);
    }

    /// Whether an end has something new since this was asked last: the interrupt line.
    pub(crate) fn take_news(&mut self, end: End) -> bool {
        std::mem::take(&mut self.news[end as usize])
    }

    /// Whether frames lie in this end's ring.
    pub(crate) fn has_frames(&self, end: End) -> bool {
        match end {
            End::Dongle => !self.to_dongle.arrived.is_empty(),
            End::Pc => !self.to_pc.arrived.is_empty(),
        }
    }

    /// Bytes that one end moved since this was asked last.
    pub(crate) fn take_moved_bytes(&mut self, end: End) -> u64 {
        std::mem::take(&mut self.moved_bytes[end as usize])
    }

    /// An end, as a network device.
    pub fn end(&mut self, end: End) -> CableEnd<'_> {
        CableEnd { cable: self, end }
    }

    fn lane_from(&mut self, end: End) -> &mut Lane {
        match end {
            End::Dongle => &mut self.to_pc,
            End::Pc => &mut self.to_dongle,
        }
    }

    fn send(&mut self, from: End, frame: Vec<u8>) {
        let lost =
            self.quality.loss_ppm > 0 && self.random.u32(..1_000_000) < self.quality.loss_ppm;
        self.moved_bytes[from as usize] += frame.len() as u64;
        let (now, delay) = (self.now, self.quality.delay);
        if let Some(log) = &mut self.log {
            log.push(SentFrame { at: now, from, bytes: frame.clone() });
        }
        let lane = self.lane_from(from);
        let takes = Nanos((frame.len() as u64 + FRAME_OVERHEAD) * BYTE.0);
        let leaves = lane.leaving.back().copied().unwrap_or(now).max(now) + takes;
        lane.leaving.push_back(leaves);
        lane.stats.sent += 1;
        if lost {
            lane.stats.lost += 1;
        } else {
            lane.in_flight.push_back((leaves + delay, frame));
        }
    }
}

/// One end of a cable, as a network device.
#[derive(Debug)]
pub struct CableEnd<'a> {
    cable: &'a mut Cable,
    end: End,
}

impl CableEnd<'_> {
    fn has_room(&mut self) -> bool {
        let now = self.cable.now;
        let lane = self.cable.lane_from(self.end);
        while lane.leaving.front().is_some_and(|at| *at <= now) {
            lane.leaving.pop_front();
        }
        lane.awaited = lane.leaving.len() >= lane.transmit_ring;
        !lane.awaited
    }
}

impl Device for CableEnd<'_> {
    type RxToken<'a>
        = Frame
    where
        Self: 'a;
    type TxToken<'a>
        = Sender<'a>
    where
        Self: 'a;

    fn receive(&mut self, _: Instant) -> Option<(Frame, Sender<'_>)> {
        if !self.has_room() {
            return None;
        }
        let lane = match self.end {
            End::Dongle => &mut self.cable.to_dongle,
            End::Pc => &mut self.cable.to_pc,
        };
        let frame = lane.arrived.pop_front()?;
        self.cable.moved_bytes[self.end as usize] += frame.len() as u64;
        Some((Frame(frame), Sender { cable: self.cable, end: self.end }))
    }

    fn transmit(&mut self, _: Instant) -> Option<Sender<'_>> {
        self.has_room().then_some(Sender { cable: self.cable, end: self.end })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = MTU;
        capabilities
    }
}

/// A frame that arrived.
#[derive(Debug)]
pub struct Frame(Vec<u8>);

impl phy::RxToken for Frame {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(&self.0)
    }
}

/// Room for one frame.
#[derive(Debug)]
pub struct Sender<'a> {
    cable: &'a mut Cable,
    end: End,
}

impl phy::TxToken for Sender<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, write: F) -> R {
        let mut frame = vec![0; length];
        let result = write(&mut frame);
        self.cable.send(self.end, frame);
        result
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use phy::{RxToken, TxToken};

    fn send(cable: &mut Cable, length: usize) -> bool {
        let mut end = cable.end(End::Dongle);
        let sender = end.transmit(Instant::ZERO);
        sender.map(|sender| sender.consume(length, |frame| frame.fill(7))).is_some()
    }

    #[test]
    fn frames_take_their_time_and_the_sender_waits_for_room() {
        let mut cable = Cable::new(CableQuality::default(), 1);
        assert!(send(&mut cable, 1226) && send(&mut cable, 1226));
        assert!(!send(&mut cable, 1226));
        // 1250 byte times of 80 ns.
        assert_eq!(cable.next_event(), Some(Nanos::from_micros(100)));
        cable.run(Nanos::from_micros(100));
        assert!(cable.take_news(End::Dongle) && !cable.take_news(End::Pc));
        assert!(send(&mut cable, 60));
        assert_eq!(cable.next_event(), Some(Nanos::from_micros(150)));
        cable.run(Nanos::from_micros(150));
        assert!(cable.take_news(End::Pc));
        let mut end = cable.end(End::Pc);
        let (frame, _) = end.receive(Instant::ZERO).unwrap();
        assert_eq!(frame.consume(<[u8]>::len), 1226);
        assert!(end.receive(Instant::ZERO).is_none());
    }

    #[test]
    fn as_many_frames_are_lost_as_it_says() {
        let quality = CableQuality { loss_ppm: 100_000, ..CableQuality::default() };
        let lost = |seed| {
            let mut cable = Cable::new(quality, seed);
            for step in 0..10_000 {
                cable.run(Nanos::from_millis(step));
                assert!(send(&mut cable, 60));
            }
            cable.stats_towards(End::Pc)
        };
        assert_eq!(lost(3), lost(3));
        assert!((900..1100).contains(&lost(3).lost));
        assert_eq!(lost(3).overrun, 10_000 - lost(3).lost - PC_RECEIVE_RING as u64 - 1);
    }
}
