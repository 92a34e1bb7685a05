//! The whole cluster at one cut: every process is asked for its share, all at once; whoever is gone is looked up in the
//! history here. What is answered depends on the cut alone, not on who is asked or when.

use std::collections::BTreeMap;

use tokio::task::JoinSet;
use tonic::Code;

use super::balance::PEER_TIMEOUT;
use super::cut::Cut;
use super::error::Failure;
use crate::history::audit::{Absence, Absent, Audit};
use crate::history::lineage::{Doubt, JournalAtCut};
use crate::history::part::RecordedState;
use crate::history::process_totals::ProcessTotals;
use crate::node::{Handle, JournalPosition, PastPoint, PeerState, Unanswered};
use crate::process::clock::Hlc;
use crate::process::ids::{Lsn, ProcessId, SnapshotId};
use crate::proto::snapledger::peer_service_client::PeerServiceClient;
use crate::proto::snapledger::{Place as WirePlace, ShareAtRequest, share_at_request};
use crate::store::StoreError;
use crate::transport::wire::{answers_since, share_from_wire};

/// What the share of one process is.
enum KnownTotals {
    /// The one at the cut.
    Share(ProcessTotals),
    /// Not known; or an older one, with when and in which snapshot it was recorded.
    Absent(Absence, Option<(ProcessTotals, Hlc, SnapshotId)>),
}

/// The cluster at a clock value that is over.
pub(super) async fn at(handle: &Handle, time: Hlc) -> Result<Audit, Failure> {
    let processes = handle.config().topology.processes();
    let points = processes.map(|process| (process.clone(), PastPoint::Time(time)));
    gather(handle, Some(time), points.collect()).await
}

/// The cluster at a cut that was answered before.
pub(super) async fn cut(handle: &Handle, cut: Cut) -> Result<Audit, Failure> {
    let topology = &handle.config().topology;
    if let Some(left_out) = topology
        .processes()
        .find(|process| !cut.places.contains_key(*process))
    {
        let why = format!("process {left_out:?} is not in it; ask by an instant");
        return Err(Failure::malformed("cut", why));
    }
    let points = cut.places.into_iter();
    let points = points.map(|(process, place)| (process, PastPoint::Place(place)));
    gather(handle, cut.at, points.collect()).await
}

/// The processes that have done something later than the cut which is dated too far ahead of the clock here, as far as this node
/// has heard. What a client was told of is not in the figures then.
pub(super) fn dated_ahead(
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
) -> Result<Audit, Failure> {
    let mut asked = JoinSet::new();
    for (process, point) in &points {
        let (handle, process, point) = (handle.clone(), process.clone(), point.clone());
        asked.spawn(async move {
            let found = share(&handle, &process, (&point, at)).await;
            (process, found)
        });
    }
    let mut audit = Audit {
        at,
        channels: handle.config().topology.channels().collect(),
        shares: BTreeMap::new(),
        missing: BTreeMap::new(),
    };
    let mut horizon: Option<Hlc> = None;
    while let Some(answered) = asked.join_next().await {
        let answered = answered.map_err(|stopped| Failure::Interrupted(stopped.to_string()));
        let (process, found) = answered?;
        match found {
            // There is an answer where all of them have one.
            Err(Failure::BeforeHorizon(since)) => horizon = horizon.max(Some(since)),
            Err(failure) => return Err(failure),
            Ok(found) => put(&mut audit, process, found),
        }
    }
    if let Some(since) = horizon {
        return Err(Failure::BeforeHorizon(since));
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
    for (process, reason) in audit.strangers() {
        audit.shares.remove(&process);
        let asked = (&points[&process], at);
        let found = recorded(handle, &process, asked, reason).await?;
        put(&mut audit, process, found);
    }
    Ok(audit)
}

// Of one that is in the cluster no more. Its journal is gone with its store.
async fn removed(handle: &Handle, process: &ProcessId, time: Hlc) -> Result<KnownTotals, Failure> {
    let asked = (&PastPoint::Time(time), Some(time));
    recorded(handle, process, asked, Absence::OtherJournal).await
}

fn put(audit: &mut Audit, process: ProcessId, found: KnownTotals) {
    match found {
        KnownTotals::Share(share) => _ = audit.shares.insert(process, share),
        KnownTotals::Absent(reason, older) => {
            let known = older.map(|(share, until, snapshot)| {
                audit.shares.insert(process.clone(), share);
                (until, snapshot)
            });
            audit.missing.insert(process, Absent { reason, known });
        }
    }
}

// As the process says it, or else as the history here does; the instant goes with a place where it is known.
async fn share(
    handle: &Handle,
    process: &ProcessId,
    (point, at): (&PastPoint, Option<Hlc>),
) -> Result<KnownTotals, Failure> {
    let config = handle.config();
    let answered = if *process == config.me {
        own(handle, point).await?
    } else if config.topology.contains(process) {
        asked(handle, process, point).await?
    } else {
        // A cut from before it was taken out of the cluster.
        Err(Absence::OtherJournal)
    };
    match answered {
        Ok(share) if share.is_known() => Ok(KnownTotals::Share(share)),
        Ok(_) => recorded(handle, process, (point, at), Absence::OtherJournal).await,
        Err(reason) => recorded(handle, process, (point, at), reason).await,
    }
}

/// Where the journal of a process is to be asked about a state that it has recorded for a snapshot; `None` where there is no
/// journal.
pub(super) fn cut_of(snapshot: &SnapshotId, state: &RecordedState) -> Option<PastPoint> {
    let place = state.has_journal().then(|| JournalPosition {
        position: state.position,
        journal: state.journal.0.to_vec(),
    });
    place.map(|place| PastPoint::Recorded(place, snapshot.clone()))
}

/// The share of a process at such a point, as its own journal has it.
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
        Ok(told) => told.map_err(Doubt::Absent),
        Err(Failure::BeforeHorizon(_)) => Err(Doubt::BeforeHorizon),
        Err(why) => {
            tracing::warn!(%process, %why, "it is not known what its journal has at a cut");
            absent(Absence::NoAnswer)
        }
    }
}

async fn own(
    handle: &Handle,
    point: &PastPoint,
) -> Result<Result<ProcessTotals, Absence>, Failure> {
    match handle.share(point.clone()).await {
        Ok(share) => Ok(Ok(share)),
        // The cut was answered once: by a journal that is not here any more.
        Err(Unanswered::OtherJournal(_) | Unanswered::Store(StoreError::Beyond { .. })) => {
            Ok(Err(Absence::OtherJournal))
        }
        Err(error) => Err(error.into()),
    }
}

// What the newest snapshot in the history here says of a process, up to the point.
async fn recorded(
    handle: &Handle,
    process: &ProcessId,
    (point, at): (&PastPoint, Option<Hlc>),
    reason: Absence,
) -> Result<KnownTotals, Failure> {
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
    // The state at a place may have been recorded after the instant.
    let not_after = at.filter(|_| matches!(point, PastPoint::Time(_)));
    let (position, exact) = (position(point), is_exact.clone());
    let is_wanted = move |state: &RecordedState| {
        // What a process of another make says of a snapshot is nothing that others could be compared with.
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

// The share as the process itself gives it, or why it does not.
async fn asked(
    handle: &Handle,
    process: &ProcessId,
    point: &PastPoint,
) -> Result<Result<ProcessTotals, Absence>, Failure> {
    let Some(channel) = handle.peer_channel(process) else {
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
    let to_wire = |place: &JournalPosition| {
        share_at_request::Point::Place(WirePlace {
            position: place.position.0,
            journal_hash: place.journal.clone(),
        })
    };
    let (point, snapshot_id) = match point {
        PastPoint::Time(time) => (share_at_request::Point::Time(time.0), String::new()),
        PastPoint::Place(place) => (to_wire(place), String::new()),
        PastPoint::Recorded(place, snapshot) => (to_wire(place), snapshot.to_string()),
    };
    let request = ShareAtRequest {
        cluster: handle.config().cluster.clone(),
        point: Some(point),
        snapshot_id,
    };
    let mut client = PeerServiceClient::new(channel);
    let answer = tokio::time::timeout(PEER_TIMEOUT, client.share_at(request)).await;
    let answer = match answer {
        Ok(Ok(answer)) => answer.into_inner(),
        Ok(Err(status)) => match (answers_since(&status), status.code()) {
            (Some(since), _) => return Err(Failure::BeforeHorizon(since)),
            // As in `own`.
            (_, Code::InvalidArgument) => return Ok(Err(Absence::OtherJournal)),
            (_, Code::OutOfRange) => return Ok(Err(Absence::ClockBehind)),
            // Nobody is there, though it has not been missed yet.
            (_, Code::Unavailable) => return Ok(Err(gone)),
            _ => {
                let (code, why) = (status.code(), status.message());
                tracing::warn!(%process, ?code, why, "no share of it");
                return Ok(Err(Absence::NoAnswer));
            }
        },
        Err(_) => return Ok(Err(Absence::NoAnswer)),
    };
    match share_from_wire(answer) {
        Ok((found, share)) if found == *process => Ok(Ok(share)),
        other => {
            tracing::warn!(%process, ?other, "no share of it");
            Ok(Err(Absence::NoAnswer))
        }
    }
}
