//! The names of folders whose objects are numbered, read as far as they are needed: what is behind a number, or the last one that
//! suits, is found without a list of everything, however long the journal is.

use std::marker::PhantomData;
use std::vec;

use object_store::{Error, ObjectStoreExt as _};

use super::objects::name_below;
use super::{ArchiveError, Objects};

/// The most names that are read at once: storages answer a request with so many.
pub(super) const PAGE_NAMES: usize = 1_000;
/// In a folder it sorts behind a number, and behind what follows the number in names.
const BEHIND: char = '_';

/// Names of a folder, in order.
struct Page {
    names: Vec<String>,
    /// Whether there are no others behind them.
    is_last: bool,
}

/// A key whose name begins with a number of 20 digits.
pub trait Numbered: Sized {
    /// The folder.
    const PLACE: &'static str;
    /// Reads a name in the folder; `None` if it is not of such an object.
    fn named(name: &str) -> Option<Self>;
    /// Its number.
    fn number(&self) -> u64;
}

/// The keys of a folder from a number on, in order. Other files are passed over.
pub struct Keys<'a, K> {
    objects: &'a Objects,
    /// What was read is not behind it.
    behind: String,
    page: vec::IntoIter<String>,
    is_last: bool,
    kind: PhantomData<K>,
}

impl<'a, K: Numbered> Keys<'a, K> {
    /// The keys with this number or a greater one.
    #[must_use]
    pub fn from(objects: &'a Objects, first: u64) -> Self {
        let before = first.checked_sub(1);
        Self {
            objects,
            behind: before.map_or_else(String::new, |before| format!("{before:020}{BEHIND}")),
            page: Vec::new().into_iter(),
            is_last: false,
            kind: PhantomData,
        }
    }

    /// The next one; `None` at the end.
    ///
    /// # Errors
    /// [`ArchiveError::Failed`].
    pub async fn next(&mut self) -> Result<Option<K>, ArchiveError> {
        loop {
            let key = self.page.by_ref().find_map(|name| key_of(&name));
            if key.is_some() || self.is_last {
                return Ok(key);
            }
            let page = self.objects.page_behind(K::PLACE, &self.behind).await?;
            if let Some(last) = page.names.last() {
                self.behind.clone_from(last);
            }
            self.is_last = page.is_last;
            self.page = page.names.into_iter();
        }
    }

    // At least one key, if there is one, and those that were read with it.
    async fn some(&mut self) -> Result<Vec<K>, ArchiveError> {
        let mut keys: Vec<K> = self.next().await?.into_iter().collect();
        keys.extend(self.page.by_ref().filter_map(|name| key_of(&name)));
        Ok(keys)
    }
}

// A number that is written otherwise would not be in order.
fn key_of<K: Numbered>(name: &str) -> Option<K> {
    K::named(name).filter(|key| name.starts_with(&format!("{:020}", key.number())))
}

impl Objects {
    /// Whether there is an object.
    ///
    /// # Errors
    /// [`ArchiveError::Failed`].
    pub async fn has(&self, key: &str) -> Result<bool, ArchiveError> {
        self.patiently(|| self.has_once(key)).await
    }

    async fn has_once(&self, key: &str) -> Result<bool, ArchiveError> {
        let at = self.at(key);
        match self.in_time(0, self.storage.head(&at)).await {
            Ok(_) => Ok(true),
            Err(Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(self.failed("read", key, &error)),
        }
    }

    /// The names of the objects directly in a folder that sort behind a name, in any order.
    ///
    /// # Errors
    /// [`ArchiveError::Failed`].
    pub async fn list_behind(&self, folder: &str, name: &str) -> Result<Vec<String>, ArchiveError> {
        self.patiently(|| self.names_behind(folder, name)).await
    }

    async fn names_behind(&self, folder: &str, name: &str) -> Result<Vec<String>, ArchiveError> {
        let (at, offset) = (self.at(folder), self.at(folder).join(name));
        let mut listed = self.storage.list_with_offset(Some(&at), &offset);
        let mut names = Vec::new();
        while let Some(entry) = self.next_of(&mut listed, folder).await? {
            // A storage may ignore what it does not know, and list from the beginning.
            if entry.location > offset {
                names.extend(entry.location.filename().map(str::to_owned));
            }
        }
        Ok(names)
    }

    /// The first names below a folder that sort behind a name, in order. Of a storage that lists in no order it is all that do.
    async fn page_behind(&self, folder: &str, name: &str) -> Result<Page, ArchiveError> {
        self.patiently(|| self.page_once(folder, name)).await
    }

    async fn page_once(&self, folder: &str, name: &str) -> Result<Page, ArchiveError> {
        let at = self.at(folder);
        let offset = match name {
            "" => at.clone(),
            name => self.at(&format!("{folder}/{name}")),
        };
        let mut listed = self.storage.list_with_offset(Some(&at), &offset);
        let (mut names, mut is_in_order) = (Vec::new(), !self.is_directory());
        while let Some(entry) = self.next_of(&mut listed, folder).await? {
            if entry.location <= offset {
                continue;
            }
            let name = name_below(&entry.location, &at);
            is_in_order &= names.last().is_none_or(|last| *last < name);
            names.push(name);
            if is_in_order && names.len() == PAGE_NAMES {
                let is_last = false;
                return Ok(Page { names, is_last });
            }
        }
        names.sort_unstable();
        let is_last = true;
        Ok(Page { names, is_last })
    }
}

/// The last key from a number on that suits, where those that suit come before those that do not. Of several with one number, one of
/// them.
///
/// # Errors
/// [`ArchiveError::Failed`].
pub async fn last<K: Numbered>(
    objects: &Objects,
    first: u64,
    suits: impl Fn(&K) -> bool,
) -> Result<Option<K>, ArchiveError> {
    let mut found: Option<K> = None;
    // From `end` on none suits. The steps to it double until one is too far; then the middle is tried.
    let (mut from, mut end, mut step) = (first, None, 1);
    loop {
        let mut keys = Keys::<K>::from(objects, from);
        let mut some = keys.some().await?;
        let begin = some.first().map_or(from, K::number);
        let suiting = some.partition_point(&suits);
        let is_end = suiting < some.len() || keys.is_last;
        some.truncate(suiting);
        match some.pop() {
            Some(key) if is_end => return Ok(Some(key)),
            Some(key) => {
                step = step.max(key.number() - begin);
                found = Some(key);
            }
            None => end = Some(from),
        }
        let Some(low) = found.as_ref().map(K::number) else {
            return Ok(None);
        };
        from = match end {
            None => low.saturating_add(step),
            Some(end) => low + (end - low) / 2,
        };
        if from <= low {
            return Ok(found);
        }
        step = step.saturating_mul(2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::watched::watched;
    use crate::shipping::SegmentIndex;

    // What was listed to find the last of these indices that is not greater than another one.
    async fn listed(indices: &[u64], until: u64) -> usize {
        let (objects, seen) = watched();
        for name in ["7", "0-7", "other", "00000000000000000007/0"] {
            let put = objects.create(&format!("journal/{name}"), Vec::new()).await;
            put.expect("it is in memory");
        }
        for index in indices {
            let key = format!("journal/{index:020}");
            let put = objects.create(&key, Vec::new()).await;
            put.expect("it is in memory");
        }
        seen.take_listed();
        for first in [0, 3] {
            let found = last(&objects, first, |index: &SegmentIndex| index.0 <= until).await;
            let found = found.expect("it is in memory").map(|found| found.0);
            let suits = |index: &&u64| (first..=until).contains(*index);
            assert_eq!(found, indices.iter().rfind(suits).copied(), "{until}");
        }
        seen.take_listed()
    }

    // Without this the newest link, or the newest state before an instant, would not be found, or only in a list of all.
    #[tokio::test]
    async fn the_last_that_suits_is_found_without_a_list_of_all() {
        let dense: Vec<u64> = (1..=8_000).collect();
        let sparse: Vec<u64> = (1..=3_000).map(|index| index * 1_000).collect();
        let odd = [0, 5, u64::MAX - 1, u64::MAX];
        for until in [0, 1, 2, 999, 1_000, 1_001, 2_500, 7_999, 8_000, u64::MAX] {
            let names = listed(&dense, until).await;
            assert!(names <= 30 * PAGE_NAMES, "{until}: {names}");
            listed(&sparse, until.saturating_mul(100)).await;
            listed(&odd, until).await;
            listed(&[], until).await;
        }
        let (few, many) = (listed(&dense[..4_000], u64::MAX), listed(&dense, u64::MAX));
        let (few, many) = (few.await, many.await);
        assert!(many < few * 2, "{few} and {many}");
    }

    // Without this a long list would be cut off, or begin too early.
    #[tokio::test]
    async fn names_come_in_order_from_a_number_on() {
        let (objects, seen) = watched();
        for index in (1..=2_500).rev() {
            let key = format!("journal/{index:020}");
            let put = objects.create(&key, Vec::new()).await;
            put.expect("it is in memory");
        }
        for first in [0, 1, 2, 1_000, 1_001, 2_500, 2_501] {
            let mut keys = Keys::<SegmentIndex>::from(&objects, first);
            let mut next = first.max(1);
            while let Some(index) = keys.next().await.expect("it is in memory") {
                assert_eq!(index, SegmentIndex(next));
                next += 1;
            }
            assert_eq!(next, 2_501.max(first));
        }
        seen.take_listed();
        let mut keys = Keys::<SegmentIndex>::from(&objects, 100);
        keys.next().await.expect("it is in memory");
        assert_eq!(seen.take_listed(), PAGE_NAMES);
    }

    // Without this a storage that knows no offset, as Azurite, would be listed without end: each page would be the first one.
    #[tokio::test]
    async fn a_storage_that_ignores_offsets_is_listed_to_its_end() {
        let (objects, seen) = watched();
        seen.ignore_offsets();
        for index in 1..=2_500 {
            let key = format!("journal/{index:020}");
            let put = objects.create(&key, Vec::new()).await;
            put.expect("it is in memory");
        }
        for first in [0, 2, 1_001, 2_501] {
            let mut keys = Keys::<SegmentIndex>::from(&objects, first);
            let mut next = first.max(1);
            while let Some(index) = keys.next().await.expect("it is in memory") {
                assert_eq!(index, SegmentIndex(next));
                next += 1;
            }
            assert_eq!(next, 2_501);
        }
        let behind = format!("{:020}", 2_498);
        let names = objects.list_behind("journal", &behind).await;
        assert_eq!(names.expect("it is in memory").len(), 2);
    }
}
