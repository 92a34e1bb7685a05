//! The durable watermark: a file (`witness`) next to sled's log with the journal position up to which commits were
//! acknowledged.
//!
//! sled takes a damaged record for the torn end of its log and drops everything after it: each of 150 single bit flips
//! lost turns, and none was reported. The watermark is written after each commit and never synced. It survives a kill
//! of the process; after a power failure it may be behind the journal, but never ahead of it.
//!
//! It is used twice. Before sled opens the store: how far the log must be readable, since sled overwrites with zeros
//! what it takes for torn, and a refused store must stay unchanged. Afterwards: whether the journal has everything
//! acknowledged.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::files::{self, LOG, WITNESS};
use super::log_scan::{self, LogEnd};
use crate::process::ids::{Hash, Lsn};
use crate::store::error::StoreError;
use crate::store::journal::{Journal, JournalHead};
use crate::store::stored::frame::Damage;

/// Position, hash and their checksum.
const HEAD_BYTES: usize = 8 + 32 + 4;
/// After the head, which is all that older versions write and read: the end of the log and its checksum.
const BYTES: usize = HEAD_BYTES + 8 + 4;

/// The open watermark file.
pub(in crate::store) struct DurableWatermark {
    path: PathBuf,
    file: File,
}

impl DurableWatermark {
    pub(in crate::store) fn open(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join(WITNESS);
        let mut options = files::options();
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

    /// Records that everything up to `head` is acknowledged and durable in the log before `log_end`.
    pub(in crate::store) fn note(&self, head: JournalHead, log_end: u64) -> Result<(), StoreError> {
        let written = self.file.write_all_at(&encode(head, log_end), 0);
        written.map_err(|source| StoreError::Io {
            what: "cannot write",
            path: self.path.clone(),
            source,
        })
    }
}

/// A store to be checked: its files, possibly a copy, and the directory named in errors.
#[derive(Debug, Clone, Copy)]
pub(in crate::store) struct StoreFiles<'a> {
    pub(in crate::store) files: &'a Path,
    pub(in crate::store) named: &'a Path,
}

impl<'a> StoreFiles<'a> {
    pub(in crate::store) fn itself(dir: &'a Path) -> Self {
        let (files, named) = (dir, dir);
        Self { files, named }
    }

    /// Checks that sled's log is readable up to the acknowledged end. Call it before sled opens the log; it writes
    /// nothing.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] with the offset in the file.
    pub(in crate::store) fn check_log(self) -> Result<(), StoreError> {
        let (head, log_end) = self.known()?;
        let Some(acknowledged) = log_end else {
            return Ok(());
        };
        let LogEnd { end, offset } = log_scan::find(self.files)?;
        if end >= acknowledged {
            return Ok(());
        }
        let missing = acknowledged - end;
        let place = match offset {
            Some(offset) => format!("{LOG} cannot be read from byte {offset} on"),
            None => format!("the newest segment of {LOG} cannot be found"),
        };
        let upto = head.map_or_else(String::new, |head| {
            format!(", up to journal entry {}", head.position)
        });
        let problem = format!("{place}, where {missing} bytes were acknowledged{upto}");
        let untouched = "nothing in the store was changed";
        Err(self.damaged("log", &format!("{problem}; {untouched}")))
    }

    /// Checks that the journal has everything acknowledged. Returns whether the watermark exists.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] with both positions.
    pub(in crate::store) fn check(self, journal: &Journal) -> Result<bool, StoreError> {
        let (Some(known), _) = self.known()? else {
            return Ok(false);
        };
        let end = journal.head().position;
        if known.position < journal.first() && end >= journal.first() {
            // It fell behind in a power failure, and its entry has been deleted since.
            return Ok(true);
        }
        let problem = if end < known.position {
            let acknowledged = known.position;
            format!("it ends at entry {end}, and entry {acknowledged} was acknowledged")
        } else if journal.hash_at(known.position)? != known.hash {
            format!("entry {} differs from the acknowledged one", known.position)
        } else {
            return Ok(true);
        };
        Err(self.damaged("journal", &problem))
    }

    // A missing or torn file gives no information.
    fn known(self) -> Result<(Option<JournalHead>, Option<u64>), StoreError> {
        let path = self.files.join(WITNESS);
        match std::fs::read(&path) {
            Ok(bytes) => Ok(decode(&bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok((None, None)),
            // An existing but unreadable file may know of more than the log has.
            Err(source) => Err(StoreError::Io {
                what: "cannot read",
                path,
                source,
            }),
        }
    }

    fn damaged(self, what: &str, problem: &str) -> StoreError {
        let witness = self.named.join(WITNESS);
        let advice = format!(
            "copy the directory first, then restore a backup, or remove {} to start without this check",
            witness.display()
        );
        StoreError::damaged(what, Damage::Contradiction(format!("{problem}; {advice}")))
    }
}

fn encode(head: JournalHead, log_end: u64) -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    bytes[..8].copy_from_slice(&head.position.0.to_be_bytes());
    bytes[8..40].copy_from_slice(&head.hash.0);
    let checksum = crc32c::crc32c(&bytes[..40]);
    bytes[40..HEAD_BYTES].copy_from_slice(&checksum.to_be_bytes());
    bytes[HEAD_BYTES..52].copy_from_slice(&log_end.to_be_bytes());
    let checksum = crc32c::crc32c(&bytes[HEAD_BYTES..52]);
    bytes[52..].copy_from_slice(&checksum.to_be_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> (Option<JournalHead>, Option<u64>) {
    let vouched = |from: usize, to: usize| {
        let covered = bytes.get(from..to)?;
        let checksum = bytes.get(to..to + 4)?;
        (crc32c::crc32c(covered).to_be_bytes() == *checksum).then_some(covered)
    };
    let head = vouched(0, 40).and_then(|head| {
        let (position, rest) = head.split_first_chunk::<8>()?;
        let (hash, _) = rest.split_first_chunk::<32>()?;
        Some(JournalHead {
            position: Lsn(u64::from_be_bytes(*position)),
            hash: Hash(*hash),
        })
    });
    let log_end =
        vouched(HEAD_BYTES, 52).and_then(|end| Some(u64::from_be_bytes(*end.first_chunk::<8>()?)));
    (head, log_end)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Without this sled opens a store whose watermark would have shown that data is missing.
    #[test]
    fn a_witness_that_is_there_and_cannot_be_read_is_not_taken_for_none() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        assert!(
            StoreFiles::itself(dir.path()).check_log().is_ok(),
            "there is none"
        );
        std::fs::create_dir(dir.path().join(WITNESS)).expect("there is room");
        let refused = StoreFiles::itself(dir.path()).check_log();
        assert!(matches!(refused, Err(StoreError::Io { .. })), "{refused:?}");
    }
}
