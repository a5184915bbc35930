//! Writing a trace, and the format of the file.
//!
//! | file | subject |
//! |---|---|
//! | `record` | what a trace consists of |
//! | `tap` | what passes on USB, in any slicing, becomes frames |
//! | `packet` | a record becomes an IPv6 packet |
//! | `comment` | what is in no TCP header, as a packet comment; what people read |
//! | `writer` | packets become blocks of pcapng, within a limit |
//!
//! Leaves out: where the file is, which thread writes it, and reading it again.
//!
//! # To look at one
//!
//! ```text
//! tshark -r FILE                                            the list of packets
//! tshark -r FILE -T fields -e frame.number -e _ws.col.Info -e frame.comment
//! tshark -r FILE -q -z follow,tcp,ascii,0                   a connection's payload, if it is there
//! ```
//!
//! In Wireshark, a packet's comments stand above its headers; *Edit, Preferences, Columns* makes
//! `frame.comment` a column.
//!
//! # The file
//!
//! Little-endian pcapng, one section. Its `shb_userappl` is the program (`umuxd 0.1.0`).
//!
//! **Interfaces.** Each phone that is plugged in gets an interface when it comes; the same phone
//! plugged in again gets another one. LINKTYPE_IPV6 (229), `if_name` the UDID, `if_tsresol` 9
//! (nanoseconds), `if_speed` the bus's bit rate if known.
//!
//! **Addresses.** *N* is the interface's number in the file, from 1, in hexadecimal (it starts anew
//! after 65535). They are from the range for documentation (RFC 3849), so no real machine has them.
//! IPv6, since the longest frame (65535 bytes) is too long for IPv4 with a TCP header.
//!
//! | address | who |
//! |---|---|
//! | `2001:db8:N::1` | the host: our side of the cable |
//! | `2001:db8:N::2` | the phone |
//! | `2001:db8:N::3` | nobody: what happened to the cable, the session, or the trace itself |
//!
//! **Direction.** `epb_flags` says outbound for what the host sent, inbound for what the phone sent,
//! and neither for `::3`. A frame of the host has the time at which it was handed to USB, one of the phone
//! the time at which its last byte was taken. Packets stand in the file in the order of these times.
//!
//! **Segments** are TCP over IPv6: source, destination, seq, ack, flags, window and urgent
//! pointer as they passed. Two things differ from the wire. A SYN (with or without ACK) carries the
//! option *window scale 8* (`01 03 03 08`), by which readers know that the window field of all later
//! segments counts 256 bytes; they do not apply it to the SYN's own window, which is left as it
//! passed. And the checksum, which is 0 in usbmux, is the right one for packets that are in the file
//! whole, and 0 for those that are cut, where no reader looks at it: of a few bytes of payload
//! it would tell too much.
//!
//! **Payload** is left out unless asked for, since it can hold secrets: the packet is cut behind the TCP
//! header, and `original_len` says how long it was. The text of an RST is no payload and always there, up to
//! [`MAX_TEXT`] bytes.
//!
//! **All else** is a syslog message in UDP, port 514 to port 514, since every reader shows its text
//! in the list of packets: `<PRI>` and text. The facility is 0 (kern) for frames, 3 (daemon) for
//! what comes from `::3`; the severity of a CONTROL frame is its type, if that is below 8.
//!
//! # Comments
//!
//! Each packet has one comment that begins with `usbmux `, for programs and people alike: a kind, then
//! words `key=value`. Numbers are decimal, or hexadecimal after `0x`; a value that may
//! have blanks (`text`, `hex`, `udid`, and `why` of an event) is in double quotes, with Rust's ASCII
//! escapes (`\n`, `\"`, `\\`, `\xNN`). New keys may appear; their order means nothing. A packet may have further comments that begin otherwise, for people only.
//!
//! | kind | packet | keys besides the common ones |
//! |---|---|---|
//! | `TCP` | TCP | `window` in bytes (the field times 256); `checksum`, `reserved` if not 0 on the wire; `text` of an RST |
//! | `CONTROL` | UDP | `type`, `text` |
//! | `SETUP` | UDP | `level` |
//! | `VERSION` | UDP | `major`, `minor` |
//! | `GARBAGE` | UDP | `why` (`header` `protocol` `length` `magic` `data-offset` `trailing`), `bytes` up to the transfer's end, `hex` (with payload only) its first bytes |
//! | `ZLP` | UDP | a zero-length packet that was seen as such |
//! | `USB` | UDP from `::3` | `event`: `attached` (with `udid`, `product`, `location`, `speed` in bit/s, `max_packet` in bytes), `detached` (`why`), `fault` (`why`), `reset` (the port is being reset), `reset-done` |
//! | `SESSION` | UDP from `::3` | `event`: `up` (`version`), `failed` (`why`), `dead` (`why`): what our engine made of it |
//! | `TRACE` | UDP from `::3` | `event`: `lost` (`records` that came faster than they could be written: seq numbers jump here and nobody is to blame), `limit` (the last packet of the file), `end` (the program that traces ends, and with it what is known of this phone) |
//!
//! Common to the first six:
//!
//! | key | meaning |
//! |---|---|
//! | `tx_seq`, `rx_seq` | the mux numbers; absent in VERSION and in version 1 |
//! | `length` | the mux header's length field: the whole frame |
//! | `transfer` | which USB transfer of this direction carried the frame's first byte, from 1 since the phone was plugged in or its port reset |
//! | `at` | where in that transfer the frame begins; above 0, frames were glued together |
//! | `slices` | in how many reads or packets the frame came, if more than one |
//! | `missing` | how many bytes of the frame were not there when its transfer ended; absent if none |
//!
//! So a reader gets the segment back: ports, numbers, flags and window from the packet's TCP header, a data
//! offset of 5, checksum 0 unless the comment has one, and length − 36 bytes of payload (28 without
//! `tx_seq`).

mod comment;
mod packet;
pub mod record;
mod tap;
mod writer;

pub use record::Sender;
pub use tap::Tap;
pub use writer::Writer;

/// How many bytes of an RST's or CONTROL's text are kept at most.
pub const MAX_TEXT: usize = 512;
