//! Sends spans to the collector in batches, and keeps a batch for a minute while the collector cannot be reached.
//!
//! Memory is bounded by the queue and one batch.

use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::resource::v1 as resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use super::span::{Span, Value, attribute};
use super::tracer::{Dropped, Tracer};
use crate::config::OtelSettings;
use crate::process::ids::ProcessId;

/// The number of spans that wait; one takes some 500 bytes.
const QUEUE_MAX: usize = 4096;
/// The number of spans sent together.
const BATCH_MAX: usize = 512;
/// How long a batch waits for more spans.
const BATCH_WAIT: Duration = Duration::from_secs(1);
const CONNECT_MAX: Duration = Duration::from_secs(2);
/// The time limit of one call.
const CALL_MAX: Duration = Duration::from_secs(5);
/// The first wait after a failed call; it doubles with each further one.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// The time after which a batch is dropped.
const RETRIES_MAX: Duration = Duration::from_secs(60);
/// The time limit for what waits at an orderly stop.
const STOP_MAX: Duration = Duration::from_secs(2);
/// The time limit of one call then: shorter, so that the log has what was not sent.
const CALL_AT_STOP_MAX: Duration = Duration::from_secs(1);
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);

/// The running exporter of a node.
pub struct Exporter {
    task: JoinHandle<()>,
    stop: watch::Sender<bool>,
}

/// Whose spans they are.
#[derive(Debug, Clone, Copy)]
pub struct Resource<'a> {
    /// The name of the cluster.
    pub cluster: &'a str,
    /// The process of the node.
    pub me: &'a ProcessId,
}

impl Exporter {
    /// Starts the exporter. The connection is made when there is something to send. `now_us` is the clock of the node.
    #[must_use]
    pub fn start(
        settings: &OtelSettings,
        of: Resource<'_>,
        now_us: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> (Self, Tracer) {
        let (queue, spans) = mpsc::channel(QUEUE_MAX);
        let tracer = Tracer::new(of.cluster, of.me, settings.sample, now_us, queue);
        let (stop, stopping) = watch::channel(false);
        let sending = Sending {
            client: TraceServiceClient::new(connect(settings)),
            endpoint: settings.endpoint.clone(),
            resource: resource_of(of),
            tracer: tracer.clone(),
            spans,
            stopping,
            complained: None,
        };
        let task = tokio::spawn(sending.run());
        (Self { task, stop }, tracer)
    }

    /// Sends what waits, for a short time, and ends.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        if timeout(STOP_MAX, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}

fn connect(settings: &OtelSettings) -> Channel {
    let endpoint = Endpoint::from_shared(settings.endpoint.clone());
    let endpoint = endpoint.expect("the configuration has checked it");
    let endpoint = endpoint.connect_timeout(CONNECT_MAX).tcp_nodelay(true);
    match &settings.trust {
        None => endpoint.connect_lazy(),
        Some(ca) => ca.tls.connect_lazy(&endpoint),
    }
}

fn resource_of(of: Resource<'_>) -> resource::Resource {
    let attributes = [
        ("service.name", Value::Word("snapledger")),
        ("service.version", Value::Word(env!("CARGO_PKG_VERSION"))),
        ("service.instance.id", Value::Id(of.me.to_string())),
        ("snapledger.cluster", Value::Id(of.cluster.to_owned())),
    ];
    resource::Resource {
        attributes: attributes
            .map(|(name, value)| attribute(name, &value))
            .to_vec(),
        ..resource::Resource::default()
    }
}

/// The task that sends.
struct Sending {
    client: TraceServiceClient<Channel>,
    endpoint: String,
    resource: resource::Resource,
    tracer: Tracer,
    spans: mpsc::Receiver<Span>,
    stopping: watch::Receiver<bool>,
    complained: Option<Instant>,
}

impl Sending {
    async fn run(mut self) {
        while !self.is_stopping() {
            let batch = self.gather().await;
            self.send(batch).await;
        }
        self.spans.close();
        loop {
            let mut batch = Vec::new();
            while let (true, Ok(span)) = (batch.len() < BATCH_MAX, self.spans.try_recv()) {
                batch.push(span);
            }
            if batch.is_empty() {
                return;
            }
            self.send(batch).await;
        }
    }

    // At least one span, unless the node stops.
    async fn gather(&mut self) -> Vec<Span> {
        let mut batch = Vec::new();
        let mut until = None;
        while batch.len() < BATCH_MAX {
            let room = BATCH_MAX - batch.len();
            let received = self.spans.recv_many(&mut batch, room);
            let received = async {
                match until {
                    None => Some(received.await),
                    Some(until) => timeout_at(until, received).await.ok(),
                }
            };
            let received = tokio::select! {
                received = received => received,
                _ = self.stopping.wait_for(|stop| *stop) => None,
            };
            if received.is_none_or(|spans| spans == 0) {
                break;
            }
            until = until.or_else(|| Some(Instant::now() + BATCH_WAIT));
        }
        batch
    }

    async fn send(&mut self, batch: Vec<Span>) {
        if batch.is_empty() {
            return;
        }
        let (spans, began) = (batch.len(), Instant::now());
        let request = self.request(&batch);
        let mut wait = RETRY_AFTER;
        let figures = self.tracer.figures().clone();
        loop {
            let failed = match self.call(request.clone()).await {
                Ok(refused) => {
                    figures.export(spans - refused.min(spans));
                    if refused > 0 {
                        figures.drop(refused, Dropped::Refused);
                        self.complain("the collector refused some spans");
                    }
                    return;
                }
                Err(failed) => failed,
            };
            let is_passing = may_pass(failed.code());
            if !is_passing || self.is_stopping() || began.elapsed() >= RETRIES_MAX {
                let why = match is_passing {
                    true => Dropped::Unsent,
                    false => Dropped::Refused,
                };
                figures.drop(spans, why);
                self.complain(&sentence(&failed));
                return;
            }
            self.complain(&sentence(&failed));
            tokio::select! {
                () = sleep(wait) => {}
                _ = self.stopping.wait_for(|stop| *stop) => {}
            }
            wait *= 2;
        }
    }

    // The number of spans that the collector did not take.
    async fn call(&mut self, request: ExportTraceServiceRequest) -> Result<usize, Status> {
        let late = |limit| Status::deadline_exceeded(format!("no answer within {limit:?}"));
        let mut stopping = self.stopping.clone();
        let late_at_stop = async {
            // Without a sender the node has stopped.
            drop(stopping.wait_for(|stop| *stop).await);
            sleep(CALL_AT_STOP_MAX).await;
        };
        let answer = tokio::select! {
            called = timeout(CALL_MAX, self.client.export(request)) => {
                called.map_err(|_| late(CALL_MAX))??
            }
            () = late_at_stop => return Err(late(CALL_AT_STOP_MAX)),
        };
        let answer = answer.into_inner();
        let refused = answer
            .partial_success
            .map_or(0, |partial| partial.rejected_spans);
        Ok(usize::try_from(refused).unwrap_or(0))
    }

    fn request(&self, batch: &[Span]) -> ExportTraceServiceRequest {
        let scope = InstrumentationScope {
            name: "snapledger".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..InstrumentationScope::default()
        };
        let spans = ScopeSpans {
            scope: Some(scope),
            spans: batch.iter().map(Span::to_wire).collect(),
            ..ScopeSpans::default()
        };
        let of_resource = ResourceSpans {
            resource: Some(self.resource.clone()),
            scope_spans: vec![spans],
            ..ResourceSpans::default()
        };
        ExportTraceServiceRequest {
            resource_spans: vec![of_resource],
        }
    }

    // One line a minute at most.
    fn complain(&mut self, why: &str) {
        let is_due = |then: Instant| then.elapsed() >= COMPLAIN_EVERY;
        if self.complained.is_none_or(is_due) {
            self.complained = Some(Instant::now());
            let (endpoint, dropped) = (&self.endpoint, self.tracer.figures().dropped());
            tracing::warn!(endpoint, dropped, "cannot export spans: {why}");
        }
    }

    fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }
}

fn sentence(failed: &Status) -> String {
    let mut said = failed.message().to_owned();
    let mut source = std::error::Error::source(failed);
    while let Some(error) = source {
        said = error.to_string();
        source = error.source();
    }
    format!("{said} ({:?})", failed.code())
}

// The codes after which the specification of OTLP lets a client try again.
fn may_pass(code: Code) -> bool {
    use Code::{
        Aborted, Cancelled, DataLoss, DeadlineExceeded, OutOfRange, ResourceExhausted, Unavailable,
    };
    let passing = [
        Aborted,
        Cancelled,
        DataLoss,
        DeadlineExceeded,
        OutOfRange,
        ResourceExhausted,
        Unavailable,
    ];
    // A connection that breaks during the call has this code, too.
    passing.contains(&code) || code == Code::Unknown
}
