//! What the commands that read an archive have in common.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::CliError;
use crate::api::time::{before_now, read, rfc3339};
use crate::offsite::past::NotArchived;
use crate::process::clock::Hlc;

/// How long a request to the archive is repeated.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

impl From<NotArchived> for CliError {
    fn from(error: NotArchived) -> Self {
        Self::Refused(said(&error))
    }
}

/// Why an archive cannot be read, for people.
pub(super) fn said(error: &NotArchived) -> String {
    match error {
        NotArchived::TooEarly { process, since } => format!(
            "the archive has process {process} only from {} on; give a later instant",
            rfc3339(since.wall_us())
        ),
        error => error.to_string(),
    }
}

/// The last clock value of an instant that was given with an option; before now by the clock of this machine.
pub(super) fn instant(option: &str, text: &str) -> Result<Hlc, CliError> {
    let instant = match before_now(text) {
        Some(before) => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            let then = now.ok().and_then(|now| now.checked_sub(before));
            let then = then.and_then(|then| u64::try_from(then.as_micros()).ok());
            then.map(Hlc::at)
        }
        None => read(text).map(|instant| instant.bound()),
    };
    let before_1970 = || {
        CliError::Usage(format!(
            "{option}: {text} is before 1970; give a later instant"
        ))
    };
    instant.map(Hlc::last_of_label).ok_or_else(before_1970)
}
