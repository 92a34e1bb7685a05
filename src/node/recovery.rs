//! The first step of a start: opens the store and recovers the process from it.

use std::sync::Arc;
use std::time::Instant;

use tokio::runtime::Handle as Runtime;
use tokio::sync::oneshot;

use super::archive::attach::{Archive, Attached};
use super::error::NodeError;
use super::millis;
use crate::config::NodeConfig;
use crate::process::Process;
use crate::process::ids::Lsn;
use crate::store::{Committed, Store};

/// A store with the process recovered from it.
pub(super) struct Recovered {
    pub(super) store: Arc<Store>,
    pub(super) process: Process,
    /// The newest turn in the journal.
    pub(super) committed: Committed,
    /// Its fenced archive.
    pub(super) attached: Option<Attached>,
}

/// The way from a thread that may block to the archive.
struct Attaching {
    runtime: Runtime,
    /// Closed if the start is given up: a runtime that shuts down has no timers for the thread any more.
    given_up: oneshot::Receiver<()>,
}

impl Attaching {
    fn attach(self, archive: Archive, store: &mut Store) -> Result<Attached, NodeError> {
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                _ = self.given_up => Err(NodeError::Thread("recovery")),
                attached = archive.attach(store) => Ok(attached?),
            }
        })
    }
}

impl Recovered {
    /// Opens the store of the configured process, on a thread that may block.
    pub(super) async fn from_store(config: &Arc<NodeConfig>) -> Result<Self, NodeError> {
        let archive = Archive::of(config)?;
        if let Some(archive) = &archive {
            archive.check_directory(&config.dir).await?;
        }
        let (_starting, given_up) = oneshot::channel();
        let attaching = Attaching {
            runtime: Runtime::current(),
            given_up,
        };
        let config = Arc::clone(config);
        let opened = tokio::task::spawn_blocking(move || Self::open(&config, archive, attaching));
        opened.await.map_err(|_| NodeError::Thread("recovery"))?
    }

    fn open(
        config: &NodeConfig,
        archive: Option<Archive>,
        attaching: Attaching,
    ) -> Result<Self, NodeError> {
        let started = Instant::now();
        // A start that its archive refuses is not counted: the directory may be an older copy.
        let mut store = Store::open_uncounted(&config.dir, &config.cluster, &config.me)?;
        let attached = archive
            .map(|archive| attaching.attach(archive, &mut store))
            .transpose()?;
        // Also where the start that took turns from the archive ended early, and this one has none.
        store.end_behind()?;
        store.count_start()?;
        store.sync()?;
        let open_max = config.snapshot.open_max;
        let (mut process, committed) = store.recover(&config.me, &config.topology, open_max)?;
        process.limit(config.limits);
        process.runs_as(store.identity());
        if store.gaps().is_at_end() {
            process.put_back();
        }
        process.drop_removed().map_err(NodeError::LeftOut)?;
        let dir = config.dir.display();
        let (boot, position) = (store.identity().boot, process.registers().position);
        if (boot, position) == (1, Lsn(0)) {
            tracing::info!(%dir, process = %config.me, "created a new store");
        } else {
            tracing::info!(
                %dir,
                process = %config.me,
                boot,
                position = position.0,
                replayed = position.0 - store.archived().newest_state().unwrap_or_default().0,
                accounts = process.bank().len(),
                took_ms = millis(started.elapsed()),
                "recovered"
            );
        }
        Ok(Self {
            store: Arc::new(store),
            process,
            committed,
            attached,
        })
    }
}
