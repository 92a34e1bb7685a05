//! Every wrong REST request is refused with a problem document and the right status. Without this a misspelt filter
//! could be ignored, or a client left to guess.

use serde_json::json;
use ureq::http::Request;

use crate::await_it::until;
use crate::nodes::Cluster;
use crate::rest::{asked, posted, request};

fn wrong() -> Vec<(Request<String>, u16, &'static str)> {
    let json = [("content-type", "application/json")];
    let deposit = "/v1/accounts/a/deposits";
    let raw = |body: &str| request("POST", deposit, &json, body.to_owned());
    let accept = |path, format| asked(path, &[("accept", format)]);
    let get = |path| asked(path, &[]);
    let no_key = posted(deposit, &json!({"amount": 1}), &[("idempotency-key", "")]);
    let text = [("content-type", "text/plain")];
    vec![
        (get("/v1/snapshots?limt=5"), 400, "malformed"),
        (get("/v1/cluster?verbose=1"), 400, "malformed"),
        (get("/v1/snapshots?limit=0"), 400, "malformed"),
        (get("/v1/snapshots?limit=1001"), 400, "malformed"),
        (get("/v1/snapshots?limit=1&limit=2"), 400, "malformed"),
        (get("/v1/snapshots?status=done"), 400, "malformed"),
        (get("/v1/snapshots?from=yesterday"), 400, "malformed"),
        (get("/v1/snapshots?cursor=00"), 400, "malformed"),
        (get("/v1/accounts/a/balance?at=noon"), 400, "malformed"),
        (get("/v1/nothing"), 404, "unknown-route"),
        (get("/v1/accounts/nobody"), 404, "unknown-account"),
        (get("/v1/snapshots/none"), 404, "unknown-snapshot"),
        (get("/v1/snapshots/none/balances"), 404, "unknown-snapshot"),
        (get("/v1/snapshots/latest"), 404, "unknown-snapshot"),
        (
            get("/v1/accounts/a/balance?snapshot=none"),
            404,
            "unknown-snapshot",
        ),
        (get("/v1/processes/n9/accounts/a"), 404, "unknown-process"),
        (
            request("DELETE", "/v1/snapshots", &[], String::new()),
            405,
            "method-not-allowed",
        ),
        (get(deposit), 405, "method-not-allowed"),
        (accept("/v1/snapshots", "text/csv"), 406, "not-acceptable"),
        (accept("/v1/cluster", "image/png"), 406, "not-acceptable"),
        (raw("{"), 400, "malformed"),
        (raw("[]"), 400, "malformed"),
        (raw(r#"{"amount":1,"tip":1}"#), 400, "malformed"),
        (raw(r#"{"amount":1,"amount":2}"#), 400, "malformed"),
        (raw(&"[".repeat(100_000)), 400, "malformed"),
        (
            raw(&format!(r#"{{"amount":1{}}}"#, " ".repeat(1 << 20))),
            413,
            "too-large",
        ),
        (no_key, 400, "malformed"),
        (
            request("POST", deposit, &text, "{}".to_owned()),
            415,
            "unsupported-media-type",
        ),
        (
            request("POST", deposit, &[], r#"{"amount":1}"#.to_owned()),
            415,
            "unsupported-media-type",
        ),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_asked_wrongly_is_a_problem_with_its_status() {
    let mut cluster = Cluster::up(&["n1"]).await;
    let rest = cluster.rest("n1");
    for (request, status, kind) in wrong() {
        let mut shown = format!("{request:?}");
        shown.truncate(200);
        let answer = rest.send(request).await;
        let found = (answer.status, answer.problem());
        assert_eq!(found, (status, kind.to_owned()), "{shown}: {answer:?}");
        assert_eq!(answer.header("cache-control"), "no-store", "{shown}");
        if status == 405 {
            assert!(!answer.header("allow").is_empty(), "{shown}");
        }
    }
    let empty = rest.send(request(
        "POST",
        "/v1/accounts/a/deposits",
        &[],
        String::new(),
    ));
    let empty = empty.await;
    assert_eq!((empty.status, &*empty.problem()), (400, "malformed"));
    let detail = empty.json()["detail"].to_string();
    assert!(detail.contains("body: is missing; send"), "{detail}");
    for (query, field) in [
        ("initiator=n7", "initiator"),
        ("from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", "to"),
    ] {
        let answer = rest.get(&format!("/v1/snapshots?{query}")).await;
        assert_eq!(
            (answer.status, &*answer.problem()),
            (400, "malformed"),
            "{query}"
        );
        assert_eq!(answer.json()["field"], field);
    }
    let fitting = "initiator=n1&from=2026-01-01T00:00:00Z&to=2026-01-01T00:00:00Z";
    let fitting = rest.read(&format!("/v1/snapshots?{fitting}")).await;
    assert_eq!(fitting["snapshots"], json!([]), "nothing is in no time");
    let misspelt = rest.get("/v1/snapshots?limt=5").await.json();
    assert_eq!(misspelt["field"], "limt");
    assert!(
        misspelt["detail"]
            .as_str()
            .is_some_and(|detail| detail.contains("limit"))
    );
    assert_eq!(rest.balance("a").await, None, "nothing was credited");
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_is_not_there_is_said_to_be_down() {
    let mut cluster = Cluster::planned(&["n1", "n2"]);
    cluster.close("n2");
    cluster.start("n1").await;
    let rest = cluster.rest("n1");
    let answer = rest.get("/v1/processes/n2/accounts/a").await;
    assert_eq!((answer.status, &*answer.problem()), (503, "process-down"));
    for path in ["/healthz", "/metrics", "/"] {
        assert_eq!(rest.get(path).await.status, 200, "{path}");
    }
    // A new store first compares its clock with those of its peers, which takes 2 s if none answers.
    until("it is ready without n2", async || {
        (rest.get("/readyz").await.status == 200).then_some(())
    })
    .await;
    cluster.stop_all().await;
}
