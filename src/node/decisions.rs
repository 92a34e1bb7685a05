//! Decisions of a person that a starting node has journaled: the limits of the history, of the person who starts the node,
//! whenever they have changed, and that the store is the right one of several copies, of the person who vouched for it.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;

use super::error::Unavailable;
use super::handle::Handle;
use crate::access::system_user;
use crate::process::command::Decide;
use crate::process::decision::{Actor, Change, Decision};
use crate::store::HistoryLimits;

/// The pause after a failure.
const PAUSE: Duration = Duration::from_secs(2);

/// Has the decisions journaled that the journal does not name yet.
pub(super) fn spawn(tasks: &mut JoinSet<()>, node: &Handle) {
    let node = node.clone();
    tasks.spawn(async move {
        while let Err(error) = note(&node).await {
            tracing::debug!(%error, "cannot journal the decisions of the operator yet");
            sleep(PAUSE).await;
        }
    });
}

async fn note(node: &Handle) -> Result<(), Unavailable> {
    note_vouched(node).await?;
    note_limits(node).await
}

async fn note_vouched(node: &Handle) -> Result<(), Unavailable> {
    let worker = &node.shared.parts.worker;
    let Some(decision) = worker.run(|store| store.vouched()).await? else {
        return Ok(());
    };
    node.shared.queue.ask_from_within(Decide(decision)).await?;
    worker.run(|store| store.note_vouched()).await
}

async fn note_limits(node: &Handle) -> Result<(), Unavailable> {
    let history = &node.config().history;
    let age_us = history
        .max_age
        .map(|age| u64::try_from(age.as_micros()).unwrap_or(u64::MAX));
    let limits = HistoryLimits {
        max_age_us: age_us,
        max_count: history.max_count.map(|count| count as u64),
    };
    let worker = &node.shared.parts.worker;
    let known = worker.run(|store| store.retention().known_limits()).await?;
    if known == limits {
        return Ok(());
    }
    let decision = Decision {
        actor: Actor::of_system(&system_user::name()),
        change: Change::Limits {
            max_age_us: limits.max_age_us,
            max_count: limits.max_count,
        },
    };
    node.shared.queue.ask_from_within(Decide(decision)).await?;
    worker
        .run(move |store| store.retention().note_limits(limits))
        .await
}
