//! The bounds of an exploration: who takes part, what each may do, how often anyone may crash, and which fault is
//! built into the world around the processes. The processes themselves are always the real ones.

use std::iter;

use snapledger::process::event::{Input, Operation};
use snapledger::process::ids::{AccountId, ChannelId, ProcessId, RequestId, SnapshotId};
use snapledger::process::topology::Topology;

/// How many processes there are.
pub(crate) const PROCESSES: usize = 3;
/// What every process holds before anything happens; more than all transfers together.
const FUNDS: i64 = 1000;

/// What may happen, at most; everything that may happen is tried in every order.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// By place.
    pub(crate) channels: &'static [(usize, usize)],
    /// From where to where; each once, repeats aside. The first moves 1, the next 2, then 4 and so on.
    pub(crate) transfers: &'static [(usize, usize)],
    /// Who starts each snapshot.
    pub(crate) initiators: &'static [usize],
    /// Who else starts which snapshot, under the same id.
    pub(crate) others: &'static [(usize, usize)],
    /// How many crashes lose something; those that lose nothing are not counted. `None` is any number, and then it is
    /// forgotten that there were any.
    pub(crate) crashes: Option<u8>,
    pub(crate) detail: Detail,
    pub(crate) fault: Fault,
}

/// What is told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Detail {
    /// Everything: each life of a process by each of its turns, with position and clock, and everyone may have a turn
    /// open at any time.
    All,
    /// What can be seen: two lives are one where memory and journal look the same, however the records were divided
    /// into turns and in whatever order messages of different channels came. One turn is open at a time: nobody else
    /// sees anything of it, so what others do meanwhile they can as well do before it.
    Seen,
}

/// What is wrong with the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// Messages and answers leave before their turn is durable.
    ReleaseBeforeSync,
    /// A marker may pass the messages before it, as if it had a way and numbers of its own.
    MarkersOvertake,
    /// What is sent again counts as new, as if the position had not been stored with the credit.
    RepeatsCount,
}

/// Channels in both directions between all three.
pub(crate) const FULL: &[(usize, usize)] = &[(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)];
/// A ring and one channel back: the least in which one process waits for a second marker that others do not send.
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

    /// The client's request for one transfer; a repeat says the same.
    pub(crate) fn operate(&self, transfer: usize) -> Input {
        let (_, to) = self.transfers[transfer];
        Input::Operation {
            request: Some(request(transfer)),
            operation: Operation::Transfer {
                from_account: purse(),
                to_process: Some(process(to)),
                to_account: purse(),
                amount: 1 << transfer,
            },
        }
    }

    pub(crate) fn initiate(snapshot: usize) -> Input {
        Input::Initiate {
            snapshot: snapshot_id(snapshot),
        }
    }
}

/// What gives a process its funds.
pub(crate) fn fund() -> Input {
    Input::Operation {
        request: None,
        operation: Operation::Deposit {
            account: purse(),
            amount: FUNDS,
        },
    }
}

pub(crate) fn process(place: usize) -> ProcessId {
    ProcessId::parse(["p", "q", "r"][place]).expect("a valid id")
}

pub(crate) fn place(process: &ProcessId) -> usize {
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
