//! Where pair records are kept, and a store in RAM.
//!
//! A record has 8 to 16 KB on the wire and arrives in pieces, before or after its id. So a store
//! takes a *draft* that grows piece by piece and becomes a record when it is committed under an id;
//! what was kept under that id stays until then. What a record must look like is not known here.

use core::cell::Cell;

use heapless::{String, Vec};
use usbmux_core::session::{MAX_RECORD_ID, ResultCode};

/// Names a draft: the one being written. A store has one at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Draft(pub u16);

/// Names a record as it was when it was looked up; one that was replaced or deleted since is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Record {
    /// The store's own name for it; another one after each change.
    pub number: u16,
    /// How long it is.
    pub len: u32,
}

/// Why a store did not do what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreError {
    /// Nothing is kept under this id.
    Missing,
    /// The record is too long, or there is no room for another one. Delete one first.
    Full,
    /// Somebody else began a draft meanwhile. The client may try again.
    Displaced,
    /// The memory behind the store failed.
    Broken,
}

impl StoreError {
    /// The number to answer with: errno values, as all requests about pair records have them.
    pub const fn code(self) -> ResultCode {
        match self {
            Self::Missing => ResultCode::NO_RECORD,
            Self::Full => ResultCode(28),      // ENOSPC
            Self::Displaced => ResultCode(16), // EBUSY
            Self::Broken => ResultCode::IO,
        }
    }
}

/// Keeps pair records.
///
/// Ids were judged before: [`usbmux_core::session::is_record_id`].
pub trait RecordStore {
    /// Begins a draft. One that was begun before and never committed is displaced: a client that
    /// stops in the middle of its message keeps nobody else from saving.
    ///
    /// `id` is what it is most likely to be committed under, if that is known: where there is no room
    /// for both, what is kept under this id may give way to the draft.
    ///
    /// # Errors
    /// [`StoreError::Full`] for a store that can keep nothing.
    fn begin(&mut self, id: Option<&str>) -> Result<Draft, StoreError>;

    /// Adds bytes to a draft.
    ///
    /// # Errors
    /// [`StoreError::Full`] or [`StoreError::Displaced`]; the draft is to be abandoned then.
    fn append(&mut self, draft: Draft, bytes: &[u8]) -> Result<(), StoreError>;

    /// Copies what stands at `offset` of a draft; returns how much there was.
    fn read_draft(&self, draft: Draft, offset: usize, to: &mut [u8]) -> usize;

    /// Makes a draft the record of this id, in place of an older one.
    ///
    /// # Errors
    /// [`StoreError::Full`], [`StoreError::Displaced`] or [`StoreError::Broken`]; the draft is gone
    /// then, and an older record is still there, unless it gave way to the draft.
    fn commit(&mut self, draft: Draft, id: &str) -> Result<(), StoreError>;

    /// Forgets a draft; nothing happens if it is gone already.
    fn abandon(&mut self, draft: Draft);

    /// Looks up what is kept under this id.
    fn find(&self, id: &str) -> Option<Record>;

    /// Copies what stands at `offset` of a record; returns how much there was, 0 for a record that
    /// is gone.
    fn read(&self, record: Record, offset: usize, to: &mut [u8]) -> usize;

    /// Forgets what is kept under this id.
    ///
    /// # Errors
    /// [`StoreError::Missing`] or [`StoreError::Broken`].
    fn delete(&mut self, id: &str) -> Result<(), StoreError>;
}

/// A store that stands elsewhere: in a static of its own, so that the dongle, which is moved when it
/// is made, stays small.
impl<R: RecordStore + ?Sized> RecordStore for &mut R {
    fn begin(&mut self, id: Option<&str>) -> Result<Draft, StoreError> {
        (**self).begin(id)
    }

    fn append(&mut self, draft: Draft, bytes: &[u8]) -> Result<(), StoreError> {
        (**self).append(draft, bytes)
    }

    fn read_draft(&self, draft: Draft, offset: usize, to: &mut [u8]) -> usize {
        (**self).read_draft(draft, offset, to)
    }

    fn commit(&mut self, draft: Draft, id: &str) -> Result<(), StoreError> {
        (**self).commit(draft, id)
    }

    fn abandon(&mut self, draft: Draft) {
        (**self).abandon(draft);
    }

    fn find(&self, id: &str) -> Option<Record> {
        (**self).find(id)
    }

    fn read(&self, record: Record, offset: usize, to: &mut [u8]) -> usize {
        (**self).read(record, offset, to)
    }

    fn delete(&mut self, id: &str) -> Result<(), StoreError> {
        (**self).delete(id)
    }
}

/// Keeps nothing: for a board without room. Reading finds no record, saving finds no space.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoStore;

impl RecordStore for NoStore {
    fn begin(&mut self, _: Option<&str>) -> Result<Draft, StoreError> {
        Err(StoreError::Full)
    }

    fn append(&mut self, _: Draft, _: &[u8]) -> Result<(), StoreError> {
        Err(StoreError::Full)
    }

    fn read_draft(&self, _: Draft, _: usize, _: &mut [u8]) -> usize {
        0
    }

    fn commit(&mut self, _: Draft, _: &str) -> Result<(), StoreError> {
        Err(StoreError::Full)
    }

    fn abandon(&mut self, _: Draft) {}

    fn find(&self, _: &str) -> Option<Record> {
        None
    }

    fn read(&self, _: Record, _: usize, _: &mut [u8]) -> usize {
        0
    }

    fn delete(&mut self, _: &str) -> Result<(), StoreError> {
        Err(StoreError::Missing)
    }
}

/// Keeps records in RAM: they are gone when the power is.
///
/// `BYTES` are there for all records and the draft together. A record that is saved again needs its
/// room twice for a moment, since the old one stays until the new one is whole: `PHONES` records of
/// up to n bytes each, whatever happens, take `(PHONES + 1) * n`. Where there is less, the new one is
/// written in the old one's place: the old one is forgotten as soon as the new one needs its room, and
/// if the new one then turns out to be none (its client hangs up, it is too long), the phone has to be
/// paired again. Another phone's record never gives way, and none to a draft that is longer than
/// `BYTES / PHONES`.
#[derive(Clone, Debug)]
pub struct RamStore<const PHONES: usize, const BYTES: usize> {
    /// The records one behind the other, then the draft.
    bytes: [u8; BYTES],
    entries: Vec<Entry, PHONES, u8>,
    draft: Option<OpenDraft>,
    /// The number of the record that gives way to the draft.
    older: Option<u16>,
    /// The name given last.
    number: u16,
}

#[derive(Clone, Debug)]
struct Entry {
    id: String<MAX_RECORD_ID, u8>,
    number: u16,
    len: usize,
}

#[derive(Clone, Copy, Debug)]
struct OpenDraft {
    draft: Draft,
    len: usize,
}

impl<const PHONES: usize, const BYTES: usize> RamStore<PHONES, BYTES> {
    /// Keeps nothing yet; all zero, so that an image needs no copy of it in its flash.
    pub const fn new() -> Self {
        Self { bytes: [0; BYTES], entries: Vec::new(), draft: None, older: None, number: 0 }
    }

    /// How many bytes the records have.
    pub fn used(&self) -> usize {
        self.entries.iter().map(|entry| entry.len).sum()
    }

    /// How many records there are.
    pub fn count(&self) -> usize {
        self.entries.len()
    }

    fn opened(&self, draft: Draft) -> Option<OpenDraft> {
        self.draft.filter(|open| open.draft == draft)
    }

    fn next_number(&mut self) -> u16 {
        self.number = self.number.wrapping_add(1);
        self.number
    }

    /// The place of an id among the entries, and where its bytes begin.
    fn place(&self, is_it: impl Fn(&Entry) -> bool) -> Option<(usize, usize)> {
        let mut start = 0_usize;
        for (place, entry) in self.entries.iter().enumerate() {
            if is_it(entry) {
                return Some((place, start));
            }
            start = start.saturating_add(entry.len);
        }
        None
    }

    /// Moves everything behind a record to its beginning. What is left over is wiped: records hold
    /// keys.
    fn remove(&mut self, place: usize, start: usize) {
        if place >= self.entries.len() {
            return;
        }
        let drafted = self.draft.map_or(0, |open| open.len);
        let end = self.used().saturating_add(drafted);
        let len = self.entries.remove(place).len;
        let cells = Cell::from_mut(self.bytes.as_mut_slice()).as_slice_of_cells();
        let behind = cells.iter().take(end).skip(start.saturating_add(len));
        for (to, from) in cells.iter().skip(start).zip(behind) {
            to.set(from.get());
        }
        self.wipe(end.saturating_sub(len));
    }

    /// The record that gives way to a draft does so, if there is one. A draft that has more than a
    /// phone's share, and some to come, is too long: nobody gives way to it.
    fn give_way(&mut self, draft: Draft, more: usize) {
        let (Some(OpenDraft { len, .. }), Some(older)) = (self.opened(draft), self.older) else {
            return;
        };
        let place = self.place(|entry| entry.number == older);
        if let Some((place, start)) = place
            && len.saturating_add(more).saturating_mul(PHONES) <= BYTES
        {
            self.remove(place, start);
        }
    }

    /// The room for more bytes of the draft.
    fn room(&mut self, draft: Draft, len: usize) -> Option<&mut [u8]> {
        let from = self.used().saturating_add(self.opened(draft)?.len);
        self.bytes.get_mut(from..)?.get_mut(..len)
    }

    fn wipe(&mut self, from: usize) {
        self.bytes.get_mut(from..).unwrap_or_default().fill(0);
    }
}

impl<const PHONES: usize, const BYTES: usize> Default for RamStore<PHONES, BYTES> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const PHONES: usize, const BYTES: usize> RecordStore for RamStore<PHONES, BYTES> {
    fn begin(&mut self, id: Option<&str>) -> Result<Draft, StoreError> {
        self.wipe(self.used());
        let draft = Draft(self.next_number());
        self.older = id.and_then(|id| self.find(id)).map(|record| record.number);
        self.draft = Some(OpenDraft { draft, len: 0 });
        Ok(draft)
    }

    fn append(&mut self, draft: Draft, bytes: &[u8]) -> Result<(), StoreError> {
        self.opened(draft).ok_or(StoreError::Displaced)?;
        if self.room(draft, bytes.len()).is_none() {
            self.give_way(draft, bytes.len());
        }
        let room = self.room(draft, bytes.len()).ok_or(StoreError::Full)?;
        for (to, from) in room.iter_mut().zip(bytes) {
            *to = *from;
        }
        let open = self.draft.as_mut().ok_or(StoreError::Displaced)?;
        open.len = open.len.saturating_add(bytes.len());
        Ok(())
    }

    fn read_draft(&self, draft: Draft, offset: usize, to: &mut [u8]) -> usize {
        let Some(open) = self.opened(draft) else { return 0 };
        let bytes = self.bytes.get(self.used()..).unwrap_or_default();
        copy(bytes.get(..open.len).unwrap_or_default(), offset, to)
    }

    fn commit(&mut self, draft: Draft, id: &str) -> Result<(), StoreError> {
        let number = self.opened(draft).ok_or(StoreError::Displaced)?.draft.0;
        let older = self.place(|entry| entry.id == id);
        let Ok(id) = String::try_from(id) else {
            self.abandon(draft);
            return Err(StoreError::Full);
        };
        if let Some((place, start)) = older {
            self.remove(place, start);
        }
        let len = self.draft.take().map_or(0, |open| open.len);
        let kept = self.entries.push(Entry { id, number, len }).map_err(|_| StoreError::Full);
        self.wipe(self.used());
        kept
    }

    fn abandon(&mut self, draft: Draft) {
        if self.opened(draft).is_some() {
            self.draft = None;
            self.wipe(self.used());
        }
    }

    fn find(&self, id: &str) -> Option<Record> {
        let entry = self.entries.iter().find(|entry| entry.id == id)?;
        Some(Record { number: entry.number, len: u32::try_from(entry.len).ok()? })
    }

    fn read(&self, record: Record, offset: usize, to: &mut [u8]) -> usize {
        let Some((place, start)) = self.place(|entry| entry.number == record.number) else {
            return 0;
        };
        let len = self.entries.get(place).map_or(0, |entry| entry.len);
        let bytes = self.bytes.get(start..).unwrap_or_default();
        copy(bytes.get(..len).unwrap_or_default(), offset, to)
    }

    fn delete(&mut self, id: &str) -> Result<(), StoreError> {
        let (place, start) = self.place(|entry| entry.id == id).ok_or(StoreError::Missing)?;
        self.remove(place, start);
        Ok(())
    }
}

/// Copies what stands at an offset; returns how much there was.
fn copy(from: &[u8], offset: usize, to: &mut [u8]) -> usize {
    let mut copied = 0;
    for (to, from) in to.iter_mut().zip(from.iter().skip(offset)) {
        *to = *from;
        copied += 1;
    }
    copied
}
