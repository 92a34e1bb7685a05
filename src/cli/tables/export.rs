//! `tables export`: writes the history of stopped nodes, or of an archive, as tables. A second run adds what is new and rewrites
//! nothing.

use std::path::{Path, PathBuf};

use indicatif::ProgressBar;
use serde_json::json;
use tokio::runtime::Handle as Runtime;
use tokio::sync::watch;
use url::Url;

use super::super::archived::PATIENCE;
use super::super::output::{Report, print};
use super::super::progress::{STEPS, bar};
use super::super::scratch::within;
use super::super::store::{runs, show};
use super::super::{CliError, OutputFormat, runtime};
use super::archived::{ArchivedCluster, NotReplayed};
use crate::archive::{ArchiveError, Objects, probe};
use crate::config::CLUSTER_DEFAULT;
use crate::process::ids::{Lsn, ProcessId};
use crate::store::{CopiedStore, Store, StoreError};
use crate::tables::{Destination, Exporter, RecordedParts, TablesError, Written};

/// The stores, and where the tables are.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Args {
    /// The store of a stopped node, for example data/store/n1; it is only read. Repeat it for each process.
    #[arg(long = "dir", value_name = "DIR", required_unless_present = "archive")]
    dirs: Vec<PathBuf>,
    /// Replay the journals of all processes in this archive instead; it is only read.
    #[arg(long, value_name = "URL", conflicts_with = "dirs")]
    archive: Option<String>,
    /// The name of the cluster in the archive [default: demo].
    #[arg(long, value_name = "NAME", requires = "archive")]
    cluster: Option<String>,
    /// The directory of the tables, or its URL in object storage: s3://BUCKET/PREFIX, gs://…, az://… or file:///DIRECTORY.
    #[arg(long, value_name = "DIR|URL")]
    into: String,
    /// The directory for the working copy of a store, which needs as much space as the store's files. Default: the system's
    /// temporary directory.
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
    /// Output format.
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    output: OutputFormat,
}

/// What was written of one process.
struct Exported {
    cluster: String,
    process: ProcessId,
    position: Lsn,
    written: Written,
}

/// Why the tables of one store were not written.
enum NotExported {
    Store(PathBuf, StoreError),
    Tables(PathBuf, TablesError),
    Archive(NotReplayed),
}

impl From<NotExported> for CliError {
    fn from(error: NotExported) -> Self {
        match error {
            NotExported::Store(_, StoreError::InUse(dir)) => Self::Store(runs(&dir)),
            NotExported::Store(dir, error)
            | NotExported::Tables(dir, TablesError::Store(error)) => Self::of_store(&dir, &error),
            NotExported::Archive(NotReplayed::Store(error)) => Self::Store(error.to_string()),
            NotExported::Archive(error) => Self::Refused(error.to_string()),
            NotExported::Tables(dir, error) => Self::Refused(format!("{}: {error}", dir.display())),
        }
    }
}

/// Exports, and prints what was added.
pub(super) fn run(args: &Args) -> Result<(), CliError> {
    let url = url_of(&args.into)?;
    let refused = |error: ArchiveError| match error {
        ArchiveError::Address { .. } => CliError::Usage(error.to_string()),
        error => CliError::Refused(error.to_string()),
    };
    let objects = Objects::open(&url).map_err(refused)?.patient(PATIENCE);
    let runtime = runtime()?;
    let bar = bar(0, STEPS);
    let work = Work {
        into: objects,
        runtime: runtime.handle().clone(),
        bar: bar.clone(),
    };
    let export = args.clone();
    let archive = args.archive.as_deref().map(Objects::open).transpose();
    let archive = archive.map_err(refused)?;
    let archive = archive.map(|archive| archive.patient(PATIENCE).remembering());
    let exported = within(args.scratch.as_deref(), move |scratch| match archive {
        Some(archive) => {
            let cluster = export.cluster.as_deref().unwrap_or(CLUSTER_DEFAULT);
            work.archived(&archive, cluster, scratch)
        }
        None => {
            let one = |dir: &PathBuf| work.store_in(dir, scratch);
            export.dirs.iter().map(one).collect()
        }
    })?;
    bar.finish_and_clear();
    let exported = exported?;
    match args.output {
        OutputFormat::Json => print(&as_json(&url, &exported)),
        OutputFormat::Table => as_table(&url, &exported).print(),
    }
}

// The URL of a storage; a directory is created.
fn url_of(into: &str) -> Result<String, CliError> {
    if into.contains("://") {
        return Ok(into.to_owned());
    }
    let refused =
        |error: std::io::Error| CliError::Usage(format!("cannot use {into} for tables: {error}"));
    std::fs::create_dir_all(into).map_err(refused)?;
    let directory = std::fs::canonicalize(into).map_err(refused)?;
    let url = Url::from_directory_path(&directory).map_err(|()| {
        CliError::Usage(format!(
            "{} cannot be written as a URL",
            directory.display()
        ))
    })?;
    Ok(url.into())
}

/// Where the tables go, and how.
struct Work {
    into: Objects,
    runtime: Runtime,
    bar: ProgressBar,
}

impl Work {
    fn store_in(&self, dir: &Path, scratch: &Path) -> Result<Exported, NotExported> {
        let copied = CopiedStore::open(dir, scratch, &|step| show(&self.bar, step))
            .map_err(|error| NotExported::Store(dir.to_path_buf(), error))?;
        let mut one = self.exporter(copied.cluster(), copied.process());
        let position = self.export(&mut one, copied.store(), dir)?;
        Ok(Exported {
            cluster: copied.cluster().to_owned(),
            process: copied.process().clone(),
            position,
            written: one.exporter.written(),
        })
    }

    // Which snapshots are complete is known when the journals of all processes are read.
    fn archived(
        &self,
        archive: &Objects,
        cluster: &str,
        scratch: &Path,
    ) -> Result<Vec<Exported>, NotExported> {
        let cluster = ArchivedCluster::find(archive, cluster, &self.runtime);
        let cluster = cluster.map_err(NotExported::Archive)?;
        let processes = cluster.processes();
        let (mut parts, mut exporters) = (RecordedParts::default(), Vec::new());
        for process in &processes {
            self.bar.set_message("replay");
            let dir = tempfile::tempdir_in(scratch)
                .map_err(|error| NotExported::Archive(NotReplayed::Scratch(error)))?;
            let store = cluster
                .replay(process, dir.path(), &self.runtime)
                .map_err(NotExported::Archive)?;
            let mut one = self.exporter(cluster.cluster(), process);
            let position = self.export(&mut one, &store, dir.path())?;
            one.exporter
                .collect_parts(&store, &mut parts)
                .map_err(|error| NotExported::Tables(dir.path().to_path_buf(), error))?;
            exporters.push((process, position, one));
        }
        let mut exported = Vec::new();
        for (process, position, mut one) in exporters {
            let done = one.exporter.export_parts(&parts);
            done.map_err(|error| NotExported::Tables(process.as_str().into(), error))?;
            exported.push(Exported {
                cluster: cluster.cluster().to_owned(),
                process: process.clone(),
                position,
                written: one.exporter.written(),
            });
        }
        Ok(exported)
    }

    fn exporter(&self, cluster: &str, process: &ProcessId) -> Running {
        let destination = Destination {
            objects: self.into.clone(),
            cluster: cluster.to_owned(),
            process: process.clone(),
        };
        // Nothing ends the work but the end of the program, which the tables survive.
        let (ending, ends) = watch::channel(false);
        Running {
            exporter: Exporter::new(destination, self.runtime.clone(), ends),
            _ending: ending,
        }
    }

    fn export(&self, one: &mut Running, store: &Store, dir: &Path) -> Result<Lsn, NotExported> {
        let failed = |error| NotExported::Tables(dir.to_path_buf(), error);
        one.exporter.check_place().map_err(failed)?;
        // Only now that there is something to export.
        let run = uuid::Uuid::new_v4().as_u64_pair().1;
        self.runtime
            .block_on(probe::probe(&self.into, run))
            .map_err(|error| NotExported::Archive(error.into()))?;
        let end = store.journal().position();
        self.bar.set_message("turns");
        self.bar.set_length(end.0);
        let mut step = |position: Lsn| self.bar.set_position(position.0);
        one.exporter.export(store, end, &mut step).map_err(failed)?;
        Ok(end)
    }
}

/// An exporter that nothing ends.
struct Running {
    exporter: Exporter,
    _ending: watch::Sender<bool>,
}

fn as_json(url: &str, exported: &[Exported]) -> String {
    let process = |one: &Exported| {
        let Written {
            entries,
            balances,
            channel_messages,
            snapshots,
            progress,
            files,
            bytes,
        } = one.written;
        json!({
            "process": one.process.as_str(),
            "journal_position": one.position.0,
            "added": {
                "entries": entries,
                "balances": balances,
                "channel_messages": channel_messages,
                "snapshots": snapshots,
                "progress": progress,
            },
            "files": files,
            "bytes": bytes,
        })
    };
    let cluster = exported.first().map(|one| one.cluster.as_str());
    let processes: Vec<_> = exported.iter().map(process).collect();
    let report = json!({"tables": url, "cluster": cluster, "processes": processes});
    format!("{report:#}")
}

fn as_table(url: &str, exported: &[Exported]) -> Report {
    let mut report = Report::default();
    let row = |one: &Exported| {
        let written = one.written;
        let numbers = [
            one.position.0,
            written.entries,
            written.balances,
            written.channel_messages,
            written.snapshots,
            written.files,
            written.bytes,
        ];
        let numbers = numbers.map(|number| number.to_string());
        std::iter::once(one.process.to_string())
            .chain(numbers)
            .collect()
    };
    report.line(&format!("rows added to the tables in {url}"));
    report.table(
        &[
            "process",
            "up to turn",
            "entries",
            "balances",
            "channel_messages",
            "snapshots",
            "files",
            "bytes",
        ],
        exported.iter().map(row).collect(),
    );
    report
}
