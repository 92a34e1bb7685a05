//! The number and duration of the requests at both ports, by route.
//!
//! The series are bounded: routes are those of the table of calls, and codes are listed here. A request costs one look-up of its
//! route, one atomic addition and one observation, and allocates nothing.

use std::collections::HashMap;
use std::fmt;
use std::iter::once;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ahash::RandomState;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

use crate::access::table::{GRPC, REST};

/// The statuses of REST answers.
const REST_CODES: [(u16, &str); 25] = [
    (200, "200"),
    (201, "201"),
    (202, "202"),
    (204, "204"),
    (206, "206"),
    (304, "304"),
    (400, "400"),
    (401, "401"),
    (403, "403"),
    (404, "404"),
    (405, "405"),
    (406, "406"),
    (408, "408"),
    (409, "409"),
    (410, "410"),
    (412, "412"),
    (413, "413"),
    (415, "415"),
    (416, "416"),
    (422, "422"),
    (429, "429"),
    (500, "500"),
    (501, "501"),
    (503, "503"),
    (504, "504"),
];
/// The statuses of gRPC answers by their number.
const GRPC_CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];
/// The label of a route or code that is not listed.
const OTHER: &str = "other";
/// More than either port has codes, with one place for the others.
const PLACES: usize = REST_CODES.len() + 1;

/// The counters. Clones share state.
#[derive(Debug, Clone)]
pub struct Requests(Arc<Routes>);

#[derive(Debug)]
struct Routes {
    /// By the pattern of the route; each method of it has its own.
    rest: HashMap<&'static str, Vec<(&'static str, Route)>, RandomState>,
    /// By `/package.Service/Method`.
    grpc: HashMap<&'static str, Route, RandomState>,
    unknown_rest: Route,
    unknown_grpc: Route,
}

/// The figures of one route.
#[derive(Debug)]
pub struct Route {
    api: &'static str,
    call: &'static str,
    by_code: [AtomicU64; PLACES],
    seconds: Histogram,
}

impl Default for Requests {
    fn default() -> Self {
        let mut rest: HashMap<_, Vec<_>, _> = HashMap::default();
        for call in REST.iter().map(|rule| rule.call) {
            let (method, pattern) = call.split_once(' ').unwrap_or((call, ""));
            let route = Route::new("rest", call);
            rest.entry(pattern).or_default().push((method, route));
        }
        let grpc = GRPC.iter().map(|rule| rule.call);
        Self(Arc::new(Routes {
            rest,
            grpc: grpc.map(|call| (call, Route::new("grpc", call))).collect(),
            unknown_rest: Route::new("rest", OTHER),
            unknown_grpc: Route::new("grpc", OTHER),
        }))
    }
}

impl Requests {
    /// The figures of a route of REST, by its pattern.
    #[must_use]
    pub fn rest(&self, method: &str, pattern: Option<&str>) -> &Route {
        let method = if method == "HEAD" { "GET" } else { method };
        let routes = pattern.and_then(|pattern| self.0.rest.get(pattern));
        let mut routes = routes.into_iter().flatten();
        let found = routes.find(|(known, _)| *known == method);
        found.map_or(&self.0.unknown_rest, |(_, route)| route)
    }

    /// The figures of a method of gRPC, by its path.
    #[must_use]
    pub fn grpc(&self, path: &str) -> &Route {
        self.0.grpc.get(path).unwrap_or(&self.0.unknown_grpc)
    }

    fn called(&self) -> Vec<&Route> {
        let Routes {
            rest,
            grpc,
            unknown_rest,
            unknown_grpc,
        } = &*self.0;
        let rest = rest.values().flatten().map(|(_, route)| route);
        let unknown = [unknown_rest, unknown_grpc];
        let routes = rest.chain(grpc.values()).chain(unknown);
        let mut called: Vec<_> = routes
            .filter(|route| route.counts().next().is_some())
            .collect();
        called.sort_unstable_by_key(|route| (route.api, route.call));
        called
    }
}

impl Route {
    fn new(api: &'static str, call: &'static str) -> Self {
        Self {
            api,
            call,
            by_code: [const { AtomicU64::new(0) }; PLACES],
            seconds: Histogram::new(exponential_buckets(0.000_1, 4.0, 10)),
        }
    }

    /// Counts an answer with this status of REST.
    pub fn answered(&self, status: u16, took: Duration) {
        let place = REST_CODES.iter().position(|(code, _)| *code == status);
        self.count(place.unwrap_or(REST_CODES.len()), took);
    }

    /// Counts an answer with this status of gRPC, by its number.
    pub fn answered_grpc(&self, code: usize, took: Duration) {
        self.count(code.min(GRPC_CODES.len()), took);
    }

    fn count(&self, place: usize, took: Duration) {
        self.by_code[place].fetch_add(1, Ordering::Relaxed);
        self.seconds.observe(took.as_secs_f64());
    }

    // The codes that were answered, with their number.
    fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let rest = REST_CODES.iter().map(|(_, label)| *label);
        let (rest, grpc) = match self.api {
            "rest" => (Some(rest), None),
            _ => (None, Some(GRPC_CODES)),
        };
        let labels = rest.into_iter().flatten();
        let labels = labels.chain(grpc.into_iter().flatten()).chain(once(OTHER));
        let counts = self
            .by_code
            .iter()
            .map(|count| count.load(Ordering::Relaxed));
        labels.zip(counts).filter(|(_, count)| *count > 0)
    }
}

impl Collector for Requests {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let called = self.called();
        let help = "Requests that were answered, by route and status";
        let mut numbers = encoder.encode_descriptor("requests", help, None, MetricType::Counter)?;
        for route in &called {
            for (code, count) in route.counts() {
                let labels = [("api", route.api), ("route", route.call), ("code", code)];
                let mut number = numbers.encode_family(&labels)?;
                number.encode_counter::<NoLabelSet, u64, u64>(&count, None)?;
            }
        }
        let (name, help) = (
            "request_seconds",
            "Time from the head of a request to the head of its answer",
        );
        let mut times = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for route in &called {
            let labels = [("api", route.api), ("route", route.call)];
            route.seconds.encode(times.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;

    use super::*;

    fn shown(requests: &Requests) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(requests.clone()));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("a string");
        text
    }

    // Without this a client could make as many series as it invents paths or methods.
    #[test]
    fn a_request_is_counted_by_its_pattern_and_what_is_unknown_as_other() {
        let requests = Requests::default();
        let took = Duration::from_millis(2);
        let pin = Some("/v1/snapshots/{id}/pin");
        requests.rest("PUT", pin).answered(200, took);
        requests.rest("HEAD", pin).answered(418, took);
        requests.rest("PATCH", pin).answered(405, took);
        requests.rest("GET", None).answered(404, took);
        let transfer = "/chandy_lamport.BankService/Transfer";
        requests.grpc(transfer).answered_grpc(0, took);
        requests.grpc(transfer).answered_grpc(8, took);
        requests.grpc(transfer).answered_grpc(99, took);
        requests.grpc("/made.Up/Call").answered_grpc(12, took);
        let text = shown(&requests);
        for line in [
            r#"requests_total{api="rest",route="PUT /v1/snapshots/{id}/pin",code="200"} 1"#,
            r#"requests_total{api="rest",route="GET /v1/snapshots/{id}/pin",code="other"} 1"#,
            r#"requests_total{api="rest",route="other",code="405"} 1"#,
            r#"requests_total{api="rest",route="other",code="404"} 1"#,
            r#"requests_total{api="grpc",route="/chandy_lamport.BankService/Transfer",code="OK"} 1"#,
            r#"code="RESOURCE_EXHAUSTED"} 1"#,
            r#"route="/chandy_lamport.BankService/Transfer",code="other"} 1"#,
            r#"requests_total{api="grpc",route="other",code="UNIMPLEMENTED"} 1"#,
            r#"request_seconds_count{api="rest",route="other"} 2"#,
            r#"request_seconds_bucket{le="0.0064",api="rest",route="other"} 2"#,
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
        assert_eq!(text.matches("requests_total{").count(), 8, "{text}");
    }
}
