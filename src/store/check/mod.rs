//! `store check`: reads everything stored and compares everything that can be recomputed, in a copy of the store.
//!
//! The order: pins and deletion marks (`retention`); then one pass over the journal (`replay`), which applies every
//! turn and compares each recorded state (`ledger`), each own part (`recordings`) and each segment of the account index
//! (`account_index`) at its position in the journal; then chunks against hashes and manifests (`contents`); then
//! published revisions (`published`, `revision_chain`); then the sums of other processes' accounts (`sums`). Findings
//! are collected by name in this order, and the check continues after each.

mod account_index;
mod contents;
mod decisions;
mod findings;
mod ledger;
mod opened_copy;
mod packed;
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
pub(super) mod verify_revision;
mod working_copy;

use std::path::Path;

use tempfile::TempDir;

pub use decisions::DecisionLine;
pub(super) use opened_copy::OpenedCopy;
pub use stats::{Bytes, Stats};
pub(super) use working_copy::LockedDirectory;

use super::Store;
use super::archived::shipped;
use super::engine::durable_watermark::StoreFiles;
use super::engine::files;
use super::engine::schema;
use super::engine::schema::{ARCHIVED, CHUNK_SECRET, OWNER, Trees, UNBOOKED, VOUCHED};
use super::error::StoreError;
use super::journal::Journal;
use super::opening::migrate;
use super::opening::operator;
use super::restore::unbooked::{unbooked, unbooked_sentence};
use super::stored::frame::{Damage, Kind};
use super::stored::v1::state::OwnerV1;
use contents::Contents;
use findings::Findings;
use opened_copy::TreeWalk;
use working_copy::Files;

/// What a check has read and compared.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub struct Report {
    /// The name of the cluster.
    pub cluster: String,
    /// The process that owns the store.
    pub process: String,
    /// The format of the store.
    pub format: u32,
    /// The first turn of the journal; greater than 1 if older ones were deleted.
    pub journal_from: u64,
    /// Turns in the journal; each was decoded and its hash chained to the one before.
    pub turns: u64,
    /// Records in these turns.
    pub records: u64,
    /// Recorded states compared with the journal applied up to their cut.
    pub states: u64,
    /// Cells read for these comparisons; cells shared with the previous state are not read again.
    pub cells: u64,
    /// Chunks read and hashed.
    pub chunks: u64,
    /// Chunks that are unreferenced, or not yet referenced.
    pub chunks_unreferenced: u64,
    /// Parts of this process compared with the journal, including the messages of their channels.
    pub parts: u64,
    /// Messages in these channels.
    pub messages: u64,
    /// Segments of the account index compared with the journal.
    pub stretches: u64,
    /// Revisions of global states read and verified.
    pub revisions: u64,
    /// Different states of other processes whose cells were added up.
    pub states_of_others: u64,
    /// Accounts at the end of the journal.
    pub accounts: u64,
    /// The sum of their balances in minor units.
    pub balance_total: i128,
    /// The newest decisions of persons in the journal, oldest first; at most 1,000.
    pub decisions: Vec<DecisionLine>,
}

/// The result of a check.
#[derive(Debug)]
pub struct Examination {
    /// What was read and compared.
    pub report: Report,
    /// What is wrong, in the order of the checks; empty if the store is whole.
    pub findings: Vec<StoreError>,
    /// Further findings beyond the limit of the list.
    pub findings_left_out: u64,
    /// Harmless oddities, as sentences.
    pub notes: Vec<String>,
}

/// The progress of a long operation.
#[derive(Debug, Clone, Copy)]
pub struct CheckProgress {
    /// The current step.
    pub what: &'static str,
    /// Units done.
    pub done: u64,
    /// Units in total.
    pub of: u64,
}

impl Store {
    /// Examines the store of a stopped node and returns only whether it is whole.
    ///
    /// # Errors
    /// [`StoreError`]: the first finding.
    pub fn check(dir: &Path) -> Result<Report, StoreError> {
        let examination = Self::examine(dir, &std::env::temp_dir(), &|_| {})?;
        match examination.findings.into_iter().next() {
            None => Ok(examination.report),
            Some(first) => Err(first),
        }
    }

    /// Reads the store of a stopped node completely and compares everything that can be compared. Works on a copy under
    /// `scratch`; the store itself is not written to.
    ///
    /// # Errors
    /// [`StoreError`]: there is no store, it is in use or has a newer format, there is no space for a copy, or the
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

    /// Counts and measures the contents of a stopped node's store. Works on a copy, as [`Store::examine`].
    ///
    /// # Errors
    /// As [`Store::examine`]; also if a value cannot be read.
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
    opened: OpenedCopy,
    owner: OwnerV1,
    files: Files,
    report: Report,
    findings: Findings,
    step: &'a dyn Fn(CheckProgress),
    dir: &'a Path,
    /// Dropped after `opened`, which has files open in it.
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
        // The engine truncates an unreadable log when it opens it, also in the copy, so the log is checked before.
        let files = copy.path();
        let readable = StoreFiles { files, named: dir }.check_log();
        match Self::open(dir, held.files, copy, step) {
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
        dir: &'a Path,
        files: Files,
        copy: TempDir,
        step: &'a dyn Fn(CheckProgress),
    ) -> Result<Self, StoreError> {
        let (opened, found) = OpenedCopy::open(copy.path())?;
        let trees = &opened.trees;
        let mut findings = Findings::default();
        for tree in found.missing {
            findings.add(format!("tree {tree:?}"), "it is missing");
        }
        for tree in found.unknown {
            findings.note(format!("the tree {tree:?} does not belong to a store"));
        }
        let (format, newest) = (found.format, migrate::newest_format());
        if format < newest {
            findings.note(format!(
                "the store has format {format}; the next start upgrades it to {newest}"
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
            opened,
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
            let problem = "it lies outside of the log and is never synced";
            self.findings.add(format!("file {blob}"), problem);
        }
        for name in &self.files.leftovers {
            let note =
                format!("{name} is left over from an interrupted start; the next start removes it");
            self.findings.note(note);
        }
        for name in &self.files.unknown {
            self.findings
                .note(format!("{name} does not belong to a store"));
        }
    }

    fn check_all(&mut self) -> Result<(), StoreError> {
        // A new tree does not compile before a step below checks it.
        let Trees {
            meta: _,      // check_meta
            retention: _, // retention
            journal: _,   // replay, with those below
            turns: _,
            states: _,
            parts: _,
            stretches: _,
            chunks: _,  // contents
            history: _, // published, with those below
            heads: _,
            bodies: _,
        } = &self.opened.trees;
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
        let meta = &self.opened.trees.meta;
        match unbooked(meta) {
            Ok(0) => {}
            Ok(unbooked) => self.findings.note(unbooked_sentence(unbooked)),
            Err(error) => self.findings.push(error),
        }
        let mut walk = TreeWalk::new(&self.opened.trees.meta);
        while let Some(stored) = walk.next()? {
            if let Err(damage) = stored.framed {
                let what = schema::name(Kind::Number, &stored.key);
                self.findings.push(StoreError::damaged(what, damage));
            } else if stored.key == CHUNK_SECRET {
                let secret = schema::get::<[u8; 32]>(meta, CHUNK_SECRET, Kind::Secret);
                self.findings.take(secret);
            } else if stored.key == VOUCHED {
                self.findings.take(operator::vouched(meta));
            } else if stored.key == ARCHIVED {
                self.findings.take(shipped::shipped(meta));
            } else if ![OWNER, UNBOOKED].contains(&&*stored.key) {
                let number = schema::get::<u64>(meta, &stored.key, Kind::Number);
                self.findings.take(number);
            }
        }
        Ok(())
    }

    // The engine takes a damaged record for the torn end of its log and drops everything after it; the watermark
    // detects that. If the newest entry of the journal is damaged, the pass over the journal reports it.
    fn check_witness(&self) -> Result<(), StoreError> {
        match Journal::open(&self.opened.trees) {
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
