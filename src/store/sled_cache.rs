//! Keeps sled's page cache within its bound.
//!
//! sled spreads its pages over 256 shards and tells a shard's least-recently-used list of 64 accesses at a time. A long
//! journal or a long scan comes by each page a few times only, so that hundreds of pages wait to be counted, and none of
//! them is evicted: 20,000 values of 60 KB left 900 MB resident under a cache of 64 MB. So whoever reads or writes much
//! of a page comes by more often. Measured with fragments of 16 KiB and sixteen accesses to each: 150 MB resident after 1.3
//! GB written and read (a page in memory is found in a fraction of a microsecond). A page that splits has half of its
//! fragments, eight: with eight accesses to each it fills the 64 by itself. With four to each of 4 KiB, 74 MB of 79 MB
//! written stayed.

/// One access for each of these bytes,
const BYTES_PER_ACCESS: usize = 256;
/// and no more than these to one fragment.
const ACCESSES_MAX: usize = 8;

/// Reads a value.
pub(super) fn get(tree: &sled::Tree, key: &[u8]) -> Result<Option<sled::IVec>, sled::Error> {
    let value = tree.get(key)?;
    if let Some(value) = &value {
        account(tree, key, value.len())?;
    }
    Ok(value)
}

/// Lets the cache take notice of the page that holds this key and so many bytes under it.
pub(super) fn account(tree: &sled::Tree, key: &[u8], bytes: usize) -> Result<(), sled::Error> {
    for _ in 0..(bytes / BYTES_PER_ACCESS).min(ACCESSES_MAX) {
        tree.get(key)?;
    }
    Ok(())
}
