//! `restore`: makes a new cluster from a complete snapshot, taken from the history of a stopped node or an exported
//! file; or a new store for one process from the data of its peers.
//!
//! Everything is made in a staging directory and moved into place in one step, so the destination never holds part of a
//! cluster.

mod archived;
mod at_instant;
mod rebuilt;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use toml::Spanned;

pub(super) use archived::{restore_itself, show_of};

use super::CliError;
use super::destination::Destination;
use super::instant::{INSTANT, INSTANT_OR_AGE, at, since};
use super::output::Report;
use super::snapshot::verify;
use crate::api::{ITS_ID_IS_LATEST, LATEST};
use crate::config::cluster_file::{
    ClockBlock, ClusterFile, HistoryBlock, ProcessBlock, SnapshotBlock, StoreBlock,
};
use crate::config::{ApiBlock, ArchiveBlock, CurrencyBlock, LimitsBlock};
use crate::history::global::GlobalState;
use crate::process::ids::{ChannelId, ProcessId, SnapshotId};
use crate::store::{CopiedStore, Export, GlobalStateAudit, Restored, StoreError};

/// Create a new cluster from a complete snapshot, or a new store for a process whose store is lost.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The snapshot, in the history of the store named by --from; `latest` is the newest complete one.
    #[arg(
        long,
        value_name = "ID|latest",
        requires = "from",
        required_unless_present_any = ["file", "process", "archive"]
    )]
    snapshot: Option<String>,
    /// The store of a stopped node, for example data/store/n1; it is only read. With --process, the stores of all other
    /// processes, each with its own --from.
    #[arg(long, value_name = "DIR")]
    from: Vec<PathBuf>,
    /// Rebuild only this process's store, which is lost, from the newest complete snapshot that the others hold (or
    /// --snapshot); the transfers since then that they know of are booked in the account suspense.
    #[arg(long, value_name = "ID", conflicts_with = "file", value_parser = ProcessId::parse)]
    process: Option<ProcessId>,
    /// The archive of the cluster: restore the store of --process from its archived journal, to the last archived turn; or, with
    /// --at, the stores of all processes.
    #[arg(
        long,
        value_name = "URL",
        conflicts_with_all = ["snapshot", "from", "file", "scratch"]
    )]
    archive: Option<String>,
    /// The instant to which all processes are restored from the archive, for example 2026-01-31T12:00:00Z or -5m.
    #[arg(
        long,
        value_name = INSTANT,
        requires = "archive",
        conflicts_with = "process",
        allow_hyphen_values = true,
        value_parser = at
    )]
    at: Option<String>,
    /// Take a process whose archived journal ends before --at as it was at its end: one that had stopped for good by then.
    #[arg(long, requires = "at")]
    short: bool,
    /// With --archive and --process: leave out what retention would have deleted before an instant (2026-01-31, or -30d before
    /// now), or at an age, back from the newest archived state (30d) [default: the history.max_age of the lost process].
    #[arg(
        long,
        value_name = INSTANT_OR_AGE,
        requires_all = ["archive", "process"],
        allow_hyphen_values = true,
        value_parser = since
    )]
    since: Option<String>,
    /// With --archive and --process: take the process over although it still ships its journal; it then stops by itself.
    #[arg(long, requires = "archive", conflicts_with = "at")]
    take_over: bool,
    /// Restore from a damaged archive although messages are missing in it that were not acknowledged. If their receiver does
    /// not have them, they are lost.
    #[arg(long, requires = "archive")]
    without_messages: bool,
    /// The name of the cluster in the archive [default: demo].
    #[arg(long, value_name = "NAME", requires = "archive")]
    cluster: Option<String>,
    /// An exported snapshot, instead of --snapshot and --from.
    #[arg(long, value_name = "EXPORT", conflicts_with_all = ["snapshot", "from"])]
    file: Option<PathBuf>,
    /// Destination of the new cluster or store: an empty or new directory.
    #[arg(long, value_name = "DIR")]
    into: PathBuf,
    /// The directory for the working copy of the store. Default: the system's temporary directory.
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
}

/// Restores, and prints what was made and how to start it.
///
/// # Errors
/// [`CliError`]: the destination is not empty (checked before anything is read); the snapshot is not complete or its
/// figures are wrong; a store cannot be read or written.
pub fn run(args: &Args) -> Result<(), CliError> {
    if let Some(url) = &args.archive {
        return match (&args.process, &args.at) {
            (Some(process), _) => archived::run(args, url, process),
            (None, Some(at)) => at_instant::run(args, url, at),
            (None, None) => Err(CliError::Usage(
                "--archive needs --process, to restore one store, or --at, to restore the cluster to an instant"
                    .to_owned(),
            )),
        };
    }
    if let Some(process) = &args.process {
        if args.from.is_empty() {
            let sentence =
                "--process needs the stores of the others (--from) or an archive (--archive)";
            return Err(CliError::Usage(sentence.to_owned()));
        }
        return rebuilt::run(args, process);
    }
    let destination = Destination::check("--into", &args.into)?;
    let source = Source::open(args)?;
    let state = source.state();
    let names = restorable(state)?;
    let audit = source.audit()?;
    if let Some(wrong) = audit.wrong.first() {
        return Err(CliError::CheckFailed(format!("not restored: {wrong}")));
    }
    let staged = destination.stage()?;
    let made = source.restore(staged.dir()).map_err(|error| bad(&error))?;
    let file = cluster_file(
        source.cluster(),
        &names,
        &channels_of(state),
        destination.dir(),
    );
    staged.write("cluster.toml", &file)?;
    staged.move_into_place()?;
    report(state, &made, &names, destination.dir()).print()
}

enum Source {
    Store(Box<CopiedStore>, crate::store::Published),
    Export(Box<Export>),
}

impl Source {
    fn open(args: &Args) -> Result<Self, CliError> {
        if let Some(file) = &args.file {
            return Ok(Self::Export(Box::new(verify::open(file)?)));
        }
        let ([dir], Some(snapshot)) = (&*args.from, &args.snapshot) else {
            let sentence =
                "name a snapshot with --snapshot and one store with --from, or a file with --file";
            return Err(CliError::Usage(sentence.to_owned()));
        };
        let scratch = args.scratch.clone().unwrap_or_else(std::env::temp_dir);
        let of_store = |error| CliError::of_store(dir, &error);
        let store = CopiedStore::open(dir, &scratch, &|_| {}).map_err(of_store)?;
        let snapshot = &named(&store, snapshot, dir)?;
        let published = store.published(snapshot).map_err(of_store)?;
        let published = published.ok_or_else(|| {
            if store.is_deleted(snapshot) {
                return CliError::Refused(format!(
                    "snapshot {snapshot} was deleted from the history of {} by retention (age or count); use a node \
                     where it is pinned, or an export (--file)",
                    dir.display()
                ));
            }
            CliError::Refused(format!(
                "there is no snapshot {snapshot} in the history of {}; `snapshot list` lists the snapshots of a node",
                dir.display()
            ))
        })?;
        Ok(Self::Store(Box::new(store), published))
    }

    fn state(&self) -> &GlobalState {
        match self {
            Self::Store(_, published) => &published.state,
            Self::Export(export) => &export.published().state,
        }
    }

    fn cluster(&self) -> &str {
        match self {
            Self::Store(store, _) => store.cluster(),
            Self::Export(export) => export.cluster(),
        }
    }

    fn audit(&self) -> Result<GlobalStateAudit, CliError> {
        match self {
            Self::Store(store, published) => store.audit(published).map_err(|error| bad(&error)),
            Self::Export(export) => {
                let audit = export.audit();
                audit.map_err(|error| CliError::CheckFailed(format!("not restored: {error}")))
            }
        }
    }

    fn restore(&self, dir: &Path) -> Result<Vec<Restored>, StoreError> {
        match self {
            Self::Store(store, published) => store.restore(published, dir),
            Self::Export(export) => export.restore(dir),
        }
    }
}

// As in other commands, except that `latest` is the newest snapshot that can be restored.
fn named(store: &CopiedStore, text: &str, dir: &Path) -> Result<SnapshotId, CliError> {
    let parse =
        |text| SnapshotId::parse(text).map_err(|why| CliError::Usage(format!("--snapshot: {why}")));
    match text {
        LATEST => store.newest_complete().ok_or_else(|| {
            let dir = dir.display();
            CliError::Refused(format!(
                "there is no complete snapshot in the history of {dir}"
            ))
        }),
        ITS_ID_IS_LATEST => parse(LATEST),
        text => parse(text),
    }
}

fn bad(error: &StoreError) -> CliError {
    CliError::Store(error.to_string())
}

// The processes, if none is missing and each id is valid as a directory name.
fn restorable(state: &GlobalState) -> Result<Vec<&ProcessId>, CliError> {
    if !state.is_complete() {
        let missing = state.missing().iter();
        let missing: Vec<_> = missing.map(|one| one.process.to_string()).collect();
        let open = state.open_channels().iter();
        let open: Vec<_> = open.map(ToString::to_string).collect();
        let why = match missing.is_empty() {
            false => format!("missing processes: {}", missing.join(", ")),
            true => format!("unfinished channels: {}", open.join(", ")),
        };
        let (snapshot, revision) = (&state.snapshot, state.revision);
        return Err(CliError::Refused(format!(
            "snapshot {snapshot} is partial (revision {revision}): {why}; only a complete one is restored"
        )));
    }
    named_as_directories(state.parts.keys().collect())
}

// Each id must be valid as a directory name.
fn named_as_directories(names: Vec<&ProcessId>) -> Result<Vec<&ProcessId>, CliError> {
    let is_name = |process: &&&ProcessId| {
        let text = process.as_str();
        !text.contains('/') && !text.starts_with('.') && text != "cluster.toml"
    };
    match names.iter().find(|process| !is_name(process)) {
        Some(process) => Err(CliError::Usage(format!(
            "the id of process {process:?} cannot be used as a directory name"
        ))),
        None => Ok(names),
    }
}

// Those on which each process has received.
fn channels_of(state: &GlobalState) -> BTreeSet<ChannelId> {
    let parts = state.parts.iter();
    let channels = parts.flat_map(|(to, part)| {
        let origins = part.state.delivered.keys();
        origins.map(|from| ChannelId {
            from: from.clone(),
            to: to.clone(),
        })
    });
    channels.collect()
}

const HOST: &str = "127.0.0.1";
/// The first gRPC and REST ports, the same as the defaults of `cluster`.
const PORTS: (u16, u16) = (7101, 7201);

// The cluster file of the new cluster on this machine. Names, channels and directories are final; addresses are
// defaults to be edited.
fn cluster_file(
    cluster: &str,
    processes: &[&ProcessId],
    channels: &BTreeSet<ChannelId>,
    dir: &Path,
) -> ClusterFile {
    let spanned = |text: &str| Spanned::new(0..0, text.to_owned());
    let address =
        |first: u16, index: u16| spanned(&format!("{HOST}:{}", first.saturating_add(index)));
    let block = |(process, index): (&&ProcessId, u16)| ProcessBlock {
        id: spanned(process.as_str()),
        grpc: address(PORTS.0, index),
        rest: Some(address(PORTS.1, index)),
        advertise: None,
        advertise_rest: None,
        dir: Some(dir.join(process.as_str())),
        transport: None,
    };
    let pair = |channel: &ChannelId| {
        let ChannelId { from, to } = channel;
        Spanned::new(0..0, vec![from.to_string(), to.to_string()])
    };
    let is_full = channels.len() == processes.len() * processes.len().saturating_sub(1);
    ClusterFile {
        cluster: spanned(cluster),
        channels: (!is_full).then(|| Spanned::new(0..0, channels.iter().map(pair).collect())),
        processes: processes.iter().zip(0..).map(block).collect(),
        snapshot: SnapshotBlock {
            interval: Some(spanned("60s")),
            deadline: Some(spanned("5s")),
            open_max: None,
        },
        store: StoreBlock::default(),
        history: HistoryBlock::default(),
        clock: ClockBlock::default(),
        limits: LimitsBlock::default(),
        currency: CurrencyBlock::default(),
        otel: None,
        archive: ArchiveBlock::default(),
        tls: None,
        api: ApiBlock::default(),
        auth: None,
    }
}

fn report(state: &GlobalState, made: &[Restored], names: &[&ProcessId], dir: &Path) -> Report {
    let mut report = Report::default();
    let snapshot = &state.snapshot;
    report.line(&format!(
        "snapshot {snapshot} is restored into {}",
        dir.display()
    ));
    let rows = made.iter().map(|one| {
        vec![
            one.process.to_string(),
            one.accounts.to_string(),
            one.balance_total.to_string(),
            one.carried.to_string(),
            one.carried_amount.to_string(),
        ]
    });
    let headers = [
        "process",
        "accounts",
        "balances",
        "messages in flight",
        "amount",
    ];
    report.table(&headers, rows.collect());
    let balances: i128 = made.iter().map(|one| one.balance_total).sum();
    let in_flight: i128 = made.iter().map(|one| one.carried_amount).sum();
    report.line(&format!(
        "{} minor units in total, {balances} in accounts and {in_flight} in flight",
        balances + in_flight
    ));
    say_how_to_start(&mut report, names, dir);
    report
}

fn say_how_to_start(report: &mut Report, names: &[&ProcessId], dir: &Path) {
    let shown = dir.display();
    let numbered = (1..=names.len()).map(|number| format!("n{number}"));
    let numbered: Vec<String> = numbered.collect();
    let is_local = names
        .iter()
        .all(|name| numbered.iter().any(|one| one == name.as_str()));
    if is_local {
        let count = names.len();
        report.line(&format!(
            "start it with: snapledger cluster --nodes {count} --dir {shown}"
        ));
        report
            .line("its ports are those of --grpc-port and --rest-port, whatever cluster.toml says");
    } else {
        report.line("start each of its nodes with:");
        for name in names {
            report.line(&format!(
                "  snapledger node --config {shown}/cluster.toml --id {name}"
            ));
        }
    }
}
