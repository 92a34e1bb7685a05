//! A restore that is killed while it takes a process over: between its claim and its fence, or behind the fence. Without this a machine
//! that fails during a restore leaves a process that nobody can start any more, an archive in which nothing is deleted, or one from which
//! nothing can be restored.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use assert_cmd::cargo::cargo_bin;
use serde_json::json;

use crate::archive::restored_into;
use crate::archive_place::{Place, objects};
use crate::await_it::until;
use crate::programs::Programs;
use crate::s3::{Hold, S3, Way};

const PAID: i64 = 10;

/// A process with an archive on S3, and what it was paid.
struct Scene {
    programs: Programs,
    place: Place,
    balance: i64,
}

impl Scene {
    // With two recorded states in the archive, so that retention has something to delete.
    async fn new() -> Self {
        let place = Place::s3().await;
        let mut programs = Programs::planned(&["n1"]).archived_in(&place, "peers", "30s");
        programs.start().await;
        let balance = 0;
        let mut scene = Self {
            programs,
            place,
            balance,
        };
        for (states, deposits) in [(1, 90), (2, 130)] {
            scene.pay(deposits).await;
            let rest = scene.programs.rest("n1");
            let id = rest.start_snapshot().await;
            rest.snapshot(&id, "complete").await;
            until("a recorded state in the archive", async || {
                (scene.archived("states").len() >= states).then_some(())
            })
            .await;
        }
        scene
    }

    fn server(&self) -> &S3 {
        let Place::S3(server) = &self.place else {
            unreachable!("it is on S3");
        };
        server
    }

    fn archived(&self, folder: &str) -> Vec<PathBuf> {
        objects(&self.place.object(&format!("killed/n1/{folder}")))
    }

    async fn pay(&mut self, times: u32) {
        let rest = self.programs.rest("n1");
        for _ in 0..times {
            let paid = json!({ "amount": PAID });
            let answer = rest.post("/v1/accounts/a/deposits", &paid).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            self.balance += PAID;
        }
    }

    fn elsewhere(&self) -> String {
        self.programs.path("elsewhere")
    }

    // Begins to restore the process elsewhere, and kills that at this moment. The process runs meanwhile.
    async fn kills_a_restore(&self, at: Hold) {
        self.nothing_is_under_way().await;
        let claims = self.archived("epochs").len();
        self.server().behave(Way {
            hold: Some(at),
            ..Way::default()
        });
        let mut restore = self.begin_restore();
        until("a fence that is held", async || {
            if let Some(status) = restore.try_wait().expect("a child") {
                unreachable!("the restore has ended: {status}");
            }
            (self.server().held() > 0).then_some(())
        })
        .await;
        restore.kill().expect("it runs");
        restore.wait().expect("it was killed");
        assert_eq!(self.archived("epochs").len(), claims + 1, "it has claimed");
        assert!(!PathBuf::from(self.elsewhere()).exists(), "it is not whole");
        self.server().behave(Way::default());
    }

    // A process that ships something is not restored, and its own put would be held.
    async fn nothing_is_under_way(&self) {
        let rest = self.programs.rest("n1");
        until("an archive that has everything", async || {
            let lag = crate::archive_faults::figure(&rest, "snapledger_archive_lag_seconds").await;
            (lag == 0.0).then_some(())
        })
        .await;
    }

    fn begin_restore(&self) -> Child {
        Command::new(cargo_bin!("snapledger"))
            .args(["restore", "--archive", &self.place.url()])
            .args(["--cluster", "killed", "--process", "n1"])
            .args(["--into", &self.elsewhere()])
            .envs(self.place.environment())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program runs")
    }

    // Restores the process in the same place as before, and lets it have the place of the lost store.
    fn restore(&self) {
        let store = self.programs.path("n1");
        std::fs::remove_dir_all(&store).expect("it has a store");
        let output = restored_into(&self.programs, &self.place, "n1", &self.elsewhere());
        assert!(output.status.success(), "{output:?}");
        std::fs::rename(self.elsewhere(), &store).expect("it was restored");
    }

    // Starts the process, which has everything; then its retention deletes in the archive.
    async fn goes_on_and_deletes(&mut self) {
        let before = self.archived("journal");
        self.programs.keep_archived("1s");
        self.programs.start().await;
        self.pay(1).await;
        let (rest, balance) = (self.programs.rest("n1"), self.balance);
        rest.balance_is("a", balance).await;
        // With a state behind which everything older can go.
        let id = rest.start_snapshot().await;
        rest.snapshot(&id, "complete").await;
        until("a deletion in the archive", async || {
            // Fences stay.
            let left = self.archived("journal");
            before.iter().any(|one| !left.contains(one)).then_some(())
        })
        .await;
        self.programs.kill();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_killed_between_its_claim_and_its_fence_leaves_the_process_alone() {
    let mut scene = Scene::new().await;
    scene.kills_a_restore(Hold::BeforeSegments).await;
    // It is not fenced off, and neither is its next start.
    scene.pay(1).await;
    scene.programs.kill();
    scene.goes_on_and_deletes().await;
    scene.restore();
    scene.goes_on_and_deletes().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_killed_behind_its_fence_can_be_repeated() {
    let mut scene = Scene::new().await;
    scene.is_fenced_off().await;
    scene.restore();
    scene.goes_on_and_deletes().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_restore_that_was_killed_the_process_can_go_on_from_its_own_directory() {
    let mut scene = Scene::new().await;
    scene.is_fenced_off().await;
    let store = scene.programs.path("n1");
    let vouched = Command::new(cargo_bin!("snapledger"))
        .args(["store", "vouch", &store])
        .output()
        .expect("the program runs");
    assert!(vouched.status.success(), "{vouched:?}");
    scene.goes_on_and_deletes().await;
    scene.restore();
    scene.goes_on_and_deletes().await;
}

impl Scene {
    // A restore is killed when its fence is set: the process stops, and its directory is refused.
    async fn is_fenced_off(&mut self) {
        self.kills_a_restore(Hold::BehindSegments).await;
        let mut old = self.programs.give_up("n1");
        let status = until("the end of the process", async || {
            old.try_wait().expect("a child")
        })
        .await;
        assert_eq!(status.code(), Some(3));
        let (code, said) = self.programs.refused("n1");
        assert_eq!(code, Some(2), "{said}");
        let command = format!("store vouch {}", self.programs.path("n1"));
        assert!(said.contains(&command), "{said}");
    }
}
