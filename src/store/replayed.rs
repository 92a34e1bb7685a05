//! A store made again from a journal alone: recorded states and parts come out of the replay, as they did the first time. For
//! readers of an archive; the published revisions are not in a journal.

use std::path::Path;

use super::Store;
use super::error::StoreError;
use crate::process::Process;
use crate::process::identity::Identity;
use crate::process::ids::ProcessId;
use crate::process::registers::Registers;
use crate::process::topology::Topology;

/// A store that grows with the turns of a journal. One recorded state is in memory at a time, besides the accounts.
pub struct ReplayedStore {
    store: Store,
    process: Process,
}

impl ReplayedStore {
    /// An empty store in a new directory.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn create(
        dir: &Path,
        cluster: &str,
        me: &ProcessId,
        journaled: Identity,
        topology: Topology,
    ) -> Result<Self, StoreError> {
        let registers = Registers::default();
        Ok(Self {
            store: Store::create_archived(dir, cluster, me, journaled, None)?,
            process: Process::restore(me.clone(), topology, usize::MAX, registers),
        })
    }

    /// Appends the next framed entry, and writes what it ends: a state or a part.
    ///
    /// # Errors
    /// [`StoreError`]: the entry does not follow the one before.
    pub fn push(&mut self, framed: &[u8]) -> Result<(), StoreError> {
        let turn = self.store.append_archived(framed)?;
        self.process.replay(&turn);
        for sealed in self.process.take_sealed() {
            self.store.states().write(sealed)?;
        }
        let finished = self.process.take_finished();
        if !finished.is_empty() {
            let me = self.process.id();
            let parts = self.store.parts().build_all(me, &finished)?;
            self.store.parts().put_all(&parts)?;
        }
        Ok(())
    }

    /// The store, once all entries are there.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn finish(self) -> Result<Store, StoreError> {
        self.store.sync_journal()?;
        Ok(self.store)
    }
}
