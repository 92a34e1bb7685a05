//! A snapshot is verified independently of the nodes: from a file, from the export of a node, and one balance by its
//! proof. Without this an auditor would have to trust the audited program.

use std::path::Path;

use serde_json::Value;

use crate::nodes::Cluster;
use crate::rest::asked;
use crate::restored::{path, printed};
use crate::traffic::{SEED, Traffic};

const IDS: [&str; 2] = ["n1", "n2"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_is_verified_without_its_nodes() {
    let mut cluster = Cluster::up(&IDS).await;
    let traffic = Traffic::between(&cluster, &IDS).await;
    let rest = cluster.rest("n1");
    let id = rest.start_snapshot().await;
    let shown = rest.snapshot(&id, "complete").await;
    traffic.stop().await;
    let root = rest.get(&format!("/v1/snapshots/{id}")).await;
    let root = root.header("etag").trim_matches('"').to_owned();

    let route = format!("/v1/snapshots/{id}/export");
    // The file is binary, so the request uses the known ETag.
    let tag = format!("\"{root}-export\"");
    let known = asked(&route, &[("if-none-match", &tag)]);
    let known = rest.send(known).await;
    assert_eq!((known.status, known.header("etag")), (304, &*tag));
    let refused = rest.send(asked(&route, &[("accept", "text/csv")])).await;
    assert_eq!(
        (refused.status, &*refused.problem()),
        (406, "not-acceptable")
    );
    let absent = rest.get("/v1/snapshots/absent/export").await;
    assert_eq!(
        (absent.status, &*absent.problem()),
        (404, "unknown-snapshot")
    );

    let parent = tempfile::tempdir().expect("a temporary directory");
    let file = parent.path().join("s.snapledger");
    let base = rest.base();
    let verify = ["snapshot", "verify", &id, "--rest", base, "--root", &root];
    let (code, text) = printed(&verify);
    assert!(
        code == 0 && text.contains("no money was lost or made"),
        "{text}"
    );
    assert!(text.contains("as given with --root"), "{text}");
    let out = [
        "snapshot",
        "export",
        &id,
        "--rest",
        base,
        "--out",
        path(&file),
    ];
    let (code, text) = printed(&out);
    assert!(code == 0 && text.contains(&root), "{text}");
    cluster.stop_all().await;

    verified_offline(&file, (&root, &shown));
    damage_is_named(parent.path(), &file);
}

fn verified_offline(file: &Path, (root, shown): (&str, &Value)) {
    let offline = ["snapshot", "verify", path(file), "--output", "json"];
    let (code, text) = printed(&offline);
    let verified: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((code, &verified["verified"]), (0, &Value::Bool(true)));
    assert_eq!(verified["root"], root);
    for field in ["totals", "verification"] {
        assert!(verified[field].is_object(), "{verified}");
    }
    assert_eq!(verified["totals"]["deposits"], 2 * SEED);
    assert_eq!(
        verified["totals"]["in_flight"],
        shown["totals"]["in_flight"]
    );
    assert_eq!(verified["root_was_given"], false);
    let (_, text) = printed(&["snapshot", "verify", path(file)]);
    assert!(text.contains("give that with --root"), "{text}");
    let other = "0f".repeat(32);
    let (code, text) = printed(&["snapshot", "verify", path(file), "--root", &other]);
    assert!(
        code == 1 && text.contains("it is another snapshot"),
        "{text}"
    );
    let (code, text) = printed(&[&offline[..], &["--root", &root.to_uppercase()]].concat());
    assert!(
        code == 0 && text.contains("\"root_matches\": true"),
        "{text}"
    );
    for odd in ["zz", "", "0f", &root.replace(&root[..2], "+1"), &root[1..]] {
        let (code, text) = printed(&["snapshot", "verify", path(file), "--root", odd]);
        assert!(
            code == 2 && text.contains("64 hexadecimal digits"),
            "{text}"
        );
    }
}

fn damage_is_named(parent: &Path, file: &Path) {
    let mut bytes = std::fs::read(file).expect("it was written");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    std::fs::write(file, bytes).expect("there is room");
    let (code, text) = printed(&["snapshot", "verify", path(file)]);
    assert!(code == 1 && text.contains("(at byte "), "{text}");
    let into = parent.join("into");
    let (code, text) = printed(&["restore", "--file", path(file), "--into", path(&into)]);
    assert!(code == 1 && !into.exists(), "{text}");
    let (code, text) = printed(&["snapshot", "verify", path(&parent.join("none.snapledger"))]);
    assert!(code == 2 && text.contains("cannot read"), "{text}");
}

// Without this, a customer reads the balances of others in the proof of his own.
fn shows_nothing_of(account: &str, balance: i64, proof: &Value) {
    use base64::Engine as _;
    assert_eq!(proof["discloses"], "nothing");
    let revision = proof["proof"]["revision"].as_str().expect("text");
    let revision = base64::engine::general_purpose::STANDARD.decode(revision);
    let revision = revision.expect("it is base64");
    let runs = proof["proof"]["runs"].to_string();
    let shown = [&revision[..], runs.as_bytes()].concat();
    let holds = |bytes: &[u8]| shown.windows(bytes.len()).any(|window| window == bytes);
    assert!(!holds(account.as_bytes()));
    assert!(!holds(balance.to_string().as_bytes()) && !holds(&balance.to_le_bytes()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_balance_is_proven_against_the_root() {
    let mut cluster = Cluster::up(&IDS).await;
    let rest = cluster.rest("n1");
    cluster.deposit("n1", "alice", 5).await;
    cluster.deposit("n2", "bob", 7).await;
    cluster.deposit("n2", "carla", 471_147_114_711).await;
    let id = rest.start_snapshot().await;
    rest.snapshot(&id, "complete").await;
    let route = |process, account| format!("/v1/snapshots/{id}/balances/{process}/{account}/proof");
    let proof = rest.read(&route("n2", "bob")).await;
    assert_eq!(
        (&proof["balance"], &proof["existed"]),
        (&7.into(), &true.into())
    );
    shows_nothing_of("carla", 471_147_114_711, &proof);
    let absent = rest.read(&route("n2", "alice")).await;
    assert_eq!(
        (&absent["balance"], &absent["existed"]),
        (&0.into(), &false.into())
    );
    let unknown = rest.get(&route("n9", "bob")).await;
    assert_eq!(
        (unknown.status, &*unknown.problem()),
        (404, "unknown-process")
    );
    cluster.stop_all().await;

    let parent = tempfile::tempdir().expect("a temporary directory");
    let file = parent.path().join("proof.json");
    let root = proof["root"].as_str().expect("text").to_owned();
    let check = |proof: &Value, root: &str| {
        std::fs::write(&file, proof.to_string()).expect("there is room");
        printed(&["snapshot", "verify", "--proof", path(&file), "--root", root])
    };
    let (code, text) = check(&proof, &root);
    assert!(
        code == 0
            && text.contains("account \"bob\" of process n2 holds 7")
            && text.contains("it shows no id and no balance of another account"),
        "{text}"
    );
    let (code, text) = check(&absent, &root);
    assert!(
        code == 0 && text.contains("there is no account \"alice\" of process n2"),
        "{text}"
    );
    let (code, text) = check(&proof, &root.chars().rev().collect::<String>());
    assert!(code == 1 && text.contains("the root is"), "{text}");

    let changed = |change: &dyn Fn(&mut Value)| {
        let mut forged = proof.clone();
        change(&mut forged);
        check(&forged, &root)
    };
    let (code, text) = changed(&|proof| proof["balance"] = 8.into());
    assert!(code == 1 && text.contains("balance is 7, not 8"), "{text}");
    let (code, text) = changed(&|proof| proof["account"] = "carol".into());
    assert!(
        code == 1 && text.contains("it does not lead to the root"),
        "{text}"
    );
    let (code, text) = changed(&|proof| proof["proof"]["runs"] = Value::Array(Vec::new()));
    assert!(
        code == 1 && text.contains("it is not in the proof"),
        "{text}"
    );
}
