//! The object store: what `archive/` and `offsite/` of the program put there, under their keys, by their own code. Of several
//! creators of one object, one succeeds.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};
use snapledger::archive::epochs::{ClaimedSalts, Promise, Terms};
use snapledger::archive::{ArchiveError, Objects, ask, epochs, journal, links};
use snapledger::offsite::Source;
use snapledger::offsite::retention::Limit;
use snapledger::process::identity::Identity;
use snapledger::process::ids::{Hash, Lsn};
use snapledger::shipping::attach::{Action, Event};
use snapledger::shipping::chain::{Chain, Link};
use snapledger::shipping::hold::Waits;
use snapledger::shipping::object::{ObjectHead, StateKey};
use snapledger::shipping::segment::{Owner, WriterId};
use snapledger::shipping::taking_up::WINDOW_MAX;
use snapledger::shipping::writer::Action as Wanted;
use snapledger::shipping::{Epoch, SegmentIndex};

use tokio_stream::StreamExt as _;

use crate::world::Checked;

/// The number of segments for one link.
const LINK_EVERY: u64 = 8;

/// The storage of all archives of a run.
pub(crate) type Storage = Arc<InMemory>;

/// The archive of one process below one URL.
pub(crate) struct Folder {
    storage: Storage,
    source: Source,
    /// The path of its objects.
    pub(super) at: Path,
    claims: BTreeMap<Epoch, WriterId>,
    linked: SegmentIndex,
    /// The walk along the segments that count, so far.
    walked: Chain,
    /// The groups of chunks that are there, with their pieces, and what names them.
    pub(super) pieces: BTreeSet<(Epoch, Hash, u32)>,
    pub(super) named: BTreeMap<Path, ObjectHead>,
    pub(super) states: BTreeSet<StateKey>,
    /// The last segment before the kept ones.
    pub(super) boundary: Link,
    /// By what the retention of each start has gone.
    pub(super) limits: BTreeMap<u64, Vec<Limit>>,
    /// The number of deletions.
    pub(super) deletions: u64,
    /// When objects beside the journal were put, and those of them that late deletions took away.
    pub(super) put_at: BTreeMap<Path, u64>,
    pub(super) gone: BTreeSet<Path>,
}

impl Folder {
    /// The folder of a process below an URL of this number.
    pub(crate) fn new(storage: &Storage, url: usize, process: &str) -> Self {
        let owner = Owner {
            cluster: "simulated".to_owned(),
            process: process.to_owned(),
        };
        let url = Path::from(url.to_string());
        let at = url.clone().join("simulated").join(process);
        let objects = Objects::over(
            Arc::clone(storage) as Arc<dyn ObjectStore>,
            url,
            "simulated:",
        );
        Self {
            storage: Arc::clone(storage),
            source: Source::new(&objects, owner),
            at,
            claims: BTreeMap::new(),
            linked: SegmentIndex::default(),
            walked: Chain::behind(Link::default()),
            pieces: BTreeSet::new(),
            named: BTreeMap::new(),
            states: BTreeSet::new(),
            boundary: Link::default(),
            limits: BTreeMap::new(),
            deletions: 0,
            put_at: BTreeMap::new(),
            gone: BTreeSet::new(),
        }
    }

    /// The archive, with requests that are executed at once.
    pub(crate) fn source(&self) -> &Source {
        &self.source
    }

    /// The same archive over another way.
    pub(crate) fn source_over(&self, storage: Arc<dyn ObjectStore>) -> Source {
        let mut parts = self.at.parts();
        let url = parts.next().map(|url| Path::from(url.as_ref()));
        let objects = Objects::over(storage, url.unwrap_or_default(), "simulated:");
        Source::new(&objects, self.source.owner().clone())
    }

    fn process(&self) -> &Objects {
        self.source.process()
    }

    /// The newest claim.
    pub(crate) fn newest(&self) -> Option<WriterId> {
        self.claims.last_key_value().map(|(_, claim)| *claim)
    }

    /// The claim of a start.
    pub(crate) fn claim_of(&self, identity: Identity) -> Option<WriterId> {
        let mut claims = self.claims.values();
        claims.find(|claim| claim.identity == identity).copied()
    }

    /// Whether nothing was created.
    pub(crate) fn is_empty(&self) -> Checked<bool> {
        let mut found = self.storage.list(Some(&self.at));
        Ok(at_once(found.next())?.is_none())
    }

    /// Executes a request of a start or of a writer, as `node/archive/attach.rs` does; `None` if what is wanted is gone.
    pub(crate) fn execute(&mut self, request: &Action) -> Checked<Option<Event>> {
        let process = self.process();
        Ok(Some(match request {
            Action::ReadClaim => Event::Newest(self.newest()),
            Action::ReadWriter => {
                let last = self.tip()?;
                Event::Writer(self.claims.get(&last.epoch).copied())
            }
            Action::Claim(claim) => {
                let terms = terms();
                let created = epochs::create(process, *claim, &terms);
                let is_free = whole(at_once(created)?)?;
                if is_free {
                    self.claims.insert(claim.epoch, *claim);
                }
                Event::Claimed(is_free)
            }
            Action::ReadLink(behind, until) => {
                Event::Linked(whole(at_once(links::newest(process, *behind, *until))?)?)
            }
            Action::Read(head) => match at_once(journal::counted(process, head))? {
                Ok(segment) => Event::Read(Box::new(segment)),
                Err(ArchiveError::Damaged { .. }) if head.index() <= self.boundary.index => {
                    return Ok(None);
                }
                Err(error) => return Err(error.to_string()),
            },
            Action::Ask(wanted @ (Wanted::Look(_) | Wanted::Put(_) | Wanted::ReadBoundary)) => {
                Event::Told(whole(at_once(ask(process, wanted))?)?)
            }
            other => return Err(format!("{other:?} is no request")),
        }))
    }

    /// Takes note of a claim that was made otherwise.
    pub(super) fn note_claim(&mut self) -> Checked {
        if let Some(claim) = whole(at_once(epochs::newest(self.process()))?)? {
            self.claims.insert(claim.epoch, claim);
        }
        Ok(())
    }

    /// Takes note of the boundary.
    pub(super) fn note_boundary(&mut self) -> Checked {
        self.boundary = whole(at_once(journal::boundary(self.process()))?)?;
        Ok(())
    }

    /// Links an acknowledged segment, if that is due.
    pub(crate) fn link(&mut self, link: Link) -> Checked {
        if link.is_due_behind(self.linked, LINK_EVERY) {
            self.linked = link.index;
            whole(at_once(links::put(self.process(), link))?)?;
        }
        Ok(())
    }

    /// The last segment that counts.
    pub(crate) fn tip(&mut self) -> Checked<Link> {
        // What counted counts for ever.
        let mut walked = match self.boundary.index > self.walked.last().index {
            true => Chain::behind(self.boundary),
            false => self.walked.clone(),
        };
        while whole(at_once(journal::next_head(self.process(), &mut walked))?)?.is_some() {}
        self.walked = walked;
        Ok(self.walked.last())
    }

    /// Whether everything of a state is there.
    pub(super) fn is_whole(&self, state: &StateKey) -> bool {
        let path = self.path(&state.to_string());
        self.named.get(&path).is_some_and(|head| {
            let mut groups = head.groups().iter();
            groups.all(|one| {
                let mut pieces = 0..one.pieces;
                pieces.all(|piece| self.pieces.contains(&(state.epoch, one.group, piece)))
            })
        })
    }

    /// The first whole state from which a restore can begin.
    pub(super) fn begin(&self) -> Option<&StateKey> {
        let behind = self.boundary.journal.position;
        let mut states = self.states.iter().filter(|state| state.cut >= behind);
        states.find(|state| self.is_whole(state))
    }

    pub(super) fn path(&self, key: &str) -> Path {
        key.split('/')
            .fold(self.at.clone(), |path, part| path.join(part))
    }

    /// Whether the archive begins behind turn 1.
    pub(crate) fn is_shortened(&self) -> bool {
        self.boundary.journal.position > Lsn(0)
    }

    /// Sabotage: deletes a segment.
    pub(crate) fn delete(&mut self, index: SegmentIndex) -> Checked {
        let path = self.path(&format!("journal/{:020}", index.0));
        at_once(self.storage.delete(&path))?.map_err(|error| error.to_string())
    }
}

// Of a writer that promises nothing and may have as much in flight as any.
fn terms() -> Terms {
    Terms {
        salts: ClaimedSalts {
            secret: [7; 32],
            from: None,
        },
        promise: Promise {
            waits: Waits::Nothing,
            behind: Lsn(0),
        },
        window: WINDOW_MAX,
        max_age: None,
    }
}

/// The result of what needs to wait for nothing.
pub(crate) fn at_once<T>(future: impl Future<Output = T>) -> Checked<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => Ok(done),
        Poll::Pending => Err("a request in memory waits".to_owned()),
    }
}

// What is in the archive is whole unless it was sabotaged, and then the checkers must find it by what it does.
fn whole<T>(done: Result<T, ArchiveError>) -> Checked<T> {
    done.map_err(|error| error.to_string())
}
