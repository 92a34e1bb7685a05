//! Recognises files that are not of the expected kind, so that the error can say what they are and which command takes
//! them.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use serde_json::Value;

use crate::api::ProofDocument;
use crate::cli::CliError;
use crate::cli::rest::sentence;
use crate::store::Export;

/// Proofs and problems are shorter; for an export the beginning suffices.
const READ_MAX: u64 = 4 << 20;

/// The kind of a file.
#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Export,
    Proof,
    /// An error answer of a node, as a sentence.
    Problem(String),
    Json,
    Other,
}

/// The error of a file that is not an export, improved if the file is of another known kind.
pub(super) fn no_export(path: &Path, error: CliError) -> CliError {
    let file = path.display();
    match kind(path) {
        Kind::Export | Kind::Other => error,
        Kind::Proof => CliError::Usage(format!(
            "{file}: an export of a snapshot was expected, and this is the proof of a balance; check it with \
             `snapledger snapshot verify --proof {file}`"
        )),
        Kind::Problem(what) => saved_problem(path, &what),
        Kind::Json => CliError::CheckFailed(format!(
            "{file}: an export of a snapshot was expected, and this is some JSON; write an export with \
             `snapledger snapshot export ID`"
        )),
    }
}

/// As [`no_export`], for a file that is not a proof.
pub(super) fn no_proof(path: &Path, error: CliError) -> CliError {
    let file = path.display();
    match kind(path) {
        Kind::Proof | Kind::Json | Kind::Other => error,
        Kind::Export => CliError::Usage(format!(
            "{file}: the proof of a balance was expected, and this is an export of a snapshot; check it with \
             `snapledger snapshot verify {file}`"
        )),
        Kind::Problem(what) => saved_problem(path, &what),
    }
}

fn saved_problem(path: &Path, what: &str) -> CliError {
    let file = path.display();
    CliError::CheckFailed(format!(
        "{file}: this is an error that a node answered with, saved to a file: {what}"
    ))
}

fn kind(path: &Path) -> Kind {
    let mut bytes = Vec::new();
    let file = File::open(path).map(|file| file.take(READ_MAX));
    match file.and_then(|mut file| file.read_to_end(&mut bytes)) {
        Ok(_) => kind_of(&bytes),
        Err(_) => Kind::Other,
    }
}

fn kind_of(bytes: &[u8]) -> Kind {
    if Export::begins_with(bytes) {
        return Kind::Export;
    }
    let Ok(json) = serde_json::from_slice::<Value>(bytes) else {
        return Kind::Other;
    };
    let is_problem = ["type", "title", "detail"]
        .iter()
        .all(|field| json[field].is_string());
    match json["status"].as_u64().map(u16::try_from) {
        Some(Ok(status)) if is_problem => Kind::Problem(sentence(status, &json)),
        _ if ProofDocument::is_one(&json) => Kind::Proof,
        _ => Kind::Json,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_known_by_what_is_in_it() {
        let problem =
            r#"{"type":"x/problems/unknown-process","title":"T","status":404,"detail":"d"}"#;
        for (text, kind) in [
            ("snapledger export\u{1}", Kind::Export),
            (r#"{"format":"snapledger proof 1"}"#, Kind::Proof),
            (problem, Kind::Problem("T: d".to_owned())),
            (r#"{"status":"complete"}"#, Kind::Json),
            ("[]", Kind::Json),
            ("", Kind::Other),
            ("<html>", Kind::Other),
        ] {
            assert_eq!(kind_of(text.as_bytes()), kind, "{text}");
        }
    }
}
