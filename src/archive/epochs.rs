//! The claim of an epoch: one start of a process, one number.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::objects::SMALL_BYTES_MAX;
use super::{ArchiveError, Creation, Objects};
use crate::process::identity::Identity;
use crate::shipping::Epoch;
use crate::shipping::segment::WriterId;

const FOLDER: &str = "epochs";

/// Who has claimed an epoch, as the object says it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Claim {
    store: String,
    boot: u64,
    run: u64,
    /// Absent in claims of older programs.
    #[serde(default)]
    salts: Option<ClaimedSalts>,
}

/// What a store needs to make the same chunks again as the one that claimed the epoch.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimedSalts {
    /// The secret from which salts are derived, in hexadecimal.
    pub secret: String,
    /// The cut from which states are salted; `None` if none is yet.
    pub from: Option<u64>,
}

impl fmt::Debug for ClaimedSalts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClaimedSalts").finish_non_exhaustive()
    }
}

impl Claim {
    fn of(identity: Identity, salts: Option<ClaimedSalts>) -> Self {
        Self {
            store: identity.store_in_hexadecimal().into(),
            boot: identity.boot,
            run: identity.run,
            salts,
        }
    }

    fn identity(&self) -> Option<Identity> {
        let mut store = [0; 16];
        hex::decode_to_slice(&self.store, &mut store).ok()?;
        Some(Identity {
            store,
            boot: self.boot,
            run: self.run,
        })
    }
}

/// The newest claim of a process; `None` if it has no archive yet.
///
/// # Errors
/// [`ArchiveError`].
pub async fn newest(process: &Objects) -> Result<Option<WriterId>, ArchiveError> {
    Ok(newest_claim(process).await?.map(|claimed| claimed.writer))
}

/// A claimed epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    /// Who has claimed it.
    pub writer: WriterId,
    /// What a store needs to make the same chunks again.
    pub salts: Option<ClaimedSalts>,
}

/// The newest claim of a process with what else it says; `None` if it has no archive yet.
///
/// # Errors
/// [`ArchiveError`].
pub async fn newest_claim(process: &Objects) -> Result<Option<Claimed>, ArchiveError> {
    let names = process.list(FOLDER).await?;
    let Some(name) = names.last() else {
        return Ok(None);
    };
    let key = format!("{FOLDER}/{name}");
    let damaged = || process.damaged(&key, "it is not the claim of an epoch");
    let bytes = process.read(&key, SMALL_BYTES_MAX).await?;
    let bytes = bytes.ok_or_else(damaged)?;
    let claim: Claim = serde_json::from_slice(&bytes).map_err(|_| damaged())?;
    let epoch = name.parse().map(Epoch).map_err(|_| damaged())?;
    let identity = claim.identity().ok_or_else(damaged)?;
    Ok(Some(Claimed {
        writer: WriterId { epoch, identity },
        salts: claim.salts,
    }))
}

fn key(epoch: Epoch) -> String {
    format!("{FOLDER}/{:010}", epoch.0)
}

/// Creates a claim, unless its epoch has one. Returns whether it did.
///
/// # Errors
/// [`ArchiveError`].
pub async fn create(
    process: &Objects,
    claim: WriterId,
    salts: Option<ClaimedSalts>,
) -> Result<bool, ArchiveError> {
    let WriterId { epoch, identity } = claim;
    let claim = Claim::of(identity, salts);
    let claim = serde_json::to_vec(&claim).expect("a plain structure always encodes");
    Ok(process.create(&key(epoch), claim).await? == Creation::Created)
}

/// Claims the epoch behind all claimed ones for a start of a process.
///
/// # Errors
/// [`ArchiveError`].
pub async fn claim(
    process: &Objects,
    identity: Identity,
    salts: Option<ClaimedSalts>,
) -> Result<Epoch, ArchiveError> {
    loop {
        let newest = newest(process).await?;
        // The claim of an earlier attempt whose answer was lost.
        if let Some(newest) = newest.filter(|newest| newest.identity == identity) {
            return Ok(newest.epoch);
        }
        let epoch = Epoch(newest.map_or(0, |newest| newest.epoch.0) + 1);
        if create(process, WriterId { epoch, identity }, salts.clone()).await? {
            return Ok(epoch);
        }
    }
}
