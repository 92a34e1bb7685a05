//! The claim of an epoch: one start of a process, one number.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::objects::SMALL_BYTES_MAX;
use super::{ArchiveError, Creation, Objects, is_number};
use crate::process::identity::Identity;
use crate::process::ids::Lsn;
use crate::shipping::Epoch;
use crate::shipping::hold::Waits;
use crate::shipping::segment::WriterId;
use crate::shipping::taking_up::WINDOW_MAX;

/// The folder of claims.
pub const FOLDER: &str = "epochs";

/// Who has claimed an epoch, as the object says it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Claim {
    store: String,
    boot: u64,
    run: u64,
    /// Absent in claims of older programs.
    #[serde(default)]
    salts: Option<ClaimedSalts>,
    /// The promise of the writer; absent in claims of older programs.
    #[serde(default)]
    journal: Option<String>,
    #[serde(default)]
    behind: Option<u64>,
    /// The most puts that the writer has in flight; absent in claims of older programs.
    #[serde(default)]
    window: Option<u64>,
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

/// What a claim says besides who makes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Terms {
    /// What a store needs to make the same chunks again.
    pub salts: Option<ClaimedSalts>,
    /// What its writer promises; `None` in claims of older programs.
    pub promise: Option<Promise>,
    /// The most puts that its writer has in flight; `None` in claims of older programs.
    pub window: Option<u64>,
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

    /// The most puts that the writer of an epoch has in flight; the most of any writer if its claim does not say it.
    ///
    /// # Errors
    /// [`ArchiveError::Failed`].
    pub async fn at(&mut self, epoch: Epoch) -> Result<u64, ArchiveError> {
        if let Some(window) = self.read.get(&epoch) {
            return Ok(*window);
        }
        let claim = match self.process.read(&key(epoch), SMALL_BYTES_MAX).await {
            Err(ArchiveError::Damaged { .. }) => None,
            claim => claim?,
        };
        let claim = claim.and_then(|claim| serde_json::from_slice::<Claim>(&claim).ok());
        let window = claim.and_then(|claim| claim.window);
        let window = window.unwrap_or(WINDOW_MAX).clamp(1, WINDOW_MAX);
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
    fn of(identity: Identity, terms: Terms) -> Self {
        let Terms {
            salts,
            promise,
            window,
        } = terms;
        Self {
            store: identity.store_in_hexadecimal().into(),
            boot: identity.boot,
            run: identity.run,
            salts,
            journal: promise.map(|promise| promise.waits.name().to_owned()),
            behind: promise.map(|promise| promise.behind.0),
            window,
        }
    }

    fn promise(&self) -> Option<Promise> {
        Some(Promise {
            waits: Waits::named(self.journal.as_deref()?)?,
            behind: Lsn(self.behind?),
        })
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

async fn read(process: &Objects, name: &str) -> Result<Claimed, ArchiveError> {
    let key = format!("{FOLDER}/{name}");
    let damaged = || process.damaged(&key, "it is not the claim of an epoch");
    let bytes = process.read(&key, SMALL_BYTES_MAX).await?;
    let bytes = bytes.ok_or_else(damaged)?;
    let claim: Claim = serde_json::from_slice(&bytes).map_err(|_| damaged())?;
    let epoch = name.parse().map(Epoch).map_err(|_| damaged())?;
    let identity = claim.identity().ok_or_else(damaged)?;
    let terms = Terms {
        promise: claim.promise(),
        window: claim.window,
        salts: claim.salts,
    };
    Ok(Claimed {
        writer: WriterId { epoch, identity },
        terms,
    })
}

/// What the writers of an archived journal that ends with this turn let wait for the archive, those that it may lack turns of: the
/// least of it. `None` if one of them does not say it.
///
/// # Errors
/// [`ArchiveError`].
pub async fn promised(process: &Objects, end: Lsn) -> Result<Option<Waits>, ArchiveError> {
    let mut least = Waits::Everything;
    let names = process.list(FOLDER).await?;
    for name in names.iter().rev().filter(|name| is_number(name)) {
        let Some(Promise { waits, behind }) = read(process, name).await?.terms.promise else {
            return Ok(None);
        };
        least = least.min(waits);
        if behind <= end {
            return Ok(Some(least));
        }
    }
    // Turns from before the first writer are missing.
    Ok(Some(Waits::Nothing))
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
    terms: Terms,
) -> Result<bool, ArchiveError> {
    let WriterId { epoch, identity } = claim;
    let claim = Claim::of(identity, terms);
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
    terms: Terms,
) -> Result<Epoch, ArchiveError> {
    loop {
        let newest = newest(process).await?;
        // The claim of an earlier attempt whose answer was lost.
        if let Some(newest) = newest.filter(|newest| newest.identity == identity) {
            return Ok(newest.epoch);
        }
        let epoch = Epoch(newest.map_or(0, |newest| newest.epoch.0) + 1);
        if create(process, WriterId { epoch, identity }, terms.clone()).await? {
            return Ok(epoch);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use object_store::memory::InMemory;

    use super::*;

    fn start(boot: u64) -> Identity {
        Identity {
            store: [7; 16],
            boot,
            run: boot,
        }
    }

    // Without this a restore would say that nothing is missing, where a start that waits for the archive was lost before it had
    // shipped what an earlier one, which did not wait, had left.
    #[tokio::test]
    async fn a_promise_counts_from_the_turn_on_with_which_its_writer_began() {
        let objects = Objects::over(Arc::new(InMemory::new()), "".into(), "memory:");
        let writers = [
            (Waits::Processes, 10),
            (Waits::Everything, 20),
            (Waits::Nothing, 30),
            (Waits::Everything, 40),
        ];
        for (boot, (waits, behind)) in (1..).zip(writers) {
            let behind = Lsn(behind);
            let promise = Some(Promise { waits, behind });
            let terms = Terms {
                salts: None,
                promise,
                window: Some(boot),
            };
            let claimed = claim(&objects, start(boot), terms.clone()).await;
            assert_eq!(claimed.expect("it is in memory"), Epoch(boot));
            let newest = newest_claim(&objects).await.expect("it is in memory");
            assert_eq!(newest.map(|newest| newest.terms), Some(terms));
        }
        for (end, waits) in [
            (41, Waits::Everything),
            (40, Waits::Everything),
            (39, Waits::Nothing),
            (30, Waits::Nothing),
            (9, Waits::Nothing),
        ] {
            let promised = promised(&objects, Lsn(end)).await;
            assert_eq!(promised.expect("it is in memory"), Some(waits), "{end}");
        }
        // As older programs write it, and a later one whose promise is unknown here.
        for (boot, more) in [(5, ""), (6, ",\"journal\":\"quorum\",\"behind\":50")] {
            let store = start(boot).store_in_hexadecimal();
            let claim = format!("{{\"store\":\"{store}\",\"boot\":{boot},\"run\":{boot}{more}}}");
            let created = objects.create(&key(Epoch(boot)), claim.into_bytes()).await;
            assert_eq!(created.expect("it is in memory"), Creation::Created);
            let promised = promised(&objects, Lsn(60)).await;
            assert_eq!(promised.expect("it is in memory"), None);
        }
        let newest = newest(&objects).await.expect("it is in memory");
        assert_eq!(newest.map(|newest| newest.identity), Some(start(6)));
    }
}
