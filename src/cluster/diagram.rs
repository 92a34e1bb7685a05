//! The space-time diagram of a snapshot. What crosses the cut is read from the local history; every process is asked at once for
//! the turns around its cut, and one that does not answer is shown without them.

use std::collections::{BTreeMap, BTreeSet};

use tokio::task::JoinSet;

use super::error::QueryError;
use crate::history::diagram::excerpt::ExcerptQuery;
use crate::history::diagram::{self, Crossing, Diagram, JournalAnswer, Sources};
use crate::history::global::GlobalState;
use crate::node::{Handle, SnapshotView, Unanswered};
use crate::otel::carried;
use crate::process::ids::{ChannelId, ProcessId};
use crate::store::{Store, StoreError};
use crate::transport::peer_error::PeerError;

/// What to show.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DiagramQuery {
    /// How long before the first recording, microseconds.
    pub(crate) before_us: u64,
    /// How long behind the last recording or closing, microseconds.
    pub(crate) after_us: u64,
    /// The most messages.
    pub(crate) limit: usize,
}

/// The diagram of a snapshot; `view` holds its lease.
pub(crate) async fn of(
    handle: &Handle,
    view: &SnapshotView,
    query: DiagramQuery,
) -> Result<Diagram, QueryError> {
    let state = view.state.clone();
    let (crossing, unread) = handle
        .store_worker()
        .look_up(move |store| recorded(store, &state, query.limit))
        .await?;
    let state: &GlobalState = &view.state;
    let window = diagram::window(state, query.before_us, query.after_us);
    let topology = &handle.config().topology;
    let processes: BTreeSet<ProcessId> = topology
        .processes()
        .chain(state.parts.keys())
        .cloned()
        .collect();
    let asked = diagram::queries(state, &processes, window, &crossing, query.limit);
    let journals = journals(handle, state, asked).await?;
    Ok(diagram::draw(Sources {
        state,
        channels: topology.channels().collect(),
        window,
        crossing,
        unread,
        journals,
        limit: query.limit,
    }))
}

// The newest recorded messages of each channel, at most `limit` together, and the channels whose messages are still being
// fetched. Those of a channel are in order.
fn recorded(
    store: &Store,
    state: &GlobalState,
    limit: usize,
) -> Result<(Vec<Crossing>, BTreeSet<ChannelId>), StoreError> {
    let parts = state.parts.values();
    let channels = parts.flat_map(|part| part.channels.iter().map(move |one| (part, one)));
    let channels: Vec<_> = channels.collect();
    let claims: Vec<_> = channels.iter().map(|(_, one)| one.messages()).collect();
    let shares = diagram::shares(&claims, limit as u64);
    let (mut crossing, mut unread) = (Vec::new(), BTreeSet::new());
    for ((part, channel), share) in channels.into_iter().zip(shares) {
        let share = usize::try_from(share).unwrap_or(usize::MAX);
        let ends = ChannelId {
            from: channel.from.clone(),
            to: part.process.clone(),
        };
        let messages = match store.chunks().newest_messages(channel, share) {
            Err(StoreError::Damaged { .. }) if state.revision == 0 => {
                unread.insert(ends);
                continue;
            }
            messages => messages?,
        };
        for recorded in messages {
            crossing.push(Crossing {
                channel: ends.clone(),
                seq: recorded.seq,
                content: (&recorded.message.body).into(),
            });
        }
    }
    Ok((crossing, unread))
}

async fn journals(
    handle: &Handle,
    state: &GlobalState,
    asked: BTreeMap<ProcessId, ExcerptQuery>,
) -> Result<BTreeMap<ProcessId, JournalAnswer>, QueryError> {
    let mut answers = BTreeMap::new();
    let mut asking = JoinSet::new();
    for (process, query) in asked {
        let part = state.parts.get(&process);
        if part.is_some_and(|part| !part.state.has_journal()) {
            answers.insert(process, JournalAnswer::Absent);
            continue;
        }
        let handle = handle.clone();
        asking.spawn(carried(async move {
            let answer = ask(&handle, &process, query).await;
            (process, answer)
        }));
    }
    while let Some(answered) = asking.join_next().await {
        let answered = answered.map_err(|stopped| QueryError::Interrupted(stopped.to_string()));
        let (process, answer) = answered?;
        answers.insert(process, answer?);
    }
    Ok(answers)
}

async fn ask(
    handle: &Handle,
    process: &ProcessId,
    query: ExcerptQuery,
) -> Result<JournalAnswer, QueryError> {
    let config = handle.config();
    if *process == config.me {
        return match handle.excerpt(query).await {
            Ok(excerpt) => Ok(JournalAnswer::Found(excerpt)),
            Err(
                Unanswered::OtherJournal(_) | Unanswered::Store(StoreError::BeforeHorizon { .. }),
            ) => Ok(JournalAnswer::Gone),
            Err(error) => Err(error.into()),
        };
    }
    if !config.topology.contains(process) {
        return Ok(JournalAnswer::Gone);
    }
    let Some(client) = handle.peer_client(process) else {
        return Ok(JournalAnswer::Absent);
    };
    match client.messages_around(&query).await {
        Ok(excerpt) => Ok(JournalAnswer::Found(excerpt)),
        Err(PeerError::Invalid(_) | PeerError::BeforeHorizon { .. }) => Ok(JournalAnswer::Gone),
        Err(error) => {
            tracing::debug!(%process, %error, "its journal is not in a diagram");
            Ok(JournalAnswer::Unreachable)
        }
    }
}
