//! A second opinion on S3: moto, another implementation of it. Without this the tests would know one server, and its faults.

use std::process::{Child, Command, Stdio};

use snapledger::bench::ports::free_ports;
use ureq::Agent;

use crate::archive::lost_disk;
use crate::archive_faults::{objects_at, one_of_many_wins};
use crate::archive_place::{Place, Served};
use crate::await_it::until;
use crate::python::python_with;
use crate::s3::{BUCKET, environment, url};

// One request at a time: moto checks a condition and stores the object without a lock between.
const SERVE: &str = "
import sys
from moto.server import DomainDispatcherApplication, create_backend_app, run_simple

run_simple('127.0.0.1', int(sys.argv[1]), DomainDispatcherApplication(create_backend_app))
";

/// A running moto with a bucket; `None` where it is not installed.
struct Moto {
    program: Child,
    endpoint: String,
}

impl Moto {
    async fn start() -> Option<Self> {
        let python = python_with("moto.server")?;
        let port = free_ports(1).expect("a free port")[0].to_string();
        let program = Command::new(python)
            .args(["-c", SERVE, &port])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let moto = Self {
            program: program.expect("python runs"),
            endpoint: format!("http://127.0.0.1:{port}"),
        };
        let bucket = format!("{}/{BUCKET}", moto.endpoint);
        let agent: Agent = Agent::config_builder().proxy(None).build().into();
        until("a bucket of moto", async || {
            let (agent, bucket) = (agent.clone(), bucket.clone());
            let created = tokio::task::spawn_blocking(move || agent.put(&bucket).send_empty());
            created.await.expect("the client does not panic").ok()
        })
        .await;
        Some(moto)
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        // It may have ended already.
        let _ended = self.program.kill();
        let _ended = self.program.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_creators_of_an_object_one_wins_on_moto() {
    let Some(moto) = Moto::start().await else {
        return;
    };
    one_of_many_wins(&objects_at(&moto.endpoint)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_disk_loses_nothing_that_was_acknowledged_where_everything_waits_for_moto() {
    let Some(moto) = Moto::start().await else {
        return;
    };
    let served = Served {
        url: url(),
        environment: environment(&moto.endpoint),
    };
    lost_disk(&Place::Served(served)).await;
}
