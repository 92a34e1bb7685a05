//! Reads exports. Opening reads the file once and checks every frame, every hash and the total checksum. Only the
//! offsets of the chunks are kept; chunks are read again on demand.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{
    Block, END_BYTES, ExportError, FORMAT_PLAIN, FORMAT_SALTED, HEAD_BYTES, MAGIC, each_chunk,
};
use crate::history::global::GlobalState;
use crate::history::part::Chunk;
use crate::process::ids::Hash;
use crate::store::check::verify_revision::{GlobalStateAudit, check_bounds};
use crate::store::chunks::source::ChunkSource;
use crate::store::engine::schema;
use crate::store::error::StoreError;
use crate::store::history::{self, Published};
use crate::store::stored::codec::{FramedChunk, decode_chunk};
use crate::store::stored::frame::{Damage, Kind};

/// A larger length is damage; revisions are far smaller.
const BLOCK_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The same for a chunk, of which many are in memory at once. Stores close them at 64 KiB.
const CHUNK_BYTES_MAX: usize = 256 * 1024;
/// How often chunks are read on average. An audit and a restore read each a few times, and once more for each process
/// with the same content.
const READS_PER_CHUNK_MAX: u64 = 64;
/// So many reads are allowed beside that, for small files.
const READS_BESIDE: u64 = 100_000;

/// An export with intact bytes. [`Export::audit`] checks whether its figures are right.
pub struct Export {
    file: File,
    cluster: String,
    published: Published,
    places: HashMap<Hash, Place>,
    /// How many chunks were read. A file can name the same chunks again and again in few bytes.
    reads: AtomicU64,
}

struct Place {
    offset: u64,
    length: usize,
}

impl Export {
    /// Whether a file that begins with these bytes is an export, possibly damaged.
    #[must_use]
    pub fn begins_with(bytes: &[u8]) -> bool {
        bytes.starts_with(MAGIC)
    }

    /// Opens a file and reads all of it.
    ///
    /// # Errors
    /// [`ExportError`]: the file cannot be read, or the first damaged section.
    pub fn open(path: &Path) -> Result<Self, ExportError> {
        let file = File::open(path)?;
        let mut blocks = Blocks::begin(&file)?;
        let name = blocks.expect(Block::Cluster, "the cluster's name")?;
        let cluster = String::from_utf8(name.bytes)
            .map_err(|error| ExportError::damaged("the cluster's name", error))?;
        let revision = blocks.expect(Block::Revision, "the revision")?;
        let published = history::decode(&revision.bytes)
            .map_err(|damage| ExportError::damaged(revision.name("the revision"), damage))?;
        let mut places = HashMap::new();
        loop {
            let what = format!("chunk {}", places.len() + 1);
            let found = blocks.next(&what)?;
            match found.kind {
                Some(Block::Chunk) => {
                    let hash = hash_of_chunk(&found)
                        .map_err(|damage| ExportError::damaged(found.name(&what), damage))?;
                    let place = Place {
                        offset: found.offset,
                        length: found.bytes.len(),
                    };
                    if places.insert(hash, place).is_some() {
                        return Err(ExportError::damaged(found.name(&what), "it is repeated"));
                    }
                }
                Some(Block::End) => {
                    blocks.end(&found, places.len() as u64)?;
                    break;
                }
                _ => return Err(ExportError::damaged(found.name(&what), "it is not a chunk")),
            }
        }
        drop(blocks);
        Ok(Self {
            file,
            cluster,
            published,
            places,
            reads: AtomicU64::new(0),
        })
    }

    /// The cluster named in the file; unverified.
    #[must_use]
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// The revision and its root hash.
    #[must_use]
    pub fn published(&self) -> &Published {
        &self.published
    }

    /// The number of chunks.
    #[must_use]
    pub fn chunks(&self) -> u64 {
        self.places.len() as u64
    }

    /// Recomputes every figure from the contents.
    ///
    /// # Errors
    /// [`ExportError`]: a chunk is missing, unreadable, of the wrong kind, or not needed.
    pub fn audit(&self) -> Result<GlobalStateAudit, ExportError> {
        let state: &GlobalState = &self.published.state;
        check_bounds(state)?;
        let mut named = HashSet::new();
        each_chunk(self, state, |hash| {
            named.insert(*hash);
            Ok::<_, ExportError>(())
        })?;
        let mut unnamed = self
            .places
            .iter()
            .filter(|(hash, _)| !named.contains(*hash));
        if let Some((hash, place)) = unnamed.next() {
            let what = format!("chunk {hash} (at byte {})", place.offset);
            return Err(ExportError::damaged(
                what,
                "it is not referenced by the revision",
            ));
        }
        Ok(GlobalStateAudit::of(self, state)?)
    }
}

impl ChunkSource for Export {
    fn chunk(&self, hash: &Hash) -> Result<Chunk, StoreError> {
        let damaged = |problem: String| {
            let what = schema::name(Kind::Chunk, &hash.0);
            StoreError::damaged(what, Damage::Contradiction(problem))
        };
        let reads = self.reads.fetch_add(1, Ordering::Relaxed);
        if reads > READS_BESIDE + READS_PER_CHUNK_MAX * self.places.len() as u64 {
            let problem = "the file names its chunks more often than a snapshot does";
            return Err(damaged(problem.to_owned()));
        }
        let place = self.places.get(hash);
        let place = place.ok_or_else(|| damaged("it is not in the file".to_owned()))?;
        let mut stored = vec![0; place.length];
        self.file
            .read_exact_at(&mut stored, place.offset)
            .map_err(|error| damaged(error.to_string()))?;
        decode_chunk(hash, &stored)
    }
}

fn hash_of_chunk(found: &ReadBlock) -> Result<Hash, Damage> {
    let chunk = FramedChunk::of(&found.bytes)?;
    chunk.check()?;
    Ok(chunk.address())
}

/// A block that was read.
struct ReadBlock {
    kind: Option<Block>,
    /// The offset of its content.
    offset: u64,
    bytes: Vec<u8>,
}

impl ReadBlock {
    fn name(&self, what: &str) -> String {
        format!("{what} (at byte {})", self.offset)
    }
}

/// Reads block by block and hashes the bytes.
struct Blocks<'a> {
    file: BufReader<&'a File>,
    offset: u64,
    hasher: blake3::Hasher,
    /// The hash of everything before the newest block.
    before: blake3::Hash,
}

impl<'a> Blocks<'a> {
    fn begin(file: &'a File) -> Result<Self, ExportError> {
        let hasher = blake3::Hasher::new();
        let mut blocks = Self {
            file: BufReader::new(file),
            offset: 0,
            before: hasher.finalize(),
            hasher,
        };
        let header = blocks.read(MAGIC.len() + 4, "the header")?;
        let (magic, format) = header.split_at(MAGIC.len());
        if magic != MAGIC {
            let problem = "this is not an export of a snapshot";
            return Err(ExportError::damaged("the header", problem));
        }
        if ![FORMAT_PLAIN, FORMAT_SALTED]
            .map(u32::to_le_bytes)
            .iter()
            .any(|known| known == format)
        {
            let problem = format!(
                "its format is {format:?}, this program reads {FORMAT_PLAIN} and {FORMAT_SALTED}; use a newer program"
            );
            return Err(ExportError::damaged("the header", problem));
        }
        Ok(blocks)
    }

    fn expect(&mut self, kind: Block, what: &str) -> Result<ReadBlock, ExportError> {
        let found = self.next(what)?;
        if found.kind != Some(kind) {
            return Err(ExportError::damaged(found.name(what), "it is not there"));
        }
        Ok(found)
    }

    fn next(&mut self, what: &str) -> Result<ReadBlock, ExportError> {
        self.before = self.hasher.finalize();
        let head = self.read(HEAD_BYTES, what)?;
        let kind = [Block::Cluster, Block::Revision, Block::Chunk, Block::End];
        let kind = kind.into_iter().find(|kind| *kind as u8 == head[0]);
        let length = u32::from_le_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let offset = self.offset;
        let limit = match kind {
            Some(Block::Chunk) => CHUNK_BYTES_MAX,
            _ => BLOCK_BYTES_MAX,
        };
        if length > limit {
            let problem = format!("it states {length} bytes; the limit is {limit}");
            return Err(ExportError::damaged(
                format!("{what} (at byte {offset})"),
                problem,
            ));
        }
        let bytes = self.read(length, what)?;
        Ok(ReadBlock {
            kind,
            offset,
            bytes,
        })
    }

    fn end(&mut self, found: &ReadBlock, chunks: u64) -> Result<(), ExportError> {
        let what = || found.name("the end mark");
        let split = found.bytes.split_first_chunk::<8>();
        let split = split.filter(|_| found.bytes.len() == END_BYTES);
        let (count, hash) = split.ok_or_else(|| ExportError::damaged(what(), "it is cut off"))?;
        let count = u64::from_le_bytes(*count);
        if count != chunks {
            let problem = format!("it states {count} chunks, the file has {chunks}");
            return Err(ExportError::damaged(what(), problem));
        }
        if hash != self.before.as_bytes() {
            let hash = hex::encode(hash);
            let found = self.before.to_hex();
            let problem = format!("the bytes before it hash to {found}, it states {hash}");
            return Err(ExportError::damaged(what(), problem));
        }
        let mut more = [0];
        if self.file.read(&mut more)? > 0 {
            let problem = format!("bytes follow it, from byte {} on", self.offset);
            return Err(ExportError::damaged(what(), problem));
        }
        Ok(())
    }

    fn read(&mut self, length: usize, what: &str) -> Result<Vec<u8>, ExportError> {
        let mut bytes = Vec::new();
        let mut part = Read::take(&mut self.file, length as u64);
        let read = part.read_to_end(&mut bytes)?;
        if read < length {
            let end = self.offset + read as u64;
            let problem = format!("the file ends in it, at byte {end}; it was cut off");
            return Err(ExportError::damaged(what, problem));
        }
        self.offset += length as u64;
        self.hasher.update(&bytes);
        Ok(bytes)
    }
}

impl From<ExportError> for io::Error {
    fn from(error: ExportError) -> Self {
        match error {
            ExportError::Io(error) => error,
            other => Self::other(other),
        }
    }
}
