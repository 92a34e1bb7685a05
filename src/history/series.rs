//! The course of a balance over time, in buckets of equal length: what a curve needs, whatever the number of operations.

/// The balance of an account within one stretch of time, minor units. All are `None` while the account does not exist, or its
/// balance is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bucket {
    /// The first instant, microseconds since the Unix epoch.
    pub from_us: u64,
    /// The instant behind the last one.
    pub to_us: u64,
    /// The balance when it begins.
    pub first: Option<i64>,
    /// The least balance in it.
    pub min: Option<i64>,
    /// The greatest balance in it.
    pub max: Option<i64>,
    /// The balance when it ends.
    pub last: Option<i64>,
    /// The number of operations in it.
    pub changes: u64,
}

/// Collects balances, oldest first.
#[derive(Debug)]
pub struct Buckets {
    from_us: u64,
    to_us: u64,
    count: u64,
    done: Vec<Bucket>,
    current: Bucket,
}

impl Buckets {
    /// Buckets from one instant up to another, `count` of them but none shorter than a microsecond. `before` is the balance before
    /// the first one.
    #[must_use]
    pub fn new(from_us: u64, to_us: u64, count: usize, before: Option<i64>) -> Self {
        let count = (count as u64).clamp(1, to_us.saturating_sub(from_us).max(1));
        let mut buckets = Self {
            from_us,
            to_us,
            count,
            done: Vec::new(),
            current: empty(from_us, from_us, before),
        };
        buckets.current.to_us = buckets.edge(1);
        buckets
    }

    /// Adds the balance after an operation. Times before the previous one count as that one, those outside as the nearest inside.
    pub fn add(&mut self, time_us: u64, balance: i64) {
        self.note(time_us, balance).changes += 1;
    }

    /// Adds the balance at an instant before which it is not known.
    pub fn hold(&mut self, time_us: u64, balance: i64) {
        self.note(time_us, balance);
    }

    fn note(&mut self, time_us: u64, balance: i64) -> &mut Bucket {
        self.advance(time_us);
        let bucket = &mut self.current;
        bucket.last = Some(balance);
        bucket.min = Some(bucket.min.map_or(balance, |min| min.min(balance)));
        bucket.max = Some(bucket.max.map_or(balance, |max| max.max(balance)));
        bucket
    }

    /// The buckets up to the one that holds `until_us`; all if it is `None`.
    #[must_use]
    pub fn finish(mut self, until_us: Option<u64>) -> Vec<Bucket> {
        self.advance(until_us.unwrap_or(self.to_us));
        self.done.push(self.current);
        self.done
    }

    fn advance(&mut self, time_us: u64) {
        while time_us >= self.current.to_us && (self.done.len() as u64) + 1 < self.count {
            let done = self.current;
            self.done.push(done);
            let next = self.edge(self.done.len() as u64 + 1);
            self.current = empty(done.to_us, next, done.last);
        }
    }

    // The end of the bucket with this number, from 1.
    fn edge(&self, number: u64) -> u64 {
        let length = u128::from(self.to_us.saturating_sub(self.from_us));
        let offset = length * u128::from(number) / u128::from(self.count);
        // It is at most the length.
        self.from_us + u64::try_from(offset).unwrap_or(0)
    }
}

fn empty(from_us: u64, to_us: u64, balance: Option<i64>) -> Bucket {
    Bucket {
        from_us,
        to_us,
        first: balance,
        min: balance,
        max: balance,
        last: balance,
        changes: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Row = (u64, u64, [Option<i64>; 4], u64);

    fn rows(buckets: Vec<Bucket>) -> Vec<Row> {
        let row = |bucket: Bucket| {
            let Bucket {
                from_us,
                to_us,
                first,
                min,
                max,
                last,
                changes,
            } = bucket;
            (from_us, to_us, [first, min, max, last], changes)
        };
        buckets.into_iter().map(row).collect()
    }

    #[test]
    fn each_bucket_begins_with_what_the_one_before_left() {
        let mut buckets = Buckets::new(100, 140, 4, Some(5));
        for (time, balance) in [(100, 9), (109, 2), (110, 7), (135, 1)] {
            buckets.add(time, balance);
        }
        let expected = [
            (100, 110, [5, 2, 9, 2], 2),
            (110, 120, [2, 2, 7, 7], 1),
            (120, 130, [7, 7, 7, 7], 0),
            (130, 140, [7, 1, 7, 1], 1),
        ];
        let expected =
            expected.map(|(from, to, values, changes)| (from, to, values.map(Some), changes));
        assert_eq!(rows(buckets.finish(None)), expected);
    }

    // Without this, an account would seem to hold 0 before it existed, and a curve that was cut short would seem to stay level.
    #[test]
    fn what_is_not_known_is_none_and_what_was_not_read_is_left_out() {
        let mut buckets = Buckets::new(0, 10, 2, None);
        buckets.add(7, 3);
        let expected = [
            (0, 5, [None; 4], 0),
            (5, 10, [None, Some(3), Some(3), Some(3)], 1),
        ];
        assert_eq!(rows(buckets.finish(None)), expected);
        let mut buckets = Buckets::new(0, 100, 10, Some(1));
        buckets.add(25, 2);
        assert_eq!(buckets.finish(Some(25)).len(), 3);
    }

    // Without this, an account would seem to be new at its first operation after older ones were deleted.
    #[test]
    fn a_balance_that_is_known_from_an_instant_on_is_no_operation() {
        let mut buckets = Buckets::new(0, 15, 3, None);
        buckets.hold(7, 9);
        buckets.add(12, 4);
        let expected = [
            (0, 5, [None; 4], 0),
            (5, 10, [None, Some(9), Some(9), Some(9)], 0),
            (10, 15, [9, 4, 9, 4].map(Some), 1),
        ];
        assert_eq!(rows(buckets.finish(None)), expected);
    }

    #[test]
    fn odd_spans_and_counts_make_whole_buckets() {
        for (from, to, count) in [
            (0, 0, 5),
            (7, 7, 1),
            (0, 3, 1000),
            (0, u64::MAX, 7),
            (5, 1, 2),
        ] {
            let mut buckets = Buckets::new(from, to, count, None);
            buckets.add(u64::MAX, 1);
            buckets.add(0, 2);
            let buckets = buckets.finish(None);
            assert_eq!(buckets.first().map(|bucket| bucket.from_us), Some(from));
            assert_eq!(buckets.iter().map(|bucket| bucket.changes).sum::<u64>(), 2);
            assert!(
                buckets
                    .windows(2)
                    .all(|pair| pair[0].to_us == pair[1].from_us)
            );
            if to > from {
                assert_eq!(buckets.last().map(|bucket| bucket.to_us), Some(to));
                assert!(buckets.iter().all(|bucket| bucket.from_us < bucket.to_us));
            }
        }
    }
}
