//! The store that takes the place of a lost one, and how it takes the process over.

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
    pub salts: Option<Salts>,
    /// What the lost store promised. A successor that was never started has kept it.
    promise: Option<Promise>,
}

impl Successor {
    /// The successor of the store that last claimed the archive of a process.
    ///
    /// # Errors
    /// [`NotFilled`]: the process has no archive, or it cannot be read.
    pub async fn of(source: &Source) -> Result<Self, NotFilled> {
        let claimed = epochs::newest_claim(&source.process).await?;
        let claimed = claimed.ok_or_else(|| NotFilled::NoJournal {
            url: source.process.url().to_owned(),
            process: source.owner.process.clone(),
            cluster: source.owner.cluster.clone(),
        })?;
        Ok(Self {
            identity: Store::successor_of(claimed.writer.identity),
            salts: claimed.terms.salts.as_ref().and_then(salts_of),
            promise: claimed.terms.promise,
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
            salts: self.salts.as_ref().map(claimed_salts),
            promise: self.promise,
            window: Some(WINDOW as u64),
        };
        let epoch = epochs::claim(objects, identity, terms).await?;
        let id = WriterId { epoch, identity };
        fence(objects, source.owner.clone(), id, WINDOW, walked).await?;
        Ok(id)
    }
}

/// The salts of a store as a claim says them.
#[must_use]
pub fn claimed_salts(salts: &Salts) -> ClaimedSalts {
    ClaimedSalts {
        secret: hex::encode(salts.secret),
        from: salts.from,
    }
}

fn salts_of(claimed: &ClaimedSalts) -> Option<Salts> {
    let mut secret = [0; 32];
    hex::decode_to_slice(&claimed.secret, &mut secret).ok()?;
    let from = claimed.from;
    Some(Salts { secret, from })
}
