//! Checks everything that refers to chunks and everything published: recorded states, own parts, and all revisions of
//! all global states. A later revision must keep what an earlier one published, and the own part in it must be the
//! stored one.

use super::contents::{Contents, Messages};
use super::opened_copy::TreeWalk;
use super::packed::was_deleted;
use super::replay::Replayed;
use super::revision_chain::{RevisionChain, goes_on};
use super::revisions::Revisions;
use super::sums::Sums;
use super::{CheckProgress, Examiner};
use crate::history::global::GlobalState;
use crate::history::part::Part;
use crate::history::verify::verify;
use crate::process::ids::{Lsn, SnapshotId};
use crate::store::engine::schema;
use crate::store::engine::schema::{revision_key, snapshot_key};
use crate::store::error::StoreError;
use crate::store::stored::codec::decode_state;
use crate::store::stored::frame;
use crate::store::stored::frame::Kind;
use crate::store::stored::v1::Frozen;
use crate::store::stored::v1::global::GlobalStateV1;
use crate::store::stored::v7::part::read_part;

/// Compares everything that refers to chunks with them, and every revision with its predecessors.
///
/// # Errors
/// [`StoreError::Engine`].
pub(super) fn check(
    examiner: &mut Examiner,
    mut contents: Contents,
    replayed: &Replayed,
) -> Result<Contents, StoreError> {
    references(examiner, &mut contents)?;
    let mut sums = Sums::default();
    let mut story = RevisionChain::default();
    for damaged in examiner.opened.packed.take_damaged() {
        examiner.findings.push(damaged);
    }
    let opened = &examiner.opened;
    let of = (opened.trees.history.len() + opened.packed.len()) as u64;
    let mut walk = Revisions::new(&examiner.opened);
    while let Some(stored) = walk.next(&examiner.opened)? {
        let what = schema::name(Kind::Global, &stored.key);
        let state = stored.framed.and_then(|framed| {
            frame::unwrap(Kind::Global, &framed).and_then(frame::decode::<GlobalStateV1>)
        });
        let state = state.map_err(|damage| StoreError::damaged(what.clone(), damage));
        let Some(state) = examiner.findings.take(state) else {
            story.unreadable(&stored.key);
            continue;
        };
        let state: GlobalState = state.thaw();
        let mut problems = Vec::new();
        if revision_key(&state.snapshot, state.revision) != stored.key {
            problems.push("it is stored under the key of another".to_owned());
        }
        problems.extend(uncertified(&state));
        problems.extend(own_part(examiner, replayed, &state)?);
        for (process, part) in &state.parts {
            let counted = contents.part(examiner, &what, part);
            problems.extend(miscounted(&state, part, counted));
            // The part of this process is compared with the journal instead.
            if part.process != examiner.owner.process {
                let revision = state.revision;
                let name = || format!("{what}, revision {revision}, the part of {process:?}");
                problems.extend(sums.expect(name, &part.state));
            }
            if part.process != *process || part.snapshot != state.snapshot {
                problems.push(format!(
                    "its part of {process:?} belongs to another process"
                ));
            }
        }
        let revision = state.revision;
        let is_own = is_own(examiner, replayed, &state);
        problems.extend(story.follows(state, is_own));
        for problem in problems {
            examiner
                .findings
                .add(format!("{what}, revision {revision}"), problem);
        }
        examiner.report.revisions += 1;
        let done = examiner.report.revisions;
        (examiner.step)(CheckProgress {
            what: "history",
            done,
            of,
        });
    }
    examiner.report.states_of_others = sums.check(examiner)?;
    note_unpublished(examiner, replayed)?;
    Ok(contents)
}

/// Compares states and parts with the chunks they refer to.
///
/// # Errors
/// [`StoreError::Engine`].
pub(super) fn references(
    examiner: &mut Examiner,
    contents: &mut Contents,
) -> Result<(), StoreError> {
    let mut walk = TreeWalk::new(&examiner.opened.trees.states);
    while let Some(stored) = walk.next()? {
        let state = stored.framed.and_then(decode_state);
        // An undecodable state is reported by the pass over the journal.
        if let Ok(state) = state {
            let what = schema::name(Kind::State, &stored.key);
            for run in &state.recorded.runs {
                contents.run(examiner, &what, run);
            }
        }
    }
    let mut walk = TreeWalk::new(&examiner.opened.trees.parts);
    while let Some(stored) = walk.next()? {
        let part = stored.framed.and_then(|framed| read_part(&framed));
        if let Ok(part) = part {
            let what = schema::name(Kind::Part, &stored.key);
            contents.part(examiner, &what, &part);
        }
    }
    Ok(())
}

/// Compares published parts with the chunks they refer to.
///
/// # Errors
/// [`StoreError::Engine`].
pub(super) fn references_of_history(
    examiner: &mut Examiner,
    contents: &mut Contents,
) -> Result<(), StoreError> {
    let mut walk = Revisions::new(&examiner.opened);
    while let Some(stored) = walk.next(&examiner.opened)? {
        let what = schema::name(Kind::Global, &stored.key);
        let state = stored.framed.and_then(|framed| {
            frame::unwrap(Kind::Global, &framed).and_then(frame::decode::<GlobalStateV1>)
        });
        if let Ok(state) = state {
            let state: GlobalState = state.thaw();
            for part in state.parts.values() {
                contents.part(examiner, &what, part);
            }
        }
    }
    Ok(())
}

fn uncertified(state: &GlobalState) -> Vec<String> {
    let verification = verify(state);
    let failed = verification.checks.iter().filter(|check| !check.holds);
    let sentence = |check: &crate::history::verify::Check| {
        let figures = check.figures.iter();
        let figures: Vec<_> = figures
            .map(|(name, figure)| format!("{name} {figure}"))
            .collect();
        format!(
            "{} of {} does not hold: {}",
            check.check,
            check.subject,
            figures.join(", ")
        )
    };
    let mut problems: Vec<_> = failed.map(sentence).collect();
    if state.is_complete() && !state.parts.values().all(Part::is_finished) {
        problems.push("it is marked complete, but has unfinished channels".to_owned());
    }
    problems
}

fn miscounted(state: &GlobalState, part: &Part, found: Messages) -> Option<String> {
    let counted = state.counted.get(&part.process)?;
    let published = (counted.messages, counted.transfers, counted.amount);
    let found = (found.count, found.transfers, found.amount);
    (published != found).then(|| {
        format!("its part of {:?} holds {found:?} (messages, transfers, amount), but states {published:?}", part.process)
    })
}

// Whether this store assembled the revision. Revisions of an earlier, lost store of this process come back from its
// peers.
fn is_own(examiner: &Examiner, replayed: &Replayed, state: &GlobalState) -> bool {
    let counted = state.counted.get(&examiner.owner.process);
    let is_chained = counted.is_some_and(|counted| counted.is_chained.is_some());
    is_chained && replayed.recorded.contains_key(&state.snapshot)
}

// The own part was compared with the journal during the pass over it. A part that the journal does not know is of a
// lost store.
fn own_part(
    examiner: &Examiner,
    replayed: &Replayed,
    state: &GlobalState,
) -> Result<Option<String>, StoreError> {
    let me = &examiner.owner.process;
    let known = replayed.recorded.contains_key(&state.snapshot);
    let Some(published) = state.parts.get(me).filter(|_| known) else {
        return Ok(None);
    };
    let stored = match examiner.opened.own_part(&state.snapshot) {
        Ok(stored) => stored,
        // Reported by the pass over the journal.
        Err(StoreError::Damaged { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(match stored {
        Some(stored) if !goes_on(published, &stored) => {
            Some("its part of this process differs from the stored one".to_owned())
        }
        // A restored store cannot make a part again that was recorded before its journal begins.
        None if published.is_finished()
            && published.newest_turn(Lsn(u64::MAX)) >= replayed.parts_from =>
        {
            Some("its part of this process is finished, and is not stored".to_owned())
        }
        _ => None,
    })
}

// A node stopped before the deadline of its snapshot has not published yet; it continues at the next start.
fn note_unpublished(examiner: &mut Examiner, replayed: &Replayed) -> Result<(), StoreError> {
    let me = examiner.owner.process.clone();
    let started = replayed.recorded.iter();
    let started = started.filter(|(_, seen)| seen.initiator == me);
    let mut unpublished: Vec<&SnapshotId> = Vec::new();
    for (snapshot, _) in started {
        if was_deleted(&examiner.opened.trees.retention, snapshot)? {
            continue;
        }
        let history = &examiner.opened.trees.history;
        let alone = history.scan_prefix(snapshot_key(snapshot)).next();
        if alone.transpose()?.is_none() && !examiner.opened.packed.has(snapshot) {
            unpublished.push(snapshot);
        }
    }
    unpublished.sort();
    for snapshot in unpublished {
        let note = format!(
            "snapshot {snapshot:?} was started by this process and has no published revision yet"
        );
        examiner.findings.note(note);
    }
    Ok(())
}
