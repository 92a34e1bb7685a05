//! A small disk that fills up: clear refusals first, then a stop with code 3. Everything acknowledged is there when
//! space has been freed.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use snapledger::proto::chandy_lamport::key_value_service_client::KeyValueServiceClient;
use snapledger::proto::chandy_lamport::{GetRequest, PutRequest};
use tempfile::TempDir;
use tonic::Code;
use tonic::transport::Endpoint;

use crate::await_it::until;
use crate::ledger::Ledger;
use crate::program::Program;
use crate::required;

const VALUE_BYTES: usize = 30_000;
const PUTS_MAX: usize = 1000;

/// A tmpfs mounted on the directory of a store.
struct Small {
    home: TempDir,
    store: PathBuf,
}

impl Small {
    /// `None`, with a message, if mounting is not allowed.
    fn mounted(size: &str) -> Option<Self> {
        let home = tempfile::tempdir().expect("a temporary directory");
        let store = home.path().join("store");
        std::fs::create_dir(&store).expect("there is room");
        let small = Self { home, store };
        match small.mount(&format!("size={size}")) {
            true => Some(small),
            false => {
                required::absent("mount");
                None
            }
        }
    }

    fn mount(&self, options: &str) -> bool {
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(&self.store);
        mount.output().is_ok_and(|output| output.status.success())
    }

    fn grow(&self, size: &str) {
        assert!(self.mount(&format!("remount,size={size}")), "it is mounted");
    }

    fn home(&self) -> &Path {
        self.home.path()
    }

    /// Fills the disk until about `left` bytes are free.
    fn fill(&self, left: u64) -> PathBuf {
        let path = self.store.join("other");
        let mut file = File::create(&path).expect("there is room");
        while free(&self.store) > left {
            file.write_all(&[0; 65_536]).expect("there is room");
        }
        path
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // Files that are still open keep it mounted until they are closed.
        let _gone = Command::new("umount").arg("-l").arg(&self.store).status();
    }
}

fn free(dir: &Path) -> u64 {
    let system = rustix::fs::statvfs(dir).expect("it is there");
    system.f_bavail * system.f_frsize
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_nearly_full_refuses_new_work_until_there_is_room() {
    let Some(small) = Small::mounted("64m") else {
        return;
    };
    let mut ledger = Ledger::default();
    let node = Program::start(small.home(), &["--store-free-space-min", "16MiB"]).await;
    assert!(ledger.deposit(&node).await);
    let filler = small.fill(12 << 20);
    let why = until("not ready", async || {
        let answer = node.rest.get("/readyz").await;
        (answer.status == 503).then_some(answer)
    });
    let why = why.await.json()["detail"].to_string();
    assert!(why.contains("less than the required 16 MiB"), "{why}");
    let body = serde_json::json!({"amount": 1});
    let refused = node.rest.post("/v1/accounts/till/deposits", &body).await;
    assert_eq!(
        (refused.status, refused.problem().as_str()),
        (503, "no-room")
    );
    let snapshot = node
        .rest
        .post("/v1/snapshots", &serde_json::json!({}))
        .await;
    assert_eq!(snapshot.status, 503, "a snapshot takes room, too");
    assert_eq!(put(&node, 0).await, Err(Code::ResourceExhausted));
    assert_eq!(node.rest.balance("till").await, Some(1), "reads go on");
    let metrics = node.rest.get("/metrics").await.body;
    let figure = |name: &str| -> u64 {
        let line = metrics.lines().find(|line| line.starts_with(name));
        let figure = line.and_then(|line| line.rsplit(' ').next());
        figure.expect("it is there").parse().expect("a number")
    };
    assert!(
        figure("snapledger_store_free_bytes ") < 16 << 20,
        "{metrics}"
    );
    assert!(figure("snapledger_store_disk_bytes ") > 0, "{metrics}");
    assert_eq!(figure("snapledger_store_blob_files "), 0, "{metrics}");
    std::fs::remove_file(filler).expect("it is there");
    until("ready again", async || {
        (node.rest.get("/readyz").await.status == 200).then_some(())
    })
    .await;
    assert!(ledger.deposit(&node).await, "it goes on without a restart");
    ledger.settle(&node).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_stops_the_node_and_loses_nothing_acknowledged() {
    let Some(small) = Small::mounted("64m") else {
        return;
    };
    let unguarded = [
        "--store-free-space-min",
        "0B",
        "--store-commit-deadline",
        "5s",
    ];
    let mut node = Program::start(small.home(), &unguarded).await;
    small.fill(4 << 20);
    let mut acknowledged = 0;
    while put(&node, acknowledged).await.is_ok() {
        acknowledged += 1;
        assert!(acknowledged < PUTS_MAX, "it never fills up");
    }
    let sentence = node.assert_stopped().await;
    println!("after {acknowledged} values of {VALUE_BYTES} bytes: {sentence}");
    assert!(acknowledged > 0, "{sentence}");
    let mut again = Program::spawn(small.home(), &unguarded);
    println!("still full: {}", again.assert_stopped().await);
    small.grow("256m");
    let node = Program::start(small.home(), &unguarded).await;
    for number in 0..acknowledged {
        assert!(is_there(&node, number).await, "value {number} is lost");
    }
    assert_eq!(put(&node, PUTS_MAX).await, Ok(()), "it goes on");
}

async fn put(node: &Program, number: usize) -> Result<(), Code> {
    let endpoint = Endpoint::from_shared(node.grpc.clone()).expect("a URI");
    let mut client = KeyValueServiceClient::new(endpoint.connect_lazy());
    let (key, value) = (format!("k{number}"), value(number));
    let answer = client.put(PutRequest { key, value }).await;
    let answer = answer.map_err(|status| status.code())?.into_inner();
    assert!(answer.success, "{}", answer.error);
    Ok(())
}

async fn is_there(node: &Program, number: usize) -> bool {
    let endpoint = Endpoint::from_shared(node.grpc.clone()).expect("a URI");
    let mut client = KeyValueServiceClient::new(endpoint.connect_lazy());
    let key = format!("k{number}");
    let answer = client
        .get(GetRequest { key })
        .await
        .expect("the node answers");
    answer.into_inner().value == value(number)
}

fn value(number: usize) -> String {
    let word = format!("{number} ");
    word.repeat(VALUE_BYTES / word.len())
}
