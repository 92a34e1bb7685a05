//! `backup`: copies the store of a running node, up to the durable end of its journal.

use std::path::PathBuf;

use serde_json::json;

use super::destination::Destination;
use super::progress::{BYTES, bar};
use super::rest::RestOptions;
use super::{CliError, OutputFormat, Report, print};
use crate::api::time::rfc3339;
use crate::store::{BackedUp, ExportError, Store};

/// Back up the store of a running node.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Destination: an empty or new directory.
    #[arg(long, value_name = "DIR")]
    into: PathBuf,
    #[command(flatten)]
    rest: RestOptions,
}

/// Copies the store and prints the journal position that the copy reaches. The destination stays empty until the copy
/// is whole.
///
/// # Errors
/// [`CliError`]: the destination is not empty, the node does not answer, or the received copy is incomplete.
pub fn run(args: &Args) -> Result<(), CliError> {
    let destination = Destination::check("--into", &args.into)?;
    let client = args.rest.patient_client()?;
    let mut sent = client.file("/v1/backup", &[])?;
    let staged = destination.stage()?;
    let shown = bar(0, BYTES);
    let copied = Store::restore_backup(staged.dir(), &mut sent, &|bytes| shown.set_position(bytes));
    shown.finish_and_clear();
    let copied = match copied {
        Ok(copied) => copied,
        Err(error) => {
            staged.abandon();
            return Err(failed(&args.rest.rest, error));
        }
    };
    staged.move_into_place()?;
    report(args, &copied)
}

fn failed(rest: &str, error: ExportError) -> CliError {
    match error {
        ExportError::Store(error) => CliError::Store(error.to_string()),
        other => CliError::CheckFailed(format!(
            "the backup received from {rest} is incomplete and was removed: {other}; see the node's log, and retry"
        )),
    }
}

fn report(args: &Args, copied: &BackedUp) -> Result<(), CliError> {
    let BackedUp {
        cluster, process, ..
    } = copied;
    let (dir, position) = (args.into.display(), copied.position);
    let time = rfc3339(copied.time.wall_us());
    if args.rest.output == OutputFormat::Json {
        let copied = json!({
            "dir": args.into,
            "cluster": cluster,
            "process": process.as_str(),
            "journal_position": position.0,
            "time": time,
            "values": copied.values,
            "bytes": copied.bytes,
        });
        return print(&copied.to_string());
    }
    let mut report = Report::default();
    report.line(&format!(
        "{dir} holds the store of process {process} of cluster {cluster} up to journal position {position}, of {time}: \
         {} bytes",
        copied.bytes
    ));
    report.line(&format!(
        "check it with: snapledger store check {dir}\nuse it only to replace the store when that is lost; peers \
         refuse a second copy: see docs/operations.md, Back up"
    ));
    report.print()
}
