//! The shipping of the journal into the archive: the start ([`attach`]), the task that ships ([`shipper`]), how far the archive
//! is ([`watermark`]), what waits for it ([`held`]), and what is kept
//! there beside the journal ([`keeper`]).

pub(super) mod attach;
pub(super) mod figures;
pub(super) mod held;
pub(super) mod keeper;
pub(super) mod shipper;
mod turns;
pub(super) mod watermark;

use std::thread::JoinHandle;

use super::error::NodeError;
use super::turn::committer::Release;
use super::turn::releaser::Releaser;
use crate::config::ArchiveSettings;
use attach::Attached;
use held::Held;
use shipper::{RunningShipper, Surroundings};

/// The shipper, and the thread that releases behind it.
pub(super) struct RunningArchive {
    shipper: RunningShipper,
    releases: JoinHandle<()>,
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
    let (held, releases) = Held::new(settings.waits(), &around.watermark, releaser);
    let releases = around.failures.thread("release", move || releases.run())?;
    let shipper = RunningShipper::start(attached, settings, around);
    let running = RunningArchive { shipper, releases };
    Ok((Release::Archived(held), Some(running)))
}

impl RunningArchive {
    /// Waits, for a bounded time, until the archive has the whole journal. Returns the thread that still releases it.
    pub(super) async fn stop(self) -> JoinHandle<()> {
        self.shipper.stop().await;
        self.releases
    }
}
