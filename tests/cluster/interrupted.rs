//! `kill -9` of every node right after the answer to the start of a snapshot: at any stage of the recording, its
//! markers leave after the restart and the same snapshot becomes complete. Without this a crash could leave snapshots
//! unfinished, or cuts inconsistent.

use serde_json::json;

use crate::programs::Programs;
use crate::snapshots::assert_proven;

const IDS: [&str; 3] = ["n1", "n2", "n3"];
const ROUNDS: usize = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_that_was_begun_is_finished_after_everybody_was_killed() {
    let mut programs = Programs::planned(&IDS);
    programs.start().await;
    let paid = json!({"amount": 1000});
    for id in IDS {
        let rest = programs.rest(id);
        let paid = rest.post("/v1/accounts/cash/deposits", &paid).await;
        assert_eq!(paid.status, 200, "{paid:?}");
    }
    let mut begun = Vec::new();
    for round in 0..ROUNDS {
        for (index, id) in IDS.into_iter().enumerate() {
            let rest = programs.rest(id);
            let to = IDS[(index + 1) % IDS.len()];
            let body = json!({
                "from_account": "cash", "to_account": "cash", "amount": 7, "to_process": to
            });
            assert_eq!(rest.post("/v1/transfers", &body).await.status, 200);
            // In the last round all of them, so that every recording is interrupted at another stage.
            if round == index || round + 1 == ROUNDS {
                begun.push((id, rest.start_snapshot().await));
            }
        }
        programs.kill();
        programs.start().await;
    }
    for (initiator, id) in begun {
        let rest = programs.rest(initiator);
        let snapshot = rest.snapshot(&id, "complete").await;
        assert_proven(&snapshot, 3000);
    }
}
