//! Open consoles without their browsers: clients that make the requests of an open Overview and read the answers wholly. A test
//! compares these requests with those that a browser makes.

use std::io::BufRead;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use tokio::task::{JoinHandle, spawn_blocking};

use crate::cli::CliError;
use crate::cli::rest::RestClient;

/// Asked once, when the page is opened.
pub const OPENED: [&str; 3] = [
    "/v1/cluster",
    "/v1/snapshots?limit=26",
    "/v1/audit/series?from=-600s&step=10000ms",
];
/// Asked again and again.
pub const POLLED: &str = "/v1/cluster?scope=all";
/// The pause between two of these questions.
pub const POLLED_EVERY: Duration = Duration::from_secs(3);
/// Names the newest complete snapshot, which is asked for then: when the page is opened, and after a newer one.
pub const NEWEST: &str = "/v1/snapshots?status=complete&limit=1";
/// Read as long as the page is open. The node sends an event each second.
pub const STREAM: &str = "/v1/events";

/// The wait before the newest complete snapshot is asked for.
const NEWEST_AFTER: Duration = Duration::from_secs(1);
const PUBLISHED: &str = "event: snapshot_published";

/// Consoles that follow one node until they are closed.
pub(super) struct Consoles {
    closed: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<Result<u64, CliError>>>,
}

impl Consoles {
    /// Opens `count` consoles.
    pub(super) fn open(node: &RestClient, count: u16) -> Self {
        let closed = Arc::<AtomicBool>::default();
        let mut tasks = Vec::new();
        for _ in 0..count {
            let (published, heard) = channel();
            let (rest, ends) = (node.clone(), Arc::clone(&closed));
            tasks.push(spawn_blocking(move || listen(&rest, &ends, &published)));
            let (rest, ends) = (node.clone(), Arc::clone(&closed));
            tasks.push(spawn_blocking(move || ask(&rest, &ends, &heard)));
        }
        Self { closed, tasks }
    }

    /// Closes all; returns the number of requests that they made. A stream ends with the next event.
    pub(super) async fn close(self) -> Result<u64, CliError> {
        self.closed.store(true, Ordering::Relaxed);
        let mut requests = 0;
        for task in self.tasks {
            let made = task.await;
            requests += made.map_err(|error| CliError::CheckFailed(error.to_string()))??;
        }
        Ok(requests)
    }
}

// Reads the stream of events; returns the number of requests.
fn listen(rest: &RestClient, ends: &AtomicBool, published: &Sender<()>) -> Result<u64, CliError> {
    let lines = rest
        .events(STREAM, None)?
        .into_iter()
        .flat_map(BufRead::lines);
    for line in lines {
        let line = line.map_err(|error| rest.broken_off(&error))?;
        if line == PUBLISHED {
            // The other half has ended if nobody hears it.
            let _ended = published.send(());
        }
        if ends.load(Ordering::Relaxed) {
            break;
        }
    }
    Ok(1)
}

// Asks for everything else; returns the number of requests.
fn ask(rest: &RestClient, ends: &AtomicBool, heard: &Receiver<()>) -> Result<u64, CliError> {
    let mut requests = newest(rest)?;
    for path in OPENED {
        rest.get(path, &[])?;
        requests += 1;
    }
    let mut poll = Instant::now();
    let mut follow: Option<Instant> = None;
    while !ends.load(Ordering::Relaxed) {
        let now = Instant::now();
        if now >= poll {
            rest.get(POLLED, &[])?;
            requests += 1;
            poll = Instant::now() + POLLED_EVERY;
        }
        if follow.is_some_and(|due| now >= due) {
            requests += newest(rest)?;
            follow = None;
        }
        let next = follow.map_or(poll, |due| due.min(poll));
        match heard.recv_timeout(next.saturating_duration_since(Instant::now())) {
            Ok(()) => follow = follow.or(Some(Instant::now() + NEWEST_AFTER)),
            Err(RecvTimeoutError::Timeout) => {}
            // The stream has ended, or its error is reported by the other half.
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    Ok(requests)
}

fn newest(rest: &RestClient) -> Result<u64, CliError> {
    let found = rest.get(NEWEST, &[])?.json;
    let Some(id) = found["snapshots"][0]["snapshot_id"].as_str() else {
        return Ok(1);
    };
    rest.get(&format!("/v1/snapshots/{id}"), &[])?;
    Ok(2)
}
