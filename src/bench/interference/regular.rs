//! Global snapshots at fixed intervals during a measurement.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::super::taken::{Taken, everywhere, take};
use crate::cli::CliError;
use crate::cli::rest::RestClient;

/// The interval of completion checks, long enough not to disturb the measurement.
const POLL: Duration = Duration::from_millis(10);
/// The interval of checks for the end of the measurement.
const PAUSE: Duration = Duration::from_millis(10);

/// A snapshot with its time range.
#[derive(Debug, Clone)]
pub(super) struct Ran {
    pub(super) from: Instant,
    pub(super) until: Instant,
    pub(super) taken: Taken,
}

/// Snapshots at fixed intervals until stopped. The first starts after half an interval, when start-up effects are over.
/// A snapshot that takes longer than the interval delays the next.
pub(super) struct Regular {
    name: String,
    task: JoinHandle<Result<Vec<Ran>, CliError>>,
    stop: Arc<AtomicBool>,
}

impl Regular {
    /// Starts the snapshots; their ids begin with `name`.
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
                // As reported by the initiator; polling would see the completion later.
                let until = from + Duration::from_secs_f64((taken.server_ms / 1000.0).max(0.0));
                ran.push(Ran { from, until, taken });
                due = (due + every).max(Instant::now());
            }
            Ok(ran)
        });
        Self { name, task, stop }
    }

    /// Stops after the running snapshot, when each of `nodes` has it.
    pub(super) async fn stop(self, nodes: &[RestClient]) -> Result<Vec<Ran>, CliError> {
        self.stop.store(true, Ordering::Relaxed);
        let ran = self.task.await;
        let ran = ran.map_err(|error| CliError::CheckFailed(error.to_string()))??;
        let last = ran.len().saturating_sub(1);
        everywhere(nodes, &format!("{}-{last}", self.name)).await?;
        Ok(ran)
    }
}
