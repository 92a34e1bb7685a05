//! The disk space of the snapshots at the node that assembled them, compared with full copies.

use super::super::Bench;
use super::super::report::Ratio;
use super::SnapshotFigures;
use crate::cli::CliError;
use crate::store::{Stats, Store};

/// The statistics of the stopped initiator's store.
pub(super) struct Disk(Stats);

impl Disk {
    /// Reads the whole store in a copy next to it.
    pub(super) fn measure(bench: &Bench, initiator: &str) -> Result<Self, CliError> {
        let dir = bench.dir.path();
        let stats = Store::stats(&dir.join(initiator), dir, &|_| {});
        let stats = stats.map_err(|error| CliError::CheckFailed(error.to_string()))?;
        Ok(Self(stats))
    }

    // The bytes of a tree by its name in `store stats`.
    fn tree(&self, name: &str) -> f64 {
        let trees = self.0.trees.iter().filter(|tree| tree.name == name);
        trees.map(|tree| tree.bytes as f64).sum()
    }

    fn manifests(&self) -> f64 {
        self.tree("states-2") + self.tree("parts") + self.tree("history")
    }

    /// The ratios for the states of all processes with their metadata but without the journal, and for the whole file.
    pub(super) fn ratios(&self, measured: &SnapshotFigures) -> Vec<Ratio> {
        // The first snapshot has a single run per process, so its size is that of a full copy.
        let under = measured.first.state_bytes * self.0.snapshots_complete as f64;
        vec![
            Ratio {
                name: "all snapshots, chunks and manifests, over as many full copies, not packed"
                    .to_owned(),
                unit: "bytes",
                over: self.0.chunks.bytes as f64 + self.manifests(),
                under,
            },
            Ratio {
                name: "the whole store on disk, journal and index included, over the same"
                    .to_owned(),
                unit: "bytes",
                over: self.0.disk_bytes as f64,
                under,
            },
        ]
    }

    pub(super) fn note(&self) -> String {
        let Self(stats) = self;
        format!(
            "the store of the initiator holds {} complete snapshots of all processes: {} chunks of {} bytes, \
             manifests of {:.0}, a journal of {:.0}; its files take {}",
            stats.snapshots_complete,
            stats.chunks.count,
            stats.chunks.bytes,
            self.manifests(),
            self.tree("journal"),
            stats.disk_bytes
        )
    }
}
