//! The start of a process with an archive: executes what [`Attaching`] decides.

use std::collections::VecDeque;
use std::path::Path;
use std::time::{Duration, Instant};

pub(in crate::node) use super::not_attached::NotAttached;
use super::turns::read_turns;
use crate::archive::epochs::{Promise, Terms};
use crate::archive::walk::{missing_at_end, newest_link};
use crate::archive::{
    NotFenced, Objects, StartReader, ask, epochs, journal, kept, links, probe, rebuilt,
};
use crate::config::{ArchiveSettings, NodeConfig};
use crate::offsite::Source;
use crate::offsite::memory;
use crate::offsite::origin::{NotShipped, StoreReader};
use crate::offsite::outbound::Outbound;
use crate::offsite::refill::claimed_salts;
use crate::process::ids::Lsn;
use crate::shipping;
use crate::shipping::attach::{Action, Attaching, Event, Here, Starting, Unfit};
use crate::shipping::chain::Link;
use crate::shipping::segment::{Owner, Segment, WriterId};
use crate::shipping::writer;
use crate::shipping::writer::Writer;
use crate::shipping::{Epoch, JournalPoint};
use crate::store::{Store, StoreError};

/// What to do with a directory that has no store and is not empty.
const REMAINDER: &str =
    "It is not empty: put back what is missing of a store, or move its content away. ";
/// The time between two log lines of a long start.
const SAY_EVERY: Duration = Duration::from_secs(10);

/// What is known of the archive when the node starts.
pub(in crate::node) struct Beginning {
    pub(super) source: Source,
    pub(super) epoch: Epoch,
    /// If something was shipped already.
    pub(super) outbound: Option<Outbound>,
}

/// A fenced archive, behind or equal to the journal here.
pub(in crate::node) struct Attached {
    pub(super) writer: Writer,
    /// What is archived.
    pub(super) archived: Link,
    pub(super) objects: Objects,
    /// For what is kept beside the journal.
    pub(in crate::node) beginning: Option<Beginning>,
}

/// The walk of a start along the archived journal.
#[derive(Default)]
struct Walk {
    reader: StartReader,
    /// The turns that were appended here and are not durable.
    appended: u64,
    /// Whether the archive has what the store notes of gaps and of its making: only that is new which the end of the start notes.
    has_noted: bool,
    /// When it was last said how far the start is; at first, when the shipping began.
    said: Option<Instant>,
}

impl Walk {
    // Nobody can ask a process that is not ready how far it is.
    fn say_shipping(&mut self, position: Lsn, end: Lsn) {
        if self.is_due(Instant::now()) {
            tracing::info!(%position, %end, "shipping what the archive lacks of the journal before the process is ready");
        }
    }

    // Nothing is said of a shipping that is over within the time between two lines.
    fn is_due(&mut self, now: Instant) -> bool {
        let said = self.said.get_or_insert(now);
        let is_due = now.duration_since(*said) >= SAY_EVERY;
        if is_due {
            *said = now;
        }
        is_due
    }
}

/// The archive of a process, before its store is open.
pub(in crate::node) struct Archive {
    settings: ArchiveSettings,
    /// `history.max_age`, by which a restored store begins.
    max_age: Option<Duration>,
    /// Those of the process; a request is repeated as long as a node may lag.
    objects: Objects,
    source: Source,
    owner: Owner,
}

impl Archive {
    /// The archive of the configured process; `None` if nothing is shipped.
    pub(in crate::node) fn of(config: &NodeConfig) -> Result<Option<Self>, NotAttached> {
        let settings = config.archive.as_ref();
        let Some(settings) = settings.filter(|settings| settings.journal.ships()) else {
            return Ok(None);
        };
        let owner = Owner {
            cluster: config.cluster.clone(),
            process: config.me.to_string(),
        };
        let source = Source::new(&Objects::open(&settings.url)?, owner.clone());
        Ok(Some(Self {
            settings: settings.clone(),
            max_age: config.history.max_age,
            objects: source.process().patient(settings.lag_max),
            source,
            owner,
        }))
    }

    /// Refuses a directory without a store if the archive has the journal of the process. Waits for an archive that does not
    /// answer as long as a node may lag.
    pub(in crate::node) async fn check_directory(&self, dir: &Path) -> Result<(), NotAttached> {
        if Store::exists(dir) || epochs::newest(&self.objects).await?.is_none() {
            return Ok(());
        }
        let position = self.newest_archived().await?;
        Err(NotAttached::EmptyDirectory {
            dir: dir.display().to_string(),
            remainder: match std::fs::read_dir(dir).map(|mut entries| entries.next().is_some()) {
                Ok(true) => REMAINDER,
                Ok(false) | Err(_) => "",
            },
            url: self.settings.url.clone(),
            cluster: self.owner.cluster.clone(),
            process: self.owner.process.clone(),
            position,
        })
    }

    // The newest archived turn.
    async fn newest_archived(&self) -> Result<Lsn, NotAttached> {
        Ok(newest_link(&self.objects).await?.journal.position)
    }

    // Who has written the newest segment that counts.
    async fn newest_writer(&self) -> Result<Option<WriterId>, NotAttached> {
        let epoch = newest_link(&self.objects).await?.epoch;
        if epoch == Epoch::default() {
            return Ok(None);
        }
        let claimed = epochs::at(&self.objects, epoch).await?;
        Ok(Some(claimed.writer))
    }

    /// Executes the start ([`Attaching`]): compares, catches up, sets the fence, and ships what must be archived first. The
    /// store is open and not running.
    pub(in crate::node) async fn attach(self, store: &mut Store) -> Result<Attached, NotAttached> {
        let identity = store.identity();
        self.check_restored(store).await?;
        let (mut attaching, first) = Attaching::begin(Starting {
            owner: self.owner.clone(),
            identity,
            window: self.settings.window,
            waits: self.settings.waits(),
            begins: begins_behind(store)?,
            end: store.journal().end().0,
            known: memory::recall(store)?,
            claimed: memory::recall_claim(store)?,
            was_behind: store.archived().was_behind()?,
        });
        let (mut actions, mut walk) = (VecDeque::from([first]), Walk::default());
        while let Some(action) = actions.pop_front() {
            let event = match action {
                Action::Attached(attached) => {
                    let shipping::attach::Attached {
                        writer,
                        archived,
                        was_behind,
                    } = *attached;
                    if was_behind {
                        // The older copy ends elsewhere now.
                        store.end_behind()?;
                        memory::ship_gaps(&self.objects, store).await?;
                    }
                    memory::remember(store, archived)?;
                    store.sync()?;
                    let epoch = writer.epoch();
                    let outbound = self.ship_beginning(store, epoch).await?;
                    return Ok(Attached {
                        writer,
                        archived,
                        objects: self.source.process().clone(),
                        beginning: Some(Beginning {
                            source: self.source,
                            epoch,
                            outbound,
                        }),
                    });
                }
                action => {
                    if let Action::Claim(claim) = &action {
                        // A fence in a hole would make everything behind it void.
                        let missing = missing_at_end(&self.objects, attaching.walked()).await?;
                        if let Some(segment) = missing {
                            return Err(self.refused(Unfit::Hole(segment), store));
                        }
                        // Only now: the wrong place is left as it is.
                        probe::probe(&self.objects, claim.identity.run).await?;
                    }
                    self.execute(store, &action, &mut walk).await?
                }
            };
            let next = attaching.on(event);
            actions.extend(next.map_err(|unfit| self.refused(unfit, store))?);
        }
        unreachable!(
            "each action of a start but its last is answered, and each answer has an action"
        )
    }

    async fn execute(
        &self,
        store: &mut Store,
        action: &Action,
        walk: &mut Walk,
    ) -> Result<Event, NotAttached> {
        let objects = &self.objects;
        Ok(match action {
            Action::ReadClaim => Event::Newest(epochs::newest(objects).await?),
            Action::ReadWriter => Event::Writer(self.newest_writer().await?),
            Action::NoteBehind => {
                store.archived().note_behind()?;
                Event::Noted
            }
            Action::Remember(claim) => {
                store.count_start()?;
                memory::remember_claim(store, *claim)?;
                Event::Remembered
            }
            Action::Claim(claim) => {
                let terms = Terms {
                    salts: claimed_salts(store.salts()?),
                    promise: Promise {
                        waits: self.settings.waits(),
                        behind: store.journal().end().0,
                    },
                    window: self.settings.window as u64,
                    max_age: self.max_age,
                };
                Event::Claimed(epochs::create(objects, *claim, &terms).await?)
            }
            Action::ReadLink(behind, until) => {
                Event::Linked(links::newest(objects, *behind, *until).await?)
            }
            Action::Ask(writer::Action::Look(index)) => {
                let head = walk.reader.head(objects, *index).await?;
                Event::Told(writer::Event::Found(*index, head.map(Box::new)))
            }
            Action::Ask(request @ writer::Action::Put(_)) => {
                self.note_once(store, walk).await?;
                Event::Told(ask(objects, request).await?)
            }
            Action::Ask(request) => Event::Told(ask(objects, request).await?),
            Action::Read(head) => {
                journal::check_owner(objects, head, &self.owner)?;
                Event::Read(Box::new(walk.reader.segment(objects, head).await?))
            }
            Action::Append(segment) => {
                walk.appended += self.append(store, segment)?;
                Event::Appended
            }
            Action::Compare(point) => {
                walk.finish(store)?;
                Event::Here(Here {
                    first: store.journal().begins_at(),
                    end: store.journal().end().0,
                    hash: match point.position.next() < store.journal().begins_at() {
                        true => None,
                        false => store.journal().hash_of(point.position)?,
                    },
                })
            }
            Action::ReadTurns(before) => {
                let bytes_max = self.settings.segment_max;
                walk.say_shipping(before.position, store.journal().end().0);
                Event::Turns(read_turns(store, *before, bytes_max)?)
            }
            Action::Attached(_) => unreachable!("it ends the start"),
        })
    }

    // Nothing is shipped behind a gap that is not noted.
    async fn note_once(&self, store: &Store, walk: &mut Walk) -> Result<(), NotAttached> {
        if !walk.has_noted {
            memory::ship_gaps(&self.objects, store).await?;
            if let Some(figures) = memory::rebuilt_figures(store)? {
                rebuilt::put(&self.objects, figures).await?;
            }
            walk.has_noted = true;
        }
        Ok(())
    }

    // Appends the turns of a segment that the journal here lacks. Returns their number.
    fn append(&self, store: &Store, segment: &Segment) -> Result<u64, NotAttached> {
        let before = store.journal().end().0;
        let known = before.0.saturating_sub(segment.head.before().position.0);
        let known = usize::try_from(known).unwrap_or(usize::MAX);
        let lacking: Result<Vec<_>, _> = segment.entries().skip(known).collect();
        let index = segment.head.index();
        let lacking = lacking.map_err(|error| journal::damaged(&self.objects, index, error))?;
        let appended = store.append_archived_while(lacking, |_| true);
        appended.map_err(|error| match error {
            StoreError::Damaged { .. } => self.differs(store.journal().end().0.next()),
            // A full or failing disk says nothing about the journals.
            error => error.into(),
        })?;
        store.account_index().write_full()?;
        Ok(store.journal().end().0.0 - before.0)
    }

    // The turns that a store restored to an instant left out must not be appended to it.
    async fn check_restored(&self, store: &Store) -> Result<(), NotAttached> {
        let end = store.journal().end().0;
        let restored = store.restored_to()?.filter(|restored| end <= *restored);
        let Some(restored) = restored else {
            return Ok(());
        };
        let archived = self.newest_archived().await?;
        match archived <= restored {
            true => Ok(()),
            false => Err(NotAttached::RestoredEarlier {
                url: self.settings.url.clone(),
                process: self.owner.process.clone(),
                restored,
                archived,
            }),
        }
    }

    fn differs(&self, position: Lsn) -> NotAttached {
        NotAttached::Differs {
            url: self.settings.url.clone(),
            process: self.owner.process.clone(),
            position,
        }
    }

    fn refused(&self, unfit: Unfit, store: &Store) -> NotAttached {
        let (url, process) = (self.settings.url.clone(), self.owner.process.clone());
        match unfit {
            Unfit::OtherStore(there) => NotAttached::OtherStore {
                url,
                process,
                there: there.store_in_hexadecimal().into(),
                here: store.identity().store_in_hexadecimal().into(),
            },
            Unfit::OlderCopy(there) => NotAttached::OlderCopy {
                url,
                process,
                there: there.boot,
                here: store.identity().boot,
                dir: store.dir().display().to_string(),
            },
            Unfit::OtherArchive(there) => NotAttached::OtherArchive {
                url,
                process,
                there: there.boot,
                dir: store.dir().display().to_string(),
            },
            Unfit::Differs(position) => self.differs(position),
            Unfit::Trimmed { archived, first } => NotAttached::Trimmed {
                url,
                process,
                archived,
                first,
            },
            Unfit::Hole(segment) => NotAttached::Hole {
                url,
                process,
                segment,
                dir: store.dir().display().to_string(),
            },
            Unfit::Lacking(link) => NotAttached::Lacking {
                url,
                process,
                segment: link.index,
                position: link.journal.position,
                dir: store.dir().display().to_string(),
            },
            Unfit::Superseded(superseded) => {
                NotFenced::Superseded(superseded, self.owner.clone()).into()
            }
            Unfit::Broken(broken) => NotFenced::from(broken).into(),
        }
    }

    // A journal that does not begin with turn 1 needs a state in the archive before anything waits for it.
    async fn ship_beginning(
        &self,
        store: &Store,
        epoch: Epoch,
    ) -> Result<Option<Outbound>, NotAttached> {
        let behind = journal::begins_behind(&self.objects).await?.position;
        let cut = Lsn(store.journal().begins_at().0 - 1);
        if behind == Lsn(0) || cut < behind {
            return Ok(None);
        }
        if kept::has_state_from(&self.objects, behind).await? {
            return Ok(None);
        }
        let patient = self.source.patient(self.settings.lag_max);
        let mut outbound = Outbound::open(patient, epoch).await?;
        let shipped = outbound.ship_first(&Opened(store), cut).await;
        shipped.map_err(|error| match error {
            NotShipped::Archive(error) => NotAttached::Archive(error),
            NotShipped::Damaged(error) => NotAttached::Store(error),
            NotShipped::Stopping => unreachable!("the store is open"),
        })?;
        outbound.set_source(self.source.clone());
        tracing::info!(%cut, "the archive begins with the state from which the journal here begins");
        Ok(Some(outbound))
    }
}

impl Walk {
    // Makes durable what was appended.
    fn finish(&mut self, store: &Store) -> Result<(), StoreError> {
        let turns = std::mem::take(&mut self.appended);
        if turns > 0 {
            store.sync_journal()?;
            tracing::warn!(
                turns,
                "took turns from the archive that the journal here lacked"
            );
        }
        Ok(())
    }
}

// The point before the first turn of the journal here.
fn begins_behind(store: &Store) -> Result<JournalPoint, StoreError> {
    let position = Lsn(store.journal().begins_at().0 - 1);
    let hash = store.journal().hash_of(position)?.unwrap_or_default();
    Ok(JournalPoint { position, hash })
}

/// A store that is open and not running; this thread may block.
struct Opened<'a>(&'a Store);

impl StoreReader for Opened<'_> {
    type Origin = Store;

    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, NotShipped> {
        work(self.0).map_err(NotShipped::Damaged)
    }
}

#[cfg(test)]
#[path = "attach_tests.rs"]
mod tests;
