//! Global snapshots at fixed intervals, beside something that is measured.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::super::taken::{Taken, everywhere, take};
use crate::cli::CliError;
use crate::cli::rest::RestClient;

/// Between two questions whether a snapshot is complete: asking must not be what disturbs.
const POLL: Duration = Duration::from_millis(10);
/// Between two looks whether the measurement has ended.
const PAUSE: Duration = Duration::from_millis(10);

/// A snapshot and when it ran.
#[derive(Debug, Clone)]
pub(super) struct Ran {
    pub(super) from: Instant,
    pub(super) until: Instant,
    pub(super) taken: Taken,
}

/// Snapshots that go on until they are told to stop; the first one begins after half of the interval, when what begins with
/// it has settled. One that takes longer than the interval puts off the next.
pub(super) struct Regular {
    name: String,
    task: JoinHandle<Result<Vec<Ran>, CliError>>,
    stop: Arc<AtomicBool>,
}

impl Regular {
    /// Their ids begin with `name`.
    pub(super) fn start(rest: &RestClient, every: Duration, name: String) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (rest, stopped, begin) = (rest.clone(), Arc::clone(&stop), name.clone());
        let task = tokio::spawn(async move {
            let mut ran = Vec::new();
            let mut due = Instant::now() + every / 2;
            while ran.is_empty() || !stopped.load(Ordering::Relaxed) {
                if Instant::now() < due {
                    sleep(PAUSE.min(due.saturating_duration_since(Instant::now()))).await;
                    continue;
                }
                let from = Instant::now();
                let taken = take(&rest, &format!("{begin}-{}", ran.len()), POLL).await?;
                // As the initiator says: who asks whether it is complete comes to know it later.
                let until = from + Duration::from_secs_f64((taken.server_ms / 1000.0).max(0.0));
                ran.push(Ran { from, until, taken });
                due = (due + every).max(Instant::now());
            }
            Ok(ran)
        });
        Self { name, task, stop }
    }

    /// Stops behind the one that runs, once each of these nodes has it.
    pub(super) async fn stop(self, nodes: &[RestClient]) -> Result<Vec<Ran>, CliError> {
        self.stop.store(true, Ordering::Relaxed);
        let ran = self.task.await;
        let ran = ran.map_err(|error| CliError::CheckFailed(error.to_string()))??;
        let last = ran.len().saturating_sub(1);
        everywhere(nodes, &format!("{}-{last}", self.name)).await?;
        Ok(ran)
    }
}
