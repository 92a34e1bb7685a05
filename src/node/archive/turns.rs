//! The turns of a segment, read from the journal.

use crate::shipping::JournalPoint;
use crate::shipping::segment::Turns;
use crate::store::{Store, StoreError};

/// The durable turns behind a point, up to some bytes; at least one.
pub(super) fn read_turns(
    store: &Store,
    before: JournalPoint,
    bytes_max: usize,
) -> Result<Turns, StoreError> {
    let mut body = Vec::new();
    let mut after = before;
    for turn in store.journal().stored_turns(before.position.next()) {
        let turn = turn?;
        if !body.is_empty() && body.len() + turn.framed.len() > bytes_max {
            break;
        }
        Turns::push(&mut body, &turn.framed);
        after = JournalPoint {
            position: turn.position,
            hash: turn.hash,
        };
    }
    Ok(Turns {
        before,
        after,
        body: body.into(),
    })
}
