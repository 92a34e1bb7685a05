//! Processes `q` and `r`, as `p` sees them: the messages they send, and their parts of snapshots with all contents.

use std::collections::{BTreeMap, VecDeque};

use snapledger::history::global::{Completeness, GlobalState, Missing, Reason};
use snapledger::history::part::{
    Chunk, IndexEntry, Part, RecordedChannel, RecordedMessage, RecordedState, Run,
};
use snapledger::process::cell::Cell;
use snapledger::process::clock::{Hlc, Lamport};
use snapledger::process::ids::{Amount, Hash, Lsn, ProcessId, Seq, SnapshotId};
use snapledger::process::input::Input;
use snapledger::process::message::{Body, Marker, Message, Transfer};
use snapledger::store::codec::{Secret, encode_chunk};

use super::host::{account, process_id, topology};

/// A peer that sends to `p`.
pub(super) struct Peer {
    id: ProcessId,
    sent: Vec<Message>,
    /// The markers that it has yet to send.
    pub(super) markers: VecDeque<Marker>,
}

impl Peer {
    pub(super) fn new(name: &str) -> Self {
        Self {
            id: process_id(name),
            sent: Vec::new(),
            markers: VecDeque::new(),
        }
    }

    /// The next transfer.
    pub(super) fn transfer(&mut self, to: &str, units: i64) -> Input {
        let number = self.sent.len();
        self.send(Body::from(Transfer {
            transfer_id: format!("{}#{number}", self.id).into(),
            from_account: account("far"),
            to_account: account(to),
            amount: Amount::new(units).expect("positive"),
        }))
    }

    /// A marker of a snapshot.
    pub(super) fn marker(&mut self, snapshot: &SnapshotId, initiator: &ProcessId) -> Input {
        self.send(Body::from(Marker {
            snapshot: snapshot.clone(),
            initiator: initiator.clone(),
        }))
    }

    /// The marker that is due.
    pub(super) fn due_marker(&mut self) -> Option<Input> {
        let marker = self.markers.pop_front()?;
        Some(self.send(Body::from(marker)))
    }

    fn send(&mut self, body: Body) -> Input {
        let message = Message {
            clock: Lamport(self.sent.len() as u64),
            body,
        };
        self.sent.push(message.clone());
        Input::Arrived {
            from: self.id.clone(),
            seq: Seq(self.sent.len() as u64),
            time: Hlc::default(),
            message,
        }
    }
}

/// The part of a peer, with its chunks in their frames.
pub(super) struct PeerPart {
    pub(super) part: Part,
    pub(super) chunks: BTreeMap<Hash, Vec<u8>>,
    pub(super) index: Hash,
    pub(super) cells: Hash,
    pub(super) messages: Hash,
}

impl PeerPart {
    /// A finished part with one account of this balance, and one message recorded from `p`.
    pub(super) fn new(snapshot: &SnapshotId, name: &str, balance: i64) -> Self {
        let mut chunks = BTreeMap::new();
        let mut put = |chunk: Chunk| {
            let (framed, hash) = encode_chunk(&chunk, Some(&Secret::new([7; 32])));
            chunks.insert(hash, framed);
            hash
        };
        let rent = Cell::Account {
            account: account(&format!("{name}-{snapshot}")),
            balance,
        };
        let (kind, key) = (rent.key().kind, rent.key().name.into());
        let cells = put(Chunk::Cells(vec![rent]));
        let index = put(Chunk::Index(vec![IndexEntry {
            kind,
            name: key,
            chunk: cells,
        }]));
        let marker = Marker {
            snapshot: super::host::snapshot(&format!("before-{snapshot}")),
            initiator: process_id("p"),
        };
        let messages = put(Chunk::Messages(vec![RecordedMessage {
            seq: Seq(1),
            message: Message {
                clock: Lamport(1),
                body: marker.into(),
            },
        }]));
        let ids = topology();
        let others = ids.processes().filter(|id| **id != process_id(name));
        let channel = |from: &ProcessId| {
            let is_recorded = *from == process_id("p");
            RecordedChannel {
                from: from.clone(),
                first: Seq(1),
                last: Seq(u64::from(is_recorded)),
                transfers: 0,
                amount: 0,
                chunks: is_recorded.then_some(messages).into_iter().collect(),
                closing: None,
            }
        };
        let part = Part {
            snapshot: snapshot.clone(),
            process: process_id(name),
            initiator: process_id("p"),
            state: recorded(balance, index),
            channels: others.map(channel).collect(),
            open: Vec::new(),
            start: None,
        };
        Self {
            part,
            chunks,
            index,
            cells,
            messages,
        }
    }
}

fn recorded(balance: i64, index: Hash) -> RecordedState {
    let run = Run {
        cells: 1,
        bytes: 0,
        index: vec![index],
    };
    RecordedState {
        position: Lsn(7),
        time: Hlc::at(7),
        clock: Lamport(7),
        accounts: 1,
        balance_total: balance.into(),
        deposits: balance.into(),
        journal: Hash([7; 32]),
        runs: vec![run],
        ..RecordedState::default()
    }
}

/// A revision of these parts. Its instant and content follow from the arguments.
pub(super) fn revision(
    snapshot: &SnapshotId,
    number: u32,
    began: Hlc,
    parts: impl IntoIterator<Item = Part>,
) -> GlobalState {
    let begun = GlobalState::begun(snapshot.clone(), process_id("p"), began, Lamport(1));
    let parts = parts.into_iter();
    let parts: BTreeMap<_, _> = parts.map(|part| (part.process.clone(), part)).collect();
    let missing = |process: &ProcessId| Missing {
        process: process.clone(),
        reason: Reason::Down,
        last_seen_us: None,
        last_complete: None,
    };
    GlobalState {
        revision: number,
        completeness: Completeness::of(&topology(), &parts, missing, |_| None),
        parts,
        ..begun
    }
}
