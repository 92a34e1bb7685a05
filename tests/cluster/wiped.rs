//! A wiped store is refused until an operator decides with `store forget`. Then its channels start again at 1, and every
//! total is of the remaining data. Without this, a lost disk would exclude its process forever, or its money would still be
//! counted.

use assert_cmd::cargo::cargo_bin;
use serde_json::Value;

use crate::asked_from_terminal::printed;
use crate::await_it::until;
use crate::nodes::{Cluster, DEADLINE};
use crate::rest::Rest;
use crate::snapshots::assert_proven;
use crate::stores::{copy_of, is_whole, pay, put_back, stopped};

// The output of `store forget`.
pub(crate) async fn forget(cluster: &Cluster, id: &str, peer: &str) -> String {
    let (code, printed) = try_forget(cluster, (id, peer), &[]).await;
    assert_eq!(code, Some(0), "{printed}");
    printed
}

// The exit code, and the output of both streams.
pub(crate) async fn try_forget(
    cluster: &Cluster,
    (id, peer): (&str, &str),
    more: &[&str],
) -> (Option<i32>, String) {
    // Reads in progress when the node stopped must end first.
    until("a store that nobody uses", async || {
        let output = std::process::Command::new(cargo_bin!("snapledger"))
            .args(["store", "forget", "--peer", peer])
            .arg(cluster.store(id))
            .args(more)
            .output()
            .expect("the program runs");
        let printed = String::from_utf8([output.stdout, output.stderr].concat()).expect("text");
        (!printed.contains("is in use")).then_some((output.status.code(), printed))
    })
    .await
}

// Recordings that waited for the lost store have ended.
async fn no_channel_is_recorded(rest: &Rest) {
    until(
        "no channel that is recorded for what never comes",
        async || {
            let shown = rest.read("/v1/cluster").await;
            let channels = shown["channels"].as_array().expect("a list");
            let mut recorded = channels.iter().map(|channel| &channel["recording"]);
            recorded.all(|recording| *recording == false).then_some(())
        },
    )
    .await;
}

// The lost store turned up again after its contents were written off. An empty one takes its place.
async fn the_lost_store_is_refused(cluster: &mut Cluster) {
    for peer in ["n1", "n3"] {
        stopped(cluster, ("n2", peer), &["this process has given up"]).await;
        stopped(cluster, (peer, "n2"), &["this process has given up"]).await;
    }
    cluster.stop("n2").await;
    cluster.wipe("n2");
    cluster.start("n2").await;
    cluster.connected().await;
}

// The node continues, and its status shows operators what is wrong.
async fn stopped_channels_are_warned_of(rest: &Rest) {
    for path in ["/readyz", "/v1/cluster"] {
        let shown = rest.read(path).await;
        let warnings = shown["warnings"].to_string();
        for channel in ["channel n1→n2 is stopped: ", "channel n2→n1 is stopped: "] {
            assert!(warnings.contains(channel), "{shown}");
        }
    }
    let status = printed(rest, &["status"]).await;
    assert!(
        status.contains("\n- channel n1→n2 is stopped: "),
        "{status}"
    );
    let metrics = rest.get("/metrics").await.body;
    for figure in ["snapledger_ready 1\n", "snapledger_channels_stopped 2\n"] {
        assert!(metrics.contains(figure), "{figure} in {metrics}");
    }
}

async fn what_is_forgotten_is_not_booked_again(cluster: &Cluster) {
    let printed = forget(cluster, "n1", "n2").await;
    assert!(
        printed.contains("already gave up the store of n2"),
        "{printed}"
    );
    let store = cluster.store("n1");
    for (peer, why) in [
        ("n1", "this store is that of process \"n1\" itself"),
        ("n9", "this store has no process \"n9\""),
    ] {
        let mut program = std::process::Command::new(cargo_bin!("snapledger"));
        program
            .args(["store", "forget", "--peer", peer])
            .arg(&store);
        let output = program.output().expect("the program runs");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains(why), "{stderr}");
    }
}

/// Nothing can arrive over a stopped channel: the snapshot says why and does not wait for its deadline.
fn names_the_stopped_channels(partial: &Value) {
    let missing = &partial["missing"][0];
    assert_eq!(missing["reason"], "channel_stopped", "{partial}");
    let why = missing["error"].as_str().expect("a sentence");
    assert!(why.contains("n2"), "{why}");
    let took = partial["duration_ms"].as_f64().expect("a number");
    assert!(took < DEADLINE.as_secs_f64() * 1000.0, "{took} ms");
    let open = partial["open_channels"].as_array().expect("a list");
    let touches = |channel: &Value| channel["from"] == "n2" || channel["to"] == "n2";
    assert!(!open.is_empty() && open.iter().all(touches), "{partial}");
    for channel in open {
        assert_eq!(channel["reason"], "channel_stopped", "{partial}");
        let why = channel["error"].as_str().expect("a sentence");
        assert!(why.contains("n2"), "{why}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_store_is_refused_until_its_peers_are_told_to_forget_it() {
    let mut cluster = Cluster::up(&["n1", "n2", "n3"]).await;
    for (id, amount) in [("n1", 100), ("n2", 1000), ("n3", 100)] {
        cluster.deposit(id, "a", amount).await;
    }
    // A copy of n2 from before anything had passed over its channels: its own figures contradict no peer.
    cluster.stop("n2").await;
    let old = copy_of(&cluster.store("n2"));
    cluster.start("n2").await;
    let [n1, n2, n3] = ["n1", "n2", "n3"].map(|id| cluster.rest(id));
    pay(&n1, ("n2", "b"), 30).await;
    n2.balance_is("b", 30).await;
    pay(&n2, ("n3", "b"), 70).await;
    n3.balance_is("b", 70).await;
    let early = n1.start_snapshot().await;
    n1.snapshot(&early, "complete").await;
    cluster.stop("n2").await;
    // Sent and never delivered, as is the marker later.
    pay(&n1, ("n2", "b"), 3).await;
    cluster.wipe("n2");
    cluster.start("n2").await;
    for peer in ["n1", "n3"] {
        let words = ["presented store", "but store"];
        stopped(&cluster, ("n2", peer), &words).await;
        stopped(&cluster, (peer, "n2"), &[]).await;
    }
    assert_eq!(n2.balance("b").await, None, "nothing is sent twice");
    stopped_channels_are_warned_of(&n1).await;
    pay(&n1, ("n3", "b"), 1).await;
    n3.balance_is("b", 71).await;
    let waiting = n1.start_snapshot().await;
    names_the_stopped_channels(&n1.snapshot(&waiting, "partial").await);

    cluster.stop_all().await;
    let printed = forget(&cluster, "n1", "n2").await;
    assert!(
        printed.contains("33 minor units, is booked as a withdrawal"),
        "{printed}"
    );
    assert!(
        printed.contains("of the messages sent were not acknowledged; they are not sent again"),
        "{printed}"
    );
    what_is_forgotten_is_not_booked_again(&cluster).await;
    let printed = forget(&cluster, "n3", "n2").await;
    assert!(
        printed.contains("70 minor units, is booked as a deposit"),
        "{printed}"
    );
    put_back(old.path(), &cluster.store("n2"));
    let mut cluster = cluster.started_again(&["n1", "n2", "n3"]).await;
    the_lost_store_is_refused(&mut cluster).await;

    // n1 has 100 - 33 - 1, n3 has 100 + 70 + 1; the 1000 deposited at n2 are gone with the deposit.
    pay(&n1, ("n2", "b"), 6).await;
    n2.balance_is("b", 6).await;
    let id = n3.start_snapshot().await;
    assert_proven(&n3.snapshot(&id, "complete").await, 66 + 171);
    n1.snapshot(&waiting, "partial").await;
    no_channel_is_recorded(&n1).await;
    // The history of the lost store brings its part, which no journal here knows.
    n2.snapshot_from_elsewhere(&early, "complete").await;
    cluster.stop_all().await;
    for id in ["n1", "n2", "n3"] {
        is_whole(&cluster.store(id)).await;
    }
}

// Without this a command repeated by a script gives up the money of the store in use.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_command_does_not_give_up_the_store_in_the_place_of_the_lost_one() {
    let mut cluster = Cluster::up(&["n1", "n2"]).await;
    let [n1, n2] = ["n1", "n2"].map(|id| cluster.rest(id));
    cluster.deposit("n2", "a", 1000).await;
    pay(&n2, ("n1", "b"), 10).await;
    n1.balance_is("b", 10).await;
    cluster.stop_all().await;
    cluster.wipe("n2");
    forget(&cluster, "n1", "n2").await;
    let mut cluster = cluster.started_again(&["n1", "n2"]).await;
    cluster.connected().await;
    cluster.deposit("n2", "a", 700).await;
    pay(&n2, ("n1", "b"), 20).await;
    n1.balance_is("b", 30).await;

    cluster.stop("n1").await;
    let (code, printed) = try_forget(&cluster, ("n1", "n2"), &[]).await;
    assert!(
        code == Some(1) && printed.contains("nothing was booked now"),
        "{printed}"
    );
    assert!(
        printed.contains("Since then it has had a handshake with another store, "),
        "{printed}"
    );
    let (_, again) = printed.rsplit_once("--again ").expect("what to do");
    let again = again.trim().trim_end_matches('.');
    let (code, printed) = try_forget(&cluster, ("n1", "n2"), &["--again", "1"]).await;
    assert!(
        code == Some(1) && printed.contains("nothing was booked"),
        "{printed}"
    );
    cluster.start("n1").await;
    cluster.connected().await;
    let id = n1.start_snapshot().await;
    assert_proven(&n1.snapshot(&id, "complete").await, 10 + 700);

    // Lost a second time.
    cluster.stop_all().await;
    cluster.wipe("n2");
    for told in [
        "the difference, 20 minor units, is booked as a deposit",
        "already gave up the store of n2",
    ] {
        let (code, printed) = try_forget(&cluster, ("n1", "n2"), &["--again", again]).await;
        assert!(code == Some(0) && printed.contains(told), "{printed}");
    }
    let mut cluster = cluster.started_again(&["n1", "n2"]).await;
    cluster.connected().await;
    cluster.stop_all().await;
    is_whole(&cluster.store("n1")).await;
}

// Without this a process whose disk is lost before it has sent anything cannot come back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_was_met_and_lost_before_any_message_is_forgotten() {
    let mut cluster = Cluster::up(&["n1", "n2"]).await;
    cluster.connected().await;
    cluster.deposit("n2", "a", 1000).await;
    let old = copy_of_stopped(&mut cluster, "n2").await;
    cluster.wipe("n2");
    cluster.start("n2").await;
    stopped(&cluster, ("n2", "n1"), &["presented store"]).await;
    cluster.stop_all().await;
    let printed = forget(&cluster, "n1", "n2").await;
    assert!(
        printed.contains("the difference, 0 minor units"),
        "{printed}"
    );
    let printed = forget(&cluster, "n1", "n2").await;
    assert!(printed.contains("nothing to do"), "{printed}");
    let mut cluster = cluster.started_again(&["n1", "n2"]).await;
    cluster.connected().await;
    let [n1, n2] = ["n1", "n2"].map(|id| cluster.rest(id));
    cluster.deposit("n2", "a", 700).await;
    pay(&n2, ("n1", "b"), 20).await;
    n1.balance_is("b", 20).await;
    let id = n1.start_snapshot().await;
    assert_proven(&n1.snapshot(&id, "complete").await, 700);
    cluster.stop("n2").await;
    put_back(old.path(), &cluster.store("n2"));
    cluster.start("n2").await;
    stopped(&cluster, ("n2", "n1"), &["presented store"]).await;
    cluster.stop_all().await;
    is_whole(&cluster.store("n1")).await;
}

async fn copy_of_stopped(cluster: &mut Cluster, id: &str) -> tempfile::TempDir {
    cluster.stop(id).await;
    copy_of(&cluster.store(id))
}
