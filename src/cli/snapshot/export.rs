//! `snapshot export`: a published snapshot as one file.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::path_of;
use crate::cli::CliError;
use crate::cli::output::{OutputFormat, print};
use crate::cli::rest::{RestClient, RestOptions};
use crate::process::ids::SnapshotId;
use crate::store::{Export, ExportError};

/// The end of the names of exports.
pub(super) const EXTENSION: &str = "snapledger";

/// Which snapshot, and whither.
#[derive(Debug, clap::Args)]
pub(super) struct ExportArgs {
    /// The snapshot.
    #[arg(value_parser = SnapshotId::parse)]
    id: SnapshotId,
    /// The file; one of that name is replaced once the new one is whole [default: ID.snapledger].
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    rest: RestOptions,
}

/// Exports, and says what the file holds. Until it is whole, no file has its name.
pub(super) fn run(args: &ExportArgs) -> Result<(), CliError> {
    let out = match &args.out {
        Some(out) => out.clone(),
        None => default_name(&args.id)?,
    };
    let dir = out.parent().filter(|dir| !dir.as_os_str().is_empty());
    let dir = dir.unwrap_or_else(|| Path::new("."));
    let unwritable = |error: &dyn std::fmt::Display| {
        CliError::Usage(format!(
            "cannot write {}: {error}; name another file with --out",
            out.display()
        ))
    };
    if out.is_dir() {
        return Err(unwritable(&"it is a directory"));
    }
    let mut file = NamedTempFile::new_in(dir).map_err(|error| unwritable(&error))?;
    let export = fetch(&args.rest.rest, &args.id, &mut file)?;
    file.as_file().sync_all()?;
    let file = file
        .persist(&out)
        .map_err(|error| unwritable(&error.error))?;
    let bytes = file.metadata()?.len();
    report(args, &out, (&export, bytes))
}

/// Asks a node for the export of a snapshot, and opens it.
pub(super) fn fetch(
    rest: &str,
    id: &SnapshotId,
    file: &mut NamedTempFile,
) -> Result<Export, CliError> {
    let path = format!("{}/export", path_of(id.as_str()));
    RestClient::new(rest)?.download(&path, file)?;
    file.flush()?;
    let export = Export::open(file.path()).map_err(|error| match error {
        ExportError::Io(error) => CliError::Output(error),
        other => CliError::CheckFailed(format!("what {rest} sent is not whole: {other}")),
    })?;
    let sent = &export.published().state.snapshot;
    if sent != id {
        return Err(CliError::CheckFailed(format!(
            "{rest} was asked for snapshot {id} and sent {sent}"
        )));
    }
    Ok(export)
}

fn default_name(id: &SnapshotId) -> Result<PathBuf, CliError> {
    let text = id.as_str();
    if text.contains('/') || text.starts_with(['.', '-']) {
        return Err(CliError::Usage(format!(
            "{text:?} is no name for a file; name one with --out"
        )));
    }
    Ok(PathBuf::from(format!("{text}.{EXTENSION}")))
}

fn report(args: &ExportArgs, out: &Path, (export, bytes): (&Export, u64)) -> Result<(), CliError> {
    let published = export.published();
    let (state, root) = (&published.state, published.root);
    if args.rest.output == OutputFormat::Json {
        return print(&format!(
            "{:#}",
            serde_json::json!({
                "file": out,
                "bytes": bytes,
                "snapshot_id": state.snapshot.as_str(),
                "status": state.status(),
                "revision": state.revision,
                "root": root.to_string(),
            })
        ));
    }
    let (id, status, revision) = (&state.snapshot, state.status(), state.revision);
    let file = out.display();
    print(&format!(
        "{file}: snapshot {id}, {status}, revision {revision}, {bytes} bytes, root {root}\n\
         check it anywhere with: snapledger snapshot verify {file}"
    ))?;
    for missing in state.missing() {
        let (process, why) = (&missing.process, missing.reason.as_str());
        print(&format!("process {process} is not in it ({why})"))?;
    }
    Ok(())
}
