//! The files of TLS, from the options and the `[tls]` table.

use std::path::{Path, PathBuf};

use super::cluster_file::TlsBlock;
use super::fault::{ConfigError, Fault};
use super::options::TlsOptions;
use crate::process::ids::ProcessId;
use crate::tls::files::{TlsFiles, file_name};

/// What stands for the process in a path.
const PLACEHOLDER: &str = "{id}";

/// The files of the node that hosts `me`, each from its option, then from the table; `None` without TLS. A relative path
/// is relative to the current directory, like the directory of the store.
///
/// # Errors
/// [`Fault::TlsIncomplete`].
pub(super) fn files(
    options: &TlsOptions,
    table: Option<&TlsBlock>,
    me: &ProcessId,
) -> Result<Option<TlsFiles>, ConfigError> {
    let given = |option: &Option<PathBuf>, key: fn(&TlsBlock) -> &Option<PathBuf>| {
        let path = option
            .as_ref()
            .or_else(|| table.and_then(|table| key(table).as_ref()));
        path.map(|path| of_process(path, me))
    };
    let cert = given(&options.tls_cert, |table| &table.cert);
    let key = given(&options.tls_key, |table| &table.key);
    let ca = given(&options.tls_ca, |table| &table.ca);
    let client_ca = given(&options.tls_client_ca, |table| &table.client_ca);
    match (cert, key, ca) {
        (Some(cert), Some(key), Some(ca)) => Ok(Some(TlsFiles {
            client_ca: client_ca.unwrap_or_else(|| ca.clone()),
            cert,
            key,
            ca,
        })),
        (None, None, None) if client_ca.is_none() && table.is_none() => Ok(None),
        (cert, key, ca) => {
            let all = [("cert", &cert), ("key", &key), ("ca", &ca)];
            let missing = all.iter().filter(|(_, path)| path.is_none());
            let missing: Vec<&str> = missing.map(|(name, _)| *name).collect();
            Err(Fault::TlsIncomplete(missing.join(", ")).into())
        }
    }
}

fn of_process(path: &Path, me: &ProcessId) -> PathBuf {
    match path.to_str() {
        Some(text) => PathBuf::from(text.replace(PLACEHOLDER, &file_name(me.as_str()))),
        None => path.to_owned(),
    }
}
