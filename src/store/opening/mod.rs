//! Opens stores. All checks that can refuse a store come first, and a refused store stays unchanged.

pub(super) mod addresses;
pub(super) mod birth;
pub(super) mod migrate;
pub(super) mod operator;

use std::path::Path;

use super::Store;
use super::account_index::AccountIndex;
use super::archived::Salts;
use super::backup::Standstill;
use super::chunks::Chunks;
use super::chunks::salting::Salting;
use super::engine::files;
use super::engine::schema;
use super::engine::schema::{BOOT, OWNER, RUN, Trees};
use super::engine::underway::Underway;
use super::engine::{Disk, Engine, Medium};
use super::error::StoreError;
use super::gaps::caught_up::CaughtUp;
use super::gaps::ranges;
use super::gaps::ranges::GapRanges;
use super::gaps::starts::Starts;
use super::history::RevisionBlocks;
use super::history::trees::HistoryTrees;
use super::journal::Journal;
use super::past::recent::RecentTotals;
use super::restore::unbooked::unbooked_sentence;
use super::retention::RetentionTree;
use super::states::StateTree;
use super::states::composition::Composition;
use super::stored::frame::Kind;
use super::stored::v1::state::OwnerV1;
use crate::process::identity::Identity;
use crate::process::ids::{Lsn, ProcessId};
use birth::Birth;

/// The result of [`Store::migrate`].
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Migrated {
    /// The format of the store before.
    pub from: u32,
    /// The newest format; equal to `from` if there was nothing to do.
    pub to: u32,
}

impl Store {
    /// Whether a directory has a store.
    #[must_use]
    pub fn exists(dir: &Path) -> bool {
        files::exists(dir)
    }

    /// Opens or creates the store of a process: locks it, checks format, owner and durable watermark, migrates, and
    /// counts the boot. A refused store stays unchanged and its boot uncounted, since it may be a copy of the right
    /// one.
    ///
    /// # Errors
    /// [`StoreError`]: in use, of another process or cluster, of a newer format, damaged, or not accessible.
    pub fn open(dir: &Path, cluster: &str, process: &ProcessId) -> Result<Self, StoreError> {
        Self::open_on(dir, cluster, process, Box::new(Disk))
    }

    /// As [`Store::open`], on another medium than the disk.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_on(
        dir: &Path,
        cluster: &str,
        process: &ProcessId,
        medium: Box<dyn Medium>,
    ) -> Result<Self, StoreError> {
        let mut store = Self::open_uncounted_on(dir, cluster, process, medium)?;
        store.count_start()?;
        store.sync()?;
        Ok(store)
    }

    /// As [`Store::open`], for a start that may still be refused: it counts once [`Store::count_start`] says so.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_uncounted(
        dir: &Path,
        cluster: &str,
        process: &ProcessId,
    ) -> Result<Self, StoreError> {
        Self::open_uncounted_on(dir, cluster, process, Box::new(Disk))
    }

    fn open_uncounted_on(
        dir: &Path,
        cluster: &str,
        process: &ProcessId,
        medium: Box<dyn Medium>,
    ) -> Result<Self, StoreError> {
        let engine = Engine::open(dir, medium)?;
        let trees = Trees::open(&engine.db)?;
        let format = migrate::known_format(&trees)?;
        let owner = owner(&trees, cluster, process)?;
        let journal = Journal::open(&trees)?;
        check_end(&engine, &trees, &journal)?;
        migrate::migrate(&engine.db, &trees, format, || engine.make_durable())?;
        let owner = owner.map_or_else(|| own(&trees, cluster, process), Ok)?;
        let before = identity(&trees, owner.store)?;
        let identity = Identity {
            boot: before.boot + 1,
            run: uuid::Uuid::new_v4().as_u64_pair().1,
            ..before
        };
        engine.make_durable()?;
        let store = Self::assemble(engine, trees, owner.process, journal, identity)?;
        match store.unbooked()? {
            0 => {}
            unbooked => tracing::warn!("{}", unbooked_sentence(unbooked)),
        }
        Ok(store)
    }

    /// Migrates the store of a stopped node to the newest format, as opening does; the boot is not counted.
    ///
    /// # Errors
    /// [`StoreError`]: in use, of a newer format, damaged, or not accessible.
    pub fn migrate(dir: &Path) -> Result<Migrated, StoreError> {
        let (engine, trees) = stopped(dir)?;
        let from = migrate::known_format(&trees)?;
        check_end(&engine, &trees, &Journal::open(&trees)?)?;
        migrate::migrate(&engine.db, &trees, from, || engine.make_durable())?;
        let to = migrate::newest_format();
        Ok(Migrated { from, to })
    }

    pub(super) fn assemble(
        engine: Engine,
        trees: Trees,
        me: ProcessId,
        journal: Journal,
        identity: Identity,
    ) -> Result<Self, StoreError> {
        let blocks = RevisionBlocks::new(trees.heads, trees.bodies);
        let salting = Salting::open(trees.meta.clone(), journal.head().position)?;
        let history = HistoryTrees::open(me, trees.history, trees.parts, blocks, &journal)?;
        let store = Self {
            account_index: AccountIndex::open(trees.stretches, &journal)?,
            journal,
            states: StateTree::new(trees.states),
            gaps: GapRanges::open(&trees.meta)?,
            caught_up: CaughtUp::open(&trees.meta)?,
            starts: Starts::open(&trees.meta)?,
            meta: trees.meta,
            chunks: Chunks::new(trees.chunks, Some(salting)),
            history,
            retention: RetentionTree::open(trees.retention)?,
            underway: Underway::default(),
            composition: Composition::default(),
            recent_totals: RecentTotals::default(),
            standstill: Standstill::default(),
            engine,
            identity,
        };
        store.retention().finish_deleting()?;
        Ok(store)
    }
}

/// Checks that the journal has everything acknowledged. Without a watermark, or if the files are a copy, later turns
/// may be missing; this is noted as a gap, which the caller makes durable.
pub(super) fn check_end(
    engine: &Engine,
    trees: &Trees,
    journal: &Journal,
) -> Result<(), StoreError> {
    let is_witnessed = engine.check_witness(journal)?;
    let (birth, known) = (Birth::of(&engine.dir)?, Birth::known(&trees.meta)?);
    let is_copy = birth.is_some() && known.is_some() && birth != known;
    let end = journal.head().position;
    if is_copy {
        tracing::warn!(
            dir = %engine.dir.display(),
            after = end.0,
            "the files of this store are a copy; operations after the copy was made are missing"
        );
    }
    // A store whose first start ended before its first turn has no witness.
    if is_copy || (!is_witnessed && end > Lsn(0)) {
        ranges::note(&trees.meta, &(end..=end))?;
    }
    match birth {
        Some(birth) if known != Some(birth) => birth.note(&trees.meta),
        _ => Ok(()),
    }
}

/// Creates a store with an owner and an identity drawn before. Its first start is its first boot.
pub(super) fn create(dir: &Path, owner: &OwnerV1) -> Result<Store, StoreError> {
    create_with(dir, owner, None)
}

/// As [`create`], with the salts of the store that it replaces.
pub(super) fn create_with(
    dir: &Path,
    owner: &OwnerV1,
    salts: Option<Salts>,
) -> Result<Store, StoreError> {
    let engine = Engine::open(dir, Box::new(Disk))?;
    let trees = Trees::open(&engine.db)?;
    let format = migrate::known_format(&trees)?;
    migrate::migrate(&engine.db, &trees, format, || engine.make_durable())?;
    schema::put(&trees.meta, OWNER, Kind::Owner, owner)?;
    if let Some(salts) = salts {
        salts.write(&trees.meta)?;
    }
    engine.make_durable()?;
    let journal = Journal::open(&trees)?;
    let identity = identity(&trees, owner.store)?;
    let me = owner.process.clone();
    Store::assemble(engine, trees, me, journal, identity)
}

/// The store of a stopped node, opened for inspection without counting a boot.
pub(super) struct Stopped {
    pub(super) engine: Engine,
    pub(super) trees: Trees,
    pub(super) owner: OwnerV1,
}

/// Opens an existing store of the newest format.
pub(super) fn stopped_of_newest_format(dir: &Path) -> Result<Stopped, StoreError> {
    let (engine, trees) = stopped(dir)?;
    let (found, known) = (migrate::known_format(&trees)?, migrate::newest_format());
    if found != known {
        return Err(StoreError::OlderFormat { found, known });
    }
    let owner = schema::get::<OwnerV1>(&trees.meta, OWNER, Kind::Owner)?
        .ok_or_else(|| files::absent(dir))?;
    Ok(Stopped {
        engine,
        trees,
        owner,
    })
}

// The engine and the trees of an existing store.
fn stopped(dir: &Path) -> Result<(Engine, Trees), StoreError> {
    if !files::exists(dir) {
        return Err(files::absent(dir));
    }
    let engine = Engine::open(dir, Box::new(Disk))?;
    let trees = Trees::open(&engine.db)?;
    Ok((engine, trees))
}

// The owner of the store; `None` if the store is new.
fn owner(trees: &Trees, cluster: &str, process: &ProcessId) -> Result<Option<OwnerV1>, StoreError> {
    match schema::get::<OwnerV1>(&trees.meta, OWNER, Kind::Owner)? {
        Some(owner) if owner.cluster != cluster || owner.process != *process => {
            Err(StoreError::OtherOwner {
                found_process: owner.process.to_string(),
                found_cluster: owner.cluster,
                process: process.to_string(),
                cluster: cluster.to_owned(),
            })
        }
        owner => Ok(owner),
    }
}

// Makes the caller the owner of a new store.
fn own(trees: &Trees, cluster: &str, process: &ProcessId) -> Result<OwnerV1, StoreError> {
    let owner = OwnerV1 {
        cluster: cluster.to_owned(),
        process: process.clone(),
        store: *uuid::Uuid::new_v4().as_bytes(),
    };
    schema::put(&trees.meta, OWNER, Kind::Owner, &owner)?;
    Ok(owner)
}

/// The identity at the previous opening.
pub(super) fn identity(trees: &Trees, store: [u8; 16]) -> Result<Identity, StoreError> {
    let number =
        |key| Ok::<_, StoreError>(schema::get(&trees.meta, key, Kind::Number)?.unwrap_or(0));
    Ok(Identity {
        store,
        boot: number(BOOT)?,
        run: number(RUN)?,
    })
}
