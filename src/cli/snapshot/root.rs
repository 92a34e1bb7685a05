//! The root hash of a snapshot: as `--root` gives it, and compared with the one found.

use crate::cli::CliError;
use crate::process::ids::Hash;

/// Parses a root hash in hex.
pub(super) fn root(text: &str) -> Result<Hash, String> {
    let text = text.trim();
    let digits = text.as_bytes().chunks_exact(2).map(|digits| {
        let digits = std::str::from_utf8(digits).ok()?;
        u8::from_str_radix(digits, 16).ok()
    });
    let bytes: Option<Vec<u8>> = digits.collect();
    let is_hex = text.bytes().all(|digit| digit.is_ascii_hexdigit()) && text.len() == 64;
    let root = bytes
        .filter(|_| is_hex)
        .and_then(|bytes| bytes.try_into().ok());
    root.map(Hash).ok_or_else(|| {
        "it is no root hash, which has 64 hexadecimal digits; `snapshot show ID --output json` says it as `root`"
            .to_owned()
    })
}

/// Fails if another root is expected.
pub(super) fn check_root(expected: Option<Hash>, root: Hash) -> Result<(), CliError> {
    match expected {
        Some(expected) if expected != root => Err(CliError::CheckFailed(format!(
            "the root is {root}, not {expected}: it is another snapshot, or another revision"
        ))),
        _ => Ok(()),
    }
}

/// The note if no root is given.
pub(super) const ROOT_UNCHECKED: &str =
    "that this is the snapshot's root is not checked: give the one you know with --root";
