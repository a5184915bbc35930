//! Traces of usbmux: pcapng files in which each frame is a packet that Wireshark, tshark and every
//! other reader of such files understands without a plugin.
//!
//! | module | subject |
//! |---|---|
//! | `write` | from what passes on USB to a file; its documentation is the format of our files |
//! | `read` | from a trace, ours or one of the kernel's USB, to the exchange and what is wrong in it |
//! | `file` | such a file on disk, written by a thread of its own (feature `file`) |
//!
//! Without the feature nothing here reads a clock or opens a file, so that it runs in a browser too.

#[cfg(feature = "file")]
pub mod file;
pub mod read;
pub mod write;
