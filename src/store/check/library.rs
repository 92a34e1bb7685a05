//! Reading all of a store with little memory. The engine keeps whatever it has read: after a scan of 655 MB it holds
//! as much, whatever its cache may take. So it is closed and opened again after each slice.

use std::path::{Path, PathBuf};

use crate::store::chunks::Chunks;
use crate::store::error::StoreError;
use crate::store::files;
use crate::store::frame::{self, Damage};
use crate::store::migrate;
use crate::store::schema::{TREES, Trees};

/// The engine is opened anew after reading so much. Measured with 312 MB of live values, 473 MB resident without:
/// 130 MB resident, and 0.1 s for each opening.
const SLICE_BYTES: u64 = 32 * 1024 * 1024;

/// A copy of a store, open for reading.
pub(in crate::store) struct Library {
    dir: PathBuf,
    opened: Option<Opened>,
    read_bytes: u64,
}

/// The trees of an open copy.
pub(in crate::store) struct Opened {
    pub(in crate::store) trees: Trees,
    pub(in crate::store) chunks: Chunks,
}

/// The format of a copy when it was opened, and the names of the trees that are not as they should be.
#[derive(Debug)]
pub(in crate::store) struct Found {
    pub(in crate::store) format: u32,
    pub(in crate::store) missing: Vec<&'static str>,
    pub(in crate::store) unknown: Vec<String>,
}

impl Library {
    /// Opens the copy in `dir` and brings it to the newest format; that says whether a start could do it, too.
    ///
    /// # Errors
    /// [`StoreError`]: the engine cannot open it, the format is newer, or a migration stumbles over damage.
    pub(in crate::store) fn open(dir: &Path) -> Result<(Self, Found), StoreError> {
        let db = files::open_engine(dir, 0)?;
        let names = db.tree_names();
        let opened = Opened::new(&db)?;
        let format = migrate::known_format(&opened.trees)?;
        migrate::migrate(&db, &opened.trees, format, || Ok(()))?;
        let is_missing = |tree: &&str| !names.iter().any(|name| **name == *tree.as_bytes());
        let is_ours = |name: &sled::IVec| {
            **name == *b"__sled__default" || TREES.iter().any(|tree| *tree.as_bytes() == **name)
        };
        let found = Found {
            format,
            // An older format had other trees.
            missing: match format == migrate::newest() {
                true => TREES.into_iter().filter(is_missing).collect(),
                false => Vec::new(),
            },
            unknown: db
                .tree_names()
                .iter()
                .filter(|name| !is_ours(name))
                .map(|name| String::from_utf8_lossy(name).into_owned())
                .collect(),
        };
        let library = Self {
            dir: dir.to_path_buf(),
            opened: Some(opened),
            read_bytes: 0,
        };
        Ok((library, found))
    }

    /// What is open now.
    pub(in crate::store) fn opened(&self) -> &Opened {
        self.opened
            .as_ref()
            .expect("only `pause` closes it, and opens it again")
    }

    /// Takes note of what was read past [`Walk`].
    pub(in crate::store) fn count(&mut self, bytes: u64) {
        self.read_bytes += bytes;
    }

    /// Gives back what the engine holds, if that is much.
    ///
    /// # Errors
    /// [`StoreError::Engine`].
    pub(in crate::store) fn pause(&mut self) -> Result<(), StoreError> {
        if self.read_bytes >= SLICE_BYTES {
            self.read_bytes = 0;
            self.opened = None;
            files::await_release(&self.dir)?;
            self.opened = Some(Opened::new(&files::open_engine(&self.dir, 0)?)?);
        }
        Ok(())
    }
}

impl Opened {
    fn new(db: &sled::Db) -> Result<Self, StoreError> {
        let trees = Trees::open(db)?;
        let chunks = Chunks::new(trees.chunks.clone());
        Ok(Self { trees, chunks })
    }
}

/// A stored value, its frame included.
pub(in crate::store) struct Stored {
    pub(in crate::store) key: Vec<u8>,
    /// Damaged where fragments stand without the beginning of their value.
    pub(in crate::store) framed: Result<Vec<u8>, Damage>,
}

/// One way through all values of a tree, in the order of their keys.
pub(in crate::store) struct Walk {
    tree: fn(&Trees) -> &sled::Tree,
    /// The last stored key that was read.
    after: Vec<u8>,
}

impl Walk {
    pub(in crate::store) fn new(tree: fn(&Trees) -> &sled::Tree) -> Self {
        let after = Vec::new();
        Self { tree, after }
    }

    /// The next value. After an error there is none.
    ///
    /// # Errors
    /// [`StoreError::Engine`].
    pub(in crate::store) fn next(
        &mut self,
        library: &mut Library,
    ) -> Result<Option<Stored>, StoreError> {
        library.pause()?;
        let tree = (self.tree)(&library.opened().trees);
        let Some((stored_key, _)) = tree.get_gt(&self.after)? else {
            return Ok(None);
        };
        let odd = |problem: &str| Err(Damage::Contradiction(problem.to_owned()));
        let (key, framed) = match frame::split_key(&stored_key) {
            None => (stored_key.to_vec(), odd("its key is none of ours")),
            Some((key, 0)) => (key.to_vec(), Ok(frame::get(tree, key)?.unwrap_or_default())),
            Some((key, _)) => (
                key.to_vec(),
                odd("fragments of it stand where no value begins"),
            ),
        };
        self.after = match &framed {
            Ok(framed) => frame::last_fragment(&key, framed.len()),
            Err(_) => [&key[..], &[0xff, 0xff]].concat(),
        };
        library.count(framed.as_ref().map_or(0, |framed| framed.len() as u64));
        Ok(Some(Stored { key, framed }))
    }
}
