//! USB's side: the port, the phone on it, the pipes, and what to do when one of them fails.
//!
//! ```text
//! Empty ──plugged in──> Debouncing ──> Resetting ──> Settling ──> Enumerating ──> Running
//!   ^                                     ^                           │  │          │ ^ bulk transfer failed:
//!   │                                     └──port reset, 3 times──────┘  │          v │ new session
//!   └───────────────────────── unplugged ──────────────── GivenUp <──────┴─────── Clearing
//! ```
//!
//! A phone is shown to clients from the first agreed version on. It stays shown, with its number,
//! while its session or its port is begun anew; if that does not help it goes visibly. Leaves out:
//! connections, which are `relay`'s, and which frame goes out next, which is the super-loop's.

mod control;
mod enumerate;
mod outgoing;

pub(crate) use outgoing::{Next, Outgoing};

use crate::status::Counters;
use crate::talk::PhoneInfo;
use crate::usb::{HostController, Piece, Port, Setup, Speed, TransferError};
use control::{ControlTransfer, Target};
use core::task::Poll;
use core::time::Duration;
use enumerate::{ADDRESS, Enumerator, Found, Outcome};
use usbmux_core::descriptors::{MuxInterface, location_id};
use usbmux_core::{Config, Event, Instant, LinkState, Mux, Role, Slot};

/// How long a plug may bounce (USB 2.0 §7.1.7.3).
const DEBOUNCE: Duration = Duration::from_millis(100);

/// How long a device may take after a reset of its port (USB 2.0 §9.2.6.2).
const RESET_RECOVERY: Duration = Duration::from_millis(10);

/// How long a reset of the port may take; a controller does it in 10 to 60 ms.
const RESET_PATIENCE: Duration = Duration::from_millis(500);

/// How often the port is looked at while nothing else is waited for: a controller without an
/// interrupt for it needs that.
const PORT_PERIOD: Duration = Duration::from_millis(50);

/// How often in a row the port is reset, with no agreed version between, before a phone is given up.
const MAX_RECOVERIES: u8 = 3;

/// The bus number that clients are told: there is one.
const BUS: u8 = 1;

/// The engine over slots that somebody else keeps.
pub(crate) type Engine<'a> = Mux<&'a mut [Slot]>;

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a buffer for descriptors, counted in the budget")]
enum Phase {
    Empty,
    Debouncing { until: Instant },
    Resetting { until: Instant },
    Settling { until: Instant, speed: Speed },
    Enumerating { enumerator: Enumerator, speed: Speed },
    Running { pipes: Pipes },
    Clearing { pipes: Pipes, transfer: ControlTransfer, output_done: bool },
    GivenUp,
}

/// How to speak to the phone.
#[derive(Clone, Copy, Debug)]
struct Pipes {
    mux: MuxInterface,
    control_max_packet: u8,
}

/// The phone, if there is one, and the link to it.
#[derive(Debug)]
pub(crate) struct Link<'a> {
    pub(crate) mux: Engine<'a>,
    pub(crate) outgoing: Outgoing,
    phase: Phase,
    /// Who was found last; forgotten when it goes.
    phone: Option<PhoneInfo>,
    /// Whether clients see it.
    shown: bool,
    next_id: u32,
    /// Resets of the port since a version was agreed last.
    recoveries: u8,
    /// Whether a new session was begun since then: that is tried once, before the port is reset.
    renewed: bool,
}

impl<'a> Link<'a> {
    pub(crate) const fn new(config: Config, slots: &'a mut [Slot]) -> Self {
        Link {
            mux: Mux::new(Role::Host, config, slots),
            outgoing: Outgoing::IDLE,
            phase: Phase::Empty,
            phone: None,
            shown: false,
            next_id: 1,
            recoveries: 0,
            renewed: false,
        }
    }

    /// The phone, as far as clients may see it.
    pub(crate) fn phone(&self) -> Option<&PhoneInfo> {
        self.phone.as_ref().filter(|_| self.shown)
    }

    /// The phone as clients may see it, and the engine: what a connection's turn needs.
    pub(crate) fn split(&mut self) -> (Option<&PhoneInfo>, &mut Engine<'a>) {
        (self.phone.as_ref().filter(|_| self.shown), &mut self.mux)
    }

    /// Where the link stands, in a few words.
    pub(crate) fn describe(&self) -> &'static str {
        match (&self.phase, self.mux.link()) {
            (Phase::Empty, _) => "no phone plugged in",
            (Phase::GivenUp, _) => "what is plugged in is no phone, or does not answer",
            (Phase::Running { .. }, LinkState::Up { version: 1 }) => "up, version 1",
            (Phase::Running { .. }, LinkState::Up { .. }) => "up, version 2",
            (Phase::Running { .. }, _) => "asking the phone for its version",
            (Phase::Clearing { .. }, _) => "beginning a new session",
            _ => "looking at what was plugged in",
        }
    }

    /// Does what the port, the phone's descriptors and the clock ask for; says whether there is more
    /// to do at once.
    pub(crate) fn turn(
        &mut self,
        now: Instant,
        usb: &mut impl HostController,
        counters: &mut Counters,
    ) -> bool {
        self.mux.tick(now);
        if self.watch_port(now, usb, counters) {
            return true;
        }
        match &mut self.phase {
            Phase::Enumerating { enumerator, speed } => {
                let speed = *speed;
                match enumerator.poll(now, usb, &mut counters.control_failures) {
                    Poll::Pending => {}
                    Poll::Ready(Outcome::Phone(found)) => {
                        self.run(now, usb, counters, found, speed)
                    }
                    Poll::Ready(Outcome::Failed) => self.recover(now, usb, counters),
                    Poll::Ready(Outcome::NoUse) => self.give_up(now, counters),
                }
            }
            Phase::Clearing { .. } => self.clear(now, usb, counters),
            _ => self.request(usb),
        }
        false
    }

    /// When [`turn`](Self::turn) is due without news from USB.
    pub(crate) fn due(&self, now: Instant) -> Instant {
        let look = now + PORT_PERIOD;
        let phase = match &self.phase {
            Phase::Enumerating { enumerator, .. } => enumerator.due(),
            Phase::Clearing { transfer, .. } => transfer.due(),
            // Once it is past, the port is waited for.
            Phase::Debouncing { until } | Phase::Settling { until, .. } if now < *until => *until,
            _ => look,
        };
        self.mux.next_tick().map_or(phase, |tick| tick.min(phase))
    }

    /// Follows what the port shows; says whether the phase changed.
    fn watch_port(
        &mut self,
        now: Instant,
        usb: &mut impl HostController,
        counters: &mut Counters,
    ) -> bool {
        match (usb.port(), &self.phase) {
            (Port::Empty, Phase::Empty) => false,
            (Port::Empty, _) => {
                self.gone(now, counters);
                self.phase = Phase::Empty;
                true
            }
            (Port::Attached | Port::Enabled(_), Phase::Empty) => {
                self.begin_anew();
                self.phase = Phase::Debouncing { until: now + DEBOUNCE };
                true
            }
            (_, Phase::Debouncing { until }) if *until <= now => {
                self.reset_port(now, usb);
                true
            }
            (Port::Enabled(speed), Phase::Resetting { .. }) => {
                self.phase = Phase::Settling { until: now + RESET_RECOVERY, speed };
                true
            }
            (_, Phase::Resetting { until }) if *until <= now => {
                self.recover(now, usb, counters);
                true
            }
            (Port::Enabled(_), Phase::Settling { until, speed }) if *until <= now => {
                let speed = *speed;
                self.phase = Phase::Enumerating { enumerator: Enumerator::new(), speed };
                true
            }
            // Out and in again between two looks.
            (Port::Attached, phase)
                if !matches!(phase, Phase::Debouncing { .. } | Phase::Resetting { .. }) =>
            {
                self.gone(now, counters);
                self.begin_anew();
                self.phase = Phase::Debouncing { until: now + DEBOUNCE };
                true
            }
            _ => false,
        }
    }

    /// What went wrong before does not count any more.
    fn begin_anew(&mut self) {
        self.recoveries = 0;
        self.renewed = false;
    }

    fn reset_port(&mut self, now: Instant, usb: &mut impl HostController) {
        usb.reset_port();
        self.phase = Phase::Resetting { until: now + RESET_PATIENCE };
    }

    /// A phone is configured: opens its pipes and begins a session.
    fn run(
        &mut self,
        now: Instant,
        usb: &mut impl HostController,
        counters: &mut Counters,
        found: Found,
        speed: Speed,
    ) {
        let Found { product_id, serial, mux, target_max_packet } = found;
        if self.phone.as_ref().is_none_or(|phone| phone.serial != serial) {
            self.gone(now, counters);
            counters.plugged = counters.plugged.wrapping_add(1);
            info!("phone {} found, configuration {}", serial.as_str(), mux.configuration);
            self.phone = Some(PhoneInfo {
                device_id: self.next_id,
                product_id,
                location_id: location_id(BUS, ADDRESS),
                serial,
                speed: match speed {
                    Speed::Full => 12_000_000,
                    Speed::High => 480_000_000,
                },
            });
            self.next_id = self.next_id.checked_add(1).unwrap_or(1);
        }
        self.open(now, usb, Pipes { mux, control_max_packet: target_max_packet });
    }

    fn open(&mut self, now: Instant, usb: &mut impl HostController, pipes: Pipes) {
        usb.open_bulk(ADDRESS, pipes.mux.bulk_in, pipes.mux.bulk_out);
        self.mux.attach(now, pipes.mux.bulk_out.max_packet);
        self.phase = Phase::Running { pipes };
    }

    /// Resets the port and begins anew; gives up if that was done often enough.
    fn recover(&mut self, now: Instant, usb: &mut impl HostController, counters: &mut Counters) {
        self.stop(now);
        if self.recoveries >= MAX_RECOVERIES {
            return self.give_up(now, counters);
        }
        self.recoveries += 1;
        counters.recoveries = counters.recoveries.wrapping_add(1);
        warning!("resetting the port, {} in a row", self.recoveries);
        self.reset_port(now, usb);
    }

    fn give_up(&mut self, now: Instant, counters: &mut Counters) {
        warning!("what is plugged in is no phone, or does not answer: plug it in again");
        self.gone(now, counters);
        self.phase = Phase::GivenUp;
    }

    /// The phone goes, visibly.
    fn gone(&mut self, now: Instant, counters: &mut Counters) {
        self.stop(now);
        self.shown = false;
        if self.phone.take().is_some() {
            info!("phone gone");
            counters.unplugged = counters.unplugged.wrapping_add(1);
        }
    }

    /// All connections end; nothing goes to USB any more.
    fn stop(&mut self, now: Instant) {
        self.outgoing = Outgoing::IDLE;
        self.mux.detach(now);
    }

    // ---- bulk transfers

    /// Asks for the next piece. Whatever it is finds room: the phone has no more credit than that.
    pub(crate) fn request(&mut self, usb: &mut impl HostController) {
        if matches!(self.phase, Phase::Running { .. }) {
            usb.request();
        }
    }

    /// The next piece from the phone, if one has arrived.
    pub(crate) fn piece<'u>(
        &mut self,
        now: Instant,
        usb: &'u mut impl HostController,
        counters: &mut Counters,
    ) -> Option<Piece<'u>> {
        if !matches!(self.phase, Phase::Running { .. }) {
            return None;
        }
        match usb.receive() {
            Poll::Pending => None,
            Poll::Ready(Ok(piece)) => {
                counters.pieces_in = counters.pieces_in.wrapping_add(1);
                Some(piece)
            }
            Poll::Ready(Err(error)) => {
                self.bulk_failed(now, error, counters);
                None
            }
        }
    }

    /// Whether the OUT endpoint can take a piece now.
    pub(crate) fn can_send(
        &mut self,
        now: Instant,
        usb: &mut impl HostController,
        counters: &mut Counters,
    ) -> bool {
        if !matches!(self.phase, Phase::Running { .. }) {
            return false;
        }
        match usb.poll_sent() {
            Poll::Pending => false,
            Poll::Ready(Ok(())) => usb.space().is_some(),
            Poll::Ready(Err(error)) => {
                self.bulk_failed(now, error, counters);
                false
            }
        }
    }

    /// Bytes were lost, or a numbered frame: the session is over. Both endpoints are cleared, so
    /// that both sides count packets from the start, then another session begins.
    fn bulk_failed(&mut self, now: Instant, _error: TransferError, counters: &mut Counters) {
        let Phase::Running { pipes } = self.phase else { return };
        warning!("a bulk transfer failed: beginning a new session");
        counters.bulk_failures = counters.bulk_failures.wrapping_add(1);
        self.stop(now);
        self.phase =
            Phase::Clearing { pipes, transfer: ControlTransfer::new(), output_done: false };
    }

    /// Clears the halt of one endpoint, then of the other.
    fn clear(&mut self, now: Instant, usb: &mut impl HostController, counters: &mut Counters) {
        let Phase::Clearing { pipes, transfer, output_done } = &mut self.phase else { return };
        let endpoint = if *output_done { pipes.mux.bulk_in } else { pipes.mux.bulk_out };
        let setup = Setup {
            request_type: 0x02, // to an endpoint
            request: 1,         // CLEAR_FEATURE
            value: 0,           // ENDPOINT_HALT
            index: endpoint.address.into(),
            length: 0,
        };
        let target = Target { address: ADDRESS, max_packet: pipes.control_max_packet };
        let failed = &mut counters.control_failures;
        match transfer.poll(now, usb, target, setup, &mut [], failed) {
            Poll::Pending => {}
            Poll::Ready(Err(_)) => self.recover(now, usb, counters),
            Poll::Ready(Ok(_)) if !*output_done => *output_done = true,
            Poll::Ready(Ok(_)) => {
                let pipes = *pipes;
                if core::mem::replace(&mut self.renewed, true) {
                    self.recover(now, usb, counters);
                } else {
                    self.open(now, usb, pipes);
                }
            }
        }
    }

    /// What an event of the engine's means for the phone.
    pub(crate) fn happened(
        &mut self,
        now: Instant,
        usb: &mut impl HostController,
        counters: &mut Counters,
        event: Event,
    ) {
        match event {
            Event::LinkUp { version } => {
                debug!("link is up, version {}", version);
                self.begin_anew();
                self.shown = self.phone.is_some();
            }
            Event::LinkFailed { .. } => self.recover(now, usb, counters),
            _ => {}
        }
    }
}
