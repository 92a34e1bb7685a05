//! The limits of the history are a decision of the person who starts the node. The journal names them, and that person,
//! whenever they have changed.

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

/// Has the limits journaled if they are not those that the journal names.
pub(super) fn spawn(tasks: &mut JoinSet<()>, node: &Handle) {
    let node = node.clone();
    tasks.spawn(async move {
        while let Err(error) = note_limits(&node).await {
            tracing::debug!(%error, "cannot journal the limits of the history yet");
            sleep(PAUSE).await;
        }
    });
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
