//! A revision is honest: it names exactly what is missing. And it is for ever: the next one adds to it, and changes
//! nothing.

use std::collections::{BTreeMap, BTreeSet};

use snapledger::history::assembly::REVISIONS_EACH;
use snapledger::history::global::{Completeness, GlobalState};
use snapledger::history::part::Part;
use snapledger::process::ids::{ChannelId, ProcessId, SnapshotId};

use super::Publication;
use crate::world::Checked;

/// Every durable revision of every process: a number stands for one content, and a snapshot has one complete revision.
#[derive(Default)]
pub(super) struct Revisions {
    published: BTreeMap<(SnapshotId, u32), GlobalState>,
    complete: BTreeMap<SnapshotId, u32>,
    /// In whose histories each one is.
    holders: BTreeMap<(SnapshotId, u32), BTreeSet<ProcessId>>,
}

impl Revisions {
    /// A revision is durable, assembled or taken over. After a loss, or where its initiator is gone, it may have rivals.
    pub(super) fn published(
        &mut self,
        (by, state): (&ProcessId, &GlobalState),
        may_have_rivals: bool,
    ) -> Checked {
        let GlobalState {
            snapshot, revision, ..
        } = state;
        let key = (snapshot.clone(), *revision);
        let holders = self.holders.entry(key.clone()).or_default();
        holders.insert(by.clone());
        let known = self.published.entry(key).or_insert_with(|| state.clone());
        if known != state {
            return Err(format!(
                "{snapshot} has two revisions {revision}: {known:?} and {state:?}"
            ));
        }
        if !state.is_complete() {
            return Ok(());
        }
        let last = self.complete.entry(snapshot.clone()).or_insert(*revision);
        if last != revision && !may_have_rivals {
            return Err(format!(
                "{snapshot} is complete twice, as revision {last} and as {revision}"
            ));
        }
        let mut initiators = state.parts.values();
        let least = initiators.find(|part| part.initiator == part.process);
        // One that lost its store has started it, and knows nothing of that.
        if !may_have_rivals && least.is_none_or(|part| part.process != state.initiator) {
            return Err(format!(
                "{snapshot} says that {} started it",
                state.initiator
            ));
        }
        Ok(())
    }

    /// The store of a process is lost that was an older copy of itself, so that its peers refused its markers. The revisions
    /// that it alone held are gone, and the others know nothing of these snapshots.
    pub(super) fn lost_with(&mut self, process: &ProcessId) {
        for (key, holders) in &mut self.holders {
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

    pub(super) fn complete(&self, snapshot: &SnapshotId) -> Option<&GlobalState> {
        let revision = self.complete.get(snapshot)?;
        self.published.get(&(snapshot.clone(), *revision))
    }
}

/// Who is missing and which channels are open, found anew from the parts.
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
    if state.is_complete() != (absent.is_empty() && open.is_empty()) {
        return wrong(format!("it calls itself {}", state.status()));
    }
    if let Completeness::Partial { missing, .. } = &state.completeness {
        for last in missing
            .iter()
            .filter_map(|missing| missing.last_complete.as_ref())
        {
            let mut revisions = disk.history.iter().filter(|((id, _), _)| id == last);
            if !revisions.any(|(_, revision)| revision.value.is_complete()) {
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

/// What the revisions before it published is in it, as it was: all of its range of numbers, and those of the ranges that
/// this process numbered in before. A process that was put back may have started it twice, and its part be another one since.
pub(super) fn unchanged(publication: &Publication<'_>, put_back: Option<&ProcessId>) -> Checked {
    let Publication {
        by, state, disk, ..
    } = publication;
    let first = state.revision - (state.revision - 1) % REVISIONS_EACH;
    for number in first..state.revision {
        if !disk.history.contains_key(&(state.snapshot.clone(), number)) {
            return Err(format!("{} has no revision {number}", state.snapshot));
        }
    }
    let history = disk.history.iter();
    let others = history
        .filter(|((snapshot, number), _)| *snapshot == state.snapshot && *number != state.revision);
    for ((_, number), earlier) in others {
        // What others say of the start is known for certain once the initiator's part is here.
        let is_start_known =
            |one: &GlobalState| one.initiator == **by || one.parts.contains_key(&one.initiator);
        let earlier = &earlier.value;
        let is_start_compared = earlier.initiator == state.initiator
            && is_start_known(earlier)
            && is_start_known(state)
            && put_back != Some(&state.initiator);
        let mut earlier = earlier.clone();
        earlier.parts.retain(|process, _| Some(process) != put_back);
        compare(&earlier, state, is_start_compared).map_err(|what| {
            format!(
                "{} revision {} against {number}: {what}",
                state.snapshot, state.revision
            )
        })?;
    }
    Ok(())
}

fn compare(earlier: &GlobalState, state: &GlobalState, is_start_compared: bool) -> Checked {
    if earlier.is_complete() {
        return Err("there is a revision behind a complete one".to_owned());
    }
    let is_another_start = (earlier.initiated_at, earlier.initiated_clock)
        != (state.initiated_at, state.initiated_clock);
    if is_start_compared && is_another_start {
        return Err("it says another start".to_owned());
    }
    for (process, part) in &earlier.parts {
        let Some(now) = state.parts.get(process) else {
            return Err(format!("the part of {process} is gone"));
        };
        if !extends(part, now) {
            return Err(format!(
                "the part of {process} has changed: {part:?}, then {now:?}"
            ));
        }
    }
    Ok(())
}

// The same state, the same closed channels, and perhaps more of them.
fn extends(before: &Part, now: &Part) -> bool {
    before.state == now.state
        && before.initiator == now.initiator
        && before
            .channels
            .iter()
            .all(|channel| now.channels.contains(channel))
}
