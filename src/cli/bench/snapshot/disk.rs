//! What the snapshots take on the disk of the node that has assembled them all, against a full copy of each.

use super::super::Bench;
use super::super::report::Ratio;
use super::Measured;
use crate::cli::CliError;
use crate::store::{Stats, Store};

/// The store of the initiator, which has stopped.
pub(super) struct Disk {
    stats: Stats,
    /// How many snapshots it holds.
    snapshots: u64,
}

impl Disk {
    /// Reads the whole store, in a copy beside it.
    pub(super) fn measure(bench: &Bench, initiator: &str) -> Result<Self, CliError> {
        let dir = bench.dir.path();
        let stats = Store::stats(&dir.join(initiator), dir, &|_| {});
        let stats = stats.map_err(|error| CliError::CheckFailed(error.to_string()))?;
        let snapshots = stats.snapshots_complete;
        Ok(Self { stats, snapshots })
    }

    // What `store stats` calls a tree.
    fn tree(&self, name: &str) -> f64 {
        let trees = self.stats.trees.iter().filter(|tree| tree.name == name);
        trees.map(|tree| tree.bytes as f64).sum()
    }

    /// Of all processes' states, with what names them and without the journal; and of the whole file.
    pub(super) fn ratios(&self, measured: &Measured) -> Vec<Ratio> {
        // The first one has a single run for each process, so its size is that of a full copy.
        let under = measured.first.state_bytes * self.snapshots as f64;
        let manifests = self.tree("states-2") + self.tree("parts") + self.tree("history");
        vec![
            Ratio {
                name: "all snapshots, chunks and manifests, over as many full copies",
                unit: "bytes",
                over: self.stats.chunks.bytes as f64 + manifests,
                under,
            },
            Ratio {
                name: "the whole store on disk, journal and index included, over the same",
                unit: "bytes",
                over: self.stats.disk_bytes as f64,
                under,
            },
        ]
    }

    pub(super) fn note(&self) -> String {
        let Self { stats, snapshots } = self;
        format!(
            "the store of the initiator holds {snapshots} complete snapshots of all processes: {} chunks of {} bytes, \
             manifests of {:.0}, a journal of {:.0}; its files take {}",
            stats.chunks.count,
            stats.chunks.bytes,
            self.tree("states-2") + self.tree("parts") + self.tree("history"),
            self.tree("journal"),
            stats.disk_bytes
        )
    }
}
