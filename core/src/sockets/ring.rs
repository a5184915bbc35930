//! A ring of bytes: what arrived and was not read, or was written and not sent.
//!
//! Its halves are contiguous slices, so that bytes move in bulk: a byte-wise queue is twenty times slower.
//! The logic stands once, on `Ring<[u8]>`; a ring over an array turns into one by itself. Left out:
//! who may read or write when, which is the socket's.
//!
//! The invariants: `head < capacity` (or both are 0), `len ≤ capacity`.

use core::fmt;

/// Bytes in the order in which they came; the oldest stands at `head`.
#[derive(Clone)]
pub(super) struct Ring<B: ?Sized> {
    head: usize,
    len: usize,
    bytes: B,
}

impl<const CAPACITY: usize> Ring<[u8; CAPACITY]> {
    pub(super) const EMPTY: Self = Ring { head: 0, len: 0, bytes: [0; CAPACITY] };
}

impl Ring<[u8]> {
    /// Bytes in the ring.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that still go in.
    pub(super) const fn room(&self) -> usize {
        self.bytes.len().saturating_sub(self.len)
    }

    pub(super) const fn clear(&mut self) {
        (self.head, self.len) = (0, 0);
    }

    /// The oldest bytes, up to the end of the storage; empty only if the ring is.
    fn readable(&self) -> &[u8] {
        let (_, from_head) = self.bytes.split_at_checked(self.head).unwrap_or((&[], &[]));
        from_head.get(..self.len).unwrap_or(from_head)
    }

    /// The room behind the newest byte, up to the end of the storage; empty only if the ring is full.
    fn writable(&mut self) -> &mut [u8] {
        let room = self.room();
        let end = self.wrapped(self.head.saturating_add(self.len));
        let (_, from_end) = self.bytes.split_at_mut_checked(end).unwrap_or((&mut [], &mut []));
        let most = room.min(from_end.len());
        from_end.get_mut(..most).unwrap_or(&mut [])
    }

    /// A place in the storage, for one that may lie behind its end once.
    const fn wrapped(&self, at: usize) -> usize {
        match at.checked_sub(self.bytes.len()) {
            Some(beyond) => beyond,
            None => at,
        }
    }

    /// Forgets the oldest `count` bytes.
    pub(super) fn consume(&mut self, count: usize) {
        let count = count.min(self.len);
        self.len = self.len.saturating_sub(count);
        // An empty ring begins anew: its halves are as long as can be.
        self.head = if self.len == 0 { 0 } else { self.wrapped(self.head.saturating_add(count)) };
    }

    /// Appends what fits, and says how much that was.
    pub(super) fn write(&mut self, from: &[u8]) -> usize {
        let first = copy(self.writable(), from);
        self.len = self.len.saturating_add(first);
        let rest = from.get(first..).unwrap_or(&[]);
        if rest.is_empty() {
            return first;
        }
        // Behind the end of the storage it goes on at its start.
        let second = copy(self.writable(), rest);
        self.len = self.len.saturating_add(second);
        first.saturating_add(second)
    }

    /// Copies the oldest bytes, and says how many those were; they stay.
    pub(super) fn peek(&self, to: &mut [u8]) -> usize {
        let first = copy(to, self.readable());
        let wrapped = self.len.saturating_sub(self.readable().len());
        let rest = to.get_mut(first..).unwrap_or(&mut []);
        if rest.is_empty() {
            return first;
        }
        first.saturating_add(copy(rest, self.bytes.get(..wrapped).unwrap_or(&[])))
    }

    /// Takes the oldest bytes, and says how many those were.
    pub(super) fn read(&mut self, to: &mut [u8]) -> usize {
        let count = self.peek(to);
        self.consume(count);
        count
    }
}

/// Copies as much as both have, and says how much that was.
fn copy(to: &mut [u8], from: &[u8]) -> usize {
    let count = to.len().min(from.len());
    if let (Some(to), Some(from)) = (to.get_mut(..count), from.get(..count)) {
        to.copy_from_slice(from);
    }
    count
}

/// Never the bytes: payload has no business in a log.
impl<B: ?Sized> fmt::Debug for Ring<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring").field("head", &self.head).field("len", &self.len).finish()
    }
}

#[cfg(feature = "defmt")]
impl<B: ?Sized> defmt::Format for Ring<B> {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "Ring {{ head: {=usize}, len: {=usize} }}", self.head, self.len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::collections::VecDeque;
    use std::vec::Vec;

    const CAPACITY: usize = 7;

    fn ring(storage: &mut Ring<[u8; CAPACITY]>) -> &mut Ring<[u8]> {
        storage
    }

    /// A ring whose oldest byte stands at `head`, with `len` bytes counted from 0.
    fn filled(head: usize, len: usize) -> Ring<[u8; CAPACITY]> {
        let mut storage = Ring::EMPTY;
        let bytes: Vec<u8> = (0..len as u8).collect();
        assert_eq!(ring(&mut storage).write(&[0xff; CAPACITY][..head]), head);
        if len > 0 {
            // One byte stays while the others go, so that the ring does not begin anew.
            assert_eq!(ring(&mut storage).write(&bytes[..1]), 1);
            ring(&mut storage).consume(head);
            assert_eq!(ring(&mut storage).write(&bytes[1..]), len - 1);
        } else {
            ring(&mut storage).consume(head);
        }
        storage
    }

    /// Every head, every length, every count: one more than fits included.
    #[test]
    fn bytes_come_out_as_they_went_in_around_every_corner() {
        for (head, len) in (0..CAPACITY).flat_map(|head| (0..=CAPACITY).map(move |len| (head, len)))
        {
            for count in 0..=CAPACITY + 1 {
                let mut storage = filled(head, len);
                let ring = ring(&mut storage);
                let mut model: VecDeque<u8> = (0..len as u8).collect();
                assert_eq!((ring.len(), ring.room()), (len, CAPACITY - len));
                assert_eq!(
                    (ring.readable().is_empty(), ring.writable().is_empty()),
                    (len == 0, len == CAPACITY)
                );

                let fresh: Vec<u8> = (100..100 + count as u8).collect();
                let fits = count.min(CAPACITY - len);
                assert_eq!(ring.write(&fresh), fits, "at {head}, {len} in it");
                model.extend(&fresh[..fits]);

                let mut out = [0; CAPACITY + 1];
                let there = count.min(model.len());
                assert_eq!(ring.peek(&mut out[..count]), there);
                assert_eq!(ring.read(&mut out[..count]), there);
                let expected: Vec<u8> = model.drain(..there).collect();
                assert_eq!(out[..there], expected[..], "at {head}, {len} in it, {count} out");
                assert_eq!(ring.len(), model.len());
            }
        }
    }

    #[test]
    fn an_emptied_ring_has_all_its_room_in_one_piece() {
        let mut storage = filled(5, 2);
        let ring = ring(&mut storage);
        assert_eq!(ring.readable(), [0, 1]);
        ring.consume(99);
        assert_eq!(ring.writable().len(), CAPACITY);
        assert_eq!(ring.write(&[1, 2]), 2);
        ring.clear();
        assert_eq!((ring.len(), ring.writable().len()), (0, CAPACITY));
    }

    #[test]
    fn a_ring_without_storage_takes_nothing() {
        let mut storage: Ring<[u8; 0]> = Ring::EMPTY;
        let ring: &mut Ring<[u8]> = &mut storage;
        assert_eq!((ring.write(&[1]), ring.read(&mut [0]), ring.room()), (0, 0, 0));
    }

    #[test]
    fn a_log_shows_no_payload() {
        assert_eq!(std::format!("{:?}", filled(3, 2)), "Ring { head: 3, len: 2 }");
    }
}
