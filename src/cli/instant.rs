//! Instants in commands: as the API takes them, and `now` and `-5m` in filters as well, by the clock of this machine.

use std::time::SystemTime;

use crate::api::time::{before_now, expected_at, read, rfc3339};

/// How an option that takes an instant calls it.
pub(super) const INSTANT: &str = "INSTANT";

/// An instant that bounds a list, as the API takes it.
pub(super) fn instant(text: &str) -> Result<String, String> {
    let Some(before) = before_now(text) else {
        return at(text);
    };
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let then = since.unwrap_or_default().saturating_sub(before);
    Ok(rfc3339(u64::try_from(then.as_micros()).unwrap_or(u64::MAX)))
}

/// An instant to ask about. The node takes `now` and `-5m` by its own clock.
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
        let given = "2026-01-31T13:00:00+01:00";
        assert_eq!(instant(given).as_deref(), Ok(given));
        let [before, now] = ["-5m", "now"].map(|text| read(&instant(text).expect(text)));
        let [before, now] = [before, now].map(|it| it.expect("a time").bound().wall_us());
        let passed_us = now - before;
        assert!(
            (300_000_000..360_000_000).contains(&passed_us),
            "{passed_us}"
        );
        for given in ["now", "-5m", given] {
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
            for refused in [instant(odd), at(odd)] {
                let refused = refused.expect_err(odd);
                assert!(refused.contains("now, or how long ago"), "{refused}");
            }
        }
    }
}
