//! The archive: object storage that keeps the journal of each process, so that a lost disk loses nothing.
//!
//! [`Objects`] is the client: create if absent, read, list, delete. [`probe`] checks before the first write of a start that the
//! storage keeps the one guarantee that [`crate::shipping`] rests on. [`epochs`] claims a writer's epoch. [`journal`] reads and
//! writes segments, and [`walk`] walks along those that count, from a link of [`links`] where the newest ones suffice; [`take_up`]
//! finds where the chain goes on behind damage. [`listing`] finds numbered objects without a list of all. [`kept`] reads and writes what is kept beside the journal;
//! [`crate::shipping::object`] has its keys.
//!
//! | key | what |
//! |---|---|
//! | `CLUSTER/PROCESS/epochs/EPOCH` | who has claimed the epoch |
//! | `CLUSTER/PROCESS/journal/INDEX` | a segment of the journal |
//! | `CLUSTER/PROCESS/links/INDEX-TURN` | a segment that counts, for every thousand or so: a walk may begin there |
//! | `CLUSTER/PROCESS/gaps/…` | where turns may be missing: the process was lost, or an older copy of its store went on |
//! | `CLUSTER/PROCESS/rebuilt` | what was booked when the store was made again from its peers |
//! | `CLUSTER/PROCESS/probe/exclusive` | an object that is created once, and stays |
//! | `CLUSTER/PROCESS/boundary/INDEX` | the last segment before the kept ones; the greatest index is valid |
//!
//! Numbers in keys have leading zeros, so that the order of keys is the order of numbers.

mod address;
mod attempts;
mod diagnosis;
mod environment;
pub mod epochs;
mod error;
mod fence;
pub mod gaps;
mod in_time;
pub mod journal;
pub mod kept;
pub mod links;
pub mod listing;
mod object_part;
mod objects;
pub mod probe;
mod read_ahead;
pub mod rebuilt;
mod remembered;
mod root;
mod sealed_json;
mod start_reader;
mod stored_link;
mod taking_up;
mod time_limits;
mod unchanging;
pub mod walk;
#[cfg(test)]
pub(crate) mod watched;

pub use error::ArchiveError;
pub use fence::{Fenced, NotFenced, ask, fence};
pub use objects::{Creation, Kept, Objects};
pub use read_ahead::{HEADS_AHEAD, ReadAhead};
pub use start_reader::StartReader;
pub use taking_up::take_up;

// Whether a name is a number, as the names of objects are that this program numbers.
fn is_number(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|one| one.is_ascii_digit())
}
