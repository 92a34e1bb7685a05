//! What goes into an assembly and what comes out of it.

use std::collections::BTreeMap;

use crate::history::global::{Counted, GlobalState};
use crate::history::part::Part;
use crate::process::clock::{Hlc, Lamport};
use crate::process::ids::{Hash, Lsn, ProcessId, SnapshotId};

/// What happens to an assembly.
#[derive(Debug)]
pub enum Event {
    /// The time of [`Assembly::wake_at`](super::Assembly::wake_at) has come.
    Time,
    /// A fetch has delivered a part with all its chunks, finished or as it is. Parts wait while
    /// [`Assembly::takes_parts`](super::Assembly::takes_parts) is false.
    Arrived(Box<Part>),
    /// A fetch has ended.
    FetchEnded {
        /// Whose part it was.
        process: ProcessId,
        /// Whether it has delivered all that this process will ever have.
        is_done: bool,
    },
    /// Answers [`Job::Ask`]: the parts that came in time.
    Asked(Vec<Part>),
    /// Answers [`Job::Adopt`]: whether the history holds a complete revision now.
    Adopted(bool),
    /// Answers [`Job::ReadNewest`].
    Newest(Option<Newest>),
    /// Answers [`Job::Count`].
    Counted {
        /// The contents of the parts that are whole.
        counted: BTreeMap<ProcessId, Counted>,
        /// The processes whose part is damaged, or lacks chunks here.
        damaged: Vec<ProcessId>,
        /// The processes of which the newest revision in the own history holds another part, with the cut of that one.
        contradicted: BTreeMap<ProcessId, (Lsn, Hash)>,
    },
    /// Answers [`Job::Publish`]: the number of the revision, which is durable.
    Published(u32),
    /// The store has failed. The assembly ends, and goes on after the next start.
    Failed,
}

/// The newest revision of a snapshot in the history here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Newest {
    /// Its number.
    pub revision: u32,
    /// How much it holds.
    pub extent: Extent,
}

/// What an assembly wants done. The actions are executed in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Fetch a part until it is finished, and deliver each state of it ([`Event::Arrived`], [`Event::FetchEnded`]).
    Fetch {
        /// Whose part.
        process: ProcessId,
        /// Whether a revision without it is published. Few late parts are fetched from one process at once.
        is_late: bool,
        /// The fetch fails if nothing comes for so long.
        wait_us: u64,
    },
    /// Drop all fetches that are under way, and the parts that they delivered and that wait.
    StopFetching,
    /// Begin what the assembly waits for: one job at a time.
    Run(Job),
    /// Show what is there: no revision is published yet.
    Show,
    /// Tell those who watch the snapshot that the part of this process came.
    NotePart(ProcessId),
    /// A part that is not the one known was left out: another store of the process recorded it, or a foreign process reports
    /// its part otherwise than before.
    NoteContradiction(ProcessId),
    /// The assembly has ended; nothing follows.
    End(End),
}

/// What an assembly waits for. Each job is answered by one event, or by [`Event::Failed`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Job {
    /// Ask these processes for their parts as they are, open channels included ([`Event::Asked`]).
    Ask {
        /// Whose parts; the own process may be among them.
        processes: Vec<ProcessId>,
        /// As in [`Action::Fetch`].
        is_late: bool,
        /// A part that takes longer is left out.
        limit_us: u64,
    },
    /// Look in the own history for a complete revision, then ask these processes for one, and store the first that is found
    /// ([`Event::Adopted`]).
    Adopt {
        /// Whom to ask.
        processes: Vec<ProcessId>,
    },
    /// Read the newest revision in the own history ([`Event::Newest`]).
    ReadNewest,
    /// Count what the stored contents of the parts hold ([`Event::Counted`]).
    Count,
    /// Make the [next revision](super::Assembly::next_revision) durable and show it ([`Event::Published`]).
    Publish,
}

/// Why an assembly has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The complete revision is published.
    Complete,
    /// The complete revision of another process is in the history.
    Adopted,
    /// What is missing was lost with a store; the partial revision stays.
    InVain,
    /// The store has failed.
    Failed,
}

/// How much of a global state is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Extent {
    /// Recorded states.
    pub states: usize,
    /// Closed channels.
    pub channels: usize,
}

impl Extent {
    /// The extent of a state.
    #[must_use]
    pub fn of(state: &GlobalState) -> Self {
        let channels = state.parts.values().map(|part| part.channels.len());
        Self {
            states: state.parts.len(),
            channels: channels.sum(),
        }
    }
}

/// When a snapshot began, and how long it may take. Microseconds of a monotonic clock.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// The present.
    pub now_us: u64,
    /// How long ago the snapshot began.
    pub elapsed_us: u64,
    /// How long from now until what is there is published.
    pub deadline_us: u64,
    /// The configured deadline of all snapshots.
    pub configured_deadline_us: u64,
}

/// What a revision says of the moment at which it is published.
#[derive(Debug, Clone)]
pub struct Finish {
    /// The present, microseconds of the monotonic clock.
    pub now_us: u64,
    /// The wall clock.
    pub time: Hlc,
    /// The Lamport clock.
    pub clock: Lamport,
    /// The newest snapshot in the history that is complete.
    pub last_complete: Option<SnapshotId>,
}

/// A revision that is to be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NextRevision {
    /// All but its number.
    pub state: GlobalState,
    /// It gets the first free number after this one.
    pub after: u32,
}
