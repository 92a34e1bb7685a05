//! `archive check`: reads the archive of a cluster as restores read it, into stores that are thrown away, and says what each restore
//! would give. No node is asked, and nothing is written to the archive.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use indicatif::{BinaryBytes, ProgressBar};
use serde_json::{Value, json};

use super::super::archived::PATIENCE;
use super::super::output::{Report, print};
use super::super::progress::{STEPS, bar};
use super::super::restore::show_of;
use super::super::scratch::within;
use super::super::{CliError, OutputFormat, runtime};
use crate::api::time::rfc3339;
use crate::archive::Objects;
use crate::config::CLUSTER_DEFAULT;
use crate::offsite::Source;
use crate::offsite::past::NotArchived;
use crate::offsite::refill::{NotFilled, Progress};
use crate::offsite::rehearsal::{
    Rehearsed, RehearsedHistory, glance, glance_at_history, processes, rehearse, rehearse_history,
};
use crate::process::ids::ProcessId;
use crate::shipping::segment::Owner;

/// The most sentences about one process.
const WRONG_MAX: usize = 100;

/// The archive, and what of it is read.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The archive, for example s3://BUCKET/PREFIX or file:///DIRECTORY; it is only read.
    #[arg(long, value_name = "URL")]
    archive: String,
    /// The name of the cluster in the archive [default: demo].
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
    /// Check this process alone, without the published revisions. Repeat it for several.
    #[arg(long = "process", value_name = "ID", value_parser = ProcessId::parse)]
    processes: Vec<ProcessId>,
    /// Read nothing but lists, claims and the newest segments: how far each process is, and how much is kept.
    #[arg(long, conflicts_with = "scratch")]
    quick: bool,
    /// The directory for working copies, one at a time, each as large as a restored store. Default: the system's temporary
    /// directory.
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
    /// Output format.
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    output: OutputFormat,
}

/// Why nothing is said of an archive.
#[derive(Debug, thiserror::Error)]
enum NotChecked {
    #[error(transparent)]
    NotArchived(#[from] NotArchived),
    #[error(transparent)]
    NotFilled(#[from] NotFilled),
    #[error("the archive has no process {process} of cluster {cluster}; it has {}", names(.found))]
    NoProcess {
        process: ProcessId,
        cluster: String,
        found: BTreeSet<ProcessId>,
    },
    #[error("{0}")]
    Runtime(CliError),
}

impl From<NotChecked> for CliError {
    fn from(error: NotChecked) -> Self {
        match error {
            NotChecked::Runtime(error) => error,
            error => Self::Refused(format!("not checked: {error}")),
        }
    }
}

/// What a check has found.
struct Checked {
    url: String,
    cluster: String,
    processes: BTreeMap<ProcessId, Rehearsed>,
    /// `None` if only some processes were asked about.
    history: Option<RehearsedHistory>,
    /// Processes that others know and that have nothing in the archive, if all were asked about.
    absent: BTreeSet<ProcessId>,
}

/// Checks, and prints what was found.
pub(super) fn run(args: Args) -> Result<(), CliError> {
    let (output, scratch) = (args.output, args.scratch.clone());
    let shown = bar(0, STEPS);
    let progress = shown.clone();
    let checked = within(scratch.as_deref(), move |dir| {
        let runtime = runtime().map_err(NotChecked::Runtime)?;
        runtime.block_on(check(&args, dir, &progress))
    })?;
    shown.finish_and_clear();
    let checked = checked?;
    match output {
        OutputFormat::Json => print(&format!("{:#}", checked.as_json()))?,
        OutputFormat::Table => checked.as_report().print()?,
    }
    match checked.is_whole() {
        true => Ok(()),
        false => Err(CliError::CheckFailed(
            "a restore from this archive would not give everything; see docs/archive.md, If the archive is damaged".to_owned(),
        )),
    }
}

async fn check(args: &Args, dir: &Path, shown: &ProgressBar) -> Result<Checked, NotChecked> {
    let cluster = args.cluster.as_deref().unwrap_or(CLUSTER_DEFAULT);
    let archive = Objects::open(&args.archive).map_err(NotArchived::from)?;
    let archive = archive.patient(PATIENCE);
    let found = processes(&archive, cluster)
        .await
        .map_err(NotArchived::from)?;
    if found.is_empty() {
        let missing = NotArchived::no_cluster(&archive, cluster).await;
        return Err(missing.map_err(NotArchived::from)?.into());
    }
    if let Some(process) = args.processes.iter().find(|one| !found.contains(*one)) {
        return Err(NotChecked::NoProcess {
            process: process.clone(),
            cluster: cluster.to_owned(),
            found,
        });
    }
    let is_asked =
        |process: &&ProcessId| args.processes.is_empty() || args.processes.contains(*process);
    let mut checked = Checked {
        url: args.archive.clone(),
        cluster: cluster.to_owned(),
        processes: BTreeMap::new(),
        history: None,
        absent: BTreeSet::new(),
    };
    for (number, process) in found.iter().filter(is_asked).enumerate() {
        let owner = Owner {
            cluster: cluster.to_owned(),
            process: process.to_string(),
        };
        let source = Source::new(&archive, owner);
        let told = |progress: Progress| show_of(shown, process.as_str(), progress);
        let rehearsed = match args.quick {
            true => glance(&source, process).await?,
            false => rehearse(&dir.join(number.to_string()), &source, &told).await?,
        };
        checked.absent.extend(rehearsed.peers.iter().cloned());
        checked.processes.insert(process.clone(), rehearsed);
    }
    checked.absent.retain(|process| !found.contains(process));
    if args.processes.is_empty() {
        let told = |progress: Progress| show_of(shown, cluster, progress);
        checked.history = Some(match args.quick {
            true => glance_at_history(&archive, cluster).await?,
            false => rehearse_history(&dir.join("history"), &archive, cluster, &told).await?,
        });
    } else {
        checked.absent.clear();
    }
    Ok(checked)
}

fn names(processes: &BTreeSet<ProcessId>) -> String {
    let names: Vec<&str> = processes.iter().map(ProcessId::as_str).collect();
    names.join(", ")
}

/// What a restore of a process would do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Whole,
    /// Without what is named.
    Partly,
    /// Refused without `--without-messages`.
    WithoutMessages,
    Refused,
    /// No restore was made.
    NotRead,
}

impl Verdict {
    fn of(rehearsed: &Rehearsed) -> Self {
        match &rehearsed.made {
            _ if !rehearsed.is_read => Self::NotRead,
            None => Self::Refused,
            Some(made) if !made.filled.lost_messages.is_empty() => Self::WithoutMessages,
            Some(_) if !rehearsed.wrong.is_empty() => Self::Partly,
            Some(_) => Self::Whole,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Partly => "partly",
            Self::WithoutMessages => "without_messages",
            Self::Refused => "refused",
            Self::NotRead => "not_read",
        }
    }

    // What the damage means; nothing for an archive without any.
    fn meaning(self, rehearsed: &Rehearsed) -> Option<String> {
        let made = rehearsed.made.as_ref().map(|made| &made.filled);
        let turns = made.map(|filled| format!("turns {} to {}", filled.first, filled.end));
        let turns = turns.unwrap_or_default();
        Some(match self {
            Self::Whole => return None,
            Self::NotRead if rehearsed.wrong.is_empty() => return None,
            Self::NotRead => {
                "damaged; a check without --quick says what a restore would give".to_owned()
            }
            Self::Partly => format!("a restore has {turns}, and leaves out what is named"),
            Self::WithoutMessages => format!(
                "a restore is refused; with --without-messages it has {turns}, and what the receivers of these messages do not have \
                 is lost"
            ),
            Self::Refused => match rehearsed.whole_until {
                Some(until) => {
                    format!("a restore is refused; its journal is whole up to turn {until}")
                }
                None => "a restore is refused".to_owned(),
            },
        })
    }
}

impl Checked {
    fn is_whole(&self) -> bool {
        let history = self.history.as_ref();
        self.processes.values().all(|one| one.wrong.is_empty())
            && history.is_none_or(|history| history.wrong.is_empty())
            && self.absent.is_empty()
    }

    fn as_json(&self) -> Value {
        let processes = self.processes.iter();
        let processes: Vec<Value> = processes
            .map(|(process, one)| as_json(process, one))
            .collect();
        let history = self.history.as_ref().map(|history| {
            json!({
                "revisions": history.revisions,
                "lacking": history.lacking,
                "pinned": history.pinned,
                "objects": history.kept.objects,
                "bytes": history.kept.bytes,
                "wrong": history.wrong,
            })
        });
        let absent: Vec<&str> = self.absent.iter().map(ProcessId::as_str).collect();
        json!({
            "archive": self.url,
            "cluster": self.cluster,
            "whole": self.is_whole(),
            "processes": processes,
            "history": history,
            "not_archived": absent,
        })
    }

    fn as_report(&self) -> Report {
        let mut report = Report::default();
        report.line(&format!("cluster {} in {}", self.cluster, self.url));
        let rows = self
            .processes
            .iter()
            .map(|(process, one)| row(process, one));
        let headers = [
            "process",
            "segments",
            "turns",
            "newest",
            "newest state",
            "states",
            "parts",
            "size",
            "restore",
        ];
        report.table(&headers, rows.collect());
        if let Some(history) = &self.history {
            let RehearsedHistory {
                kept,
                revisions,
                lacking,
                pinned,
                ..
            } = history;
            let size = BinaryBytes(kept.bytes);
            report.line(&format!(
                "published revisions: {revisions}; pinned snapshots: {pinned}; {size}"
            ));
            if !lacking.is_empty() {
                report.line("\na restore leaves these out, although nothing of them is damaged:");
                say(&mut report, lacking);
            }
        }
        for (process, one) in &self.processes {
            if let Some(meaning) = Verdict::of(one).meaning(one) {
                report.line(&format!("\n{process}: {meaning}"));
                say(&mut report, &one.wrong);
            }
        }
        if let Some(history) = self
            .history
            .as_ref()
            .filter(|history| !history.wrong.is_empty())
        {
            report.line("\npublished revisions: a restored process asks its peers for those that are not whole here");
            say(&mut report, &history.wrong);
        }
        for process in &self.absent {
            report.line(&format!(
                "\n{process}: others know it, and nothing of it is in this archive. If that is meant, name those that are with --process"
            ));
        }
        report
    }
}

fn say(report: &mut Report, wrong: &[String]) {
    for why in wrong.iter().take(WRONG_MAX) {
        report.line(&format!("  {why}"));
    }
    let more = wrong.len().saturating_sub(WRONG_MAX);
    if more > 0 {
        report.line(&format!("  and {more} more"));
    }
}

fn as_json(process: &ProcessId, one: &Rehearsed) -> Value {
    let made = one.made.as_ref();
    let filled = made.map(|made| &made.filled);
    let kept = one.kept.values();
    json!({
        "process": process.as_str(),
        "restore": Verdict::of(one).name(),
        "starts": one.claims,
        "segments": segments(one),
        "first_turn": filled.map(|filled| filled.first.0),
        "last_turn": filled.map(|filled| filled.end.0),
        "newest": made.map(|made| rfc3339(made.newest.wall_us())),
        "newest_state": filled.and_then(|filled| filled.newest_state).map(|cut| cut.0),
        "states": filled.map(|filled| filled.states),
        "parts": filled.map(|filled| filled.parts),
        "objects": kept.clone().map(|kept| kept.objects).sum::<u64>(),
        "bytes": kept.map(|kept| kept.bytes).sum::<u64>(),
        "whole_until": one.whole_until.map(|turn| turn.0),
        "wrong": one.wrong,
    })
}

fn segments(one: &Rehearsed) -> u64 {
    let segments = one.kept.get(crate::archive::journal::JOURNAL);
    segments.map_or(0, |segments| segments.objects)
}

fn row(process: &ProcessId, one: &Rehearsed) -> Vec<String> {
    let shown = as_json(process, one);
    let cell = |member: &str| super::super::output::cell(shown.get(member));
    let turns = match (&shown["first_turn"], &shown["last_turn"]) {
        (Value::Null, _) => "-".to_owned(),
        (first, last) => format!("{first} to {last}"),
    };
    let size = shown["bytes"].as_u64().unwrap_or_default();
    vec![
        cell("process"),
        cell("segments"),
        turns,
        cell("newest"),
        cell("newest_state"),
        cell("states"),
        cell("parts"),
        BinaryBytes(size).to_string(),
        cell("restore"),
    ]
}
