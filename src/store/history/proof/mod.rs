//! Proofs that a balance belongs to a snapshot. A proof has the revision and, for each run from the newest, what shows
//! the account in it or its absence. All chunks are addressed by hash, so the root of the snapshot suffices to verify the
//! rest.

mod single_cells;
mod whole_chunks;

#[cfg(test)]
mod tests;

pub use single_cells::{AbsentCell, Branch, CellPlace, FoundCell, Neighbour, NeighbourName};
pub use whole_chunks::WholeChunks;

use super::{History, Published};
use crate::history::part::Run;
use crate::process::ids::{AccountId, ProcessId, SnapshotId};
use crate::store::engine::schema;
use crate::store::error::StoreError;
use crate::store::history;
use crate::store::stored::frame::{Damage, Kind};

/// A proof of a balance.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Proof {
    /// The revision in stored form, frame included; its hash is the root.
    pub revision: Vec<u8>,
    /// The runs examined, newest first: down to the one that contains the account, or all.
    pub runs: Vec<RunProof>,
}

/// The part of a proof for one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunProof {
    /// Whole chunks, from before format 7.
    Whole(WholeChunks),
    /// The account is in the run.
    Found(FoundCell),
    /// The account is not in the run.
    Absent(AbsentCell),
}

/// What a proof shows of other accounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Disclosure {
    /// Nothing.
    Nothing,
    /// The ids of the accounts next to it in runs without it; no balance.
    NeighbourIds,
    /// Ids and balances of the accounts that were recorded in the same chunks.
    WholeChunks,
}

impl Disclosure {
    /// The stable name in documents.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::NeighbourIds => "neighbour_ids",
            Self::WholeChunks => "whole_chunks",
        }
    }
}

/// What a proof proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proven {
    /// The revision, with the root to which the balance belongs.
    pub published: Published,
    /// The balance; `None` if the account did not exist.
    pub balance: Option<i64>,
}

/// Why a proof is not valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unproven(String);

impl History<'_> {
    /// Proves the balance of an account in a published revision, or that it did not exist. `None` if the revision does
    /// not contain the state of this process.
    ///
    /// # Errors
    /// [`StoreError`]: the revision or a chunk is missing or damaged.
    pub fn prove(
        self,
        snapshot: &SnapshotId,
        revision: u32,
        process: &ProcessId,
        account: &AccountId,
    ) -> Result<Option<Proof>, StoreError> {
        let key = schema::revision_key(snapshot, revision);
        let damaged = |damage| StoreError::damaged(schema::name(Kind::Global, &key), damage);
        let stored = self.store.history.stored_at(snapshot, revision)?;
        let missing = || damaged(Damage::Contradiction("it is missing".to_owned()));
        let stored = stored.ok_or_else(missing)?;
        let state = history::decode(&stored).map_err(damaged)?.state;
        let Some(part) = state.parts.get(process) else {
            return Ok(None);
        };
        let mut proof = Proof {
            revision: stored,
            runs: Vec::new(),
        };
        for run in part.state.runs.iter().rev() {
            let (run, is_found) = self.prove_in(run, account)?;
            proof.runs.push(run);
            if is_found {
                break;
            }
        }
        Ok(Some(proof))
    }

    // Returns also whether the account is in the run.
    fn prove_in(self, run: &Run, account: &AccountId) -> Result<(RunProof, bool), StoreError> {
        let chunks = &self.store.chunks;
        let is_salted = match run.index.first() {
            Some(index) => chunks.is_salted(index)?,
            None => false,
        };
        if !is_salted {
            let (whole, is_found) = WholeChunks::of(chunks, run, account)?;
            return Ok((RunProof::Whole(whole), is_found));
        }
        Ok(match single_cells::prove(chunks, run, account)? {
            Ok(found) => (RunProof::Found(found), true),
            Err(absent) => (RunProof::Absent(absent), false),
        })
    }
}

impl Proof {
    /// Verifies the proof for an account.
    ///
    /// # Errors
    /// [`Unproven`]: something in it is damaged, missing, or of another snapshot, process or account.
    pub fn of(&self, process: &ProcessId, account: &AccountId) -> Result<Proven, Unproven> {
        let published = history::decode(&self.revision)
            .map_err(|damage| Unproven(format!("the revision: {damage}")))?;
        let part = published.state.parts.get(process);
        let part = part.ok_or_else(|| {
            let snapshot = &published.state.snapshot;
            Unproven(format!(
                "snapshot {snapshot} does not hold process {process}"
            ))
        })?;
        let mut balance = None;
        let mut runs = part.state.runs.iter().rev().zip(1..);
        let mut given = self.runs.iter();
        while balance.is_none()
            && let Some((run, number)) = runs.next()
        {
            let what = format!("run {number} of {}, from the newest", part.state.runs.len());
            let wrong = |problem: String| Unproven(format!("{what}: {problem}"));
            let given = given.next();
            let given = given.ok_or_else(|| wrong("it is not in the proof".to_owned()))?;
            balance = given.look_up(run, account).map_err(wrong)?;
        }
        if given.next().is_some() {
            let problem = "it continues after the run of the account";
            return Err(Unproven(problem.to_owned()));
        }
        Ok(Proven { published, balance })
    }

    /// What the proof shows of other accounts. The revision shows sums of processes and channels only.
    #[must_use]
    pub fn discloses(&self) -> Disclosure {
        let of_each = self.runs.iter().map(RunProof::discloses);
        of_each.max().unwrap_or(Disclosure::Nothing)
    }
}

impl RunProof {
    fn look_up(&self, run: &Run, account: &AccountId) -> Result<Option<i64>, String> {
        match self {
            Self::Whole(whole) => whole.look_up(run, account),
            Self::Found(found) => found.look_up(run, account).map(Some),
            Self::Absent(absent) => absent.look_up(run, account).map(|()| None),
        }
    }

    fn discloses(&self) -> Disclosure {
        match self {
            Self::Whole(whole) if whole.cells.is_some() => Disclosure::WholeChunks,
            Self::Whole(whole) if !whole.index.is_empty() => Disclosure::WholeChunks,
            Self::Absent(absent) if absent.shown().next().is_some() => Disclosure::NeighbourIds,
            Self::Whole(_) | Self::Found(_) | Self::Absent(_) => Disclosure::Nothing,
        }
    }
}
