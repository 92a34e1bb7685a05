//! Where a new store begins if not with turn 1: behind the state from which the archive begins or damage ends, or behind a later one, as
//! retention would have left it.

use std::time::Duration;

use super::contents::Contents;
use super::new_store::NewStore;
use super::turns::Turns;
use super::{Filled, NotFilled, Until};
use crate::archive::{ArchiveError, kept};
use crate::process::clock::Hlc;
use crate::process::ids::Lsn;
use crate::shipping::object::StateKey;
use crate::store::needs_of_stored_state;

/// From when on a new store answers, if the archive has more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// From an instant on.
    Instant(Hlc),
    /// From so long before the newest archived state on. The wall clock does not count: the process may have been lost for long.
    Age(Duration),
}

impl Since {
    fn limit(self, newest: Hlc) -> Hlc {
        match self {
            Self::Instant(limit) => limit,
            Self::Age(age) => {
                let age_us = u64::try_from(age.as_micros()).unwrap_or(u64::MAX);
                Hlc::at(newest.wall_us().saturating_sub(age_us))
            }
        }
    }
}

/// What the archive has and a store was not filled with because of its age.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Older {
    /// The first turn.
    pub first: Lsn,
    /// The last turn.
    pub last: Lsn,
    /// The instant of the state that takes the place of the turns.
    pub since: Hlc,
    /// The instant from which on the store should answer.
    pub limit: Hlc,
    /// The number of published snapshots that began before the limit.
    pub snapshots: u64,
}

impl<S: NewStore> Turns<'_, S> {
    /// Begins with the newest whole state from which the wanted age can be answered and behind which everything lies that is still
    /// needed. `behind` is where the archive begins. Returns the cut; `None` if there is no such state, or everything is
    /// wanted.
    pub(super) async fn aged(
        &self,
        contents: &mut Contents<'_, S>,
        states: &[StateKey],
        behind: Lsn,
        filled: &mut Filled,
    ) -> Result<Option<Lsn>, NotFilled> {
        let Some((since, newest)) = self.wanted.since.zip(states.last()) else {
            return Ok(None);
        };
        let (limit, needed) = (since.limit(newest.time), self.needed(states).await?);
        let is_aged = |key: &&StateKey| key.cut > behind && key.time <= limit && key.cut <= needed;
        for key in states.iter().rev().filter(is_aged) {
            // What is damaged behind the beginning is named with the other states.
            if contents.state(key).await?.is_ok() {
                filled.begins_with(*key);
                filled.older = Some(Older {
                    first: behind.next(),
                    last: key.cut,
                    since: key.time,
                    limit,
                    snapshots: 0,
                });
                return Ok(Some(key.cut));
            }
        }
        Ok(None)
    }

    // Behind which turn everything lies that the newest readable state still needs, and with it every later one.
    async fn needed(&self, states: &[StateKey]) -> Result<Lsn, NotFilled> {
        let (folder, owner) = (self.source.process(), self.source.owner());
        for key in states.iter().rev() {
            // What is damaged is named when it is loaded.
            match kept::read(folder, owner, key).await {
                Ok(Some(state)) => {
                    if let Ok(needs) = needs_of_stored_state(&state.body) {
                        return Ok(needs.from);
                    }
                }
                Ok(None) | Err(ArchiveError::Damaged { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Lsn(0))
    }

    /// The cut of the first whole state from which the journal can begin.
    pub(super) async fn beginning(
        &self,
        contents: &mut Contents<'_, S>,
        states: &[StateKey],
        behind: Lsn,
        filled: &mut Filled,
    ) -> Result<Lsn, NotFilled> {
        let mut damaged = None;
        for key in states.iter().filter(|key| key.cut >= behind) {
            let is_wanted = match self.wanted.until {
                Some(Until::Turn(last)) => key.cut < last,
                Some(Until::Instant(last)) => key.time <= last,
                None => true,
            };
            if !is_wanted {
                return Err(NotFilled::TooEarly {
                    url: self.source.process().url().to_owned(),
                    process: self.source.owner().process.clone(),
                    first: key.cut.next(),
                });
            }
            match contents.state(key).await? {
                Ok(()) => {
                    filled.begins_with(*key);
                    return Ok(key.cut);
                }
                Err(why) => {
                    filled.left_out.push(why.clone());
                    damaged = Some(why);
                }
            }
        }
        Err(NotFilled::NoBeginning {
            url: self.source.process().url().to_owned(),
            process: self.source.owner().process.clone(),
            begin: behind,
            damaged,
        })
    }
}

impl Filled {
    fn begins_with(&mut self, key: StateKey) {
        self.newest_state = Some(key.cut);
        self.states += 1;
    }
}
