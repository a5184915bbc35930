//! What proves usbmux: a second witness for every fact, and the tools with which the tests drive the programs.

pub mod clients;
pub mod cpu;
pub mod crowd;
pub mod daemon_process;
pub mod dongle_process;
pub mod engine;
pub mod figures;
pub mod floor;
pub mod naive;
pub mod random;
pub mod rows;
pub mod soak;
pub mod socket;
pub mod tools;
