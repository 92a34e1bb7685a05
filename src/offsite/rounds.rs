//! What a process does again and again on its archive: one look for what is to be shipped, and rounds of deletion.

use super::origin::{NotShipped, StoreReader};
use super::outbound::Outbound;
use super::retention::{Deleted, Limit, Retention};
use crate::process::ids::Lsn;

/// What a look goes by.
pub struct Look<'a> {
    /// The last turn that the archive has; asked before each state.
    pub archived: &'a (dyn Fn() -> Lsn + Sync),
    /// Whether there may be parts that were not shipped.
    pub has_parts: bool,
    /// Told of what cannot be read in the store: everything else is shipped.
    pub damaged: &'a mut (dyn FnMut(&NotShipped) + Send),
}

impl Look<'_> {
    fn pass_over(&mut self, error: NotShipped) -> Result<(), NotShipped> {
        match error {
            NotShipped::Damaged(_) => {
                (self.damaged)(&error);
                Ok(())
            }
            error => Err(error),
        }
    }
}

impl Outbound {
    /// Ships everything that is not in the archive, but for pins: they come first.
    ///
    /// # Errors
    /// [`NotShipped`], but not [`NotShipped::Damaged`].
    pub async fn ship(
        &mut self,
        store: &impl StoreReader,
        mut look: Look<'_>,
    ) -> Result<(), NotShipped> {
        loop {
            let archived = (look.archived)();
            match self.ship_state(store, archived).await {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => look.pass_over(error)?,
            }
        }
        if look.has_parts
            && let Err(error) = self.ship_parts(store).await
        {
            look.pass_over(error)?;
        }
        while let Err(error) = self.ship_pinned(store).await {
            look.pass_over(error)?;
        }
        loop {
            match self.ship_revisions(store).await {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(error) => look.pass_over(error)?,
            }
        }
    }

    /// Deletes what is due, round after round; `told` learns what each has deleted.
    ///
    /// # Errors
    /// [`NotShipped::Archive`]; the next call goes on.
    pub async fn delete(
        &mut self,
        limit: &Limit,
        told: &mut (dyn FnMut(Deleted) + Send),
    ) -> Result<(), NotShipped> {
        loop {
            // Whoever deletes ends wherever it waits for the archive.
            let mut goes_on = || true;
            let retention = Retention::new(self.source(), self.epoch(), limit, &mut goes_on);
            let (deleted, ended) = retention.round().await;
            self.forget(&deleted);
            let is_more = deleted.is_more;
            told(deleted);
            ended.map_err(NotShipped::Archive)?;
            if !is_more {
                return Ok(());
            }
        }
    }
}
