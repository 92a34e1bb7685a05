//! Traces, as a collector gets them from three nodes. Without this a snapshot could fall apart into traces of single nodes, a
//! request could lose its caller, or a node could wait for a collector that does not answer.

#[path = "../cluster/await_it.rs"]
mod await_it;
mod cluster;
mod collector;
mod secured;

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use snapledger::proto::chandy_lamport::GetBalanceRequest;
use tonic::Request;

use await_it::until;
use cluster::{ACCOUNT, AMOUNT, Cluster, IDS};
use collector::{Collector, Span};
use secured::Secured;

const CALLER_TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER_SPAN: &str = "00f067aa0ba902b7";
/// The steps of a snapshot of three processes: itself, three records, six channels, three fetched parts, the publication.
const STEPS: usize = 14;
/// All attributes that there are. A new one must be an id, a fixed word or a count: never an amount, a balance, an account, a key
/// or a token.
const ATTRIBUTES: [&str; 20] = [
    "http.request.method",
    "http.response.status_code",
    "http.route",
    "rpc.grpc.status_code",
    "rpc.method",
    "rpc.service",
    "rpc.system",
    "snapledger.channel.from",
    "snapledger.channel.messages",
    "snapledger.channel.to",
    "snapledger.initiator",
    "snapledger.missing",
    "snapledger.new_bytes",
    "snapledger.open_channels",
    "snapledger.parts",
    "snapledger.position",
    "snapledger.process",
    "snapledger.revision",
    "snapledger.snapshot",
    "snapledger.status",
];

fn traceparent(flags: &str) -> String {
    format!("00-{CALLER_TRACE}-{CALLER_SPAN}-{flags}")
}

fn is_step(span: &Span, snapshot: &str) -> bool {
    let named = span.attributes.get("snapledger.snapshot");
    named.is_some_and(|named| named == snapshot)
}

fn named<'a>(spans: &'a [Span], name: &str) -> Vec<&'a Span> {
    spans.iter().filter(|span| span.name() == name).collect()
}

fn only<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let [only] = named(spans, name)[..] else {
        unreachable!("one {name} in {spans:#?}");
    };
    only
}

// By the process of an attribute; each has one.
fn by<'a>(spans: &'a [Span], name: &str, attribute: &str) -> BTreeMap<&'a str, &'a Span> {
    let named = named(spans, name);
    let found: BTreeMap<_, _> = named
        .iter()
        .map(|span| (span.says(attribute), *span))
        .collect();
    assert_eq!(found.len(), named.len(), "{named:#?}");
    found
}

fn assert_child(child: &Span, parent: &Span) {
    let is_child = child.span.trace_id == parent.span.trace_id
        && child.span.parent_span_id == parent.span.span_id;
    assert!(is_child, "{child:#?} in {parent:#?}");
}

// The spans have no more than what may be told.
fn assert_discreet(collector: &Collector) {
    let bytes = collector.bytes();
    let is_told = |secret: &str| {
        bytes
            .windows(secret.len())
            .any(|part| part == secret.as_bytes())
    };
    assert!(is_told("record"), "what was sent is searched");
    assert!(!is_told(ACCOUNT));
    for span in collector.spans() {
        for (name, value) in &span.attributes {
            assert!(ATTRIBUTES.contains(&&**name), "{name}");
            let is_amount = value
                .parse::<i64>()
                .is_ok_and(|number| number != 0 && number % AMOUNT == 0);
            assert!(!is_amount, "{name} is {value}");
        }
    }
}

// Each channel is closed once, within the record of its receiver, and with the messages that the snapshot has of it.
fn assert_channels(cluster: &Cluster, steps: &[Span], snapshot: &str) {
    let records = by(steps, "record", "snapledger.process");
    assert_eq!(records.keys().copied().collect::<Vec<_>>(), IDS);
    let closings = named(steps, "channel closed");
    let mut told = BTreeMap::new();
    for closing in &closings {
        let (from, to) = (
            closing.says("snapledger.channel.from"),
            closing.says("snapledger.channel.to"),
        );
        assert_eq!(closing.node, to, "a node tells of its own channels");
        assert_child(closing, records[to]);
        let messages = closing.says("snapledger.channel.messages");
        told.insert((from.to_owned(), to.to_owned()), messages.to_owned());
    }
    assert_eq!(closings.len(), told.len(), "each once: {closings:#?}");
    let path = format!("/v1/snapshots/{snapshot}");
    let recorded = cluster.try_get("n1", &path, &[]).expect("it is there");
    let channels = recorded["channels"].as_array().expect("a list");
    let recorded = channels.iter().map(|channel| {
        let [from, to] = ["from", "to"].map(|end| channel[end].as_str().expect("an id").to_owned());
        ((from, to), channel["messages"].to_string())
    });
    assert_eq!(told, recorded.collect());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_is_one_trace_over_all_nodes_and_linked_to_its_request() {
    let collector = Collector::start().await;
    let mut cluster = Cluster::start(&format!("endpoint = {:?}", collector.endpoint)).await;
    let traffic = cluster.traffic().await;
    let taken = cluster.take("n1", "s1", Some(&traceparent("01")));
    assert_eq!(taken["status"], "complete", "{taken}");
    let steps = collector
        .await_spans(STEPS, |span| is_step(span, "s1"))
        .await;
    drop(traffic);
    assert_eq!(steps.len(), STEPS, "{steps:#?}");

    let whole = only(&steps, "snapshot");
    assert!(whole.span.parent_span_id.is_empty() && !whole.has_failed());
    assert_eq!(
        (
            whole.says("snapledger.status"),
            whole.says("snapledger.initiator")
        ),
        ("complete", "n1")
    );
    for step in &steps {
        let (step, whole) = (&step.span, &whole.span);
        assert_eq!(step.trace_id, whole.trace_id);
        assert!(
            step.start_time_unix_nano <= step.end_time_unix_nano,
            "{step:#?}"
        );
    }
    for (process, record) in by(&steps, "record", "snapledger.process") {
        assert_eq!(record.node, process, "each node tells of itself");
        assert_child(record, whole);
        let [begun, recorded] = [whole, record].map(|span| span.span.start_time_unix_nano);
        assert!(begun <= recorded, "{record:#?}");
    }
    assert_channels(&cluster, &steps, "s1");
    let fetched = by(&steps, "part fetched", "snapledger.process");
    assert_eq!(fetched.keys().copied().collect::<Vec<_>>(), IDS);
    for part in fetched.values() {
        assert_eq!(part.node, "n1");
        assert_child(part, whole);
    }
    assert_child(only(&steps, "published"), whole);

    assert_calls(&collector, &fetched).await;
    assert_request(&collector, whole).await;
    for id in IDS {
        assert_eq!(cluster.stop(id).await, Some(0));
    }
    let all = collector.spans().into_iter();
    assert_eq!(all.filter(|span| is_step(span, "s1")).count(), STEPS);
    assert_discreet(&collector);
}

// The other ends of the calls for the parts.
async fn assert_calls(collector: &Collector, fetched: &BTreeMap<&str, &Span>) {
    let is_call = |span: &Span| {
        span.name().ends_with("/FetchPart") && span.span.trace_id == fetched["n1"].span.trace_id
    };
    let calls = collector.await_spans(2, is_call).await;
    let answering: BTreeSet<_> = calls.iter().map(|call| &*call.node).collect();
    assert_eq!(answering, BTreeSet::from(["n2", "n3"]));
    for call in &calls {
        assert_child(call, fetched[&*call.node]);
        assert_eq!(call.span.kind(), SpanKind::Server);
    }
}

// The request, the questions to the peers for it, and the link from the snapshot.
async fn assert_request(collector: &Collector, whole: &Span) {
    let is_mine = |span: &Span| hex::encode(&span.span.trace_id) == CALLER_TRACE;
    let mine = collector.await_spans(3, is_mine).await;
    let request = only(&mine, "POST /v1/snapshots");
    assert_eq!(hex::encode(&request.span.parent_span_id), CALLER_SPAN);
    assert_eq!(request.node, "n1");
    assert!(request.says("http.response.status_code").starts_with('2'));
    let asked = named(&mine, "snapledger.v1.PeerService/FindSnapshot");
    let answering: BTreeSet<_> = asked.iter().map(|asked| &*asked.node).collect();
    assert_eq!(answering, BTreeSet::from(["n2", "n3"]));
    asked.iter().for_each(|asked| assert_child(asked, request));
    let [link] = &whole.span.links[..] else {
        unreachable!("one link: {whole:#?}");
    };
    assert_eq!(link.trace_id, request.span.trace_id);
    assert_eq!(link.span_id, request.span.span_id);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_traced_only_if_its_header_says_so() {
    let collector = Collector::start().await;
    let cluster = Cluster::start(&format!("endpoint = {:?}\nsample = 0", collector.endpoint)).await;
    let long = format!("{}-{}", traceparent("01"), "0".repeat(4000));
    for header in ["", "00", &traceparent("00"), &traceparent("1"), &long] {
        let headers = [("traceparent", header), ("tracestate", "=,;=")];
        let listed = cluster.try_get("n2", "/v1/snapshots", &headers);
        assert!(listed.is_some(), "{header}");
    }
    // A snapshot that is not sampled has no spans, and its request has one.
    cluster.take("n2", "s1", Some(&traceparent("01")));
    let audit = [
        ("traceparent", &*traceparent("03")),
        ("tracestate", "a=b,,="),
    ];
    let audited = cluster
        .try_get("n3", "/v1/audit", &audit)
        .expect("an answer");
    assert_eq!(audited["missing"], serde_json::json!([]), "{audited}");
    let balance = GetBalanceRequest {
        account_id: ACCOUNT.to_owned(),
    };
    let mut balance = Request::new(balance);
    let header = traceparent("01").parse().expect("ASCII");
    balance.metadata_mut().insert("traceparent", header);
    let answer = cluster.bank("n1").get_balance(balance).await;
    answer.expect("the node answers");
    let wanted = |span: &Span| !span.name().ends_with("/FindSnapshot");
    let spans = collector.await_spans(5, wanted).await;
    let names: Vec<_> = spans
        .iter()
        .map(|span| (&*span.node, span.name()))
        .collect();
    let found: BTreeSet<_> = names.iter().copied().collect();
    assert_eq!(names.len(), found.len(), "{names:#?}");
    let expected = [
        ("n1", "chandy_lamport.BankService/GetBalance"),
        ("n1", "snapledger.v1.PeerService/ShareAt"),
        ("n2", "POST /v1/snapshots"),
        ("n2", "snapledger.v1.PeerService/ShareAt"),
        ("n3", "GET /v1/audit"),
    ];
    assert_eq!(found, BTreeSet::from(expected));
    let audit = only(&spans, "GET /v1/audit");
    for share in named(&spans, "snapledger.v1.PeerService/ShareAt") {
        assert_child(share, audit);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partial_snapshot_has_failed_and_goes_on_when_the_process_returns() {
    let collector = Collector::start().await;
    let mut cluster = Cluster::start(&format!("endpoint = {:?}", collector.endpoint)).await;
    cluster.kill("n3");
    let taken = cluster.take("n1", "s1", None);
    assert_eq!(taken["status"], "partial", "{taken}");
    let closed = |span: &Span| is_step(span, "s1") && span.name() == "channel closed";
    let closings = collector.await_spans(2, closed).await;
    let from: BTreeSet<_> = closings
        .iter()
        .map(|span| span.says("snapledger.channel.from"))
        .collect();
    assert_eq!(from, BTreeSet::from(["n1", "n2"]));
    cluster.run("n3");
    cluster.connected().await;
    until("the complete revision", async || {
        let taken = cluster.try_get("n1", "/v1/snapshots/s1", &[])?;
        (taken["status"] == "complete").then_some(())
    })
    .await;
    // One more publication than in a snapshot that is complete at once.
    let steps = collector
        .await_spans(STEPS + 1, |span| is_step(span, "s1"))
        .await;
    let whole = only(&steps, "snapshot");
    assert!(whole.has_failed());
    assert_eq!(
        (
            whole.says("snapledger.status"),
            whole.says("snapledger.missing")
        ),
        ("partial", "1")
    );
    let [first, second] = named(&steps, "published")[..] else {
        unreachable!("two: {steps:#?}");
    };
    assert_eq!((first.has_failed(), second.has_failed()), (true, false));
    assert_channels(&cluster, &steps, "s1");
    assert_discreet(&collector);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_does_not_wait_for_a_collector_that_is_silent() {
    // It accepts connections and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = silent.local_addr().expect("it is bound");
    let mut cluster = Cluster::start(&format!("endpoint = \"http://{address}\"")).await;
    let traffic = cluster.traffic().await;
    let taken = cluster.take("n1", "s1", None);
    assert_eq!(taken["status"], "complete", "{taken}");
    drop(traffic);
    let dropped = "snapledger_otel_spans_dropped_total{reason=\"queue_full\"} ";
    until("more spans than wait", async || {
        let mut bank = cluster.bank("n1");
        for _ in 0..500 {
            let mut balance = Request::new(GetBalanceRequest {
                account_id: ACCOUNT.to_owned(),
            });
            let header = traceparent("01").parse().expect("ASCII");
            balance.metadata_mut().insert("traceparent", header);
            bank.get_balance(balance).await.expect("the node answers");
        }
        let figures = cluster.text("n1", "/metrics");
        let count = figures.lines().find_map(|line| line.strip_prefix(dropped));
        (count.expect("the metric is there") != "0").then_some(())
    })
    .await;
    let figures = cluster.text("n1", "/metrics");
    let page = include_str!("../../docs/metrics.md");
    let names = figures
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE snapledger_otel_"));
    let names: Vec<_> = names.filter_map(|rest| rest.split(' ').next()).collect();
    assert_eq!(names.len(), 2, "{figures}");
    for name in names {
        assert!(
            page.contains(&format!("| `otel_{name}` |")),
            "{name} in docs/metrics.md"
        );
    }
    assert_eq!(cluster.stop("n1").await, Some(0));
    let log = cluster.log("n1");
    assert_eq!(log.matches("cannot export spans").count(), 1, "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_behind_tls_is_trusted_by_its_ca_alone() {
    let (collector, other) = (Collector::start().await, Collector::start().await);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let [ca, other_ca] = ["ca.crt", "other.crt"].map(|name| dir.path().join(name));
    let secured = Secured::before(&collector, &ca).await;
    let stranger = Secured::before(&other, &other_ca).await;
    let trusting = |end: &Secured| format!("endpoint = {:?}\nca = {ca:?}", end.endpoint);
    let cluster = Cluster::start(&trusting(&secured)).await;
    cluster.take("n1", "s1", None);
    collector
        .await_spans(STEPS, |span| is_step(span, "s1"))
        .await;
    drop(cluster);
    let mut cluster = Cluster::start(&trusting(&stranger)).await;
    cluster.take("n1", "s1", None);
    assert_eq!(cluster.stop("n1").await, Some(0));
    assert!(cluster.log("n1").contains("cannot export spans"));
    assert_eq!(other.spans(), []);
}
