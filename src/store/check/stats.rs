//! `store stats`: counts and measures the contents of a store. Every value is read; nothing is compared.

use super::contents::Contents;
use super::opened_copy::{OpenedCopy, TreeWalk};
use super::published;
use super::revisions::Revisions;
use super::{CheckProgress, Examiner};
use crate::process::ids::SnapshotId;
use crate::store::account_index::BUCKETS;
use crate::store::engine::schema;
use crate::store::engine::schema::position_of;
use crate::store::error::StoreError;
use crate::store::journal::{self, Horizon};
use crate::store::restore::unbooked::unbooked;
use crate::store::states;
use crate::store::stored::frame;
use crate::store::stored::frame::Kind;
use crate::store::stored::v1::Frozen;
use crate::store::stored::v1::global::GlobalStateV1;

/// A count with its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub struct Bytes {
    /// The name of a tree or file, or `chunks`.
    pub name: String,
    /// The number of values; 1 for a file.
    pub count: u64,
    /// Bytes, including frames.
    pub bytes: u64,
}

/// The contents of a store.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub struct Stats {
    /// The name of the cluster.
    pub cluster: String,
    /// The process that owns the store.
    pub process: String,
    /// The format of the store.
    pub format: u32,
    /// Damage, or data missing according to the durable watermark; if set, only the remaining data is counted.
    pub damage: Option<String>,
    /// The number of times the store was opened.
    pub boots: u64,
    /// The amount that could not be booked when the store was made from a snapshot, in minor units; otherwise 0.
    pub unbooked: i128,
    /// One entry per tree.
    pub trees: Vec<Bytes>,
    /// The bytes of all values of all trees.
    pub live_bytes: u64,
    /// One entry per file.
    pub files: Vec<Bytes>,
    /// The bytes of all files.
    pub disk_bytes: u64,
    /// Files outside of the log, which a sync does not reach; there should be none.
    pub blobs: u64,
    /// The first and the newest position of the journal.
    pub journal_positions: Option<(u64, u64)>,
    /// Their instants in microseconds since the Unix epoch.
    pub journal_span_us: Option<(u64, u64)>,
    /// Recorded states.
    pub states: u64,
    /// Runs, which states, parts and revisions share.
    pub runs: u64,
    /// All chunks.
    pub chunks: Bytes,
    /// Chunks that are unreferenced, or not yet referenced.
    pub chunks_unreferenced: Bytes,
    /// Parts of this process.
    pub parts: u64,
    /// Segments of the account index.
    pub stretches: u64,
    /// Snapshots with a published revision.
    pub snapshots: u64,
    /// Snapshots with a complete revision.
    pub snapshots_complete: u64,
    /// Published revisions.
    pub revisions: u64,
    /// Accounts in the newest recorded state.
    pub accounts: u64,
    /// The sum of their balances in minor units.
    pub balance_total: i128,
    /// The position of that state.
    pub recorded_at: Option<u64>,
}

/// Reads everything once, chunks twice.
pub(super) fn measure(mut examiner: Examiner) -> Result<Stats, StoreError> {
    let witnessed = examiner.check_witness();
    examiner.findings.take(witnessed);
    let damage = examiner.findings.first().map(ToString::to_string);
    match count(&mut examiner) {
        Ok(stats) => Ok(Stats { damage, ..stats }),
        // The missing data is the cause of the failed read.
        Err(error) => Err(examiner.findings.into_first().unwrap_or(error)),
    }
}

fn count(examiner: &mut Examiner) -> Result<Stats, StoreError> {
    let mut stats = begin(examiner)?;
    let trees = examiner.opened.trees.all();
    for (done, tree) in (1..).zip(trees) {
        let (count, bytes) = size(tree)?;
        stats.live_bytes += bytes;
        let name = String::from_utf8_lossy(&tree.name()).into_owned();
        stats.trees.push(Bytes { name, count, bytes });
        let of = trees.len() as u64;
        (examiner.step)(CheckProgress {
            what: "trees",
            done,
            of,
        });
    }
    let trees = &examiner.opened.trees;
    stats.states = of_tree(&stats, &trees.states).count;
    stats.chunks = of_tree(&stats, &trees.chunks);
    stats.parts = of_tree(&stats, &trees.parts).count;
    stats.stretches = of_tree(&stats, &trees.stretches).count / (1 + u64::from(BUCKETS));
    span(&examiner.opened, &mut stats)?;
    newest_state(&examiner.opened, &mut stats)?;
    history(&examiner.opened, &mut stats)?;
    let mut contents = Contents::read(examiner)?;
    published::references(examiner, &mut contents)?;
    published::references_of_history(examiner, &mut contents)?;
    let (count, bytes) = contents.unreferenced();
    stats.chunks_unreferenced = Bytes {
        name: "unreferenced chunks".to_owned(),
        count,
        bytes,
    };
    stats.runs = contents.runs();
    Ok(stats)
}

fn begin(examiner: &Examiner) -> Result<Stats, StoreError> {
    let files = &examiner.files;
    let meta = &examiner.opened.trees.meta;
    let file = |(name, bytes): &(String, u64)| Bytes {
        name: name.clone(),
        count: 1,
        bytes: *bytes,
    };
    Ok(Stats {
        cluster: examiner.report.cluster.clone(),
        process: examiner.report.process.clone(),
        format: examiner.report.format,
        boots: schema::get(meta, schema::BOOT, Kind::Number)?.unwrap_or(0),
        unbooked: unbooked(meta)?,
        files: files.known.iter().chain(&files.blobs).map(file).collect(),
        disk_bytes: files.bytes(),
        blobs: files.blobs.len() as u64,
        ..Stats::default()
    })
}

fn of_tree(stats: &Stats, tree: &sled::Tree) -> Bytes {
    let name = tree.name();
    let mut trees = stats.trees.iter();
    let counted = trees.find(|counted| counted.name.as_bytes() == &*name);
    counted.cloned().unwrap_or_default()
}

fn size(tree: &sled::Tree) -> Result<(u64, u64), StoreError> {
    let mut walk = TreeWalk::new(tree);
    let (mut count, mut bytes) = (0, 0);
    while let Some(stored) = walk.next()? {
        count += 1;
        bytes += stored.framed.map_or(0, |framed| framed.len() as u64);
    }
    Ok((count, bytes))
}

fn span(opened: &OpenedCopy, stats: &mut Stats) -> Result<(), StoreError> {
    let trees = &opened.trees;
    // Older entries are about to be deleted.
    let oldest = Horizon::read(&trees.meta)?.first;
    let newest = trees.journal.last()?;
    let newest = newest.and_then(|(key, _)| position_of(frame::split_key(&key)?.0));
    let Some(newest) = newest else {
        return Ok(());
    };
    let turn =
        |position| Ok::<_, StoreError>(journal::entry_in(trees, position)?.map(|entry| entry.turn));
    if let (Some(first), Some(last)) = (turn(oldest)?, turn(newest)?) {
        stats.journal_positions = Some((first.position.0, last.position.0));
        stats.journal_span_us = Some((first.time.wall_us(), last.time.wall_us()));
    }
    Ok(())
}

fn newest_state(opened: &OpenedCopy, stats: &mut Stats) -> Result<(), StoreError> {
    let tree = &opened.trees.states;
    let last = tree.last()?;
    let key = last.and_then(|(key, _)| Some(frame::split_key(&key)?.0.to_vec()));
    let Some(key) = key else {
        return Ok(());
    };
    let cut = position_of(&key).unwrap_or_default();
    if let Some(state) = states::read(tree, cut)? {
        let recorded = state.recorded;
        stats.accounts = recorded.accounts;
        stats.balance_total = recorded.balance_total;
        stats.recorded_at = Some(recorded.position.0);
    }
    Ok(())
}

fn history(opened: &OpenedCopy, stats: &mut Stats) -> Result<(), StoreError> {
    let mut newest: Option<(SnapshotId, bool)> = None;
    let mut walk = Revisions::new(opened);
    while let Some(stored) = walk.next(opened)? {
        let state = stored.framed.and_then(|framed| {
            frame::unwrap(Kind::Global, &framed).and_then(frame::decode::<GlobalStateV1>)
        });
        let what = || schema::name(Kind::Global, &stored.key);
        let state = state
            .map_err(|damage| StoreError::damaged(what(), damage))?
            .thaw();
        stats.revisions += 1;
        match &mut newest {
            Some((snapshot, complete)) if *snapshot == state.snapshot => {
                // A complete revision is final, whatever the numbers of revisions assembled elsewhere.
                *complete |= state.is_complete();
            }
            newest => {
                stats.snapshots += 1;
                let before = newest.replace((state.snapshot.clone(), state.is_complete()));
                stats.snapshots_complete += u64::from(before.is_some_and(|(_, complete)| complete));
            }
        }
    }
    stats.snapshots_complete += u64::from(newest.is_some_and(|(_, complete)| complete));
    Ok(())
}
