//! The bytes of USB/IP: what a kernel's virtual host controller asks, and the answers.
//!
//! Every message begins with 48 bytes, all numbers big-endian (Linux documents the format under
//! Documentation/usb/usbip_protocol.rst):
//!
//! ```text
//!  0 command u32 | 4 seqnum u32 | 8 devid u32 | 12 direction u32 | 16 endpoint u32     all four
//! 20 flags u32 | 24 length u32 | 28 start_frame u32 | 32 packets u32 | 36 interval u32
//!                                                           | 40 setup [u8; 8]    CMD_SUBMIT
//! 20 unlinked seqnum u32 | 24 zeros                                               CMD_UNLINK
//! 20 status i32 | 24 actual u32 | 28 start_frame u32 | 32 packets u32 | 36 errors u32
//!                                                           | 40 zeros            RET_SUBMIT
//! 20 status i32 | 24 zeros                                                        RET_UNLINK
//! ```
//!
//! Behind CMD_SUBMIT stand the bytes of an OUT transfer, behind RET_SUBMIT those of an IN transfer;
//! isochronous transfers are followed by 16 bytes for each packet. Left out: the other half of the
//! protocol, by which devices are listed and imported over TCP; a kernel never speaks it.

use crate::remote::TRANSFER_MAX;
use core::{array, fmt};

/// Length of the fixed part of every message, in bytes.
pub(super) const HEADER: usize = 48;
/// The most packets of an isochronous transfer; the kernel's own limit is 1024, too.
const ISOCHRONOUS_PACKETS_MAX: u32 = 1024;
/// Length of what describes one isochronous packet, in bytes.
const ISOCHRONOUS_PACKET: usize = 16;
/// What stands in the packet field of a transfer that is not isochronous; kernels write 0, too.
const NOT_ISOCHRONOUS: u32 = u32::MAX;

const CMD_SUBMIT: u32 = 1;
const CMD_UNLINK: u32 = 2;
const RET_SUBMIT: u32 = 3;
const RET_UNLINK: u32 = 4;

/// Bits of the flags field.
const SHORT_NOT_OK: u32 = 0x0001;
const ZERO_PACKET: u32 = 0x0040;

/// How a transfer ended: an errno, negative, as the kernel's drivers read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Status(pub(super) i32);

impl Status {
    pub(super) const OK: Status = Status(0);
    /// The host controller has no memory for it (ENOMEM).
    pub(super) const NO_MEMORY: Status = Status(-12);
    /// The device stalled the endpoint, or has no such endpoint (EPIPE).
    pub(super) const STALL: Status = Status(-32);
    /// The device sent more than was asked for (EOVERFLOW).
    #[doc(alias = "babble")]
    pub(super) const OVERFLOW: Status = Status(-75);
    /// It was unlinked before it ended (ECONNRESET).
    pub(super) const UNLINKED: Status = Status(-104);
    /// It ended short although the host had forbidden that (EREMOTEIO).
    pub(super) const SHORT: Status = Status(-121);
}

/// One request of the host controller's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Submit(Submit),
    Unlink(Unlink),
}

/// A transfer is no longer wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unlink {
    pub(super) seqnum: u32,
    /// The seqnum of the transfer.
    pub(super) target: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Out,
    In,
}

/// A transfer to be carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Submit {
    pub(super) seqnum: u32,
    pub(super) direction: Direction,
    /// 0 to 15, without the direction bit.
    pub(super) endpoint: u8,
    /// A short IN transfer is an error.
    pub(super) short_not_ok: bool,
    /// An OUT transfer that ends with a full packet is followed by a ZLP.
    pub(super) zero_packet: bool,
    /// Bytes to send, or most bytes to receive; at most [`TRANSFER_MAX`].
    pub(super) length: usize,
    /// Bytes that describe isochronous packets, behind those of the transfer.
    pub(super) trailer: usize,
    /// The SETUP packet, meant for endpoint 0 alone.
    pub(super) setup: [u8; 8],
}

impl Submit {
    /// How many bytes of the transfer follow the header.
    pub(super) fn body(&self) -> usize {
        match self.direction {
            Direction::Out => self.length,
            Direction::In => 0,
        }
    }
}

/// A message that no kernel sends: where the next one begins cannot be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Malformed {
    /// The command is neither CMD_SUBMIT nor CMD_UNLINK.
    Command(u32),
    /// The direction is neither 0 nor 1.
    Direction(u32),
    /// USB has endpoints 0 to 15.
    Endpoint(u32),
    /// A transfer above 16 MiB.
    Length(u32),
    /// More isochronous packets than a kernel allows.
    Packets(u32),
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Malformed::Command(number) => write!(f, "unknown USB/IP command {number:#x}"),
            Malformed::Direction(number) => write!(f, "unknown USB/IP direction {number:#x}"),
            Malformed::Endpoint(number) => write!(f, "USB/IP endpoint {number} of 15"),
            Malformed::Length(bytes) => write!(f, "a USB/IP transfer of {bytes} bytes"),
            Malformed::Packets(number) => write!(f, "a USB/IP transfer of {number} packets"),
        }
    }
}

impl std::error::Error for Malformed {}

impl Command {
    /// Reads the fixed part of a message.
    pub(super) fn parse(bytes: &[u8; HEADER]) -> Result<Self, Malformed> {
        let [command, seqnum, _devid, direction, endpoint, sixth, rest @ ..] = words(bytes);
        let [length, _start_frame, packets, _interval, setup_high, setup_low] = rest;
        match command {
            CMD_SUBMIT => {}
            CMD_UNLINK => return Ok(Command::Unlink(Unlink { seqnum, target: sixth })),
            _ => return Err(Malformed::Command(command)),
        }
        let packets = if packets == NOT_ISOCHRONOUS { 0 } else { packets };
        if packets > ISOCHRONOUS_PACKETS_MAX {
            return Err(Malformed::Packets(packets));
        }
        Ok(Command::Submit(Submit {
            seqnum,
            direction: match direction {
                0 => Direction::Out,
                1 => Direction::In,
                _ => return Err(Malformed::Direction(direction)),
            },
            endpoint: match u8::try_from(endpoint) {
                Ok(endpoint @ 0..16) => endpoint,
                _ => return Err(Malformed::Endpoint(endpoint)),
            },
            short_not_ok: sixth & SHORT_NOT_OK != 0,
            zero_packet: sixth & ZERO_PACKET != 0,
            length: match usize::try_from(length) {
                Ok(bytes) if bytes <= TRANSFER_MAX => bytes,
                _ => return Err(Malformed::Length(length)),
            },
            trailer: packets as usize * ISOCHRONOUS_PACKET,
            setup: (u64::from(setup_high) << 32 | u64::from(setup_low)).to_be_bytes(),
        }))
    }
}

/// The answer to CMD_SUBMIT: how the transfer ended and how many bytes it moved. The bytes of an IN
/// transfer are to follow.
pub(super) fn submitted(seqnum: u32, status: Status, actual: usize) -> [u8; HEADER] {
    // No transfer is longer than TRANSFER_MAX.
    let actual = u32::try_from(actual).unwrap_or(u32::MAX);
    message([RET_SUBMIT, seqnum, 0, 0, 0, status.0.cast_unsigned(), actual, 0, 0, 0, 0, 0])
}

/// The answer to CMD_UNLINK.
pub(super) fn unlinked(seqnum: u32, status: Status) -> [u8; HEADER] {
    message([RET_UNLINK, seqnum, 0, 0, 0, status.0.cast_unsigned(), 0, 0, 0, 0, 0, 0])
}

fn words(bytes: &[u8; HEADER]) -> [u32; HEADER / 4] {
    let (words, _) = bytes.as_chunks();
    array::from_fn(|at| u32::from_be_bytes(words[at]))
}

fn message(words: [u32; HEADER / 4]) -> [u8; HEADER] {
    let mut bytes = [0; HEADER];
    for (place, word) in bytes.as_chunks_mut().0.iter_mut().zip(words) {
        *place = word.to_be_bytes();
    }
    bytes
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    /// GET_DESCRIPTOR of the device, 64 bytes asked for, as the first request to any device is.
    #[rustfmt::skip]
    const GET_DESCRIPTOR: [u8; HEADER] = [
        0, 0, 0, 1,  0, 0, 0, 9,  0, 1, 0, 2,  0, 0, 0, 1,  0, 0, 0, 0, // submit 9, IN, endpoint 0
        0, 0, 2, 0,  0, 0, 0, 64,  0, 0, 0, 0,  0, 0, 0, 0,  0, 0, 0, 0, // flags, 64 bytes
        0x80, 6, 0, 1, 0, 0, 64, 0,
    ];
    /// A bulk OUT transfer of 512 bytes to endpoint 4 with its ZLP; "not isochronous" spelt out.
    #[rustfmt::skip]
    const BULK_OUT: [u8; HEADER] = [
        0, 0, 0, 1,  0, 0, 1, 0,  0, 1, 0, 2,  0, 0, 0, 0,  0, 0, 0, 4,
        0, 0, 0, 0x40,  0, 0, 2, 0,  0, 0, 0, 0,  0xff, 0xff, 0xff, 0xff,  0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0,
    ];

    #[test]
    fn commands_are_read() {
        let submit = Submit {
            seqnum: 9,
            direction: Direction::In,
            endpoint: 0,
            short_not_ok: false,
            zero_packet: false,
            length: 64,
            trailer: 0,
            setup: [0x80, 6, 0, 1, 0, 0, 64, 0],
        };
        assert_eq!(Command::parse(&GET_DESCRIPTOR), Ok(Command::Submit(submit)));
        assert_eq!(submit.body(), 0);
        let Ok(Command::Submit(submit)) = Command::parse(&BULK_OUT) else { panic!("refused") };
        assert_eq!((submit.direction, submit.endpoint), (Direction::Out, 4));
        assert_eq!((submit.length, submit.body(), submit.trailer), (512, 512, 0));
        assert!(submit.zero_packet && !submit.short_not_ok);

        let mut unlink = [0; HEADER];
        unlink[3] = 2;
        unlink[7] = 10;
        unlink[23] = 9;
        assert_eq!(Command::parse(&unlink), Ok(Command::Unlink(Unlink { seqnum: 10, target: 9 })));
    }

    #[test]
    fn each_field_has_its_limit() {
        let with = |at: usize, value: u32| {
            let mut bytes = BULK_OUT;
            bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
            Command::parse(&bytes)
        };
        for command in [0, 3, 4, u32::MAX] {
            assert_eq!(with(0, command), Err(Malformed::Command(command)));
        }
        assert_eq!(with(12, 2), Err(Malformed::Direction(2)));
        assert!(with(16, 15).is_ok());
        assert_eq!(with(16, 16), Err(Malformed::Endpoint(16)));
        assert_eq!(with(16, 0x104), Err(Malformed::Endpoint(0x104)));
        assert!(with(24, 16 << 20).is_ok());
        assert_eq!(with(24, (16 << 20) + 1), Err(Malformed::Length((16 << 20) + 1)));
        let Ok(Command::Submit(most)) = with(32, 1024) else { panic!("refused") };
        assert_eq!(most.trailer, 16384);
        assert_eq!(with(32, 1025), Err(Malformed::Packets(1025)));
    }

    #[test]
    fn answers_are_written() {
        let stalled = submitted(0x0102, Status::STALL, 0x1ff);
        let mut due = [0; HEADER];
        (due[3], due[6], due[7]) = (3, 1, 2);
        due[20..24].copy_from_slice(&[0xff, 0xff, 0xff, 0xe0]);
        (due[26], due[27]) = (1, 0xff);
        assert_eq!(stalled, due);

        let mut due = [0; HEADER];
        (due[3], due[7]) = (4, 5);
        due[20..24].copy_from_slice(&[0xff, 0xff, 0xff, 0x98]);
        assert_eq!(unlinked(5, Status::UNLINKED), due);
    }
}
