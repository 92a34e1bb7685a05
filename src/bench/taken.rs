//! A global snapshot from request to completion, as a client of the initiator sees it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::cli::CliError;
use crate::cli::rest::RestClient;

/// The interval of completion checks when nothing else is measured.
pub(super) const POLL: Duration = Duration::from_millis(1);
/// The interval of checks whether another node has a snapshot in its history.
const SHARED_POLL: Duration = Duration::from_millis(20);
const SNAPSHOT_MAX: Duration = Duration::from_secs(90);

/// The measurements of one snapshot.
#[derive(Debug, Clone)]
pub(super) struct Taken {
    /// From the request to the first answer with status complete, as the client sees it.
    pub(super) client_ms: f64,
    /// From start to publication, as the initiator reports.
    pub(super) server_ms: f64,
    /// Bytes that each process has written to its store.
    pub(super) new_bytes: Vec<f64>,
    /// The size of the states of all processes.
    pub(super) state_bytes: f64,
    /// The sum of all balances, if it fits.
    pub(super) balances: Option<i128>,
}

impl Taken {
    pub(super) fn new_bytes_total(&self) -> f64 {
        self.new_bytes.iter().sum()
    }
}

/// Takes a snapshot and polls at this interval until it is complete; fails unless money is conserved.
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

/// Waits until each of these nodes has a complete snapshot in its history, so that replication does not disturb the
/// next measurement.
pub(super) async fn everywhere(nodes: &[RestClient], id: &str) -> Result<(), CliError> {
    let (nodes, path) = (nodes.to_vec(), format!("/v1/snapshots/{id}"));
    let asked = move || {
        let started = Instant::now();
        nodes.iter().try_for_each(|rest| {
            // A node that does not have it yet answers that it is unknown.
            let is_there = || matches!(rest.get(&path, &[]), Ok(answer) if answer.json["status"] == "complete");
            while !is_there() {
                if started.elapsed() > SNAPSHOT_MAX {
                    let why = format!("{path} does not appear in the history of every node");
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
