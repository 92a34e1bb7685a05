//! Proofs that a balance belongs to a snapshot. A proof has the revision and, for each run from the newest, the chunk
//! that contains or would contain the account, with the index chunks that lead to it. All chunks are addressed by hash,
//! so the root of the snapshot suffices to verify the rest.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use super::{History, Published};
use crate::history::part::{Chunk, Run};
use crate::process::cell::{Cell, CellKey};
use crate::process::ids::{AccountId, Hash, ProcessId, SnapshotId};
use crate::store::chunks::Chunks;
use crate::store::chunks::source;
use crate::store::chunks::source::ChunkSource;
use crate::store::engine::schema;
use crate::store::error::StoreError;
use crate::store::history;
use crate::store::stored::codec::decode_chunk;
use crate::store::stored::frame;
use crate::store::stored::frame::{Damage, Kind};

/// A proof of a balance. All values are in stored form, frames included.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Proof {
    /// The revision; its hash is the root.
    pub revision: Vec<u8>,
    /// The runs examined, newest first: down to the one that contains the account, or all.
    pub runs: Vec<RunProof>,
}

/// The part of a proof for one run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RunProof {
    /// The index chunks that lead to the position of the account.
    pub index: Vec<Vec<u8>>,
    /// The chunk that contains or would contain it; `None` if the run begins after it.
    pub cells: Option<Vec<u8>>,
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
            let read = StoreChunks {
                chunks: &self.store.chunks,
                index: Mutex::default(),
            };
            let place = source::place(&read, run, CellKey::of_account(account.as_str()))?;
            let index = read.index.into_inner();
            let index = index.unwrap_or_else(PoisonError::into_inner);
            let cells = place
                .map(|hash| self.store.chunks.framed(&hash))
                .transpose()?;
            proof.runs.push(RunProof { index, cells });
            let found = place
                .map(|hash| source::cells(&self.store.chunks, &hash))
                .transpose()?
                .and_then(|cells| balance_among(&cells, account));
            if found.is_some() {
                return Ok(Some(proof));
            }
        }
        Ok(Some(proof))
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
}

impl RunProof {
    fn look_up(&self, run: &Run, account: &AccountId) -> Result<Option<i64>, String> {
        let chunks = ProofChunks::of(self)?;
        let place =
            source::place(&chunks, run, CellKey::of_account(account.as_str())).map_err(sentence)?;
        let cells = place.map(|hash| source::cells(&chunks, &hash));
        let cells = cells.transpose().map_err(sentence)?;
        let (needed, given) = (chunks.used(), chunks.stored.len());
        if needed != given {
            return Err(format!(
                "it has {given} chunks, of which {needed} lead to the account"
            ));
        }
        Ok(cells.and_then(|cells| balance_among(&cells, account)))
    }
}

fn sentence(error: StoreError) -> String {
    match error {
        StoreError::Damaged { what, damage } => format!("{what}: {damage}"),
        other => other.to_string(),
    }
}

fn balance_among(cells: &[Cell], account: &AccountId) -> Option<i64> {
    cells.iter().find_map(|cell| match cell {
        Cell::Account {
            account: found,
            balance,
        } if found == account => Some(*balance),
        _ => None,
    })
}

/// The chunks of a store, recording those that were read.
struct StoreChunks<'a> {
    chunks: &'a Chunks,
    index: Mutex<Vec<Vec<u8>>>,
}

impl ChunkSource for StoreChunks<'_> {
    fn chunk(&self, hash: &Hash) -> Result<Chunk, StoreError> {
        let framed = self.chunks.framed(hash)?;
        let chunk = decode_chunk(hash, &framed)?;
        let mut index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        index.push(framed);
        Ok(chunk)
    }
}

/// The chunks of a proof by hash, recording those that were needed.
struct ProofChunks<'a> {
    stored: HashMap<Hash, &'a [u8]>,
    used: Mutex<HashSet<Hash>>,
}

impl<'a> ProofChunks<'a> {
    fn of(run: &'a RunProof) -> Result<Self, String> {
        let mut stored = HashMap::new();
        for chunk in run.index.iter().chain(&run.cells) {
            let bytes = frame::unwrap(Kind::Chunk, chunk).map_err(|damage| {
                let number = stored.len() + 1;
                format!("its chunk {number}: {damage}")
            })?;
            stored.insert(Hash(*blake3::hash(bytes).as_bytes()), &chunk[..]);
        }
        let used = Mutex::default();
        Ok(Self { stored, used })
    }

    fn used(&self) -> usize {
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.len()
    }
}

impl ChunkSource for ProofChunks<'_> {
    fn chunk(&self, hash: &Hash) -> Result<Chunk, StoreError> {
        let absent = || {
            let damage = Damage::Contradiction("it is not in the proof".to_owned());
            StoreError::damaged(schema::name(Kind::Chunk, &hash.0), damage)
        };
        let stored = self.stored.get(hash).ok_or_else(absent)?;
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.insert(*hash);
        decode_chunk(hash, stored)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::fixture::{self, account, process};

    fn proven(id: &str) -> (Proof, Proven) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (store, state) = fixture::store(dir.path());
        let proof = store
            .history()
            .prove(&state.snapshot, 1, &process("p"), &account(id));
        let proof = proof.expect("all is there").expect("p is in it");
        let proven = proof.of(&process("p"), &account(id)).expect("it holds");
        assert_eq!(proven.published.state, state);
        (proof, proven)
    }

    #[test]
    fn what_is_proven_is_the_newest_balance_or_that_there_was_none() {
        let found = |id| {
            let (proof, proven) = proven(id);
            (proof.runs.len(), proven.balance)
        };
        assert_eq!(found("b"), (1, Some(15)), "the newer run hides 20");
        assert_eq!(found("c"), (1, Some(0)));
        assert_eq!(found("a"), (2, Some(10)));
        assert_eq!(found("z"), (2, None));
        assert_eq!(found("A"), (2, None), "it would stand before all others");
    }

    #[test]
    fn a_proof_is_of_one_account_of_one_process_and_of_nothing_less() {
        let (proof, _) = proven("z");
        let refused = |proof: &Proof, id: &str, name: &str| {
            let refused = proof.of(&process(id), &account(name));
            refused.expect_err("it proves nothing").to_string()
        };
        assert!(refused(&proof, "p", "b").contains("continues after the run"));
        assert!(refused(&proof, "q", "z").contains("run 1 of 1"));
        assert!(refused(&proof, "r", "z").contains("does not hold process r"));
        // Without the newer run the older one would prove an outdated balance.
        let (newer, _) = proven("b");
        let mut older = proof.clone();
        older.runs.remove(0);
        assert!(refused(&older, "p", "b").contains("it is not in the proof"));
        let mut cut = newer.clone();
        cut.runs.clear();
        assert!(refused(&cut, "p", "b").contains("run 1 of 2"));
        let mut padded = newer;
        padded.runs[0].index.push(proof.runs[1].index[0].clone());
        assert!(refused(&padded, "p", "b").contains("it has 3 chunks, of which 2 lead"));
    }

    #[test]
    fn a_flipped_bit_in_a_proof_is_seen() {
        let (proof, proven) = proven("z");
        let sections = 1 + 2 * proof.runs.len();
        for section in 0..sections {
            let length = bytes(&mut proof.clone(), section).len();
            for place in 0..length {
                let mut changed = proof.clone();
                bytes(&mut changed, section)[place] ^= 1 << (place % 8);
                let found = changed.of(&process("p"), &account("z"));
                assert!(found.is_err(), "byte {place} of section {section}");
            }
        }
        assert_eq!(proven.balance, None);
    }

    fn bytes(proof: &mut Proof, section: usize) -> &mut Vec<u8> {
        match section.checked_sub(1) {
            None => &mut proof.revision,
            Some(run) if run % 2 == 0 => &mut proof.runs[run / 2].index[0],
            Some(run) => proof.runs[run / 2].cells.as_mut().expect("it has one"),
        }
    }
}
