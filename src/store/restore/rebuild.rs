//! Rebuilds the store of one process that lost it, from a complete snapshot in the history of a peer and from what the
//! journals of the peers say has passed since.
//!
//! Balances, keys and remembered answers are those of the snapshot. What a peer has sent to the process since its
//! recorded state, and received from it, is known as a sum of money: the new store books the difference to the account
//! `suspense`, and a person decides where it belongs. What only the lost store knew, such as deposits since the
//! snapshot, is lost.
//!
//! If more has gone out than the account `suspense` held, the rest is not booked: balances are never negative, and only
//! a person can assign it. The store keeps the figure, and its node and `store check` keep reporting it.
//!
//! Messages are not sent again. Peers that forget the lost store write off what had passed between them
//! ([`crate::store::Store::forget`]). The excess of money received over money sent is an opening balance of this store.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Beginning, Rebuilt};
use crate::history::part::RecordedState;
use crate::process::channel::Flow;
use crate::process::ids::{Lsn, ProcessId};
use crate::store::copied::CopiedStore;
use crate::store::error::StoreError;
use crate::store::history::Published;
use crate::store::stored::frame::Damage;

/// What a peer knows to have passed since a snapshot, in minor units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassedSince {
    /// The peer whose journal was read.
    pub peer: ProcessId,
    /// Sent to the process and not contained in its recorded state.
    pub sent: i128,
    /// Received from the process, beyond what it had sent by its recorded state; negative if something it had sent
    /// never arrived.
    pub delivered: i128,
}

impl PassedSince {
    /// The difference of the process's money to its recorded state.
    #[must_use]
    pub fn difference(&self) -> i128 {
        self.sent - self.delivered
    }
}

/// Why a store cannot tell what has passed since a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Untold {
    /// It has forgotten the store of the other process since, which settled what had passed.
    Settled,
    /// Its journal is not the one in which the snapshot was recorded.
    Replaced,
    /// Its journal begins after the snapshot.
    Trimmed,
}

impl CopiedStore {
    /// What has passed between the owner of the store and another process since a snapshot that both recorded, or why
    /// that is unknown.
    ///
    /// # Errors
    /// [`StoreError`]: the journal is damaged.
    pub fn since(
        &self,
        published: &Published,
        lost: &ProcessId,
    ) -> Result<Result<PassedSince, Untold>, StoreError> {
        let parts = &published.state.parts;
        let (me, recorded) = (self.process(), parts.get(lost).map(|part| &part.state));
        let mine = parts.get(me).map(|part| &part.state);
        if let Some(untold) = mine.map_or(Ok(None), |state| self.breaks_off(state))? {
            return Ok(Err(untold));
        }
        let cut = mine.map_or(Lsn(0), |state| state.position);
        let of = |flows: &BTreeMap<ProcessId, Flow>| flows.get(me).map_or(0, |flow| flow.amount);
        let Some((sent, delivered)) = self.between(lost, cut)? else {
            return Ok(Err(Untold::Settled));
        };
        Ok(Ok(PassedSince {
            peer: me.clone(),
            sent: sent - recorded.map_or(0, |state| of(&state.delivered)),
            delivered: delivered - recorded.map_or(0, |state| of(&state.sent)),
        }))
    }

    // Why the journal is not known to continue a recorded state of its process; `None` if it does.
    fn breaks_off(&self, state: &RecordedState) -> Result<Option<Untold>, StoreError> {
        let (journal, cut) = (self.store().journal(), state.position);
        if cut.next() < journal.first() {
            return Ok(Some(Untold::Trimmed));
        }
        let is_there = cut <= journal.head().position;
        let continues = is_there && journal.hash_up_to(cut)? == state.journal;
        Ok((!continues).then_some(Untold::Replaced))
    }

    // The amounts sent to a process and received from it, in minor units; `None` if they were settled after the cut.
    fn between(&self, lost: &ProcessId, cut: Lsn) -> Result<Option<(i128, i128)>, StoreError> {
        let newest = self.store().journal().position();
        let totals = self.store().past().totals_at(newest)?;
        let given_up = totals.given_up.as_ref().and_then(|turns| turns.get(lost));
        if given_up.is_some_and(|turn| *turn > cut) {
            return Ok(None);
        }
        let amount =
            |flows: &BTreeMap<ProcessId, Flow>| flows.get(lost).map_or(0, |flow| flow.amount);
        Ok(Some((amount(&totals.sent), amount(&totals.delivered))))
    }

    /// Creates the store of one process in `dir`. The snapshot must be complete, audited and contain the process.
    ///
    /// # Errors
    /// [`StoreError`]; the content of `dir` is then useless.
    pub fn rebuild(
        &self,
        published: &Published,
        process: &ProcessId,
        difference: i128,
        dir: &Path,
    ) -> Result<Rebuilt, StoreError> {
        let part = published.state.parts.get(process);
        let part = part.ok_or_else(|| {
            let problem = Damage::Contradiction(format!("process {process} is not in it"));
            StoreError::damaged("global state", problem)
        })?;
        let beginning = Beginning::new(self.store().chunks(), self.cluster(), &published.state);
        beginning.alone(part, difference, dir)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::ids::Hash;
    use crate::store::Store;
    use crate::store::fixture::{account, process, snapshot, store};

    // Without this, money that had gone out is offset by a negative balance or an invalid account.
    #[test]
    fn the_difference_is_booked_as_far_as_there_is_money() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        drop(store(dir.path()));
        let scratch = tempfile::tempdir().expect("a temporary directory");
        let copied = CopiedStore::open(dir.path(), scratch.path(), &|_| {}).expect("it is whole");
        let published = copied.published(&snapshot()).expect("it is whole");
        let mut published = published.expect("it is published");
        let since = |published: &Published| {
            let since = copied.since(published, &process("q"));
            since.expect("it is whole")
        };
        // Nothing is left of the store that recorded it.
        assert_eq!(since(&published), Err(Untold::Replaced));
        let mine = published.state.parts.get_mut(&process("p"));
        let mine = &mut mine.expect("its part is there").state;
        (mine.position, mine.journal) = (Lsn(0), Hash::default());
        let known = since(&published).expect("the journal continues it");
        assert_eq!((&known.peer, known.difference()), (&process("p"), 0));
        for (difference, booked, accounts) in [(7, 7, 2), (0, 0, 1), (-7, 0, 1)] {
            let into = tempfile::tempdir().expect("a temporary directory");
            let lost = process("q");
            let made = copied.rebuild(&published, &lost, difference, into.path());
            let made = made.expect("there is room");
            assert_eq!((made.booked, made.restored.accounts), (booked, accounts));
            assert_eq!(made.restored.balance_total, 5 + booked);
            let checked = Store::check(into.path()).expect("a good store");
            assert_eq!(checked.balance_total, 5 + booked);
            let opened = Store::open(into.path(), "test", &lost).expect("it opens");
            let alone = crate::process::topology::Topology::full(std::slice::from_ref(&lost));
            let alone = alone.expect("one process is a topology");
            let (process, _) = opened.recover(&lost, &alone, 8).expect("it is whole");
            let suspense = i64::try_from(booked).ok().filter(|booked| *booked > 0);
            assert_eq!(process.bank().balance(&account("suspense")), suspense);
            // Without this the figure is printed once and lost.
            let unbooked = opened.unbooked().expect("it is whole");
            assert_eq!(unbooked, difference - booked);
            drop(opened);
            let scratch = tempfile::tempdir().expect("a temporary directory");
            let examined = Store::examine(into.path(), scratch.path(), &|_| {});
            let notes = examined.expect("it can be read").notes.join("\n");
            assert_eq!(notes.contains("7 minor units"), unbooked < 0, "{notes}");
        }
    }
}
