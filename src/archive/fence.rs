//! The opening of a writer: it walks to the end of the chain and sets its fence there.

use super::{ArchiveError, Objects, journal};
use crate::shipping::chain::{Broken, Link};
use crate::shipping::segment::{Owner, WriterId};
use crate::shipping::writer::{Action, Event, Superseded, Walked, Writer};

/// A writer whose fence is set.
pub struct Fenced {
    /// Ready to ship.
    pub writer: Writer,
    /// The fence.
    pub fence: Link,
}

/// Why a fence is not set.
#[derive(Debug, thiserror::Error)]
pub enum NotFenced {
    /// The archive cannot be used.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// A later writer has set its own.
    #[error("{}", .0.sentence(.1))]
    Superseded(Superseded, Owner),
    /// The segments of the archive contradict each other.
    #[error(transparent)]
    Broken(#[from] Broken),
}

impl Superseded {
    /// Why a process stops whose journal another one has taken over.
    #[must_use]
    pub fn sentence(&self, owner: &Owner) -> String {
        let Self { by, boot, at } = self;
        let start = boot.map_or_else(
            || "a later start".to_owned(),
            |boot| format!("start {boot}"),
        );
        format!(
            "{start} of {} has taken over the journal in the archive (epoch {by}, segment {at}); this process stops",
            owner.process
        )
    }
}

/// Executes a request of a writer.
///
/// # Errors
/// [`ArchiveError`].
///
/// # Panics
/// If the action is no request.
pub async fn ask(process: &Objects, action: &Action) -> Result<Event, ArchiveError> {
    match action {
        Action::Look(index) => {
            let head = journal::head(process, *index).await?;
            Ok(Event::Found(*index, head.map(Box::new)))
        }
        Action::Put(segment) => journal::put(process, segment).await,
        Action::ReadBoundary => Ok(Event::Boundary(journal::boundary(process).await?)),
        Action::Opened(_) | Action::Archived(_) | Action::Stop(_) | Action::Refuse(_) => {
            unreachable!("it is no request")
        }
    }
}

/// Opens a writer behind a known segment of its process.
///
/// # Errors
/// [`NotFenced`].
pub async fn fence(
    process: &Objects,
    owner: Owner,
    id: WriterId,
    window: usize,
    walked: Walked,
) -> Result<Fenced, NotFenced> {
    let (mut writer, mut action) = Writer::continuing(owner, id, window, walked);
    loop {
        let event = match &action {
            Action::Stop(superseded) => {
                return Err(NotFenced::Superseded(*superseded, writer.owner().clone()));
            }
            Action::Refuse(broken) => return Err(broken.clone().into()),
            request => ask(process, request).await?,
        };
        let mut actions = writer.on(event).into_iter();
        match (actions.next(), actions.next()) {
            (Some(Action::Archived(fence)), Some(Action::Opened(_))) => {
                return Ok(Fenced { writer, fence });
            }
            (Some(next), None) => action = next,
            (first, _) => unreachable!("a writer opens step by step, not by {first:?}"),
        }
    }
}
