//! Failures that a client can see, and the table that maps each to its problem type and its statuses.

use std::sync::Arc;

use axum::http::StatusCode;
use tonic::Code;

use super::denied::Denied;
use super::time::rfc3339;
use super::verdict::Verdict;
use crate::access::caller::NotItsAccount;
use crate::access::trail::Ended;
use crate::node::{NotBegun, ReadyCheck, Unavailable};
use crate::process::clock::Hlc;
use crate::process::ids::{AccountId, Malformed, ProcessId, SnapshotId};
use crate::process::refusal::Refusal;
use crate::store::StoreError;
use crate::transport::wire::before_horizon;

/// Why a request failed; the sentence is for people.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// A field, parameter or header is malformed.
    #[error("{field}: {why}")]
    Malformed { field: String, why: String },
    /// A rule of the bank, the channels or the snapshots forbids it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Its sender may not do it.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The node accepts no input.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// Another process is needed and is unreachable.
    #[error("process {process:?} is unreachable: {why}; {instead}")]
    ProcessDown {
        process: ProcessId,
        why: String,
        /// What can be requested instead.
        instead: &'static str,
    },
    /// The program that hosts the process answers no questions about its accounts.
    #[error(
        "process {process:?} is hosted by another program (transport = \"unary\" in the cluster file), which does not \
         serve its accounts here; ask that program; {instead}"
    )]
    ForeignProcess {
        process: ProcessId,
        /// What can be requested instead.
        instead: &'static str,
    },
    /// The process was removed from the cluster.
    #[error(
        "process {process:?} was removed from this cluster together with its journal; {instead}"
    )]
    RemovedProcess {
        process: ProcessId,
        /// What can be requested instead.
        instead: &'static str,
    },
    /// The node is not yet ready, or is stopping.
    #[error("the node is not ready: {}", first_fault(.0))]
    NotReady(Vec<ReadyCheck>),
    /// A concurrency limit is reached.
    #[error(
        "at most {0} {1} at once, and three quarters of them for one address; try again in a moment"
    )]
    Busy(usize, &'static str),
    /// A unary call came for a channel that the cluster file declares as native.
    #[error(
        "the channel from {0:?} is declared native in the cluster file; if another program hosts that process, set \
         transport = \"unary\" in its [[process]] block of cluster.toml on every node, and restart the nodes"
    )]
    OtherMake(ProcessId),
    /// The account has never been credited.
    #[error(
        "there is no account {account:?} on process {process:?} (an account opens with its first credit). Every \
         process has its own accounts; ask the process that keeps this one, \
         /v1/processes/{{process}}/accounts/{{account}} (in commands --process)"
    )]
    UnknownAccount {
        process: ProcessId,
        account: AccountId,
    },
    /// No snapshot of this id is known here.
    #[error(
        "there is no snapshot {snapshot:?} in the history of this process; GET /v1/snapshots (`snapledger snapshot \
         list`) lists the existing ones{}",
        not_yet(named_by.as_ref())
    )]
    UnknownSnapshot {
        snapshot: SnapshotId,
        /// Another process whose generated ids have this form.
        named_by: Option<ProcessId>,
    },
    /// Retention deleted the snapshot, which was not pinned.
    #[error(
        "snapshot {snapshot:?} was deleted from the history of this process by retention (age or count); {}. Pin \
         snapshots that must be kept",
        kept(since.as_deref())
    )]
    Deleted {
        snapshot: SnapshotId,
        /// The start of the oldest snapshot since which none was deleted.
        since: Option<String>,
    },
    /// The snapshot cannot be begun.
    #[error(transparent)]
    NotBegun(NotBegun),
    /// Another process assembles the snapshot.
    #[error(
        "snapshot {snapshot:?} was started by process {initiator:?} and is not in the history of this process{}; ask \
         that process ({address}){}",
        if *.comes { " yet" } else { "" },
        if *.comes { ", or retry shortly, since it is replicated here when it is finished" } else { "" }
    )]
    Elsewhere {
        snapshot: SnapshotId,
        initiator: ProcessId,
        address: String,
        /// Whether this process replicates finished snapshots of others.
        comes: bool,
    },
    /// No revision of the snapshot is published yet.
    #[error("snapshot {0:?} is in progress; retry when it is complete or partial")]
    InProgress(SnapshotId),
    /// The history has the snapshot, but not this revision.
    #[error(
        "snapshot {snapshot:?} has no revision {revision} in the history of this process, which has {}{}",
        listed(here),
        more_of(*last, numbered_by.as_ref())
    )]
    UnknownRevision {
        snapshot: SnapshotId,
        revision: u32,
        /// The revisions in the local history.
        here: Vec<u32>,
        /// The complete revision, if it rules out the requested number.
        last: Option<u32>,
        /// Another process that assigns such revision numbers.
        numbered_by: Option<ProcessId>,
    },
    /// The history has no snapshot of this kind.
    #[error("the history of this process has no {0} yet")]
    NoSnapshot(&'static str),
    /// The snapshot does not contain the state of this process.
    #[error("snapshot {snapshot:?} does not hold the state of process {process:?}")]
    NotRecorded {
        snapshot: SnapshotId,
        process: ProcessId,
    },
    /// The answer exceeds the limit of one message.
    #[error(
        "snapshot {0:?} does not fit one answer of {max} bytes; stream it by snapledger.v1 HistoryService.Balances, \
         or by REST GET /v1/snapshots/{{id}}/balances with Accept: text/csv or application/x-ndjson",
        max = super::grpc::sizes::ANSWER_BYTES_MAX
    )]
    AnswerTooLarge(SnapshotId),
    /// A sum exceeds the range of the field.
    #[error(
        "the total of snapshot {0:?} is {1}, which exceeds 64 bits; REST GET /v1/snapshots/{{id}} shows it in full"
    )]
    OutOfRange(SnapshotId, i128),
    /// The requested past is before the retention horizon; answers exist from this instant on.
    #[error(
        "this instant is before the retention horizon; the earliest valid instant is {since}",
        since = rfc3339(.0.wall_us())
    )]
    BeforeHorizon(Hlc),
    /// The requested past was in an earlier store of this process.
    #[error(
        "the journal of process {0:?} begins after this instant, so its state then was in another store, if there was \
         any, and no snapshot in this node's history has its state at or before it; ask about a later instant"
    )]
    OtherJournal(ProcessId),
    /// The store cannot be read.
    #[error("the store cannot be read: {0}")]
    Unreadable(#[source] StoreError),
    /// A reading thread has ended.
    #[error("the read was interrupted: {0}")]
    Interrupted(String),
    /// There is no such route.
    #[error("there is no route {0}; GET / lists the routes")]
    UnknownRoute(String),
    /// The route has no such method.
    #[error("method {0} is not allowed here; the header Allow lists the allowed methods")]
    Method(String),
    /// None of the offered formats is acceptable to the client.
    #[error("the available formats are {0}; set the header Accept to one of them, or leave it out")]
    NotAcceptable(String),
    /// The body has another media type.
    #[error("the body is {0}; send JSON, with the header Content-Type: application/json")]
    MediaType(String),
    /// The body exceeds the limit.
    #[error("the body is too large; the limit is {0} bytes")]
    BodyTooLarge(usize),
    /// The time limit expired; the outcome is unknown.
    #[error(
        "no answer within {0} s; the outcome is unknown, and a retry with the same idempotency key is safe"
    )]
    Timeout(u64),
}

fn behind() -> Verdict {
    Verdict {
        kind: "archive-behind",
        http: StatusCode::SERVICE_UNAVAILABLE,
        grpc: Some(Code::Unavailable),
    }
}

impl Failure {
    /// A malformed field.
    pub(super) fn malformed(field: impl Into<String>, why: impl ToString) -> Self {
        Self::Malformed {
            field: field.into(),
            why: why.to_string(),
        }
    }

    /// The row of the table for this failure.
    pub(super) fn verdict(&self) -> Verdict {
        use StatusCode as Http;
        let (internal, away) = (Http::INTERNAL_SERVER_ERROR, Http::SERVICE_UNAVAILABLE);
        let (kind, http, grpc) = match self {
            Self::Refused(refusal) => return of_refusal(refusal),
            Self::Denied(denied) => return denied.verdict(),
            Self::Malformed { .. } => ("malformed", Http::BAD_REQUEST, Code::InvalidArgument),
            Self::Unavailable(Unavailable::Full | Unavailable::ShareFull) | Self::Busy(..) => {
                ("busy", Http::TOO_MANY_REQUESTS, Code::ResourceExhausted)
            }
            // 503 rather than 429, since an early retry does not help.
            Self::Unavailable(Unavailable::NoRoom { .. }) => {
                ("no-room", away, Code::ResourceExhausted)
            }
            Self::Unavailable(Unavailable::ArchiveBehind(_) | Unavailable::ArchiveLost(_)) => {
                return behind();
            }
            Self::Unavailable(Unavailable::NotArchived(_)) => {
                ("not-archived", away, Code::Unavailable)
            }
            Self::Unavailable(Unavailable::Stopped(_)) => ("not-durable", away, Code::Unavailable),
            Self::NotReady(_) | Self::Unavailable(Unavailable::NotYet(_)) => {
                ("not-ready", Http::SERVICE_UNAVAILABLE, Code::Unavailable)
            }
            Self::ProcessDown { .. } => ("process-down", away, Code::Unavailable),
            Self::ForeignProcess { .. } => ("other-make", Http::CONFLICT, Code::FailedPrecondition),
            Self::RemovedProcess { .. } => ("removed-process", Http::GONE, Code::NotFound),
            Self::UnknownAccount { .. } => ("unknown-account", Http::NOT_FOUND, Code::NotFound),
            Self::UnknownSnapshot { .. } | Self::NoSnapshot(_) | Self::Elsewhere { .. } => {
                ("unknown-snapshot", Http::NOT_FOUND, Code::NotFound)
            }
            Self::UnknownRevision { .. } => ("unknown-revision", Http::NOT_FOUND, Code::NotFound),
            Self::InProgress(_) => ("in-progress", Http::CONFLICT, Code::FailedPrecondition),
            Self::Deleted { .. } => ("deleted", Http::GONE, Code::NotFound),
            Self::NotBegun(why) => return of_not_begun(why),
            Self::NotRecorded { .. } => ("not-recorded", Http::NOT_FOUND, Code::NotFound),
            Self::AnswerTooLarge(_) => ("answer-too-large", internal, Code::ResourceExhausted),
            Self::OutOfRange(..) => ("out-of-range", internal, Code::OutOfRange),
            Self::BeforeHorizon(_) => ("before-horizon", Http::GONE, Code::OutOfRange),
            Self::OtherJournal(_) => ("other-journal", Http::GONE, Code::OutOfRange),
            Self::Unreadable(_)
            | Self::Interrupted(_)
            | Self::Unavailable(Unavailable::Damaged(_)) => {
                ("unreadable", internal, Code::DataLoss)
            }
            Self::OtherMake(_) => ("other-way", Http::CONFLICT, Code::FailedPrecondition),
            Self::UnknownRoute(_) => ("unknown-route", Http::NOT_FOUND, Code::Unimplemented),
            Self::Method(_) => {
                let http = Http::METHOD_NOT_ALLOWED;
                ("method-not-allowed", http, Code::Unimplemented)
            }
            Self::NotAcceptable(_) => {
                let http = Http::NOT_ACCEPTABLE;
                ("not-acceptable", http, Code::InvalidArgument)
            }
            Self::MediaType(_) => {
                let http = Http::UNSUPPORTED_MEDIA_TYPE;
                ("unsupported-media-type", http, Code::InvalidArgument)
            }
            Self::BodyTooLarge(_) => (
                "too-large",
                Http::PAYLOAD_TOO_LARGE,
                Code::ResourceExhausted,
            ),
            Self::Timeout(_) => ("timeout", Http::GATEWAY_TIMEOUT, Code::DeadlineExceeded),
        };
        let grpc = Some(grpc);
        Verdict { kind, http, grpc }
    }
}

fn kept(since: Option<&str>) -> String {
    match since {
        Some(since) => format!(
            "none that began at {since} or later was deleted, and of older ones only the pinned ones remain"
        ),
        None => "only pinned snapshots remain".to_owned(),
    }
}

fn listed(revisions: &[u32]) -> String {
    match revisions {
        [] => "no revision of it yet".to_owned(),
        revisions => {
            let numbers: Vec<String> = revisions.iter().map(u32::to_string).collect();
            numbers.join(", ")
        }
    }
}

fn more_of(last: Option<u32>, numbered_by: Option<&ProcessId>) -> String {
    match (last, numbered_by) {
        (Some(last), _) => {
            format!("; revision {last} is complete and therefore final; ask for one of these")
        }
        (None, Some(process)) => format!(
            "; process {process:?} assigns such numbers: ask that process, or retry here shortly"
        ),
        (None, None) => String::new(),
    }
}

// A snapshot that another process has just finished arrives here shortly after.
fn first_fault(checks: &[ReadyCheck]) -> &str {
    let mut faults = checks.iter().filter_map(|check| check.fault.as_deref());
    faults.next().unwrap_or_default()
}

fn not_yet(named_by: Option<&ProcessId>) -> String {
    let Some(process) = named_by else {
        return String::new();
    };
    format!(
        "; process {process:?} assigns ids of this form: ask that process, or retry here shortly"
    )
}

fn of_not_begun(why: &NotBegun) -> Verdict {
    use StatusCode as Http;
    let (kind, http, grpc) = match why {
        NotBegun::Refused(refusal) => return of_refusal(refusal),
        NotBegun::Deleted(_) => ("deleted", Http::GONE, Code::NotFound),
        NotBegun::Reserved { .. } => ("reserved-id", Http::CONFLICT, Code::FailedPrecondition),
        NotBegun::TooMany { .. } => {
            let http = Http::TOO_MANY_REQUESTS;
            ("too-many-snapshots", http, Code::ResourceExhausted)
        }
    };
    let grpc = Some(grpc);
    Verdict { kind, http, grpc }
}

fn of_refusal(refusal: &Refusal) -> Verdict {
    use StatusCode as Http;
    let (http, grpc) = match refusal {
        Refusal::UnknownAccount(_) | Refusal::UnknownProcess(_) => (Http::NOT_FOUND, None),
        Refusal::Amount(_)
        | Refusal::InsufficientFunds { .. }
        | Refusal::Overflow(_)
        | Refusal::NoChannel { .. }
        | Refusal::ValueTooLong(_) => (Http::CONFLICT, None),
        Refusal::RequestReused(_) => (Http::UNPROCESSABLE_ENTITY, None),
        Refusal::TooManySnapshots(_) => (Http::TOO_MANY_REQUESTS, Some(Code::ResourceExhausted)),
        // 503 rather than 429, since an early retry does not help.
        Refusal::TooManyAccounts(_) | Refusal::TooManyKeys(_) | Refusal::TooManyValueBytes(_) => {
            (Http::SERVICE_UNAVAILABLE, Some(Code::ResourceExhausted))
        }
        Refusal::OtherWay { .. }
        | Refusal::Gap { .. }
        | Refusal::OtherStore { .. }
        | Refusal::OlderBoot { .. }
        | Refusal::GivenUp { .. }
        | Refusal::OtherRun { .. }
        | Refusal::Diverged { .. } => (Http::CONFLICT, Some(Code::FailedPrecondition)),
    };
    let kind = refusal.kind();
    Verdict { kind, http, grpc }
}

impl From<NotBegun> for Failure {
    fn from(why: NotBegun) -> Self {
        match why {
            NotBegun::Refused(refusal) => refusal.into(),
            why => Self::NotBegun(why),
        }
    }
}

impl From<NotItsAccount> for Failure {
    fn from(foreign: NotItsAccount) -> Self {
        Self::Denied(foreign.into())
    }
}

// Retention may delete data while it is read.
impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::BeforeHorizon { since, .. } => Self::BeforeHorizon(since),
            error => Self::Unreadable(error),
        }
    }
}

impl From<Failure> for tonic::Status {
    fn from(failure: Failure) -> Self {
        // A response type without a `success` field reports a refusal by a status.
        let code = match &failure {
            Failure::Refused(Refusal::UnknownAccount(_) | Refusal::UnknownProcess(_)) => {
                Code::NotFound
            }
            _ => failure.verdict().grpc.unwrap_or(Code::FailedPrecondition),
        };
        let mut status = match failure {
            Failure::BeforeHorizon(since) => before_horizon(since, &failure.to_string()),
            _ => Self::new(code, failure.to_string()),
        };
        if let Failure::Denied(denied) = &failure
            && let Some(Ok(challenge)) = denied.challenge().map(|text| text.parse())
        {
            status.metadata_mut().insert("www-authenticate", challenge);
        }
        status.set_source(Arc::new(Ended::from(&failure)));
        status
    }
}

/// Parses an id from `field`.
pub(super) fn id<T>(
    field: &str,
    text: &str,
    parse: impl Fn(&str) -> Result<T, Malformed>,
) -> Result<T, Failure> {
    parse(text).map_err(|why| Failure::malformed(field, why))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::ids::Lsn;
    use crate::transport::wire::answers_since;

    #[test]
    fn refusals_keep_their_names_and_statuses() {
        let account = AccountId::parse("a").expect("a valid id");
        let table = [
            (Refusal::Amount(0), "amount-not-positive", 409, None),
            (
                Refusal::UnknownAccount(account.clone()),
                "unknown-account",
                404,
                None,
            ),
            (Refusal::Overflow(account), "overflow", 409, None),
            (
                Refusal::TooManySnapshots(8),
                "too-many-snapshots",
                429,
                Some(Code::ResourceExhausted),
            ),
        ];
        for (refusal, kind, http, grpc) in table {
            let verdict = Failure::from(refusal).verdict();
            assert_eq!(verdict.kind, kind);
            assert!(
                verdict
                    .title()
                    .starts_with(|first: char| first.is_uppercase())
            );
            assert_eq!(verdict.http.as_u16(), http, "{kind}");
            assert_eq!(verdict.grpc, grpc, "{kind}");
        }
    }

    // Without this a read that races with retention is reported as a damaged store.
    #[test]
    fn what_went_while_it_was_read_is_before_the_horizon() {
        let since = Hlc::at(7);
        let first = Lsn(3);
        let failure = Failure::from(StoreError::BeforeHorizon { first, since });
        assert_eq!(failure.verdict().http, StatusCode::GONE);
        assert_eq!(answers_since(&failure.into()), Some(since));
    }

    #[test]
    fn a_malformed_id_names_its_field_on_both_ways() {
        let failure = id("from_account", "", AccountId::parse).expect_err("an empty id");
        assert_eq!(failure.verdict().http, StatusCode::BAD_REQUEST);
        let status = tonic::Status::from(failure);
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().starts_with("from_account: "));
    }
}
