//! The board and the world around it: everything that happens, in the order of its time.
//!
//! ```text
//! phone ⇄ bus ⇄ controller ⇄ firmware ⇄ cable ⇄ PC ⇄ programs
//! ```
//!
//! [`Board::run`] goes from event to event, so idle time costs nothing; what happens depends on the
//! options and the programs alone. The firmware gets a turn when an interrupt would wake it or when
//! it said so, and is busy as long as the [cycle model](crate::cpu) says.

use crate::cable::{Cable, CableQuality, End};
use crate::controller::Controller;
use crate::cpu::Cpu;
use crate::firmware::{self, Firmware, RamPlan};
use crate::pc::Pc;
use crate::time::Nanos;
use usbmux_core::Config;
use usbmux_dongle::usb::Speed;
use usbmux_dongle::{ConfigError, Forward};
use usbmux_phone::Options;

/// What a simulation is made from.
#[derive(Clone, Debug)]
pub struct BoardOptions {
    /// Bit rate of the USB port.
    pub speed: Speed,
    /// The microcontroller's speed.
    pub cpu: Cpu,
    /// The Ethernet cable.
    pub cable: CableQuality,
    /// The phone; its packet size is the bus's.
    pub phone: Options,
    /// Ports of the dongle that lead to ports of the phone.
    pub forwards: Vec<Forward>,
    /// How much RAM the microcontroller has, and what the firmware does with it.
    pub plan: RamPlan,
    /// The engine's sizes and policies.
    pub engine: Config,
    /// Everything that is random follows from it.
    pub seed: u64,
}

impl Default for BoardOptions {
    /// Full speed, 72 MHz, a good cable, an ordinary phone, no forwards.
    fn default() -> Self {
        BoardOptions {
            speed: Speed::Full,
            cpu: Cpu::MHZ_72,
            cable: CableQuality::default(),
            phone: Options::new(1),
            forwards: Vec::new(),
            plan: RamPlan::default(),
            engine: Config::DONGLE,
            seed: 1,
        }
    }
}

/// Programs on the PC.
pub trait Programs {
    /// Does what can be done now; called whenever something may have happened to a connection.
    fn poll(&mut self, now: Nanos, pc: &mut Pc);
}

/// No programs at all.
impl Programs for () {
    fn poll(&mut self, _: Nanos, _: &mut Pc) {}
}

/// The simulated world.
pub struct Board {
    now: Nanos,
    /// The USB host controller, and the bus and the phone on it.
    pub usb: Controller,
    /// The Ethernet cable.
    pub cable: Cable,
    /// The PC.
    pub pc: Pc,
    dongle: Firmware,
    cpu: Cpu,
    busy_until: Nanos,
    busy: Nanos,
    dongle_due: Option<Nanos>,
    dongle_news: bool,
    pc_due: Option<Nanos>,
    pc_news: bool,
}

impl Board {
    /// Makes the world, with the phone beside the dongle: [`plug_in`](Self::plug_in) it.
    ///
    /// The firmware's memory is a static on a microcontroller, and is never given back here either.
    ///
    /// # Errors
    ///
    /// The firmware does not start with these forwards.
    pub fn new(options: &BoardOptions) -> Result<Self, ConfigError> {
        let now = Nanos::ZERO;
        let mut cable = Cable::new(options.cable, options.seed);
        let dongle = firmware::start(options, &mut cable.end(End::Dongle))?;
        let pc = Pc::new(now, &mut cable.end(End::Pc), options.seed);
        Ok(Board {
            now,
            usb: Controller::new(options.speed, &options.phone, options.seed),
            cable,
            pc,
            dongle,
            cpu: options.cpu,
            busy_until: now,
            busy: Nanos::ZERO,
            dongle_due: Some(now),
            dongle_news: true,
            pc_due: Some(now),
            pc_news: true,
        })
    }

    /// The time.
    pub fn now(&self) -> Nanos {
        self.now
    }

    /// The firmware, to look at.
    pub fn dongle(&self) -> &Firmware {
        &self.dongle
    }

    /// How long the microcontroller was busy so far.
    pub fn busy(&self) -> Nanos {
        self.busy
    }

    /// Plugs the phone in.
    pub fn plug_in(&mut self) {
        self.usb.bus.device().plug_in(self.now.instant());
    }

    /// Pulls the phone's cable.
    pub fn unplug(&mut self) {
        self.usb.bus.device().unplug(self.now.instant());
    }

    /// Something happened to the programs from outside: they are due.
    pub fn wake_programs(&mut self) {
        self.pc_news = true;
    }

    /// When something happens next, if nobody does anything.
    pub fn next_event(&self) -> Option<Nanos> {
        let dongle = match self.dongle_news {
            true => Some(self.busy_until),
            false => self.dongle_due.map(|due| due.max(self.busy_until)),
        };
        let pc = if self.pc_news { Some(self.now) } else { self.pc_due };
        let world = [self.usb.bus.next_event(), self.cable.next_event(), dongle, pc];
        world.into_iter().flatten().min().map(|at| at.max(self.now))
    }

    /// Lets everything happen that happens until `until`.
    pub fn run(&mut self, until: Nanos, programs: &mut dyn Programs) {
        while self.step(until, programs) {}
        self.now = self.now.max(until);
    }

    /// Goes on until something is true; says whether that was before the time was over.
    pub fn run_while(
        &mut self,
        until: Nanos,
        programs: &mut dyn Programs,
        mut go_on: impl FnMut(&mut Self) -> bool,
    ) -> bool {
        while go_on(self) {
            if !self.step(until, programs) {
                self.now = self.now.max(until);
                return false;
            }
        }
        true
    }

    /// Goes to the next event, if it is not later than `until`.
    pub fn step(&mut self, until: Nanos, programs: &mut dyn Programs) -> bool {
        let Some(at) = self.next_event().filter(|at| *at <= until) else { return false };
        self.now = at;
        self.usb.bus.run(at);
        self.cable.run(at);
        self.dongle_news |= self.usb.bus.take_news() | self.cable.take_news(End::Dongle);
        self.pc_news |= self.cable.take_news(End::Pc);
        let due = self.dongle_news || self.dongle_due.is_some_and(|due| due <= at);
        if due && self.busy_until <= at {
            self.turn();
        }
        if self.pc_news || self.pc_due.is_some_and(|due| due <= at) {
            self.poll_pc(programs);
        }
        true
    }

    /// One turn of the firmware.
    fn turn(&mut self) {
        self.dongle_news = false;
        let due = {
            let mut end = self.cable.end(End::Dongle);
            self.dongle.poll(self.now.instant(), &mut self.usb, &mut end)
        };
        let usb = self.usb.take_moved_bytes();
        let ethernet = self.cable.take_moved_bytes(End::Dongle);
        let busy = self.cpu.turn(usb, ethernet);
        self.busy += busy;
        self.busy_until = self.now + busy;
        self.dongle_due = due.map(Nanos::from);
        // What came meanwhile is not told twice.
        self.dongle_news = self.cable.has_frames(End::Dongle);
    }

    fn poll_pc(&mut self, programs: &mut dyn Programs) {
        self.pc_news = false;
        self.pc.poll(self.now, &mut self.cable.end(End::Pc));
        programs.poll(self.now, &mut self.pc);
        self.pc.poll(self.now, &mut self.cable.end(End::Pc));
        self.cable.take_moved_bytes(End::Pc);
        // What is due now and was not done waits for room on the cable, which is news.
        self.pc_due = self.pc.next_event(self.now).filter(|due| *due > self.now);
    }
}

impl std::fmt::Debug for Board {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Board").field("now", &self.now).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::pc::DONGLE_ADDRESS;
    use crate::pc::client::{Content, Progress, Stream, Streams};
    use usbmux_phone::ECHO;

    fn board(speed: Speed, ports: &[(u16, u16)]) -> Board {
        let forwards = ports.iter().map(|&(port, device_port)| Forward { port, device_port });
        let cpu = if speed == Speed::Full { Cpu::MHZ_72 } else { Cpu::MHZ_528 };
        let options =
            BoardOptions { speed, cpu, forwards: forwards.collect(), ..BoardOptions::default() };
        let mut board = Board::new(&options).unwrap();
        board.plug_in();
        let ready = board.run_while(Nanos::from_millis(10_000), &mut (), |board| {
            board.pc.dongle_address().is_none() || board.dongle().phone().is_none()
        });
        assert!(ready, "{:?} {:?}", board.pc, board.dongle().link());
        board
    }

    fn run(board: &mut Board, streams: &mut Streams, seconds: u64) {
        let limit = board.now() + Nanos::from_millis(1000 * seconds);
        assert!(streams.run(board, limit), "{streams:#?} {:#?}", board.dongle().counters());
    }

    #[test]
    fn the_dongle_gets_an_address_and_finds_the_phone() {
        let board = board(Speed::Full, &[]);
        assert_eq!(board.pc.dongle_address(), Some(DONGLE_ADDRESS));
    }

    #[test]
    fn an_echo_comes_back_whole() {
        for speed in [Speed::Full, Speed::High] {
            let mut board = board(speed, &[(7, ECHO)]);
            let mut streams = Streams(vec![Stream::new(7, Content::Echo(100_000), 1)]);
            run(&mut board, &mut streams, 60);
            assert_eq!(streams.0[0].progress(), Progress::Done);
        }
    }
}
