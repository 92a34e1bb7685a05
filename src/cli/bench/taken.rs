//! A global snapshot, from the request to its completion, as a client of the initiator sees it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::cli::CliError;
use crate::cli::rest::RestClient;

/// Between two questions whether a snapshot is complete, where nothing else is measured.
pub(super) const POLL: Duration = Duration::from_millis(1);
/// Between two questions whether a snapshot is in the history of a node that did not start it.
const SHARED_POLL: Duration = Duration::from_millis(20);
const SNAPSHOT_MAX: Duration = Duration::from_secs(90);

/// What one snapshot has measured.
#[derive(Debug, Clone)]
pub(super) struct Taken {
    /// From the request to the first answer that says complete, as the client sees it.
    pub(super) client_ms: f64,
    /// From its start to its publication, as the initiator says.
    pub(super) server_ms: f64,
    /// That each process has written to its store.
    pub(super) new_bytes: Vec<f64>,
    /// What the states of all processes take.
    pub(super) state_bytes: f64,
    /// What all accounts hold together, where that fits.
    pub(super) balances: Option<i128>,
}

impl Taken {
    pub(super) fn new_bytes_total(&self) -> f64 {
        self.new_bytes.iter().sum()
    }
}

/// Takes a snapshot and asks, with this pause, until it is complete; its money is conserved.
pub(super) async fn take(rest: &RestClient, id: &str, pause: Duration) -> Result<Taken, CliError> {
    let (rest, id) = (rest.clone(), id.to_owned());
    let taken = tokio::task::spawn_blocking(move || take_blocking(&rest, &id, pause)).await;
    taken.map_err(|error| CliError::CheckFailed(error.to_string()))?
}

fn take_blocking(rest: &RestClient, id: &str, pause: Duration) -> Result<Taken, CliError> {
    let started = Instant::now();
    rest.post("/v1/snapshots", &json!({"snapshot_id": id}), None)?;
    let path = format!("/v1/snapshots/{id}");
    loop {
        let answer = rest.get(&path, &[])?.json;
        let client_ms = started.elapsed().as_secs_f64() * 1000.0;
        match answer["status"].as_str() {
            Some("complete") => return taken(&answer, client_ms),
            Some("in_progress") if started.elapsed() < SNAPSHOT_MAX => std::thread::sleep(pause),
            _ => {
                return Err(CliError::CheckFailed(format!(
                    "snapshot {id} is not complete: {}",
                    answer["status"]
                )));
            }
        }
    }
}

/// Waits until a complete snapshot is in the history of each of these nodes, too: what one of them still takes in is not
/// to meet what is measured next.
pub(super) async fn everywhere(nodes: &[RestClient], id: &str) -> Result<(), CliError> {
    let (nodes, path) = (nodes.to_vec(), format!("/v1/snapshots/{id}"));
    let asked = move || {
        let started = Instant::now();
        nodes.iter().try_for_each(|rest| {
            // It is unknown to a node that does not have it yet.
            let is_there = || matches!(rest.get(&path, &[]), Ok(answer) if answer.json["status"] == "complete");
            while !is_there() {
                if started.elapsed() > SNAPSHOT_MAX {
                    let why = format!("{path} does not come into the history of every node");
                    return Err(CliError::CheckFailed(why));
                }
                std::thread::sleep(SHARED_POLL);
            }
            Ok(())
        })
    };
    let asked = tokio::task::spawn_blocking(asked).await;
    asked.map_err(|error| CliError::CheckFailed(error.to_string()))?
}

fn taken(answer: &Value, client_ms: f64) -> Result<Taken, CliError> {
    if answer["verification"]["conserved"] != true {
        return Err(CliError::CheckFailed(format!(
            "snapshot {} does not conserve money",
            answer["snapshot_id"]
        )));
    }
    let of_each = |field: &'static str| {
        let processes = answer["processes"].as_array().into_iter().flatten();
        processes.filter_map(move |process| process[field].as_f64())
    };
    Ok(Taken {
        client_ms,
        server_ms: answer["duration_ms"].as_f64().unwrap_or(f64::NAN),
        new_bytes: of_each("new_bytes").collect(),
        state_bytes: of_each("state_bytes").sum(),
        balances: answer["totals"]["balances"].as_i64().map(i128::from),
    })
}
