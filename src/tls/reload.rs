//! The reload of certificates, keys and CAs while the node runs.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::node::{Reloaded, Tls};

/// The interval at which the files are read.
const LOOK_EVERY: Duration = Duration::from_secs(5);

impl Tls {
    /// Reloads the files when they change, and at SIGHUP, until the task is dropped.
    pub async fn watch(self) {
        let mut hangup = match signal(SignalKind::hangup()) {
            Ok(hangup) => Some(hangup),
            Err(error) => {
                tracing::warn!(%error, "SIGHUP cannot be handled; the TLS files are still read every few seconds");
                None
            }
        };
        // The load has logged these.
        let mut logged = self.warnings();
        loop {
            let asked = async {
                match &mut hangup {
                    Some(hangup) => hangup.recv().await,
                    None => std::future::pending().await,
                }
            };
            let is_asked = tokio::select! {
                () = sleep(LOOK_EVERY) => false,
                _ = asked => true,
            };
            let tls = self.clone();
            // A read may hang, such as on a network file system.
            let Ok(reloaded) = spawn_blocking(move || tls.reload()).await else {
                return;
            };
            match reloaded {
                Reloaded::Taken => tracing::info!("the changed TLS files are in use"),
                Reloaded::Refused(Some(error)) => {
                    tracing::warn!(
                        "the changed TLS files are not used, those before remain: {error}"
                    );
                }
                Reloaded::Refused(None) if is_asked => {
                    tracing::warn!("the TLS files are still those that were refused before");
                }
                Reloaded::Unchanged if is_asked => tracing::info!("the TLS files have not changed"),
                Reloaded::Refused(None) | Reloaded::Unchanged => {}
            }
            // A certificate may expire while the node runs.
            let warnings = self.warnings();
            for warning in warnings.iter().filter(|one| !logged.contains(*one)) {
                tracing::warn!("{warning}");
            }
            logged = warnings;
        }
    }
}
