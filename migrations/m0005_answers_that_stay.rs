//! Format 5: the history stays small however long it gets; a journal may record that remembered answers are forgotten
//! (`AnswersForgotten`), and contains no refusals any more.
//!
//! Stored data does not change. Old revisions are packed into blocks in the background, in two new trees; until then
//! they are read where they are. Older programs would not find packed revisions and refuse the store by its number.
//!
//! A process can be missing because its channels are stopped, a reason that older programs cannot decode.

use super::{Migration, StoreError, Trees};

pub(super) const MIGRATION: Migration = Migration {
    to: 5,
    name: "answers that stay",
    run,
    retired: None,
};

fn run(_: &sled::Db, _: &Trees) -> Result<(), StoreError> {
    Ok(())
}
