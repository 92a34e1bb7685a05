//! Six faults on real nodes, and a real Prometheus that must call for each of them and for none before. Without this a rule
//! could pass its cases and stay silent when something is wrong.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use snapledger::bench::ports::free_ports;
use tempfile::TempDir;

use crate::await_it::until;
use crate::nodes::{Cluster, process};
use crate::programs::Programs;
use crate::rest::Rest;
use crate::rotten::newest;
use crate::stores::{pay, spoil, stopped};

const HOUR_US: i64 = 3_600_000_000;
const INTERVAL: Duration = Duration::from_secs(2);
const RULES: &str = include_str!("../../deploy/prometheus/alerts.yml");

/// A running Prometheus, killed when dropped.
struct Prometheus {
    child: Child,
    url: String,
    _dir: TempDir,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It may have ended already.
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

impl Prometheus {
    /// Watches jobs of these names and addresses by the rules of operators, every half second, and waits a second where they
    /// wait longer. `None` if the program is missing.
    fn watch(jobs: &[(&str, Vec<String>)]) -> Option<Self> {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = |name: &str| dir.path().join(name);
        let rules = RULES.lines().map(|line| match line.split_once("for: ") {
            Some((before, _)) => format!("{before}for: 1s\n"),
            None => format!("{line}\n"),
        });
        std::fs::write(path("alerts.yml"), rules.collect::<String>()).expect("there is room");
        let global = "{scrape_interval: 500ms, scrape_timeout: 500ms, evaluation_interval: 500ms}";
        let job = |(name, targets): &(&str, Vec<String>)| {
            format!("- {{job_name: {name}, static_configs: [{{targets: {targets:?}}}]}}\n")
        };
        let jobs: String = jobs.iter().map(job).collect();
        let config = format!("global: {global}\nrule_files: [alerts.yml]\nscrape_configs:\n{jobs}");
        std::fs::write(path("prometheus.yml"), config).expect("there is room");
        let address = format!("127.0.0.1:{}", free_ports(1).expect("a free port")[0]);
        let started = Command::new("prometheus")
            .arg("--config.file=prometheus.yml")
            .arg("--storage.tsdb.path=data")
            .arg(format!("--web.listen-address={address}"))
            .arg("--log.level=error")
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .spawn();
        let Ok(child) = started else {
            crate::required::absent("prometheus");
            return None;
        };
        Some(Self {
            child,
            url: format!("http://{address}/api/v1"),
            _dir: dir,
        })
    }

    async fn ask(&self, path: &str) -> Option<Value> {
        let url = format!("{}{path}", self.url);
        let asked = tokio::task::spawn_blocking(move || {
            let text = ureq::get(&url).call().ok()?.body_mut().read_to_string();
            serde_json::from_str(&text.ok()?).ok()
        });
        asked.await.expect("it does not panic")
    }

    /// The labels of each alert that fires.
    async fn firing(&self) -> Option<Vec<Value>> {
        let alerts = self.ask("/alerts").await?;
        let alerts = alerts["data"]["alerts"].as_array()?.clone();
        let firing = alerts
            .into_iter()
            .filter(|alert| alert["state"] == "firing");
        Some(firing.map(|mut alert| alert["labels"].take()).collect())
    }

    /// The names of the alerts that fire, or will if their reason stays; without the one about slow disks, because the tests
    /// beside this one may keep the disk busy.
    async fn active(&self) -> Option<Vec<Value>> {
        let alerts = self.ask("/alerts").await?;
        let alerts = alerts["data"]["alerts"].as_array()?.clone();
        let names = alerts
            .into_iter()
            .map(|mut alert| alert["labels"]["alertname"].take());
        Some(
            names
                .filter(|name| name != "SnapledgerCommitSlow")
                .collect(),
        )
    }

    /// Waits until the rules have been looked at for so long that every alert with a reason fires, and returns those that are
    /// active then.
    async fn active_after(&self, time: Duration) -> Vec<Value> {
        let mut first = None;
        until("further looks at the rules", async || {
            let rules = self.ask("/rules").await?;
            let evaluated = rules["data"]["groups"][0]["lastEvaluation"].as_str()?;
            let evaluated: jiff::Timestamp = evaluated.parse().ok()?;
            let first = *first.get_or_insert(evaluated);
            let looked = Duration::try_from(evaluated.duration_since(first)).ok()?;
            if looked >= time {
                return self.active().await;
            }
            None
        })
        .await
    }

    /// Waits until this many targets have answered, and the rules have been looked at.
    async fn sees(&self, targets: usize) {
        until("all targets and the rules in Prometheus", async || {
            let up = self.ask("/query?query=count(up==1)").await?;
            let up = up["data"]["result"][0]["value"][1].as_str()?.to_owned();
            let rules = self.ask("/rules").await?;
            let rules = rules["data"]["groups"][0]["rules"].as_array()?.clone();
            let mut rules = rules.iter();
            let evaluated = rules.all(|rule| rule["health"] == "ok");
            (up == targets.to_string() && evaluated).then_some(())
        })
        .await;
    }

    /// Waits until an alert fires in a job with this label.
    async fn calls(&self, alert: &str, job: &str, (label, value): (&str, &str)) {
        until(&format!("{alert} in {job}"), async || {
            let firing = self.firing().await?;
            let mut firing = firing.iter();
            let is_it = |labels: &Value| {
                labels["alertname"] == alert && labels["job"] == job && labels[label] == value
            };
            firing.any(is_it).then_some(())
        })
        .await;
    }
}

fn rest_ports(cluster: &Cluster, ids: &[&str]) -> Vec<String> {
    ids.iter().map(|id| cluster.addresses(id).1).collect()
}

// A part of a snapshot that is collected again after it was damaged here.
async fn damage_a_part(cluster: &mut Cluster) {
    cluster.stop("n3").await;
    let rest = cluster.rest("n1");
    let id = rest.start_snapshot().await;
    rest.snapshot(&id, "partial").await;
    let index = newest(cluster, "n1", &id).parts[&process("n2")].state.runs[0].index[0];
    cluster.stop("n1").await;
    spoil(&cluster.store("n1"), "chunks", &index.0);
    cluster.start("n1").await;
    cluster.start("n3").await;
    rest.snapshot(&id, "complete").await;
}

// Its setting is above half of what is free, and below all of it.
async fn fill_the_disk(cluster: &mut Cluster, id: &str) {
    let figures = cluster.rest(id).get("/metrics").await.body;
    let mut lines = figures.lines();
    let free = lines.find_map(|line| line.strip_prefix("snapledger_store_free_bytes "));
    let free: u64 = free.expect("it is reported").parse().expect("a number");
    cluster.stop(id).await;
    cluster.store_settings().free_space_min = free / 4 * 3;
    cluster.start(id).await;
}

async fn lose_a_store(cluster: &mut Cluster) {
    cluster.stop("n2").await;
    cluster.wipe("n2");
    cluster.start("n2").await;
    stopped(cluster, ("n1", "n2"), &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn six_faults_make_prometheus_call_for_each_and_for_nothing_before() {
    let (two, three) = (["n1", "n2"], ["n1", "n2", "n3"]);
    let mut programs = Programs::planned(&two);
    programs.start().await;
    let mut clocks = Cluster::up(&three).await;
    let mut timed = Cluster::planned(&two)
        .with_interval(INTERVAL)
        .started()
        .await;
    timed.connected().await;
    let mut lost = Cluster::up(&two).await;
    lost.deposit("n1", "a", 10).await;
    pay(&lost.rest("n1"), ("n2", "b"), 3).await;
    lost.rest("n2").balance_is("b", 3).await;
    let channels = [("n1", "n2"), ("n2", "n1"), ("n1", "n3"), ("n3", "n1")];
    let damaged = Cluster::planned(&three).with_channels(&channels);
    let mut damaged = damaged.started().await;
    damaged.connected().await;
    damaged.deposit("n2", "b", 2).await;
    let jobs = [
        (
            "killed",
            two.map(|id| programs.rest(id).address().to_owned())
                .to_vec(),
        ),
        ("clocks", rest_ports(&clocks, &three)),
        ("timed", rest_ports(&timed, &two)),
        ("lost", rest_ports(&lost, &two)),
        ("damaged", rest_ports(&damaged, &three)),
    ];
    let Some(prometheus) = Prometheus::watch(&jobs) else {
        return;
    };
    prometheus.sees(12).await;
    let active = prometheus.active_after(Duration::from_secs(3)).await;
    assert_eq!(active, Vec::<Value>::new(), "nothing is wrong yet");

    programs.kill_one("n2");
    clocks.clock("n1").wall.put_off(HOUR_US);
    timed.stop("n2").await;
    fill_the_disk(&mut clocks, "n3").await;
    lose_a_store(&mut lost).await;
    damage_a_part(&mut damaged).await;
    let disk = clocks.addresses("n3").1;
    for (alert, job, label) in [
        ("SnapledgerPeerDown", "killed", ("peer", "n2")),
        ("SnapledgerClockWrong", "clocks", ("process", "n1")),
        (
            "SnapledgerDiskNearlyFull",
            "clocks",
            ("instance", disk.as_str()),
        ),
        (
            "SnapledgerNoCompleteSnapshot",
            "timed",
            ("severity", "page"),
        ),
        ("SnapledgerChannelStopped", "lost", ("to", "n2")),
        (
            "SnapledgerVerificationFailed",
            "damaged",
            ("reason", "damaged"),
        ),
    ] {
        prometheus.calls(alert, job, label).await;
    }
    for mut cluster in [clocks, timed, lost, damaged] {
        cluster.stop_all().await;
    }
}

/// The age of the oldest message survives a restart of its sender, which then has it in the journal alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_waits_is_counted_with_its_age_also_after_a_restart() {
    let mut cluster = Cluster::up(&["n1", "n2"]).await;
    cluster.deposit("n1", "a", 10).await;
    cluster.stop("n2").await;
    let rest = cluster.rest("n1");
    pay(&rest, ("n2", "b"), 3).await;
    let sent = std::time::Instant::now();
    let oldest = async |rest: &Rest, least: Duration| {
        until("a message that waits", async || {
            let figures = rest.get("/metrics").await.body;
            let channel = "{from=\"n1\",to=\"n2\"} ";
            let figure = |name: &str| -> Option<f64> {
                let line = format!("snapledger_{name}{channel}");
                let mut lines = figures.lines();
                let figure = lines.find_map(|one| one.strip_prefix(&line))?;
                figure.parse().ok()
            };
            let oldest = figure("channel_oldest_seconds")?;
            let waits = figure("channel_in_flight_messages") == Some(1.0);
            (waits && oldest >= least.as_secs_f64()).then_some(oldest)
        })
        .await
    };
    oldest(&rest, Duration::from_millis(500)).await;
    cluster.stop("n1").await;
    cluster.start("n1").await;
    let least = sent.elapsed();
    let seconds = oldest(&rest, least).await;
    // The label of its turn is at most a moment older than the answer.
    let most = sent.elapsed() + Duration::from_secs(1);
    assert!(seconds <= most.as_secs_f64(), "{seconds} of {most:?}");
    cluster.start("n2").await;
    until("nothing waits", async || {
        let figures = rest.get("/metrics").await.body;
        let none = "snapledger_channel_oldest_seconds{from=\"n1\",to=\"n2\"} 0.0\n";
        figures.contains(none).then_some(())
    })
    .await;
    cluster.stop_all().await;
}
