//! Audit of the whole cluster at one cut. All processes are asked for their totals concurrently; the totals of an
//! unreachable process are looked up in the local history. The result depends on the cut only, not on the node asked or
//! the time of the request.

use std::collections::BTreeMap;

use tokio::task::JoinSet;

use super::error::{QueryError, absence};
use crate::history::audit::{Absence, Absent, Audit};
use crate::history::lineage::{Doubt, JournalAtCut};
use crate::history::part::RecordedState;
use crate::history::past::{JournalPosition, PastPoint};
use crate::history::process_totals::{ProcessTotals, StoreId, StoresKnown, ToldTotals};
use crate::node::{Handle, PeerState, Unanswered};
use crate::otel::carried;
use crate::process::clock::Hlc;
use crate::process::ids::{Lsn, ProcessId, SnapshotId};
use crate::store::StoreError;
use crate::transport::peer_error::PeerError;

/// What is known of the totals of one process.
enum KnownTotals {
    /// The totals at the cut.
    Share(ProcessTotals),
    /// None: the journal of its store begins after the cut.
    Later(StoreId),
    /// Unknown at the cut; possibly older totals, with their time and the snapshot that recorded them.
    Absent(Absence, Option<(ProcessTotals, Hlc, SnapshotId)>),
}

/// The bytes kept of a journal hash: enough to distinguish journals, not enough as a proof.
const HASH_BYTES: usize = 8;

/// The cut of an audit: one journal position per process, with a prefix of the journal hash, so that it can be requested again
/// and is not confused with another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cut {
    /// The instant that the cut was requested by.
    pub(crate) at: Option<Hlc>,
    /// The journal position of each process.
    pub(crate) places: BTreeMap<ProcessId, JournalPosition>,
}

impl From<&Audit> for Cut {
    fn from(audit: &Audit) -> Self {
        let places = audit.shares.iter().map(|(process, share)| {
            let place = JournalPosition {
                position: share.position,
                journal: share.journal.0[..HASH_BYTES].to_vec(),
            };
            (process.clone(), place)
        });
        Self {
            at: audit.at,
            places: places.collect(),
        }
    }
}

/// The cluster at a past clock value.
pub(crate) async fn at(handle: &Handle, time: Hlc) -> Result<Audit, QueryError> {
    let processes = handle.config().topology.processes();
    let points = processes.map(|process| (process.clone(), PastPoint::Time(time)));
    gather(handle, Some(time), points.collect()).await
}

/// The cluster at the cut of an earlier audit. Processes that are not in the cut must have joined the cluster since.
pub(crate) async fn cut(handle: &Handle, cut: Cut) -> Result<Audit, QueryError> {
    let topology = &handle.config().topology;
    let left_out = topology.processes();
    let left_out = left_out.filter(|process| !cut.places.contains_key(*process));
    let left_out: Vec<ProcessId> = left_out.cloned().collect();
    let points = cut.places.into_iter();
    let points = points.map(|(process, place)| (process, PastPoint::Place(place)));
    let mut points: BTreeMap<_, _> = points.collect();
    for process in &left_out {
        let Some(time) = cut.at else {
            return Err(QueryError::NotInCut(process.clone()));
        };
        points.insert(process.clone(), PastPoint::Time(time));
    }
    let audit = gather(handle, cut.at, points).await?;
    match left_out
        .into_iter()
        .find(|one| audit.shares.contains_key(one))
    {
        Some(process) => Err(QueryError::NotInCut(process)),
        None => Ok(audit),
    }
}

/// The processes that this node knows to have clock values later than the cut because they run too far ahead of the
/// local clock. Their recent acknowledged operations are not in the figures.
pub(crate) fn dated_ahead(
    handle: &Handle,
    audit: &Audit,
) -> impl Iterator<Item = (ProcessId, Hlc)> {
    let at = audit.at;
    let ahead = handle.dated_ahead().into_iter();
    ahead.filter(move |(_, newest)| at.is_some_and(|at| at < *newest))
}

async fn gather(
    handle: &Handle,
    at: Option<Hlc>,
    points: BTreeMap<ProcessId, PastPoint>,
) -> Result<Audit, QueryError> {
    let mut asked = JoinSet::new();
    for (process, point) in &points {
        let (handle, process, point) = (handle.clone(), process.clone(), point.clone());
        asked.spawn(carried(async move {
            let found = share(&handle, &process, &point, at).await;
            (process, found)
        }));
    }
    let mut audit = Audit {
        at,
        channels: handle.config().topology.channels().collect(),
        ..Audit::default()
    };
    let mut horizon: Option<Hlc> = None;
    while let Some(answered) = asked.join_next().await {
        let answered = answered.map_err(|stopped| QueryError::Interrupted(stopped.to_string()));
        let (process, found) = answered?;
        match found {
            // Every process can answer from the latest of these horizons on.
            Err(QueryError::BeforeHorizon(since)) => horizon = horizon.max(Some(since)),
            Err(failure) => return Err(failure),
            Ok((found, stores)) => {
                let known = stores.map(|stores| (process.clone(), stores));
                audit.known_now.extend(known);
                put(&mut audit, process, found);
            }
        }
    }
    if let Some(since) = horizon {
        return Err(QueryError::BeforeHorizon(since));
    }
    for process in audit.removed() {
        let found = match at {
            Some(time) => removed(handle, &process, time).await?,
            None => KnownTotals::Absent(Absence::OtherJournal, None),
        };
        put(&mut audit, process, found);
    }
    let topology = &handle.config().topology;
    let counted = audit
        .missing
        .keys()
        .filter(|process| !topology.contains(process));
    for removed in counted.cloned().collect::<Vec<_>>() {
        audit.add_channels_of(&removed);
    }
    let doubted = audit.take_back_doubted();
    leave_out(handle, &mut audit, doubted, &points).await?;
    let strangers = audit.strangers();
    leave_out(handle, &mut audit, strangers, &points).await?;
    let doubted = audit.take_back_doubted();
    leave_out(handle, &mut audit, doubted, &points).await?;
    audit.leave_out_unused_channels();
    Ok(audit)
}

// In place of totals that do not count are the recorded ones, if there are any.
async fn leave_out(
    handle: &Handle,
    audit: &mut Audit,
    left_out: BTreeMap<ProcessId, Absence>,
    points: &BTreeMap<ProcessId, PastPoint>,
) -> Result<(), QueryError> {
    for (process, reason) in left_out {
        audit.shares.remove(&process);
        let point = &points[&process];
        let found = recorded(handle, &process, point, audit.at, reason).await?;
        put(audit, process, found);
    }
    Ok(())
}

// The recorded totals of a process that was removed from the cluster; its journal is gone with its store.
async fn removed(
    handle: &Handle,
    process: &ProcessId,
    time: Hlc,
) -> Result<KnownTotals, QueryError> {
    let point = PastPoint::Time(time);
    recorded(handle, process, &point, Some(time), Absence::OtherJournal).await
}

fn put(audit: &mut Audit, process: ProcessId, found: KnownTotals) {
    match found {
        KnownTotals::Share(share) => _ = audit.shares.insert(process, share),
        KnownTotals::Later(store) => _ = audit.later.insert(process, store),
        KnownTotals::Absent(reason, older) => {
            let known = older.map(|(share, until, snapshot)| {
                audit.shares.insert(process.clone(), share);
                (until, snapshot)
            });
            audit.missing.insert(process, Absent { reason, known });
        }
    }
}

// The totals from the process itself, otherwise from the local history, and what it knows of the stores of the others. For a
// point that is a position, `at` is the instant it was found by, if known.
async fn share(
    handle: &Handle,
    process: &ProcessId,
    point: &PastPoint,
    at: Option<Hlc>,
) -> Result<(KnownTotals, Option<StoresKnown>), QueryError> {
    let config = handle.config();
    let answered = if *process == config.me {
        own(handle, point).await?
    } else if config.topology.contains(process) {
        asked(handle, process, point).await?
    } else {
        // The cut is from before the process was removed.
        Err(Absence::OtherJournal)
    };
    let (absence, stores) = match answered {
        Ok(ToldTotals { totals, stores }) => match totals.begins_later() {
            _ if totals.is_known() => return Ok((KnownTotals::Share(totals), stores)),
            Some(store) if !was_recorded(handle, process, at).await? => {
                return Ok((KnownTotals::Later(store), stores));
            }
            _ => (Absence::OtherJournal, stores),
        },
        Err(absence) => (absence, None),
    };
    let found = recorded(handle, process, point, at, absence).await?;
    Ok((found, stores))
}

/// The point at which to ask the journal of a process about a state that it recorded for a snapshot; `None` if the
/// process has no journal.
pub(super) fn cut_of(snapshot: &SnapshotId, state: &RecordedState) -> Option<PastPoint> {
    let place = state.has_journal().then(|| JournalPosition {
        position: state.position,
        journal: state.journal.0.to_vec(),
    });
    place.map(|place| PastPoint::Recorded(place, snapshot.clone()))
}

/// The totals of a process at such a point, from its own journal.
pub(super) async fn at_cut(
    handle: &Handle,
    process: &ProcessId,
    cut: Option<PastPoint>,
) -> JournalAtCut {
    let absent = |absence| Err(Doubt::Absent(absence));
    let Some(point) = cut else {
        return absent(Absence::OtherMake);
    };
    let config = handle.config();
    let answered = if *process == config.me {
        own(handle, &point).await
    } else if config.topology.contains(process) {
        asked(handle, process, &point).await
    } else {
        return absent(Absence::OtherJournal);
    };
    match answered {
        Ok(told) => told.map(|told| told.totals).map_err(Doubt::Absent),
        Err(QueryError::BeforeHorizon(_)) => Err(Doubt::BeforeHorizon),
        Err(why) => {
            tracing::warn!(%process, %why, "cannot read the totals of its journal at a cut");
            absent(Absence::NoAnswer)
        }
    }
}

async fn own(
    handle: &Handle,
    point: &PastPoint,
) -> Result<Result<ToldTotals, Absence>, QueryError> {
    match handle.share(point.clone()).await {
        Ok(share) => Ok(Ok(share)),
        // The cut was valid once, for a journal that this store no longer has.
        Err(Unanswered::OtherJournal(_) | Unanswered::Store(StoreError::Beyond { .. })) => {
            Ok(Err(Absence::OtherJournal))
        }
        Err(error) => Err(error.into()),
    }
}

// Whether the local history has a state of the process at or before the instant, be it of another make.
async fn was_recorded(
    handle: &Handle,
    process: &ProcessId,
    at: Option<Hlc>,
) -> Result<bool, QueryError> {
    let is_before = move |state: &RecordedState| at.is_none_or(|at| state.time <= at);
    let found = handle.recorded(process.clone(), at, is_before).await?;
    Ok(found.is_some())
}

// The totals in the newest local snapshot that recorded the process at or before the point.
async fn recorded(
    handle: &Handle,
    process: &ProcessId,
    point: &PastPoint,
    at: Option<Hlc>,
    reason: Absence,
) -> Result<KnownTotals, QueryError> {
    let place = match point {
        PastPoint::Time(_) => None,
        PastPoint::Place(place) | PastPoint::Recorded(place, _) => Some(place.clone()),
    };
    let is_exact = move |state: &RecordedState| {
        let is_at = |place: &JournalPosition| {
            place.position == state.position && place.is_in(&state.journal)
        };
        place.as_ref().is_some_and(is_at)
    };
    // A state exactly at the position may have been recorded after the instant, so the search is not limited by time.
    let not_after = at.filter(|_| matches!(point, PastPoint::Time(_)));
    let (position, exact) = (position(point), is_exact.clone());
    let is_wanted = move |state: &RecordedState| {
        // The figures of a foreign process have no journal position that others could be compared with.
        if !state.has_journal() {
            return false;
        }
        let is_before = at.is_none_or(|at| state.time <= at)
            && position.is_none_or(|position| state.position <= position);
        is_before || exact(state)
    };
    let found = handle.recorded(process.clone(), not_after, is_wanted);
    let Some((snapshot, state)) = found.await? else {
        return Ok(KnownTotals::Absent(reason, None));
    };
    let share = ProcessTotals::from(&state);
    match is_exact(&state) {
        true => Ok(KnownTotals::Share(share)),
        false => Ok(KnownTotals::Absent(
            reason,
            Some((share, state.time, snapshot)),
        )),
    }
}

fn position(point: &PastPoint) -> Option<Lsn> {
    match point {
        PastPoint::Time(_) => None,
        PastPoint::Place(place) | PastPoint::Recorded(place, _) => Some(place.position),
    }
}

// The totals as the process reports them, or why it does not.
async fn asked(
    handle: &Handle,
    process: &ProcessId,
    point: &PastPoint,
) -> Result<Result<ToldTotals, Absence>, QueryError> {
    let Some(client) = handle.peer_client(process) else {
        return Ok(Err(Absence::OtherMake));
    };
    let peers = handle.peers();
    let peer = peers.iter().find(|peer| peer.process == *process);
    let gone = match peer.map(|peer| peer.state) {
        Some(PeerState::NeverSeen) => Absence::NeverSeen,
        _ => Absence::Down,
    };
    if peer.is_some_and(|peer| peer.is_silent) {
        return Ok(Err(gone));
    }
    match client.share_at(point).await {
        Ok(share) => Ok(Ok(share)),
        // As in `own`.
        Err(PeerError::Invalid(_)) => Ok(Err(Absence::OtherJournal)),
        Err(error) => absence(process, gone, &error).map(Err),
    }
}
