//! The snapshots of an archived journal: the parts that its replay gives. Which revisions were published is not known there, so
//! the rows have no revision and no root.

use std::collections::BTreeMap;

use super::Exporter;
use crate::history::part::Part;
use crate::process::clock::Hlc;
use crate::process::ids::{ProcessId, SnapshotId};
use crate::store::Store;
use crate::tables::error::TablesError;
use crate::tables::exporter::snapshots::{Rows, SnapshotRow};

/// The parts of the processes of a cluster, without their contents.
#[derive(Debug, Default)]
pub struct RecordedParts(BTreeMap<SnapshotId, BTreeMap<ProcessId, Part>>);

impl RecordedParts {
    fn add(&mut self, mut part: Part) {
        // The contents are in the tables; manifests of all snapshots could exceed memory.
        part.state.runs = Vec::new();
        for channel in &mut part.channels {
            channel.chunks = Vec::new();
        }
        let parts = self.0.entry(part.snapshot.clone()).or_default();
        parts.insert(part.process.clone(), part);
    }
}

impl Exporter {
    /// Adds the parts of a store that was replayed from a journal, and writes their messages. Its other tables are exported.
    ///
    /// # Errors
    /// [`TablesError`].
    pub fn collect_parts(
        &mut self,
        store: &Store,
        into: &mut RecordedParts,
    ) -> Result<(), TablesError> {
        for part in store.parts().lone() {
            let part = part?;
            if part.is_finished() {
                self.export_messages(store, &part)?;
            }
            into.add(part);
        }
        Ok(())
    }

    /// Writes the rows of the own parts; a snapshot is complete if each of the processes has a part.
    ///
    /// # Errors
    /// [`TablesError`].
    pub fn export_parts(
        &mut self,
        parts: &RecordedParts,
        processes: usize,
    ) -> Result<(), TablesError> {
        let mut rows = Rows::new()?;
        for (snapshot, parts) in &parts.0 {
            let Some(part) = parts.get(&self.to.process) else {
                continue;
            };
            let is_complete = parts.len() == processes && parts.values().all(Part::is_finished);
            let status = if is_complete { "complete" } else { "partial" };
            let name = format!("recorded:{status}:{}", hex::encode(snapshot.as_str()));
            let begun = parts.get(&part.initiator).map(|part| part.state.time);
            let earliest = || parts.values().map(|part| part.state.time).min();
            let row = SnapshotRow {
                revision: None,
                root: None,
                status,
                initiator: &part.initiator,
                initiated_at: begun.or_else(earliest).unwrap_or(Hlc::default()),
                parts: parts.len(),
                part,
            };
            self.add_row(&row, &name, &mut rows)?;
        }
        self.commit_rows(rows)
    }
}
