//! Traces of usbmux: pcapng files in which each frame is a packet that Wireshark, tshark and every
//! other reader of such files understands without a plugin.
//!
//! | module | subject |
//! |---|---|
//! | `write` | from what passes on USB to a file; its documentation is the format of our files |
//!
//! Nothing here reads a clock or opens a file.

pub mod write;
