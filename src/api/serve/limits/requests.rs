//! The service around all others: it charges each request for what it holds, or refuses it.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::http::{HeaderMap, Request, Response};
use tower::Service;

use super::answer::Owed;
use super::refusal::Protocol;
use super::request::{Call, Charged, RequestUsage};
use super::usage::ConnectionUsage;
use super::{REQUEST_BYTES, Resource};
use crate::api::error::Failure;
use crate::node::RefusalReason;

/// The calls that only peers make: of native transport, and of unary transport.
const PEER_CALLS: [&str; 3] = [
    "/snapledger.v1.PeerService/",
    "/chandy_lamport.SnapshotService/ReceiveMarker",
    "/chandy_lamport.SnapshotService/SendMessage",
];
/// The calls whose clients send messages one after the other.
const STREAMS: [&str; 3] = [
    "/snapledger.v1.LedgerService/Stream",
    "/snapledger.v1.PeerService/Channel",
    "/grpc.reflection.",
];
/// The streams that anyone may open without a log-in and hold for any time.
const OPEN_STREAMS: [&str; 2] = ["/grpc.health.v1.Health/Watch", "/grpc.reflection."];
/// What a header field costs beside its name and value.
const FIELD_BYTES: usize = 64;

/// Serves the requests of one connection within its limits.
#[derive(Clone)]
pub(in crate::api::serve) struct Limited<S> {
    inner: S,
    usage: Arc<ConnectionUsage>,
    may_be_peer: bool,
}

impl<S> Limited<S> {
    /// `may_be_peer`: whether calls of peers count as such, which a path alone does not show where peers have certificates.
    pub(in crate::api::serve) fn new(
        inner: S,
        usage: Arc<ConnectionUsage>,
        may_be_peer: bool,
    ) -> Self {
        Self {
            inner,
            usage,
            may_be_peer,
        }
    }

    fn admit<B>(&self, request: &Request<B>) -> Result<Arc<RequestUsage>, Failure> {
        let (usage, path) = (&self.usage, request.uri().path());
        let is_of_peer = self.may_be_peer && is_any(&PEER_CALLS, path);
        if is_of_peer {
            usage.place.is_of_peer();
        } else if usage.place.is_on_trial() {
            usage.count(RefusalReason::Connections);
            return Err(Failure::Busy(usage.place.connections_max(), "connections"));
        }
        let resource = match is_of_peer {
            true => Resource::PeerBytes,
            false => Resource::ClientBytes,
        };
        let bytes = REQUEST_BYTES + path.len() + size(request.headers());
        let permit = usage.take(resource, bytes)?;
        let is_open = is_any(&OPEN_STREAMS, path);
        Ok(RequestUsage::new(permit, is_open))
    }
}

impl<S, B> Service<Request<B>> for Limited<S>
where
    S: Service<Request<Charged<B>>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Owed>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let protocol = Protocol::of(request.headers());
        match self.admit(&request) {
            Ok(usage) => {
                let charged = Arc::clone(&usage);
                let may_be_silent = is_any(&STREAMS, request.uri().path());
                let call = Call {
                    protocol,
                    may_be_silent,
                };
                let mut request = request.map(|body| Charged::new(body, call, charged));
                request.extensions_mut().insert(Arc::clone(&self.usage));
                let answered = self.inner.call(request);
                Box::pin(async move {
                    let answer = answered.await?;
                    let answer = match usage.failure() {
                        Some(failure) => protocol.answer(failure),
                        None => answer,
                    };
                    Ok(Owed::answer(answer, protocol, usage))
                })
            }
            Err(failure) => {
                let usage = RequestUsage::new(self.usage.nothing(Resource::ClientBytes), false);
                let answer = Owed::answer(protocol.answer(failure), protocol, usage);
                Box::pin(std::future::ready(Ok(answer)))
            }
        }
    }
}

fn is_any(calls: &[&str], path: &str) -> bool {
    calls.iter().any(|call| path.starts_with(call))
}

fn size(headers: &HeaderMap) -> usize {
    let fields = headers.iter();
    let fields = fields.map(|(name, value)| name.as_str().len() + value.len() + FIELD_BYTES);
    fields.sum()
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use tower::ServiceExt as _;

    use super::super::places::Places;
    use super::*;

    const GREET: &str = "/snapledger.v1.PeerService/Greet";

    async fn is_charged_as_peer(may_be_peer: bool) -> bool {
        let usage = Places::alone();
        let all = usage.take(Resource::ClientBytes, super::super::RESERVED_BYTES);
        let share = super::super::address_share(super::super::CLIENT_BYTES_MAX);
        let rest = usage.take(Resource::ClientBytes, share);
        let _all = (all.expect("its reserve"), rest.expect("its share"));
        let limited = Limited::new(Router::new(), usage, may_be_peer);
        let request = Request::get(GREET).body(Body::empty());
        let answer = limited.oneshot(request.expect("a request")).await;
        answer.expect("it answers").status() == 404
    }

    // Without this, strangers could fill the memory for calls of peers by naming their paths.
    #[tokio::test]
    async fn a_path_makes_no_peer_where_peers_have_certificates() {
        assert!(is_charged_as_peer(true).await);
        assert!(!is_charged_as_peer(false).await);
    }

    // Without this, streams without a log-in would hold connections for ever.
    #[tokio::test]
    async fn an_open_stream_without_log_in_is_no_work_in_progress() {
        for (path, is_work) in [
            ("/grpc.health.v1.Health/Watch", false),
            (
                "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
                false,
            ),
            ("/grpc.health.v1.Health/Check", true),
            ("/snapledger.v1.LedgerService/Stream", true),
        ] {
            let usage = Places::alone();
            let limited = Limited::new(Router::new(), Arc::clone(&usage), true);
            let request = Request::get(path).body(Body::empty());
            let answer = limited.oneshot(request.expect("a request")).await;
            assert_eq!(usage.progress.is_working(true), is_work, "{path}");
            assert!(usage.progress.is_working(false), "{path}");
            drop(answer);
            assert!(!usage.progress.is_working(false), "{path}");
        }
    }
}
