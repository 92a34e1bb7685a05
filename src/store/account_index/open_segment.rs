//! A segment under construction, in memory.

use super::TURNS_PER_TOUCH;
use crate::process::ids::{Hash, Lsn};

/// Consecutive turns with the keys they touch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) struct OpenSegment {
    first: Lsn,
    /// One past the newest turn.
    next: Lsn,
    /// The hash of the newest journal entry.
    journal: Hash,
    /// In the order of turns.
    touches: Vec<(u32, Lsn)>,
}

impl OpenSegment {
    /// An empty segment whose first turn will be `first`.
    pub(in crate::store) fn new(first: Lsn) -> Self {
        Self {
            first,
            next: first,
            journal: Hash::default(),
            touches: Vec::new(),
        }
    }

    /// The first turn.
    pub(in crate::store) fn first(&self) -> Lsn {
        self.first
    }

    /// The newest turn; `first - 1` if empty.
    pub(in crate::store) fn last(&self) -> Lsn {
        Lsn(self.next.0 - 1)
    }

    /// The hash of the newest journal entry.
    pub(in crate::store) fn journal(&self) -> Hash {
        self.journal
    }

    /// The touched keys with their turns, in the order of turns.
    pub(in crate::store) fn touches(&self) -> &[(u32, Lsn)] {
        &self.touches
    }

    /// Adds the next turn, with the hash of its entry and the keys it touches.
    pub(in crate::store) fn take(&mut self, position: Lsn, journal: Hash, keys: &[u32]) {
        debug_assert_eq!(position, self.next, "turns are noted in order");
        self.next = position.next();
        self.journal = journal;
        self.touches.extend(keys.iter().map(|key| (*key, position)));
    }

    /// Whether the segment must be closed.
    pub(in crate::store) fn is_full(&self, touches: usize) -> bool {
        let turns_max = TURNS_PER_TOUCH * touches as u64;
        self.touches.len() >= touches || self.next.0 - self.first.0 >= turns_max
    }

    /// Prepends the turns of an adjacent older segment.
    pub(super) fn prepend(&mut self, older: &Self) {
        debug_assert_eq!(older.next, self.first);
        if self.next == self.first {
            self.journal = older.journal;
        }
        self.first = older.first;
        let newer = std::mem::replace(&mut self.touches, older.touches.clone());
        self.touches.extend(newer);
    }

    /// The turns in a range that touch a key, in order.
    pub(super) fn find(&self, key: u32, from: Lsn, to: Lsn) -> Vec<Lsn> {
        let wanted =
            |(found, position): &&(u32, Lsn)| *found == key && (from..=to).contains(position);
        let found = self.touches.iter().filter(wanted);
        found.map(|(_, position)| *position).collect()
    }
}
