//! A USB cable with a host controller at one end and the virtual phone at the other: transactions of
//! single packets in simulated time.
//!
//! The host's side goes round its pipes (control, IN, OUT) as a bulk schedule does. A pipe that was
//! answered NAK is asked again after a pause; while nothing at all happens on the phone, the answer
//! would be the same, so the simulation skips those polls and only counts how long they lasted. A
//! transaction that gets no answer is repeated; after the third time in a row the transfer fails.
//! What firmware sees of all this is [`controller`](crate::controller)'s affair.

mod event;
mod fault;
pub(crate) mod pipe;
mod timing;

pub use event::{BusEvent, Happening};
pub use fault::{Fault, FaultRates};
pub use timing::Timing;

use crate::time::Nanos;
use fault::Fate;
use pipe::{ControlPipe, ControlState, InPipe, OutPipe};
use usbmux_dongle::usb::{Port, Speed, TransferError};
use usbmux_phone::Options;
use usbmux_phone::control::Setup;
use usbmux_phone::device::{Control, Device, Handshake, Packet, Toggle};

/// How often a transaction may stay without an answer before its transfer fails (USB 2.0 §10.2.6).
const ATTEMPTS: u8 = 3;
/// How long a root port drives a reset (USB 2.0 §7.1.7.5, TDRSTR).
const RESET: Nanos = Nanos::from_millis(50);
/// How long an OUT pipe that got a NAK is left alone; an IN pipe: [`Timing`].
const OUT_PAUSE: Nanos = Nanos::from_micros(20);

/// What the bus counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BusStats {
    /// IN packets that arrived, empty ones included.
    pub in_packets: u64,
    /// OUT packets that arrived, empty ones included.
    pub out_packets: u64,
    /// Bytes in them.
    pub in_bytes: u64,
    /// Bytes in them.
    pub out_bytes: u64,
    /// Empty packets, both ways.
    pub zlps: u64,
    /// Transactions that were answered NAK, those that were skipped not included.
    pub naks: u64,
    /// Transactions that got no answer, or a damaged one.
    pub errors: u64,
    /// Packets that came twice because a handshake was lost, and were dropped by the receiver.
    pub repeats: u64,
}

/// A transaction under way.
#[derive(Debug)]
struct Current {
    end: Nanos,
    what: Transaction,
}

#[derive(Debug)]
enum Transaction {
    Control(Option<Fault>),
    In(InAnswer),
    Out(Option<Fault>),
}

#[derive(Debug)]
enum InAnswer {
    Data(Toggle, Vec<u8>, Option<Fault>),
    /// With the epoch at the time of the question.
    Nak(u64),
    Stall,
    Silence,
    Babble,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PipeName {
    Control,
    In,
    Out,
}

/// The bus, the phone on it, and the controller's pipes.
#[derive(Debug)]
pub struct Bus {
    pub(crate) now: Nanos,
    device: Device,
    speed: Speed,
    timing: Timing,
    port: Port,
    reset_ends: Nanos,
    fate: Fate,
    free_at: Nanos,
    current: Option<Current>,
    /// Counts what may turn a NAK of the phone's into something else.
    epoch: u64,
    in_was_last: bool,
    pub(crate) control: ControlPipe,
    pub(crate) input: InPipe,
    pub(crate) output: OutPipe,
    /// Something completed or changed since the firmware looked.
    news: bool,
    stats: BusStats,
    log: Option<Vec<BusEvent>>,
}

impl Bus {
    /// Makes a bus of this speed with a phone of these options beside it: it is plugged in with
    /// [`device`](Self::device).
    pub fn new(speed: Speed, options: &Options, fifo_bytes: usize, seed: u64) -> Self {
        let timing = Timing::of(speed);
        let mut options = options.clone();
        options.max_packet = timing.max_packet;
        Bus {
            now: Nanos::ZERO,
            device: Device::new(&options),
            speed,
            timing,
            port: Port::Empty,
            reset_ends: Nanos::ZERO,
            fate: Fate::new(FaultRates::default(), seed),
            free_at: Nanos::ZERO,
            current: None,
            epoch: 0,
            in_was_last: false,
            control: ControlPipe::default(),
            input: InPipe::new(fifo_bytes),
            output: OutPipe::new(fifo_bytes),
            news: false,
            stats: BusStats::default(),
            log: None,
        }
    }

    /// Bit rate.
    pub fn speed(&self) -> Speed {
        self.speed
    }

    /// The byte times of its speed.
    pub fn timing(&self) -> Timing {
        self.timing
    }

    /// What was counted.
    pub fn stats(&self) -> BusStats {
        self.stats
    }

    /// The phone, to plug it in, to pull it out, to halt an endpoint.
    pub fn device(&mut self) -> &mut Device {
        // Whatever is done to it may change its answers.
        self.epoch += 1;
        &mut self.device
    }

    /// The phone, to look at.
    pub fn phone(&self) -> &Device {
        &self.device
    }

    /// Sets how often transactions go wrong.
    pub fn set_fault_rates(&mut self, rates: FaultRates) {
        self.fate.set_rates(rates);
    }

    /// Lets the next transaction go wrong; several orders are carried out one after the other.
    pub fn order_fault(&mut self, fault: Fault) {
        self.fate.order(fault);
    }

    /// Begins to write down what happens, or takes what was written and goes on.
    pub fn take_log(&mut self) -> Vec<BusEvent> {
        self.log.replace(Vec::new()).unwrap_or_default()
    }

    /// Whether something completed or changed since this was asked last: the interrupt line.
    pub(crate) fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.news)
    }

    /// When something happens next, if nobody does anything.
    pub fn next_event(&self) -> Option<Nanos> {
        let device = self.device.next_tick().map(Nanos::from);
        let reset = (self.port == Port::Resetting).then_some(self.reset_ends);
        let transaction = match &self.current {
            Some(current) => Some(current.end),
            None => self.next_start().map(|(_, at)| at),
        };
        [device, reset, transaction].into_iter().flatten().min()
    }

    /// Lets everything happen that happens until `now`.
    pub fn run(&mut self, now: Nanos) {
        self.now = now;
        if self.device.next_tick().is_some_and(|at| Nanos::from(at) <= now) {
            self.device.tick(now.instant());
            self.epoch += 1;
        }
        self.watch_port();
        loop {
            match &self.current {
                Some(current) if current.end > now => return,
                Some(_) => {
                    if let Some(Current { end, what }) = self.current.take() {
                        self.finish(end, what);
                    }
                }
                None => match self.next_start() {
                    Some((pipe, at)) if at <= now => self.begin(pipe, at),
                    _ => return,
                },
            }
        }
    }

    pub(crate) fn port(&self) -> Port {
        self.port
    }

    pub(crate) fn reset_port(&mut self) {
        if self.port != Port::Empty {
            self.abandon();
            self.port = Port::Resetting;
            self.reset_ends = self.now + RESET;
            self.note(self.now, Happening::Reset);
        }
    }

    /// The driver did not send a zero-length packet, and says it did.
    pub(crate) fn swallowed_zlp(&mut self) {
        self.news = true;
        self.note(self.now, Happening::SwallowedZlp);
    }

    /// Forgets all transfers.
    fn abandon(&mut self) {
        self.current = None;
        self.control.state = ControlState::Idle;
        self.input.close();
        self.output.close();
    }

    fn watch_port(&mut self) {
        match (self.port, self.device.is_plugged()) {
            (Port::Empty, true) => {
                self.port = Port::Attached;
                self.note(self.now, Happening::Plugged);
            }
            (Port::Empty, false) => return,
            (_, false) => {
                self.port = Port::Empty;
                self.current = None;
                self.fail_all(TransferError::Gone);
                self.note(self.now, Happening::Unplugged);
            }
            (Port::Resetting, true) if self.reset_ends <= self.now => {
                self.device.bus_reset(self.now.instant());
                self.epoch += 1;
                self.port = Port::Enabled(self.speed);
            }
            _ => return,
        }
        self.news = true;
    }

    fn fail_all(&mut self, error: TransferError) {
        if matches!(self.control.state, ControlState::Pending { .. }) {
            self.control.state = ControlState::Done(Err(error));
        }
        self.input.fail(error);
        self.output.fail(error);
        self.news = true;
    }

    /// The pipe that is served next, and when.
    fn next_start(&self) -> Option<(PipeName, Nanos)> {
        if !matches!(self.port, Port::Enabled(_)) {
            return None;
        }
        let free = self.free_at.max(self.now);
        let size = usize::from(self.timing.max_packet);
        let start = |ready: Nanos, bytes| self.timing.start(ready.max(free), bytes);
        if matches!(self.control.state, ControlState::Pending { .. }) {
            return Some((PipeName::Control, start(Nanos::ZERO, size)));
        }
        let input = self.input.ready(size, self.epoch).map(|at| (PipeName::In, start(at, size)));
        let output = self
            .output
            .ready(self.epoch)
            .map(|at| (PipeName::Out, start(at, self.output.packet(size).len())));
        match (input, output) {
            (Some(input), Some(output)) if input.1 == output.1 => {
                Some(if self.in_was_last { output } else { input })
            }
            (Some(input), Some(output)) => Some(if input.1 < output.1 { input } else { output }),
            (input, output) => input.or(output),
        }
    }

    fn begin(&mut self, pipe: PipeName, at: Nanos) {
        self.in_was_last = pipe == PipeName::In;
        let fault = self.fate.decide();
        let (what, takes) = match pipe {
            PipeName::Control => self.begin_control(fault),
            PipeName::In => self.begin_in(at, fault),
            PipeName::Out => {
                let bytes = self.output.packet(usize::from(self.timing.max_packet)).len();
                (Transaction::Out(fault), self.timing.transaction(bytes))
            }
        };
        self.current = Some(Current { end: at + takes, what });
    }

    fn begin_control(&self, fault: Option<Fault>) -> (Transaction, Nanos) {
        let ControlState::Pending { setup, max_packet, .. } = &self.control.state else {
            return (Transaction::Control(fault), Nanos::ZERO);
        };
        let bytes = match fault {
            Some(_) => 0,
            None => usize::from(setup.length),
        };
        (Transaction::Control(fault), self.timing.control(bytes, *max_packet))
    }

    fn begin_in(&mut self, at: Nanos, fault: Option<Fault>) -> (Transaction, Nanos) {
        let refusal = self.timing.refusal();
        let Some((address, endpoint)) = self.input.place else {
            return (Transaction::In(InAnswer::Silence), refusal);
        };
        if fault == Some(Fault::LostPacket) {
            return (Transaction::In(InAnswer::Silence), refusal);
        }
        let size = usize::from(self.timing.max_packet);
        let (answer, takes) = match self.device.in_packet(at.instant(), address, endpoint.address) {
            Packet::Data { .. } if fault == Some(Fault::Babble) => {
                (InAnswer::Babble, self.timing.transaction(size))
            }
            Packet::Data { toggle, bytes } => {
                let takes = self.timing.transaction(bytes.len());
                (InAnswer::Data(toggle, bytes.to_vec(), fault), takes)
            }
            Packet::Nak => (InAnswer::Nak(self.epoch), refusal),
            Packet::Stall => (InAnswer::Stall, refusal),
            Packet::Silence => (InAnswer::Silence, refusal),
        };
        (Transaction::In(answer), takes)
    }

    fn finish(&mut self, at: Nanos, what: Transaction) {
        self.free_at = at;
        match what {
            Transaction::Control(fault) => self.finish_control(at, fault),
            Transaction::In(answer) => self.finish_in(at, answer),
            Transaction::Out(fault) => self.finish_out(at, fault),
        }
    }

    fn finish_control(&mut self, at: Nanos, fault: Option<Fault>) {
        let ControlState::Pending { address, setup, attempts, .. } = &mut self.control.state else {
            return;
        };
        let (address, request) = (*address, *setup);
        let setup = Setup {
            request_type: request.request_type,
            request: request.request,
            value: request.value,
            index: request.index,
            length: request.length,
        };
        let answer = match fault {
            Some(_) => Control::Silence,
            None => self.device.control(at.instant(), address, setup),
        };
        self.epoch += 1;
        let result = match answer {
            Control::Data(data) => Ok(data),
            Control::Stall => Err(TransferError::Stall),
            Control::Silence => {
                self.stats.errors += 1;
                *attempts += 1;
                if *attempts < ATTEMPTS {
                    return;
                }
                Err(TransferError::Bus)
            }
        };
        let bytes = result.as_ref().map(Vec::len).map_err(|error| *error);
        self.note(at, Happening::Control { address, setup: request, result: bytes });
        self.control.state = ControlState::Done(result);
        self.news = true;
    }

    fn finish_in(&mut self, at: Nanos, answer: InAnswer) {
        match answer {
            InAnswer::Nak(epoch) => {
                self.stats.naks += 1;
                self.input.refused(at, at + self.timing.in_pause, epoch);
            }
            InAnswer::Stall => self.fail_in(at, TransferError::Stall),
            InAnswer::Babble => {
                self.stats.errors += 1;
                self.fail_in(at, TransferError::Bus);
            }
            InAnswer::Silence => {
                self.stats.errors += 1;
                self.note(at, Happening::InError);
                if self.input.unanswered() >= ATTEMPTS {
                    self.fail_in(at, TransferError::Bus);
                }
            }
            InAnswer::Data(toggle, bytes, fault) => self.in_data(at, toggle, bytes, fault),
        }
    }

    fn fail_in(&mut self, at: Nanos, error: TransferError) {
        self.note(at, Happening::InFailed { error });
        self.input.fail(error);
        self.news = true;
    }

    fn in_data(&mut self, at: Nanos, toggle: Toggle, bytes: Vec<u8>, fault: Option<Fault>) {
        if fault != Some(Fault::LostHandshake) {
            self.device.in_acknowledged(at.instant());
            self.epoch += 1;
        }
        if toggle != self.input.toggle {
            self.stats.repeats += 1;
            return;
        }
        self.stats.in_packets += 1;
        self.stats.in_bytes += bytes.len() as u64;
        self.stats.zlps += u64::from(bytes.is_empty());
        self.note_wait(at, true);
        if self.log.is_some() {
            self.note(at, Happening::In { bytes: bytes.clone() });
        }
        self.input.arrived(bytes);
        self.news = true;
    }

    fn finish_out(&mut self, at: Nanos, fault: Option<Fault>) {
        let size = usize::from(self.timing.max_packet);
        let Some((address, endpoint)) = self.output.place else { return };
        let packet = self.output.packet(size);
        let length = packet.len();
        let lost = matches!(fault, Some(Fault::LostPacket | Fault::Babble));
        let handshake = match lost {
            true => Handshake::Silence,
            false => {
                let repeats = self.output.repeats;
                let toggle = self.output.toggle;
                let answer =
                    self.device.out_packet(at.instant(), address, endpoint.address, toggle, packet);
                self.stats.repeats += u64::from(repeats && answer == Handshake::Ack);
                answer
            }
        };
        match handshake {
            Handshake::Nak => {
                self.stats.naks += 1;
                self.output.refused(at, at + OUT_PAUSE, self.epoch);
                return;
            }
            Handshake::Stall => return self.fail_out(at, TransferError::Stall),
            Handshake::Ack if fault == Some(Fault::LostHandshake) => {
                self.epoch += 1;
                self.output.repeats = true;
            }
            Handshake::Ack => {
                self.epoch += 1;
                self.stats.out_packets += 1;
                self.stats.out_bytes += length as u64;
                self.stats.zlps += u64::from(length == 0);
                self.note_wait(at, false);
                if self.log.is_some() {
                    let bytes = self.output.packet(size).to_vec();
                    self.note(at, Happening::Out { bytes });
                }
                self.news |= self.output.went(length);
                return;
            }
            Handshake::Silence => {}
        }
        self.stats.errors += 1;
        self.note(at, Happening::OutError);
        if self.output.unanswered() >= ATTEMPTS {
            self.fail_out(at, TransferError::Bus);
        }
    }

    fn fail_out(&mut self, at: Nanos, error: TransferError) {
        self.note(at, Happening::OutFailed { error });
        self.output.fail(error);
        self.news = true;
    }

    fn note(&mut self, at: Nanos, what: Happening) {
        if let Some(log) = &mut self.log {
            log.push(BusEvent { at, what });
        }
    }

    /// A pipe that was refused is served: tells how long it had to ask.
    fn note_wait(&mut self, at: Nanos, input: bool) {
        let since = if input { self.input.refused_since() } else { self.output.refused_since() };
        if let Some(since) = since {
            self.note(at, Happening::Refused { input, since });
        }
    }
}
