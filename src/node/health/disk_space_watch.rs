//! The periodic measurement of the store's disk space, at this one place.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::admission::Admission;
use super::disk_space::DiskSpace;
use super::metrics::Metrics;
use crate::config::show_size;
use crate::node::background::memory;
use crate::node::snapshots::parts::Parts;

/// The interval between measurements.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Keeps the free space and the size metrics of the store up to date.
pub(in crate::node) async fn watch(
    parts: Parts,
    metrics: Arc<Metrics>,
    admission: Arc<watch::Sender<Admission>>,
) {
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_short = false;
    loop {
        looks.tick().await;
        memory::give_back();
        let measured = parts.worker.run(|store| match store.usage() {
            Err(error) if error.is_shortage() => Ok(Err(error)),
            measured => measured.map(Ok),
        });
        let usage = match measured.await {
            Ok(Ok(usage)) => usage,
            // The measurement opens a directory. If nothing can be opened, the last figures stay valid: the files of the store
            // are open and usable.
            Ok(Err(error)) => {
                if !std::mem::replace(&mut is_short, true) {
                    tracing::warn!(%error, "cannot read the free disk space; using the last value");
                }
                continue;
            }
            // A store that cannot be measured has failed, which is reported elsewhere.
            Err(_) => return std::future::pending().await,
        };
        if std::mem::take(&mut is_short) {
            tracing::info!("the free disk space is readable again");
        }
        metrics.measured(&usage);
        metrics.unreadable(parts.worker.store().history().unreadable());
        let before = admission.borrow().disk;
        let now = DiskSpace {
            free: usage.free,
            ..before
        };
        admission.send_modify(|admission| admission.disk = now);
        match (before.for_clients(), now.for_clients()) {
            (Ok(()), Err(why)) => tracing::warn!("{why}"),
            (Err(_), Ok(())) => tracing::info!(
                free = show_size(now.free),
                "there is enough free disk space again"
            ),
            _ => {}
        }
    }
}
