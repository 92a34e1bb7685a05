//! Differences across the loss of a store, where as much or more has passed since than before. Without this they are the
//! differences of two stores, or of two channels of one name, and look explained.

use serde_json::{Value, json};

use crate::nodes::Cluster;
use crate::stores::pay;
use crate::wiped::{forget, is_known};

async fn snapshot(cluster: &Cluster) -> String {
    let [n1, n2] = ["n1", "n2"].map(|id| cluster.rest(id));
    let id = n1.start_snapshot().await;
    n1.snapshot(&id, "complete").await;
    is_known(&n2, &id).await;
    id
}

async fn paid(cluster: &Cluster, times: u64, amount: u64) {
    let [n1, n2] = ["n1", "n2"].map(|id| cluster.rest(id));
    let before = n2.balance("b").await.unwrap_or(0);
    for _ in 0..times {
        pay(&n1, ("n2", "b"), amount).await;
    }
    let after = before + i64::try_from(times * amount).expect("it is small");
    n2.balance_is("b", after).await;
}

fn sent(total: &Value) -> [Value; 3] {
    ["transfers", "amount", "began_anew"].map(|field| total["sent"][0][field].clone())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_and_its_channels_that_have_outgrown_what_they_were_are_told_by_the_journals() {
    let mut cluster = Cluster::up(&["n1", "n2"]).await;
    cluster.deposit("n1", "a", 1000).await;
    cluster.deposit("n2", "a", 1000).await;
    paid(&cluster, 1, 5).await;
    let early = snapshot(&cluster).await;
    cluster.stop_all().await;
    cluster.wipe("n2");
    forget(&cluster, "n1", "n2").await;
    let mut cluster = cluster.started_again(&["n1", "n2"]).await;
    cluster.connected().await;
    for _ in 0..8 {
        cluster.deposit("n2", "a", 200).await;
    }
    paid(&cluster, 3, 7).await;
    let late = snapshot(&cluster).await;
    let path = format!("/v1/snapshots/{early}/diff/{late}");
    for id in ["n1", "n2"] {
        let answer = cluster.rest(id).get(&path).await;
        assert_ne!(answer.header("etag"), "");
        let totals = &answer.json()["totals"];
        let of_n1 = ["withdrawals", "written_off", "transfers_out"];
        let of_n1 = of_n1.map(|field| totals[0][field].as_i64());
        assert_eq!(of_n1, [Some(5), Some(5), Some(21)], "{totals:#}");
        assert_eq!(sent(&totals[0]), [json!(3), json!(21), json!(true)]);
        let of_n2 = ["before", "deposits", "transfers_in", "written_off", "after"];
        let of_n2 = of_n2.map(|field| totals[1][field].as_i64());
        let expected = [1005, 1600, 21, -1005, 1621].map(Some);
        assert_eq!(of_n2, expected, "{totals:#}");
        assert_eq!(totals[1]["began_anew"], true, "{totals:#}");
        for total in [&totals[0], &totals[1]] {
            assert_eq!(total["explained"], true, "{totals:#}");
            assert!(total["unexplained"].is_null(), "{totals:#}");
        }
    }
    let at = cluster.rest("n1").read("/v1/audit").await["at"].clone();
    let at = at.as_str().expect("an instant");
    let until = format!("/v1/snapshots/{early}/diff?at={at}");
    let diff = cluster.rest("n1").read(&until).await;
    assert_eq!(sent(&diff["totals"][0])[1..], [json!(21), json!(true)]);

    // It is not there to say so, and the figures do not.
    cluster.stop("n2").await;
    let answer = cluster.rest("n1").get(&path).await;
    assert_eq!(answer.header("etag"), "");
    let totals = &answer.json()["totals"];
    assert_eq!(totals[0]["explained"], true, "{totals:#}");
    let doubt = (&totals[1]["explained"], &totals[1]["unexplained"]);
    assert_eq!(doubt, (&false.into(), &"down".into()), "{totals:#}");
    cluster.stop_all().await;
}
