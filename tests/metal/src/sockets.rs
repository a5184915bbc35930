//! The floor on top of the engine: rings, and the traits of embedded-io over them.

use crate::engine::now;
use crate::{any, sink};
use core::cell::RefCell;
use core::future::Future;
use core::pin::pin;
use core::task::{Context, Waker};
use embedded_io::{Error as _, Read, ReadReady, Write, WriteReady};
use usbmux_core::sockets::{AsyncSocket, Error, SocketId, Sockets};
use usbmux_core::{CONTROL_FRAME, Config, ResetReason, Role, Transfer};

/// No powers of two, whose masks would hide a missing check.
type Net = Sockets<3, 1000, 700>;

/// Every call, with any state before each; sockets are named by any handle, stale or not.
pub fn all() {
    let mut net = Net::new(any(Role::Host), any(Config::DONGLE));
    while let Ok(id) = any(&mut net).connect(now(), any(7)) {
        let calls = [run_loop, phone, reads, writes, ends, waits];
        for call in calls {
            call(any(&mut net), any(id));
        }
        net = any(asynchronous(RefCell::new(net), id));
    }
}

fn run_loop(net: &mut Net, _: SocketId) {
    let mut buffer = [0; 512];
    any(&mut *net).attach(now(), any(512));
    let mut transfer = Transfer::new(any(buffer.as_slice()));
    while let Some(text) = any(&mut *net).receive(now(), &mut transfer) {
        sink(text);
    }
    sink(any(&mut *net).poll_event(now()));
    sink(any(&mut *net).poll_transmit(now(), any(&mut [0; CONTROL_FRAME])));
    sink(any(&mut *net).poll_data(now(), any(buffer.as_mut_slice())));
    any(&mut *net).tick(now());
    sink(any(&*net).next_tick());
    sink(any(&*net).mux().connections());
    any(&mut *net).detach(now());
}

fn phone(net: &mut Net, id: SocketId) {
    sink(any(&mut *net).accept(now(), any(id.conn())));
    any(net).refuse(now(), any(id.conn()), any(ResetReason::None));
}

fn reads(net: &mut Net, id: SocketId) {
    let mut bytes = [0; 64];
    let mut socket = net.socket(id);
    sink((socket.id().place(), socket.read_ready()));
    sink(any(&mut socket).try_read(any(bytes.as_mut_slice())));
    let read = any(&mut socket).read(any(bytes.as_mut_slice()));
    sink(read.map_err(|error| error.kind()));
}

fn writes(net: &mut Net, id: SocketId) {
    let bytes = [0; 64];
    let mut socket = net.socket(id);
    sink(socket.write_ready());
    sink(any(&mut socket).try_write(any(bytes.as_slice())));
    sink(any(&mut socket).write(any(bytes.as_slice())));
    sink(any(&mut socket).flush());
}

fn ends(net: &mut Net, id: SocketId) {
    any(&mut *net).close(now(), any(id));
    any(net).abort(now(), any(id));
}

fn waits(net: &mut Net, id: SocketId) {
    let mut bytes = [0; 64];
    let cx = &mut Context::from_waker(Waker::noop());
    sink(any(&mut *net).poll_work(cx));
    sink(any(&mut *net).poll_connected(cx, any(id)));
    sink(any(&mut *net).poll_read(cx, any(id), any(bytes.as_mut_slice())));
    sink(any(&mut *net).poll_write(cx, any(id), any(bytes.as_slice())));
    sink(any(&mut *net).poll_flush(cx, any(id)));
}

/// The traits of embedded-io-async: each future up to its first wait. What comes after that is the
/// `poll_` calls once more; but a future that is polled after its end panics by a rule of the language,
/// and the optimiser cannot know that nobody does.
fn asynchronous(net: RefCell<Net>, id: SocketId) -> Net {
    use embedded_io_async::{Read, Write};
    let mut bytes = [0; 64];
    let mut socket = AsyncSocket::new(any(&net), any(id));
    sink(socket.id());
    begin(socket.connected());
    begin(Read::read(&mut socket, any(bytes.as_mut_slice())));
    begin(Write::write(&mut socket, any(bytes.as_slice())));
    begin(Write::flush(&mut socket));
    net.into_inner()
}

fn begin<T>(future: impl Future<Output = Result<T, Error>>) {
    sink(pin!(future).poll(&mut Context::from_waker(Waker::noop())));
}
