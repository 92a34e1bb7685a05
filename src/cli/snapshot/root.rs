//! The root hash of a snapshot: as `--root` gives it, and compared with the one found.

use hex::FromHex as _;

use crate::cli::CliError;
use crate::process::ids::Hash;

/// Parses a root hash in hex.
pub(super) fn root(text: &str) -> Result<Hash, String> {
    let root = <[u8; 32]>::from_hex(text.trim());
    root.map(Hash).map_err(|_| {
        "it is not a root hash, which has 64 hexadecimal digits; `snapshot show ID --output json` shows it as `root`"
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
    "the root was not compared with an expected one; give that with --root";
