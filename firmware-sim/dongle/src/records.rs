//! Where pair records are kept, and a store in RAM.
//!
//! A record has 8 to 16 KB on the wire and arrives in pieces, before or after its id. So a store
//! takes a *draft* that grows piece by piece and becomes a record when it is committed under an id;
//! what was kept under that id stays until then. What a record must look like is not known here.

use usbmux_core::session::ResultCode;

/// Names a draft: the one being written. A store has one at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Draft(pub u16);

/// Names a record as it was when it was looked up; one that was replaced or deleted since is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Record {
    /// The store's own name for it, never used twice in a row.
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
    /// # Errors
    /// [`StoreError::Full`] for a store that can keep nothing.
    fn begin(&mut self) -> Result<Draft, StoreError>;

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
    /// [`StoreError::Full`], [`StoreError::Displaced`] or [`StoreError::Broken`]; the older record
    /// is still there then, and the draft is not.
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

/// Keeps nothing: for a board without room. Reading finds no record, saving finds no space.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoStore;

impl RecordStore for NoStore {
    fn begin(&mut self) -> Result<Draft, StoreError> {
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
