//! `benches/postgres.sh`: the same workloads on PostgreSQL. The script starts its own server and stops it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, Command};

use super::Bench;
use super::figures::Spread;
use crate::cli::CliError;

const SCRIPT: &str = "benches/postgres.sh";
/// The exit code of the script if PostgreSQL is not available.
const NONE_HERE: i32 = 69;
/// The time limit for the script to stop its server.
const STOP_MAX: Duration = Duration::from_secs(15);
const STOP_POLL: Duration = Duration::from_millis(20);

/// The script.
pub(super) struct Postgres {
    script: PathBuf,
    /// The parent of the server's data directory.
    within: Option<PathBuf>,
}

/// The results of the script.
#[derive(Debug)]
pub(super) struct Rates {
    /// The version of PostgreSQL.
    pub(super) version: String,
    pub(super) all: Vec<Rate>,
}

/// The rate of one workload with `clients` clients.
#[derive(Debug, Clone)]
pub(super) struct Rate {
    pub(super) what: String,
    pub(super) clients: u64,
    pub(super) per_second: Spread,
}

impl Postgres {
    /// The given script, or that of the repository around this program or the current directory.
    pub(super) fn find(bench: &Bench, given: Option<&Path>) -> Result<Self, CliError> {
        let script = match given {
            Some(script) if script.is_file() => script.to_owned(),
            Some(script) => {
                return Err(CliError::Usage(format!(
                    "--script: {} is not a file; name {SCRIPT} of the repository",
                    script.display()
                )));
            }
            None => beside().ok_or_else(|| {
                CliError::Usage(format!(
                    "{SCRIPT} is neither here nor beside this program; name it with --script PATH"
                ))
            })?,
        };
        Ok(Self {
            script,
            within: bench.within.clone(),
        })
    }

    /// Runs the script with these options; `None` if PostgreSQL is not available, which the script has reported on
    /// stderr.
    pub(super) async fn measure(&self, options: &str) -> Result<Option<Rates>, CliError> {
        let mut command = Command::new("bash");
        command.arg(&self.script).args(options.split_whitespace());
        command.args(["--output", "json"]);
        if let Some(dir) = &self.within {
            command.arg("--dir").arg(dir);
        }
        // Ctrl-C does not reach its process group; this command stops it and waits.
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .process_group(0);
        // The allocator of this program has disabled huge pages for itself and its children; PostgreSQL may use them.
        rustix::thread::disable_transparent_huge_pages(false)
            .map_err(|error| CliError::Runtime(error.into()))?;
        let mut running = Running(command.spawn().map_err(CliError::Runtime)?);
        let mut json_text = String::new();
        if let Some(stdout) = &mut running.0.stdout {
            let read = stdout.read_to_string(&mut json_text).await;
            read.map_err(CliError::Runtime)?;
        }
        let status = running.0.wait().await.map_err(CliError::Runtime)?;
        if status.code() == Some(NONE_HERE) {
            return Ok(None);
        }
        let script = self.script.display();
        if !status.success() {
            return Err(CliError::CheckFailed(format!("{script}: {status}")));
        }
        let rates = serde_json::from_str(&json_text)
            .ok()
            .and_then(|json_text| Rates::read(&json_text));
        let odd =
            || CliError::CheckFailed(format!("cannot parse the output of {script}: {json_text}"));
        rates.ok_or_else(odd).map(Some)
    }
}

/// The script of the repository around the current directory or around this program.
fn beside() -> Option<PathBuf> {
    let program = std::env::current_exe().ok();
    let here = std::env::current_dir().ok();
    let around = [here, program];
    let mut dirs = around
        .iter()
        .flatten()
        .flat_map(|path| path.ancestors().take(4));
    dirs.find_map(|dir| Some(dir.join(SCRIPT)).filter(|script| script.is_file()))
}

impl Rate {
    pub(super) fn json(&self) -> Value {
        json!({
            "what": self.what,
            "clients": self.clients,
            "per_second": self.per_second.json(),
        })
    }
}

impl Rates {
    fn read(json_text: &Value) -> Option<Self> {
        let rate = |figure: &Value| {
            Some(Rate {
                what: figure["what"].as_str()?.to_owned(),
                clients: figure["clients"].as_u64()?,
                per_second: Spread::read(&figure["per_second"])?,
            })
        };
        Some(Self {
            version: json_text["version"].as_str()?.to_owned(),
            all: json_text["figures"]
                .as_array()?
                .iter()
                .map(rate)
                .collect::<Option<_>>()?,
        })
    }
}

/// The running script.
struct Running(Child);

impl Drop for Running {
    // After a signal there is no ordered stop. The script must remove its server before this program ends.
    fn drop(&mut self) {
        let id = self.0.id().and_then(|id| i32::try_from(id).ok());
        let Some(id) = id.and_then(Pid::from_raw) else {
            return;
        };
        let _ = kill_process(id, Signal::TERM);
        let told = Instant::now();
        while matches!(self.0.try_wait(), Ok(None)) && told.elapsed() < STOP_MAX {
            std::thread::sleep(STOP_POLL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read() {
        let spread = json!({"median": 2.0, "min": 1.0, "max": 3.0});
        let figure = json!({"what": "bulk", "clients": 4, "per_second": spread});
        let rates = Rates::read(&json!({"version": "15.1", "figures": [figure]}));
        let rates = rates.expect("all is there");
        assert_eq!(rates.version, "15.1");
        assert_eq!(
            (rates.all[0].clients, rates.all[0].per_second.max),
            (4, 3.0)
        );
        assert!(Rates::read(&json!({"version": "15.1", "figures": [{}]})).is_none());
    }
}
