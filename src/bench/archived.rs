//! The archive of nodes under measurement: a folder beside their stores, or below a given URL; removed after the measurement.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::{JoinHandle, spawn_blocking};

use super::Bench;
use super::children::Address;
use crate::archive::Objects;
use crate::cli::CliError;
use crate::cli::rest::RestClient;

/// The interval of looks at the lag.
const LOOK_EVERY: Duration = Duration::from_millis(50);
const LAG: &str = "snapledger_archive_lag_seconds ";

/// Options of measurements with an archive.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct ArchiveOptions {
    /// The object storage: s3://BUCKET/PREFIX, gs://…, az://… or file:///DIRECTORY, with credentials in the environment. The
    /// measurement uses a folder of its own in it and removes it [default: a directory beside the stores].
    #[arg(long, value_name = "URL")]
    archive_url: Option<String>,
    /// As `archive.window` of a node.
    #[arg(long, value_name = "COUNT", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    window: u16,
    /// As `archive.linger` of a node.
    #[arg(long, value_name = "DURATION", default_value = "0ms")]
    linger: String,
}

/// The archive of one or more clusters under measurement.
#[derive(Debug, Clone)]
pub(super) struct Archived {
    url: String,
    settings: String,
}

impl ArchiveOptions {
    /// An archive of its own for the clusters of this measurement; `journal` is `archive.journal` of the nodes.
    pub(super) fn archive(&self, bench: &Bench, journal: &str) -> Archived {
        let dir = bench.dir.path();
        let url = match &self.archive_url {
            Some(url) => format!("{}/{}", url.trim_end_matches('/'), folder(dir)),
            None => format!("file://{}/archive", dir.display()),
        };
        let linger = toml::Value::String(self.linger.clone());
        let settings = format!(
            "journal = \"{journal}\"\nwindow = {}\nlinger = {linger}\n",
            self.window
        );
        Archived { url, settings }
    }

    /// The options and their values, for a report.
    pub(super) fn shown(&self) -> serde_json::Value {
        let url = self.archive_url.as_deref().unwrap_or("file");
        let (scheme, _) = url.split_once(':').unwrap_or((url, ""));
        serde_json::json!({"storage": scheme, "window": self.window, "linger": self.linger})
    }
}

impl Archived {
    /// The URL for the cluster whose stores are in a directory.
    pub(super) fn of_cluster(&self, dir: &Path) -> Result<String, CliError> {
        let url = format!("{}/{}", self.url, folder(dir));
        if let Some(path) = url.strip_prefix("file://") {
            std::fs::create_dir_all(path).map_err(CliError::Runtime)?;
        }
        Ok(url)
    }

    /// The table `[archive]` for this URL.
    pub(super) fn table(&self, url: &str) -> String {
        let url = toml::Value::String(url.to_owned());
        format!("[archive]\nurl = {url}\n{}", self.settings)
    }

    /// Removes everything that the clusters have put there.
    pub(super) async fn remove(self) -> Result<(), CliError> {
        if let Some(path) = self.url.strip_prefix("file://") {
            return match std::fs::remove_dir_all(path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    Err(CliError::Runtime(error))
                }
                _ => Ok(()),
            };
        }
        let failed = |error: &dyn std::fmt::Display| CliError::CheckFailed(error.to_string());
        let objects = Objects::open(&self.url).map_err(|error| failed(&error))?;
        objects.delete_all().await.map_err(|error| failed(&error))
    }
}

// Unique, because temporary directories are.
fn folder(dir: &Path) -> String {
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    format!("bench-{}", name.trim_start_matches('.'))
}

/// The lag of a node in seconds, as its metrics say it.
pub(super) fn lag(node: &RestClient) -> Result<f64, CliError> {
    let text = node.text("/metrics")?;
    let value = text.lines().find_map(|line| line.strip_prefix(LAG));
    let value = value.and_then(|value| value.trim().parse().ok());
    value.ok_or_else(|| CliError::CheckFailed("a node without an archive".to_owned()))
}

/// The greatest lag of a node, observed until stopped.
pub(super) struct LagWatch {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Result<f64, CliError>>,
}

impl LagWatch {
    pub(super) fn start(node: &Address) -> Result<Self, CliError> {
        let stop = Arc::<AtomicBool>::default();
        let (rest, ends) = (node.rest_client()?, Arc::clone(&stop));
        let task = spawn_blocking(move || {
            let mut greatest: f64 = 0.0;
            while !ends.load(Ordering::Relaxed) {
                greatest = greatest.max(lag(&rest)?);
                std::thread::sleep(LOOK_EVERY);
            }
            Ok(greatest)
        });
        Ok(Self { stop, task })
    }

    /// The greatest lag so far, in seconds.
    pub(super) async fn stop(self) -> Result<f64, CliError> {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.task.await;
        ended.map_err(|error| CliError::CheckFailed(error.to_string()))?
    }
}

/// Waits until the archive has everything that a node has.
pub(super) async fn caught_up(node: &Address) -> Result<(), CliError> {
    let rest = node.rest_client()?;
    let waiting = spawn_blocking(move || {
        while lag(&rest)? > 0.0 {
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(())
    });
    let waited = waiting.await;
    waited.map_err(|error| CliError::CheckFailed(error.to_string()))?
}
