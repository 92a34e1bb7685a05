//! Why the archive does not take the journal: what the last failed request says, until one of its kind is answered. Readiness and
//! warnings say it in short, since everybody may read them.

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
pub(in crate::node) struct Trouble(Mutex<Option<Failing>>);

struct Failing {
    /// A storage may permit to read and not to write, so the answer to another request says nothing.
    is_put: bool,
    why: String,
}

impl Trouble {
    /// A sentence with why the archive does not take the journal, if a request has failed.
    pub(in crate::node) fn added_to(&self, sentence: String) -> String {
        match &*self.lock() {
            Some(Failing { why, .. }) => format!("{sentence}; {why}"),
            None => sentence,
        }
    }

    fn failed(&self, is_put: bool, error: &ArchiveError) {
        let why = error.in_short();
        *self.lock() = Some(Failing { is_put, why });
    }

    fn answered(&self, is_put: bool) {
        self.lock().take_if(|failing| failing.is_put == is_put);
    }

    fn lock(&self) -> MutexGuard<'_, Option<Failing>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Executes a request, repeating it until there is an answer.
pub(super) async fn answer(
    objects: &Objects,
    action: &Action,
    figures: &ArchiveFigures,
    trouble: &Trouble,
) -> Result<Event, ArchiveError> {
    let is_put = matches!(action, Action::Put(_));
    let mut pause = PAUSE_FIRST;
    let mut said: Option<Instant> = None;
    loop {
        let error = match ask(objects, action).await {
            Err(error) if !matches!(error, ArchiveError::Damaged { .. }) => error,
            event => {
                trouble.answered(is_put);
                return event;
            }
        };
        trouble.failed(is_put, &error);
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

    // Without this a look that is permitted would hide that puts are not.
    #[test]
    fn what_fails_is_said_until_a_request_of_its_kind_is_answered() {
        let trouble = Trouble::default();
        let said = || trouble.added_to("it is behind".to_owned());
        assert_eq!(said(), "it is behind");
        let gone = ArchiveError::Elsewhere {
            url: "file:///secret".to_owned(),
        };
        trouble.failed(true, &gone);
        trouble.answered(false);
        assert!(
            said().starts_with("it is behind; its directory"),
            "{}",
            said()
        );
        assert!(!said().contains("secret"), "everybody may read it");
        trouble.answered(true);
        assert_eq!(said(), "it is behind");
    }
}
