//! Instants on the command line, in the syntax of the API.

use crate::api::time::{before_now, expected_at, read};

/// The value name of options that take an instant.
pub(super) const INSTANT: &str = "INSTANT";

/// Validates an instant. `now` and `-5m` are passed on: the node resolves them by its own clock.
pub(super) fn at(text: &str) -> Result<String, String> {
    let is_instant = before_now(text).is_some() || read(text).is_some();
    is_instant
        .then(|| text.to_owned())
        .ok_or_else(|| expected_at(text))
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
}
