//! `snapshot verify --proof`: verifies offline that a balance belongs to a snapshot.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use serde_json::json;

use super::root::{ROOT_UNCHECKED, check_root};
use super::subject::no_proof;
use crate::api::{Checked, ProofDocument};
use crate::cli::CliError;
use crate::cli::OutputFormat;
use crate::cli::output::print;
use crate::process::ids::Hash;
use crate::store::Disclosure;

/// The error for a document without the fields of a proof.
pub(super) const NO_PROOF: &str = "it is not a proof file of `snapledger snapshot proof`";

/// A proof is far smaller, also one with whole chunks. Reading it takes some times as much memory.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Verifies a proof and prints what it proves.
pub(super) fn run(file: &Path, root: Option<Hash>, output: OutputFormat) -> Result<(), CliError> {
    let failed = |why: String| CliError::CheckFailed(format!("{}: {why}", file.display()));
    let unreadable = |source| CliError::Unreadable {
        path: file.to_path_buf(),
        source,
    };
    let mut bytes = Vec::new();
    let opened = File::open(file).map_err(unreadable)?;
    let mut opened = opened.take(FILE_BYTES_MAX + 1);
    opened.read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        let problem = format!("{NO_PROOF}: it has more than {FILE_BYTES_MAX} bytes");
        return Err(no_proof(file, failed(problem)));
    }
    let document: ProofDocument =
        serde_json::from_slice(&bytes).map_err(|_| no_proof(file, failed(NO_PROOF.to_owned())))?;
    let checked = document.check().map_err(failed)?;
    let (published, balance) = (&checked.proven.published, checked.proven.balance);
    let (snapshot, root_found) = (&published.state.snapshot, published.root);
    check_root(root, root_found)?;
    if output == OutputFormat::Json {
        return print(&format!(
            "{:#}",
            json!({
                "proven": true,
                "snapshot_id": snapshot.as_str(),
                "revision": published.state.revision,
                "status": published.state.status(),
                "root": root_found.to_string(),
                "root_was_given": root.is_some(),
                "process": checked.process.as_str(),
                "account": checked.account.as_str(),
                "existed": balance.is_some(),
                "balance": balance.unwrap_or(0),
                "discloses": checked.discloses.name(),
            })
        ));
    }
    print(&sentence(&checked))?;
    print(disclosed(checked.discloses))?;
    if root.is_none() {
        print(ROOT_UNCHECKED)?;
    }
    Ok(())
}

/// What a proof shows of other accounts, as a sentence.
pub(super) fn disclosed(discloses: Disclosure) -> &'static str {
    match discloses {
        Disclosure::Nothing => {
            "it shows no id and no balance of another account, beside the sums per process and channel"
        }
        Disclosure::NeighbourIds => {
            "of other accounts it shows the ids next to this one, and no balance"
        }
        Disclosure::WholeChunks => {
            "it shows ids and balances of other accounts: the snapshot was recorded before store format 7"
        }
    }
}

/// What a proof proves, as a sentence.
pub(super) fn sentence(checked: &Checked) -> String {
    let (process, account) = (&checked.process, &checked.account);
    let published = &checked.proven.published;
    let (snapshot, root) = (&published.state.snapshot, published.root);
    let sentence = match checked.proven.balance {
        Some(balance) => format!("account {account:?} of process {process} holds {balance}"),
        None => format!("there is no account {account:?} of process {process}"),
    };
    format!("in snapshot {snapshot} with root {root}: {sentence}")
}
