//! The simulation in real time, with programs of this machine as its clients.
//!
//! [`run`] lets simulated time follow this machine's clock. A machine that is too slow for that makes
//! simulated time run slower, so that no timer in the simulation fires for want of a fast machine.

mod gate;
mod trace;

pub use gate::{Gate, GateError};
pub use trace::BusTrace;

use crate::board::Board;
use crate::time::Nanos;
use smol::Timer;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// Simulated time is looked at no more often than this: what happens in between happens at its own
/// times, but together.
const GRAIN: Duration = Duration::from_micros(250);
/// Simulated time that passes at most before the other tasks get their turn.
const SLICE: Nanos = Nanos::from_millis(5);
/// How far simulated time may fall behind before its clock is set back.
const LAG: Nanos = Nanos::from_millis(50);

/// Runs the board until `end` is ready; mapped ports of the phone are served meanwhile, and what
/// happens on the bus is written down if there is a trace.
pub async fn run<E: Future<Output = ()>>(
    board: &mut Board,
    gate: &mut Gate,
    mut trace: Option<BusTrace>,
    end: E,
) {
    let waker = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
    let mut mapped_ports = pin!(board.usb.bus.device().serve_mapped_ports(waker));
    let mut end = pin!(end);
    let mut clock = Clock::new(board.now());
    poll_fn(|cx| {
        if end.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let _ = mapped_ports.as_mut().poll(cx);
        if gate.listen(cx) {
            board.wake_programs();
        }
        clock.follow(board, gate, cx);
        if let Some(trace) = &mut trace {
            trace.take(board);
        }
        // What the phone asked for just now.
        let _ = mapped_ports.as_mut().poll(cx);
        Poll::Pending
    })
    .await;
}

/// Simulated time against this machine's.
struct Clock {
    /// This machine's time at simulated time zero; moves when the simulation is too slow.
    origin: Instant,
    timer: Timer,
    /// When the timer fires; none if it is not set.
    armed: Option<Instant>,
}

impl Clock {
    fn new(now: Nanos) -> Self {
        let start = Instant::now();
        Clock {
            origin: start.checked_sub(now.duration()).unwrap_or(start),
            timer: Timer::never(),
            armed: None,
        }
    }

    /// Lets the board catch up with this machine's time, and sees to it that this is polled when
    /// something is due.
    fn follow(&mut self, board: &mut Board, gate: &mut Gate, cx: &mut Context<'_>) {
        let now = Nanos::from(self.origin.elapsed());
        let behind = now - board.now();
        if behind > LAG {
            self.origin += (behind - LAG).duration();
        }
        let slice = board.now() + SLICE;
        let until = Nanos::from(self.origin.elapsed()).min(slice);
        board.run(until, gate);
        if until == slice {
            cx.waker().wake_by_ref();
        } else if let Some(due) = board.next_event() {
            self.wait_until((self.origin + due.duration()).max(Instant::now() + GRAIN), cx);
        }
    }

    /// Sets the timer, unless it fires early enough anyway.
    fn wait_until(&mut self, due: Instant, cx: &mut Context<'_>) {
        if self.armed.is_none_or(|armed| armed > due) {
            self.armed = Some(due);
            self.timer.set_at(due);
        }
        if Pin::new(&mut self.timer).poll(cx).is_ready() {
            self.armed = None;
            cx.waker().wake_by_ref();
        }
    }
}
