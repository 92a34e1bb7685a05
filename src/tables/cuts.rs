//! Which cuts of a process a table has (pure): all up to the newest one but for some ranges of open cuts. It is as small as
//! these ranges are few, so each version of a log can have all of it.
//!
//! Only the cuts at which the process recorded its state count. Between the ends of a range each of these is open.

use std::collections::BTreeMap;

/// The most ranges that are remembered.
pub(super) const RANGES_MAX: usize = 1024;

const NEWEST: &str = "cut";
const OPEN: &str = "open:";

/// The cuts that a table has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Cuts {
    newest: Option<u64>,
    /// By their first cuts.
    open: BTreeMap<u64, Open>,
}

/// Cuts for which the table may get more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Open {
    last: u64,
    /// What the table has for each of them; the meaning is the table's.
    value: i64,
}

impl Cuts {
    /// Reads the numbers of a log; others are ignored.
    pub(super) fn from_numbers<'a>(numbers: impl Iterator<Item = (&'a str, i64)>) -> Self {
        let mut cuts = Self::default();
        for (name, value) in numbers {
            if name == NEWEST {
                cuts.newest = u64::try_from(value).ok();
            }
            let range = name.strip_prefix(OPEN).and_then(|ends| {
                let (first, last) = ends.split_once('-')?;
                Some((first.parse().ok()?, last.parse().ok()?))
            });
            if let Some((first, last)) = range {
                cuts.open.insert(first, Open { last, value });
            }
        }
        cuts
    }

    /// The numbers of a log.
    pub(super) fn numbers(&self) -> Vec<(String, i64)> {
        let ranges = self.open.iter();
        let ranges =
            ranges.map(|(first, open)| (format!("{OPEN}{first}-{}", open.last), open.value));
        let newest = self
            .newest
            .map(|cut| i64::try_from(cut).unwrap_or(i64::MAX));
        let newest = newest.map(|cut| (NEWEST.to_owned(), cut));
        newest.into_iter().chain(ranges).collect()
    }

    /// The newest cut that was considered.
    pub(super) fn newest(&self) -> Option<u64> {
        self.newest
    }

    /// What the table has for an open cut; `None` if the table gets no more for it. Cuts behind the newest one are open with
    /// zero.
    pub(super) fn open_at(&self, cut: u64) -> Option<i64> {
        if self.newest.is_none_or(|newest| newest < cut) {
            return Some(0);
        }
        let (_, open) = self.open.range(..=cut).next_back()?;
        (open.last >= cut).then_some(open.value)
    }

    /// The ranges of open cuts, oldest first.
    pub(super) fn open_ranges(&self) -> impl Iterator<Item = (u64, u64)> {
        self.open.iter().map(|(first, open)| (*first, open.last))
    }

    /// Considers the next recorded cut: open with a value, or final.
    pub(super) fn pass(&mut self, cut: u64, value: Option<i64>) {
        let before = self.newest.replace(cut);
        let Some(value) = value else {
            return;
        };
        if let Some(mut entry) = self.open.last_entry() {
            let open = entry.get_mut();
            if Some(open.last) == before && open.value == value {
                open.last = cut;
                return;
            }
        }
        self.open.insert(cut, Open { last: cut, value });
    }

    /// Changes an open cut: to another value, or to final. `has_cuts` tells whether there are recorded cuts in a range.
    ///
    /// # Errors
    /// That of `has_cuts`; nothing is changed then.
    pub(super) fn change<E>(
        &mut self,
        cut: u64,
        value: Option<i64>,
        mut has_cuts: impl FnMut(u64, u64) -> Result<bool, E>,
    ) -> Result<(), E> {
        let Some((&first, &open)) = self.open.range(..=cut).next_back() else {
            return Ok(());
        };
        if open.last < cut || Some(open.value) == value {
            return Ok(());
        }
        let has_left = first < cut && has_cuts(first, cut - 1)?;
        let has_right = cut < open.last && has_cuts(cut + 1, open.last)?;
        self.open.remove(&first);
        let from = if has_left { cut } else { first };
        let to = if has_right { cut } else { open.last };
        if has_left {
            let left = Open {
                last: cut - 1,
                ..open
            };
            self.open.insert(first, left);
        }
        if has_right {
            self.open.insert(cut + 1, open);
        }
        if let Some(value) = value {
            self.open.insert(from, Open { last: to, value });
            self.join(from);
        }
        Ok(())
    }

    // Joins a range with its neighbours.
    fn join(&mut self, first: u64) {
        let Some(mut open) = self.open.remove(&first) else {
            return;
        };
        let mut from = first;
        if let Some((&before, one)) = self.open.range(..first).next_back()
            && one.last.saturating_add(1) == first
            && one.value == open.value
        {
            self.open.remove(&before);
            from = before;
        }
        let behind = open.last.saturating_add(1);
        if let Some(next) = self.open.get(&behind).copied()
            && next.value == open.value
        {
            self.open.remove(&behind);
            open.last = next.last;
        }
        self.open.insert(from, open);
    }

    /// Has the same open cuts behind the own newest one as another table.
    pub(super) fn follow(&mut self, other: &Self) {
        let behind = self.newest.map_or(0, |newest| newest.saturating_add(1));
        for (first, last) in other.open_ranges() {
            let first = first.max(behind);
            if first <= last {
                self.open.insert(first, Open { last, value: 0 });
            }
        }
        self.newest = self.newest.max(other.newest);
    }

    /// The end of the oldest range if there are too many.
    pub(super) fn too_many(&self) -> Option<u64> {
        let oldest = self.open.values().next()?;
        (self.open.len() > RANGES_MAX).then_some(oldest.last)
    }

    /// Makes all cuts up to one final.
    pub(super) fn close_until(&mut self, cut: u64) {
        let behind = cut.saturating_add(1);
        let mut open = self.open.split_off(&behind);
        if let Some((_, one)) = self.open.pop_last()
            && one.last > cut
        {
            open.insert(behind, one);
        }
        self.open = open;
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;

    /// Open cuts, one by one.
    type Model = BTreeMap<u64, Option<i64>>;

    fn agrees(cuts: &Cuts, model: &Model) -> Result<(), TestCaseError> {
        for (cut, value) in model {
            prop_assert_eq!(cuts.open_at(*cut), *value, "at {}", cut);
        }
        let numbers = cuts.numbers();
        let read = numbers.iter().map(|(name, value)| (name.as_str(), *value));
        prop_assert_eq!(&Cuts::from_numbers(read), cuts);
        Ok(())
    }

    proptest! {
        // Without this a revision could be written twice, or never.
        #[test]
        fn ranges_say_the_same_as_a_list(
            steps in prop::collection::vec((1_u64..5, prop::option::of(0_i64..3)), 1..40),
            changes in prop::collection::vec((any::<prop::sample::Index>(), prop::option::of(0_i64..3)), 0..60),
            end in any::<prop::sample::Index>(),
        ) {
            let (mut cuts, mut model, mut at) = (Cuts::default(), Model::new(), 0);
            for (step, value) in steps {
                cuts.pass(at, value);
                model.insert(at, value);
                agrees(&cuts, &model)?;
                at += step;
            }
            let recorded: Vec<u64> = model.keys().copied().collect();
            let has_cuts = |first, last| {
                Ok::<_, Infallible>(recorded.iter().any(|cut| (first..=last).contains(cut)))
            };
            let mut other = Cuts::default();
            for (index, value) in changes {
                let cut = *index.get(&recorded);
                // What is final stays so.
                if model[&cut].is_none() {
                    continue;
                }
                let Ok(()) = cuts.change(cut, value, has_cuts);
                model.insert(cut, value);
                agrees(&cuts, &model)?;
                let fragments = model.values().filter(|value| value.is_some()).count();
                prop_assert!(cuts.open.len() <= fragments, "a range without a cut: {:?}", cuts);
            }
            other.follow(&cuts);
            for cut in &recorded {
                prop_assert_eq!(other.open_at(*cut).is_some(), cuts.open_at(*cut).is_some());
            }
            let end = *end.get(&recorded);
            cuts.close_until(end);
            model.range_mut(..=end).for_each(|(_, value)| *value = None);
            agrees(&cuts, &model)?;
        }
    }

    // Without this a day of snapshots without one process would make each version of the log long.
    #[test]
    fn a_long_stretch_of_partial_snapshots_is_one_range() {
        let mut cuts = Cuts::default();
        let recorded: Vec<u64> = (1..=10_000).map(|number| 7 * number).collect();
        let has_cuts = |first: u64, last: u64| Ok::<_, Infallible>(last / 7 * 7 >= first);
        for cut in &recorded {
            cuts.pass(*cut, Some(0));
        }
        for cut in &recorded {
            let Ok(()) = cuts.change(*cut, Some(1), has_cuts);
            assert!(cuts.open.len() <= 2, "{cuts:?}");
        }
        assert_eq!(cuts.open_ranges().collect::<Vec<_>>(), [(7, 70_000)]);
        for cut in recorded.iter().rev() {
            let Ok(()) = cuts.change(*cut, None, has_cuts);
            assert!(cuts.open.len() <= 1, "{cuts:?}");
        }
        assert!(cuts.open.is_empty());
    }
}
