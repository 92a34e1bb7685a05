//! Writes a backup of a running node's store, with one value in memory at a time.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use super::{BackupHead, Block, FORMAT, MAGIC};
use crate::process::ids::Lsn;
use crate::process::record::Record;
use crate::store::Store;
use crate::store::engine::schema;
use crate::store::engine::schema::{OWNER, Trees, position_key, snapshot_key};
use crate::store::error::StoreError;
use crate::store::export::ExportError;
use crate::store::journal::{self, Journal};
use crate::store::opening::addresses::Addresses;
use crate::store::stored::codec::Entry;
use crate::store::stored::frame;
use crate::store::stored::frame::{Damage, Kind};
use crate::store::stored::stream::Blocks;
use crate::store::stored::v1::state::OwnerV1;

/// The longest time that retention waits for a backup. A slower one is aborted.
const BACKUP_MAX: Duration = Duration::from_secs(6 * 3600);

impl Store {
    /// Writes everything that the store holds up to its newest durable position, concurrently with commits. Reads from
    /// disk. Nothing is deleted until it returns.
    ///
    /// # Errors
    /// [`ExportError`]: something is damaged, the reader is gone, or it takes longer than six hours.
    pub fn back_up(&self, out: &mut dyn Write) -> Result<(), ExportError> {
        let _hold = self.standstill.hold();
        let trees = Trees::open(&self.engine.db).map_err(ExportError::Store)?;
        let mut copy = Copy {
            out: Blocks::begin(out, MAGIC, FORMAT)?,
            values: 0,
            until: Instant::now() + BACKUP_MAX,
        };
        copy.head(&trees)?;
        let addresses = Addresses::read(&self.engine.dir);
        if !addresses.is_empty() {
            copy.block(Block::Addresses, &[&addresses.encode()])?;
        }
        let Trees {
            meta,
            bodies,
            heads,
            history,
            retention,
            parts,
            states,
            chunks,
            journal,
            turns: _,     // entries are copied individually
            stretches: _, // rebuilt from the journal
        } = &trees;
        copy.tree(meta)?;
        copy.tree(bodies)?;
        copy.tree(heads)?;
        copy.tree(history)?;
        copy.tree(retention)?;
        let behind = self.journal.position();
        copy.tree(parts)?;
        copy.tree(states)?;
        // Chosen after everything that depends on it was copied.
        let end = self.journal.head();
        copy.block(Block::Tree, &[&journal.name()])?;
        let mut late = Vec::new();
        for position in self.journal.first().0..=end.position.0 {
            let stored = copy.turn(&self.journal, Lsn(position))?;
            if Lsn(position) > behind {
                late.extend(parts_stored(Lsn(position), &stored)?);
            }
        }
        copy.block(Block::Tree, &[&parts.name()])?;
        for key in late {
            copy.value(parts, &key)?;
        }
        copy.tree(chunks)?;
        copy.end(end)
    }
}

// The keys of the parts that a turn reports as stored.
fn parts_stored(position: Lsn, stored: &[u8]) -> Result<Vec<Vec<u8>>, ExportError> {
    let entry = Entry::decode(position, stored).map_err(ExportError::Store)?;
    let keys = entry.turn.records.iter().filter_map(|record| {
        let Record::PartStored { snapshot } = record else {
            return None;
        };
        Some(snapshot_key(snapshot))
    });
    Ok(keys.collect())
}

/// The backup in progress.
struct Copy<'a> {
    out: Blocks<'a>,
    values: u64,
    until: Instant,
}

impl Copy<'_> {
    fn head(&mut self, trees: &Trees) -> Result<(), ExportError> {
        let owner = schema::get::<OwnerV1>(&trees.meta, OWNER, Kind::Owner);
        let missing = || {
            let damage = Damage::Contradiction("it is missing".to_owned());
            StoreError::damaged(schema::name(Kind::Owner, OWNER), damage)
        };
        let owner = owner.and_then(|owner| owner.ok_or_else(missing));
        let head = BackupHead {
            store_format: trees.format().map_err(ExportError::Store)?,
            owner: owner.map_err(ExportError::Store)?,
        };
        self.block(Block::Head, &[&frame::encode(&head)])
    }

    fn block(&mut self, kind: Block, bytes: &[&[u8]]) -> Result<(), ExportError> {
        Ok(self.out.block(kind as u8, bytes)?)
    }

    fn end(self, end: journal::JournalHead) -> Result<(), ExportError> {
        let position = end.position.0.to_le_bytes();
        let values = self.values.to_le_bytes();
        let bytes: [&[u8]; 3] = [&position, &end.hash.0, &values];
        Ok(self.out.end(Block::End as u8, &bytes)?)
    }

    fn tree(&mut self, tree: &sled::Tree) -> Result<(), ExportError> {
        self.block(Block::Tree, &[&tree.name()])?;
        for key in schema::keys(tree).rev() {
            self.value(tree, &key.map_err(ExportError::Store)?)?;
        }
        Ok(())
    }

    // Nothing is deleted meanwhile, so only an incompletely written value can be absent.
    fn value(&mut self, tree: &sled::Tree, key: &[u8]) -> Result<(), ExportError> {
        match read(tree, key)? {
            Some(framed) => self.write(key, &framed),
            None => Ok(()),
        }
    }

    // Entries are stored individually in the copy, which packs them again later.
    fn turn(&mut self, journal: &Journal, position: Lsn) -> Result<Vec<u8>, ExportError> {
        let framed = journal.stored(position).map_err(ExportError::Store)?;
        self.write(&position_key(position), &framed)?;
        Ok(framed)
    }

    fn write(&mut self, key: &[u8], framed: &[u8]) -> Result<(), ExportError> {
        if Instant::now() > self.until {
            let hours = BACKUP_MAX.as_secs() / 3600;
            let slow = format!(
                "the backup exceeded its limit of {hours} hours, during which nothing is deleted"
            );
            return Err(io::Error::new(io::ErrorKind::TimedOut, slow).into());
        }
        self.values += 1;
        let length = u16::try_from(key.len()).map_err(io::Error::other)?;
        self.block(Block::Value, &[&length.to_le_bytes(), key, framed])
    }
}

fn read(tree: &sled::Tree, key: &[u8]) -> Result<Option<Vec<u8>>, ExportError> {
    let read = frame::get(tree, key).map_err(StoreError::from);
    read.map_err(ExportError::Store)
}
