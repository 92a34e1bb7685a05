//! `snapshot verify`: recomputes everything that a snapshot claims, offline from a file, from the export of a node, or from the
//! archive, without trusting the sums that a node has stated.

use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::archived::{ArchiveOptions, Journals, NotCompared};
use super::export::fetch;
use super::root::{ROOT_UNCHECKED, check_root, root};
use super::subject::no_export;
use super::verified::unchecked;
use super::{Revision, proven, verified};
use crate::cli::CliError;
use crate::cli::OutputFormat;
use crate::cli::output::{Report, print};
use crate::cli::rest::RestOptions;
use crate::process::ids::{Hash, SnapshotId};
use crate::store::{Export, ExportError, GlobalStateAudit};

/// The subject to verify.
#[derive(Debug, clap::Args)]
pub(in crate::cli::snapshot) struct VerifyArgs {
    /// An exported file; or a snapshot (or `latest`), which is fetched from a node, or from the archive.
    #[arg(value_name = "FILE|ID", required_unless_present = "proof")]
    subject: Option<String>,
    /// Check the proof of one balance instead, as served under `…/balances/{process}/{account}/proof`.
    #[arg(long, value_name = "FILE", conflicts_with = "subject")]
    proof: Option<PathBuf>,
    #[command(flatten)]
    archive: ArchiveOptions,
    #[command(flatten)]
    revision: Revision,
    /// The expected root hash; with it the result does not depend on trusting the source.
    #[arg(long, value_name = "HEX", value_parser = root)]
    root: Option<Hash>,
    #[command(flatten)]
    rest: RestOptions,
}

/// Verifies, prints the result, and fails with the first fault.
pub(in crate::cli::snapshot) fn run(args: &VerifyArgs) -> Result<(), CliError> {
    if args.revision.revision.is_some() && args.is_of_a_file() {
        return Err(CliError::Usage(
            "--revision: a file holds one revision; give the id of a snapshot with it".to_owned(),
        ));
    }
    if let Some(file) = &args.proof {
        return proven::run(file, args.root, args.rest.output);
    }
    let subject = args.subject.as_deref().unwrap_or_default();
    let path = Path::new(subject);
    let mut journals = Journals::new();
    let (export, _fetched) = if args.archive.is_given() {
        let found = args.archive.read(subject, &args.revision)?;
        journals = found.journals;
        (found.export, None)
    } else if is_file(path) {
        (open(path)?, None)
    } else {
        SnapshotId::parse(subject)
            .map_err(|why| CliError::Usage(format!("{subject}: no such file, and {why}")))?;
        let mut file = NamedTempFile::new()?;
        let export = fetch(&args.rest, subject, &args.revision, &mut file);
        let export = export.map_err(|error| no_file_either(subject, error))?;
        (export, Some(file))
    };
    let mut audit = export.audit().map_err(|error| failed(path, &error))?;
    for (process, journal) in &journals {
        if let Ok(share) = journal {
            audit.compare_with_journal(process, &share.totals);
        }
    }
    match args.rest.output {
        OutputFormat::Json => print(&verified::json(&export, &audit, &journals, args.root))?,
        OutputFormat::Table => as_table(&export, &audit, &journals, args.root).print()?,
    }
    let is_damaged =
        |journal: &Result<_, NotCompared>| matches!(journal, Err(NotCompared::Damaged(_)));
    let damaged = journals.iter().find(|(_, journal)| is_damaged(journal));
    match (audit.wrong.first(), damaged) {
        (Some(wrong), _) => Err(CliError::CheckFailed(wrong.to_string())),
        (None, Some((_, Err(damaged)))) => Err(CliError::CheckFailed(damaged.to_string())),
        (None, _) => check_root(args.root, export.published().root),
    }
}

impl VerifyArgs {
    fn is_of_a_file(&self) -> bool {
        let subject = self.subject.as_deref().map(Path::new);
        let subject = subject.filter(|_| !self.archive.is_given());
        self.proof.is_some() || subject.is_some_and(is_file)
    }
}

/// The error when a word is neither a file nor a known snapshot.
fn no_file_either(subject: &str, error: CliError) -> CliError {
    let prefix = format!("there is no file {subject}, so it was read as the id of a snapshot: ");
    match error {
        CliError::Answered {
            status,
            kind,
            sentence,
        } => CliError::Answered {
            status,
            kind,
            sentence: prefix + &sentence,
        },
        CliError::Unreachable { .. } | CliError::Silent { .. } => {
            CliError::CheckFailed(prefix + &error.to_string())
        }
        other => other,
    }
}

// A word with a path separator or with the extension of an export is a file name, even if the file does not exist.
fn is_file(path: &Path) -> bool {
    path.exists()
        || path.components().count() > 1
        || path
            .extension()
            .is_some_and(|end| end == super::export::EXTENSION)
}

/// Opens an exported file.
pub(in crate::cli) fn open(path: &Path) -> Result<Export, CliError> {
    Export::open(path).map_err(|error| match error {
        ExportError::Io(source) => CliError::Unreadable {
            path: PathBuf::from(path),
            source,
        },
        other => no_export(path, failed(path, &other)),
    })
}

fn failed(path: &Path, error: &ExportError) -> CliError {
    CliError::CheckFailed(format!("{}: {error}", path.display()))
}

fn as_table(
    export: &Export,
    audit: &GlobalStateAudit,
    journals: &Journals,
    expected: Option<Hash>,
) -> Report {
    let state = &audit.recomputed;
    let mut report = Report::default();
    let how = match audit.wrong.is_empty() {
        true => "holds",
        false => "does not hold",
    };
    let (id, status, revision) = (&state.snapshot, state.status(), state.revision);
    report.line(&format!(
        "snapshot {id}, {status}, revision {revision}, {how}: {} figures compared, {} chunks read",
        audit.compared,
        export.chunks()
    ));
    let root = export.published().root;
    report.line(&match expected {
        None => format!("root {root}; {ROOT_UNCHECKED}"),
        Some(expected) if expected == root => format!("root {root}, as given with --root"),
        Some(expected) => format!("root {root}, not {expected}, as given with --root"),
    });
    for wrong in &audit.wrong {
        report.line(&format!("wrong: {wrong}"));
    }
    let rows = state.parts.values().map(|part| {
        vec![
            part.process.to_string(),
            part.state.accounts.to_string(),
            part.state.balance_total.to_string(),
            part.state.position.to_string(),
        ]
    });
    let headers = ["process", "accounts", "balances", "position"];
    report.table(&headers, rows.collect());
    let totals = state.totals();
    report.line(&format!(
        "{} in balances and {} in flight; {} deposited, {} withdrawn",
        totals.balances, totals.in_flight, totals.deposits, totals.withdrawals
    ));
    report.line(match audit.verification.conserved {
        Some(true) => "no money was lost or made",
        Some(false) => "the sums contradict each other",
        None => {
            "conservation cannot be checked: processes are missing, or do not state their figures"
        }
    });
    let compared = journals.values().filter(|journal| journal.is_ok()).count();
    if compared > 0 {
        report.line(&format!(
            "compared with the archived journals of {compared} processes up to the cut"
        ));
    }
    for what in unchecked(state, journals) {
        report.line(&format!("not checked: {what}"));
    }
    report
}
