//! The two bulk endpoints: packets to messages and back.
//!
//! A phone knows nothing of a host's transfers; it sees packets. A message ends where a packet is
//! shorter than wMaxPacketSize, the empty one included, and nowhere else (PROTOCOL §4). So the
//! transfers of a host are joined when no short packet ended the first of them, and a message of
//! the phone's is cut where a host's read is full. What is inside a message is not looked at here.

use std::collections::VecDeque;

/// The phone's read buffer, in bytes: a message that fills it is too large, since a frame's length
/// is at most 65535.
const READ_BUFFER: usize = 65536;

/// The OUT endpoint: gathers packets until a short one.
#[derive(Debug)]
pub(crate) struct OutEndpoint {
    max_packet: usize,
    /// The message so far, if its first transfer ended without a short packet.
    gathered: Vec<u8>,
    /// The message was given away or given up with the last call; the next packet begins anew.
    ended: bool,
    /// The message was too large; packets are dropped until a short one ends it.
    dropping: bool,
}

/// What the packets of one OUT transfer led to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Gathered<'a> {
    /// No short packet yet: the message goes on with the next transfer.
    Incomplete,
    /// A message, never longer than 65535 bytes; empty for a ZLP that ended nothing.
    Message(&'a mut [u8]),
    /// The read buffer ran over: the message is lost to its end. Said once for each message.
    TooLarge,
}

impl OutEndpoint {
    pub(crate) fn new(max_packet: u16) -> Self {
        OutEndpoint {
            max_packet: usize::from(max_packet.max(1)),
            gathered: Vec::new(),
            ended: false,
            dropping: false,
        }
    }

    /// Takes the packets of one transfer; a single packet may be passed as one, too.
    pub(crate) fn take<'a>(&'a mut self, transfer: &'a mut [u8]) -> Gathered<'a> {
        if core::mem::take(&mut self.ended) {
            self.gathered.clear();
        }
        let short = transfer.is_empty() || !transfer.len().is_multiple_of(self.max_packet);
        if self.dropping {
            self.dropping = !short;
            return Gathered::Incomplete;
        }
        if self.gathered.len() + transfer.len() >= READ_BUFFER {
            self.gathered.clear();
            self.dropping = !short;
            return Gathered::TooLarge;
        }
        if short && self.gathered.is_empty() {
            return Gathered::Message(transfer);
        }
        self.gathered.extend_from_slice(transfer);
        if !short {
            return Gathered::Incomplete;
        }
        self.ended = true;
        Gathered::Message(&mut self.gathered)
    }

    /// Forgets a message that has begun, as a port reset does.
    pub(crate) fn reset(&mut self) {
        *self = OutEndpoint::new(u16::try_from(self.max_packet).unwrap_or(u16::MAX));
    }
}

/// The IN endpoint: a bounded queue of messages, cut into packets.
#[derive(Debug)]
pub(crate) struct InEndpoint {
    max_packet: usize,
    messages: VecDeque<Vec<u8>>,
    /// Bytes of the front message that earlier transfers took.
    sent: usize,
    /// Emptied buffers, for the next messages.
    spare: Vec<Vec<u8>>,
}

/// How many messages wait for the host at most; then the phone writes no more and takes no more
/// OUT packets either (a NAK each), as a phone whose buffers are full.
const QUEUED_MESSAGES: usize = 16;
/// Capacity of every message buffer, in bytes: that of the reads a host keeps in flight, so that
/// buffers can be exchanged for each other.
const MESSAGE_BUFFER: usize = 65536;
/// From this length on, in bytes, a message changes places with the host's buffer instead of being
/// copied into it.
const SWAP_FROM: usize = 1024;

impl InEndpoint {
    pub(crate) fn new(max_packet: u16) -> Self {
        InEndpoint {
            max_packet: usize::from(max_packet.max(1)),
            messages: VecDeque::with_capacity(QUEUED_MESSAGES),
            sent: 0,
            spare: Vec::new(),
        }
    }

    /// Whether another message may be queued.
    pub(crate) fn has_room(&self) -> bool {
        self.messages.len() < QUEUED_MESSAGES
    }

    /// An empty buffer for a message.
    pub(crate) fn buffer(&mut self) -> Vec<u8> {
        self.spare.pop().unwrap_or_else(|| Vec::with_capacity(MESSAGE_BUFFER))
    }

    /// Takes a buffer back.
    pub(crate) fn recycle(&mut self, mut buffer: Vec<u8>) {
        if self.spare.len() < QUEUED_MESSAGES && buffer.capacity() >= MESSAGE_BUFFER {
            buffer.clear();
            self.spare.push(buffer);
        }
    }

    /// Queues a message; asking [`has_room`](Self::has_room) first is the caller's duty, save for
    /// the few messages of a stale session or a complaint.
    pub(crate) fn push(&mut self, message: Vec<u8>) {
        self.messages.push_back(message);
    }

    /// Sends packets into a read of `requested` bytes; says whether the read is complete: by a
    /// short packet, by a ZLP, or because it is full.
    ///
    /// A message is in the queue as a whole, so a read never completes half: `false` means that
    /// there was no packet for it at all. `requested` is a multiple of the packet size, as USB
    /// demands; anything else is rounded up to one.
    pub(crate) fn fill(&mut self, buffer: &mut Vec<u8>, requested: usize) -> bool {
        buffer.clear();
        let Some(message) = self.messages.front_mut() else { return false };
        let requested = requested.max(1).next_multiple_of(self.max_packet);
        let rest = message.get(self.sent..).unwrap_or_default();
        // An exact multiple that fills the read leaves its ZLP for the next one.
        let ends = rest.len() < requested;
        if !ends {
            let (part, _) = rest.split_at(requested);
            buffer.extend_from_slice(part);
            self.sent += requested;
            return true;
        }
        if self.sent == 0 && rest.len() >= SWAP_FROM && message.capacity() >= requested {
            core::mem::swap(message, buffer);
        } else {
            buffer.extend_from_slice(rest);
        }
        self.sent = 0;
        if let Some(used) = self.messages.pop_front() {
            self.recycle(used);
        }
        true
    }

    /// The next packet, if there is one; it stays the next until [`advance`](Self::advance).
    pub(crate) fn packet(&self) -> Option<&[u8]> {
        let rest = self.messages.front()?.get(self.sent..).unwrap_or_default();
        Some(rest.get(..self.max_packet).unwrap_or(rest))
    }

    /// The host has the next packet: goes on to the one behind it. A message whose last packet is a
    /// full one ends with a ZLP.
    pub(crate) fn advance(&mut self) {
        let Some(length) = self.packet().map(<[u8]>::len) else { return };
        self.sent += length;
        if length < self.max_packet {
            self.sent = 0;
            if let Some(used) = self.messages.pop_front() {
                self.recycle(used);
            }
        }
    }

    /// Forgets all messages, as a port reset does.
    pub(crate) fn reset(&mut self) {
        self.sent = 0;
        while let Some(message) = self.messages.pop_front() {
            self.recycle(message);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn out(transfers: &[usize]) -> Vec<Option<usize>> {
        let mut endpoint = OutEndpoint::new(512);
        let mut seen = Vec::new();
        for length in transfers {
            match endpoint.take(&mut vec![7; *length]) {
                Gathered::Incomplete => {}
                Gathered::Message(message) => seen.push(Some(message.len())),
                Gathered::TooLarge => seen.push(None),
            }
        }
        seen
    }

    #[test]
    fn a_message_ends_only_at_a_short_packet() {
        assert_eq!(out(&[36]), [Some(36)]);
        assert_eq!(out(&[512]), []);
        assert_eq!(out(&[512, 0]), [Some(512)]);
        assert_eq!(out(&[512, 36, 36]), [Some(548), Some(36)]);
        assert_eq!(out(&[0]), [Some(0)]);
        assert_eq!(out(&[65535]), [Some(65535)]);
        assert_eq!(out(&[65024, 511]), [Some(65535)]);
    }

    #[test]
    fn a_message_that_fills_the_read_buffer_is_lost_to_its_end() {
        assert_eq!(out(&[65536, 36]), [None]);
        assert_eq!(out(&[65536, 36, 40]), [None, Some(40)]);
        assert_eq!(out(&[49152, 49152, 49152, 0, 36]), [None, Some(36)]);
        assert_eq!(out(&[49152, 20000, 36]), [None, Some(36)]);
    }

    #[test]
    fn packets_of_64_bytes_make_the_same_message() {
        let mut endpoint = OutEndpoint::new(64);
        let mut bytes: Vec<u8> = (0..=200).collect();
        let mut whole = Vec::new();
        for packet in bytes.clone().chunks_mut(64) {
            if let Gathered::Message(message) = endpoint.take(packet) {
                whole.extend_from_slice(message);
            }
        }
        assert_eq!(
            endpoint.take(&mut bytes),
            Gathered::Message(&mut (0..=200).collect::<Vec<_>>())
        );
        assert_eq!(whole, bytes);
    }

    fn lengths(message: usize, requested: usize) -> Vec<usize> {
        let mut endpoint = InEndpoint::new(512);
        endpoint.push(vec![1; message]);
        let mut seen = Vec::new();
        let mut buffer = Vec::new();
        while endpoint.fill(&mut buffer, requested) {
            seen.push(buffer.len());
        }
        seen
    }

    #[test]
    fn reads_end_at_a_short_packet_a_zlp_or_when_full() {
        assert_eq!(lengths(36, 65536), [36]);
        assert_eq!(lengths(1024, 65536), [1024]);
        assert_eq!(lengths(1024, 1024), [1024, 0]);
        assert_eq!(lengths(1025, 1024), [1024, 1]);
        assert_eq!(lengths(1536, 1024), [1024, 512]);
        assert_eq!(lengths(1536, 512), [512, 512, 512, 0]);
        assert_eq!(lengths(0, 512), [0]);
    }

    #[test]
    fn a_packet_is_the_next_one_until_the_host_has_it() {
        let mut endpoint = InEndpoint::new(64);
        assert_eq!(endpoint.packet(), None);
        endpoint.advance();
        for length in [0, 63, 64, 65] {
            endpoint.push(vec![length as u8; length]);
        }
        let mut seen = Vec::new();
        while let Some(packet) = endpoint.packet() {
            assert_eq!(endpoint.packet(), Some(packet));
            seen.push(packet.len());
            endpoint.advance();
        }
        assert_eq!(seen, [0, 63, 64, 0, 64, 1]);
    }

    #[test]
    fn long_messages_change_places_with_the_read() {
        let mut endpoint = InEndpoint::new(512);
        let mut message = endpoint.buffer();
        message.resize(2000, 3);
        let place = message.as_ptr();
        endpoint.push(message);
        let mut buffer = Vec::with_capacity(65536);
        assert!(endpoint.fill(&mut buffer, 65536));
        assert_eq!((buffer.len(), buffer.as_ptr()), (2000, place));
        assert!(!endpoint.fill(&mut buffer, 65536));
    }
}
