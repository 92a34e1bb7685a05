//! The files of TLS, from the options and the `[tls]` table.

use std::path::PathBuf;

use toml::Spanned;

use super::cluster_file::{Source, TlsBlock};
use super::fault::{ConfigError, Fault};
use super::options::TlsOptions;
use super::path::of_process;
use crate::process::ids::ProcessId;
use crate::tls::files::TlsFiles;
use crate::tls::node::Tls;

/// What asks for TLS: the options, and the table of the cluster file.
pub(super) struct Asked<'a> {
    pub(super) options: &'a TlsOptions,
    pub(super) table: Option<(&'a Source, &'a Spanned<TlsBlock>)>,
}

impl Asked<'_> {
    /// The TLS of the node that hosts `me`; `None` if it is not asked for. Each file is named by its option, or else by the
    /// table. A relative path is relative to the current directory, like the directory of the store.
    ///
    /// # Errors
    /// [`Fault::TlsIncomplete`], [`Fault::Tls`].
    pub(super) fn load(&self, cluster: &str, me: &ProcessId) -> Result<Option<Tls>, ConfigError> {
        let Some(files) = self.files(me).map_err(|fault| self.located(fault))? else {
            return Ok(None);
        };
        let loaded = Tls::load(files, cluster, me);
        let loaded = loaded.map_err(|error| self.located(Fault::Tls(error.to_string())));
        loaded.map(Some)
    }

    fn located(&self, fault: Fault) -> ConfigError {
        match self.table {
            Some((source, table)) => source.fault(table.span(), fault),
            None => fault.of("--tls-cert"),
        }
    }

    fn files(&self, me: &ProcessId) -> Result<Option<TlsFiles>, Fault> {
        let (options, table) = (self.options, self.table.map(|(_, table)| table.get_ref()));
        let given = |option: &Option<PathBuf>, key: fn(&TlsBlock) -> &Option<PathBuf>| {
            let path = option.as_ref();
            let path = path.or_else(|| table.and_then(|table| key(table).as_ref()));
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
                Err(Fault::TlsIncomplete(missing.join(" and ")))
            }
        }
    }
}
