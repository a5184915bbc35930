//! The memory that answers may take while their clients do not read them.
//!
//! One answer is small, but a list of thousands of listeners is not, and thousands of clients may
//! ask for it and never read. Leaves out: events, which have bounds of their own (`limits`).

use std::cell::Cell;
use std::rc::Rc;

use crate::daemon::limits::MAX_UNREAD_ANSWERS;

/// How many bytes of answers wait to be read; clones count the same.
#[derive(Clone, Debug, Default)]
pub struct UnreadAnswers(Rc<Cell<usize>>);

/// The memory of one answer; given back when dropped.
#[derive(Debug)]
pub(super) struct Unread {
    all: UnreadAnswers,
    bytes: usize,
}

impl UnreadAnswers {
    /// Counts an answer that its client has not read at once; none when there are too many.
    pub(super) fn hold(&self, bytes: usize) -> Option<Unread> {
        let held = self.0.get().saturating_add(bytes);
        (held <= MAX_UNREAD_ANSWERS).then(|| {
            self.0.set(held);
            Unread { all: self.clone(), bytes }
        })
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        self.all.0.set(self.all.0.get().saturating_sub(self.bytes));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
    use super::*;

    #[test]
    fn answers_share_the_memory_and_give_it_back() {
        let all = UnreadAnswers::default();
        let most = all.hold(MAX_UNREAD_ANSWERS - 1).unwrap();
        let last = all.clone().hold(1).unwrap();
        assert!(all.hold(1).is_none());
        drop(last);
        assert!(all.hold(2).is_none());
        drop(most);
        assert!(all.hold(MAX_UNREAD_ANSWERS + 1).is_none());
        all.hold(MAX_UNREAD_ANSWERS).unwrap();
        all.hold(MAX_UNREAD_ANSWERS).unwrap();
    }
}
