//! Why the archive does not take the journal: the error of the newest request that is failing. Readiness and warnings say it in
//! short, since everybody may read them.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::figures::ArchiveFigures;
use crate::archive::{ArchiveError, Objects, ask};
use crate::shipping::writer::{Action, Event};

/// The pauses before a failed request is repeated.
pub(super) const PAUSE_FIRST: Duration = Duration::from_millis(50);
pub(super) const PAUSE_MAX: Duration = Duration::from_secs(5);
/// The shortest time between two log lines about a failing archive.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// Shared by the shipper, readiness and the warnings.
#[derive(Default)]
pub(in crate::node) struct Trouble(Mutex<Failing>);

#[derive(Default)]
struct Failing {
    requests: u64,
    /// What the requests said that have failed and are repeated, by their number.
    why: BTreeMap<u64, String>,
}

impl Trouble {
    /// A sentence with why the archive does not take the journal, if a request fails.
    pub(in crate::node) fn added_to(&self, sentence: String) -> String {
        match self.lock().why.last_key_value() {
            Some((_, why)) => format!("{sentence}; {why}"),
            None => sentence,
        }
    }

    fn request(&self) -> Request<'_> {
        let mut failing = self.lock();
        failing.requests += 1;
        Request {
            trouble: self,
            number: failing.requests,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Failing> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request under way. A storage may permit to read and not to write, so the answer to another one says nothing.
struct Request<'a> {
    trouble: &'a Trouble,
    number: u64,
}

impl Request<'_> {
    fn failed(&self, error: &ArchiveError) {
        let mut failing = self.trouble.lock();
        failing.why.insert(self.number, error.in_short());
    }
}

impl Drop for Request<'_> {
    fn drop(&mut self) {
        self.trouble.lock().why.remove(&self.number);
    }
}

/// Executes a request, repeating it until there is an answer.
pub(super) async fn answer(
    objects: &Objects,
    action: &Action,
    figures: &ArchiveFigures,
    trouble: &Trouble,
) -> Result<Event, ArchiveError> {
    let request = trouble.request();
    let mut pause = PAUSE_FIRST;
    let mut said: Option<Instant> = None;
    loop {
        let error = match ask(objects, action).await {
            Err(error) if !matches!(error, ArchiveError::Damaged { .. }) => error,
            event => return event,
        };
        request.failed(&error);
        figures.retried();
        if said.is_none_or(|said| said.elapsed() >= SAY_EVERY) {
            said = Some(Instant::now());
            tracing::warn!(%error, "the archive does not answer; trying again");
        }
        sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Without this a look that is permitted would hide that puts are not, or a put that of another one.
    #[test]
    fn what_fails_is_said_until_that_request_is_answered() {
        let trouble = Trouble::default();
        let said = || trouble.added_to("it is behind".to_owned());
        assert_eq!(said(), "it is behind");
        let gone = ArchiveError::Elsewhere {
            url: "file:///secret".to_owned(),
        };
        let [one, other] = [(); 2].map(|()| trouble.request());
        one.failed(&gone);
        drop(other);
        assert!(
            said().starts_with("it is behind; its directory"),
            "{}",
            said()
        );
        assert!(!said().contains("secret"), "everybody may read it");
        drop(one);
        assert_eq!(said(), "it is behind");
    }
}
