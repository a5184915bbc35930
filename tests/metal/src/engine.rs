//! Every call of the engine. What only one role can do stands apart, so that an image of the host
//! role holds no call of the device role's.

use crate::{any, sink};
use usbmux_core::{CONTROL_FRAME, Config, ConnId, Instant, Mux, ResetReason, Role, Slot, Transfer};

/// Bytes of a buffer; how many of them a call is given is opaque.
const BUFFER: usize = 512;

/// Where connections can live.
pub trait Slots: AsRef<[Slot]> + AsMut<[Slot]> {}
impl<S: AsRef<[Slot]> + AsMut<[Slot]>> Slots for S {}

/// Any time.
pub fn now() -> Instant {
    Instant::from_micros(any(0))
}

/// An engine; every field of its configuration is opaque.
pub fn engine<S: Slots>(role: Role, slots: S) -> Mux<S> {
    Mux::new(role, any(Config::HOST), slots)
}

/// Makes a function of each call, with an opaque engine and an opaque handle, stale or not. They are
/// not inlined: the sizes of their symbols tell what the calls cost.
macro_rules! calls {
    ($($visibility:vis $name:ident($mux:ident, $conn:ident) $call:block)*) => {$(
        #[doc = concat!("Calls `", stringify!($name), "` with anything.")]
        #[inline(never)]
        $visibility fn $name<S: Slots>($mux: &mut Mux<S>, $conn: ConnId) {
            let ($mux, $conn) = (any($mux), any($conn));
            sink($call);
        }
    )*};
}

/// Everything that both roles do, in a loop of the caller's.
pub fn both<S: Slots>(mux: &mut Mux<S>, conn: ConnId) {
    let link = [attach, detach, receive, tick, events, transmit];
    let connection = [send_in_place, send, closing, abort, set_held, set_window, numbers];
    for call in link.into_iter().chain(connection) {
        call(mux, conn);
    }
}

calls! {
    attach(mux, _conn) { mux.attach(now(), any(512)) }
    detach(mux, _conn) { mux.detach(now()) }
    receive(mux, _conn) {
        let bytes = [0; BUFFER];
        let bytes = any(bytes.as_slice());
        let mut transfer = if any(true) { Transfer::new(bytes) } else { Transfer::part(bytes) };
        while let Some(received) = mux.receive(now(), &mut transfer) {
            sink(received);
        }
    }
    tick(mux, _conn) { mux.tick(now()); mux.next_tick() }
    events(mux, _conn) { mux.poll_event(now()) }
    transmit(mux, _conn) {
        let mut frame = [0; CONTROL_FRAME];
        sink(mux.poll_transmit(now(), &mut frame));
        frame
    }
    send_in_place(mux, conn) {
        let mut frame = [0; BUFFER];
        sink((mux.headroom(), mux.sendable(conn)));
        sink(any(&mut *mux).send_in_place(now(), conn, any(frame.as_mut_slice()), any(1)));
        frame
    }
    send(mux, conn) { mux.send(now(), conn, any(1)) }
    set_held(mux, conn) { mux.set_held(now(), conn, any(0)) }
    set_window(mux, conn) { mux.set_window(now(), conn, any(0)) }
    numbers(mux, conn) {
        sink((mux.credit(conn), mux.unacknowledged(conn)));
        (*mux.stats(), mux.link(), mux.connections())
    }
    closing(mux, conn) { mux.close(now(), conn) }
    abort(mux, conn) { mux.abort(now(), conn) }

    // The device role's.
    pub accept(mux, conn) { mux.accept(now(), conn, any(4096)) }
    pub refuse(mux, conn) { mux.refuse(now(), conn, any(ResetReason::None)) }
    pub abort_because(mux, conn) { mux.abort_because(now(), conn, any(ResetReason::None)) }
}

/// What only a host does; from its handle all the others are made.
#[inline(never)]
pub fn connect<S: Slots>(mux: &mut Mux<S>) -> Option<ConnId> {
    let connected = any(mux).connect(now(), any(7), any(4096));
    sink(connected);
    connected.ok()
}
