//! Fills a new store from the archive: the journal, and what is kept beside it. Only reads the archive, so it needs no epoch:
//! whoever takes a process over sets a fence first.
//!
//! The journal comes first (`turns`), because everything else is compared with it. A journal that does not begin with turn 1
//! begins behind a recorded state (`beginning`). Then come the other states, so that a start replays little and questions about the past are
//! answered as before; the own parts; and the revisions of which all parts are in the archive (`contents`). What is damaged or
//! missing there is left out and named, since peers or the journal can supply it again.

mod beginning;
mod contents;
mod deleted;
mod new_store;
mod successor;
mod turns;

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::Path;

pub use beginning::{Older, Since};
pub use new_store::NewStore;
pub use successor::{Successor, claimed_salts};

use super::{Source, pins};
use crate::archive::{ArchiveError, gaps, journal, kept, rebuilt};
use crate::history::global::GlobalState;
use crate::process::clock::Hlc;
use crate::process::ids::{Lsn, ProcessId};
use crate::shipping::JournalPoint;
use crate::shipping::chain::{Chain, Link};
use crate::shipping::object::{RevisionKey, StateKey};
use crate::shipping::segment::WriterId;
use crate::shipping::writer::Walked;
use crate::store::{LostBeginning, LostMessages, Published, Store, StoreError};
use contents::Contents;
use turns::Turns;

/// How much of the journal is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// The journal may begin behind this turn, if a state is kept there: what is before cannot be read.
    pub behind: Lsn,
    /// The journal may begin behind a state before which nothing is wanted or needed; `None`: everything is wanted.
    pub since: Option<Since>,
    /// The last turn; `None` for all.
    pub until: Option<Until>,
    /// Whether published revisions are wanted, too.
    pub revisions: bool,
}

impl Wanted {
    /// Everything.
    pub const ALL: Self = Self {
        behind: Lsn(0),
        since: None,
        until: None,
        revisions: true,
    };

    fn reaches(&self, position: Lsn, time: Hlc) -> bool {
        self.until.is_none_or(|until| until.reaches(position, time))
    }
}

/// Where a journal ends that is not wanted whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// With this turn.
    Turn(Lsn),
    /// With the last turn at or before this instant.
    Instant(Hlc),
}

impl Until {
    /// Whether a turn, or the state after it, is not behind the end.
    #[must_use]
    pub fn reaches(self, position: Lsn, time: Hlc) -> bool {
        match self {
            Self::Turn(last) => position <= last,
            Self::Instant(last) => time <= last,
        }
    }
}

/// The work that is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Segments of the journal.
    Journal,
    /// Recorded states.
    States,
    /// Own parts.
    Parts,
    /// Published revisions.
    History,
}

/// How far the work is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub phase: Phase,
    /// What is done of it.
    pub done: u64,
    /// All of it.
    pub total: u64,
}

/// What a store was filled with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filled {
    /// The first turn.
    pub first: Lsn,
    /// The last turn.
    pub end: Lsn,
    /// The turns before the first one that are older than what is wanted; `None` if it begins where the archive or damage says.
    pub older: Option<Older>,
    /// The boundary behind which the walk began, and the last segment that was read.
    pub walked: Walked,
    /// The cut of the newest state, from which a start replays.
    pub newest_state: Option<Lsn>,
    /// The number of states.
    pub states: u64,
    /// The number of own parts.
    pub parts: u64,
    /// The number of published revisions.
    pub revisions: u64,
    /// The number of pinned snapshots.
    pub pinned: u64,
    /// What is damaged or missing in the archive, a sentence for each.
    pub left_out: Vec<String>,
    /// The revisions that are whole and not in the store: a process has no part of the snapshot in the archive, or another revision
    /// has the number. A sentence for each.
    pub lacking: Vec<String>,
    /// The messages that nobody has acknowledged and that are before the first turn.
    pub lost_messages: Vec<LostMessages>,
}

impl Filled {
    /// All that is not in the store, a sentence for each.
    pub fn not_filled(&self) -> impl Iterator<Item = &String> {
        self.left_out.iter().chain(&self.lacking)
    }
}

/// Why a store is not filled.
#[derive(Debug, thiserror::Error)]
pub enum NotFilled {
    /// The archive cannot be read.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The archive has nothing of the process.
    #[error(
        "the archive {url} has no journal of process {process} of cluster {cluster}; check these three names"
    )]
    NoJournal {
        /// The archive.
        url: String,
        /// The process.
        process: String,
        /// The cluster.
        cluster: String,
    },
    /// A segment of the journal is missing or damaged, or the state from which it should begin does not belong to it.
    #[error("{error}")]
    Broken {
        /// Which, and how.
        error: ArchiveError,
        /// A new store can be filled from a state behind this turn; `None` if there is none.
        behind: Option<Lsn>,
        /// The segment with that turn, if the chain is broken before it.
        link: Option<Link>,
        /// The last turn before it.
        until: Lsn,
    },
    /// The journal does not begin with turn 1, and no state is kept where it begins.
    #[error(
        "the archive {url} has the journal of {process} behind turn {begin} only, and no complete recorded state from which it \
         could begin{}", .damaged.as_ref().map(|why| format!(": {why}")).unwrap_or_default()
    )]
    NoBeginning {
        /// The archive.
        url: String,
        /// The process.
        process: String,
        /// The turn behind which the journal begins.
        begin: Lsn,
        /// The last state that is damaged.
        damaged: Option<String>,
    },
    /// Nothing is kept of the time before the end that is wanted.
    #[error(
        "the archive {url} has the journal of {process} from turn {first} on, which is later than what is wanted"
    )]
    TooEarly {
        /// The archive.
        url: String,
        /// The process.
        process: String,
        /// The first turn.
        first: Lsn,
    },
    /// The store cannot be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The directory cannot be emptied.
    #[error("cannot empty the directory of the new store: {0}")]
    Directory(io::Error),
}

/// Makes the store of a process in an empty directory. If a segment of the journal is missing or damaged and a state behind it is kept,
/// the journal begins there; what is not restored is named first among what is left out.
///
/// # Errors
/// [`NotFilled`]; the content of the directory is then useless.
pub async fn make(
    dir: &Path,
    source: &Source,
    successor: &Successor,
    wanted: Wanted,
    told: &(dyn Fn(Progress) + Sync),
) -> Result<(Store, Filled), NotFilled> {
    let process = ProcessId::parse(&source.owner.process).map_err(|_| NotFilled::NoJournal {
        url: source.process.url().to_owned(),
        process: source.owner.process.clone(),
        cluster: source.owner.cluster.clone(),
    })?;
    let Successor {
        identity, salts, ..
    } = *successor;
    let (cluster, salts) = (&source.owner.cluster, Some(salts));
    let mut is_first = true;
    let create = || {
        if !std::mem::take(&mut is_first) {
            empty(dir).map_err(NotFilled::Directory)?;
        }
        Ok(Store::create_archived(
            dir, cluster, &process, identity, salts,
        )?)
    };
    make_in(create, source, wanted, told).await
}

/// The same in a store that is created so, and again where the archive is damaged.
///
/// # Errors
/// [`NotFilled`]; the last store is then useless.
pub async fn make_in<S: NewStore>(
    mut create: impl FnMut() -> Result<S, NotFilled>,
    source: &Source,
    mut wanted: Wanted,
    told: &(dyn Fn(Progress) + Sync),
) -> Result<(S, Filled), NotFilled> {
    let from = wanted.behind;
    let (mut damages, mut taken_up) = (Vec::new(), None);
    loop {
        let store = create()?;
        let turns = Turns {
            store: &store,
            source,
            wanted,
            taken_up,
            told,
        };
        match fill(&turns).await {
            Ok(mut filled) => {
                if filled.older.is_some() {
                    // It is before what is wanted.
                    filled.left_out.append(&mut damages);
                } else if !damages.is_empty() {
                    let lost = not_restored(source, from, &filled, &damages).await?;
                    filled.left_out.insert(0, lost);
                }
                return Ok((store, filled));
            }
            Err(NotFilled::Broken {
                error,
                behind: Some(behind),
                link,
                ..
            }) if behind > wanted.behind => {
                wanted.behind = behind;
                taken_up = link.or(taken_up);
                damages.push(error.to_string());
            }
            Err(error) => return Err(error),
        }
    }
}

// Which turns of the archive, behind one, are not restored because of damage.
async fn not_restored(
    source: &Source,
    behind: Lsn,
    filled: &Filled,
    damages: &[String],
) -> Result<String, ArchiveError> {
    let begins = match journal::begins_behind(&source.process).await {
        Ok(begins) => begins.position,
        Err(ArchiveError::Damaged { .. }) => filled.walked.boundary.journal.position,
        Err(error) => return Err(error),
    };
    let (first, last) = (begins.max(behind).next(), filled.first.0 - 1);
    Ok(format!(
        "the turns {first} to {last} are not restored: {}",
        damages.join("; ")
    ))
}

fn empty(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        match path.is_dir() {
            true => fs::remove_dir_all(path)?,
            false => fs::remove_file(path)?,
        }
    }
    Ok(())
}

// Fills a store that was made by `Store::create_archived`.
async fn fill<S: NewStore>(turns: &Turns<'_, S>) -> Result<Filled, NotFilled> {
    let Turns {
        store,
        source,
        wanted,
        told,
        ..
    } = *turns;
    let mut filled = Filled::default();
    let states = kept::list::<StateKey>(&source.process).await?;
    let mut contents = Contents::new(store, source);
    let begun = turns.read(&mut contents, &states, &mut filled).await?;
    (filled.first, filled.end) = (store.first(), store.end().0);
    if filled.end < filled.first && begun {
        return Err(NotFilled::TooEarly {
            url: source.process.url().to_owned(),
            process: source.owner.process.clone(),
            first: filled.first,
        });
    }
    let until = match wanted.until {
        Some(Until::Instant(instant)) => Some(instant),
        Some(Until::Turn(_)) => Some(store.ends_at()?),
        None => None,
    };
    contents.states(&states, &mut filled, told).await?;
    if let Some(older) = &mut filled.older {
        older.snapshots = contents.leave_out(older.limit, told).await?;
    }
    let finished_by = until.map(|_| filled.end);
    contents.parts(finished_by, &mut filled, told).await?;
    if wanted.revisions {
        contents.revisions(until, &mut filled, told).await?;
        take_pins(store, source, until, &mut filled).await?;
    }
    take_gaps(store, source).await?;
    take_rebuilt_figures(store, source, &mut filled).await?;
    store.note_parts_may_be_missing()?;
    store.sync()?;
    store.continue_from_newest()?;
    let LostBeginning { messages, parts } = store.lost_beginning()?;
    filled.lost_messages = messages;
    filled.left_out.extend(parts.iter().map(|snapshot| {
        format!(
            "the part of snapshot {snapshot}, which cannot be made without the turns before {}",
            filled.first
        )
    }));
    distinct(&mut filled.left_out);
    Ok(filled)
}

/// Says each sentence once: a state, for example, is read twice if the journal could not begin with it.
pub(super) fn distinct(sentences: &mut Vec<String>) {
    let mut said = HashSet::new();
    sentences.retain(|one| said.insert(one.clone()));
}

/// Appends what was archived behind the last segment that a store was filled from, and has the store remember the claim with which it
/// took the process over; returns the last turn.
///
/// # Errors
/// [`NotFilled`]; the store is then useless.
pub async fn finish<S: NewStore>(
    store: &S,
    source: &Source,
    filled: &Filled,
    claim: WriterId,
) -> Result<Lsn, NotFilled> {
    let turns = Turns {
        store,
        source,
        wanted: Wanted::ALL,
        taken_up: None,
        told: &|_| {},
    };
    let mut chain = Chain::behind(filled.walked.last);
    turns
        .append(&mut chain, JournalPoint::default(), &[])
        .await?;
    take_gaps(store, source).await?;
    store.note_parts_may_be_missing()?;
    store.remember(chain.last(), claim)?;
    Ok(store.end().0)
}

// Notes the pins, as they were at an instant if one is given.
async fn take_pins<S: NewStore>(
    store: &S,
    source: &Source,
    until: Option<Hlc>,
    filled: &mut Filled,
) -> Result<(), NotFilled> {
    let read = pins::read(source, until).await?;
    filled.left_out.extend(read.left_out);
    filled.pinned = store.note_pins(read.pins)?;
    Ok(())
}

// Notes the gaps of the journal, as far as it was read.
async fn take_gaps<S: NewStore>(store: &S, source: &Source) -> Result<(), NotFilled> {
    let noted = gaps::read(&source.process).await?;
    Ok(store.note_gaps(&noted.until(store.end().0))?)
}

// Notes what was booked when the lost store was made.
async fn take_rebuilt_figures<S: NewStore>(
    store: &S,
    source: &Source,
    filled: &mut Filled,
) -> Result<(), NotFilled> {
    match rebuilt::read(&source.process).await {
        Ok(figures) => {
            let noted = figures.map(|figures| store.note_rebuilt(figures));
            noted.transpose()?;
        }
        Err(error @ ArchiveError::Damaged { .. }) => filled.left_out.push(error.to_string()),
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// Whether a writer has shipped behind the last segment that a store was filled from.
///
/// # Errors
/// [`ArchiveError`].
pub async fn has_gone_on(source: &Source, filled: &Filled) -> Result<bool, ArchiveError> {
    let mut chain = Chain::behind(filled.walked.last);
    Ok(journal::next_head(&source.process, &mut chain)
        .await?
        .is_some())
}

/// Loads what the processes of a cluster share into a store of none of them: the published revisions, with the chunks of all parts, and
/// the pins.
///
/// # Errors
/// [`NotFilled`].
pub async fn load_history(
    store: &Store,
    source: &Source,
    told: &(dyn Fn(Progress) + Sync),
) -> Result<Filled, NotFilled> {
    let mut filled = Filled::default();
    let mut contents = Contents::new(store, source);
    contents.revisions(None, &mut filled, told).await?;
    take_pins(store, source, None, &mut filled).await?;
    store.sync_journal()?;
    Ok(filled)
}

/// Loads one published revision, with the chunks of all of its parts, if it `is_wanted`. What is damaged or missing in the archive
/// is named by a sentence.
///
/// # Errors
/// [`NotFilled`].
pub async fn load_revision(
    store: &Store,
    source: &Source,
    key: &RevisionKey,
    is_wanted: impl Fn(&GlobalState) -> bool,
) -> Result<Result<Option<Published>, String>, NotFilled> {
    let mut contents = Contents::new(store, source);
    let loaded = contents.revision(key, is_wanted).await?;
    store.sync_journal()?;
    Ok(loaded)
}
