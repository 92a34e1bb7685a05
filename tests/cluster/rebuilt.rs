//! A process whose disk is lost for good is rebuilt from the data of its peers: the newest complete snapshot, and later
//! movements in one account. Without this the only remedy is a manual deposit of an estimated sum.

use std::path::Path;

use assert_cmd::cargo::cargo_bin;

use crate::await_it::until;
use crate::nodes::Cluster;
use crate::snapshots::assert_proven;
use crate::stores::{is_whole, pay};
use crate::traffic::{SEED, Traffic};
use crate::wiped::forget;

const IDS: [&str; 3] = ["n1", "n2", "n3"];

// The exit code, and the output of both streams.
async fn restored(arguments: &[&str]) -> (Option<i32>, String) {
    until("stores that are free", async || {
        let output = std::process::Command::new(cargo_bin!("snapledger"))
            .arg("restore")
            .args(arguments)
            .output()
            .expect("the program runs");
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8(text).expect("text");
        (!text.contains("is in use")).then_some((output.status.code(), text))
    })
    .await
}

fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_process_comes_back_with_all_the_money_its_peers_know_of() {
    let mut cluster = Cluster::up(&IDS).await;
    let [n1, n2, n3] = IDS.map(|id| cluster.rest(id));
    for (id, account, amount) in [("n1", "a", 300), ("n2", "a", 7), ("n3", "carol", 40)] {
        cluster.deposit(id, account, amount).await;
    }
    let traffic = Traffic::between(&cluster, &IDS).await;
    let id = n1.start_snapshot().await;
    n1.snapshot(&id, "complete").await;
    until("n2 has it", async || {
        let known = n2.get(&format!("/v1/snapshots/{id}")).await;
        (known.status == 200).then_some(())
    })
    .await;
    traffic.stop().await;
    pay(&n1, ("n3", "carol"), 300).await;
    n3.balance_is("carol", 340).await;
    // Known to n3 only.
    cluster.deposit("n3", "dave", 5).await;
    cluster.stop("n3").await;
    // Sent and never delivered.
    pay(&n2, ("n3", "carol"), 7).await;
    cluster.wipe("n3");
    cluster.stop_all().await;

    let [one, two, three] = IDS.map(|id| cluster.store(id));
    let asked = [
        "--process",
        "n3",
        "--from",
        text(&one),
        "--from",
        text(&two),
    ];
    let (code, shown) = restored(&[&asked[..], &["--into", text(&three)]].concat()).await;
    assert_eq!(code, Some(0), "{shown}");
    for part in [
        &*id,
        "account suspense of n3",
        "snapledger store forget DIR --peer n3",
    ] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    assert!(!shown.contains("warning"), "{shown}");
    let (code, shown) = restored(&[&asked[..4], &["--into", text(&three)]].concat()).await;
    assert!(code == Some(2) && shown.contains("is not empty"), "{shown}");
    for id in ["n1", "n2"] {
        forget(&cluster, id, "n3").await;
    }
    let other = three.with_file_name("other");
    let (code, shown) = restored(&[&asked[..], &["--into", text(&other)]].concat()).await;
    assert!(
        code == Some(1) && shown.contains("has forgotten the store of n3"),
        "{shown}"
    );
    let mut cluster = cluster.started_again(&IDS).await;
    cluster.connected().await;
    // Everything except the deposit that only n3 knew: as recorded, or in suspense.
    assert_eq!(n3.balance("carol").await, Some(40));
    let booked = n3.balance("suspense").await.expect("an account");
    let audit = n1.read("/v1/audit").await;
    assert_eq!(audit["processes"][2]["booked"], booked, "{audit}");
    let again = n2.start_snapshot().await;
    assert_proven(&n2.snapshot(&again, "complete").await, 3 * SEED + 347);
    assert_eq!(n3.balance("dave").await, None);
    cluster.stop_all().await;
    for id in IDS {
        is_whole(&cluster.store(id)).await;
    }
}
