//! The model test: long random lives of connections under every fault the protocol knows.
//!
//! [`phone`] lets a host engine and the naive phone live through typed random operations, [`pair`] does the same with
//! a host engine and a device engine. Both keep a ledger of what each side wrote and check after every operation that
//! what arrived is a beginning of it, that only connections with a reason ended, and that nobody sent more than the
//! other allowed. At the end everything heals: what was not hit by a fault must be complete, and nothing may hang.
//!
//! A failure prints its seed; `USBMUX_SEED=n cargo test -p usbmux-tests --test model` replays it,
//! and `USBMUX_SEEDS=n` lives more lives than usual.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod pair;
mod phone;

/// Prints how to replay a seed if its life fails.
struct Replay(u64);

impl Drop for Replay {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let seed = self.0;
            eprintln!("replay: USBMUX_SEED={seed} cargo test -p usbmux-tests --test model");
        }
    }
}
