//! A request can set the deadline of its snapshot. Without this a caller who needs an early answer waits for the
//! default deadline, or a long deadline hides the partial state.

use std::time::Duration;

use serde_json::json;

use crate::nodes::Cluster;
use crate::partial::missing_is;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_is_published_at_the_deadline_of_its_request() {
    let hour = Duration::from_secs(3600);
    // This unary process is not down and never answers, so only the deadline ends the wait for it.
    let cluster = Cluster::planned(&["n1", "n2", "x1"]).with_other_make("x1");
    let mut cluster = cluster.with_deadline(hour).started().await;
    cluster.connected().await;
    let rest = cluster.rest("n1");
    let soon = json!({"snapshot_id": "soon", "deadline": "1500ms"});
    assert_eq!(rest.post("/v1/snapshots", &soon).await.status, 202);
    let partial = rest.snapshot("soon", "partial").await;
    missing_is(&partial, "x1", "recording");
    let took = partial["duration_ms"].as_f64().expect("a number");
    assert!((1500.0..6000.0).contains(&took), "{took} ms");

    let later = json!({"snapshot_id": "later", "deadline": "1h"});
    assert_eq!(rest.post("/v1/snapshots", &later).await.status, 202);
    let later = rest.read("/v1/snapshots/later").await;
    assert_eq!(later["status"], "in_progress");
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadline_that_makes_no_sense_is_refused_and_starts_nothing() {
    let mut cluster = Cluster::planned(&["n1"]).started().await;
    let rest = cluster.rest("n1");
    for odd in ["", "5", "0s", "-1s", "1.5s", "off", "soon", "61m", "2h"] {
        let asked = json!({"deadline": odd});
        let answer = rest.post("/v1/snapshots", &asked).await;
        assert_eq!((answer.status, &*answer.problem()), (400, "malformed"));
        let detail = answer.json()["detail"].to_string();
        assert!(detail.contains("deadline: "), "{odd}: {detail}");
    }
    let asked = json!({"deadline": 5});
    assert_eq!(rest.post("/v1/snapshots", &asked).await.status, 400);
    let all = rest.read("/v1/snapshots").await;
    assert_eq!(all["snapshots"], json!([]));
    cluster.stop_all().await;
}
