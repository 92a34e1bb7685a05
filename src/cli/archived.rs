//! The journals of a cluster as its archive has them, read without a node and without claiming anything.

use std::time::{SystemTime, UNIX_EPOCH};

use super::CliError;
use crate::api::time::{before_now, read};
use crate::archive::{ArchiveError, Objects, journal};
use crate::process::clock::Hlc;
use crate::process::ids::ProcessId;
use crate::shipping::JournalPoint;
use crate::shipping::chain::Chain;
use crate::shipping::segment::Segment;
use crate::store::codec::Entry;

/// Why the archive has no cluster to read.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotArchived {
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error("the archive {url} has no cluster {cluster}{}", others(.found))]
    NoCluster {
        url: String,
        cluster: String,
        found: Vec<String>,
    },
}

fn others(found: &[String]) -> String {
    match found {
        [] => "; it is empty: check --archive".to_owned(),
        found => format!("; it has {}: check --cluster", found.join(", ")),
    }
}

impl From<NotArchived> for CliError {
    fn from(error: NotArchived) -> Self {
        Self::Refused(error.to_string())
    }
}

/// The last clock value of an instant on the command line; before now by the clock of this machine.
pub(super) fn instant(text: &str) -> Result<Hlc, CliError> {
    let instant = match before_now(text) {
        Some(before) => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            let then = now.ok().and_then(|now| now.checked_sub(before));
            let then = then.and_then(|then| u64::try_from(then.as_micros()).ok());
            then.map(Hlc::at)
        }
        None => read(text).map(|instant| instant.bound()),
    };
    let before_1970 =
        || CliError::Usage(format!("--at: {text} is before 1970; give a later instant"));
    instant.map(Hlc::last_of_label).ok_or_else(before_1970)
}

/// The journals of the processes that have one in the archive, by id.
pub(super) async fn journals(
    objects: &Objects,
    cluster: &str,
) -> Result<Vec<ArchivedJournal>, NotArchived> {
    let folder = objects.below(cluster);
    let mut journals = Vec::new();
    for name in folder.folders().await? {
        if let Ok(process) = ProcessId::parse(&name) {
            journals.extend(ArchivedJournal::find(folder.below(&name), process).await?);
        }
    }
    match journals.is_empty() {
        false => Ok(journals),
        true => Err(NotArchived::NoCluster {
            url: objects.url().to_owned(),
            cluster: cluster.to_owned(),
            found: objects.folders().await?,
        }),
    }
}

/// The newest instant, as people write it, up to which all of these reach: within the last microsecond there may be more turns.
pub(super) fn common_end(journals: &[ArchivedJournal]) -> Hlc {
    let ends = journals.iter().map(|journal| journal.ends.wall_us());
    let end = ends.min().unwrap_or_default().saturating_sub(1);
    Hlc::at(end).last_of_label()
}

/// The journal of one process in the archive; it has turns.
pub(super) struct ArchivedJournal {
    pub(super) objects: Objects,
    pub(super) process: ProcessId,
    /// The clock value of the newest turn.
    pub(super) ends: Hlc,
}

impl ArchivedJournal {
    async fn find(objects: Objects, process: ProcessId) -> Result<Option<Self>, ArchiveError> {
        let mut chain = Chain::behind(journal::boundary(&objects).await?);
        let mut newest = None;
        while let Some(head) = journal::next_head(&objects, &mut chain).await? {
            newest = Some(head).filter(|head| !head.is_fence()).or(newest);
        }
        let Some(head) = newest else {
            return Ok(None);
        };
        let segment = journal::counted(&objects, &head).await?;
        let mut journal = Self {
            objects,
            process,
            ends: Hlc::default(),
        };
        let newest = journal.entries(&segment).last().transpose()?;
        journal.ends = newest.map_or(Hlc::default(), |entry| entry.turn.time);
        Ok(Some(journal))
    }

    /// The turns of a segment, each checked to continue the one before it.
    pub(super) fn entries(
        &self,
        segment: &Segment,
    ) -> impl Iterator<Item = Result<Entry, ArchiveError>> {
        let mut before = segment.head.before();
        let key = format!("journal/{:020}", segment.head.index().0);
        segment.entries().map(move |framed| {
            let framed = framed.map_err(|error| self.objects.damaged(&key, error))?;
            let position = before.position.next();
            let entry = Entry::decode(position, framed)
                .and_then(|entry| entry.chained(position, Some(before.hash)))
                .map_err(|error| self.objects.damaged(&key, error))?;
            let hash = entry.hash;
            before = JournalPoint { position, hash };
            Ok(entry)
        })
    }
}
