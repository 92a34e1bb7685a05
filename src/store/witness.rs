//! The witness: a file beside sled's log that says up to where the journal was acknowledged.
//!
//! sled takes a damaged record for the torn end of its log and forgets all that follows: of 150 single flipped bits
//! each took turns back, and none was reported. The witness is written after each commit and never synced, so it
//! outlives a kill; after a power cut it may be behind the journal, but never before it.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::error::StoreError;
use super::frame::Damage;
use super::journal::{Head, Journal};
use crate::process::ids::{Hash, Lsn};

pub(super) const NAME: &str = "witness";
/// Position, hash, checksum of both.
const BYTES: usize = 8 + 32 + 4;

/// What vouches for the end of the journal.
pub(super) struct Witness {
    path: PathBuf,
    file: File,
}

impl Witness {
    pub(super) fn open(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join(NAME);
        let mut options = File::options();
        options.create(true).truncate(false).read(true).write(true);
        match options.open(&path) {
            Ok(file) => Ok(Self { path, file }),
            Err(source) => Err(StoreError::Io {
                what: "cannot open",
                path,
                source,
            }),
        }
    }

    /// Takes down that everything up to here is acknowledged.
    pub(super) fn note(&self, head: Head) -> Result<(), StoreError> {
        let written = self.file.write_all_at(&encode(head), 0);
        written.map_err(|source| StoreError::Io {
            what: "cannot write",
            path: self.path.clone(),
            source,
        })
    }

    /// Whether the journal still holds what was acknowledged.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] with both figures.
    pub(super) fn check(&self, journal: &Journal) -> Result<(), StoreError> {
        let mut bytes = [0; BYTES];
        // One that is new, or torn by a power cut, says nothing.
        let known = match self.file.read_exact_at(&mut bytes, 0) {
            Ok(()) => decode(&bytes),
            Err(_) => None,
        };
        let Some(known) = known else {
            return Ok(());
        };
        let end = journal.head().position;
        if known.position < journal.first() && end >= journal.first() {
            // It fell behind in a power cut, and what it knows of is not kept any more.
            return Ok(());
        }
        let problem = if end < known.position {
            let acknowledged = known.position;
            format!("it ends at entry {end}, and entry {acknowledged} was acknowledged")
        } else if journal.hash_at(known.position)? != known.hash {
            format!("entry {} is not the acknowledged one", known.position)
        } else {
            return Ok(());
        };
        let advice = format!("remove {} to do without", self.path.display());
        let damage = Damage::Contradiction(format!("{problem}; put a copy back, or {advice}"));
        Err(StoreError::damaged("journal", damage))
    }
}

fn encode(head: Head) -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    bytes[..8].copy_from_slice(&head.position.0.to_be_bytes());
    bytes[8..40].copy_from_slice(&head.hash.0);
    let checksum = crc32c::crc32c(&bytes[..40]);
    bytes[40..].copy_from_slice(&checksum.to_be_bytes());
    bytes
}

fn decode(bytes: &[u8; BYTES]) -> Option<Head> {
    let (position, rest) = bytes.split_first_chunk::<8>()?;
    let (hash, _) = rest.split_first_chunk::<32>()?;
    let head = Head {
        position: Lsn(u64::from_be_bytes(*position)),
        hash: Hash(*hash),
    };
    (encode(head) == *bytes).then_some(head)
}
