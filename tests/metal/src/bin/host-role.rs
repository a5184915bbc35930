//! What a dongle needs of core and nothing else: the host role with four connections, without logs,
//! sockets, session. The size of its code is a figure of the design. The choice of a phone's interface
//! by its descriptors, which every host needs, too, is in the image and counted by itself.
//!
//! Here nothing is called: the address of each call is taken, so that each is in the image as a
//! function for any arguments, and nothing but core's code is to be counted.
#![no_std]
#![no_main]

use usbmux_core::descriptors::{Choice, MuxInterface, is_phone};
use usbmux_core::{Mux, Slot};
use usbmux_metal::sink;

// Where the linker starts. An entry must have its plain name; that alone makes it `unsafe`.
#[allow(unsafe_code)]
#[unsafe(no_mangle)]
extern "C" fn _start() {
    type Engine = Mux<[Slot; 4]>;
    sink(Engine::attach as fn(_, _, _));
    sink(Engine::detach as fn(_, _));
    sink(Engine::receive as fn(_, _, _) -> _);
    sink(Engine::tick as fn(_, _));
    sink(Engine::next_tick as fn(_) -> _);
    sink(Engine::poll_event as fn(_, _) -> _);
    sink(Engine::poll_transmit as fn(_, _, _) -> _);
    sink(Engine::connect as fn(_, _, _, _) -> _);
    sink(Engine::set_held as fn(_, _, _, _) -> _);
    sink(Engine::set_window as fn(_, _, _, _) -> _);
    sink(Engine::credit as fn(_, _) -> _);
    sink(Engine::headroom as fn(_) -> _);
    sink(Engine::sendable as fn(_, _) -> _);
    sink(Engine::send_in_place as fn(_, _, _, _, _) -> _);
    sink(Engine::send as fn(_, _, _, _) -> _);
    sink(Engine::unacknowledged as fn(_, _) -> _);
    sink(Engine::close as fn(_, _, _));
    sink(Engine::abort as fn(_, _, _));
    sink(Engine::stats as fn(_) -> _);
    sink(Engine::link as fn(_) -> _);
    sink(Engine::connections as fn(_) -> _);
    sink(is_phone as fn(_, _) -> _);
    sink(MuxInterface::find as fn(_) -> _);
    sink(Choice::consider as fn(_, _));
    sink(Choice::chosen as fn(_) -> _);
}
