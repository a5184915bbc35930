//! Whether a draft is what a pair record must be: a property list of a dictionary, XML or binary.
//!
//! An XML one is read whole. Of a binary one only the frame is looked at, because walking its
//! objects takes memory for each: it is stored as it came and never expanded here.

use super::dictionary::{Reader, Sink};
use crate::records::{Draft, RecordStore};

const MAGIC: &[u8] = b"bplist00";

/// Behind a binary property list: 6 bytes, two sizes, three numbers of 8 bytes.
const TRAILER_LEN: usize = 32;

/// How much of a draft is looked at in one piece.
const PIECE: usize = 64;

/// Tells whether a draft of `len` bytes may become a record.
pub(super) fn is_pair_record(store: &impl RecordStore, draft: Draft, len: usize) -> bool {
    let mut magic = [0; MAGIC.len()];
    if store.read_draft(draft, 0, &mut magic) == MAGIC.len() && magic == MAGIC {
        return is_binary_dictionary(store, draft, len).is_some();
    }
    let mut reader = Reader::new();
    let mut piece = [0; PIECE];
    let mut offset = 0;
    // Bounded by the longest message.
    while offset < len {
        let read = store.read_draft(draft, offset, &mut piece);
        if read == 0 {
            return false;
        }
        for &byte in piece.iter().take(read) {
            reader.push(byte, &mut Nowhere);
        }
        offset = offset.saturating_add(read);
    }
    reader.is_dictionary()
}

/// Finds the top object by the trailer and the table of offsets.
fn is_binary_dictionary(store: &impl RecordStore, draft: Draft, len: usize) -> Option<()> {
    let end = len.checked_sub(TRAILER_LEN)?;
    let trailer: [u8; TRAILER_LEN] = read(store, draft, end)?;
    let [_, _, _, _, _, _, offset_len, reference_len, numbers @ ..] = trailer;
    let (count, numbers) = number(&numbers)?;
    let (top, numbers) = number(numbers)?;
    let (table, _) = number(numbers)?;
    let sizes = 1..=8;
    let table_len = count.checked_mul(usize::from(offset_len))?;
    if !sizes.contains(&offset_len)
        || !sizes.contains(&reference_len)
        || top >= count
        || table.checked_add(table_len)? > end
    {
        return None;
    }
    let place = table.checked_add(top.checked_mul(usize::from(offset_len))?)?;
    let entry: [u8; 8] = read(store, draft, place)?;
    let mut offset = 0_usize;
    for &byte in entry.iter().take(usize::from(offset_len)) {
        offset = offset.checked_mul(0x100)?.checked_add(usize::from(byte))?;
    }
    let [marker] = read(store, draft, offset)?;
    (offset >= MAGIC.len() && offset < table && marker >> 4 == 0xd).then_some(())
}

fn read<const N: usize>(store: &impl RecordStore, draft: Draft, offset: usize) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    (store.read_draft(draft, offset, &mut bytes) == N).then_some(bytes)
}

fn number(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((usize::try_from(u64::from_be_bytes(*number)).ok()?, rest))
}

/// A record inside a record is nobody's business.
struct Nowhere;

impl Sink for Nowhere {
    fn begin(&mut self, _: Option<&str>) {}

    fn add(&mut self, _: &[u8]) {}
}
