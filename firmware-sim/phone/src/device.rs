//! The phone as its USB host controller sees it: addresses, tokens, packets, handshakes.
//!
//! For simulators of a bus and for cables that carry packets. It reads no clock and no socket:
//! `now` is an argument, and mapped ports are served by [`MappedPorts`] on an
//! executor, if there is one. Control transfers come whole, since nobody interleaves their stages; bulk transactions come
//! one packet at a time, with the data toggles of USB 2.0 §8.6, so that a handshake may be lost.
//! Left out: the other interfaces' endpoints, which answer NAK for ever, as those of a phone with
//! nothing to say.

use crate::control::{Answer, ControlEndpoint, Setup};
use crate::descriptors::{MUX_IN, MUX_OUT};
use crate::identity::Identity;
use crate::options::{Options, Quirk};
#[cfg(not(target_family = "wasm"))]
use crate::outside::MappedPorts;
use crate::outside::Outside;
use crate::phone::{Counters, Phone};
use std::fmt;
#[cfg(not(target_family = "wasm"))]
use std::task::Waker;
use std::time::Duration;
use usbmux_core::{Instant, LinkState};

/// What a program on the phone needs to wake up when bytes have arrived for it; a guess. Until then
/// they are not read, and an RST of the host's loses them.
const PROGRAM_LATENCY: Duration = Duration::from_micros(100);

/// How long the phone stays off the bus when it switches its mode.
const MODE_SWITCH: Duration = Duration::from_millis(500);

/// The number in a data packet's PID (USB 2.0 §8.6): tells a new packet from one that is repeated
/// because its handshake was lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Toggle {
    /// The first packet after a reset, a configuration or a cleared halt.
    #[default]
    Data0,
    /// Every second packet.
    Data1,
}

impl Toggle {
    /// Of the packet behind one with this.
    #[must_use]
    pub fn next(self) -> Self {
        match self {
            Toggle::Data0 => Toggle::Data1,
            Toggle::Data1 => Toggle::Data0,
        }
    }
}

/// What an OUT packet gets for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Handshake {
    /// Taken, now or before: a repeated packet is acknowledged and dropped.
    Ack,
    /// No room now.
    Nak,
    /// The endpoint is halted.
    Stall,
    /// Nobody answers: no such address, no such endpoint, not configured.
    Silence,
}

/// What an IN token gets for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// A packet, the same one again until [`Device::in_acknowledged`]; empty for a ZLP.
    Data {
        /// Its number.
        toggle: Toggle,
        /// Its bytes, at most wMaxPacketSize.
        bytes: &'a [u8],
    },
    /// Nothing to say now.
    Nak,
    /// The endpoint is halted.
    Stall,
    /// Nobody answers: no such address, no such endpoint, not configured.
    Silence,
}

/// How a control transfer ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// Done; the data stage's bytes, no more than were asked for.
    Data(Vec<u8>),
    /// The phone does not do that.
    Stall,
    /// Nobody answers at this address, or the phone never does.
    Silence,
}

/// One of the two bulk endpoints of the mux interface, as its own hardware knows it.
#[derive(Clone, Copy, Debug, Default)]
struct Endpoint {
    toggle: Toggle,
    halted: bool,
}

/// A phone at the level of USB packets.
///
/// Its mux interface has bulk OUT endpoint [`MUX_OUT`] and bulk IN endpoint [`MUX_IN`] while
/// configuration 3 or 4 is active. After each call [`next_tick`](Self::next_tick) may change, and an
/// IN token that got a NAK may get a packet.
///
/// ```
/// use usbmux_core::Instant;
/// use usbmux_phone::Options;
/// use usbmux_phone::control::Setup;
/// use usbmux_phone::device::{Control, Device};
///
/// let now = Instant::ZERO;
/// let mut phone = Device::new(&Options::new(1));
/// phone.plug_in(now);
/// phone.bus_reset(now);
/// let get_device = Setup::parse(&[0x80, 6, 0, 1, 0, 0, 18, 0]);
/// let Control::Data(descriptor) = phone.control(now, 0, get_device) else { panic!("stalled") };
/// assert_eq!(descriptor[8..12], [0xac, 0x05, 0xa8, 0x12]);
/// ```
pub struct Device {
    phone: Phone,
    control: ControlEndpoint,
    identity: Identity,
    max_packet: u16,
    plugged: bool,
    address: u8,
    output: Endpoint,
    input: Endpoint,
    /// When the programs run next.
    run_at: Option<Instant>,
    unplug_after: Option<Duration>,
    unplug_at: Option<Instant>,
    replug_after: Option<Duration>,
    /// When it comes back: in another mode, or plugged in again by the quirk `replug`.
    return_at: Option<Instant>,
    outside: Outside,
    /// For packets on their way into the phone.
    buffer: Vec<u8>,
}

impl Device {
    /// Makes a phone; it is not plugged in.
    pub fn new(options: &Options) -> Self {
        let identity = Identity::new(options.number);
        let unplug_after = options.quirks.iter().rev().find_map(|quirk| match quirk {
            Quirk::Unplug { after } => Some(*after),
            _ => None,
        });
        let replug_after = options.quirks.iter().rev().find_map(|quirk| match quirk {
            Quirk::Replug { after } => Some(*after),
            _ => None,
        });
        Device {
            phone: Phone::new(options),
            control: ControlEndpoint::new(identity.clone(), options.max_packet)
                .with_quirks(&options.quirks),
            identity,
            max_packet: options.max_packet.max(1),
            plugged: false,
            address: 0,
            output: Endpoint::default(),
            input: Endpoint::default(),
            run_at: None,
            unplug_after,
            unplug_at: None,
            replug_after,
            return_at: None,
            outside: Outside::default(),
            buffer: Vec::new(),
        }
    }

    /// Who the phone is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Size of a full packet on both bulk endpoints, in bytes.
    #[doc(alias = "wMaxPacketSize")]
    pub fn max_packet(&self) -> u16 {
        self.max_packet
    }

    /// What happened on the phone so far.
    pub fn counters(&self) -> Counters {
        self.phone.counters()
    }

    /// Connections of the phone that have not ended.
    pub fn connections(&self) -> usize {
        self.phone.connections()
    }

    /// Whether the cable is in.
    pub fn is_plugged(&self) -> bool {
        self.plugged
    }

    /// Where its engine's link stands.
    pub fn link(&self) -> LinkState {
        self.phone.link()
    }

    /// Gives it the quirk [`Overrun`](Quirk::Overrun) or takes it away, from the next frame of the
    /// host's on.
    pub fn overrun(&mut self, overruns: bool) {
        self.phone.overrun(overruns);
    }

    /// The cable goes in; the quirk `unplug` counts its time from here. With the quirk `replug` it
    /// goes in again by itself each time after that.
    pub fn plug_in(&mut self, now: Instant) {
        if self.plugged {
            return;
        }
        self.plugged = true;
        self.return_at = None;
        self.unplug_at = self.unplug_after.map(|after| now + after);
        self.forget_bus();
        self.phone.plug_in(now);
    }

    /// The cable goes out: everything ends.
    pub fn unplug(&mut self, now: Instant) {
        self.return_at = None;
        if self.plugged {
            self.leave_bus(now);
        }
    }

    /// A reset of the port: the phone is at address 0, not configured, and forgets its session.
    pub fn bus_reset(&mut self, now: Instant) {
        if self.plugged {
            self.forget_bus();
            self.phone.port_reset(now);
        }
    }

    /// Carries out a control transfer whose data stage, if any, goes towards the host.
    pub fn control(&mut self, now: Instant, address: u8, setup: Setup) -> Control {
        const SET_ADDRESS: (u8, u8) = (0x00, 5);
        const CLEAR_ENDPOINT_FEATURE: (u8, u8) = (0x02, 1);
        if !self.plugged || address != self.address {
            return Control::Silence;
        }
        let had_mux = self.control.has_mux();
        let data = match self.control.answer(setup) {
            Answer::Stall => return Control::Stall,
            Answer::Nothing => return Control::Silence,
            Answer::Data(data) => data,
            Answer::Switch { data, .. } => {
                self.leave_bus(now);
                self.return_at = Some(now + MODE_SWITCH);
                return Control::Data(data);
            }
        };
        let [low, _] = setup.value.to_le_bytes();
        match (setup.request_type, setup.request) {
            SET_ADDRESS => self.address = low & 0x7f,
            CLEAR_ENDPOINT_FEATURE => self.clear_halt(setup.index),
            _ if setup.is_set_configuration() => {
                (self.output, self.input) = Default::default();
                if had_mux {
                    self.phone.port_reset(now);
                }
            }
            _ => {}
        }
        Control::Data(data)
    }

    /// Takes an OUT packet.
    pub fn out_packet(
        &mut self,
        now: Instant,
        address: u8,
        endpoint: u8,
        toggle: Toggle,
        bytes: &[u8],
    ) -> Handshake {
        if !self.is_addressed(address) || bytes.len() > usize::from(self.max_packet) {
            return Handshake::Silence;
        }
        if endpoint != MUX_OUT {
            return Handshake::Nak;
        }
        if self.output.halted {
            return Handshake::Stall;
        }
        if toggle != self.output.toggle {
            return Handshake::Ack;
        }
        if !self.phone.takes_out() {
            return Handshake::Nak;
        }
        self.output.toggle = toggle.next();
        self.buffer.clear();
        self.buffer.extend_from_slice(bytes);
        self.phone.take_packet(now, &mut self.buffer);
        self.schedule_programs(now);
        Handshake::Ack
    }

    /// Answers an IN token.
    pub fn in_packet(&mut self, now: Instant, address: u8, endpoint: u8) -> Packet<'_> {
        if !self.is_addressed(address) {
            return Packet::Silence;
        }
        if endpoint != MUX_IN {
            return Packet::Nak;
        }
        let Endpoint { toggle, halted } = self.input;
        if halted {
            return Packet::Stall;
        }
        match self.phone.in_packet(now) {
            Some(bytes) => Packet::Data { toggle, bytes },
            None => Packet::Nak,
        }
    }

    /// The host acknowledged the packet that the last IN token got.
    pub fn in_acknowledged(&mut self, now: Instant) {
        self.input.toggle = self.input.toggle.next();
        self.phone.in_packet_arrived();
        self.schedule_programs(now);
    }

    /// Halts a bulk endpoint, by its address: a fault, until the host clears it.
    #[doc(alias = "STALL")]
    pub fn halt(&mut self, endpoint: u8) {
        match endpoint {
            MUX_OUT => self.output.halted = true,
            MUX_IN => self.input.halted = true,
            _ => {}
        }
    }

    /// Lets time pass, and programs run.
    pub fn tick(&mut self, now: Instant) {
        if self.return_at.is_some_and(|at| at <= now) {
            self.plug_in(now);
        }
        if self.unplug_at.is_some_and(|at| at <= now) {
            self.leave_bus(now);
            self.return_at = self.replug_after.map(|after| now + after);
        }
        if !self.plugged {
            return;
        }
        self.phone.tick(now);
        while let Some((conn, program)) = self.outside.next_outcome() {
            self.phone.dialled(now, conn, program);
        }
        while let Some(conn) = self.outside.next_wake() {
            self.phone.wake(conn);
        }
        if self.run_at.is_some_and(|at| at <= now) {
            self.run_at = None;
            self.phone.run(now);
            while let Some(dial) = self.phone.next_dial() {
                if let Err(dial) = self.outside.ask(dial) {
                    self.phone.dialled(now, dial.conn, None);
                }
            }
        }
        self.schedule_programs(now);
    }

    /// When [`tick`](Self::tick) is due.
    pub fn next_tick(&self) -> Option<Instant> {
        if !self.plugged {
            return self.return_at;
        }
        let news = self.outside.has_news().then_some(Instant::ZERO);
        [self.phone.next_tick(), self.run_at, self.unplug_at, news].into_iter().flatten().min()
    }

    /// Makes the task that serves mapped ports from now on; without one they refuse. `waker` is
    /// woken when a tick is due because of them.
    #[cfg(not(target_family = "wasm"))]
    pub fn serve_mapped_ports(&mut self, waker: Waker) -> MappedPorts {
        self.outside.serve(waker)
    }

    /// Programs run a while after something happened, all of them together.
    fn schedule_programs(&mut self, now: Instant) {
        if self.run_at.is_none() && (self.phone.has_work() || self.phone.has_dials()) {
            self.run_at = Some(now + PROGRAM_LATENCY);
        }
    }

    fn is_addressed(&self, address: u8) -> bool {
        self.plugged && address == self.address && self.control.has_mux()
    }

    fn clear_halt(&mut self, endpoint: u16) {
        for (number, endpoint_state) in [(MUX_OUT, &mut self.output), (MUX_IN, &mut self.input)] {
            if endpoint == u16::from(number) {
                *endpoint_state = Endpoint::default();
            }
        }
    }

    fn leave_bus(&mut self, now: Instant) {
        self.plugged = false;
        self.unplug_at = None;
        self.run_at = None;
        self.phone.unplug(now);
    }

    fn forget_bus(&mut self) {
        self.address = 0;
        self.control.leave_bus();
        (self.output, self.input) = Default::default();
        self.run_at = None;
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Device")
            .field("identity", &self.identity)
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}
