//! gRPC: the published interface (package `chandy_lamport`), our own services, health and reflection, and `PeerService`
//! between nodes. The layers `protocol` and `deadline` apply to every call of every service.

mod audit;
mod balance;
mod bank;
mod cluster;
mod deadline;
mod diagram;
mod differences;
mod figures;
mod history;
mod key_value;
mod ledger;
mod node_watched;
mod protocol;
mod recorded;
mod series;
pub(super) mod sizes;
mod snapshot;
mod stream;
mod watched;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use tonic::codec::CompressionEncoding;
use tonic::service::Routes;
use tonic::{Request, Status};
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use tonic_reflection::server::Builder as Reflection;
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer};

use sizes::{BATCH_BYTES_MAX, REQUEST_BYTES_MAX};

use super::browser;
use super::error::{Failure, id};
use super::guard;
use super::named::{Among, named};
use super::serve::limits::client;
use crate::access::caller::Caller;
use crate::node::peers::discover::UnansweredAddresses;
use crate::node::peers::service::Peering;
use crate::node::{Handle, Requests};
use crate::process::ids::{AccountId, ProcessId, SnapshotId};
use crate::process::refusal::Refusal;
use crate::proto;
use crate::proto::chandy_lamport::bank_service_server::BankServiceServer;
use crate::proto::chandy_lamport::key_value_service_server::KeyValueServiceServer;
use crate::proto::chandy_lamport::snapshot_service_server::SnapshotServiceServer;
use crate::proto::snapledger::history_service_server::HistoryServiceServer;
use crate::proto::snapledger::ledger_service_server::LedgerServiceServer;

/// The services that the health service reports.
const SERVICES: [&str; 6] = [
    "chandy_lamport.SnapshotService",
    "chandy_lamport.BankService",
    "chandy_lamport.KeyValueService",
    "snapledger.v1.LedgerService",
    "snapledger.v1.HistoryService",
    "snapledger.v1.PeerService",
];

// A service with a limit of request bytes, compressed or not.
macro_rules! bounded {
    ($service:expr, $bytes:expr) => {
        $service
            .accept_compressed(CompressionEncoding::Gzip)
            .send_compressed(CompressionEncoding::Gzip)
            .max_decoding_message_size($bytes)
    };
}

/// All services of one node; each is reported as serving.
///
/// Call [`stop_serving`] with the reporter when the node stops.
pub async fn router(handle: Handle) -> (Router, HealthReporter) {
    let (reporter, health) = tonic_health::server::health_reporter();
    report(&reporter, ServingStatus::Serving).await;
    let authority = handle.config().auth.clone();
    let requests = handle.requests();
    #[cfg(feature = "otel")]
    let tracer = handle.tracer();
    let snapshots = SnapshotServiceServer::new(snapshot::Snapshots::new(handle.clone()));
    let bank = BankServiceServer::new(bank::Bank(handle.clone()));
    let keys = KeyValueServiceServer::new(key_value::KeyValues(handle.clone()));
    let ledger = LedgerServiceServer::new(ledger::Ledger(handle.clone()));
    let history = HistoryServiceServer::new(history::History::new(handle.clone()));
    let v1 = reflection().build_v1().expect(DESCRIPTORS_ARE_WHOLE);
    let v1alpha = reflection().build_v1alpha().expect(DESCRIPTORS_ARE_WHOLE);
    let routes = Routes::new(bounded!(snapshots, REQUEST_BYTES_MAX))
        .add_service(bounded!(bank, REQUEST_BYTES_MAX))
        .add_service(bounded!(keys, REQUEST_BYTES_MAX))
        .add_service(bounded!(ledger, BATCH_BYTES_MAX))
        .add_service(bounded!(history, REQUEST_BYTES_MAX))
        .add_service(bounded!(health, REQUEST_BYTES_MAX))
        .add_service(bounded!(v1, REQUEST_BYTES_MAX))
        .add_service(bounded!(v1alpha, REQUEST_BYTES_MAX))
        .add_service(Peering::service(handle));
    let mut router = routes.into_axum_router();
    // Within the guard: a caller without rights has no spans.
    #[cfg(feature = "otel")]
    if let Some(tracer) = tracer {
        router = router.layer(from_fn_with_state(tracer, super::traced::grpc));
    }
    if let Some(authority) = authority {
        router = router.layer((
            SetRequestIdLayer::x_request_id(MakeRequestUuid),
            PropagateRequestIdLayer::x_request_id(),
            from_fn_with_state(authority, guard::grpc::keep),
        ));
    }
    (within_bounds(router, requests), reporter)
}

// The layers around every call, outermost first. Added together, since each addition to a router costs every call two
// allocations.
fn within_bounds(router: Router, requests: Requests) -> Router {
    router.layer((
        from_fn(browser::on_grpc),
        from_fn_with_state(requests, protocol::keep),
        from_fn(deadline::keep),
    ))
}

/// The services of a node that is not ready: `greeter` and health; every other call fails with the reason.
pub async fn not_ready(greeter: Routes, unanswered: UnansweredAddresses) -> Router {
    let (reporter, health) = tonic_health::server::health_reporter();
    report(&reporter, ServingStatus::NotServing).await;
    let refuse = move || {
        let status = Status::unavailable(unanswered.sentence());
        async move { status.into_http::<tonic::body::Body>() }
    };
    let router = greeter.add_service(health).into_axum_router();
    within_bounds(router.fallback(refuse), Requests::default())
}

const DESCRIPTORS_ARE_WHOLE: &str = "the descriptors were encoded by this build";

fn reflection() -> Reflection<'static> {
    Reflection::configure()
        .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}

/// Reports to health watchers that this node no longer serves, and ends their streams, which would delay the stop.
pub async fn stop_serving(mut reporter: HealthReporter) {
    report(&reporter, ServingStatus::NotServing).await;
    for service in std::iter::once("").chain(SERVICES) {
        reporter.clear_service_status(service).await;
    }
}

async fn report(reporter: &HealthReporter, status: ServingStatus) {
    for service in std::iter::once("").chain(SERVICES) {
        reporter.set_service_status(service, status).await;
    }
}

// The handle for the client of a request.
fn handle_for<T>(request: &Request<T>, handle: &Handle) -> Handle {
    handle.within(client(request).queue())
}

// The sentence of a refusal that is answered with OK, or the failure.
fn refused(refusal: Refusal) -> Result<String, Failure> {
    let failure = Failure::from(refusal);
    match failure.verdict().grpc {
        None => Ok(failure.to_string()),
        Some(_) => Err(failure),
    }
}

// The sentence of a failure that is answered with OK; the audit trail says that the call was refused.
fn noted(caller: &Caller, failure: &Failure) -> String {
    caller.note_refusal(failure.verdict().kind);
    failure.to_string()
}

// The snapshot that a request names, also for the audit trail.
async fn named_snapshot(
    handle: &Handle,
    caller: &Caller,
    text: &str,
    among: Among,
) -> Result<SnapshotId, Failure> {
    let snapshot = named(handle, "snapshot_id", text, among).await;
    caller.note_snapshot(snapshot.as_ref().map_or(text, SnapshotId::as_str));
    snapshot
}

fn account(field: &str, text: &str) -> Result<AccountId, Failure> {
    id(field, text, AccountId::parse)
}

// An account that the caller may use.
fn own_account(caller: &Caller, field: &str, text: &str) -> Result<AccountId, Failure> {
    let account = account(field, text)?;
    caller.check(|| field.to_owned(), account.as_str())?;
    Ok(account)
}

// For fields in which an empty string means this process.
fn process_or_here(field: &str, text: &str) -> Result<Option<ProcessId>, Failure> {
    match text {
        "" => Ok(None),
        named => id(field, named, ProcessId::parse).map(Some),
    }
}
