//! Checks the account index against the journal: rebuilds it bucket by bucket during the pass over the journal.

use std::collections::{BTreeMap, BTreeSet};

use super::Examiner;
use super::opened_copy::TreeWalk;
use crate::process::ids::Lsn;
use crate::store::account_index::{BUCKETS, OpenSegment, Segment, Segments, keys_of, stored_form};
use crate::store::engine::schema;
use crate::store::engine::schema::{stretch_key, stretch_of};
use crate::store::error::StoreError;
use crate::store::stored::codec::Entry;
use crate::store::stored::frame;
use crate::store::stored::frame::{Damage, Kind};
use crate::store::stored::v1::Frozen;
use crate::store::stored::v1::stretch::{StretchV1, TouchesV1};

/// The stored segments, and the one being rebuilt.
#[derive(Default)]
pub(super) struct Indexed {
    /// Heads by the last turn.
    heads: BTreeMap<Lsn, Segment>,
    draft: Option<OpenSegment>,
}

impl Indexed {
    /// Reads every value of the index of a journal that begins with the turn `first`.
    ///
    /// # Errors
    /// [`StoreError::Engine`].
    pub(super) fn read(examiner: &mut Examiner, first: Lsn) -> Result<Self, StoreError> {
        let mut heads = BTreeMap::new();
        let (mut buckets, mut damaged) = (Vec::new(), BTreeSet::new());
        let mut walk = TreeWalk::new(&examiner.opened.trees.stretches);
        while let Some(stored) = walk.next()? {
            let place = stretch_of(&stored.key).filter(|(_, value)| *value <= BUCKETS);
            let what = schema::name(Kind::Stretch, &stored.key);
            let Some((last, value)) = place else {
                examiner.findings.add(what, "its key is unknown");
                continue;
            };
            let read = stored.framed.and_then(|framed| read(value, &framed));
            let read = read.map_err(|damage| StoreError::damaged(what.clone(), damage));
            match examiner.findings.take(read) {
                Some(Some(head)) => _ = heads.insert(last, head),
                Some(None) => buckets.push((what, last)),
                None => _ = damaged.insert(last),
            }
        }
        for (what, last) in buckets {
            if !heads.contains_key(&last) && !damaged.contains(&last) {
                examiner.findings.add(what, "it has no head");
            }
        }
        // Segments that end before the first turn are about to be deleted; those that begin before it cannot be
        // rebuilt.
        heads.retain(|_, head| head.first >= first);
        Ok(Self { heads, draft: None })
    }

    /// Adds the next readable entry, and compares the segment that ends with it.
    pub(super) fn take(&mut self, examiner: &mut Examiner, entry: &Entry) {
        let position = entry.turn.position;
        let Some((last, head)) = self.heads.first_key_value() else {
            return;
        };
        let (last, head) = (*last, *head);
        if position == head.first {
            self.draft = Some(OpenSegment::new(position));
        }
        // A segment with an unreadable entry is not compared.
        let next = self.draft.as_ref().map(|draft| draft.last().next());
        if next == Some(position) {
            let draft = self.draft.as_mut().expect("it has a newest turn");
            draft.take(position, entry.hash, &keys_of(&entry.turn));
        }
        if position < last {
            return;
        }
        self.heads.pop_first();
        let whole = self.draft.take().filter(|draft| draft.last() == last);
        if let Some(draft) = whole {
            compare(examiner, &head, &draft);
        }
    }

    /// Reports segments beyond the end of a journal that was read completely.
    pub(super) fn end(self, examiner: &mut Examiner, end: Lsn) {
        for last in self.heads.keys().filter(|last| **last > end) {
            let what = schema::name(Kind::Stretch, &stretch_key(*last, 0));
            let problem = format!("the journal ends at {end}");
            examiner.findings.add(what, problem);
        }
    }
}

// Decodes the head, or checks that a bucket can be decoded.
fn read(value: u8, framed: &[u8]) -> Result<Option<Segment>, Damage> {
    if value > 0 {
        let bytes = frame::unwrap(Kind::Touches, framed)?;
        frame::decode::<TouchesV1>(bytes)?;
        return Ok(None);
    }
    let bytes = frame::unwrap(Kind::Stretch, framed)?;
    Ok(Some(frame::decode::<StretchV1>(bytes)?.thaw()))
}

fn compare(examiner: &mut Examiner, found: &Segment, draft: &OpenSegment) {
    let last = draft.last();
    let (head, buckets) = stored_form(draft);
    if *found != head {
        let what = schema::name(Kind::Stretch, &stretch_key(last, 0));
        examiner.findings.add(what, "it differs from the journal");
    }
    let shelf = Segments::new(examiner.opened.trees.stretches.clone());
    for (number, expected) in (1..).zip(buckets) {
        let what = schema::name(Kind::Touches, &stretch_key(last, number));
        match shelf.bucket(last, number) {
            Ok(found) if found != expected => {
                examiner.findings.add(what, "it differs from the journal");
            }
            // A damaged head or bucket was reported when all were read; a missing one is reported here.
            Err(StoreError::Damaged {
                damage: Damage::Contradiction(problem),
                ..
            }) => examiner.findings.add(what, problem),
            _ => {}
        }
    }
    examiner.report.stretches += 1;
}
