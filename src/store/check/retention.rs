//! Checks the data of retention: pins and deletion marks. A node reads all of it when it starts.

use super::Examiner;
use super::opened_copy::TreeWalk;
use crate::process::ids::SnapshotId;
use crate::store::engine::schema;
use crate::store::error::StoreError;
use crate::store::stored::frame::Kind;
use crate::store::stored::v7::read_kept;

/// Reads every mark of retention.
///
/// # Errors
/// [`StoreError::Engine`].
pub(super) fn check(examiner: &mut Examiner) -> Result<(), StoreError> {
    let mut walk = TreeWalk::new(&examiner.opened.trees.retention);
    while let Some(stored) = walk.next()? {
        let what = schema::name(Kind::Kept7, &stored.key);
        let name = stored.key.strip_suffix(&[0]).unwrap_or_default();
        let name = std::str::from_utf8(name).ok();
        if name.and_then(|name| SnapshotId::parse(name).ok()).is_none() {
            examiner
                .findings
                .add(&*what, "its key is not a snapshot id");
        }
        let kept = stored.framed.and_then(|framed| read_kept(&framed));
        if let Err(damage) = kept {
            examiner.findings.push(StoreError::damaged(what, damage));
        }
    }
    Ok(())
}
