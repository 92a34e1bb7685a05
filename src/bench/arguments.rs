//! Option values shared by several measurements.

use std::ffi::OsStr;
use std::time::Duration;

use clap::builder::TypedValueParser;
use clap::{Arg, Command, Error};

const SECONDS_MAX: f64 = 600.0;

/// Seconds, with fractions: more than 0, at most 600.
pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok();
    let seconds = seconds.filter(|seconds| *seconds > 0.0 && *seconds <= SECONDS_MAX);
    let seconds = seconds.ok_or("give a number of seconds, over 0 and up to 600")?;
    Ok(Duration::from_secs_f64(seconds))
}

/// Values of a list; surrounding spaces are ignored.
#[derive(Clone)]
pub(super) struct Listed<P>(pub(super) P);

impl<P: TypedValueParser> TypedValueParser for Listed<P> {
    type Value = P::Value;

    fn parse_ref(
        &self,
        command: &Command,
        arg: Option<&Arg>,
        value: &OsStr,
    ) -> Result<Self::Value, Error> {
        let value = value.to_string_lossy();
        self.0.parse_ref(command, arg, OsStr::new(value.trim()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_may_have_spaces() {
        let counts = Arg::new("counts").value_delimiter(',');
        let counts = counts.value_parser(Listed(clap::value_parser!(u16).range(1..=9)));
        let command = Command::new("bench").arg(counts);
        let given = |list| command.clone().try_get_matches_from(["bench", list]);
        let given_good = given("1, 2 ,3").expect("a good list");
        let counts = given_good
            .get_many::<u16>("counts")
            .expect("they are there");
        assert_eq!(counts.copied().collect::<Vec<_>>(), [1, 2, 3]);
        assert!(given("1, 10").is_err());
    }

    #[test]
    fn seconds_are_bounded() {
        assert_eq!(seconds("0.25"), Ok(Duration::from_millis(250)));
        assert_eq!(seconds("600"), Ok(Duration::from_secs(600)));
        for bad in ["0", "-1", "601", "NaN", "inf", "2s", ""] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }
}
