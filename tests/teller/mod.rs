//! A process on a store, driven from a seed the way a node drives them: turns are committed, sealed states written and
//! parts stored in the background, sometimes late. Two peers send transfers, puts and markers.

#![allow(dead_code, reason = "each test file uses a part of it")]

pub(crate) mod fixtures;
pub(crate) mod images;
mod random;

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;

pub(crate) use random::Random;
use snapledger::history::part::Part;
use snapledger::process::Process;
use snapledger::process::answer::Answer;
use snapledger::process::cell::Cell;
use snapledger::process::clock::{Clocks, Hlc, Lamport};
use snapledger::process::handshake::{Claim, Handshake};
use snapledger::process::identity::Identity;
use snapledger::process::ids::{
    AccountId, Amount, Key, Lsn, ProcessId, RequestId, Seq, SnapshotId,
};
use snapledger::process::input::{Input, Operation};
use snapledger::process::message::{Body, Marker, Message, Stamp, Transfer, Write};
use snapledger::process::recording::Recording;
use snapledger::process::registers::Sealed;
use snapledger::process::reply::Reply;
use snapledger::process::snapshot::drawn_name;
use snapledger::process::topology::Topology;
use snapledger::store::Store;

pub(crate) const CLUSTER: &str = "test";
pub(crate) const OPEN_SNAPSHOTS_MAX: usize = 4;
const ACCOUNTS: u64 = 40;
const KEYS: u64 = 6;

/// Balances by account.
pub(crate) type Balances = BTreeMap<String, i64>;

pub(crate) fn account(name: &str) -> AccountId {
    AccountId::parse(name).expect("a valid id")
}

pub(crate) fn process_id(name: &str) -> ProcessId {
    ProcessId::parse(name).expect("a valid id")
}

pub(crate) fn topology() -> Topology {
    Topology::full(&["p", "q", "r"].map(process_id)).expect("three different processes")
}

pub(crate) fn open(dir: &Path) -> Store {
    Store::open(dir, CLUSTER, &process_id("p")).expect("the store opens")
}

pub(crate) fn recover(store: &Store) -> Process {
    store
        .recover(&process_id("p"), &topology(), OPEN_SNAPSHOTS_MAX)
        .expect("the store is whole")
        .0
}

/// Returns the balance of every account that may exist.
pub(crate) fn balances(process: &Process) -> Balances {
    let numbered = (0..ACCOUNTS).map(|number| format!("a{number}"));
    let named = numbered.chain(["suspense".to_owned()]);
    named
        .filter_map(|name| Some((name.clone(), process.bank().balance(&account(&name))?)))
        .collect()
}

/// A peer of the driven process, as that one sees it.
struct Peer {
    id: ProcessId,
    sent: Vec<Message>,
    /// The markers it has yet to send.
    markers: VecDeque<Marker>,
}

pub(crate) struct Teller {
    pub(crate) random: Random,
    pub(crate) process: Process,
    /// Sealed states not yet written, oldest first.
    pub(crate) unwritten: VecDeque<Sealed>,
    /// Finished recordings without a stored part, and those whose part the process does not know to be stored.
    pub(crate) unstored: Vec<Recording>,
    pub(crate) unconfirmed: Vec<Recording>,
    /// The answers to requests with an id.
    pub(crate) answers: Vec<(RequestId, Operation, Answer)>,
    /// The balances at each cut.
    pub(crate) balances_at: BTreeMap<Lsn, Balances>,
    /// The current balances.
    pub(crate) balances: Balances,
    /// Chunks of states recorded before this cut may be lost.
    pub(crate) whole_from: Lsn,
    wall_us: u64,
    peers: Vec<Peer>,
}

impl Teller {
    pub(crate) fn new(seed: u64, process: Process) -> Self {
        let peer = |name| Peer {
            id: process_id(name),
            sent: Vec::new(),
            markers: VecDeque::new(),
        };
        Self {
            random: Random::new(seed),
            balances: balances(&process),
            process,
            unwritten: VecDeque::new(),
            unstored: Vec::new(),
            unconfirmed: Vec::new(),
            answers: Vec::new(),
            balances_at: BTreeMap::new(),
            whole_from: Lsn(0),
            wall_us: 1_000_000,
            peers: ["q", "r"].map(peer).into(),
        }
    }

    /// Returns an input that starts a snapshot under a fresh id.
    pub(crate) fn initiate(&self) -> Input {
        let clock = self.process.registers().clock.tick();
        let snapshot = drawn_name(self.process.id(), clock, None);
        Input::Initiate {
            snapshot,
            start: None,
        }
    }

    /// Runs one to eight random inputs.
    pub(crate) fn random_turns(&mut self, store: &Store) {
        for _ in 0..=self.random.below(8) {
            self.random_turn(store);
        }
    }

    /// Runs one random input.
    pub(crate) fn random_turn(&mut self, store: &Store) {
        let input = self.random_input();
        self.turn(store, input);
    }

    /// Steps an input in a turn of its own and commits it.
    pub(crate) fn turn(&mut self, store: &Store, input: Input) {
        self.wall_us += self.random.below(1000);
        self.process.begin_turn(self.wall_us, Hlc::default());
        let reply = self.process.step(input.clone());
        self.remember(input, reply);
        let turn = self.process.end_turn();
        if !turn.records.is_empty() {
            let committed = store.commit(&turn).expect("the disk has room");
            assert_eq!(committed.position(), turn.position);
        }
        for sealed in self.process.take_sealed() {
            let cut = sealed.registers.position;
            self.balances_at.insert(cut, self.balances.clone());
            self.unwritten.push_back(sealed);
        }
        self.unstored.append(&mut self.process.take_finished());
        self.balances = balances(&self.process);
    }

    fn remember(&mut self, input: Input, reply: Reply) {
        match (input, reply) {
            (
                Input::Operation {
                    request: Some(request),
                    operation,
                },
                Reply::Operation(answer),
            ) => self.answers.push((request, operation, answer)),
            (Input::Initiate { .. }, Reply::Initiated(Ok(initiated))) if initiated.fresh => {
                self.spread(&Marker {
                    snapshot: initiated.snapshot,
                    initiator: initiated.initiator,
                });
            }
            (Input::PartStored { snapshot }, _) => {
                self.unconfirmed
                    .retain(|recording| recording.snapshot != snapshot);
            }
            (Input::Arrived { .. }, Reply::Arrived(delivered)) => {
                delivered.expect("peers leave no number out");
            }
            _ => {}
        }
    }

    fn spread(&mut self, marker: &Marker) {
        for peer in &mut self.peers {
            peer.markers.push_back(marker.clone());
        }
    }

    fn random_input(&mut self) -> Input {
        match self.random.below(100) {
            0..55 => self.operation(),
            55..85 => self.arrival(),
            85..90 => self.acknowledgement(),
            90..93 => self.initiate(),
            93..95 => self.foreign_marker(),
            95..96 => Input::Checkpoint,
            96..97 => self.handshake(),
            _ => match self.unconfirmed.first() {
                Some(recording) => Input::PartStored {
                    snapshot: recording.snapshot.clone(),
                },
                None => self.operation(),
            },
        }
    }

    fn operation(&mut self) -> Input {
        let amount = 1 + self.random.below(50).cast_signed();
        let operation = match self.random.below(10) {
            0..4 => Operation::Deposit {
                account: self.random_account(),
                amount: amount * 2,
            },
            4..6 => Operation::Withdraw {
                account: self.random_account(),
                amount,
            },
            6..9 => Operation::Transfer {
                from_account: self.random_account(),
                to_process: [None, Some(process_id("q")), Some(process_id("r"))]
                    [self.random.index(3)]
                .clone(),
                to_account: self.random_account(),
                amount,
                is_blind: false,
            },
            _ => Operation::Put {
                key: self.random_key(),
                value: self.random_value(),
            },
        };
        let number = self.answers.len();
        let named = self.random.below(2) == 0;
        let request =
            named.then(|| RequestId::parse(&format!("request-{number}")).expect("a valid id"));
        Input::Operation { request, operation }
    }

    fn random_account(&mut self) -> AccountId {
        account(&format!("a{}", self.random.below(ACCOUNTS)))
    }

    fn random_key(&mut self) -> Key {
        Key::parse(&format!("k{}", self.random.below(KEYS))).expect("a valid id")
    }

    // Some are long, so that turns and cells exceed one fragment.
    fn random_value(&mut self) -> Option<Box<str>> {
        match self.random.below(4) {
            0 => None,
            1 => Some("v".repeat(32 * 1024).into()),
            _ => Some(format!("v{}", self.random.below(1000)).into()),
        }
    }

    // The next message of a peer, including a due marker, or a repeat of an earlier one.
    fn arrival(&mut self) -> Input {
        let index = self.random.index(self.peers.len());
        let sent = self.peers[index].sent.len() as u64;
        if sent > 0 && self.random.below(10) == 0 {
            let seq = self.random.below(sent) + 1;
            return self.arrived(index, seq);
        }
        let due = self.random.below(4) == 0;
        let marker = due.then(|| self.peers[index].markers.pop_front()).flatten();
        let body = match marker {
            Some(marker) => marker.into(),
            None => self.peer_body(index),
        };
        self.send(index, body)
    }

    fn peer_body(&mut self, index: usize) -> Body {
        if self.random.below(5) == 0 {
            return Body::from(Write {
                key: self.random_key(),
                value: self.random_value(),
                stamp: Stamp {
                    clock: Lamport(self.random.below(5000)),
                    process: self.peers[index].id.clone(),
                },
            });
        }
        let number = self.peers[index].sent.len();
        Body::from(Transfer {
            transfer_id: format!("{}#{number}", self.peers[index].id).into(),
            from_account: account("far"),
            to_account: self.random_account(),
            amount: Amount::new(1 + self.random.below(90).cast_signed()).expect("positive"),
        })
    }

    fn send(&mut self, index: usize, body: Body) -> Input {
        let peer = &mut self.peers[index];
        let clock = Lamport(peer.sent.len() as u64);
        peer.sent.push(Message { clock, body });
        let seq = peer.sent.len() as u64;
        self.arrived(index, seq)
    }

    fn arrived(&self, index: usize, seq: u64) -> Input {
        let peer = &self.peers[index];
        let index = usize::try_from(seq - 1).expect("few messages are sent");
        Input::Arrived {
            from: peer.id.clone(),
            seq: Seq(seq),
            time: Hlc::default(),
            message: peer.sent[index].clone(),
        }
    }

    // A peer starts a snapshot: its marker arrives now, that of the other peer later.
    fn foreign_marker(&mut self) -> Input {
        let index = self.random.index(self.peers.len());
        let peer = &self.peers[index];
        let marker = Marker {
            snapshot: SnapshotId::parse(&format!("{}-{}", peer.id, peer.sent.len()))
                .expect("a valid id"),
            initiator: peer.id.clone(),
        };
        self.peers[1 - index].markers.push_back(marker.clone());
        self.send(index, marker.into())
    }

    fn acknowledgement(&mut self) -> Input {
        let to = process_id(["q", "r"][self.random.index(2)]);
        let sent = self.process.registers().outgoing[&to].sent.sequence;
        let seq = Seq(self.random.below(sent.0 + 1));
        Input::Acknowledged { to, seq }
    }

    /// Acknowledges everything sent to the peers.
    pub(crate) fn catch_up(&mut self, store: &Store) {
        for name in ["q", "r"] {
            let to = process_id(name);
            let seq = self.process.registers().outgoing[&to].sent.sequence;
            self.turn(store, Input::Acknowledged { to, seq });
        }
    }

    /// Delivers the markers that the peers have yet to send, and stores the parts of all recordings that this ends.
    pub(crate) fn finish_recordings(&mut self, store: &Store) {
        for index in 0..self.peers.len() {
            while let Some(marker) = self.peers[index].markers.pop_front() {
                let input = self.send(index, marker.into());
                self.turn(store, input);
            }
        }
        while !self.unwritten.is_empty() || !self.unstored.is_empty() {
            self.work(store);
        }
        for recording in self.unconfirmed.clone() {
            let snapshot = recording.snapshot;
            self.turn(store, Input::PartStored { snapshot });
        }
    }

    fn handshake(&mut self) -> Input {
        let boot = self.process.registers().peers.len() as u64;
        let sent = self.process.registers().outgoing[&process_id("q")].digest();
        Input::Handshake(Box::new(Handshake {
            peer: process_id("q"),
            identity: Identity {
                store: [7; 16],
                boot,
                run: boot + 1,
            },
            clocks: Clocks::default(),
            unfollowed: None,
            claim: Claim::Receiver {
                delivered: sent,
                here: sent,
            },
            agreed: true,
        }))
    }

    /// Does one piece of background work: writes the oldest sealed state, or builds and stores a part.
    pub(crate) fn work(&mut self, store: &Store) {
        if self.random.below(2) == 0 {
            self.write_oldest(store);
        } else if !self.unstored.is_empty() {
            let recording = self.unstored.remove(self.random.index(self.unstored.len()));
            let part = store
                .parts()
                .build(&process_id("p"), &recording)
                .expect("the store is whole");
            match part {
                Some(part) => {
                    self.check_part(store, &recording, &part);
                    store.parts().put(&part).expect("the disk has room");
                    self.unconfirmed.push(recording);
                }
                None => self.unstored.push(recording),
            }
        }
    }

    /// Writes the oldest sealed state, if there is one, and reads it back.
    pub(crate) fn write_oldest(&mut self, store: &Store) {
        let Some(sealed) = self.unwritten.pop_front() else {
            return;
        };
        let cut = sealed.registers.position;
        let state = store.states().write(sealed).expect("the disk has room");
        assert_eq!(state.position, cut);
        assert_eq!(
            store.states().at(cut).expect("it is whole"),
            Some(state.clone())
        );
        let cells = store
            .states()
            .cells(&state.runs, None)
            .expect("it is whole");
        assert_eq!(
            balances_of(cells.map(|cell| cell.expect("it is whole"))),
            self.balances_at[&cut]
        );
    }

    // Checks the figures, and that the messages of every channel are those its peer sent between the cut and its
    // marker.
    fn check_part(&self, store: &Store, recording: &Recording, part: &Part) {
        assert!(part.is_finished(), "only finished recordings are stored");
        if recording.cut >= self.whole_from {
            let missing = store
                .parts()
                .missing_chunks(part)
                .expect("what is here is whole");
            assert_eq!(missing, [], "a part is built of what is here");
        }
        assert_eq!(part.channels.len(), self.peers.len());
        for (channel, peer) in part.channels.iter().zip(&self.peers) {
            assert_eq!(channel.from, peer.id);
            assert_eq!(
                channel.first,
                part.state.delivered[&peer.id].sequence.next()
            );
            let index = |seq: Seq| usize::try_from(seq.0).expect("few messages are sent");
            let range = index(channel.first) - 1..index(channel.last);
            let marker = &peer.sent[range.end].body;
            assert!(
                matches!(marker, Body::Marker(marker) if marker.snapshot == recording.snapshot),
                "the channel ends at the marker, not at {marker:?}"
            );
            let sent = &peer.sent[range];
            let messages = store.chunks().messages(channel);
            let messages = messages.map(|found| found.map(|found| found.message));
            let messages: Vec<_> = messages
                .collect::<Result<_, _>>()
                .expect("the chunks are here");
            assert_eq!(messages, sent);
            let transfers = sent.iter().filter_map(|message| message.body.transfer());
            let amounts = transfers.map(|transfer| i128::from(transfer.amount.units()));
            assert_eq!(channel.amount, amounts.clone().sum::<i128>());
            assert_eq!(channel.transfers, amounts.count() as u64);
        }
    }
}

/// Returns the accounts among the cells; each may occur once.
pub(crate) fn balances_of(cells: impl Iterator<Item = Cell>) -> Balances {
    let mut balances = Balances::new();
    let mut last: Option<(u8, String)> = None;
    for cell in cells {
        let key = (cell.key().kind, cell.key().name.to_owned());
        assert!(last < Some(key.clone()), "cells ascend: {last:?}, {key:?}");
        last = Some(key);
        if let Cell::Account { account, balance } = cell {
            balances.insert(account.as_str().to_owned(), balance);
        }
    }
    balances
}
