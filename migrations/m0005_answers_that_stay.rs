//! Format 5: the history stays small, however long it gets; a journal may say that remembered answers are forgotten
//! (`AnswersForgotten`), and holds no refusals any more.
//!
//! Nothing that is stored changes. Old revisions are packed into blocks in the background, in two trees of their own; those
//! of before are read where they lie until then. A program before this one would not find what is packed, and refuses the
//! store by its number.
//!
//! A process can be missing because its channels are stopped: a reason that a program before this one cannot read.

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
