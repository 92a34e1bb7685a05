//! The ends of messages around a recorded state of the own process: few answers at once, each bounded in turns and time.

use std::time::Duration;

use crate::history::diagram::excerpt::{Excerpt, ExcerptQuery};
use crate::node::error::{Unanswered, Unavailable};
use crate::node::handle::Handle;

/// The longest time that an answer reads.
const READING_MAX: Duration = Duration::from_secs(1);

impl Handle {
    /// The ends of messages in the own journal, as asked for. Waits for a place.
    ///
    /// # Errors
    /// [`Unanswered::OtherJournal`] if the cut is one of another journal; the store says that the journal begins later.
    pub async fn excerpt(&self, query: ExcerptQuery) -> Result<Excerpt, Unanswered> {
        let place = self.shared.excerpts.acquire().await;
        let _place = place.map_err(|closed| Unavailable::Stopped(closed.to_string()))?;
        let cut = query.cut.as_ref().map(|cut| cut.position);
        let found = self
            .store_worker()
            .look_up(move |store| store.past().excerpt(&query, READING_MAX));
        let found = found.await?;
        self.shown().await?;
        found.ok_or_else(|| Unanswered::OtherJournal(cut.unwrap_or_default()))
    }
}
