//! Instants in requests: which ones a route accepts, and the failure that explains a refused one.

use std::fmt;
use std::time::Duration;

use super::error::Failure;
use super::time::{Instant, before_now, expected_at, read};
use crate::node::Handle;
use crate::process::clock::Hlc;

/// A bound of a list: an instant, or a time before now.
#[derive(Debug, Clone, Copy)]
pub(super) enum Bound {
    At(Instant),
    Ago(Duration),
}

impl Bound {
    pub(super) fn instant(self, present: Instant) -> Instant {
        match self {
            Self::At(instant) => instant,
            // A bound before all clock values has no effect.
            Self::Ago(before) => present.earlier_by(before),
        }
    }
}

/// Parses a bound of a list.
pub(super) fn bound(field: &str, text: &str) -> Result<Bound, Failure> {
    let ago = before_now(text).map(Bound::Ago);
    let bound = ago.or_else(|| read(text).map(Bound::At));
    bound.ok_or_else(|| Failure::malformed(field, expected_at(text)))
}

/// The last clock value of a requested instant, which must be in the past. `now` and `-5m` are resolved by the clock of
/// this node.
pub(super) async fn asked(handle: &Handle, field: &str, text: &str) -> Result<Hlc, Failure> {
    let Some(before) = before_now(text) else {
        let instant = read(text);
        let why = || Failure::malformed(field, expected_at(text));
        return past(handle, field, instant.ok_or_else(why)?).await;
    };
    let present = handle.present().await?.wall_us();
    let before = u64::try_from(before.as_micros()).ok();
    let then = before.and_then(|before| present.checked_sub(before));
    let then = then.ok_or_else(|| Failure::malformed(field, before_1970(&text)))?;
    Ok(Hlc::at(then).last_of_label())
}

/// The last clock value of an instant, which must not be in the future.
pub(in crate::api) async fn past(
    handle: &Handle,
    field: &str,
    instant: Instant,
) -> Result<Hlc, Failure> {
    let present = Instant::of_us(handle.present().await?.wall_us());
    let why = if instant.is_before_1970() {
        before_1970(&instant)
    } else if instant <= present {
        return Ok(instant.bound().last_of_label());
    } else {
        format!(
            "{instant} is in the future (the clock of this node shows {present}); give a past instant"
        )
    };
    Err(Failure::malformed(field, why))
}

fn before_1970(instant: &impl fmt::Display) -> String {
    format!("{instant} is before 1970, the first instant a clock can show; give a later instant")
}

/// Refuses two instants in the wrong order, since an empty list would look like a valid answer; otherwise returns them
/// as bounds of a list.
pub(super) fn range(
    earlier: &str,
    from: Option<Instant>,
    later: &str,
    to: Option<Instant>,
) -> Result<(Option<Hlc>, Option<Hlc>), Failure> {
    match from.zip(to) {
        Some((from, to)) if from > to => {
            let why = format!(
                "{to} is before {from}, the value of `{earlier}`; give the earlier instant there"
            );
            Err(Failure::malformed(later, why))
        }
        _ => Ok((from.map(Instant::bound), to.map(Instant::bound))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::Node;

    // Without this an answer about 1969 is one about 1970, and 9999 is shown as 2112.
    #[test]
    fn what_no_clock_reaches_stays_what_it_is() {
        for (text, bound) in [
            ("0000-01-01T00:00:00.000000Z", Hlc(0)),
            ("1969-12-31T23:59:59.999999Z", Hlc(0)),
            ("2113-01-01T00:00:00.000000Z", Hlc::at(u64::MAX)),
            ("9999-12-31T23:59:59.999999Z", Hlc::at(u64::MAX)),
        ] {
            let read = read(text).expect("a filter may be open");
            assert_eq!((&*read.to_string(), read.bound()), (text, bound));
        }
        let instant = |text| Some(read(text).expect("an instant"));
        let (before, after) = (instant("9999-01-01"), instant("9998-01-01"));
        let refused = range("from", before, "to", after).expect_err("the wrong way round");
        let refused = refused.to_string();
        assert!(
            refused.contains("9998-01-01") && refused.contains("9999-01-01"),
            "{refused}"
        );
    }

    #[tokio::test]
    async fn what_is_asked_about_is_over_and_after_1970() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let node = Node::alone(dir.path()).await;
        let handle = node.handle().clone();
        let before = handle.present().await.expect("it runs");
        let now = asked(&handle, "at", "now").await.expect("now is over");
        assert!(now >= before, "by the clock of the node");
        let ago = asked(&handle, "at", "-1h").await.expect("so is this");
        assert!(ago.wall_us() >= before.wall_us() - 3_600_000_000 && ago < before);
        for (odd, why) in [
            (
                "1969-12-31T23:59:59Z",
                "1969-12-31T23:59:59.000000Z is before 1970",
            ),
            ("-36000d", "-36000d is before 1970"),
            ("9999-12-31", "9999-12-31T00:00:00.000000Z is in the future"),
            ("2026-01-31T12:00:00 01:00", "write + as %2B"),
            ("then", "or now, or how long ago"),
        ] {
            let refused = asked(&handle, "at", odd).await.expect_err(odd).to_string();
            assert!(refused.contains(why), "{refused}");
        }
        node.stop().await;
    }

    // Without this a mistyped instant is taken for another one.
    #[test]
    fn what_only_looks_like_an_instant_is_refused_with_what_is_expected() {
        for odd in [
            "",
            "yesterday",
            "2023-11-14T22:13:20",
            "2026-01-31T12:00:60Z",
            "2026-01-31T24:00:00Z",
            "2026-02-30",
            "2026-01-31T12:00:00+25:00",
            "2026-01-31T12:00:00+01:60",
            "2026-01-31T12:00:00+01",
            "2026-01-31T12:00:00Z[Europe/Berlin]",
            "2026-01-31T12:00:00+01:00[Europe/Berlin]",
            "20260131T120000Z",
            "20260131",
            "2026-01-31T12:00:00,5Z",
            "2026-01-31T12:00:00.Z",
            "2026-01-31T12:00Z",
            "2026-01-31 12:00:00Z",
            "-000001-01-01T00:00:00Z",
            "+12026-01-31T12:00:00Z",
            "2026-W05-6",
            "2026-01-3\u{661}",
        ] {
            let refused = bound("from", odd).expect_err(odd).to_string();
            let expected = format!("from: {odd:?} is not a valid instant; give a time of RFC 3339");
            assert!(refused.starts_with(&expected), "{refused}");
            assert_eq!(refused.contains("%2B"), odd.contains(' '), "{refused}");
        }
    }
}
