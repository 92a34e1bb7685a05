//! Instants on the command line, in the syntax of the API.

use crate::api::time::{before_now, expected_at, read};
use crate::config::parse_duration;

/// The value name of options that take an instant.
pub(super) const INSTANT: &str = "INSTANT";

/// Validates an instant. `now` and `-5m` are passed on: the node resolves them by its own clock.
pub(super) fn at(text: &str) -> Result<String, String> {
    let is_instant = before_now(text).is_some() || read(text).is_some();
    is_instant
        .then(|| text.to_owned())
        .ok_or_else(|| expected_at(text))
}

/// The value name of options that take an instant, or an age as a duration.
pub(super) const INSTANT_OR_AGE: &str = "INSTANT|AGE";

/// Validates an instant as [`at`] does, or an age: `30d`.
pub(super) fn since(text: &str) -> Result<String, String> {
    match parse_duration(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => at(text).map_err(|expected| format!("{expected}; or an age: 12h, 30d")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_given_absolutely_or_before_now() {
        for given in ["now", "-5m", "-0s", "2026-01-31T13:00:00+01:00"] {
            assert_eq!(at(given).as_deref(), Ok(given), "the node knows what it is");
        }
        for odd in [
            "noon",
            "5m",
            "-5",
            "--5m",
            "-now",
            "+5m",
            "2026-01-31T12:00:00",
        ] {
            let refused = at(odd).expect_err(odd);
            assert!(refused.contains("now, or how long ago"), "{refused}");
        }
    }

    #[test]
    fn an_age_is_not_an_instant() {
        for given in ["30d", "12h", "-30d", "2026-01-31"] {
            assert_eq!(since(given).as_deref(), Ok(given));
        }
        for odd in ["30", "0s", "a while", "-30"] {
            let refused = since(odd).expect_err(odd);
            assert!(refused.contains("an age: 12h"), "{refused}");
        }
        assert!(at("30d").is_err(), "where only an instant is wanted");
    }
}
