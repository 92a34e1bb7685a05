//! Continuous snapshots and what clients observed of them. Every snapshot that was begun must become complete and
//! verify, and a published revision must never change.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{interval, timeout};

use crate::await_it::until;
use crate::load::CALL_MAX;
use crate::random::Random;
use crate::rest::{Answer, Rest, asked, posted};

/// The snapshot history of a cluster as its clients saw it. Clones share state.
#[derive(Clone)]
pub(crate) struct Chronicle {
    rests: Vec<(&'static str, Rest)>,
    entries: Arc<Mutex<Vec<Entry>>>,
}

/// A snapshot whose begin call was acknowledged.
#[derive(Debug, Clone)]
struct Entry {
    snapshot: String,
    initiator: &'static str,
    /// The deposits acknowledged before it began. None may be missing from it.
    deposits_min: i64,
    was_partial: bool,
    /// The complete revision, as first seen.
    complete: Option<Bytes>,
}

/// A hash of the response body, and its ETag.
type Bytes = (u64, String);

impl Chronicle {
    pub(crate) fn new(rests: Vec<(&'static str, Rest)>) -> Self {
        Self {
            rests,
            entries: Arc::default(),
        }
    }

    /// Begins a snapshot and returns its id; `None` if the node is not available.
    pub(crate) async fn begin(&self, initiator: &'static str, deposits_min: i64) -> Option<String> {
        let begin = posted("/v1/snapshots", &json!({}), &[]);
        let answer = timeout(CALL_MAX, self.rest(initiator).try_send(begin)).await;
        let answer = answer.ok()??;
        assert_eq!(answer.status, 202, "{answer:?}");
        let snapshot = answer.json()["snapshot_id"]
            .as_str()
            .expect("an id")
            .to_owned();
        self.entries().push(Entry {
            snapshot: snapshot.clone(),
            initiator,
            deposits_min,
            was_partial: false,
            complete: None,
        });
        Some(snapshot)
    }

    /// Reads every snapshot that was not complete yet and verifies those that are complete now. `deposits_max` is
    /// evaluated after the read: all deposits requested so far, acknowledged or not.
    pub(crate) async fn look(&self, deposits_max: impl Fn() -> i64) {
        let open: Vec<(usize, Entry)> = {
            let entries = self.entries();
            let open = entries.iter().cloned().enumerate();
            open.filter(|(_, entry)| entry.complete.is_none()).collect()
        };
        for (index, mut entry) in open {
            let Some(answer) = self.read(&entry).await else {
                continue;
            };
            let json = answer.json();
            match json["status"].as_str() {
                Some("complete") => {
                    prove(&json, (entry.deposits_min, deposits_max()));
                    entry.complete = Some(bytes(&answer));
                }
                Some("partial") => {
                    assert_eq!(json["verification"]["conserved"], Value::Null, "{json}");
                    let open = (&json["missing"], &json["open_channels"]);
                    assert_ne!(open, (&json!([]), &json!([])), "{json}");
                    entry.was_partial = true;
                }
                _ => {}
            }
            self.entries()[index] = entry;
        }
    }

    /// Checks that one node still answers with what it published before.
    pub(crate) async fn is_as_before(&self, initiator: &str, random: &mut Random) {
        let known: Vec<Entry> = {
            let entries = self.entries();
            let known = entries.iter().filter(|entry| entry.initiator == initiator);
            known
                .filter(|entry| entry.complete.is_some())
                .cloned()
                .collect()
        };
        if !known.is_empty() {
            self.is_unchanged(&known[random.index(known.len())]).await;
        }
    }

    /// Checks the same for all snapshots, and that none is left incomplete, whichever process started it.
    pub(crate) async fn is_whole(&self, deposits_max: impl Fn() -> i64) {
        self.completes(deposits_max).await;
        for (id, rest) in &self.rests {
            until(
                &format!("nothing unfinished in the history of {id}"),
                async || {
                    for status in ["in_progress", "partial"] {
                        let list = rest
                            .read(&format!("/v1/snapshots?status={status}&limit=1"))
                            .await;
                        if list["snapshots"] != json!([]) {
                            return None;
                        }
                    }
                    Some(())
                },
            )
            .await;
        }
        let entries = self.entries().clone();
        for entry in &entries {
            self.is_unchanged(entry).await;
        }
    }

    // Waits until every snapshot is complete, and shows those that do not end.
    async fn completes(&self, deposits_max: impl Fn() -> i64) {
        let mut open = Vec::new();
        let completed = async {
            let mut every = interval(BEGIN_EVERY);
            loop {
                every.tick().await;
                self.look(&deposits_max).await;
                open.clear();
                let entries = self.entries().clone();
                for entry in entries.iter().filter(|entry| entry.complete.is_none()) {
                    open.push(self.read(entry).await.map(|answer| answer.body));
                }
                if open.is_empty() {
                    return;
                }
            }
        };
        let completed = timeout(COMPLETE_MAX, completed).await;
        assert!(completed.is_ok(), "snapshots that do not end: {open:#?}");
    }

    /// Returns how many snapshots were begun, and how many of them were seen partial first.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let entries = self.entries();
        let partial = entries.iter().filter(|entry| entry.was_partial);
        (entries.len(), partial.count())
    }

    async fn is_unchanged(&self, entry: &Entry) {
        let what = format!("an answer about {}", entry.snapshot);
        let answer = until(&what, async || self.read(entry).await).await;
        assert_eq!(
            Some(bytes(&answer)),
            entry.complete,
            "published bytes changed: {answer:?}"
        );
    }

    // `None` if the node is not available, or has just opened and does not know yet which snapshots it resumes.
    async fn read(&self, entry: &Entry) -> Option<Answer> {
        let path = format!("/v1/snapshots/{}", entry.snapshot);
        let answer = self.rest(entry.initiator).try_send(asked(&path, &[]));
        let answer = timeout(CALL_MAX, answer).await.ok()??;
        assert!(
            [200, 404, 429, 503].contains(&answer.status),
            "{path}: {answer:?}"
        );
        (answer.status == 200).then_some(answer)
    }

    fn rest(&self, id: &str) -> &Rest {
        let found = self.rests.iter().find(|(named, _)| *named == id);
        &found.expect("it takes part").1
    }

    fn entries(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asserts that a complete snapshot is consistent in itself, misses no acknowledged deposit and contains none that
/// was not requested.
pub(crate) fn prove(snapshot: &Value, (deposits_min, deposits_max): (i64, i64)) {
    assert_eq!(snapshot["status"], "complete", "{snapshot}");
    let verification = &snapshot["verification"];
    assert_eq!(verification["conserved"], true, "{snapshot}");
    assert_eq!(verification["consistent_cut"], true, "{snapshot}");
    let checks = verification["checks"].as_array().expect("checks are shown");
    assert!(
        checks.iter().all(|check| check["holds"] == true),
        "{snapshot}"
    );
    let totals = &snapshot["totals"];
    let figure = |name: &str| totals[name].as_i64().expect("an integer");
    assert_eq!(
        figure("balances") + figure("in_flight"),
        figure("deposits") - figure("withdrawals"),
        "{snapshot}"
    );
    let deposits = figure("deposits");
    assert!(
        (deposits_min..=deposits_max).contains(&deposits),
        "{deposits} are not within {deposits_min} and {deposits_max}: {snapshot}"
    );
}

/// Within this time every snapshot is complete once all nodes are there.
const COMPLETE_MAX: Duration = Duration::from_secs(120);
/// The interval between two begins.
pub(crate) const BEGIN_EVERY: Duration = Duration::from_millis(800);

fn bytes(answer: &Answer) -> Bytes {
    let mut hasher = DefaultHasher::new();
    answer.body.hash(&mut hasher);
    (hasher.finish(), answer.header("etag").to_owned())
}
