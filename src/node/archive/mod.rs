//! The shipping of the journal into the archive: the start ([`attach`]), the task that ships ([`shipper`]), how far the archive
//! is ([`watermark`]), what waits for it ([`held`]), what is kept there beside the journal ([`keeper`]), the instants of an
//! idle process ([`instants`]), why the archive does not take the journal ([`trouble`]), and history as tables (`tables`,
//! [`tables_health`]).

pub(super) mod attach;
pub(super) mod figures;
pub(super) mod held;
pub(super) mod instants;
pub(super) mod keeper;
mod look_back;
mod not_attached;
pub(super) mod shipper;
mod tables;
pub(super) mod tables_health;
pub(super) mod trouble;
mod turns;
pub(super) mod watermark;

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use super::error::NodeError;
use super::turn::committer::Release;
use super::turn::releaser::Releaser;
use crate::archive::Objects;
use crate::config::ArchiveSettings;
use crate::process::ids::ProcessId;
use crate::tables::{Destination, FOLDER};
use attach::{Attached, NotAttached};
use held::Held;
use shipper::{RunningShipper, Surroundings};
use tables::{RunningTables, TablesWriter};

/// How long a request of the tables is repeated; the end of the node ends it at once.
const TABLES_PATIENCE: Duration = Duration::from_secs(30);

/// The shipper, the thread that releases behind it, and the one that writes tables.
pub(super) struct RunningArchive {
    shipper: RunningShipper,
    releases: JoinHandle<()>,
    tables: Option<RunningTables>,
}

/// Starts to ship, if there is an archive; returns when durable turns are released.
pub(super) fn start(
    archive: Option<(Attached, ArchiveSettings)>,
    releaser: Releaser,
    around: Surroundings,
) -> Result<(Release, Option<RunningArchive>), NodeError> {
    let Some((attached, settings)) = archive else {
        return Ok((Release::AtOnce(releaser), None));
    };
    let me = releaser.me.clone();
    let (held, releases) = Held::new(settings.waits(), &around.watermark, releaser);
    let releases = around.failures.thread("release", move || releases.run())?;
    let tables = start_tables(me, &attached, &settings, &around)?;
    let shipper = RunningShipper::start(attached, settings, around);
    let running = RunningArchive {
        shipper,
        releases,
        tables,
    };
    Ok((Release::Archived(held), Some(running)))
}

fn start_tables(
    me: ProcessId,
    attached: &Attached,
    settings: &ArchiveSettings,
    around: &Surroundings,
) -> Result<Option<RunningTables>, NodeError> {
    let Some(every) = settings.tables else {
        return Ok(None);
    };
    let cluster = &attached.writer.owner().cluster;
    let objects = Objects::open(&settings.url).map_err(NotAttached::from)?;
    let destination = Destination {
        objects: objects
            .below(cluster)
            .below(FOLDER)
            .patient(TABLES_PATIENCE),
        cluster: cluster.clone(),
        process: me,
    };
    let writer = TablesWriter {
        store: Arc::clone(around.worker.store()),
        archive: attached.objects.clone(),
        watermark: Arc::clone(&around.watermark),
        figures: around.figures.clone(),
        health: Arc::clone(&around.tables),
        every,
    };
    RunningTables::start(writer, destination, &around.failures).map(Some)
}

impl RunningArchive {
    /// Lets the last turns be made although too much waits for the archive.
    pub(super) fn end_waiting_for_room(&self) {
        self.shipper.end_waiting_for_room();
    }

    /// Waits, for a bounded time, until the archive has the whole journal. Returns the threads that still end.
    pub(super) async fn stop(self) -> Vec<JoinHandle<()>> {
        let tables = self.tables.map(RunningTables::stop);
        self.shipper.stop().await;
        tables.into_iter().chain([self.releases]).collect()
    }
}
