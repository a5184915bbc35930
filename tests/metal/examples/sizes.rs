//! Prints what the engine keeps in memory on the computer it runs on.

use usbmux_metal::sizes;

fn main() {
    println!("{} {}", sizes::SLOT.len(), sizes::MUX.len());
}
