//! Between a store and the archive: [`outbound`] ships what is kept there beside the journal, out of a store that is an [`origin`];
//! [`retention`] deletes what is too old; [`rounds`] are what a process does of both again and again. [`past`] reads the past from there,
//! [`refill`] fills a new store with everything, [`rehearsal`] does so to find damage, [`memory`] is what a store remembers of its archive.

pub mod left;
pub mod memory;
pub mod origin;
pub mod outbound;
pub mod past;
mod pins;
pub mod refill;
pub mod rehearsal;
pub mod retention;
pub mod rounds;

use std::time::Duration;

use crate::archive::Objects;
use crate::shipping::object::{self, ObjectKey};
use crate::shipping::segment::Owner;
use crate::store;

const _: () = assert!(
    store::STORED_BYTES_MAX as u64 == object::STORED_BYTES_MAX,
    "what a store has is not refused in the archive"
);

/// The archive of one process.
#[derive(Debug, Clone)]
pub struct Source {
    cluster: Objects,
    process: Objects,
    owner: Owner,
}

impl Source {
    /// The archive of a process.
    #[must_use]
    pub fn new(archive: &Objects, owner: Owner) -> Self {
        let cluster = archive.below(&owner.cluster);
        let process = cluster.below(&owner.process);
        Self {
            cluster,
            process,
            owner,
        }
    }

    /// The objects of the process.
    #[must_use]
    pub fn process(&self) -> &Objects {
        &self.process
    }

    /// The objects of the cluster.
    #[must_use]
    pub fn cluster(&self) -> &Objects {
        &self.cluster
    }

    /// The same, with requests that are repeated for so long.
    #[must_use]
    pub fn patient(&self, patience: Duration) -> Self {
        Self {
            cluster: self.cluster.patient(patience),
            process: self.process.patient(patience),
            owner: self.owner.clone(),
        }
    }

    /// Whose archive it is.
    #[must_use]
    pub fn owner(&self) -> &Owner {
        &self.owner
    }

    fn folder_of<K: ObjectKey>(&self, _: &K) -> &Objects {
        match K::IS_OF_CLUSTER {
            true => &self.cluster,
            false => &self.process,
        }
    }
}
