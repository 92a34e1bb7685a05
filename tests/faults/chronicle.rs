//! Snapshots without a pause, and what was seen of them: each one that was begun must become complete and prove
//! itself, and what was published once stays the same bytes.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::timeout;

use crate::await_it::until;
use crate::load::CALL_MAX;
use crate::random::Random;
use crate::rest::{Answer, Rest, asked, posted};

/// The history of a cluster as its clients saw it. Clones see the same.
#[derive(Clone)]
pub(crate) struct Chronicle {
    rests: Vec<(&'static str, Rest)>,
    entries: Arc<Mutex<Vec<Entry>>>,
}

/// A snapshot whose beginning was acknowledged.
#[derive(Debug, Clone)]
struct Entry {
    snapshot: String,
    initiator: &'static str,
    /// Deposits that were acknowledged before it began: none may be missing from it.
    deposits_min: i64,
    was_partial: bool,
    /// The complete revision, as it was first seen.
    complete: Option<Bytes>,
}

/// The bytes of an answer and its tag, shortened.
type Bytes = (u64, String);

impl Chronicle {
    pub(crate) fn new(rests: Vec<(&'static str, Rest)>) -> Self {
        Self {
            rests,
            entries: Arc::default(),
        }
    }

    /// Begins a snapshot, if the node is there to do so; says its id.
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

    /// Looks at everything that was not complete, and proves what is now. `deposits_max` is asked for afterwards:
    /// all deposits that were asked for, acknowledged or not.
    pub(crate) async fn look(&self, deposits_max: impl Fn() -> i64) {
        let open: Vec<(usize, Entry)> = {
            let entries = self.entries();
            let open = entries.iter().cloned().enumerate();
            open.filter(|(_, entry)| entry.complete.is_none()).collect()
        };
        for (place, mut entry) in open {
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
            self.entries()[place] = entry;
        }
    }

    /// What one node published before is what it answers now.
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

    /// The same of all of them, and nothing is left that is not complete, whoever began it.
    pub(crate) async fn is_whole(&self, deposits_max: impl Fn() -> i64) {
        until("every snapshot complete", async || {
            self.look(&deposits_max).await;
            let open = self.entries().iter().any(|entry| entry.complete.is_none());
            (!open).then_some(())
        })
        .await;
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

    /// How many were begun, and how many of them were seen partial first.
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

    // `None` where the node is not there now, or has just opened and does not yet know with what it goes on.
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

/// A complete snapshot holds what it says, and no acknowledged deposit is missing nor one there that nobody made.
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

/// How long between two beginnings.
pub(crate) const BEGIN_EVERY: Duration = Duration::from_millis(800);

fn bytes(answer: &Answer) -> Bytes {
    let mut hasher = DefaultHasher::new();
    answer.body.hash(&mut hasher);
    (hasher.finish(), answer.header("etag").to_owned())
}
