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
    let query = |from, to, oldest_first, limit| StatementQuery {
        account: account.clone(),
        from,
        to,
        after: None,
        oldest_first,
        limit,
    };
    let before = query(None, Some(span.from), false, 1);
    let before = statement::page(handle, process, before).await?;
    let held = before.entries.first().map(|entry| entry.balance_after);
    let mut is_complete = before.kept_since.is_none_or(|since| since <= span.from.0);
    let (from_us, to_us) = (span.from.wall_us(), span.to.wall_us());
    let mut buckets = Buckets::new(from_us, to_us, span.points, held);
    let mut next = query(Some(span.from), Some(span.to), true, PAGE);
    for _ in 0..PAGES_MAX {
        let page = statement::page(handle, process, next.clone()).await?;
        for entry in &page.entries {
            buckets.add(Hlc(entry.time).wall_us(), entry.balance_after);
        }
        let last = page.entries.last();
        match last.and_then(|entry| entry.place).filter(|_| page.has_more) {
            Some(place) => next.after = Some(statement::place(place)),
            None => {
                let buckets = buckets.finish(None);
                return Ok(BalanceSeries {
                    buckets,
                    is_complete,
                });
            }
        }
    }
    is_complete = false;
    let buckets = buckets.finish(Some(0));
    Ok(BalanceSeries {
        buckets,
        is_complete,
    })
}
