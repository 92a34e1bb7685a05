//! `snapshot proof`: saves a proof of one account's balance in a snapshot, as a file that can be verified offline.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::export::{destination, file_name, unwritable};
use super::proven::{NO_PROOF, disclosed, sentence};
use super::{Revision, path_of};
use crate::api::ProofDocument;
use crate::cli::CliError;
use crate::cli::OutputFormat;
use crate::cli::output::{cell, print};
use crate::cli::rest::{RestOptions, given, segment};

/// The file extension of proofs.
const EXTENSION: &str = "proof";

/// Account and destination.
#[derive(Debug, clap::Args)]
pub(super) struct ProofArgs {
    /// The snapshot, or `latest`.
    #[arg(value_name = "ID|latest")]
    id: String,
    /// The account.
    account: String,
    /// The process that keeps the account [default: the process of the queried node].
    #[arg(long)]
    process: Option<String>,
    #[command(flatten)]
    revision: Revision,
    /// The file to write; an existing one is replaced [default: ACCOUNT.proof].
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    rest: RestOptions,
}

/// Requests the proof, verifies it and saves it.
pub(super) fn run(args: &ProofArgs) -> Result<(), CliError> {
    let out = match &args.out {
        Some(out) => destination(out)?,
        None => destination(&file_name(&args.account, EXTENSION)?)?,
    };
    let client = args.rest.patient_client()?;
    let process = match &args.process {
        Some(process) => process.clone(),
        None => client.process()?,
    };
    let (process, account) = (segment(&process), segment(&args.account));
    let path = format!("{}/balances/{process}/{account}/proof", path_of(&args.id));
    let revision = args.revision.text();
    let answer = client.get(&path, &given(&[("revision", &revision)]))?;
    let strange = |why: String| {
        let rest = &args.rest.rest;
        CliError::CheckFailed(format!("the proof from {rest} is invalid: {why}"))
    };
    let document: ProofDocument =
        serde_json::from_str(&answer.text).map_err(|_| strange(NO_PROOF.to_owned()))?;
    let checked = document.check().map_err(strange)?;
    let (proven, disclosed) = (sentence(&checked), disclosed(checked.discloses));
    keep(&out, &answer.text)?;
    if answer.json["existed"] == false {
        let (account, process) = (&args.account, cell(answer.json.get("process")));
        let note = format!(
            "process {process} has no account {account:?} in this snapshot, and the proof shows that; every process \
             has its own accounts: name another process with --process"
        );
        args.rest.output.remark("note", &note);
    }
    if args.rest.output == OutputFormat::Json {
        return print(&answer.text);
    }
    let file = out.display();
    print(&format!(
        "{file}: {proven}\n{disclosed}\ncheck it anywhere with: snapledger snapshot verify --proof {file}"
    ))
}

fn keep(out: &Path, text: &str) -> Result<(), CliError> {
    let dir = out.parent().filter(|dir| !dir.as_os_str().is_empty());
    let dir = dir.unwrap_or_else(|| Path::new("."));
    let mut file = NamedTempFile::new_in(dir).map_err(|error| unwritable(out, &error))?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(out)
        .map_err(|error| unwritable(out, &error.error))?;
    Ok(())
}
