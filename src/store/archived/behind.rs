//! Whether the journal lacked turns that its archive had. It may then lack others that were never archived: what followed its last turn
//! is a gap. That is noted before it takes the first turn from the archive, because a start that ends behind the last one finds nothing
//! to take.

use super::Archived;
use crate::store::Store;
use crate::store::engine::schema;
use crate::store::engine::schema::WAS_BEHIND;
use crate::store::error::StoreError;
use crate::store::stored::frame::Kind;

impl Archived<'_> {
    /// Whether turns were taken from the archive since the process ran last.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn was_behind(self) -> Result<bool, StoreError> {
        let noted = schema::get::<u64>(&self.store.meta, WAS_BEHIND, Kind::Number)?;
        Ok(noted.is_some())
    }

    /// Notes, durably, that turns are taken from the archive.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn note_behind(self) -> Result<(), StoreError> {
        let end = self.store.journal.head().position;
        schema::put_numbers(&self.store.meta, [(WAS_BEHIND, end.0)])?;
        self.store.sync()
    }
}

impl Store {
    /// Notes, durably, a gap behind the newest turn if turns were taken from the archive. Returns whether they were.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn end_behind(&self) -> Result<bool, StoreError> {
        let was_behind = self.archived().was_behind()?;
        if was_behind {
            self.note_gap_at_end()?;
            schema::remove_all(&self.meta, WAS_BEHIND)?;
            self.sync()?;
        }
        Ok(was_behind)
    }
}

#[cfg(test)]
mod tests {
    use crate::process::clock::Hlc;
    use crate::store::fixture::{open, pass};

    // Without this a start that ends before the process runs hides that others may have seen turns that are lost.
    #[test]
    fn a_store_that_was_behind_has_a_gap_whichever_start_is_the_first_to_run() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store = open(dir.path());
        pass(&store, 10);
        assert!(!store.end_behind().expect("it is written"));
        assert!(!store.gaps().is_at_end());
        store.archived().note_behind().expect("it is written");
        pass(&store, 20);
        drop(store);
        let store = open(dir.path());
        assert!(store.archived().was_behind().expect("it is whole"));
        assert!(store.end_behind().expect("it is written"));
        assert!(store.gaps().is_at_end());
        pass(&store, 30);
        drop(store);
        let store = open(dir.path());
        assert!(!store.end_behind().expect("it is written"), "it is noted");
        assert!(!store.gaps().is_at_end());
        let known = |at| store.past().known_at(Hlc::at(at));
        assert!(known(15).expect("it is whole").is_some(), "it was taken");
        assert_eq!(known(25).expect("it is whole"), None);
    }
}
