//! A collector of traces in this process, over OTLP on gRPC.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1 as wire;
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use crate::await_it::until;

/// Ends when dropped.
pub(crate) struct Collector {
    /// Its endpoint.
    pub(crate) endpoint: String,
    received: Received,
    _serving: JoinSet<()>,
}

#[derive(Clone, Default)]
struct Received(Arc<Mutex<Vec<ExportTraceServiceRequest>>>);

/// A span, and the node that has sent it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Span {
    pub(crate) node: String,
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) span: wire::Span,
}

impl Span {
    pub(crate) fn name(&self) -> &str {
        &self.span.name
    }

    /// The value of an attribute.
    pub(crate) fn says(&self, name: &str) -> &str {
        let value = self.attributes.get(name);
        value.unwrap_or_else(|| unreachable!("no {name} in {self:?}"))
    }

    /// Whether it failed.
    pub(crate) fn has_failed(&self) -> bool {
        let status = self.span.status.as_ref();
        status.is_some_and(|status| status.code() == wire::status::StatusCode::Error)
    }
}

impl Collector {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let received = Received::default();
        let service = TraceServiceServer::new(received.clone());
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let server = Server::builder().add_service(service);
            let served = server.serve_with_incoming(TcpListenerStream::new(listener));
            served.await.expect("it serves until it is dropped");
        });
        Self {
            endpoint: format!("http://{address}"),
            received,
            _serving: serving,
        }
    }

    /// All spans so far.
    pub(crate) fn spans(&self) -> Vec<Span> {
        let received = self.received.requests();
        let of_nodes = received.iter().flat_map(|request| &request.resource_spans);
        let of_nodes = of_nodes.flat_map(|of_node| {
            let resource = of_node.resource.as_ref().expect("a resource");
            let resource = read(&resource.attributes);
            assert_eq!(resource["service.name"], "snapledger");
            assert_eq!(resource["snapledger.cluster"], crate::cluster::NAME);
            let node = resource["service.instance.id"].clone();
            let spans = of_node.scope_spans.iter().flat_map(|scope| &scope.spans);
            spans.map(move |span| Span {
                node: node.clone(),
                attributes: read(&span.attributes),
                span: span.clone(),
            })
        });
        of_nodes.collect()
    }

    /// The bytes of all that came.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let received = self.received.requests();
        received
            .iter()
            .flat_map(|request| request.encode_to_vec())
            .collect()
    }

    /// Waits for this many spans that `wanted` takes, and returns them.
    pub(crate) async fn await_spans(
        &self,
        number: usize,
        wanted: impl Fn(&Span) -> bool,
    ) -> Vec<Span> {
        let what = format!("{number} spans");
        until(&what, async || {
            let mut found = self.spans();
            found.retain(|span| wanted(span));
            (found.len() >= number).then_some(found)
        })
        .await
    }
}

impl Received {
    fn requests(&self) -> Vec<ExportTraceServiceRequest> {
        let received = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        received.clone()
    }
}

#[tonic::async_trait]
impl TraceService for Received {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut received = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        received.push(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn read(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let read = attributes.iter().map(|attribute| {
        let value = attribute.value.as_ref().and_then(|any| any.value.as_ref());
        let value = match value.expect("a value") {
            any_value::Value::StringValue(text) => text.clone(),
            any_value::Value::IntValue(number) => number.to_string(),
            other => unreachable!("{other:?}"),
        };
        (attribute.key.clone(), value)
    });
    read.collect()
}
