//! The usbmux protocol as one engine that runs everywhere: `no_std`, without allocation, without
//! `unsafe`, in both roles.
//!
//! An iPhone speaks usbmux over two USB bulk endpoints: frames, and in them a TCP that is not TCP (real
//! headers, no retransmission, no FIN, the window always scaled by 8 bits). This crate turns the bytes of
//! transfers into connections and back. It never reads a clock, a socket or a device: `now` is an
//! argument, bytes come and go as slices.
//!
//! # Floors, lowest first
//!
//! | floor | what it is for |
//! |---|---|
//! | [`time`], [`seq`] | points in time, numbers that wrap |
//! | [`wire`] | every header as a struct, parsed and emitted |
//! | [`deframe`] | any slicing of the input becomes headers and slices of bodies |
//! | `conn` | one connection: state, credit, every transition (private) |
//! | [`mux`] | the engine: link, connections, frame numbers |
//! | [`sockets`] | on top, for who wants `read` and `write`: byte rings of fixed size |
//! | [`descriptors`] | beside it: which USB device is a phone, and where its mux interface is |
//! | [`session`] | beside it: the socket protocol between clients and a daemon, without a codec |
//!
//! # The protocol, floor by floor
//!
//! For who knows TCP and has never seen usbmux. Each chapter names the lessons that show it: small
//! programs in `core/examples` that let two of these engines talk and print what crosses the cable
//! (`cargo run -p usbmux-core --example 01_a_header`, or all in one, `usbmux-sim lessons`).
//!
//! ## Bytes: `wire`
//!
//! A phone's mux interface has two bulk endpoints. What crosses them are *frames*: a [mux
//! header](wire::HeaderV2) and a body, most often a *segment*, which is a [TCP header](wire::TcpHeader) with
//! *payload* behind it. The window field counts in steps of 256 bytes, always; checksum and urgent
//! pointer are 0; options never follow. [Lesson 1](../../../core/examples/01_a_header.rs).
//!
//! ## A stream: `deframe`
//!
//! A driver delivers USB's transfers in pieces of its own choice. The [deframer](deframe::Deframer) finds
//! headers and slices of bodies in any slicing, holds at most one header, and copies no payload: [lesson 2].
//! A phone does not look at the length field to know where a frame ends: its message ends with the first
//! USB packet that is not full. So a frame that fills its last packet needs an empty one behind it, a ZLP;
//! where that gets lost two frames stick together. The default is [never to need one](Zlp::Trim):
//! [lesson 9].
//!
//! ## The link: `mux`
//!
//! VERSION agrees on the length of headers, SETUP starts the frame numbers ([lesson 3]). From then on every
//! frame has a number, and a phone is strict: one that was numbered and did not arrive kills the *session*,
//! which is everything since VERSION. The phone says so, or its `rx_seq` stands still; then all connections
//! end, and the engine greets anew ([`Event::SessionDead`], [lesson 10]).
//!
//! ## A connection: `conn`
//!
//! Three segments open one, an RST refuses it ([`Event::Refused`], [lesson 4]). Nothing is ever sent twice:
//! `seq` and `ack` exist for flow control alone ([lesson 5]). Bytes in flight must stay within the window; a
//! receiver announces room as its program reads, and a sender who goes beyond it loses the connection
//! ([`set_held`](Mux::set_held), [`credit`](Mux::credit), [lesson 6]). The window is each connection's own, so
//! a slow reader stops nobody else ([lesson 7]). There is no FIN: nothing is lost or overtaken on this cable,
//! so the end needs no number, and a phone answers flags other than SYN, ACK and RST with RST. That is the
//! only end, and a phone that gets one drops what its program has not read: so [`close`](Mux::close) waits
//! until everything is acknowledged ([lesson 8]).
//!
//! ## The shell, and what is built on the engine
//!
//! The engine is called, it never calls: [below](#the-run-loop) and in [lesson 11] is the loop that drives it,
//! with whole frames; [lesson 12] drives it packet by packet, as a microcontroller does. [`sockets`] adds
//! byte rings for who wants to read and write; [`session`] is what a daemon's clients speak, and
//! [`descriptors`] finds the two endpoints.
//!
//! [lesson 2]: ../../../core/examples/02_any_slicing.rs
//! [lesson 3]: ../../../core/examples/03_the_handshake.rs
//! [lesson 4]: ../../../core/examples/04_opening_and_refusing.rs
//! [lesson 5]: ../../../core/examples/05_data_seq_and_ack.rs
//! [lesson 6]: ../../../core/examples/06_window_and_credit.rs
//! [lesson 7]: ../../../core/examples/07_a_slow_reader.rs
//! [lesson 8]: ../../../core/examples/08_closing_without_fin.rs
//! [lesson 9]: ../../../core/examples/09_zlp_and_the_cap.rs
//! [lesson 10]: ../../../core/examples/10_a_dead_session.rs
//! [lesson 11]: ../../../core/examples/11_the_run_loop.rs
//! [lesson 12]: ../../../core/examples/12_the_dongle_loop.rs
//!
//! # The engine owns no payload
//!
//! The protocol never sends a byte twice, so there is no reason to keep one. What arrives is handed on
//! as slices of the caller's own transfer; what is to be sent stands in the caller's transfer buffer,
//! and the engine writes a header in front of it. How much may arrive is a matter of *credit*: a
//! connection has a window, and the application says how many delivered bytes it still
//! [holds](Mux::set_held).
//!
//! # The run loop
//!
//! Six steps, in whatever shape the platform likes: a super-loop, a task, a thread.
//!
//! ```
//! use usbmux_core::{CONTROL_FRAME, Config, Event, Instant, Mux, Received, Role, Slot, Transfer};
//! # use usbmux_core::Mux as M;
//! # /// A cable with an echoing phone at its other end.
//! # struct Usb { phone: M<[Slot; 4]>, inbox: Vec<Vec<u8>>, micros: u64 }
//! # impl Usb {
//! #     fn now(&mut self) -> Instant { self.micros += 100; Instant::from_micros(self.micros) }
//! #     fn can_send(&self) -> bool { self.inbox.len() < 4 }
//! #     fn read(&mut self) -> Option<Vec<u8>> { (!self.inbox.is_empty()).then(|| self.inbox.remove(0)) }
//! #     fn write(&mut self, bytes: &[u8]) {
//! #         let now = Instant::from_micros(self.micros);
//! #         let mut transfer = Transfer::new(bytes);
//! #         let mut echoes = vec![];
//! #         while let Some(r) = self.phone.receive(now, &mut transfer) {
//! #             if let Received::Data { conn, payload, .. } = r { echoes.push((conn, payload.to_vec())); }
//! #         }
//! #         while let Some(event) = self.phone.poll_event(now) {
//! #             if let Event::Incoming { conn, .. } = event { self.phone.accept(now, conn, 4096).unwrap(); }
//! #         }
//! #         let mut buf = [0; CONTROL_FRAME];
//! #         while let Some(f) = self.phone.poll_transmit(now, &mut buf) { self.inbox.push(buf[..f.len].to_vec()); }
//! #         for (conn, payload) in echoes {
//! #             let mut frame = vec![0; 36];
//! #             frame.extend(&payload);
//! #             let sent = self.phone.send_in_place(now, conn, &mut frame, payload.len()).unwrap();
//! #             self.inbox.push(frame[..36 + sent.taken].to_vec());
//! #         }
//! #     }
//! # }
//! # let mut phone = Mux::new(Role::Device, Config::PHONE, [Slot::EMPTY; 4]);
//! # phone.attach(Instant::ZERO, 512);
//! # let mut usb = Usb { phone, inbox: vec![], micros: 0 };
//! let mut mux = Mux::new(Role::Host, Config::HOST, [Slot::EMPTY; 4]);
//! let mut answer = Vec::new();
//! mux.attach(usb.now(), 512); // wMaxPacketSize, from the descriptor
//! while answer != b"hello" {
//!     let now = usb.now();
//!     // 1. What USB delivered goes in, slices of it come out. (Bind first: a `while let` on a
//!     //    RefCell's borrow would keep it for the whole body.)
//!     while let Some(bytes) = usb.read() {
//!         let mut transfer = Transfer::new(&bytes);
//!         while let Some(received) = mux.receive(now, &mut transfer) {
//!             if let Received::Data { payload, .. } = received {
//!                 answer.extend_from_slice(payload); // consumed; else: mux.set_held(…)
//!             }
//!         }
//!     }
//!     // 2. What happened.
//!     while let Some(event) = mux.poll_event(now) {
//!         match event {
//!             Event::LinkUp { .. } => {
//!                 mux.connect(now, 7, 131_072).expect("a free slot");
//!             }
//!             Event::Connected { conn } => {
//!                 // 3. Payload: behind the headroom, in the buffer that will go to USB.
//!                 let headroom = mux.headroom();
//!                 let mut frame = [0; 64];
//!                 frame[headroom..headroom + 5].copy_from_slice(b"hello");
//!                 if mux.sendable(conn) >= 5 {
//!                     let sent = mux.send_in_place(now, conn, &mut frame, 5).expect("room");
//!                     usb.write(&frame[..headroom + sent.taken]); // numbered: now, in this order
//!                 }
//!             }
//!             _ => {}
//!         }
//!     }
//!     // 4. Frames of the engine's own, while USB takes them.
//!     let mut buf = [0; CONTROL_FRAME];
//!     while usb.can_send() {
//!         let Some(frame) = mux.poll_transmit(now, &mut buf) else { break };
//!         usb.write(&buf[..frame.len]);
//!     }
//!     // 5. Timers. 6. Sleep until USB, the application, or mux.next_tick().
//!     mux.tick(now);
//! }
//! ```
//!
//! # Features
//!
//! `log`, `defmt`: log lines to either, both, or (by default) none; `defmt::Format` for all public
//! types with the latter. `async`: embedded-io-async for [`sockets`].

#![no_std]

#[macro_use]
mod fmt;

mod conn;
pub mod deframe;
pub mod descriptors;
pub mod mux;
pub mod seq;
pub mod session;
pub mod sockets;
pub mod time;
pub mod wire;

pub use mux::{
    AckPolicy, CONTROL_FRAME, CloseReason, Config, ConnId, ConnectError, DeathCause, Event, Frame,
    GapPolicy, Gone, LinkFailure, LinkState, Mux, Received, RefusedBy, ResetReason, Role,
    SendError, Sent, SentHeader, SequencePolicy, Slot, Stats, Transfer, WindowStyle, Zlp,
};
pub use seq::SeqNumber;
pub use time::Instant;
