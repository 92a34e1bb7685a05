//! What the store remembers of its archive: the newest segment that it knows to be archived. A start reads that one segment, and
//! not all of them, and an archive that lacks it is not the one in which this journal is.

use std::path::Path;

use super::{Archived, ShippedLink, claimed};
use crate::store::Store;
use crate::store::engine::schema;
use crate::store::engine::schema::ARCHIVED;
use crate::store::error::StoreError;
use crate::store::opening;
use crate::store::opening::Stopped;
use crate::store::stored::frame::Kind;
use crate::store::stored::v1::Frozen;
use crate::store::stored::v7::link::ShippedLinkV7;

impl Archived<'_> {
    /// The newest segment that is known to be archived; `None` if nothing was shipped from this store.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn shipped(self) -> Result<Option<ShippedLink>, StoreError> {
        shipped(&self.store.meta)
    }

    /// Notes an archived segment. It becomes durable with what is written next: an older one only costs a longer walk.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn note_shipped(self, link: &ShippedLink) -> Result<(), StoreError> {
        let link = ShippedLinkV7::freeze(link);
        schema::put(&self.store.meta, ARCHIVED, Kind::ShippedLink, &link)
    }
}

impl Store {
    /// Lets the store of a stopped node forget its archive: its next start may begin a new one. Returns what it had shipped.
    ///
    /// # Errors
    /// [`StoreError`]: there is no store, it is in use, of another format, or damaged.
    pub fn begin_new_archive(dir: &Path) -> Result<Option<ShippedLink>, StoreError> {
        let Stopped { engine, trees, .. } = opening::stopped_of_newest_format(dir)?;
        let known = shipped(&trees.meta)?;
        schema::remove_all(&trees.meta, ARCHIVED)?;
        claimed::forget(&trees.meta)?;
        engine.make_durable()?;
        Ok(known)
    }
}

/// See [`Archived::shipped`].
pub(in crate::store) fn shipped(meta: &sled::Tree) -> Result<Option<ShippedLink>, StoreError> {
    let link = schema::get::<ShippedLinkV7>(meta, ARCHIVED, Kind::ShippedLink)?;
    Ok(link.map(Frozen::thaw))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::ids::{Hash, Lsn};
    use crate::store::fixture::{open, pass};

    // Without this an operator could not begin a new archive, or a start would walk along the whole old one.
    #[test]
    fn the_archive_is_remembered_over_starts_until_a_new_one_is_begun() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store = open(dir.path());
        assert_eq!(store.archived().shipped().expect("it is whole"), None);
        let link = |segment| ShippedLink {
            segment,
            hash: Hash([7; 32]),
            epoch: 3,
            position: Lsn(segment),
            journal: Hash([8; 32]),
        };
        for segment in [1, 2] {
            let noted = store.archived().note_shipped(&link(segment));
            noted.expect("it is written");
        }
        pass(&store, 10);
        drop(store);
        let store = open(dir.path());
        let known = store.archived().shipped().expect("it is whole");
        assert_eq!(known, Some(link(2)));
        drop(store);
        let begun = || Store::begin_new_archive(dir.path()).expect("it is whole");
        assert_eq!([begun(), begun()], [Some(link(2)), None]);
        assert_eq!(
            open(dir.path()).archived().shipped().expect("it is whole"),
            None
        );
    }
}
