//! With an `Idempotency-Key` a repeat answers as the first did, also after a restart, and never does anything again.
//! Without this a client that lost an answer would have to choose between paying twice and not at all.

use serde_json::{Value, json};

use crate::nodes::Cluster;
use crate::rest::{Answer, Rest, posted};

async fn keyed(rest: &Rest, path: &str, body: &Value, key: &str) -> Answer {
    let request = posted(path, body, &[("idempotency-key", key)]);
    rest.send(request).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeat_answers_as_the_first_did_and_another_body_is_refused() {
    let mut cluster = Cluster::up(&["n1", "n2"]).await;
    let rest = cluster.rest("n1");
    let paths = [
        ("/v1/accounts/a/deposits", json!({"amount": 10})),
        ("/v1/accounts/a/withdrawals", json!({"amount": 1})),
        ("/v1/accounts/a/withdrawals", json!({"amount": 1000})),
        (
            "/v1/transfers",
            json!({"from_account": "a", "to_account": "b", "amount": 2, "to_process": "n2"}),
        ),
    ];
    let mut first = Vec::new();
    for (place, (path, body)) in paths.iter().enumerate() {
        first.push(keyed(&rest, path, body, &format!("k{place}")).await);
    }
    let statuses: Vec<u16> = first.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [200, 200, 409, 200]);
    cluster.deposit("n1", "a", 5000).await;
    for restarted in [false, true] {
        if restarted {
            cluster.stop("n1").await;
            cluster.start("n1").await;
        }
        for (place, (path, body)) in paths.iter().enumerate() {
            let again = keyed(&rest, path, body, &format!("k{place}")).await;
            assert_eq!(
                (again.status, &again.body),
                (first[place].status, &first[place].body)
            );
        }
        let other = keyed(&rest, paths[0].0, &json!({"amount": 11}), "k0").await;
        assert_eq!(
            (other.status, &*other.problem()),
            (422, "request-id-reused")
        );
        let other = keyed(&rest, "/v1/accounts/b/deposits", &paths[0].1, "k0").await;
        assert_eq!(other.status, 422, "the same body for another account");
    }
    assert_eq!(rest.balance("a").await, Some(5007));
    cluster.rest("n2").balance_is("b", 2).await;
    cluster.stop_all().await;
}
