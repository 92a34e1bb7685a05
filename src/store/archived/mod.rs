//! What goes from a store to an archive beside the journal, and comes back: recorded states, own parts and revisions in their
//! stored form, and their chunks in groups. A group is what a run names, or the recorded messages of one channel: states and
//! parts share runs, and a group is shipped once. Beside it, which segment of the journal is archived (`shipped`), the last start that
//! has claimed the archive (`claimed`), and whether turns were taken from there (`behind`).

mod behind;
pub(in crate::store) mod claimed;
mod incoming;
mod link;
mod outgoing;
mod pins;
pub(in crate::store) mod shipped;

pub use claimed::OwnClaim;
pub use incoming::{Arrived, Incoming, Salts};
pub use link::ShippedLink;
pub use outgoing::{GroupReader, Outgoing, OwnParts};
pub use pins::{StoredPin, pin_of_stored};

use super::Store;
use super::stored::codec::{decode_state, read_part};
use super::stored::frame::Damage;
use crate::history::part::{Part, Run};
use crate::history::process_totals::ProcessTotals;
use crate::process::clock::Hlc;
use crate::process::ids::{Hash, Lsn};

/// The archivable content of a store.
#[derive(Clone, Copy)]
pub struct Archived<'a> {
    pub(super) store: &'a Store,
}

impl Store {
    /// What goes to an archive beside the journal, and comes back.
    #[must_use]
    pub fn archived(&self) -> Archived<'_> {
        Archived { store: self }
    }
}

/// Chunks that are shipped together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChunkGroup {
    /// Those of a run: its index chunks, and what they name.
    Run(Vec<Hash>),
    /// The recorded messages of a channel.
    Messages(Vec<Hash>),
}

impl ChunkGroup {
    /// What identifies it: it follows from the hashes of its chunks, and so from their contents.
    #[must_use]
    pub fn id(&self) -> Hash {
        let (kind, hashes) = match self {
            Self::Run(index) => (0, index),
            Self::Messages(chunks) => (1, chunks),
        };
        let mut hasher = blake3::Hasher::new();
        hasher.update(&[kind]);
        for hash in hashes {
            hasher.update(&hash.0);
        }
        Hash(*hasher.finalize().as_bytes())
    }
}

fn groups_of_runs(runs: &[Run]) -> impl Iterator<Item = ChunkGroup> + '_ {
    runs.iter().map(|run| ChunkGroup::Run(run.index.clone()))
}

fn groups_of_part(part: &Part) -> Vec<ChunkGroup> {
    let channels = part.channels.iter().map(|channel| &channel.chunks);
    let messages = channels.filter(|chunks| !chunks.is_empty());
    let messages = messages.map(|chunks| ChunkGroup::Messages(chunks.clone()));
    groups_of_runs(&part.state.runs).chain(messages).collect()
}

/// The groups of chunks that a stored state names.
///
/// # Errors
/// [`Damage`].
pub fn groups_of_stored_state(stored: &[u8]) -> Result<Vec<ChunkGroup>, Damage> {
    let state = decode_state(stored.to_vec())?;
    Ok(groups_of_runs(&state.recorded.runs).collect())
}

/// The totals of a process in a stored state; its store is unknown.
///
/// # Errors
/// [`Damage`].
pub fn totals_of_stored_state(stored: &[u8]) -> Result<ProcessTotals, Damage> {
    Ok(decode_state(stored.to_vec())?.totals())
}

/// What retention asks of a stored state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateNeeds {
    /// The newest cut behind which everything lies that is needed at the state, or at any later one: messages that were not
    /// acknowledged, and recordings that were not finished.
    pub from: Lsn,
    /// The clock of the turn that recorded it, the one behind its cut.
    pub recorded: Hlc,
}

/// What retention asks of a stored state.
///
/// # Errors
/// [`Damage`].
pub fn needs_of_stored_state(stored: &[u8]) -> Result<StateNeeds, Damage> {
    let state = decode_state(stored.to_vec())?;
    let (from, recorded) = (state.needed_from(), state.recorded.time);
    Ok(StateNeeds { from, recorded })
}

/// The groups of chunks that a stored part names.
///
/// # Errors
/// [`Damage`].
pub fn groups_of_stored_part(stored: &[u8]) -> Result<Vec<ChunkGroup>, Damage> {
    read_part(stored).map(|part| groups_of_part(&part))
}
