//! What goes to the archive. A state, part or chunk that is deleted while it is read is simply gone: what needs it is deleted
//! with it, and whoever reads goes on with the next.

use std::collections::VecDeque;

use super::{Archived, ChunkGroup, groups_of_part, groups_of_runs};
use crate::history::part::{Chunk, Part};
use crate::process::clock::Hlc;
use crate::process::ids::{Hash, Lsn, SnapshotId};
use crate::store::chunks;
use crate::store::error::StoreError;
use crate::store::states;
use crate::store::stored::codec::{
    FramedChunk, StoredState, decode_chunk, decode_revision, decode_state, write_part,
};
use crate::store::stored::frame::Damage;

/// The snapshots with a part of this process.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OwnParts {
    /// Those whose part is stored by itself.
    pub lone: Vec<SnapshotId>,
    /// Those whose part is in a packed revision.
    pub packed: Vec<SnapshotId>,
    /// The number of arrivals in the history before the first revision that is not packed.
    pub packed_until: u64,
}

/// What is shipped: its stored form, and the chunks that it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// The clock by which it is kept: at the cut of a state, at the recording of a part, at the start of a snapshot.
    pub time: Hlc,
    /// The stored form.
    pub stored: Vec<u8>,
    /// The chunks.
    pub groups: Vec<ChunkGroup>,
    /// The root hash of a revision.
    pub root: Hash,
    /// The newest turn that a state or part was made from.
    pub turn: Lsn,
}

impl Outgoing {
    /// A recorded state in its stored form.
    #[must_use]
    pub fn of_state(state: &StoredState, stored: Vec<u8>) -> Self {
        Self {
            time: state.registers.time,
            stored,
            groups: groups_of_runs(&state.recorded.runs).collect(),
            root: Hash::default(),
            turn: state.recorded.position,
        }
    }

    /// The part of a process whose journal has turns up to `end`. A store that was put back may have the part from a peer and lack
    /// the turns of the closings: these are not waited for.
    #[must_use]
    pub fn of_part(part: &Part, end: Lsn) -> Self {
        Self {
            time: part.state.time,
            stored: write_part(part),
            groups: groups_of_part(part),
            root: Hash::default(),
            turn: part.newest_turn(end),
        }
    }

    /// A published revision in its stored form. Its chunks are shipped with the parts of the processes.
    ///
    /// # Errors
    /// [`Damage`].
    pub fn of_revision(stored: Vec<u8>) -> Result<Self, Damage> {
        let (state, root) = decode_revision(&stored)?;
        Ok(Self {
            time: state.initiated_at,
            stored,
            groups: Vec::new(),
            root,
            turn: Lsn(0),
        })
    }
}

/// Reads the chunks of a group, some at a time.
#[derive(Debug, Clone)]
pub struct GroupReader {
    left: VecDeque<Named>,
}

/// A chunk, and whether it names others.
#[derive(Debug, Clone, Copy)]
struct Named {
    hash: Hash,
    is_index: bool,
}

impl GroupReader {
    /// A reader before the first chunk.
    #[must_use]
    pub fn new(group: &ChunkGroup) -> Self {
        let (hashes, is_index) = match group {
            ChunkGroup::Run(index) => (index, true),
            ChunkGroup::Messages(chunks) => (chunks, false),
        };
        let named = |hash: &Hash| Named {
            hash: *hash,
            is_index,
        };
        Self {
            left: hashes.iter().map(named).collect(),
        }
    }

    /// Whether all chunks were read.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.left.is_empty()
    }

    /// The next chunks as they are `stored`, up to some bytes; at least one unless it is done. Each is compared with its hash.
    ///
    /// # Errors
    /// [`StoreError`]: one is missing or damaged.
    pub fn read(
        &mut self,
        bytes_max: usize,
        stored: impl Fn(&Hash) -> Result<Vec<u8>, StoreError>,
    ) -> Result<Vec<Vec<u8>>, StoreError> {
        let (mut read, mut bytes) = (Vec::new(), 0);
        while let Some(named) = self.left.pop_front() {
            let Named { hash, is_index } = named;
            let stored = stored(&hash)?;
            if bytes > 0 && bytes + stored.len() > bytes_max {
                self.left.push_front(named);
                break;
            }
            bytes += stored.len();
            let framed = chunks::unpack(&hash, stored.clone())?;
            if is_index {
                let Chunk::Index(entries) = decode_chunk(&hash, &framed)? else {
                    return Err(chunks::other_content(&hash));
                };
                for entry in entries.into_iter().rev() {
                    self.left.push_front(Named {
                        hash: entry.chunk,
                        is_index: false,
                    });
                }
            } else {
                let is = FramedChunk::of(&framed).and_then(|chunk| chunk.addressed(&hash));
                is.map_err(|damage| chunks::damaged(&hash, damage))?;
            }
            read.push(stored);
        }
        Ok(read)
    }
}

impl Archived<'_> {
    /// The cut of the first written state behind a cut.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn state_after(self, cut: Option<Lsn>) -> Result<Option<Lsn>, StoreError> {
        self.store.states.next_after(cut)
    }

    /// The cut of the newest written state.
    #[must_use]
    pub fn newest_state(self) -> Option<Lsn> {
        self.store.states.newest_cut()
    }

    /// The state at a cut, if it is still there.
    ///
    /// # Errors
    /// [`StoreError`]: it is damaged.
    pub fn state(self, cut: Lsn) -> Result<Option<Outgoing>, StoreError> {
        let Some(stored) = self.store.states.stored(cut)? else {
            return Ok(None);
        };
        let state = decode_state(stored.clone()).map_err(|damage| states::damaged(cut, damage))?;
        Ok(Some(Outgoing::of_state(&state, stored)))
    }

    /// The snapshots with a stored part of this process: by itself, or in a packed revision behind the first `packed` arrivals.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn own_parts(self, packed: u64) -> Result<OwnParts, StoreError> {
        // What is packed between these two is among the first.
        let lone = self.store.history.lone_parts()?;
        let (packed, packed_until) = self.store.history.packed_parts(packed);
        Ok(OwnParts {
            lone: lone.into_iter().collect(),
            packed,
            packed_until,
        })
    }

    /// The part of this process in a snapshot, if it is finished and still there.
    ///
    /// # Errors
    /// [`StoreError`]: it is damaged.
    pub fn part(self, snapshot: &SnapshotId) -> Result<Option<Outgoing>, StoreError> {
        let part = self.store.history.part(snapshot)?;
        let end = self.store.journal.position();
        Ok(part.as_ref().map(|part| Outgoing::of_part(part, end)))
    }

    /// A published revision, if it is still there. Its chunks are shipped with the parts of the processes.
    ///
    /// # Errors
    /// [`StoreError`]: it is damaged.
    pub fn revision(
        self,
        snapshot: &SnapshotId,
        revision: u32,
    ) -> Result<Option<Outgoing>, StoreError> {
        let stored = self.store.history.stored_at(snapshot, revision)?;
        Ok(stored.and_then(|stored| Outgoing::of_revision(stored).ok()))
    }

    /// The snapshots that are kept whatever their age: the pinned ones, and the newest complete one.
    #[must_use]
    pub fn kept_snapshots(self) -> Vec<SnapshotId> {
        let pinned = self.store.retention().pinned();
        pinned
            .into_iter()
            .chain(self.store.history.newest_complete())
            .collect()
    }

    /// The snapshots of the history.
    #[must_use]
    pub fn snapshots(self) -> Vec<SnapshotId> {
        self.store.history.snapshots()
    }

    /// The next chunks of a group as they are stored, up to some bytes; at least one unless the reader is done. Each is compared
    /// with its hash.
    ///
    /// # Errors
    /// [`StoreError`]: one is missing or damaged.
    pub fn read(
        self,
        reader: &mut GroupReader,
        bytes_max: usize,
    ) -> Result<Vec<Vec<u8>>, StoreError> {
        reader.read(bytes_max, |hash| self.store.chunks.stored(hash))
    }
}
