//! Creates the store of a process from its archived journal.

use std::path::Path;

use crate::process::identity::Identity;
use crate::process::ids::{Lsn, ProcessId};
use crate::store::Store;
use crate::store::archived::Salts;
use crate::store::engine::schema;
use crate::store::engine::schema::{BOOT, RESTORED_TO, RUN};
use crate::store::error::StoreError;
use crate::store::gaps::ranges;
use crate::store::opening;
use crate::store::stored::frame::Kind;
use crate::store::stored::v1::state::OwnerV1;

impl Store {
    /// The identity of the store that replaces a lost one: its boot is higher than any copy of that will have had.
    #[must_use]
    pub fn successor_of(lost: Identity) -> Identity {
        lost.successor(uuid::Uuid::new_v4().as_u64_pair().1)
    }

    /// Creates the store of a lost one, to be filled by [`Store::append_archived`] and [`Store::archived`]. It makes the
    /// same chunks as the lost one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn create_archived(
        dir: &Path,
        cluster: &str,
        process: &ProcessId,
        identity: Identity,
        salts: Option<Salts>,
    ) -> Result<Self, StoreError> {
        let owner = OwnerV1 {
            cluster: cluster.to_owned(),
            process: process.clone(),
            store: identity.store,
        };
        let mut store = opening::create_with(dir, &owner, salts)?;
        store.identity = identity;
        schema::put_numbers(&store.meta, [(BOOT, identity.boot), (RUN, identity.run)])?;
        store.sync()?;
        Ok(store)
    }

    /// Notes that the archive had turns behind the newest one, which this store leaves out: it was restored to an instant.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn end_here(&self) -> Result<(), StoreError> {
        let end = self.journal.head().position;
        schema::put_numbers(&self.meta, [(RESTORED_TO, end.0)])?;
        self.sync()
    }

    /// The newest turn that was restored, if the store was restored to an instant.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn restored_to(&self) -> Result<Option<Lsn>, StoreError> {
        let position = schema::get::<u64>(&self.meta, RESTORED_TO, Kind::Number)?;
        Ok(position.map(Lsn))
    }

    /// Notes that turns may be missing behind the newest one: the archive was behind the lost store.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn note_gap_at_end(&self) -> Result<(), StoreError> {
        let end = self.journal.head().position;
        ranges::note(&self.meta, &(end..=end))?;
        self.sync()?;
        self.gaps.add(&(end..=end));
        Ok(())
    }
}
