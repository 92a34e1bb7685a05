//! Counting, storing and reporting a revision of a global state.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::events::Events;
use super::in_progress::InProgress;
use super::parts::Parts;
use crate::history::assembly::{Finish, NextRevision};
use crate::history::global::{Counted, GlobalState};
use crate::history::part::Part;
use crate::history::verify::verify;
use crate::node::error::Unavailable;
use crate::node::health::metrics::{Failed, Metrics};
use crate::node::millis;
use crate::node::peers::Peers;
use crate::node::turn::clocks::DurableClocks;
use crate::process::ids::{Hash, Lsn, ProcessId, SnapshotId};
use crate::store::StoreError;

/// The result of counting the stored contents of parts.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::node) struct Count {
    /// The figures of the undamaged parts.
    pub(in crate::node) counted: BTreeMap<ProcessId, Counted>,
    /// The processes whose part cannot be published.
    pub(in crate::node) damaged: Vec<ProcessId>,
    /// The processes with a different part in the newest revision here, with the cut of that part.
    pub(in crate::node) contradicted: BTreeMap<ProcessId, (Lsn, Hash)>,
}

/// Publishes revisions in the own history.
pub(in crate::node) struct Publisher {
    pub(in crate::node) peers: Arc<Peers>,
    pub(in crate::node) parts: Parts,
    pub(in crate::node) in_progress: Arc<InProgress>,
    pub(in crate::node) events: Arc<Events>,
    pub(in crate::node) metrics: Arc<Metrics>,
    pub(in crate::node) clocks: Arc<DurableClocks>,
}

impl Publisher {
    /// Makes a revision durable and shows it. Returns its number.
    pub(in crate::node) async fn publish(&self, next: NextRevision) -> Result<u32, Unavailable> {
        let NextRevision { mut state, after } = next;
        #[cfg(feature = "otel")]
        let span = self.span(&state);
        let snapshot = state.snapshot.clone();
        let published = self.parts.worker.run(move |store| {
            store.history().publish_next(&mut state, after)?;
            Ok(state)
        });
        let published = published.await;
        if let Err(error) = &published {
            tracing::error!(%snapshot, %error, "cannot publish the snapshot");
        }
        let state = published?;
        #[cfg(feature = "otel")]
        span.into_iter().for_each(|span| span.done(&state));
        self.in_progress.arrived(&state.snapshot);
        self.peers.tell();
        self.events.note_published(&state);
        self.report(&state);
        self.parts.pack().await;
        Ok(state.revision)
    }

    /// The properties of a revision at `now_us` by the clock of its assembly.
    pub(in crate::node) fn finish(&self, now_us: u64) -> Finish {
        Finish {
            now_us,
            time: self.peers.wall().now(),
            clock: self.clocks.newest().logical,
            last_complete: self.parts.worker.store().history().newest_complete(),
        }
    }

    /// Counts the chunks stored here, for the certificate, and finds the parts that are damaged or lack contents here.
    pub(in crate::node) async fn count(
        &self,
        snapshot: SnapshotId,
        parts: Vec<Part>,
    ) -> Result<Count, Unavailable> {
        let me = self.parts.me.clone();
        let counted = self.parts.worker.run(move |store| {
            let published = match store.history().published(&snapshot) {
                Err(StoreError::Damaged { .. }) => None,
                published => published?,
            };
            let said = published.map_or_else(BTreeMap::new, |published| published.state.parts);
            let mut contradicted = BTreeMap::new();
            let (mut counted, mut damaged) = (BTreeMap::new(), Vec::new());
            for part in parts {
                let said = said.get(&part.process).map(|said| said.state.cut());
                if let Some(said) = said
                    && part.state.has_journal()
                    && said != part.state.cut()
                {
                    contradicted.insert(part.process, said);
                    continue;
                }
                let why = match store.parts().count(&me, &part) {
                    Ok(found) if found.chunks_held == found.chunks_named => {
                        counted.insert(part.process, found);
                        continue;
                    }
                    Ok(Counted {
                        chunks_named,
                        chunks_held,
                        ..
                    }) => format!("{chunks_held} of its {chunks_named} chunks are stored"),
                    Err(error @ StoreError::Damaged { .. }) => error.to_string(),
                    Err(error) => return Err(error),
                };
                let snapshot = &part.snapshot;
                tracing::warn!(%snapshot, process = %part.process, why, "cannot publish the part");
                damaged.push(part.process);
            }
            Ok(Count {
                counted,
                damaged,
                contradicted,
            })
        });
        let counted = counted.await?;
        for _ in &counted.damaged {
            self.metrics.failed_verification(Failed::Damaged);
        }
        Ok(counted)
    }

    #[cfg(feature = "otel")]
    fn span(&self, state: &GlobalState) -> Option<crate::otel::Published> {
        let tracer = self.events.tracer.as_ref()?;
        Some(tracer.publishing(state.revision == 0))
    }

    fn report(&self, state: &GlobalState) {
        let took = Duration::from_micros(state.duration_us);
        let verification = verify(state);
        if state.is_complete() {
            self.metrics.snapshots_complete.inc();
            self.metrics.snapshot_seconds.observe(took.as_secs_f64());
        } else {
            self.metrics.snapshots_partial.inc();
        }
        let missing: Vec<&str> = state
            .missing()
            .iter()
            .map(|missing| missing.process.as_str())
            .collect();
        tracing::info!(
            snapshot = %state.snapshot,
            status = state.status(),
            revision = state.revision,
            duration_ms = millis(took),
            processes = state.parts.len(),
            missing = missing.join(","),
            conserved = verification.conserved,
            consistent_cut = verification.consistent_cut,
            "snapshot finished"
        );
        if verification.conserved == Some(false) || verification.consistent_cut == Some(false) {
            tracing::error!(snapshot = %state.snapshot, "the certificate is violated");
            self.metrics.failed_verification(Failed::Violated);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::part::tests::part_of;
    use crate::history::part::{Chunk, IndexEntry, Run};
    use crate::node::fixture::{Fixture, process, snapshot};
    use crate::store::codec::encode_chunk;

    // Revisions are immutable: one published without its contents could never be repaired.
    #[tokio::test]
    async fn a_part_is_not_published_while_a_chunk_of_it_is_missing() {
        let fixture = Fixture::new();
        let parts = &fixture.parts;
        let publisher = Publisher {
            peers: Arc::clone(&fixture.peers),
            parts: parts.clone(),
            in_progress: Arc::clone(&fixture.in_progress),
            events: Arc::clone(&fixture.events),
            metrics: Arc::new(Metrics::new()),
            clocks: Arc::default(),
        };
        let (cells, chunk) = encode_chunk(&Chunk::Cells(Vec::new()), None);
        let entry = IndexEntry {
            kind: 1,
            name: "rent".into(),
            chunk,
        };
        let (index, indexed) = encode_chunk(&Chunk::Index(vec![entry]), None);
        let mut part = part_of(&snapshot(), &process("q"), &process("p"));
        part.state.runs = vec![Run {
            index: vec![indexed],
            ..Run::default()
        }];
        let store = parts.worker.store();
        store
            .chunks()
            .adopt([(indexed, index)])
            .expect("it is whole");
        let count = publisher.count(snapshot(), vec![part.clone()]).await;
        let count = count.expect("the store is well");
        assert_eq!(count.damaged, [process("q")]);
        let figures = publisher.metrics.text(true, 0);
        let failed = "snapledger_verification_failed_total{reason=\"damaged\"} 1\n";
        assert!(figures.contains(failed), "{figures}");
        store.chunks().adopt([(chunk, cells)]).expect("it is whole");
        let count = publisher.count(snapshot(), vec![part]).await;
        let count = count.expect("the store is well");
        assert_eq!(count.damaged, []);
        assert_eq!(count.counted[&process("q")].chunks_held, 2);
    }
}
