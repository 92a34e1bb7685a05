//! The claim of an epoch: one start of a process, one number.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::objects::SMALL_BYTES_MAX;
use super::{ArchiveError, Creation, Objects, is_number, sealed_json};
use crate::process::identity::Identity;
use crate::process::ids::Lsn;
use crate::shipping::Epoch;
use crate::shipping::hold::Waits;
use crate::shipping::segment::WriterId;
use crate::shipping::taking_up::WINDOW_MAX;

/// The folder of claims.
pub const FOLDER: &str = "epochs";

/// Who has claimed an epoch, as the object says it. A claim without one of these members is damaged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Claim {
    store: String,
    boot: u64,
    run: u64,
    salts: StoredSalts,
    /// The promise of the writer.
    journal: String,
    behind: u64,
    window: u64,
    /// In microseconds.
    #[serde(deserialize_with = "Option::deserialize")]
    max_age_us: Option<u64>,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
struct StoredSalts {
    /// In hexadecimal.
    secret: String,
    #[serde(deserialize_with = "Option::deserialize")]
    from: Option<u64>,
}

/// What a store needs to make the same chunks again as the one that claimed the epoch.
#[derive(Clone, PartialEq, Eq)]
pub struct ClaimedSalts {
    /// The secret from which salts are derived.
    pub secret: [u8; 32],
    /// The cut from which states are salted; `None` if none is yet.
    pub from: Option<u64>,
}

impl fmt::Debug for StoredSalts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredSalts").finish_non_exhaustive()
    }
}

impl fmt::Debug for ClaimedSalts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClaimedSalts").finish_non_exhaustive()
    }
}

/// What a claim says besides who makes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// What a store needs to make the same chunks again.
    pub salts: ClaimedSalts,
    /// What its writer promises.
    pub promise: Promise,
    /// The most puts that its writer has in flight.
    pub window: u64,
    /// `history.max_age` of its writer, by which a restored store begins; `None`: it keeps everything.
    pub max_age: Option<Duration>,
}

/// The windows of writers, each read once.
pub struct Windows {
    process: Objects,
    read: BTreeMap<Epoch, u64>,
}

impl Windows {
    /// Of the writers of a process.
    #[must_use]
    pub fn of(process: &Objects) -> Self {
        Self {
            process: process.clone(),
            read: BTreeMap::new(),
        }
    }

    /// The most puts that the writer of an epoch has in flight; the most of any writer if its claim is damaged.
    ///
    /// # Errors
    /// [`ArchiveError::Failed`].
    pub async fn at(&mut self, epoch: Epoch) -> Result<u64, ArchiveError> {
        if let Some(window) = self.read.get(&epoch) {
            return Ok(*window);
        }
        let window = match read(&self.process, &name_of(epoch)).await {
            Ok(claimed) => claimed.terms.window.clamp(1, WINDOW_MAX),
            Err(ArchiveError::Damaged { .. }) => WINDOW_MAX,
            Err(error) => return Err(error),
        };
        self.read.insert(epoch, window);
        Ok(window)
    }
}

/// What leaves a process only after the archive has the turn that it depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Promise {
    /// What waits.
    pub waits: Waits,
    /// The last turn before the start. Where anything waits for the archive, that is archived before the process goes on.
    pub behind: Lsn,
}

impl Claim {
    fn of(identity: Identity, terms: &Terms) -> Self {
        let Terms {
            salts,
            promise,
            window,
            max_age,
        } = terms;
        let micros = |age: Duration| u64::try_from(age.as_micros()).unwrap_or(u64::MAX);
        Self {
            store: identity.store_in_hexadecimal().into(),
            boot: identity.boot,
            run: identity.run,
            salts: StoredSalts {
                secret: hex::encode(salts.secret),
                from: salts.from,
            },
            journal: promise.waits.name().to_owned(),
            behind: promise.behind.0,
            window: *window,
            max_age_us: max_age.map(micros),
        }
    }

    fn identity(&self) -> Result<Identity, String> {
        Ok(Identity {
            store: bytes(&self.store)?,
            boot: self.boot,
            run: self.run,
        })
    }

    fn terms(&self) -> Result<Terms, String> {
        let unknown = || {
            format!(
                "this program does not know its journal = {:?}",
                self.journal
            )
        };
        Ok(Terms {
            salts: ClaimedSalts {
                secret: bytes(&self.salts.secret)?,
                from: self.salts.from,
            },
            promise: Promise {
                waits: Waits::named(&self.journal).ok_or_else(unknown)?,
                behind: Lsn(self.behind),
            },
            window: self.window,
            max_age: self.max_age_us.map(Duration::from_micros),
        })
    }
}

fn bytes<const N: usize>(text: &str) -> Result<[u8; N], String> {
    let mut bytes = [0; N];
    match hex::decode_to_slice(text, &mut bytes) {
        Ok(()) => Ok(bytes),
        Err(_) => Err(format!(
            "it does not have {N} bytes in hexadecimal where it should"
        )),
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
    /// What else the claim says.
    pub terms: Terms,
}

/// The newest claim of a process with what else it says; `None` if it has no archive yet.
///
/// # Errors
/// [`ArchiveError`].
pub async fn newest_claim(process: &Objects) -> Result<Option<Claimed>, ArchiveError> {
    let names = process.list(FOLDER).await?;
    // Other files are passed over.
    match names.iter().rev().find(|name| is_number(name)) {
        Some(name) => read(process, name).await.map(Some),
        None => Ok(None),
    }
}

/// What the claims of a process look like.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CheckedClaims {
    /// How many there are.
    pub count: u64,
    /// A sentence for each that is damaged.
    pub damaged: Vec<String>,
}

/// Reads all claims of a process.
///
/// # Errors
/// [`ArchiveError`].
pub async fn check(process: &Objects) -> Result<CheckedClaims, ArchiveError> {
    let mut checked = CheckedClaims::default();
    let names = process.list(FOLDER).await?;
    for name in names.iter().filter(|name| is_number(name)) {
        checked.count += 1;
        match read(process, name).await {
            Ok(_) => {}
            Err(error @ ArchiveError::Damaged { .. }) => checked.damaged.push(error.to_string()),
            Err(error) => return Err(error),
        }
    }
    Ok(checked)
}

/// The claim of an epoch in which something was written.
///
/// # Errors
/// [`ArchiveError`].
pub async fn at(process: &Objects, epoch: Epoch) -> Result<Claimed, ArchiveError> {
    read(process, &name_of(epoch)).await
}

async fn read(process: &Objects, name: &str) -> Result<Claimed, ArchiveError> {
    let key = format!("{FOLDER}/{name}");
    let damaged = |why: &str| {
        let reason = format!("it is not the claim of an epoch: {why}");
        process.damaged(&key, reason)
    };
    let claim = process.read(&key, SMALL_BYTES_MAX).await?;
    let claim = claim.ok_or_else(|| damaged("it is gone"))?;
    let claim = sealed_json::open::<Claim>(&claim);
    let said = claim.and_then(|claim| Ok((claim.identity()?, claim.terms()?)));
    let (identity, terms) = said.map_err(|why| damaged(&why))?;
    let epoch = name.parse().map(Epoch);
    let epoch = epoch.map_err(|_| damaged("its number is too large"))?;
    Ok(Claimed {
        writer: WriterId { epoch, identity },
        terms,
    })
}

/// The promises of the writers of an archived journal, newest first, those that it may lack turns of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Promises(Vec<Promise>);

/// The promises of the writers of an archived journal that ends with this turn, or a later one.
///
/// # Errors
/// [`ArchiveError`].
pub async fn promises(process: &Objects, end: Lsn) -> Result<Promises, ArchiveError> {
    let mut promises = Vec::new();
    let names = process.list(FOLDER).await?;
    for name in names.iter().rev().filter(|name| is_number(name)) {
        let promise = read(process, name).await?.terms.promise;
        promises.push(promise);
        if promise.behind <= end {
            break;
        }
    }
    Ok(Promises(promises))
}

impl Promises {
    /// What the writers let wait for the archive if the journal ends with this turn: the least of it.
    #[must_use]
    pub fn at(&self, end: Lsn) -> Waits {
        let mut least = Waits::Everything;
        for Promise { waits, behind } in &self.0 {
            least = least.min(*waits);
            if *behind <= end {
                return least;
            }
        }
        // Turns from before the first writer are missing.
        Waits::Nothing
    }
}

fn name_of(epoch: Epoch) -> String {
    format!("{:010}", epoch.0)
}

fn key(epoch: Epoch) -> String {
    format!("{FOLDER}/{}", name_of(epoch))
}

/// Creates a claim, unless its epoch has one. Returns whether it did.
///
/// # Errors
/// [`ArchiveError`].
pub async fn create(
    process: &Objects,
    claim: WriterId,
    terms: &Terms,
) -> Result<bool, ArchiveError> {
    let WriterId { epoch, identity } = claim;
    let claim = sealed_json::seal(&Claim::of(identity, terms));
    Ok(process.create(&key(epoch), claim).await? == Creation::Created)
}

/// Claims the epoch behind all claimed ones for a start of a process.
///
/// # Errors
/// [`ArchiveError`].
pub async fn claim(
    process: &Objects,
    identity: Identity,
    terms: &Terms,
) -> Result<Epoch, ArchiveError> {
    loop {
        let newest = newest(process).await?;
        // The claim of an earlier attempt whose answer was lost.
        if let Some(newest) = newest.filter(|newest| newest.identity == identity) {
            return Ok(newest.epoch);
        }
        let epoch = Epoch(newest.map_or(0, |newest| newest.epoch.0) + 1);
        if create(process, WriterId { epoch, identity }, terms).await? {
            return Ok(epoch);
        }
    }
}

#[cfg(test)]
impl Terms {
    /// Of a writer with so many puts in flight.
    pub(super) fn of_window(window: u64) -> Self {
        Self {
            salts: ClaimedSalts {
                secret: [5; 32],
                from: None,
            },
            promise: Promise {
                waits: Waits::Processes,
                behind: Lsn(0),
            },
            window,
            max_age: None,
        }
    }
}

#[cfg(test)]
#[path = "epochs_tests.rs"]
mod tests;
