//! A snapshot is verified from the archive alone. Without this, it could only be verified by asking a node for it, and its journals
//! not at all.

use serde_json::{Value, json};

use crate::archive_place::copy_dir;
use crate::archived_past::{run, run_of};
use crate::await_it::until;
use crate::killed::{IDS, seed};
use crate::programs::Programs;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_of_the_archive_is_verified_against_its_journals() {
    let mut programs = Programs::planned(&IDS).with_archive("peers");
    programs.start().await;
    seed(&programs).await;
    let rest = programs.rest("n1");
    let paid = json!({
        "from_account": "cash", "to_process": "n2", "to_account": "b", "amount": 5
    });
    assert_eq!(rest.post("/v1/transfers", &paid).await.status, 200);
    let id = rest.start_snapshot().await;
    let taken = rest.snapshot(&id, "complete").await;
    let archive = programs.path("archive");
    until("the snapshot is archived", async || {
        let verified = run(&programs, &["snapshot", "verify", &id]);
        (verified.0 == Some(0)).then_some(())
    })
    .await;
    programs.kill();
    let verify = ["snapshot", "verify", "--output", "json"];
    for subject in [&id, "latest"] {
        let (code, said, wrong) = run(&programs, &[&verify[..], &[subject]].concat());
        assert_eq!(code, Some(0), "{wrong}");
        let said: Value = serde_json::from_str(&said).expect("JSON");
        assert_eq!(said["root"], taken["root"], "{said}");
        assert_eq!(said["verification"]["conserved"], true, "{said}");
        assert_eq!(said["verified"], true, "{said}");
        let unchecked = said["not_checked"].to_string();
        assert!(!unchecked.contains("journal"), "{unchecked}");
    }
    let (code, _, wrong) = run(&programs, &["snapshot", "verify", "unknown"]);
    assert_eq!(code, Some(1), "{wrong}");
    assert!(wrong.contains("no snapshot unknown"), "{wrong}");
    let (code, _, wrong) = run_of("demo", &programs, &["snapshot", "verify", &id]);
    assert_eq!(code, Some(1), "{wrong}");
    let found = "no cluster demo; it has killed: check --cluster";
    assert!(wrong.contains(found), "{wrong}");
    // The journal of n2 is replaced by what another cluster of the same name wrote.
    std::fs::rename(&archive, programs.path("first")).expect("it is there");
    std::fs::create_dir(&archive).expect("another archive");
    let mut other = Programs::planned(&IDS).with_archive("peers");
    other.start().await;
    seed(&other).await;
    for _ in 0..20 {
        let paid = json!({ "amount": 1 });
        let rest = other.rest("n2");
        assert_eq!(
            rest.post("/v1/accounts/a/deposits", &paid).await.status,
            200
        );
    }
    other.kill();
    let journal = |programs: &Programs, of: &str| programs.path(&format!("{of}/killed/n2/journal"));
    copy_dir(&programs.path("first"), &archive);
    std::fs::remove_dir_all(journal(&programs, "archive")).expect("it is there");
    copy_dir(&journal(&other, "archive"), &journal(&programs, "archive"));
    let (code, _, wrong) = run(&programs, &["snapshot", "verify", &id]);
    assert_eq!(code, Some(1), "{wrong}");
    assert!(wrong.contains("n2 in its journal"), "{wrong}");
}
