//! Pins, and what they hold: both go to the archive, in this order, so that retention there knows a pin before it looks for what is
//! too old.

use std::collections::HashSet;

use super::Outbound;
use crate::archive::kept;
use crate::offsite::origin::{NotShipped, Origin as _, StoreReader};
use crate::offsite::pins;
use crate::process::ids::SnapshotId;

impl Outbound {
    /// Ships the newest update of each pin that is not in the archive. What a new one holds is shipped by [`Self::ship_pinned`].
    ///
    /// # Errors
    /// [`NotShipped`].
    pub async fn ship_pins(&mut self, store: &impl StoreReader) -> Result<(), NotShipped> {
        let arrived = store.read(|store| Ok(store.pins_arrived()));
        let arrived = Some(arrived.await?);
        if self.pins_arrived == arrived {
            return Ok(());
        }
        let mut pinned = HashSet::new();
        for pin in store.read(|store| Ok(store.pins())).await? {
            let (key, object) = pins::object_of(&self.source.owner, &pin);
            let limit = self.limit.as_ref();
            let is_too_old = limit.is_some_and(|limit| !key.is_pinned && key.at < limit.since);
            if !is_too_old && !self.pins.contains(&key) {
                kept::put(self.source.folder_of(&key), &key, &object).await?;
                self.pins.insert(key.clone());
            }
            if pin.is_pinned {
                if !self.pinned.contains(&key.snapshot) {
                    self.unheld.insert(pin.snapshot);
                }
                pinned.insert(key.snapshot);
            }
        }
        self.pinned = pinned;
        self.pins_arrived = arrived;
        Ok(())
    }

    /// Ships the parts and revisions of newly pinned snapshots that are here and not in the archive: retention may have deleted them
    /// there before.
    ///
    /// # Errors
    /// [`NotShipped`]; after [`NotShipped::Damaged`] the next call goes on with the next snapshot.
    pub async fn ship_pinned(&mut self, store: &impl StoreReader) -> Result<(), NotShipped> {
        while let Some(snapshot) = self.unheld.first().cloned() {
            let shipped = self.ship_whole(store, &snapshot).await;
            if let Err(NotShipped::Archive(_) | NotShipped::Stopping) = shipped {
                return shipped;
            }
            self.unheld.remove(&snapshot);
            shipped?;
        }
        Ok(())
    }

    async fn ship_whole(
        &mut self,
        store: &impl StoreReader,
        snapshot: &SnapshotId,
    ) -> Result<(), NotShipped> {
        let wanted = snapshot.clone();
        let revisions = store.read(move |store| Ok(store.revisions_of(&wanted)));
        let mut damaged = self.ship_part(store, snapshot).await;
        for revision in revisions.await? {
            match self.ship_revision(store, snapshot, revision).await {
                Err(error @ NotShipped::Damaged(_)) => damaged = Err(error),
                shipped => shipped?,
            }
        }
        damaged
    }
}
