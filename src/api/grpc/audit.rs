//! The audit as wire messages.

use crate::cluster::audit::Cut;
use crate::history::audit::{Absent, Audit, ChannelFlow};
use crate::process::clock::Hlc;
use crate::process::ids::{ChannelId, ProcessId};
use crate::proto::snapledger::{
    AuditAtResponse, AuditCheck, DatedAhead, MissingShare, PassedChannel,
};
use crate::transport::wire::{figures_to_wire, wide};

/// An audit as a message; `cluster` enters the token of the cut.
pub(super) fn answer(audit: &Audit, cluster: &str) -> AuditAtResponse {
    let (totals, verification) = (audit.totals(), audit.verify());
    let token = audit.is_complete().then(|| Cut::from(audit).token(cluster));
    let shares = audit.shares.iter();
    let checks = verification.checks.into_iter().map(|check| AuditCheck {
        check: check.check.to_owned(),
        subject: check.subject,
        holds: check.holds,
    });
    AuditAtResponse {
        at_us: audit.at.map(|at| at.wall_us()),
        cut_token: token.unwrap_or_default(),
        complete: audit.is_complete(),
        processes: shares
            .map(|(process, share)| figures_to_wire(process, share))
            .collect(),
        missing: audit
            .missing
            .iter()
            .map(|(process, absent)| missing(process, absent))
            .collect(),
        balances: Some(wide(totals.balances)),
        in_flight: Some(wide(totals.in_flight)),
        deposits: Some(wide(totals.deposits)),
        withdrawals: Some(wide(totals.withdrawals)),
        channels: audit
            .passed()
            .map(|(id, passed)| channel(id, passed))
            .collect(),
        conserved: verification.conserved,
        consistent_cut: verification.consistent_cut,
        checks: checks.collect(),
        dated_ahead: Vec::new(),
        joined_later: audit.later.keys().map(ToString::to_string).collect(),
    }
}

/// A process with clock values too far ahead.
pub(super) fn ahead(process: ProcessId, newest: Hlc) -> DatedAhead {
    DatedAhead {
        process: process.to_string(),
        newest: newest.0,
    }
}

fn missing(process: &ProcessId, absent: &Absent) -> MissingShare {
    let known = absent.known.as_ref();
    MissingShare {
        process: process.to_string(),
        reason: absent.reason.as_str().to_owned(),
        known_until: known.map(|(until, _)| until.0),
        snapshot_id: known.map_or_else(String::new, |(_, snapshot)| snapshot.to_string()),
    }
}

fn channel(channel: &ChannelId, passed: ChannelFlow) -> PassedChannel {
    let in_flight = passed.in_flight();
    // Both are message counts; a channel has carried fewer than 2^63.
    let count = |index: usize| in_flight.and_then(|figures| i64::try_from(figures[index]).ok());
    PassedChannel {
        from: channel.from.to_string(),
        to: channel.to.to_string(),
        sent: passed.sent.map(|flow| flow.sequence.0),
        delivered: passed.delivered.map(|flow| flow.sequence.0),
        messages: count(0),
        transfers: count(1),
        amount: in_flight.map(|[_, _, amount]| wide(amount)),
    }
}
