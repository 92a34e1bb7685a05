//! What a request for a diagram may ask for.

use std::time::Duration;

use super::error::Failure;
use crate::cluster::diagram::DiagramQuery;
use crate::history::diagram::excerpt::Content;

/// The default for how much is shown around the cut.
const AROUND: Duration = Duration::from_millis(20);
/// The longest time that may be shown around the cut.
const AROUND_MAX: Duration = Duration::from_secs(3600);
/// The default for the most messages.
const LIMIT_DEFAULT: usize = 2000;
/// The largest number of messages.
pub(super) const LIMIT_MAX: usize = 10_000;

/// The query with these parameters, each with its default.
pub(super) fn query(
    before: Option<Duration>,
    after: Option<Duration>,
    limit: Option<usize>,
) -> Result<DiagramQuery, Failure> {
    let around = |field: &str, given: Option<Duration>| match given.unwrap_or(AROUND) {
        long if long > AROUND_MAX => {
            let why = "is longer than 1h, the most that a diagram shows around the cut";
            Err(Failure::malformed(field, why))
        }
        time => Ok(u64::try_from(time.as_micros()).unwrap_or(u64::MAX)),
    };
    Ok(DiagramQuery {
        before_us: around("before", before)?,
        after_us: around("after", after)?,
        limit: match limit {
            None => LIMIT_DEFAULT,
            Some(limit) if (1..=LIMIT_MAX).contains(&limit) => limit,
            Some(limit) => {
                let why =
                    format!("{limit} is not a valid limit; give a number from 1 to {LIMIT_MAX}");
                return Err(Failure::malformed("limit", why));
            }
        },
    })
}

/// The stable name of the kind of a message.
pub(super) fn kind(content: &Content) -> &'static str {
    match content {
        Content::Transfer { .. } => "transfer",
        Content::Write => "write",
        Content::Marker(_) => "other",
    }
}
