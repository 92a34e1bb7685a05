//! The last claim in the archive that the store has made, or was about to make. It is remembered before it is made, so a later claim
//! in the archive is that of another directory: this one is an older copy, however often it was started.

use super::Archived;
use crate::store::Store;
use crate::store::engine::schema;
use crate::store::engine::schema::{CLAIMED, CLAIMED_BOOT, CLAIMED_EPOCH, CLAIMED_RUN};
use crate::store::error::StoreError;
use crate::store::stored::frame::Kind;

/// A claim of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnClaim {
    /// The claimed epoch.
    pub epoch: u64,
    /// The start for which it is claimed.
    pub boot: u64,
    /// The run of that start.
    pub run: u64,
}

impl Archived<'_> {
    /// The last claim; `None` if the store never had an archive, or if an operator has vouched for it since.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn claimed(self) -> Result<Option<OwnClaim>, StoreError> {
        let number = |key| schema::get::<u64>(&self.store.meta, key, Kind::Number);
        let numbers = [
            number(CLAIMED_EPOCH)?,
            number(CLAIMED_BOOT)?,
            number(CLAIMED_RUN)?,
        ];
        Ok(match numbers {
            [Some(epoch), Some(boot), Some(run)] => Some(OwnClaim { epoch, boot, run }),
            _ => None,
        })
    }

    /// Notes a claim, durably, with everything else that was written before.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn note_claimed(self, claim: OwnClaim) -> Result<(), StoreError> {
        let OwnClaim { epoch, boot, run } = claim;
        let numbers = [
            (CLAIMED_EPOCH, epoch),
            (CLAIMED_BOOT, boot),
            (CLAIMED_RUN, run),
        ];
        schema::put_numbers(&self.store.meta, numbers)?;
        self.store.sync()
    }
}

impl Store {
    /// Counts this start, unless it is counted; durable with what is written next. A start that its archive refuses is not counted.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn count_start(&mut self) -> Result<(), StoreError> {
        self.starts
            .count(&self.meta, &self.identity, self.journal.head().position)
    }
}

/// Forgets the last claim. The caller makes that durable.
pub(in crate::store) fn forget(meta: &sled::Tree) -> Result<(), StoreError> {
    schema::remove_all(meta, CLAIMED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::decision::Actor;
    use crate::store::fixture::{open, process};

    // Without this, a directory that was copied before another start took over would follow that start once it was started often enough.
    #[test]
    fn the_last_claim_is_remembered_until_an_operator_decides_otherwise() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let claimed = |store: &Store| store.archived().claimed().expect("it is whole");
        let claim = |epoch, store: &Store| OwnClaim {
            epoch,
            boot: store.identity().boot,
            run: store.identity().run,
        };
        let note = |epoch| {
            let store = open(dir.path());
            let claim = claim(epoch, &store);
            let noted = store.archived().note_claimed(claim);
            noted.expect("it is written");
            claim
        };
        assert_eq!(claimed(&open(dir.path())), None);
        note(1);
        let second = note(2);
        assert_eq!(claimed(&open(dir.path())), Some(second));
        Store::vouch(dir.path(), Actor::default()).expect("a good store");
        assert_eq!(claimed(&open(dir.path())), None);
        note(3);
        Store::begin_new_archive(dir.path()).expect("a good store");
        assert_eq!(claimed(&open(dir.path())), None);
    }

    // Without this each refused start of an older copy would bring it nearer to the starts of the right directory.
    #[test]
    fn a_start_counts_once_it_is_counted() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let uncounted = || {
            let opened = Store::open_uncounted(dir.path(), "test", &process("p"));
            opened.expect("it opens")
        };
        assert_eq!(open(dir.path()).identity().boot, 1);
        for _ in 0..3 {
            let store = uncounted();
            store.sync().expect("it is written");
            assert_eq!(store.identity().boot, 2);
        }
        let mut store = uncounted();
        let identity = store.identity();
        for _ in 0..2 {
            store.count_start().expect("it is written");
        }
        store.sync().expect("it is written");
        drop(store);
        let opened = open(dir.path());
        assert_eq!(opened.identity().boot, identity.boot + 1);
        let known = crate::process::identity::Identity {
            run: identity.run ^ 1,
            ..identity
        };
        assert!(
            opened.gaps().is_contradicted_by(&known),
            "it is one of its starts"
        );
        assert!(!opened.gaps().is_contradicted_by(&identity));
    }
}
