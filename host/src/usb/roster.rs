//! Which phones are on the bus, and what became of each: being opened, served, to be tried again,
//! or given up.
//!
//! The system's list is the truth; it is looked at now and then, and what follows from it is
//! computed here. A phone is the same phone as long as it has the same key, which it loses with its
//! place on the bus. Pure: leaves out the list itself, opening, and all devices that are no phones.

use std::collections::HashMap;
use std::hash::Hash;

/// How often a phone is opened whose opening fails for no reason that passes by itself.
const TRIES: u32 = 5;

/// The phones on the bus by their keys.
pub(super) struct Roster<K> {
    phones: HashMap<K, Entry>,
}

struct Entry {
    place: Place,
    failures: u32,
    /// What the last failure was, in words.
    told: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Somebody is opening it.
    Opening,
    /// It was opened, and either serves or is not to be opened again.
    Taken,
    /// It is to be opened at the next look.
    Waiting,
    /// It is not to be opened again.
    GivenUp,
}

/// Whether a failure may pass while the phone stays where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chance {
    /// Somebody will change something: try for ever.
    Lasting,
    /// Most likely it is not there any more, and the next look will show it: try for ever.
    Gone,
    /// Perhaps: try a few times.
    Little,
    /// Only as a new device.
    None,
}

impl<K: Copy + Eq + Hash> Roster<K> {
    pub(super) fn new() -> Self {
        Self { phones: HashMap::new() }
    }

    /// Compares with the system's list, forgets who is gone, and returns whom to open now; each of
    /// them must be followed by [`opened`](Self::opened) or [`failed`](Self::failed).
    pub(super) fn look(&mut self, present: &[K]) -> Vec<K> {
        self.phones.retain(|key, _| present.contains(key));
        let mut open = Vec::new();
        for key in present {
            let entry = self.phones.entry(*key).or_insert_with(|| Entry {
                place: Place::Waiting,
                failures: 0,
                told: String::new(),
            });
            if entry.place == Place::Waiting {
                entry.place = Place::Opening;
                open.push(*key);
            }
        }
        open
    }

    /// Notes that a phone was opened; false if it has gone meanwhile and nobody wants it.
    pub(super) fn opened(&mut self, key: K) -> bool {
        let entry = self.phones.get_mut(&key);
        entry.map(|entry| entry.place = Place::Taken).is_some()
    }

    /// Notes that opening a phone failed; says whether that is worth telling: not at every try, and
    /// not of a phone that most likely was just pulled out.
    pub(super) fn failed(&mut self, key: K, chance: Chance, why: &str) -> bool {
        let Some(entry) = self.phones.get_mut(&key) else {
            return false;
        };
        entry.failures += 1;
        let again = match chance {
            Chance::Lasting | Chance::Gone => true,
            Chance::Little => entry.failures < TRIES,
            Chance::None => false,
        };
        entry.place = if again { Place::Waiting } else { Place::GivenUp };
        let news = entry.told != why && (chance != Chance::Gone || entry.failures > 1);
        if news {
            why.clone_into(&mut entry.told);
        }
        news
    }

    /// Notes that a phone that was opened was lost. If it is still there at the next look, it is
    /// opened again.
    pub(super) fn lost(&mut self, key: K) {
        if let Some(entry) = self.phones.get_mut(&key) {
            entry.place = Place::Waiting;
        }
    }

    /// Whether somebody is opening a phone.
    pub(super) fn is_opening(&self) -> bool {
        self.phones.values().any(|entry| entry.place == Place::Opening)
    }

    /// Whether there is no phone.
    pub(super) fn is_empty(&self) -> bool {
        self.phones.is_empty()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
    use super::*;

    /// Bus and address.
    type Key = (u8, u8);
    const A: Key = (1, 2);
    const B: Key = (1, 3);

    fn serving(keys: &[Key]) -> Roster<Key> {
        let mut roster = Roster::new();
        for key in roster.look(keys) {
            assert!(roster.opened(key));
        }
        roster
    }

    #[test]
    fn each_phone_is_opened_once_however_often_one_looks() {
        let mut roster = Roster::new();
        assert_eq!(roster.look(&[A]), [A]);
        assert_eq!(roster.look(&[A, B]), [B]);
        assert!(roster.is_opening());
        assert!(roster.opened(A) && roster.opened(B));
        assert!(!roster.is_opening());
        assert_eq!(roster.look(&[B, A]), []);
    }

    #[test]
    fn replugged_phone_is_opened_at_its_new_address_and_at_its_old_one() {
        let mut roster = serving(&[A]);
        assert_eq!(roster.look(&[]), []);
        assert!(roster.is_empty());
        assert_eq!(roster.look(&[B]), [B]);
        assert!(roster.opened(B));
        assert_eq!(roster.look(&[A]), [A]);
    }

    #[test]
    fn phone_that_went_while_it_was_opened_is_not_wanted() {
        let mut roster = Roster::new();
        assert_eq!(roster.look(&[A]), [A]);
        assert_eq!(roster.look(&[]), []);
        assert!(!roster.opened(A));
        assert!(!roster.failed(A, Chance::Lasting, "gone"));
        assert_eq!(roster.look(&[A]), [A]);
    }

    #[test]
    fn lost_phone_is_opened_again_only_if_it_is_still_there() {
        let mut roster = serving(&[A, B]);
        roster.lost(A);
        roster.lost(B);
        assert_eq!(roster.look(&[B]), [B]);
        roster.lost(A);
        assert_eq!(roster.look(&[B]), []);
    }

    #[test]
    fn phone_is_tried_for_ever_a_few_times_or_once() {
        for (chance, tries) in [(Chance::Lasting, 50), (Chance::Little, TRIES), (Chance::None, 1)] {
            let mut roster = Roster::new();
            let looks = (0..50).filter(|_| {
                let opened = roster.look(&[A]) == [A];
                if opened {
                    roster.failed(A, chance, "no");
                }
                opened
            });
            assert_eq!(looks.count(), tries as usize, "{chance:?}");
            // As a new device it has its chance again.
            assert_eq!(roster.look(&[B]), [B]);
        }
    }

    #[test]
    fn failure_is_told_once_and_a_new_one_again() {
        let mut roster = Roster::new();
        let mut told = |why: &str| {
            roster.look(&[A]);
            roster.failed(A, Chance::Lasting, why)
        };
        let reasons = ["permission", "permission", "busy", "busy", "permission"];
        assert_eq!(reasons.map(&mut told), [true, false, true, false, true]);
    }

    #[test]
    fn phone_that_is_not_there_is_told_of_only_if_it_stays_listed() {
        let mut roster = Roster::new();
        let told = [A, A, A].map(|key| {
            roster.look(&[key]);
            roster.failed(key, Chance::Gone, "gone")
        });
        assert_eq!(told, [false, true, false]);
    }
}
