//! Checks that a revision names exactly what is missing, and that later revisions only add to it.

use std::collections::{BTreeMap, BTreeSet};

use snapledger::history::assembly::{REVISIONS_EACH, numbered_by};
use snapledger::history::global::{Completeness, GlobalState};
use snapledger::history::part::Part;
use snapledger::process::ids::{ChannelId, ProcessId, SnapshotId};

use super::Publication;
use super::recordings::Recordings;
use crate::world::Checked;

/// Every durable revision of every process; a number has one content.
#[derive(Default)]
pub(super) struct Revisions {
    published: BTreeMap<(SnapshotId, u32), GlobalState>,
    /// The processes that have each revision in their history.
    holders: BTreeMap<(SnapshotId, u32), BTreeSet<ProcessId>>,
}

impl Revisions {
    /// A revision is durable at its assembler. A process that lost its store may not know that it started the snapshot.
    pub(super) fn published(
        &mut self,
        by: &ProcessId,
        state: &GlobalState,
        may_not_know: bool,
    ) -> Checked {
        self.held(by, state)?;
        let mut initiators = state.parts.values();
        let least = initiators.find(|part| part.initiator == part.process);
        let is_wrong = least.is_none_or(|part| part.process != state.initiator);
        if state.is_complete() && !may_not_know && is_wrong {
            return Err(format!(
                "{} says that {} started it",
                state.snapshot, state.initiator
            ));
        }
        Ok(())
    }

    /// A revision is durable in another history. It is unknown if its publisher has lost its store.
    pub(super) fn taken_over(&mut self, by: &ProcessId, state: &GlobalState) -> Checked {
        self.held(by, state)
    }

    fn held(&mut self, by: &ProcessId, state: &GlobalState) -> Checked {
        let GlobalState {
            snapshot, revision, ..
        } = state;
        let key = (snapshot.clone(), *revision);
        let holders = self.holders.entry(key.clone()).or_default();
        holders.insert(by.clone());
        let known = self.published.entry(key).or_insert_with(|| state.clone());
        match known == state {
            true => Ok(()),
            false => Err(format!(
                "{snapshot} has two revisions {revision}: {known:?} and {state:?}"
            )),
        }
    }

    /// A process has lost its store: the revisions held only by it are gone. `begun`: these snapshots are left as they are. If the
    /// store was an older copy of itself, its peers had refused its markers and know nothing of the snapshots started after it.
    pub(super) fn lost_with(&mut self, process: &ProcessId, begun: &BTreeSet<SnapshotId>) {
        let refused = self
            .holders
            .iter_mut()
            .filter(|((snapshot, _), _)| !begun.contains(snapshot));
        for (key, holders) in refused {
            if holders.remove(process) && holders.is_empty() {
                self.published.remove(key);
            }
        }
        self.holders.retain(|_, holders| !holders.is_empty());
    }

    pub(super) fn knows(&self, state: &GlobalState) -> bool {
        let key = (state.snapshot.clone(), state.revision);
        self.published.contains_key(&key)
    }
}

/// Recomputes the missing processes and open channels from the parts.
pub(super) fn honest(publication: &Publication<'_>) -> Checked {
    let Publication {
        state,
        topology,
        disk,
        ..
    } = publication;
    let wrong = |what: String| {
        Err(format!(
            "{} revision {}: {what}",
            state.snapshot, state.revision
        ))
    };
    let absent: BTreeSet<_> = topology
        .processes()
        .filter(|id| !state.parts.contains_key(*id))
        .collect();
    let named: BTreeSet<_> = state
        .missing()
        .iter()
        .map(|missing| &missing.process)
        .collect();
    if absent != named || state.missing().len() != named.len() {
        return wrong(format!("{absent:?} are missing, {named:?} are named"));
    }
    let open: BTreeSet<ChannelId> = topology
        .channels()
        .filter(|channel| !closed(state, channel))
        .collect();
    let named: BTreeSet<_> = state.open_channels().iter().cloned().collect();
    if open != named {
        return wrong(format!("{open:?} are open, {named:?} are named"));
    }
    let start = state
        .parts
        .get(&state.initiator)
        .and_then(|part| part.start);
    if state.start != start {
        return wrong(format!(
            "it says {:?}, its parts say {start:?}",
            state.start
        ));
    }
    if state.is_complete() != (absent.is_empty() && open.is_empty()) {
        return wrong(format!("it calls itself {}", state.status()));
    }
    if let Completeness::Partial { missing, .. } = &state.completeness {
        for last in missing
            .iter()
            .filter_map(|missing| missing.last_complete.as_ref())
        {
            let mut revisions = disk.history.iter().filter(|((id, _), _)| id == last);
            let is_complete = revisions.any(|(_, revision)| revision.value.is_complete());
            if !is_complete && !disk.deleted.contains(last) {
                return wrong(format!("{last} is named as complete and is not"));
            }
        }
    }
    Ok(())
}

fn closed(state: &GlobalState, channel: &ChannelId) -> bool {
    let part = state.parts.get(&channel.to);
    part.is_some_and(|part| {
        part.channels
            .iter()
            .any(|closed| closed.from == channel.from)
    })
}

/// Checks that a revision contains the earlier ones unchanged: all in its range of numbers, and those in other ranges that this
/// process has used. It must not contradict those of other processes. Exempt are two parts of a process that lost the store of
/// one of them. A process that was put back may have started the snapshot twice.
pub(super) fn unchanged(
    publication: &Publication<'_>,
    put_back: Option<&ProcessId>,
    recordings: &Recordings,
) -> Checked {
    let Publication {
        by,
        state,
        disk,
        topology,
    } = publication;
    let first = state.revision - (state.revision - 1) % REVISIONS_EACH;
    for number in first..state.revision {
        if !disk.history.contains_key(&(state.snapshot.clone(), number)) {
            return Err(format!("{} has no revision {number}", state.snapshot));
        }
    }
    let publisher = |one: &GlobalState| {
        let publisher = numbered_by(one.revision, &one.initiator, topology);
        publisher.cloned()
    };
    let history = disk.history.values().map(|written| &written.value);
    let same = history.filter(|one| one.snapshot == state.snapshot);
    let others: Vec<_> = same.filter(|one| one.revision != state.revision).collect();
    let is_own = |one: &GlobalState| publisher(one).as_ref() == Some(*by);
    let foreign: Vec<_> = others.iter().filter(|one| !is_own(one)).collect();
    // Another process is certain of the start once it has the initiator's part.
    let is_start_known = |one: &GlobalState, publisher: Option<&ProcessId>| {
        publisher == Some(&one.initiator) || one.parts.contains_key(&one.initiator)
    };
    for earlier in &others {
        let is_start_compared = earlier.initiator == state.initiator
            && is_start_known(earlier, publisher(earlier).as_ref())
            && is_start_known(state, Some(*by))
            && put_back != Some(&state.initiator);
        let are_of_two_stores = |process: &ProcessId, part: &Part| {
            let now = state.parts.get(process);
            now.is_some_and(|now| recordings.are_of_two_stores(part, now))
        };
        let mut parts = earlier.parts.iter();
        // The process may have continued from a revision of another process that holds less of this part.
        let is_less = |process: &ProcessId, part: &Part| {
            let mut there = foreign.iter().map(|one| one.parts.get(process));
            there.any(|there| there.is_none_or(|there| !extends(part, there)))
        };
        let compared = match is_own(earlier) && earlier.is_complete() {
            true => Err("there is a revision behind a complete one".to_owned()),
            false if is_start_compared => same_start(earlier, state),
            false => Ok(()),
        };
        compared
            .and_then(|()| {
                parts.try_for_each(|(process, part)| {
                    match is_own(earlier) && !is_less(process, part) {
                        _ if are_of_two_stores(process, part) => Ok(()),
                        true => adds_to(part, state),
                        false => agrees(part, state),
                    }
                })
            })
            .map_err(|what| {
                let (snapshot, revision) = (&state.snapshot, state.revision);
                format!(
                    "{snapshot} revision {revision} against {}: {what}",
                    earlier.revision
                )
            })?;
    }
    Ok(())
}

fn same_start(earlier: &GlobalState, state: &GlobalState) -> Checked {
    let start = |one: &GlobalState| (one.initiated_at, one.initiated_clock);
    match start(earlier) == start(state) {
        true => Ok(()),
        false => Err("it says another start".to_owned()),
    }
}

// For an earlier revision of the same process: the part must be included.
fn adds_to(part: &Part, state: &GlobalState) -> Checked {
    let process = &part.process;
    match state.parts.get(process) {
        None => Err(format!("the part of {process} is gone")),
        Some(now) if extends(part, now) => Ok(()),
        Some(now) => Err(format!(
            "the part of {process} has changed: {part:?}, then {now:?}"
        )),
    }
}

// For a revision of another process: each may have what the other lacks.
fn agrees(part: &Part, state: &GlobalState) -> Checked {
    let process = &part.process;
    match state.parts.get(process) {
        Some(there) if !extends(part, there) && !extends(there, part) => Err(format!(
            "the part of {process} is another: {part:?}, and {there:?}"
        )),
        _ => Ok(()),
    }
}

// Whether `now` has the same state, initiator and start, and at least the same closed channels.
fn extends(before: &Part, now: &Part) -> bool {
    before.state == now.state
        && before.initiator == now.initiator
        && before.start == now.start
        && before
            .channels
            .iter()
            .all(|channel| now.channels.contains(channel))
}
