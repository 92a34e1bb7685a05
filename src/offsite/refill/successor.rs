//! The store that takes the place of a lost one, and how it takes the process over.

use std::time::Duration;

use super::NotFilled;
use crate::archive::epochs::{ClaimedSalts, Promise, Terms};
use crate::archive::{NotFenced, epochs, fence, probe};
use crate::offsite::Source;
use crate::process::identity::Identity;
use crate::shipping::segment::WriterId;
use crate::shipping::writer::Walked;
use crate::store::{Salts, Store};

/// The puts of a fence.
const WINDOW: usize = 1;

/// The store that takes the place of the one that last wrote to the archive. No `Debug`: it holds a secret.
#[derive(Clone, Copy)]
pub struct Successor {
    /// Its identity: that of the lost store, with a higher boot.
    pub identity: Identity,
    /// What it needs to make the same chunks again.
    pub salts: Salts,
    /// `history.max_age` of the lost store; `None`: it kept everything.
    pub max_age: Option<Duration>,
    /// What the lost store promised. A successor that was never started has kept it.
    promise: Promise,
}

impl Successor {
    /// The successor of the store that last claimed the archive of a process.
    ///
    /// # Errors
    /// [`NotFilled`]: the process has no archive, or it cannot be read.
    pub async fn of(source: &Source) -> Result<Self, NotFilled> {
        Self::with(source, Store::successor_of).await
    }

    /// The same, with an identity that follows from that of the lost store.
    ///
    /// # Errors
    /// As [`Successor::of`].
    pub async fn with(
        source: &Source,
        identity: impl FnOnce(Identity) -> Identity,
    ) -> Result<Self, NotFilled> {
        let claimed = epochs::newest_claim(&source.process).await?;
        let claimed = claimed.ok_or_else(|| NotFilled::NoJournal {
            url: source.process.url().to_owned(),
            process: source.owner.process.clone(),
            cluster: source.owner.cluster.clone(),
        })?;
        let Terms {
            salts,
            promise,
            max_age,
            ..
        } = claimed.terms;
        let ClaimedSalts { secret, from } = salts;
        Ok(Self {
            identity: identity(claimed.writer.identity),
            salts: Salts { secret, from },
            max_age,
            promise,
        })
    }

    /// Claims an epoch and sets a fence behind what was walked: nothing is acknowledged behind what is read afterwards. Returns the claim,
    /// which the new store must remember.
    ///
    /// # Errors
    /// [`NotFenced`].
    pub async fn take_over(&self, source: &Source, walked: Walked) -> Result<WriterId, NotFenced> {
        let (objects, identity) = (&source.process, self.identity);
        probe::probe(objects, identity.run).await?;
        let terms = Terms {
            salts: claimed_salts(self.salts),
            promise: self.promise,
            window: WINDOW as u64,
            max_age: self.max_age,
        };
        let epoch = epochs::claim(objects, identity, &terms).await?;
        let id = WriterId { epoch, identity };
        fence(objects, source.owner.clone(), id, WINDOW, walked).await?;
        Ok(id)
    }
}

/// The salts of a store as a claim says them.
#[must_use]
pub fn claimed_salts(salts: Salts) -> ClaimedSalts {
    let Salts { secret, from } = salts;
    ClaimedSalts { secret, from }
}
