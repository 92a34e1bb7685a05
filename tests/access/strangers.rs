//! What a caller learns of snapshots before a route has refused it.

use serde_json::json;
use snapledger::access::role::Role;

use crate::guarded::Guarded;

// `latest` in a path is replaced by an id before the route is known. Without this the answer to anyone names the snapshot.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_newest_snapshot_is_not_named_to_who_may_not_see_it() {
    let node = Guarded::start().await;
    let [teller, auditor, operator] =
        [Role::Teller, Role::Auditor, Role::Operator].map(|role| node.token(role));
    let balances = "/v1/snapshots/latest/balances";
    let before = node.send("GET", balances, None, None).await;
    assert_eq!(
        before.status, 401,
        "whether there is a snapshot: {before:?}"
    );
    let named = Some(json!({"snapshot_id": "secret-id"}));
    let taken = node.send("POST", "/v1/snapshots?wait=10", Some(operator), named);
    assert_eq!(taken.await.status, 201);
    for (path, token, status) in [
        ("/v1/snapshots/latest/foo", None, 404),
        ("/v1/snapshots/%6Catest/foo", None, 404),
        ("/v1/snapshots/a/diff/latest", None, 401),
        ("/v1/snapshots/latest/foo", Some("sl_wrong"), 404),
        ("/v1/snapshots/latest/foo", Some(teller), 404),
        ("/v1/snapshots/latest/foo", Some(auditor), 404),
        (balances, None, 401),
        (balances, Some(teller), 403),
        (balances, Some(auditor), 200),
    ] {
        let answer = node.send("GET", path, token, None).await;
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        let text = answer.body.to_string();
        assert!(
            status == 200 || !text.contains("secret-id"),
            "{path}: {text}"
        );
    }
    node.stop().await;
}
