//! The whole cluster at one cut: every process is asked for its share, all at once; whoever is gone is looked up in the
//! history here. What is answered depends on the cut alone, not on who is asked or when.

use std::collections::BTreeMap;

use tokio::task::JoinSet;
use tonic::Code;

use super::balance::PEER_TIMEOUT;
use super::cut::Cut;
use super::error::Failure;
use crate::history::audit::{Absence, Absent, Audit};
use crate::history::part::RecordedState;
use crate::history::share::Share;
use crate::node::{Handle, PeerState, Place, Point, Unanswered};
use crate::process::clock::Hlc;
use crate::process::ids::{ProcessId, SnapshotId};
use crate::process::refusal::Refusal;
use crate::proto::snapledger::peer_service_client::PeerServiceClient;
use crate::proto::snapledger::{Place as WirePlace, ShareAtRequest, share_at_request};
use crate::transport::wire::{answers_since, share_from_wire};

/// What the share of one process is.
enum Found {
    /// The one at the cut.
    Share(Share),
    /// Not known; or an older one, with when and in which snapshot it was recorded.
    Absent(Absence, Option<(Share, Hlc, SnapshotId)>),
}

/// The cluster at a clock value that is over.
pub(super) async fn at(handle: &Handle, time: Hlc) -> Result<Audit, Failure> {
    let processes = handle.config().topology.processes();
    let points = processes.map(|process| (process.clone(), Point::Time(time)));
    gather(handle, Some(time), points.collect()).await
}

/// The cluster at a cut that was answered before.
pub(super) async fn cut(handle: &Handle, cut: Cut) -> Result<Audit, Failure> {
    let topology = &handle.config().topology;
    if let Some(unknown) = cut
        .places
        .keys()
        .find(|process| !topology.contains(process))
    {
        let why = Refusal::UnknownProcess(unknown.clone());
        return Err(Failure::malformed("cut", why));
    }
    if let Some(left_out) = topology
        .processes()
        .find(|process| !cut.places.contains_key(*process))
    {
        let why = format!("process {left_out:?} is not in it; ask by an instant");
        return Err(Failure::malformed("cut", why));
    }
    let points = cut.places.into_iter();
    let points = points.map(|(process, place)| (process, Point::Place(place)));
    gather(handle, cut.at, points.collect()).await
}

async fn gather(
    handle: &Handle,
    at: Option<Hlc>,
    points: BTreeMap<ProcessId, Point>,
) -> Result<Audit, Failure> {
    let mut asked = JoinSet::new();
    for (process, point) in points {
        let handle = handle.clone();
        asked.spawn(async move {
            let found = share(&handle, &process, point).await;
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
            Ok(Found::Share(share)) => _ = audit.shares.insert(process, share),
            Ok(Found::Absent(reason, older)) => {
                let known = older.map(|(share, until, snapshot)| {
                    audit.shares.insert(process.clone(), share);
                    (until, snapshot)
                });
                audit.missing.insert(process, Absent { reason, known });
            }
        }
    }
    match horizon {
        Some(since) => Err(Failure::BeforeHorizon(since)),
        None => Ok(audit),
    }
}

async fn share(handle: &Handle, process: &ProcessId, point: Point) -> Result<Found, Failure> {
    if *process == handle.config().me {
        let share = handle.share(point).await.map_err(of_cut)?;
        return Ok(Found::Share(share));
    }
    let reason = match asked(handle, process, &point).await? {
        Ok(share) => return Ok(Found::Share(share)),
        Err(reason) => reason,
    };
    let (wanted, exact) = match point {
        Point::Time(time) => (Wanted::Time(time), None),
        Point::Place(place) => (Wanted::Place(place.clone()), Some(place)),
    };
    let not_after = wanted.instant();
    let recorded = handle.recorded(process.clone(), not_after, move |state| wanted.takes(state));
    let Some((snapshot, state)) = recorded.await? else {
        return Ok(Found::Absent(reason, None));
    };
    let share = Share::from(&state);
    if exact.is_some_and(|place| place.position == share.position && place.check(&share).is_ok()) {
        return Ok(Found::Share(share));
    }
    Ok(Found::Absent(reason, Some((share, state.time, snapshot))))
}

/// What a recorded state must not be later than.
enum Wanted {
    Time(Hlc),
    Place(Place),
}

impl Wanted {
    fn instant(&self) -> Option<Hlc> {
        match self {
            Self::Time(time) => Some(*time),
            Self::Place(_) => None,
        }
    }

    fn takes(&self, state: &RecordedState) -> bool {
        // What a process of another make says of a snapshot is nothing that others could be compared with.
        if !state.has_journal() {
            return false;
        }
        match self {
            Self::Time(time) => state.time <= *time,
            Self::Place(place) => state.position <= place.position,
        }
    }
}

// A place that is none is the fault of whoever gave it.
fn of_cut(error: Unanswered) -> Failure {
    match Failure::from(error) {
        Failure::Malformed { why, .. } => Failure::malformed("cut", why),
        other => other,
    }
}

// The share as the process itself gives it, or why it does not.
async fn asked(
    handle: &Handle,
    process: &ProcessId,
    point: &Point,
) -> Result<Result<Share, Absence>, Failure> {
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
    let point = match point {
        Point::Time(time) => share_at_request::Point::Time(time.0),
        Point::Place(place) => share_at_request::Point::Place(WirePlace {
            position: place.position.0,
            journal_hash: place.journal.clone(),
        }),
    };
    let request = ShareAtRequest {
        cluster: handle.config().cluster.clone(),
        point: Some(point),
    };
    let mut client = PeerServiceClient::new(channel);
    let answer = tokio::time::timeout(PEER_TIMEOUT, client.share_at(request)).await;
    let answer = match answer {
        Ok(Ok(answer)) => answer.into_inner(),
        Ok(Err(status)) => match (answers_since(&status), status.code()) {
            (Some(since), _) => return Err(Failure::BeforeHorizon(since)),
            (_, Code::InvalidArgument) => {
                let why = format!("process {process}: {}", status.message());
                return Err(Failure::malformed("cut", why));
            }
            // Nobody is there, though it has not been missed yet.
            (_, Code::Unavailable) => return Ok(Err(gone)),
            _ => {
                tracing::warn!(%process, %status, "no share of it");
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
