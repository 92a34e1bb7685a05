//! A copy of a store, read value by value.

use std::path::Path;

use super::packed::Packed;
use crate::store::chunks::Chunks;
use crate::store::engine::files;
use crate::store::engine::schema::Trees;
use crate::store::error::StoreError;
use crate::store::opening::migrate;
use crate::store::stored::frame;
use crate::store::stored::frame::Damage;

/// A copy of a store, open for reading.
pub(in crate::store) struct OpenedCopy {
    pub(in crate::store) trees: Trees,
    pub(in crate::store) chunks: Chunks,
    pub(in crate::store) packed: Packed,
}

/// The format of the copy when it was opened, and the names of missing and unknown trees.
#[derive(Debug)]
pub(in crate::store) struct FoundFormat {
    pub(in crate::store) format: u32,
    pub(in crate::store) missing: Vec<String>,
    pub(in crate::store) unknown: Vec<String>,
}

impl OpenedCopy {
    /// Opens the copy in `dir` and migrates it to the newest format, which shows whether a start could do the same.
    ///
    /// # Errors
    /// [`StoreError`]: the engine cannot open it, the format is newer, or a migration finds damage.
    pub(in crate::store) fn open(dir: &Path) -> Result<(Self, FoundFormat), StoreError> {
        let db = files::open_engine(dir, 0)?;
        let names = db.tree_names();
        let trees = Trees::open(&db)?;
        let format = migrate::known_format(&trees)?;
        migrate::migrate(&db, &trees, format, || Ok(()))?;
        let is_missing =
            |tree: &&sled::Tree| !names.contains(&tree.name()) && !trees.may_be_absent(tree);
        let is_ours = |name: &sled::IVec| {
            **name == *b"__sled__default" || trees.all().iter().any(|tree| tree.name() == *name)
        };
        let text = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
        let missing = || trees.all().into_iter().filter(is_missing);
        let found = FoundFormat {
            format,
            // Older formats had other trees.
            missing: match format == migrate::newest_format() {
                true => missing().map(|tree| text(&tree.name())).collect(),
                false => Vec::new(),
            },
            unknown: db
                .tree_names()
                .iter()
                .filter(|name| !is_ours(name))
                .map(|name| text(name))
                .collect(),
        };
        let chunks = Chunks::new(trees.chunks.clone(), None);
        let packed = Packed::read(&trees)?;
        let opened = Self {
            trees,
            chunks,
            packed,
        };
        Ok((opened, found))
    }
}

/// A stored value with its frame.
pub(in crate::store) struct Stored {
    pub(in crate::store) key: Vec<u8>,
    /// An error if fragments exist without the beginning of their value.
    pub(in crate::store) framed: Result<Vec<u8>, Damage>,
}

/// A walk over all values of a tree in key order.
pub(in crate::store) struct TreeWalk {
    tree: sled::Tree,
    /// The last stored key read.
    after: Vec<u8>,
}

impl TreeWalk {
    pub(in crate::store) fn new(tree: &sled::Tree) -> Self {
        Self {
            tree: tree.clone(),
            after: Vec::new(),
        }
    }

    /// The next value; none follows an error.
    ///
    /// # Errors
    /// [`StoreError::Engine`].
    pub(in crate::store) fn next(&mut self) -> Result<Option<Stored>, StoreError> {
        let tree = &self.tree;
        let Some((stored_key, _)) = tree.get_gt(&self.after)? else {
            return Ok(None);
        };
        let odd = |problem: &str| Err(Damage::Contradiction(problem.to_owned()));
        let behind_fragments = |key: &[u8]| [key, &[0xff, 0xff]].concat();
        let (key, framed, end) = match frame::split_key(&stored_key) {
            None => {
                let key = stored_key.to_vec();
                (key.clone(), odd("its key is unknown"), key)
            }
            Some((key, 0)) => match frame::lay_together(tree, key)? {
                Some(found) => (key.to_vec(), Ok(found.framed), found.end),
                None => (
                    key.to_vec(),
                    odd("it no longer exists"),
                    behind_fragments(key),
                ),
            },
            Some((key, _)) => {
                let framed = odd("it has fragments outside of any value");
                (key.to_vec(), framed, behind_fragments(key))
            }
        };
        self.after = end;
        Ok(Some(Stored { key, framed }))
    }
}
