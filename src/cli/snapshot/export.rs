//! `snapshot export`: writes a published snapshot to one file.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::{Revision, path_of};
use crate::api::{ITS_ID_IS_LATEST, LATEST};
use crate::cli::CliError;
use crate::cli::OutputFormat;
use crate::cli::output::print;
use crate::cli::rest::{RestOptions, given};
use crate::store::{Export, ExportError};

/// The file extension of exports.
pub(super) const EXTENSION: &str = "snapledger";

/// Snapshot and destination.
#[derive(Debug, clap::Args)]
pub(super) struct ExportArgs {
    /// The snapshot, or `latest`.
    #[arg(value_name = "ID|latest")]
    id: String,
    #[command(flatten)]
    revision: Revision,
    /// The file to write; an existing one is replaced once the new one is complete [default: ID.snapledger, or
    /// ID-revision-N.snapledger].
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    rest: RestOptions,
}

/// Exports and prints what the file holds. The file gets its name when it is complete.
pub(super) fn run(args: &ExportArgs) -> Result<(), CliError> {
    // The name is known before the request, unless the id is `latest`.
    let named = match (&args.out, &*args.id) {
        (Some(out), _) => Some(destination(out)?),
        (None, LATEST | ITS_ID_IS_LATEST) => None,
        (None, id) => Some(destination(&name_of(args, id)?)?),
    };
    let dir = named.as_deref().and_then(Path::parent);
    let dir = dir.filter(|dir| !dir.as_os_str().is_empty());
    let dir = dir.unwrap_or_else(|| Path::new("."));
    let mut file = NamedTempFile::new_in(dir).map_err(|error| unwritable(dir, &error))?;
    let export = fetch(&args.rest, &args.id, &args.revision, &mut file)?;
    let out = match named {
        Some(out) => out,
        None => destination(&name_of(args, export.published().state.snapshot.as_str())?)?,
    };
    file.as_file().sync_all()?;
    let file = file
        .persist(&out)
        .map_err(|error| unwritable(&out, &error.error))?;
    let bytes = file.metadata()?.len();
    report(args, &out, &export, bytes)
}

/// The error of a file that cannot be written, with the remedy.
pub(super) fn unwritable(path: &Path, error: &dyn std::fmt::Display) -> CliError {
    let path = path.display();
    CliError::Usage(format!(
        "cannot write {path}: {error}; name another file with --out"
    ))
}

/// The path to write: a new one or a regular file. A symbolic link is not followed: in a directory that others may write to,
/// it would let them choose the file that is replaced.
pub(super) fn destination(out: &Path) -> Result<PathBuf, CliError> {
    let found = std::fs::symlink_metadata(out).map(|found| found.file_type());
    let why = match found {
        Ok(found) if found.is_symlink() => "it is a symbolic link",
        Ok(found) if found.is_dir() => "it is a directory",
        Ok(found) if !found.is_file() => "it is not a file",
        _ => return Ok(out.to_path_buf()),
    };
    Err(unwritable(out, &why))
}

fn name_of(args: &ExportArgs, id: &str) -> Result<PathBuf, CliError> {
    match args.revision.text() {
        Some(revision) => file_name(&format!("{id}-revision-{revision}"), EXTENSION),
        None => file_name(id, EXTENSION),
    }
}

/// Downloads the export of a snapshot, or of one of its revisions, and opens it.
pub(super) fn fetch(
    options: &RestOptions,
    id: &str,
    revision: &Revision,
    file: &mut NamedTempFile,
) -> Result<Export, CliError> {
    let path = format!("{}/export", path_of(id));
    let (rest, wanted) = (&options.rest, revision.text());
    options
        .patient_client()?
        .download(&path, &given(&[("revision", &wanted)]), file)?;
    file.flush()?;
    let export = Export::open(file.path()).map_err(|error| match error {
        ExportError::Io(error) => CliError::Output(error),
        other => CliError::CheckFailed(format!(
            "the file received from {rest} is incomplete: {other}"
        )),
    })?;
    let sent = &export.published().state;
    let is_asked_for = match id {
        LATEST => true,
        ITS_ID_IS_LATEST => sent.snapshot.as_str() == LATEST,
        id => sent.snapshot.as_str() == id,
    };
    let is_revision = revision
        .revision
        .is_none_or(|wanted| wanted == sent.revision);
    if !is_asked_for || !is_revision {
        let wanted = wanted.map_or_else(String::new, |wanted| format!(", revision {wanted},"));
        return Err(CliError::CheckFailed(format!(
            "requested snapshot {id}{wanted} from {rest} and received {}, revision {}",
            sent.snapshot, sent.revision
        )));
    }
    Ok(export)
}

/// The default file name for something with this id.
pub(super) fn file_name(text: &str, end: &str) -> Result<PathBuf, CliError> {
    if text.contains('/') || text.starts_with(['.', '-']) {
        return Err(CliError::Usage(format!(
            "{text:?} is not a valid file name; name a file with --out"
        )));
    }
    Ok(PathBuf::from(format!("{text}.{end}")))
}

fn report(args: &ExportArgs, out: &Path, export: &Export, bytes: u64) -> Result<(), CliError> {
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
    for channel in state.open_channels() {
        let (why, _) = state.why_open(channel);
        print(&format!("channel {channel} is open ({why})"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    // Without this a link that another user has placed decides which file is replaced.
    #[test]
    fn a_file_is_replaced_and_nothing_else_is() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("file"), "").expect("a file");
        for (name, to) in [
            ("link", "file"),
            ("astray", "none"),
            ("device", "/dev/null"),
        ] {
            symlink(to, at(name)).expect("a link");
        }
        for name in ["file", "new"] {
            assert_eq!(destination(&at(name)).ok(), Some(at(name)));
        }
        for odd in [
            at("link"),
            at("astray"),
            at("device"),
            "/dev/null".into(),
            dir.path().into(),
        ] {
            let refused = destination(&odd).expect_err("it is refused");
            assert_eq!(refused.exit_code(), 2, "{refused}");
        }
    }
}
