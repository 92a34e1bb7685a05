//! The bounds of an exploration: the participants, what each may do, the number of crashes, and the fault injected into
//! the environment of the processes. The processes themselves are always the real ones.

use std::iter;

use snapledger::process::ids::{AccountId, ChannelId, ProcessId, RequestId, SnapshotId};
use snapledger::process::input::{Input, Operation};
use snapledger::process::topology::Topology;

/// The number of processes.
pub(crate) const PROCESSES: usize = 3;
/// The initial balance of every process; more than all transfers together.
const FUNDS: i64 = 1000;

/// Upper bounds on what may happen. Everything within them is tried in every order.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// The channels, by process index.
    pub(crate) channels: &'static [(usize, usize)],
    /// Origin and destination of each transfer. Each happens once, repeats aside. The first moves 1 unit, the next 2,
    /// then 4 and so on.
    pub(crate) transfers: &'static [(usize, usize)],
    /// The process that starts each snapshot.
    pub(crate) initiators: &'static [usize],
    /// Further processes that start a snapshot under the same id: process and snapshot.
    pub(crate) others: &'static [(usize, usize)],
    /// The number of crashes that lose something; those that lose nothing are not counted. `None` allows any number,
    /// and then the states do not record whether there were any.
    pub(crate) crashes: Option<u8>,
    pub(crate) detail: Detail,
    pub(crate) fault: Fault,
}

/// Which states are distinguished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Detail {
    /// All: each history of a process is distinguished by its turns, with positions and clocks, and every process may
    /// have a turn open at any time.
    All,
    /// Only observable differences. Two histories are the same state if memory and journal look the same, however the
    /// records were divided into turns and in whatever order messages of different channels arrived. One turn is open
    /// at a time: no other process observes an open turn, so whatever others do meanwhile they can equally do before
    /// it.
    Seen,
}

/// A fault injected into the environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// No fault.
    None,
    /// Messages and answers leave before their turn is durable.
    ReleaseBeforeSync,
    /// A marker may overtake the messages before it, as if it had a channel and sequence numbers of its own.
    MarkersOvertake,
    /// A retransmitted message counts as new, as if the position had not been stored with the credit.
    RepeatsCount,
}

/// Channels in both directions between all three processes.
pub(crate) const FULL: &[(usize, usize)] = &[(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)];
/// A ring and one channel back: the smallest topology in which one process waits for a second marker that others do not
/// send.
pub(crate) const RING_AND_BACK: &[(usize, usize)] = &[(0, 1), (1, 2), (2, 0), (1, 0)];

impl Bounds {
    pub(crate) fn topology(&self) -> Topology {
        let ids: Vec<_> = (0..PROCESSES).map(process).collect();
        let channels = self.channels.iter().map(|(from, to)| ChannelId {
            from: process(*from),
            to: process(*to),
        });
        Topology::new(&ids, channels).expect("the channels are strongly connected")
    }

    /// The client's request for one transfer. A repeat is identical.
    pub(crate) fn operate(&self, transfer: usize) -> Input {
        let (_, to) = self.transfers[transfer];
        Input::Operation {
            request: Some(request(transfer)),
            operation: Operation::Transfer {
                from_account: purse(),
                to_process: Some(process(to)),
                to_account: purse(),
                amount: 1 << transfer,
                is_blind: false,
            },
        }
    }

    pub(crate) fn initiate(snapshot: usize) -> Input {
        Input::Initiate {
            snapshot: snapshot_id(snapshot),
            start: None,
        }
    }
}

/// The deposit that gives a process its funds.
pub(crate) fn fund() -> Input {
    Input::Operation {
        request: None,
        operation: Operation::Deposit {
            account: purse(),
            amount: FUNDS,
        },
    }
}

pub(crate) fn process(index: usize) -> ProcessId {
    ProcessId::parse(["p", "q", "r"][index]).expect("a valid id")
}

pub(crate) fn index(process: &ProcessId) -> usize {
    usize::from(process.as_str().as_bytes()[0] - b'p')
}

pub(crate) fn snapshot_id(number: usize) -> SnapshotId {
    SnapshotId::parse(&format!("s{number}")).expect("a valid id")
}

pub(crate) fn request(transfer: usize) -> RequestId {
    let name: String = iter::once('t')
        .chain(transfer.to_string().chars())
        .collect();
    RequestId::parse(&name).expect("a valid id")
}

fn purse() -> AccountId {
    AccountId::parse("purse").expect("a valid id")
}
