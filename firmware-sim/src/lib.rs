//! A simulated board for the dongle's firmware, and everything around it.
pub mod bus;
pub mod controller;
mod time;
pub use time::Nanos;
