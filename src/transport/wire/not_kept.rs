//! A deleted snapshot in an error: a status that says that the part of the process cannot come any more.
//!
//! The code is that of a part that is not there yet, so that older versions retry as they always did.

use tonic::Status;
use tonic::metadata::MetadataValue;

/// The metadata entry that says it.
const NOT_KEPT: &str = "snapledger-not-kept";

/// The status for the part of a snapshot that was deleted.
#[must_use]
pub fn not_kept(sentence: &str) -> Status {
    let mut status = Status::unavailable(sentence);
    status
        .metadata_mut()
        .insert(NOT_KEPT, MetadataValue::from_static("deleted"));
    status
}

/// Whether the status says that the snapshot was deleted.
#[must_use]
pub fn is_not_kept(status: &Status) -> bool {
    status.metadata().contains_key(NOT_KEPT)
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    // Without this, an assembler would ask for a deleted part forever, or an older one would report a fault.
    #[test]
    fn a_deleted_snapshot_is_told_from_one_that_is_not_there_yet() {
        let deleted = not_kept("it was deleted");
        assert!(is_not_kept(&deleted));
        let later = Status::unavailable("it is stopping");
        assert!(!is_not_kept(&later));
        assert_eq!(
            (deleted.code(), later.code()),
            (Code::Unavailable, Code::Unavailable)
        );
    }
}
