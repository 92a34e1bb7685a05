//! What work is accepted at present.
//!
//! A full disk stops a node, so work is refused before that. New work of clients is refused first. Messages of peers are
//! durable at the sender and can wait without loss, but each delivers money or a marker, so they have a reserve that clients
//! cannot use: a quarter of the minimum. Below that, messages wait in the sender's journal. Acknowledgements, parts of running
//! snapshots and checkpoints are always accepted: earlier work bounds their size.
//!
//! Where turns wait for the archive, new work is refused, and messages of peers wait, while the archive is too far behind or is
//! not the one that it was.

use std::time::Duration;

use super::disk_space::DiskSpace;
use crate::node::error::{ArchiveLoss, Unavailable};
use crate::process::input::Input;
use crate::shipping::hold::Audience;

/// The reasons for which work is refused, as of the last look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::node) struct Admission {
    pub(in crate::node) disk: DiskSpace,
    /// The lag of the archive if it is over its limit.
    pub(in crate::node) archive_behind: Option<Duration>,
    /// Set while nothing counts as archived.
    pub(in crate::node) archive_lost: Option<ArchiveLoss>,
    /// Whether new work waits for the archive.
    pub(in crate::node) work_waits: bool,
    /// Whether answers to queries wait for the archive, too.
    pub(in crate::node) queries_wait: bool,
}

impl Admission {
    /// With this disk, and an archive that is not behind.
    pub(in crate::node) fn on(disk: DiskSpace) -> Self {
        Self {
            disk,
            archive_behind: None,
            archive_lost: None,
            work_waits: false,
            queries_wait: false,
        }
    }

    /// Checks that new work of clients is accepted.
    pub(in crate::node) fn for_clients(self) -> Result<(), Unavailable> {
        self.disk.for_clients()?;
        self.archived()
    }

    /// Checks that a query of a client will be answered.
    pub(in crate::node) fn for_queries(self) -> Result<(), Unavailable> {
        match self.queries_wait {
            true => self.archived(),
            false => Ok(()),
        }
    }

    /// Whether answers for this audience wait for the archive.
    pub(in crate::node) fn holds(self, audience: Audience) -> bool {
        match audience {
            Audience::Client => self.queries_wait,
            Audience::Processes => self.work_waits,
        }
    }

    /// Checks that an answer for this audience is worth waiting for: not if the archive does not take what it depends on.
    pub(in crate::node) fn for_answers(self, audience: Audience) -> Result<(), Unavailable> {
        match self.holds(audience) {
            true => self.archived(),
            false => Ok(()),
        }
    }

    /// Checks that messages of peers are accepted.
    pub(in crate::node) fn for_peers(self) -> Result<(), Unavailable> {
        self.disk.for_peers()?;
        self.archived()
    }

    /// Checks that this input is accepted.
    pub(in crate::node) fn for_input(self, input: &Input) -> Result<(), Unavailable> {
        match input {
            Input::Operation { .. } | Input::Initiate { .. } => self.for_clients(),
            Input::Called { .. } | Input::Arrived { .. } => self.for_peers(),
            _ => Ok(()),
        }
    }

    /// A warning about the archive, whether or not work waits for it.
    pub(in crate::node) fn archive_warning(self) -> Option<String> {
        let is_behind = self.archive_behind.is_some();
        let behind =
            is_behind.then(|| "the archive is further behind than archive.lag_max".to_owned());
        let what = self.archive_lost.map(|loss| loss.to_string()).or(behind)?;
        Some(format!(
            "{what}: what it does not have is lost with the disk; the log says why"
        ))
    }

    /// Checks that the archive, if new work waits for it, is there and not too far behind.
    pub(in crate::node) fn archived(self) -> Result<(), Unavailable> {
        if !self.work_waits {
            return Ok(());
        }
        if let Some(loss) = self.archive_lost {
            return Err(Unavailable::ArchiveLost(loss));
        }
        match self.archive_behind {
            None => Ok(()),
            Some(lag) => Err(Unavailable::ArchiveBehind(lag.as_secs())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_that_is_behind_refuses_clients_and_lets_peers_wait() {
        let disk = DiskSpace { free: 1, min: 0 };
        let mut admission = Admission::on(disk);
        assert!(admission.for_clients().is_ok() && admission.for_peers().is_ok());
        admission.archive_behind = Some(Duration::from_secs(31));
        assert!(admission.for_clients().is_ok(), "it does not wait");
        assert!(admission.archive_warning().is_some());
        admission.work_waits = true;
        let refused = admission.for_clients().expect_err("it is behind");
        assert!(refused.to_string().contains("31 s behind"), "{refused}");
        assert!(admission.for_peers().is_err());
        assert!(admission.for_input(&Input::Checkpoint).is_ok());
        assert!(admission.for_queries().is_ok(), "they do not wait");
        assert!(admission.for_answers(Audience::Processes).is_err());
        assert!(
            admission.for_answers(Audience::Client).is_ok(),
            "they do not wait"
        );
        admission.queries_wait = true;
        assert!(admission.for_queries().is_err());
        assert!(admission.for_answers(Audience::Client).is_err());
    }
}
