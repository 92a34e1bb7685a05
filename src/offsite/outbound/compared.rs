//! What was put is compared with what is in the archive: what a late deletion has taken away is put again.

use std::collections::HashSet;

use super::Outbound;
use crate::offsite::left::Left;
use crate::offsite::retention::Deleted;
use crate::process::ids::Lsn;
use crate::shipping::object::SnapshotName;

impl Outbound {
    /// Forgets what was deleted in the archive: if it is needed again it is put again.
    pub fn forget(&mut self, deleted: &Deleted) {
        for snapshot in &deleted.own_parts {
            self.parts.remove(snapshot);
        }
        for group in &deleted.own_groups {
            self.groups.remove(group);
        }
        if let Some(left) = &deleted.left {
            self.compare(left);
        }
    }

    // All that is here is looked at again if anything is missing there: it may name what is missing.
    fn compare(&mut self, left: &Left) {
        let (groups, parts) = (self.groups.len(), self.parts.len());
        self.groups.retain(|group, pieces| {
            let there = left.groups.get(group).copied();
            there.unwrap_or(0) >= *pieces
        });
        let names: HashSet<&SnapshotName> = left.parts.iter().map(|key| &key.snapshot).collect();
        self.parts.retain(|name| names.contains(name));
        let Self { held, pinned, .. } = self;
        held.retain(|key| pinned.contains(&key.snapshot));
        let lacks_chunks = self.groups.len() < groups;
        let lacks_parts = self.parts.len() < parts;
        let lacks_revisions = self.held.iter().any(|key| !left.revisions.contains(key));
        if !(lacks_chunks || lacks_parts || lacks_revisions) {
            return;
        }
        tracing::warn!(
            "the archive lacks chunks, parts or revisions that it had: what is here is put there again"
        );
        if lacks_chunks {
            // A state is put once more under its own key; only its chunks are new there.
            self.state = left.state.and_then(|cut| cut.0.checked_sub(1)).map(Lsn);
            self.parts_until = None;
            let own = left.parts.iter().filter(|key| key.epoch == self.epoch);
            for key in own {
                self.parts.remove(&key.snapshot);
            }
        }
        self.has_waiting = true;
        self.packed = 0;
        self.revisions = 0;
        self.revisions_before.clone_from(&left.revisions);
    }
}
