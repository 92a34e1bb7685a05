//! The spans of requests whose caller asks for them in `traceparent`. A request without that header costs one look-up.

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use tonic::{Code, Status};

use crate::access::table::{of_method, of_route};
use crate::otel::{Kind, Span, SpanContext, SpanId, Tracer, Value, within};

/// What has no route.
const OTHER: &str = "other";

/// Around each route of REST.
pub(super) async fn rest(State(tracer): State<Tracer>, request: Request, next: Next) -> Response {
    let Some(caller) = SpanContext::of_headers(request.headers()) else {
        return next.run(request).await;
    };
    let pattern = request.extensions().get::<MatchedPath>();
    let rule = pattern.and_then(|pattern| of_route(request.method().as_str(), pattern.as_str()));
    let call = rule.map_or(OTHER, |rule| rule.call);
    let mut request_span = Underway::of(tracer, caller, call);
    if let Some((method, route)) = call.split_once(' ') {
        request_span.say("http.request.method", Value::Word(method));
        request_span.say("http.route", Value::Word(route));
    }
    let response = within(request_span.context(), next.run(request)).await;
    let status = response.status();
    request_span.say(
        "http.response.status_code",
        Value::Number(status.as_u16().into()),
    );
    let reason = status.canonical_reason().unwrap_or("a failure of the node");
    request_span.answered(status.is_server_error().then_some(reason));
    response
}

/// Around each call of gRPC.
pub(super) async fn grpc(State(tracer): State<Tracer>, request: Request, next: Next) -> Response {
    let Some(caller) = SpanContext::of_headers(request.headers()) else {
        return next.run(request).await;
    };
    let call = of_method(request.uri().path()).map_or(OTHER, |rule| rule.call);
    let mut request_span = Underway::of(tracer, caller, call.trim_start_matches('/'));
    request_span.say("rpc.system", Value::Word("grpc"));
    if let Some((service, method)) = call.trim_start_matches('/').split_once('/') {
        request_span.say("rpc.service", Value::Word(service));
        request_span.say("rpc.method", Value::Word(method));
    }
    let response = within(request_span.context(), next.run(request)).await;
    let code = Status::from_header_map(response.headers()).map_or(Code::Ok, |status| status.code());
    request_span.say("rpc.grpc.status_code", Value::Number(code as u64));
    request_span.answered(is_failure(code).then_some(code.description()));
    response
}

// The codes that the conventions of OpenTelemetry count as failures of a server.
fn is_failure(code: Code) -> bool {
    matches!(
        code,
        Code::Unknown
            | Code::DeadlineExceeded
            | Code::Unimplemented
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss
    )
}

/// A request until the head of its answer. It has a span also if it is dropped before.
struct Underway {
    tracer: Tracer,
    /// `None` if the caller does not record its span; its context is then passed on.
    span: Option<Span>,
    context: SpanContext,
}

impl Underway {
    fn of(tracer: Tracer, caller: SpanContext, name: &'static str) -> Self {
        let span = caller.is_sampled.then(|| Span {
            name,
            context: SpanContext {
                span: SpanId::random(),
                ..caller
            },
            parent: Some(caller.span),
            kind: Kind::Server,
            start_us: tracer.now_us(),
            end_us: 0,
            attributes: Vec::new(),
            link: None,
            error: Some("the request was not answered"),
        });
        Self {
            context: span.as_ref().map_or(caller, |span| span.context),
            tracer,
            span,
        }
    }

    /// The span for calls to peers.
    fn context(&self) -> SpanContext {
        self.context
    }

    fn say(&mut self, name: &'static str, value: Value) {
        if let Some(span) = &mut self.span {
            span.attributes.push((name, value));
        }
    }

    fn answered(mut self, error: Option<&'static str>) {
        if let Some(span) = &mut self.span {
            span.error = error;
        }
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        if let Some(mut span) = self.span.take() {
            span.end_us = self.tracer.now_us();
            self.tracer.end(span);
        }
    }
}
