//! Whether a store salts its chunks, and the secret from which their salts are derived.
//!
//! The salt of a chunk follows from the secret and its content: the same content gives the same chunk again, also after
//! a crash, and no content can be guessed from a hash without the secret. The secret is part of a backup, and of no
//! answer, export or proof.
//!
//! States are salted from a cut on, which is durable before the first of them is written. So a state that is written
//! again after a crash has the same chunks, and those before it stay as they were published.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::process::ids::Lsn;
use crate::store::engine::schema;
use crate::store::engine::schema::{CHUNK_SECRET, SALTED_FROM};
use crate::store::error::StoreError;
use crate::store::stored::codec::Secret;
use crate::store::stored::frame::{Damage, Kind};

const SECRET_BYTES: usize = 32;
/// No state is salted yet.
const NOT_YET: u64 = u64::MAX;

/// The secret of a store, which every one has.
pub(in crate::store) fn read_secret(meta: &sled::Tree) -> Result<[u8; SECRET_BYTES], StoreError> {
    let secret = schema::get::<[u8; SECRET_BYTES]>(meta, CHUNK_SECRET, Kind::Secret)?;
    secret.ok_or_else(|| {
        let problem = Damage::Contradiction("it is missing".to_owned());
        StoreError::damaged(schema::name(Kind::Secret, CHUNK_SECRET), problem)
    })
}

/// The secret of a store, and the states to which it applies.
pub(in crate::store) struct Salting {
    meta: sled::Tree,
    secret: Secret,
    /// The cut from which states are salted.
    from: AtomicU64,
    /// Whether all other processes can read salted chunks.
    is_allowed: AtomicBool,
    /// The end of the journal when the store was opened; earlier states may exist already.
    opened_at: Lsn,
}

impl Salting {
    /// Reads the secret of a store whose journal ends here.
    pub(in crate::store) fn open(meta: sled::Tree, end: Lsn) -> Result<Self, StoreError> {
        let secret = read_secret(&meta)?;
        let from: Option<u64> = schema::get(&meta, SALTED_FROM, Kind::Number)?;
        Ok(Self {
            meta,
            secret: Secret::new(secret),
            from: AtomicU64::new(from.unwrap_or(NOT_YET)),
            is_allowed: AtomicBool::new(false),
            opened_at: end,
        })
    }

    /// The secret for the contents of a state at this cut, and of the channels recorded with it; `None` if they are not
    /// salted.
    pub(in crate::store) fn at(&self, cut: Lsn) -> Option<&Secret> {
        (cut.0 >= self.from.load(Ordering::Acquire)).then_some(&self.secret)
    }

    /// The secret for contents without a cut.
    pub(in crate::store) fn now(&self) -> Option<&Secret> {
        (self.from.load(Ordering::Acquire) != NOT_YET).then_some(&self.secret)
    }

    /// All other processes can read salted chunks.
    pub(in crate::store) fn allow(&self) {
        self.is_allowed.store(true, Ordering::Release);
    }

    /// Begins with the state at this cut, if it is time. There is one writer of states, in the order of their cuts.
    pub(in crate::store) fn begin(
        &self,
        cut: Lsn,
        make_durable: impl FnOnce() -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let is_due = self.is_allowed.load(Ordering::Acquire) && cut >= self.opened_at;
        if is_due && self.now().is_none() {
            schema::put_numbers(&self.meta, [(SALTED_FROM, cut.0)])?;
            make_durable()?;
            self.from.store(cut.0, Ordering::Release);
            tracing::info!(cut = cut.0, "recorded states are salted from here on");
        }
        Ok(())
    }
}

/// Draws the secret of a store that has none. A new store salts all of its chunks.
pub(in crate::store) fn prepare(meta: &sled::Tree, is_new: bool) -> Result<(), StoreError> {
    if is_new {
        schema::put_numbers(meta, [(SALTED_FROM, 0)])?;
    }
    match schema::get::<[u8; SECRET_BYTES]>(meta, CHUNK_SECRET, Kind::Secret)? {
        Some(_) => Ok(()),
        None => schema::put(meta, CHUNK_SECRET, Kind::Secret, &draw()),
    }
}

// Each UUID has 122 random bits.
fn draw() -> [u8; SECRET_BYTES] {
    let mut hasher = blake3::Hasher::new();
    for _ in 0..4 {
        hasher.update(uuid::Uuid::new_v4().as_bytes());
    }
    *hasher.finalize().as_bytes()
}
