//! The health of a node: clocks, disk space, a hanging disk, failures; and its metrics.

pub(super) mod admission;
pub(super) mod clock_jump;
pub(super) mod clock_watch;
pub(super) mod disk_space;
pub(super) mod disk_space_watch;
mod exposure;
pub(super) mod failures;
pub(super) mod metrics;
mod process_figures;
pub(super) mod readiness;
pub(super) mod refusals;
pub(super) mod requests;
mod standing;
mod standing_watch;
pub(super) mod suspense;
pub(super) mod wall;
pub(super) mod watchdog;

use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::handle::Handle;
use admission::Admission;
use failures::Failures;

/// Starts the watches over disk space, clock and commits.
pub(super) fn spawn(
    tasks: &mut JoinSet<()>,
    node: &Handle,
    admission: Arc<watch::Sender<Admission>>,
    failures: Failures,
) {
    let shared = &node.shared;
    let (parts, metrics) = (shared.parts.clone(), Arc::clone(&shared.metrics));
    tasks.spawn(disk_space_watch::watch(parts, metrics, admission));
    tasks.spawn(clock_watch::watch(node.clone()));
    tasks.spawn(standing_watch::watch(node.clone()));
    exposure::spawn(tasks, node);
    let deadline = shared.config.store.commit_deadline;
    let store = Arc::clone(&shared.store);
    tasks.spawn(watchdog::watch(store, deadline, failures));
}
