//! Instants in commands: as the API takes them, and `now` and `-5m` besides, by the clock of this machine.

use std::time::{Duration, SystemTime};

use crate::api::time::{expected, read, rfc3339};
use crate::config::parse_duration;

/// How an option that takes an instant calls it.
pub(super) const INSTANT: &str = "INSTANT";

/// An instant as the API takes it.
pub(super) fn instant(text: &str) -> Result<String, String> {
    let before = match text.strip_prefix('-') {
        Some(before) => parse_duration(before).ok(),
        None => (text == "now").then_some(Duration::ZERO),
    };
    let Some(before) = before else {
        let given = read(text).map(|_| text.to_owned());
        return given.ok_or_else(|| {
            format!(
                "{}; or now, or how long ago: -90s, -5m, -2h, -1d",
                expected(text)
            )
        });
    };
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let then = since.unwrap_or_default().saturating_sub(before);
    Ok(rfc3339(u64::try_from(then.as_micros()).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_given_absolutely_or_before_now() {
        let given = "2026-01-31T13:00:00+01:00";
        assert_eq!(instant(given).as_deref(), Ok(given));
        let [before, now] = ["-5m", "now"].map(|text| read(&instant(text).expect(text)));
        let passed_us = now.expect("a time").wall_us() - before.expect("a time").wall_us();
        assert!(
            (300_000_000..360_000_000).contains(&passed_us),
            "{passed_us}"
        );
        for odd in [
            "noon",
            "5m",
            "-5",
            "--5m",
            "-now",
            "+5m",
            "2026-01-31T12:00:00",
        ] {
            let refused = instant(odd).expect_err(odd);
            assert!(refused.contains("now, or how long ago"), "{refused}");
        }
    }
}
