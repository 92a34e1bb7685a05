//! Restores a backup into a new store. The new store has the identity of the original and is marked as a copy: it does
//! not answer for instants between the position of the backup and its own first start.

use std::io::{self, Read};
use std::path::Path;

use super::{BackupHead, Block, END_BYTES, FORMAT, MAGIC};
use crate::process::clock::Hlc;
use crate::process::ids::{Hash, Lsn, ProcessId};
use crate::store::Store;
use crate::store::engine::files;
use crate::store::engine::schema::Trees;
use crate::store::engine::{Disk, Engine};
use crate::store::error::StoreError;
use crate::store::export::ExportError;
use crate::store::gaps::ranges;
use crate::store::journal::{self, Journal};
use crate::store::opening::addresses::Addresses;
use crate::store::opening::migrate;
use crate::store::stored::frame;
use crate::store::stored::frame::{HEADER_BYTES, VALUE_BYTES_MAX};

/// The largest block: a key and a framed value.
const BLOCK_BYTES_MAX: usize = 2 + u16::MAX as usize + HEADER_BYTES + VALUE_BYTES_MAX;
/// The bytes of one write batch.
const BATCH_BYTES: usize = 256 * 1024;
/// The bytes written between two syncs.
const UNSYNCED_BYTES: u64 = 64 * 1024 * 1024;

/// A store made from a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackedUp {
    /// The name of the cluster.
    pub cluster: String,
    /// The process that owns the store.
    pub process: ProcessId,
    /// The newest turn in the store.
    pub position: Lsn,
    /// The clock value of that turn.
    pub time: Hlc,
    /// The number of values.
    pub values: u64,
    /// The number of bytes received.
    pub bytes: u64,
}

impl Store {
    /// Makes a store in an empty directory from the output of [`Store::back_up`]. `step` is called with the number of
    /// bytes received.
    ///
    /// # Errors
    /// [`ExportError`]; the directory is then useless.
    pub fn restore_backup(
        dir: &Path,
        input: &mut dyn Read,
        step: &dyn Fn(u64),
    ) -> Result<BackedUp, ExportError> {
        let mut blocks = Blocks::begin(input)?;
        let head = blocks.expect_head()?;
        let engine = Engine::open(dir, Box::new(Disk)).map_err(ExportError::Store)?;
        let Filled {
            end,
            values,
            addresses,
        } = fill(&engine, &mut blocks, step)?;
        engine.make_durable().map_err(ExportError::Store)?;
        let time = finish(&engine, end)?;
        engine.make_durable().map_err(ExportError::Store)?;
        drop(engine);
        if let Some(addresses) = addresses {
            addresses.write(dir).map_err(ExportError::Store)?;
        }
        files::await_release(dir).map_err(ExportError::Store)?;
        Ok(BackedUp {
            cluster: head.owner.cluster,
            process: head.owner.process,
            position: end.position,
            time,
            values,
            bytes: blocks.bytes,
        })
    }
}

/// The received content besides the values.
struct Filled {
    /// The end of the journal.
    end: journal::JournalHead,
    /// The number of values.
    values: u64,
    addresses: Option<Addresses>,
}

// Writes all values.
fn fill(
    engine: &Engine,
    blocks: &mut Blocks<'_>,
    step: &dyn Fn(u64),
) -> Result<Filled, ExportError> {
    let mut pending = Pending::new(engine);
    let (mut values, mut addresses) = (0, None);
    loop {
        let (kind, bytes) = blocks.next()?;
        step(blocks.bytes);
        match kind {
            Block::Tree => pending.turn_to(&bytes)?,
            Block::Value => {
                pending.insert(&bytes)?;
                values += 1;
            }
            Block::End => {
                let (end, counted, expected) = end(&bytes).ok_or_else(cut_off)?;
                if (values, blocks.before_end) != (counted, expected) {
                    return Err(damaged("its checksum does not match"));
                }
                pending.flush()?;
                return Ok(Filled {
                    end,
                    values,
                    addresses,
                });
            }
            Block::Addresses => {
                let read = Addresses::decode(&bytes);
                addresses = Some(read.map_err(|error| damaged(&error.to_string()))?);
            }
            Block::Head => return Err(damaged("it begins twice")),
        }
    }
}

// Checks the end of the journal, then sets the durable watermark. Returns the clock value of the newest turn.
fn finish(engine: &Engine, end: journal::JournalHead) -> Result<Hlc, ExportError> {
    let finished = || {
        let trees = Trees::open(&engine.db)?;
        migrate::known_format(&trees)?;
        let journal = Journal::open(&trees)?;
        if journal.head() != end {
            return Err(journal::missing(end.position));
        }
        ranges::note(&trees.meta, &(end.position..=end.position))?;
        engine.note(end)?;
        match end.position {
            Lsn(0) => Ok(Hlc::default()),
            position => journal.time(position),
        }
    };
    finished().map_err(ExportError::Store)
}

fn end(bytes: &[u8]) -> Option<(journal::JournalHead, u64, [u8; 32])> {
    if bytes.len() != END_BYTES {
        return None;
    }
    let (position, bytes) = bytes.split_first_chunk::<8>()?;
    let (hash, bytes) = bytes.split_first_chunk::<32>()?;
    let (values, bytes) = bytes.split_first_chunk::<8>()?;
    let head = journal::JournalHead {
        position: Lsn(u64::from_le_bytes(*position)),
        hash: Hash(*hash),
    };
    Some((head, u64::from_le_bytes(*values), bytes.try_into().ok()?))
}

/// Values not yet written.
struct Pending<'a> {
    engine: &'a Engine,
    tree: Option<sled::Tree>,
    batch: sled::Batch,
    bytes: usize,
    unsynced: u64,
}

impl<'a> Pending<'a> {
    fn new(engine: &'a Engine) -> Self {
        Self {
            engine,
            tree: None,
            batch: sled::Batch::default(),
            bytes: 0,
            unsynced: 0,
        }
    }

    fn turn_to(&mut self, name: &[u8]) -> Result<(), ExportError> {
        self.flush()?;
        let trees = Trees::open(&self.engine.db).map_err(ExportError::Store)?;
        let tree = trees.all().into_iter().find(|tree| *tree.name() == *name);
        let tree = tree.ok_or_else(|| damaged("it has a tree unknown to this program"))?;
        self.tree = Some(tree.clone());
        Ok(())
    }

    fn insert(&mut self, bytes: &[u8]) -> Result<(), ExportError> {
        let split = bytes.split_first_chunk::<2>().and_then(|(length, rest)| {
            rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))
        });
        let (key, framed) = split.ok_or_else(cut_off)?;
        frame::insert(&mut self.batch, key, framed);
        self.bytes += bytes.len();
        if self.bytes >= BATCH_BYTES {
            return self.flush();
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), ExportError> {
        let batch = std::mem::take(&mut self.batch);
        let bytes = std::mem::take(&mut self.bytes) as u64;
        let written = match &self.tree {
            Some(tree) => tree.apply_batch(batch).map_err(StoreError::from),
            None if bytes > 0 => return Err(damaged("a value belongs to no tree")),
            None => Ok(()),
        };
        self.unsynced += bytes;
        let synced = written.and_then(|()| {
            if self.unsynced < UNSYNCED_BYTES {
                return Ok(());
            }
            self.unsynced = 0;
            self.engine.make_durable()
        });
        synced.map_err(ExportError::Store)
    }
}

/// Reads blocks and hashes the bytes.
struct Blocks<'a> {
    input: &'a mut dyn Read,
    hasher: blake3::Hasher,
    /// The hash of all bytes before the last block.
    before_end: [u8; 32],
    bytes: u64,
}

impl<'a> Blocks<'a> {
    fn begin(input: &'a mut dyn Read) -> Result<Self, ExportError> {
        let hasher = blake3::Hasher::new();
        let mut blocks = Self {
            input,
            hasher,
            before_end: [0; 32],
            bytes: 0,
        };
        if blocks.exactly::<17>()? != *MAGIC {
            return Err(damaged("it is not a backup"));
        }
        let format = u32::from_le_bytes(blocks.exactly()?);
        if !(1..=FORMAT).contains(&format) {
            return Err(damaged(&format!(
                "its format is {format}; this program knows up to {FORMAT}"
            )));
        }
        Ok(blocks)
    }

    fn expect_head(&mut self) -> Result<BackupHead, ExportError> {
        let (Block::Head, bytes) = self.next()? else {
            return Err(damaged("it does not state its process"));
        };
        let head: BackupHead =
            frame::decode(&bytes).map_err(|damage| damaged(&damage.to_string()))?;
        let (found, known) = (head.store_format, migrate::newest_format());
        if found > known {
            return Err(ExportError::Store(StoreError::NewerFormat { found, known }));
        }
        Ok(head)
    }

    fn next(&mut self) -> Result<(Block, Vec<u8>), ExportError> {
        let head = self.unhashed::<5>()?;
        let [kind, length @ ..] = head;
        let kinds = [
            Block::Head,
            Block::Tree,
            Block::Value,
            Block::End,
            Block::Addresses,
        ];
        let kind = kinds.into_iter().find(|known| *known as u8 == kind);
        let kind = kind.ok_or_else(|| damaged("a part of it is of an unknown kind"))?;
        if kind == Block::End {
            self.before_end = *self.hasher.finalize().as_bytes();
        }
        self.pass(&head);
        let length = u32::from_le_bytes(length) as usize;
        if length > BLOCK_BYTES_MAX {
            return Err(damaged(
                "a part of it exceeds the size limit of stored values",
            ));
        }
        // Memory grows with the bytes received, not with the announced length.
        let mut bytes = Vec::new();
        (&mut *self.input)
            .take(length as u64)
            .read_to_end(&mut bytes)?;
        if bytes.len() != length {
            return Err(cut_off());
        }
        self.pass(&bytes);
        Ok((kind, bytes))
    }

    fn exactly<const N: usize>(&mut self) -> Result<[u8; N], ExportError> {
        let bytes = self.unhashed()?;
        self.pass(&bytes);
        Ok(bytes)
    }

    fn unhashed<const N: usize>(&mut self) -> Result<[u8; N], ExportError> {
        let mut bytes = [0; N];
        self.input
            .read_exact(&mut bytes)
            .map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => cut_off(),
                _ => error.into(),
            })?;
        Ok(bytes)
    }

    fn pass(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
    }
}

fn cut_off() -> ExportError {
    damaged("it ends early")
}

fn damaged(problem: &str) -> ExportError {
    ExportError::Damaged {
        what: "the backup".to_owned(),
        problem: problem.to_owned(),
    }
}
