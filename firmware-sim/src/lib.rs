//! A simulated board for the dongle's firmware, and the world around it.
//!
//! ```text
//! virtual phone ⇄ USB bus ⇄ host controller ⇄ firmware ⇄ Ethernet cable ⇄ PC ⇄ programs
//! ```
//!
//! | floor | file | what it does |
//! |---|---|---|
//! | command | `bin/usbmux-sim/` | `usbmux-sim`: dongle, phone, show, ram |
//! | to learn from | `lab/` | host and phone step by step, with somebody who interferes |
//! | | `scenes/` | the cap, zero-length packets, the window: runs with a picture |
//! | real time | `live/` | lets programs of this machine in, simulated time follows the clock |
//! | world | `board.rs` | everything that happens, in the order of its time |
//! | PC | `pc/` | TCP stack with delayed ACK, DHCP server, scripted programs |
//! | Ethernet | `cable.rs` | 100 Mbit/s, delay, loss, descriptor rings |
//! | microcontroller | `firmware.rs`, `controller.rs`, `cpu.rs` | RAM plans, FIFOs, cycles |
//! | USB | `bus/` | packets, NAK, toggles, byte times of full and high speed, faults |
//!
//! In virtual time a minute of traffic takes seconds, and a seed gives the same run each time:
//!
//! ```
//! use usbmux_dongle::Forward;
//! use usbmux_firmware_sim::Nanos;
//! use usbmux_firmware_sim::board::{Board, BoardOptions};
//! use usbmux_firmware_sim::pc::client::{Content, Progress, Stream, Streams};
//! use usbmux_phone::ECHO;
//!
//! let forwards = vec![Forward { port: 7, device_port: ECHO }];
//! let mut board = Board::new(&BoardOptions { forwards, ..BoardOptions::default() }).unwrap();
//! board.plug_in();
//! board.run_while(Nanos::from_millis(10_000), &mut (), |board| board.dongle().phone().is_none());
//! let mut streams = Streams(vec![Stream::new(7, Content::Echo(100_000), 1)]);
//! assert!(streams.run(&mut board, Nanos::from_millis(60_000)));
//! assert_eq!(streams.0[0].progress(), Progress::Done);
//! ```
//!
//! What it is not: a proof of clocks, electrical levels, DMA or a real controller's bugs. The cycle
//! model is a guess at a small microcontroller, with its figures as parameters.

pub mod board;
pub mod bus;
pub mod cable;
pub mod controller;
pub mod cpu;
pub mod firmware;
pub mod lab;
#[cfg(not(target_family = "wasm"))]
pub mod live;
pub mod pc;
pub mod scenes;
mod time;
pub use time::Nanos;
