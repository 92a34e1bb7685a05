//! Segments in the store: a head and its buckets, written in one batch.

use super::{OpenSegment, Segment, Touches};
use crate::process::ids::Lsn;
use crate::store::engine::schema;
use crate::store::engine::schema::{position_key, stretch_key, stretch_of};
use crate::store::error::StoreError;
use crate::store::stored::frame;
use crate::store::stored::frame::{Damage, Kind};
use crate::store::stored::v1::Frozen;
use crate::store::stored::v1::stretch::{StretchV1, TouchesV1};

/// The buckets of a segment. A lookup of one account reads one bucket of up to 40 KB.
pub(in crate::store) const BUCKETS: u8 = 16;

/// The bucket of a key, from 1.
pub(in crate::store) fn bucket_of(key: u32) -> u8 {
    let [.., highest] = (key >> 28).to_be_bytes();
    highest + 1
}

/// The stored segments.
pub(in crate::store) struct Segments {
    tree: sled::Tree,
}

impl Segments {
    pub(in crate::store) fn new(tree: sled::Tree) -> Self {
        Self { tree }
    }

    /// The newest segment that ends before a position, as its last turn and its head; the head may be damaged.
    #[expect(
        clippy::type_complexity,
        reason = "damage of one stretch is a value, failure of the engine an error"
    )]
    pub(super) fn newest_before(
        &self,
        end: Option<Lsn>,
    ) -> Result<Option<(Lsn, Result<Segment, StoreError>)>, StoreError> {
        let newest = match end {
            Some(end) => self.tree.get_lt(position_key(end))?,
            None => self.tree.last()?,
        };
        let last = newest.and_then(|(key, _)| stretch_of(frame::split_key(&key)?.0));
        let Some((last, _)) = last else {
            return Ok(None);
        };
        let head = match self.head(last) {
            Err(error) if error.is_fatal() => return Err(error),
            head => head,
        };
        Ok(Some((last, head)))
    }

    /// The head of the segment that ends at a position.
    pub(in crate::store) fn head(&self, last: Lsn) -> Result<Segment, StoreError> {
        let key = stretch_key(last, 0);
        let head = schema::get::<StretchV1>(&self.tree, &key, Kind::Stretch)?;
        head.map(Frozen::thaw)
            .ok_or_else(|| missing(Kind::Stretch, &key))
    }

    /// A bucket of the segment that ends at a position.
    pub(in crate::store) fn bucket(&self, last: Lsn, bucket: u8) -> Result<Touches, StoreError> {
        let key = stretch_key(last, bucket);
        let touches = schema::get::<TouchesV1>(&self.tree, &key, Kind::Touches)?;
        touches
            .map(Frozen::thaw)
            .ok_or_else(|| missing(Kind::Touches, &key))
    }

    /// Writes a segment atomically.
    pub(super) fn write(&self, draft: &OpenSegment) -> Result<(), StoreError> {
        let last = draft.last();
        let (head, buckets) = stored_form(draft);
        let head = frame::encode(&StretchV1::freeze(&head));
        let head = frame::wrap(Kind::Stretch, &head);
        let mut values = vec![(stretch_key(last, 0), head)];
        for (number, touches) in (1..).zip(buckets) {
            let bucket = frame::encode(&TouchesV1::freeze(&touches));
            let bucket = frame::wrap(Kind::Touches, &bucket);
            values.push((stretch_key(last, number), bucket));
        }
        frame::put_all(&self.tree, &values)?;
        Ok(())
    }

    /// Removes all values of a segment.
    pub(super) fn remove(&self, last: Lsn) -> Result<(), StoreError> {
        let mut batch = sled::Batch::default();
        for key in self.tree.scan_prefix(position_key(last)).keys() {
            batch.remove(key?);
        }
        self.tree.apply_batch(batch)?;
        Ok(())
    }
}

/// The head of a segment and its buckets.
pub(in crate::store) fn stored_form(draft: &OpenSegment) -> (Segment, Vec<Touches>) {
    let first = draft.first();
    let head = Segment {
        first,
        touches: draft.touches().len() as u64,
        journal: draft.journal(),
    };
    let mut buckets = vec![Touches::default(); usize::from(BUCKETS)];
    for (key, position) in draft.touches() {
        let offset = u32::try_from(position.0 - first.0);
        let offset = offset.expect("a stretch is closed after far fewer turns");
        let bucket = &mut buckets[usize::from(bucket_of(*key)) - 1];
        bucket.pairs.push((*key, offset));
    }
    for bucket in &mut buckets {
        // The keys of each turn are already sorted; the stable sort is fast on such runs.
        bucket.pairs.sort();
    }
    (head, buckets)
}

fn missing(kind: Kind, key: &[u8]) -> StoreError {
    let problem = Damage::Contradiction("it is missing".to_owned());
    StoreError::damaged(schema::name(kind, key), problem)
}
