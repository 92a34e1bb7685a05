//! A revision of a global state is counted, explained, stored for good and reported.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::collector::Collector;
use super::error::Unavailable;
use super::millis;
use super::peers::PeerState;
use crate::history::global::{Completeness, Counted, GlobalState, Missing, Reason};
use crate::history::part::Part;
use crate::history::verify::verify;
use crate::process::ids::{ChannelId, ProcessId, SnapshotId};
use crate::store::{Store, StoreError};

impl Collector {
    /// Makes the next revision durable and shows it; says its number. Its contents are counted.
    pub(super) async fn publish(
        &self,
        mut state: GlobalState,
        started: Instant,
    ) -> Result<u32, Unavailable> {
        state.completeness = self.completeness(&state);
        state.finished_at = self.peers.wall().now().max(state.initiated_at);
        state.finished_clock = self.clocks.newest().logical;
        let took = started.elapsed();
        state.duration_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let (snapshot, before) = (state.snapshot.clone(), self.numbers_after(&state));
        let published = self.parts.blocking(move |store| {
            store.publish_next(&mut state, before)?;
            Ok(state)
        });
        let published = published.await;
        if let Err(error) = &published {
            tracing::error!(%snapshot, %error, "cannot publish");
        }
        let state = published?;
        self.hide(&state.snapshot);
        self.peers.tell();
        self.events.note_published(&state);
        self.report(&state, took);
        self.pack().await;
        Ok(state.revision)
    }

    /// Packs what has become old in the store. The new revision was shown before, so no reader waits for it.
    pub(super) async fn pack(&self) {
        if let Err(error) = self.parts.blocking(Store::pack).await {
            tracing::error!(%error, "old revisions and turns are not packed");
        }
    }

    /// Counts what the chunks that are here really hold, for the certificate. Says whose contents are missing or damaged
    /// here: these parts cannot be published.
    pub(super) async fn count(
        &self,
        state: &mut GlobalState,
    ) -> Result<Vec<ProcessId>, Unavailable> {
        let parts: Vec<Part> = state.parts.values().cloned().collect();
        let me = self.config.me.clone();
        let counted = self.parts.blocking(move |store| {
            let (mut counted, mut damaged) = (BTreeMap::new(), Vec::new());
            for part in parts {
                let why = match store.count(&me, &part) {
                    Ok(found) if found.chunks_held == found.chunks_named => {
                        counted.insert(part.process, found);
                        continue;
                    }
                    Ok(Counted {
                        chunks_named,
                        chunks_held,
                        ..
                    }) => format!("{chunks_held} of its {chunks_named} chunks are here"),
                    Err(error @ StoreError::Damaged { .. }) => error.to_string(),
                    Err(error) => return Err(error),
                };
                let snapshot = &part.snapshot;
                tracing::warn!(%snapshot, process = %part.process, why, "the part cannot be published");
                damaged.push(part.process);
            }
            Ok((counted, damaged))
        });
        let (counted, damaged) = counted.await?;
        state.counted = counted;
        Ok(damaged)
    }

    fn report(&self, state: &GlobalState, took: Duration) {
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
            tracing::error!(snapshot = %state.snapshot, "the certificate does not hold");
        }
    }

    /// What is not here, and why.
    pub(super) fn completeness(&self, state: &GlobalState) -> Completeness {
        let last_complete = self.last_complete();
        let explain = |process: &ProcessId| self.explain(process, last_complete.clone());
        let stopped = |channel: &ChannelId| self.peers.stopped(channel);
        Completeness::of(&self.config.topology, &state.parts, explain, stopped)
    }

    fn explain(&self, process: &ProcessId, last_complete: Option<SnapshotId>) -> Missing {
        let view = self.peers.view(process);
        let reason = match view.as_ref().map(|view| view.state) {
            Some(PeerState::Down) => Reason::Down,
            Some(PeerState::NeverSeen) => Reason::NeverSeen,
            Some(PeerState::Up) | None => match self.cut_off(process) {
                Some(why) => Reason::ChannelStopped { why: why.into() },
                None => Reason::Recording,
            },
        };
        Missing {
            process: process.clone(),
            reason,
            last_seen_us: view.and_then(|view| view.last_seen_us),
            last_complete,
        }
    }

    fn last_complete(&self) -> Option<SnapshotId> {
        self.parts.store.newest_complete()
    }
}

#[cfg(test)]
mod tests {
    use super::super::gather::tests::collector;
    use super::super::parts::tests::{alone, process, snapshot};
    use super::*;
    use crate::history::part::tests::part_of;
    use crate::history::part::{Chunk, IndexEntry, Run};
    use crate::process::clock::{Hlc, Lamport};
    use crate::store::codec::encode_chunk;

    // A revision is for ever: one that is published without its contents could never be made good.
    #[tokio::test]
    async fn a_part_is_not_published_while_a_chunk_of_it_is_missing() {
        let alone = alone();
        let collector = collector(&alone);
        let (cells, chunk) = encode_chunk(&Chunk::Cells(Vec::new()));
        let entry = IndexEntry {
            kind: 1,
            name: "rent".into(),
            chunk,
        };
        let (index, indexed) = encode_chunk(&Chunk::Index(vec![entry]));
        let mut part = part_of(&snapshot(), &process("q"), &process("p"));
        part.state.runs = vec![Run {
            index: vec![indexed],
            ..Run::default()
        }];
        let mut state = GlobalState::begun(
            snapshot(),
            process("p"),
            (Hlc::default(), Lamport::default()),
        );
        state.parts.insert(process("q"), part);
        let store = &alone.parts.store;
        store.adopt_chunks([(indexed, index)]).expect("it is whole");
        let damaged = collector.count(&mut state).await;
        assert_eq!(damaged.expect("the store is well"), [process("q")]);
        store.adopt_chunks([(chunk, cells)]).expect("it is whole");
        let damaged = collector.count(&mut state).await;
        assert_eq!(damaged.expect("the store is well"), []);
        assert_eq!(state.counted[&process("q")].chunks_held, 2);
        drop((alone.requests, alone.written));
    }
}
