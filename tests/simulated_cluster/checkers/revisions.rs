//! A revision is honest: it names exactly what is missing. And it is for ever: the next one adds to it, and changes
//! nothing.

use std::collections::BTreeSet;

use snapledger::history::global::{Completeness, GlobalState};
use snapledger::history::part::Part;
use snapledger::process::ids::ChannelId;

use super::Publication;
use crate::world::Checked;

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

/// What the revisions before it published is in it, as it was.
pub(super) fn unchanged(publication: &Publication<'_>) -> Checked {
    let Publication { state, disk, .. } = publication;
    for number in 1..state.revision {
        let earlier = disk.history.get(&(state.snapshot.clone(), number));
        let earlier = earlier.map(|written| &written.value);
        let earlier =
            earlier.ok_or_else(|| format!("{} has no revision {number}", state.snapshot))?;
        compare(earlier, state).map_err(|what| {
            format!(
                "{} revision {} against {number}: {what}",
                state.snapshot, state.revision
            )
        })?;
    }
    Ok(())
}

fn compare(earlier: &GlobalState, state: &GlobalState) -> Checked {
    if earlier.is_complete() {
        return Err("there is a revision behind a complete one".to_owned());
    }
    if (earlier.initiated_at, earlier.initiated_clock)
        != (state.initiated_at, state.initiated_clock)
    {
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
