//! A simulated board for the dongle's firmware, and everything around it.
pub mod board;
pub mod bus;
pub mod cable;
pub mod controller;
pub mod cpu;
pub mod firmware;
pub mod live;
pub mod pc;
pub mod scenes;
mod time;
pub use time::Nanos;
