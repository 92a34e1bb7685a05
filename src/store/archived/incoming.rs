//! What comes back from the archive into a store that is being made. Everything is compared with its hash or decoded before it
//! is stored; what is refused leaves nothing.

use super::{Archived, ChunkGroup, groups_of_part};
use crate::history::part::Run;
use crate::process::clock::Hlc;
use crate::process::ids::{Lsn, ProcessId, SnapshotId};
use crate::store::Store;
use crate::store::chunks::batch::ChunkBatch;
use crate::store::chunks::salting;
use crate::store::engine::schema;
use crate::store::engine::schema::{CHUNK_SECRET, PARTS_FROM, SALTED_FROM, STATES_FROM};
use crate::store::error::StoreError;
use crate::store::history::{Published, decode};
use crate::store::journal::{Horizon, JournalHead};
use crate::store::states;
use crate::store::stored::codec::{addressed_chunk, decode_state, read_part};
use crate::store::stored::frame::{Damage, Kind};

/// What a store needs to make the same chunks again as the one before it. No `Debug`: it holds a secret.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Salts {
    /// The secret from which salts are derived.
    pub secret: [u8; 32],
    /// The cut from which states are salted; `None` if none is yet.
    pub from: Option<u64>,
}

impl Salts {
    /// Reads those of a store.
    pub(in crate::store) fn read(meta: &sled::Tree) -> Result<Self, StoreError> {
        let from = schema::get(meta, SALTED_FROM, Kind::Number)?;
        let secret = salting::read_secret(meta)?;
        Ok(Self { secret, from })
    }

    /// Gives them to a new store.
    pub(in crate::store) fn write(self, meta: &sled::Tree) -> Result<(), StoreError> {
        schema::put(meta, CHUNK_SECRET, Kind::Secret, &self.secret)?;
        match self.from {
            Some(from) => schema::put_numbers(meta, [(SALTED_FROM, from)]),
            None => schema::remove_all(meta, SALTED_FROM),
        }
    }
}

/// What became of something from the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arrived {
    /// It is stored.
    Stored,
    /// It is not what its key says, or contradicts the journal; the reason.
    Refused(String),
    /// It was made later than what is wanted.
    Later,
    /// Another one is stored in its place, and stays.
    Second,
}

/// A published revision from the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incoming {
    /// Its content and root.
    pub published: Published,
    /// The chunks of each part that are not stored here.
    pub lacking: Vec<(ProcessId, Vec<ChunkGroup>)>,
}

impl Store {
    /// What a store needs to make the same chunks again as this one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn salts(&self) -> Result<Salts, StoreError> {
        Salts::read(&self.meta)
    }
}

impl Archived<'_> {
    /// Stores chunks as another store had them, each under its own hash.
    ///
    /// # Errors
    /// [`StoreError::Damaged`]: one of them is none.
    pub fn put_chunks(self, stored: Vec<Vec<u8>>) -> Result<(), StoreError> {
        let mut batch = ChunkBatch::new(&self.store.chunks);
        for stored in stored {
            let damaged = |damage| StoreError::damaged("a chunk", damage);
            let (framed, hash) = addressed_chunk(stored).map_err(damaged)?;
            batch.adopt(&hash, framed)?;
        }
        batch.finish()
    }

    /// Those of these groups that are not stored completely.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn lacking(self, groups: Vec<ChunkGroup>) -> Result<Vec<ChunkGroup>, StoreError> {
        let mut lacking = Vec::new();
        for group in groups {
            if !self.holds(&group)? {
                lacking.push(group);
            }
        }
        Ok(lacking)
    }

    fn holds(self, group: &ChunkGroup) -> Result<bool, StoreError> {
        match group {
            ChunkGroup::Run(index) => {
                let run = Run {
                    index: index.clone(),
                    ..Run::default()
                };
                match self.store.chunks.missing(&run) {
                    Ok(missing) => Ok(missing.is_empty()),
                    Err(StoreError::Damaged { .. }) => Ok(false),
                    Err(error) => Err(error),
                }
            }
            ChunkGroup::Messages(chunks) => {
                for hash in chunks {
                    if !self.store.chunks.holds(hash)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
        }
    }

    /// Stores the state at a cut, whose chunks are here. It counts from the next recovery on.
    ///
    /// # Errors
    /// [`StoreError`]: the store cannot be written.
    pub fn put_state(self, cut: Lsn, stored: &[u8]) -> Result<Arrived, StoreError> {
        let state = match decode_state(stored.to_vec()) {
            Ok(state) => state,
            Err(damage) => return Ok(Arrived::Refused(damage.to_string())),
        };
        if state.recorded.position != cut || state.registers.position != cut {
            let found = state.recorded.position;
            return Ok(Arrived::Refused(format!("it is the state at {found}")));
        }
        if cut.next() >= self.store.journal.first() && cut <= self.store.journal.position() {
            let journal = self.store.journal.hash_up_to(cut)?;
            if journal != state.recorded.journal {
                let reason = "the journal has another hash at its position";
                return Ok(Arrived::Refused(reason.to_owned()));
            }
        }
        self.store.states.put_stored(cut, stored)?;
        Ok(Arrived::Stored)
    }

    /// Lets an empty journal begin behind a stored state, as retention leaves one
    /// ([decision 0017](../../../docs/decisions/0017-trimmed-stores-begin-at-a-state.md)). The next turn must follow it.
    ///
    /// # Errors
    /// [`StoreError`]: there is no whole state at the cut.
    pub fn begin_at(self, cut: Lsn) -> Result<(), StoreError> {
        let state = self.store.states.get(cut)?;
        let state = state.ok_or_else(|| {
            states::damaged(cut, Damage::Contradiction("it is missing".to_owned()))
        })?;
        let horizon = Horizon::behind(&state);
        horizon.write(&self.store.meta)?;
        let head = JournalHead {
            position: cut,
            hash: state.recorded.journal,
        };
        self.store.journal.begin_behind(head, horizon);
        self.store.account_index.begin_behind(cut);
        Ok(())
    }

    /// Notes that states before this one may be lost, so that none is missed.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn note_states_begin(self, cut: Lsn) -> Result<(), StoreError> {
        schema::put_numbers(&self.store.meta, [(STATES_FROM, cut.0)])
    }

    /// Notes that parts that were stored up to the newest turn may be missing: the archive may lack them.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn note_parts_may_be_missing(self) -> Result<(), StoreError> {
        let end = self.store.journal.position();
        schema::put_numbers(&self.store.meta, [(PARTS_FROM, end.next().0)])
    }

    /// Stores the own part of a snapshot, whose chunks are here. `until`: only if it was finished by then.
    ///
    /// # Errors
    /// [`StoreError`]: the store cannot be written.
    pub fn put_part(self, stored: &[u8], until: Option<Lsn>) -> Result<Arrived, StoreError> {
        let refused = |reason: &str| Ok(Arrived::Refused(reason.to_owned()));
        let part = match read_part(stored) {
            Ok(part) => part,
            Err(damage) => return Ok(Arrived::Refused(damage.to_string())),
        };
        if part.process != self.store.history.me {
            return refused("it is the part of another process");
        }
        if until.is_some_and(|until| !part.was_finished_by(until)) {
            return Ok(Arrived::Later);
        }
        if self.store.journal.contradicts(&part.state) {
            return refused("the journal has another hash at its position");
        }
        self.store.history.put_part(&part)?;
        Ok(Arrived::Stored)
    }

    /// Reads a revision, without a look at its chunks.
    ///
    /// # Errors
    /// [`StoreError::Damaged`]: it is none.
    pub fn published(self, stored: &[u8]) -> Result<Published, StoreError> {
        decode(stored).map_err(|damage| StoreError::damaged("a published revision", damage))
    }

    /// Notes snapshots that are left out, with their start, as deleted. It is durable after [`Store::sync_journal`].
    ///
    /// # Errors
    /// [`StoreError`]: the store cannot be written.
    pub fn note_deleted(self, snapshots: Vec<(SnapshotId, Hlc)>) -> Result<(), StoreError> {
        self.store.retention().note_deleted(snapshots)
    }

    /// Reads a revision.
    ///
    /// # Errors
    /// [`StoreError::Damaged`]: it is none. Others: the store cannot be read.
    pub fn incoming(self, stored: &[u8]) -> Result<Incoming, StoreError> {
        let published = self.published(stored)?;
        let mut lacking = Vec::new();
        for part in published.state.parts.values() {
            let groups = self.lacking(groups_of_part(part))?;
            lacking.push((part.process.clone(), groups));
        }
        lacking.retain(|(_, groups)| !groups.is_empty());
        Ok(Incoming { published, lacking })
    }

    /// Adds a published revision, whose chunks are here, to the history. It is durable after [`Store::sync_journal`].
    ///
    /// # Errors
    /// [`StoreError`]: the store cannot be written.
    pub fn put_revision(self, stored: &[u8]) -> Result<Arrived, StoreError> {
        let state = match decode(stored) {
            Ok(published) => published.state,
            Err(damage) => return Ok(Arrived::Refused(damage.to_string())),
        };
        // The archive may have lost the part itself, or have it as it was made again.
        let own = state.parts.get(&self.store.history.me);
        let is_own = own.is_some_and(|part| !self.store.journal.contradicts(&part.state));
        match self.store.history.adopt(&state, stored, is_own) {
            Ok(()) => {
                self.store.history.note(&state);
                Ok(Arrived::Stored)
            }
            Err(StoreError::OtherRevision { .. }) => Ok(Arrived::Second),
            Err(error) => Err(error),
        }
    }

    /// The instant of the newest turn.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn ends_at(self) -> Result<Hlc, StoreError> {
        match self.store.journal.position() {
            end if end >= self.store.journal.first() => self.store.journal.time(end),
            _ => Ok(self.store.journal.horizon().since),
        }
    }
}
