//! `store check`: everything that is stored is read, and everything that can be computed again is compared, in a copy.
//!
//! After pins and what was deleted (`kept`) one pass over the journal (`replay`) applies every turn and compares each
//! recorded state (`ledger`) and each own part (`recordings`) where the journal has it, and each stretch of the index
//! (`stretches`) where it ends; then chunks against hashes and manifests (`contents`), then what is published
//! (`published`, `story`), and what others' accounts come to (`sums`). What is wrong is collected by name, first things
//! first, and the check goes on.

mod account_index;
mod contents;
mod findings;
mod ledger;
mod opened_copy;
mod plausible;
mod published;
mod recordings;
mod replay;
mod retention;
mod revision_chain;
mod revisions;
mod stats;
mod sums;
mod turns;
mod working_copy;

use std::path::Path;

use tempfile::TempDir;

pub(super) use opened_copy::OpenedCopy;
pub use stats::{Bytes, Stats};
pub(super) use working_copy::LockedDirectory;

use super::durable_watermark::StoreFiles;
use super::error::StoreError;
use super::files;
use super::frame::{Damage, Kind};
use super::journal::Journal;
use super::rebuild::{unbooked, unbooked_sentence};
use super::schema::{self, OWNER, UNBOOKED};
use super::v1::state::OwnerV1;
use super::{Store, migrate};
use contents::Contents;
use findings::Findings;
use opened_copy::TreeWalk;
use working_copy::Files;

/// What a check has read and compared.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub struct Report {
    /// The cluster the store belongs to.
    pub cluster: String,
    /// The process the store belongs to.
    pub process: String,
    /// The format of the store.
    pub format: u32,
    /// The first turn of the journal; over 1 where older ones were deleted.
    pub journal_from: u64,
    /// How many turns the journal holds; each was decoded, and chained to the one before.
    pub turns: u64,
    /// How many records they hold.
    pub records: u64,
    /// How many recorded states were compared with the journal applied up to their cut.
    pub states: u64,
    /// How many cells were read for that; what a state shares with the one before is not read again.
    pub cells: u64,
    /// How many chunks were read and hashed.
    pub chunks: u64,
    /// How many of them nothing needs any more, or not yet.
    pub chunks_unreferenced: u64,
    /// How many parts of this process were compared with the journal, with the messages of their channels.
    pub parts: u64,
    /// How many messages these channels hold.
    pub messages: u64,
    /// How many stretches of the index by account were compared with the journal.
    pub stretches: u64,
    /// How many revisions of global states were read and verified.
    pub revisions: u64,
    /// How many different states of other processes were added up from their cells.
    pub states_of_others: u64,
    /// Accounts at the end of the journal.
    pub accounts: u64,
    /// The sum of their balances, minor units.
    pub balance_total: i128,
}

/// What became of a check.
#[derive(Debug)]
pub struct Examination {
    /// What was read and compared.
    pub report: Report,
    /// What is wrong, first things first; empty where the store is whole.
    pub findings: Vec<StoreError>,
    /// How many more things are wrong that are not listed.
    pub findings_left_out: u64,
    /// What is odd and does no harm, in sentences.
    pub notes: Vec<String>,
}

/// How far something is.
#[derive(Debug, Clone, Copy)]
pub struct CheckProgress {
    /// What is done.
    pub what: &'static str,
    /// How much of it is done.
    pub done: u64,
    /// How much it is.
    pub of: u64,
}

impl Store {
    /// Examines a stopped node's store and says no more than whether it is whole.
    ///
    /// # Errors
    /// [`StoreError`]: the first thing that is wrong, by name.
    pub fn check(dir: &Path) -> Result<Report, StoreError> {
        let examination = Self::examine(dir, &std::env::temp_dir(), &|_| {})?;
        match examination.findings.into_iter().next() {
            None => Ok(examination.report),
            Some(first) => Err(first),
        }
    }

    /// Reads a stopped node's store whole and compares all that can be compared. Works on a copy under `scratch`;
    /// the store itself is not written to.
    ///
    /// # Errors
    /// [`StoreError`]: there is no store, it is in use or of a newer format, there is no room for a copy, or the
    /// engine cannot open it.
    pub fn examine(
        dir: &Path,
        scratch: &Path,
        step: &dyn Fn(CheckProgress),
    ) -> Result<Examination, StoreError> {
        let mut examiner = Examiner::begin(dir, scratch, step)?;
        examiner.check_files();
        let examined = examiner.check_all();
        examiner.findings.take(examined);
        Ok(examiner.end())
    }

    /// Counts and measures what a stopped node's store holds. Works on a copy, as [`Store::examine`].
    ///
    /// # Errors
    /// As [`Store::examine`]; also where something cannot be read.
    pub fn stats(
        dir: &Path,
        scratch: &Path,
        step: &dyn Fn(CheckProgress),
    ) -> Result<Stats, StoreError> {
        stats::measure(Examiner::begin(dir, scratch, step)?)
    }
}

/// A store under examination.
struct Examiner<'a> {
    library: OpenedCopy,
    owner: OwnerV1,
    files: Files,
    report: Report,
    findings: Findings,
    step: &'a dyn Fn(CheckProgress),
    dir: &'a Path,
    /// After the library, which has its files open.
    copy: TempDir,
}

impl<'a> Examiner<'a> {
    fn begin(
        dir: &'a Path,
        scratch: &Path,
        step: &'a dyn Fn(CheckProgress),
    ) -> Result<Self, StoreError> {
        let held = LockedDirectory::take(dir)?;
        let copy = held.copy(scratch, step)?;
        // The engine cuts off what it cannot read, in a copy as well.
        let files = copy.path();
        let readable = StoreFiles { files, named: dir }.check_log();
        match Self::open((dir, held.files), copy, step) {
            Ok(mut examiner) => {
                if let Err(unreadable) = readable {
                    examiner.findings.push_first(unreadable);
                }
                Ok(examiner)
            }
            Err(error) => Err(readable.err().unwrap_or(error)),
        }
    }

    fn open(
        (dir, files): (&'a Path, Files),
        copy: TempDir,
        step: &'a dyn Fn(CheckProgress),
    ) -> Result<Self, StoreError> {
        let (library, found) = OpenedCopy::open(copy.path())?;
        let trees = &library.trees;
        let mut findings = Findings::default();
        for tree in found.missing {
            findings.add(format!("tree {tree:?}"), "it is missing");
        }
        for tree in found.unknown {
            findings.note(format!("the tree {tree:?} is none of a store's"));
        }
        let (format, newest) = (found.format, migrate::newest_format());
        if format < newest {
            findings.note(format!(
                "the store has format {format}; the next start brings it to {newest}"
            ));
        }
        let owner = schema::get::<OwnerV1>(&trees.meta, OWNER, Kind::Owner)?;
        let owner = owner.ok_or_else(|| match trees.journal.is_empty() {
            true => files::absent(dir),
            false => {
                let what = schema::name(Kind::Owner, OWNER);
                StoreError::damaged(what, Damage::Contradiction("it is missing".to_owned()))
            }
        })?;
        let report = Report {
            cluster: owner.cluster.clone(),
            process: owner.process.to_string(),
            format,
            ..Report::default()
        };
        Ok(Self {
            library,
            owner,
            files,
            report,
            findings,
            step,
            dir,
            copy,
        })
    }

    fn check_files(&mut self) {
        for (blob, _) in &self.files.blobs {
            let problem = "it lies outside of the log, where no sync reaches it";
            self.findings.add(format!("file {blob}"), problem);
        }
        for name in &self.files.leftovers {
            let note = format!(
                "{name} is left of a start that was interrupted; the next start removes it"
            );
            self.findings.note(note);
        }
        for name in &self.files.unknown {
            self.findings
                .note(format!("{name} is none of a store's files"));
        }
    }

    fn check_all(&mut self) -> Result<(), StoreError> {
        self.check_meta()?;
        let witnessed = self.check_witness();
        self.findings.take(witnessed);
        retention::check(self)?;
        let replayed = replay::replay(self)?;
        let contents = Contents::read(self)?;
        let contents = published::check(self, contents, &replayed)?;
        self.report.chunks_unreferenced = contents.unreferenced().0;
        Ok(())
    }

    fn check_meta(&mut self) -> Result<(), StoreError> {
        let meta = &self.library.trees.meta;
        match unbooked(meta) {
            Ok(0) => {}
            Ok(unbooked) => self.findings.note(unbooked_sentence(unbooked)),
            Err(error) => self.findings.push(error),
        }
        let mut walk = TreeWalk::new(|trees| &trees.meta);
        while let Some(stored) = walk.next(&self.library)? {
            if let Err(damage) = stored.framed {
                let what = schema::name(Kind::Number, &stored.key);
                self.findings.push(StoreError::damaged(what, damage));
            } else if ![OWNER, UNBOOKED].contains(&&*stored.key) {
                let number = schema::get::<u64>(meta, &stored.key, Kind::Number);
                self.findings.take(number);
            }
        }
        Ok(())
    }

    // The engine takes a damaged record for the torn end of its log and forgets what follows. A journal whose newest
    // entry is damaged is named by the pass over it.
    fn check_witness(&self) -> Result<(), StoreError> {
        match Journal::open(&self.library.trees) {
            Ok(journal) => self.place().check(&journal).map(drop),
            Err(_) => Ok(()),
        }
    }

    fn place(&self) -> StoreFiles<'_> {
        let (files, named) = (self.copy.path(), self.dir);
        StoreFiles { files, named }
    }

    fn end(self) -> Examination {
        let (findings, left_out, notes) = self.findings.end();
        Examination {
            report: self.report,
            findings,
            findings_left_out: left_out,
            notes,
        }
    }
}
