//! Figures over time, for curves.

use super::super::error::Failure;
use super::super::time::Instant;
use super::super::time_argument;
use crate::cluster::series::{self, Span};
use crate::history::audit::Audit;
use crate::history::series::Bucket;
use crate::node::Handle;
use crate::process::clock::Hlc;
use crate::process::ids::{AccountId, ProcessId};
use crate::proto::snapledger::{
    AccountSeriesRequest, AccountSeriesResponse, AuditPoint, AuditSeriesRequest,
    AuditSeriesResponse, BalanceBucket,
};
use crate::transport::wire::wide;

/// The most buckets of a balance.
const BUCKETS_MAX: u32 = 1000;

/// Audits at regular instants.
pub(super) async fn audits(
    handle: &Handle,
    asked: AuditSeriesRequest,
) -> Result<AuditSeriesResponse, Failure> {
    let (from, to) = span(handle, asked.from_us, asked.to_us).await?;
    if asked.step_us == 0 {
        return Err(Failure::malformed("step_us", "is 0; give at least 1"));
    }
    let found = series::audits(handle, from, to, asked.step_us).await?;
    Ok(AuditSeriesResponse {
        points: found.audits.iter().map(point).collect(),
        not_final: found.not_final as u64,
        truncated: found.is_truncated,
    })
}

/// The balance of an account over a time.
pub(super) async fn balances(
    handle: &Handle,
    process: &ProcessId,
    account: &AccountId,
    asked: &AccountSeriesRequest,
) -> Result<AccountSeriesResponse, Failure> {
    let (from, to) = span(handle, asked.from_us, asked.to_us).await?;
    if !(1..=BUCKETS_MAX).contains(&asked.points) {
        let why = format!("give 1 to {BUCKETS_MAX}");
        return Err(Failure::malformed("points", why));
    }
    let points = usize::try_from(asked.points).unwrap_or(1);
    let span = Span { from, to, points };
    let found = series::balances(handle, process, account, span).await?;
    Ok(AccountSeriesResponse {
        process: process.to_string(),
        account: account.to_string(),
        buckets: found.buckets.into_iter().map(bucket).collect(),
        complete: found.is_complete,
        kept_since: found.kept_since.map(|since| since.0),
    })
}

async fn span(handle: &Handle, from_us: u64, to_us: u64) -> Result<(Hlc, Hlc), Failure> {
    let from = time_argument::past(handle, "from_us", Instant::of_us(from_us)).await?;
    let to = time_argument::past(handle, "to_us", Instant::of_us(to_us)).await?;
    match from < to {
        true => Ok((Hlc::at(from.wall_us()), Hlc::at(to.wall_us()))),
        false => Err(Failure::malformed(
            "to_us",
            "is not after from_us; give a later instant",
        )),
    }
}

fn point(audit: &Audit) -> AuditPoint {
    let totals = audit.totals();
    AuditPoint {
        at_us: audit.at.map_or(0, Hlc::wall_us),
        complete: audit.is_complete(),
        balances: Some(wide(totals.balances)),
        in_flight: Some(wide(totals.in_flight)),
        deposits: Some(wide(totals.deposits)),
        withdrawals: Some(wide(totals.withdrawals)),
        missing: audit.missing.keys().map(ToString::to_string).collect(),
    }
}

fn bucket(bucket: Bucket) -> BalanceBucket {
    BalanceBucket {
        from_us: bucket.from_us,
        to_us: bucket.to_us,
        first: bucket.first,
        min: bucket.min,
        max: bucket.max,
        last: bucket.last,
        changes: bucket.changes,
    }
}
