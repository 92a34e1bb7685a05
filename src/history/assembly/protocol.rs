//! The events and actions of an assembly.

use std::collections::BTreeMap;

use crate::history::global::{Counted, GlobalState};
use crate::history::part::Part;
use crate::process::clock::{Hlc, Lamport};
use crate::process::ids::{Hash, Lsn, ProcessId, SnapshotId};

/// An event for an assembly.
#[derive(Debug)]
pub enum Event {
    /// The time of [`Assembly::wake_at`](super::Assembly::wake_at) has come.
    Time,
    /// A fetch has delivered a part with all its chunks, finished or not. Parts are held back while
    /// [`Assembly::takes_parts`](super::Assembly::takes_parts) is false.
    Arrived(Box<Part>),
    /// A fetch has ended.
    FetchEnded {
        /// The process of the part.
        process: ProcessId,
        /// Whether it has delivered everything that this process will ever have.
        is_done: bool,
    },
    /// The process has deleted the snapshot from its history: a fetch of its part is over, and no other can succeed.
    NotKept(ProcessId),
    /// Answers [`Job::Ask`]: the parts that arrived in time.
    Asked(Vec<Part>),
    /// Answers [`Job::Adopt`]: whether the history now has a complete revision.
    Adopted(bool),
    /// Answers [`Job::ReadNewest`].
    Newest(Option<Newest>),
    /// Answers [`Job::Count`].
    Counted {
        /// What was counted in the undamaged parts.
        counted: BTreeMap<ProcessId, Counted>,
        /// The processes whose part is damaged or lacks chunks in this store.
        damaged: Vec<ProcessId>,
        /// The processes with a different part in the newest revision of the own history, with the cut of that part.
        contradicted: BTreeMap<ProcessId, (Lsn, Hash)>,
    },
    /// Answers [`Job::Publish`]: the number of the revision, which is durable.
    Published(u32),
    /// The store has failed. The assembly ends and is resumed after the next start.
    Failed,
}

/// The newest revision of a snapshot in the own history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Newest {
    /// Its number.
    pub revision: u32,
    /// How much it contains.
    pub extent: Extent,
}

/// An action of an assembly. Actions must be executed in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Fetch a part until it is finished, and deliver each state of it ([`Event::Arrived`], [`Event::FetchEnded`]).
    Fetch {
        /// The process of the part.
        process: ProcessId,
        /// Whether a revision without it has been published. Few late parts are fetched from one process at a time.
        is_late: bool,
        /// The fetch fails if nothing arrives for this long, microseconds.
        wait_us: u64,
    },
    /// Drop all running fetches and the delivered parts that are held back.
    StopFetching,
    /// Start the job whose answer the assembly awaits; one at a time.
    Run(Job),
    /// Show the parts that are present, while there is no published revision.
    Show,
    /// Notify the watchers of the snapshot that the part of this process has arrived.
    NotePart(ProcessId),
    /// A part that differs from the known one was left out: another store of the process recorded it, or a foreign process
    /// changed its report.
    NoteContradiction(ProcessId),
    /// The assembly has ended; this is its last action.
    End(End),
}

/// A job whose answer an assembly awaits. Each is answered by one event, or by [`Event::Failed`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Job {
    /// Request the parts of these processes as they are, open channels included ([`Event::Asked`]).
    Ask {
        /// The processes; the own one may be among them.
        processes: Vec<ProcessId>,
        /// As in [`Action::Fetch`].
        is_late: bool,
        /// The time limit in microseconds; a part that takes longer is left out.
        limit_us: u64,
    },
    /// Look for a complete revision in the own history, then at these processes, and store the first one found
    /// ([`Event::Adopted`]).
    Adopt {
        /// The processes to ask.
        processes: Vec<ProcessId>,
    },
    /// Read the newest revision in the own history ([`Event::Newest`]).
    ReadNewest,
    /// Count the stored contents of the parts ([`Event::Counted`]).
    Count,
    /// Make the [next revision](super::Assembly::next_revision) durable and show it ([`Event::Published`]).
    Publish,
}

/// Why an assembly has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The complete revision is published.
    Complete,
    /// The history has the complete revision of another process.
    Adopted,
    /// The missing parts were lost with their stores, or deleted; the partial revision is final.
    InVain,
    /// The store has failed.
    Failed,
}

/// How much of a global state is present.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Extent {
    /// The number of recorded states.
    pub states: usize,
    /// The number of closed channels.
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

/// The start and the time limits of a snapshot, microseconds of a monotonic clock.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// The present time.
    pub now_us: u64,
    /// The time since the start of the snapshot.
    pub elapsed_us: u64,
    /// The time from now until what is present is published.
    pub deadline_us: u64,
    /// The configured deadline of all snapshots.
    pub configured_deadline_us: u64,
}

/// The properties of a revision that depend on the moment of its publication.
#[derive(Debug, Clone)]
pub struct Finish {
    /// The present time, microseconds of the monotonic clock.
    pub now_us: u64,
    /// The present time of the wall clock.
    pub time: Hlc,
    /// The Lamport clock of the process.
    pub clock: Lamport,
    /// The newest complete snapshot in the history.
    pub last_complete: Option<SnapshotId>,
}

/// A revision to be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NextRevision {
    /// The state without its number.
    pub state: GlobalState,
    /// The revision gets the first free number above this one.
    pub after: u32,
}
