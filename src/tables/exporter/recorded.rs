//! The snapshots of an archived journal: the parts that its replay gives. Which revisions were published is not known there, so
//! the rows have no revision and no root.

use std::collections::{BTreeMap, BTreeSet};

use super::Exporter;
use super::pending::Pending;
use crate::history::part::Part;
use crate::process::clock::Hlc;
use crate::process::ids::{ProcessId, Seq, SnapshotId};
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
        // In the order of cuts those that are open stay few ranges.
        let turns = (store.journal().begins_at(), store.journal().position());
        for recording in store.past().recordings(turns.0, turns.1) {
            let (cut, snapshot) = recording?;
            let part = store.parts().get(&snapshot)?;
            let Some(part) = part.filter(|part| part.state.position == cut) else {
                continue;
            };
            if part.is_finished() && self.pending(store)?.at(cut).is_some() {
                self.export_messages(store, &part)?;
            }
            into.add(part);
        }
        Ok(())
    }

    /// Writes the rows of the own parts, once those of all processes are collected.
    ///
    /// # Errors
    /// [`TablesError`].
    pub fn export_parts(&mut self, parts: &RecordedParts) -> Result<(), TablesError> {
        let own = |parts: &BTreeMap<ProcessId, Part>| {
            let part = parts.get(&self.to.process)?;
            Some(part.state.position)
        };
        let mut snapshots: Vec<_> = parts
            .0
            .values()
            .filter_map(|one| Some((own(one)?, one)))
            .collect();
        snapshots.sort_unstable_by_key(|(cut, _)| *cut);
        let mut rows = Rows::new()?;
        for (cut, parts) in snapshots {
            let is_complete = is_complete(parts);
            let newest = self
                .pending
                .as_ref()
                .and_then(|pending| pending.newest_row(cut));
            let (Some(part), Some(written)) = (parts.get(&self.to.process), newest) else {
                continue;
            };
            if written > 0 && !is_complete {
                continue;
            }
            let begun = parts.get(&part.initiator).map(|part| part.state.time);
            let earliest = || parts.values().map(|part| part.state.time).min();
            let row = SnapshotRow {
                revision: None,
                root: None,
                status: if is_complete { "complete" } else { "partial" },
                initiator: &part.initiator,
                initiated_at: begun.or_else(earliest).unwrap_or(Hlc::default()),
                parts: parts.len(),
                part,
            };
            self.add_row(&row, &mut rows)?;
            if let Some(pending) = &mut self.pending {
                pending.note_row(cut, (!is_complete).then_some(1));
            }
            self.limit_pending(Pending::limit_ranges);
            self.commit_many(&mut rows)?;
        }
        self.commit_rows(rows)
    }
}

// Whether each process that a part names has a finished part. A marker has reached every process of the cluster, and each has an
// incoming channel, so the parts together name all of them: a process that joined later is not named, nor one that had left.
fn is_complete(parts: &BTreeMap<ProcessId, Part>) -> bool {
    let named: BTreeSet<&ProcessId> = parts.values().flat_map(named_by).collect();
    named.into_iter().all(|process| parts.contains_key(process))
        && parts.values().all(Part::is_finished)
}

// The other ends of the channels of a part, also of those on which it still has money or messages.
fn named_by(part: &Part) -> impl Iterator<Item = &ProcessId> {
    let recorded = part.channels.iter().map(|channel| &channel.from);
    let flows = part.state.sent.iter().chain(&part.state.delivered);
    let used = flows.filter(|(_, flow)| flow.sequence > Seq(0));
    recorded
        .chain(&part.open)
        .chain(used.map(|(process, _)| process))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::part::RecordedChannel;
    use crate::history::part::tests::part_of;
    use crate::process::channel::Flow;

    fn id(process: &str) -> ProcessId {
        ProcessId::parse(process).expect("a valid id")
    }

    // A finished part of a process with incoming channels from others.
    fn part(process: &str, from: &[&str]) -> Part {
        let snapshot = SnapshotId::parse("s").expect("a valid id");
        let channel = |from: &&str| RecordedChannel {
            from: id(from),
            first: Seq(1),
            last: Seq(0),
            transfers: 0,
            amount: 0,
            chunks: Vec::new(),
            closing: None,
        };
        Part {
            channels: from.iter().map(channel).collect(),
            ..part_of(&snapshot, &id(process), &id("n1"))
        }
    }

    fn of(parts: impl IntoIterator<Item = Part>) -> bool {
        let parts = parts.into_iter();
        is_complete(&parts.map(|part| (part.process.clone(), part)).collect())
    }

    // Without this a snapshot in which the money of a process is missing would be called complete, or each snapshot partial as
    // soon as the members of the cluster change.
    #[test]
    fn a_snapshot_is_complete_with_all_processes_that_were_members_then() {
        assert!(of([part("n1", &["n2"]), part("n2", &["n1"])]));
        // n3 writes no journal into the archive.
        let both = || [part("n1", &["n2", "n3"]), part("n2", &["n1", "n3"])];
        assert!(!of(both()));
        assert!(of(both().into_iter().chain([part("n3", &["n1", "n2"])])));
        // Channels in one direction: n3 is named by one part alone.
        assert!(!of([part("n1", &["n2"]), part("n2", &["n3"])]));
        let unfinished = Part {
            open: vec![id("n2")],
            ..part("n1", &[])
        };
        assert!(!of([unfinished, part("n2", &["n1"])]));
    }

    // Without this the money that is on the way to a removed process would be missing in a complete snapshot.
    #[test]
    fn a_process_with_which_there_is_an_unsettled_channel_is_missed() {
        let paid = |sequence| {
            let mut part = part("n1", &["n2"]);
            let flow = Flow {
                sequence: Seq(sequence),
                ..Flow::default()
            };
            part.state.sent.insert(id("n3"), flow);
            part
        };
        assert!(!of([paid(7), part("n2", &["n1"])]));
        // A channel that was given up begins again.
        assert!(of([paid(0), part("n2", &["n1"])]));
    }
}
