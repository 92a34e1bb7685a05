//! Figures over time, for curves: audits at regular instants, and the course of one balance. Bounded in number and time, and
//! without any effect: no process moves its clock for a curve.

use std::time::{Duration, Instant};

use super::error::QueryError;
use super::{audit, balance_at, statement};
use crate::history::audit::Audit;
use crate::history::series::{Bucket, Buckets};
use crate::node::Handle;
use crate::process::clock::Hlc;
use crate::process::ids::{AccountId, ProcessId};
use crate::store::StatementQuery;

/// The most points of one series of audits.
pub(crate) const POINTS_MAX: usize = 500;
/// The time after which no further audits are begun. A request ends after 30 s.
const TIME_MAX: Duration = Duration::from_secs(15);
/// The entries of a statement that are read together, and the most of such pages.
const PAGE: usize = 1000;
const PAGES_MAX: usize = 100;
/// How often a balance is asked for again because retention has deleted the beginning of the journal meanwhile.
const TRIMMED_MAX: usize = 3;

/// Audits at regular instants.
pub(crate) struct AuditSeries {
    /// In order of their instants.
    pub(crate) audits: Vec<Audit>,
    /// The number of instants that are not final yet: a live process has not passed them.
    pub(crate) not_final: usize,
    /// Whether further instants were left out because of the limits.
    pub(crate) is_truncated: bool,
}

/// Audits at instants `step_us` apart, the first and the last one included if they fit.
pub(crate) async fn audits(
    handle: &Handle,
    from: Hlc,
    to: Hlc,
    step_us: u64,
) -> Result<AuditSeries, QueryError> {
    let (first, last) = (from.wall_us(), to.wall_us());
    let all = 1 + last.saturating_sub(first) / step_us.max(1);
    let wanted = usize::try_from(all).unwrap_or(usize::MAX).min(POINTS_MAX);
    let at = |number: usize| Hlc::at(first + step_us * number as u64).last_of_label();
    let mut instants: Vec<Hlc> = (0..wanted).map(at).collect();
    let passed = handle.passed_by_all();
    instants.retain(|instant| passed.is_some_and(|passed| *instant <= passed));
    let not_final = wanted - instants.len();
    let begun = Instant::now();
    let mut series = AuditSeries {
        audits: Vec::with_capacity(instants.len()),
        not_final,
        is_truncated: all > POINTS_MAX as u64,
    };
    // One after the other, and in order: each process continues its reading of the journal at the instant before.
    for instant in instants {
        if begun.elapsed() > TIME_MAX {
            series.is_truncated = true;
            break;
        }
        series.audits.push(audit::at(handle, instant).await?);
    }
    Ok(series)
}

/// The course of a balance.
pub(crate) struct BalanceSeries {
    /// In order, without those that were not read.
    pub(crate) buckets: Vec<Bucket>,
    /// Whether all operations of the whole time were read.
    pub(crate) is_complete: bool,
    /// If the series begins before the instant from which the process knows everything: that instant. The balance before it is
    /// not known.
    pub(crate) kept_since: Option<Hlc>,
}

/// The time that a series covers, and the number of its buckets.
pub(crate) struct Span {
    pub(crate) from: Hlc,
    pub(crate) to: Hlc,
    pub(crate) points: usize,
}

/// The balance of an account of any process over a time, from its statement.
pub(crate) async fn balances(
    handle: &Handle,
    process: &ProcessId,
    account: &AccountId,
    span: Span,
) -> Result<BalanceSeries, QueryError> {
    let known = known_before(handle, process, account, span.from).await?;
    let (from_us, to_us) = (span.from.wall_us(), span.to.wall_us());
    // Callers know the instant by its label.
    let kept_since = known.since.filter(|since| since.wall_us() > from_us);
    let held_since = kept_since.filter(|_| !known.is_by_operation);
    let held = known.units.filter(|_| held_since.is_none());
    let mut buckets = Buckets::new(from_us, to_us, span.points, held);
    if let (Some(since), Some(units)) = (held_since, known.units)
        && since < span.to
    {
        buckets.hold(since.wall_us(), units);
    }
    let mut series = BalanceSeries {
        buckets: Vec::new(),
        is_complete: kept_since.is_none() && known.is_certain,
        kept_since,
    };
    let mut next = query(account, Some(span.from), Some(span.to));
    for _ in 0..PAGES_MAX {
        let page = statement::page(handle, process, next.clone()).await?;
        for entry in &page.entries {
            buckets.add(Hlc(entry.time).wall_us(), entry.balance_after);
        }
        let last = page.entries.last();
        match last.and_then(|entry| entry.place).filter(|_| page.has_more) {
            Some(place) => next.after = Some(statement::place(place)),
            None => {
                series.buckets = buckets.finish(None);
                return Ok(series);
            }
        }
    }
    series.is_complete = false;
    series.buckets = buckets.finish(Some(0));
    Ok(series)
}

fn query(account: &AccountId, from: Option<Hlc>, to: Option<Hlc>) -> StatementQuery {
    StatementQuery {
        account: account.clone(),
        from,
        to,
        after: None,
        oldest_first: true,
        limit: PAGE,
    }
}

/// What is known of a balance before an instant.
struct KnownBefore {
    /// The balance at that instant, or at `since` if that is later and no operation is known, minor units; `None` if the account
    /// did not exist, or if the balance is not certain.
    units: Option<i64>,
    /// Whether it is that of the newest operation before the instant.
    is_by_operation: bool,
    is_certain: bool,
    /// The instant from which the process knows everything.
    since: Option<Hlc>,
}

// The newest operation before the instant has the balance. Without one the balance did not change since the journal begins, which
// may be after the account did. It is asked for at an instant that the process has passed, which therefore writes nothing, and as
// late as possible: a store that has just begun does not know whether another one had the account.
async fn known_before(
    handle: &Handle,
    process: &ProcessId,
    account: &AccountId,
    instant: Hlc,
) -> Result<KnownBefore, QueryError> {
    let newest = StatementQuery {
        oldest_first: false,
        limit: 1,
        ..query(account, None, Some(instant))
    };
    let mut attempts = 1..=TRIMMED_MAX;
    loop {
        let page = statement::page(handle, process, newest.clone()).await?;
        let since = page.kept_since.map(Hlc);
        let balance_after = page.entries.first().map(|entry| entry.balance_after);
        let (Some(since), None) = (since, balance_after) else {
            return Ok(KnownBefore {
                units: balance_after,
                is_by_operation: balance_after.is_some(),
                is_certain: true,
                since,
            });
        };
        let passed = handle.passed_by_all().unwrap_or_default();
        let last = Hlc(instant.0.saturating_sub(1)).min(passed);
        let then = match balance_at::balance(handle, process, account, last.max(since)).await {
            // Retention has moved the beginning meanwhile.
            Err(QueryError::BeforeHorizon(_)) if attempts.next().is_some() => continue,
            Err(QueryError::OtherJournal(_)) => None,
            then => Some(then?).filter(|then| then.known.is_none()),
        };
        return Ok(KnownBefore {
            is_certain: then.is_some(),
            units: then.and_then(|then| then.units),
            is_by_operation: false,
            since: Some(since),
        });
    }
}
