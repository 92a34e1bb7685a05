//! `?wait=SECONDS`: delays an answer about a snapshot until it is finished. A waiting request holds a watcher's permit
//! and no thread.

use std::time::{Duration, Instant};

use axum::http::Uri;

use super::AppState;
use super::query::{Parameters, REVISION, STATUS};
use crate::api::error::Failure;
use crate::api::serve::limits::{Client, Permit, Resource};
use crate::node::{Begun, SnapshotView, Unavailable};
use crate::process::ids::SnapshotId;

/// The name of the parameter.
pub(super) const WAIT: &str = "wait";
const SECONDS_MAX: u64 = 60;

/// The end of the wait and its permit; `None` if the request does not wait.
pub(super) struct Wait(Option<(Instant, Permit)>);

impl Wait {
    /// Parses the request. Call it before anything is started, so that a refused request has no effect.
    pub(super) fn of(client: &Client, uri: &Uri) -> Result<Self, Failure> {
        Self::asked(client, &Parameters::of(uri, &[WAIT])?)
    }

    /// As [`Wait::of`], for a request that may name a revision, which is never waited for.
    pub(super) fn or_revision(
        client: &Client,
        parameters: &Parameters,
    ) -> Result<(Self, Option<u32>), Failure> {
        let revision = parameters.revision(REVISION)?;
        if revision.is_some() && parameters.get(WAIT).is_some() {
            let why = "give it or a revision, not both: a revision already exists, or never will";
            return Err(Failure::malformed(WAIT, why));
        }
        Ok((Self::asked(client, parameters)?, revision))
    }

    fn asked(client: &Client, parameters: &Parameters) -> Result<Self, Failure> {
        let patience = patience(parameters)?;
        if patience.is_zero() {
            return Ok(Self(None));
        }
        let until = Instant::now() + patience;
        Ok(Self(Some((until, client.take(Resource::Watchers, 1)?))))
    }

    /// The remaining time; `None` if the request does not wait.
    pub(super) fn left(&self) -> Option<Duration> {
        let (until, _) = self.0.as_ref()?;
        Some(until.saturating_duration_since(Instant::now()))
    }

    /// The snapshot when it is finished, or as it is when the time is over.
    pub(super) async fn snapshot(
        &self,
        app: &AppState,
        snapshot: &SnapshotId,
        begun: Begun,
    ) -> Result<Option<SnapshotView>, Unavailable> {
        match self.left() {
            Some(patience) => app.handle.finished(snapshot, begun, patience).await,
            None => app.handle.find_or_assemble(snapshot).await,
        }
    }

    /// Whether the request waits.
    pub(super) fn is_asked(&self) -> bool {
        self.0.is_some()
    }
}

/// The extra time of a request with `wait`. The known parameters are all those of routes that accept it.
pub(super) fn allowance(uri: &Uri) -> Duration {
    let parameters = Parameters::of(uri, &[WAIT, STATUS, REVISION]);
    let asked = parameters.and_then(|parameters| patience(&parameters));
    asked.unwrap_or_default()
}

fn patience(parameters: &Parameters) -> Result<Duration, Failure> {
    let Some(text) = parameters.get(WAIT) else {
        return Ok(Duration::ZERO);
    };
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(seconds) if is_number && seconds <= SECONDS_MAX => Ok(Duration::from_secs(seconds)),
        _ => {
            let why = format!(
                "{text:?} is not a valid waiting time; give whole seconds from 0 to {SECONDS_MAX}"
            );
            Err(Failure::malformed(WAIT, why))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(query: &'static str) -> u64 {
        let uri = Uri::builder().path_and_query(format!("/?{query}")).build();
        allowance(&uri.expect("a valid URI")).as_secs()
    }

    #[test]
    fn a_wait_is_whole_seconds_and_has_an_end() {
        assert_eq!(
            (
                allowed("wait=60"),
                allowed("status=complete&wait=5"),
                allowed("wait=0")
            ),
            (60, 5, 0)
        );
        for odd in [
            "",
            "wait=61",
            "wait=-1",
            "wait=+1",
            "wait=1.5",
            "wait=",
            "wait=1&wait=2",
            "wait=9&x=1",
        ] {
            assert_eq!(allowed(odd), 0, "{odd}");
        }
    }
}
