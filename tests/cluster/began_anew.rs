//! Differences across the loss of a store after which as much or more has passed as before. Without this they compare
//! two stores, or two channels with the same name, and appear explained.

use serde_json::{Value, json};

use crate::nodes::Cluster;
use crate::stores::pay;
use crate::wiped::{forget, try_forget};

async fn snapshot(cluster: &Cluster) -> String {
    let id = cluster.rest("n1").start_snapshot().await;
    cluster.has_everywhere(&id).await;
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

// Without the parts of the others.
async fn partial(cluster: &Cluster, id: &str) {
    let n1 = cluster.rest("n1");
    let body = json!({"snapshot_id": id, "deadline": "500ms"});
    assert_eq!(n1.post("/v1/snapshots", &body).await.status, 202);
    n1.snapshot(id, "partial").await;
}

async fn totals_of_n1(cluster: &Cluster, path: &str) -> Value {
    let diff = cluster.rest("n1").read(path).await;
    assert_eq!(diff["totals"][0]["process"], "n1", "{diff:#}");
    diff["totals"][0].clone()
}

fn figures<const N: usize>(total: &Value, fields: [&str; N]) -> [Option<i64>; N] {
    fields.map(|field| total[field].as_i64())
}

/// What had been sent by the older cut waited for a store that was given up before the newer cut, as was the store
/// before it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_that_began_anew_for_a_store_between_two_others_is_told_by_the_journal() {
    let mut cluster = Cluster::up(&["n1", "n2"]).await;
    cluster.deposit("n1", "a", 1000).await;
    paid(&cluster, 1, 5).await;
    cluster.stop_all().await;
    cluster.wipe("n2");
    forget(&cluster, "n1", "n2").await;
    let mut cluster = cluster.started_again(&["n1"]).await;
    pay(&cluster.rest("n1"), ("n2", "b"), 40).await;
    partial(&cluster, "early").await;
    cluster.start("n2").await;
    cluster.rest("n2").balance_is("b", 40).await;
    cluster.stop_all().await;
    cluster.wipe("n2");
    let (_, refused) = try_forget(&cluster, ("n1", "n2"), &[]).await;
    let (_, again) = refused.rsplit_once("--again ").expect("what to do");
    let again = ["--again", again.trim().trim_end_matches('.')];
    let (code, printed) = try_forget(&cluster, ("n1", "n2"), &again).await;
    assert_eq!(code, Some(0), "{printed}");
    let mut cluster = cluster.started_again(&["n1", "n2"]).await;
    cluster.connected().await;
    paid(&cluster, 1, 50).await;
    let late = snapshot(&cluster).await;

    let total = totals_of_n1(&cluster, &format!("/v1/snapshots/early/diff/{late}")).await;
    assert_eq!(sent(&total), [json!(1), json!(50), json!(true)]);
    let found = figures(&total, ["withdrawals", "written_off", "transfers_out"]);
    assert_eq!(found, [Some(40), Some(40), Some(50)], "{total:#}");
    assert_eq!(total["explained"], true, "{total:#}");
    cluster.stop_all().await;
}

/// A unary process does not identify its store.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_to_a_process_of_another_make_that_began_anew_is_told_by_the_journal() {
    let cluster = Cluster::planned(&["n1", "x1"]).with_other_make("x1");
    let mut cluster = cluster.started().await;
    cluster.deposit("n1", "a", 1000).await;
    pay(&cluster.rest("n1"), ("x1", "b"), 30).await;
    partial(&cluster, "early").await;
    cluster.stop("n1").await;
    forget(&cluster, "n1", "x1").await;
    cluster.start("n1").await;
    pay(&cluster.rest("n1"), ("x1", "b"), 40).await;
    partial(&cluster, "late").await;
    let total = totals_of_n1(&cluster, "/v1/snapshots/early/diff/late").await;
    assert_eq!(sent(&total), [json!(1), json!(40), json!(true)]);
    let found = figures(&total, ["withdrawals", "written_off", "transfers_out"]);
    assert_eq!(found, [Some(30), Some(30), Some(40)], "{total:#}");
    assert_eq!(total["explained"], true, "{total:#}");

    // The refusal of another `store forget` says what has happened since.
    cluster.stop("n1").await;
    let (code, printed) = try_forget(&cluster, ("n1", "x1"), &[]).await;
    assert_eq!(code, Some(1), "{printed}");
    let since =
        "it has sent 2 messages to it, and delivered 0 from it. Only if that store was lost";
    assert!(printed.contains(since), "{printed}");
    cluster.stop_all().await;
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

    // n2 is not there to report it, and the figures do not show it.
    cluster.stop("n2").await;
    let answer = cluster.rest("n1").get(&path).await;
    assert_eq!(answer.header("etag"), "");
    let totals = &answer.json()["totals"];
    assert_eq!(totals[0]["explained"], true, "{totals:#}");
    let doubt = (&totals[1]["explained"], &totals[1]["unexplained"]);
    assert_eq!(doubt, (&false.into(), &"down".into()), "{totals:#}");
    cluster.stop_all().await;
}
