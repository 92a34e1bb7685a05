//! Values of options that several measurements take.

use std::time::Duration;

const SECONDS_MAX: f64 = 600.0;

/// So many seconds, fractions allowed; over nothing and at most ten minutes.
pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok();
    let seconds = seconds.filter(|seconds| *seconds > 0.0 && *seconds <= SECONDS_MAX);
    let seconds = seconds.ok_or("give a number of seconds, over 0 and up to 600")?;
    Ok(Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_bounded() {
        assert_eq!(seconds("0.25"), Ok(Duration::from_millis(250)));
        assert_eq!(seconds("600"), Ok(Duration::from_secs(600)));
        for bad in ["0", "-1", "601", "NaN", "inf", "2s", ""] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }
}
