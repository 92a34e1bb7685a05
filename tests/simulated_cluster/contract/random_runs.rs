//! Random runs: the model and the real store take the same steps, and everything that can be seen of them must agree after each.
//! A failure names the seed and the step.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use libtest_mimic::Trial;
use snapledger::history::global::GlobalState;
use snapledger::history::part::Part;
use snapledger::history::pin::Pin;
use snapledger::process::clock::Hlc;
use snapledger::process::decision::Actor;
use snapledger::process::ids::{AccountId, Lsn, ProcessId, Seq, SnapshotId};
use snapledger::process::input::{Input, Operation};
use snapledger::process::message::Marker;
use snapledger::process::record::{Record, Turn};

use super::host::{Host, account, me, process_id, snapshot};
use super::model::Model;
use super::peers::{Peer, PeerPart, revision};
use super::real::RealStore;
use super::{Crash, StoreContract};
use crate::random::Random;

const RUNS: u64 = 8;
const STEPS: u64 = 120;
const ACCOUNTS: [&str; 3] = ["rent", "food", "fun"];

pub(super) fn all() -> Vec<Trial> {
    let trial = |seed| {
        Trial::test(format!("contract_random_run_{seed}"), move || {
            let mut run = Run::new(seed);
            let agreed = catch_unwind(AssertUnwindSafe(|| run.run()));
            agreed.map_err(|panic| {
                let why = crate::seeds::sentence(panic.as_ref());
                let steps = run.steps.join(", ");
                format!("contract_random_run_{seed}: {steps}: {why}").into()
            })
        })
    };
    (0..RUNS).map(trial).collect()
}

/// One run of both stores.
struct Run {
    random: Random,
    model: Host<Model>,
    real: Host<RealStore>,
    peers: [Peer; 2],
    /// The snapshots that have begun, with their starts.
    begun: BTreeMap<SnapshotId, Hlc>,
    /// The snapshots whose part `p` does not know to be stored.
    unconfirmed: BTreeSet<SnapshotId>,
    steps: Vec<String>,
}

/// What can be seen of a store at any time.
#[derive(Debug, PartialEq)]
struct Seen {
    arrived: Vec<(SnapshotId, u32)>,
    newest: BTreeMap<SnapshotId, Revision>,
    newest_complete: Option<SnapshotId>,
    parts: BTreeMap<SnapshotId, Figures>,
    deleted: Vec<SnapshotId>,
    due: Vec<Vec<SnapshotId>>,
    pins: BTreeMap<SnapshotId, Pin>,
    balances: Vec<Option<i128>>,
}

/// A revision; the runs of the own part differ between stores.
type Revision = (u32, bool, Vec<(ProcessId, Figures)>);

/// The contents of a part.
#[derive(Debug, PartialEq)]
struct Figures {
    position: Lsn,
    time: Hlc,
    totals: (i128, i128, i128),
    accounts: BTreeMap<AccountId, i64>,
    channels: Vec<(ProcessId, Seq, Seq, i128, Vec<Seq>)>,
    open: Vec<ProcessId>,
    counted: (u64, u64, i128),
    is_whole: bool,
}

impl Figures {
    fn of(store: &impl StoreContract, part: &Part) -> Self {
        let counted = store.count(part);
        let channels = part.channels.iter().map(|channel| {
            let messages = store.messages(channel);
            let messages = messages.iter().map(|message| message.seq).collect();
            let (first, last) = (channel.first, channel.last);
            (channel.from.clone(), first, last, channel.amount, messages)
        });
        let state = &part.state;
        Self {
            position: state.position,
            time: state.time,
            totals: (state.balance_total, state.deposits, state.withdrawals),
            accounts: store.accounts(state),
            channels: channels.collect(),
            open: part.open.clone(),
            counted: (counted.messages, counted.transfers, counted.amount),
            is_whole: counted.chunks_named == counted.chunks_held
                && store.missing_chunks(part).is_empty(),
        }
    }
}

fn revision_of(store: &impl StoreContract, state: &GlobalState) -> Revision {
    let parts = state.parts.iter();
    let parts = parts.map(|(process, part)| (process.clone(), Figures::of(store, part)));
    (state.revision, state.is_complete(), parts.collect())
}

impl Run {
    fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed),
            model: Host::new(seed),
            real: Host::new(seed),
            peers: ["q", "r"].map(Peer::new),
            begun: BTreeMap::new(),
            unconfirmed: BTreeSet::new(),
            steps: Vec::new(),
        }
    }

    fn run(&mut self) {
        for _ in 0..STEPS {
            let before = [self.model.store.arrivals(), self.real.store.arrivals()];
            let is_same_life = self.step();
            let after = [self.model.store.arrivals(), self.real.store.arrivals()];
            for (before, after) in before.iter().zip(&after).filter(|_| is_same_life) {
                assert!(after.starts_with(before), "arrivals are only added");
            }
            self.compare();
        }
        self.note("settle");
        self.model.settle();
        self.real.settle();
        self.compare();
    }

    fn note(&mut self, step: &str) {
        self.steps.push(step.to_owned());
    }

    // Takes one step with both. Returns whether they are still in the same life.
    fn step(&mut self) -> bool {
        match self.random.below(100) {
            0..40 => self.turn(),
            40..50 => {
                self.note("write state");
                self.model.write_state();
                self.real.write_state();
            }
            50..60 => self.store_parts(),
            60..76 => self.publish(),
            76..82 => self.pin(),
            82..88 => self.delete(),
            88..92 => {
                self.note("tidy");
                self.model.store.tidy();
                self.real.store.tidy();
            }
            92..96 => return self.crash(Crash::Kill),
            _ => return self.crash(Crash::PowerCut),
        }
        true
    }

    fn crash(&mut self, crash: Crash) -> bool {
        self.note(&format!("{crash:?}"));
        self.model.crash(crash);
        self.real.crash(crash);
        // Which written states a crash takes depends on when the engine wrote its buffers. The journal produces them again.
        self.model.write_states();
        self.real.write_states();
        false
    }

    fn turn(&mut self) {
        let input = self.input();
        self.note(&format!("{input:?}"));
        let turns = [self.model.turn(input.clone()), self.real.turn(input)];
        assert_eq!(turns[0], turns[1]);
        self.begin(&turns[0]);
    }

    fn begin(&mut self, turn: &Turn) {
        for record in &turn.records {
            if let Record::StateRecorded { snapshot, .. } = record {
                self.begun.insert(snapshot.clone(), turn.time);
                self.unconfirmed.insert(snapshot.clone());
            }
        }
    }

    fn input(&mut self) -> Input {
        let amount = 1 + self.random.below(50).cast_signed();
        let name = ACCOUNTS[self.random.index(ACCOUNTS.len())];
        let peer = self.random.index(2);
        let operation = match self.random.below(20) {
            0..6 => {
                let due = (self.random.below(2) == 0).then(|| self.peers[peer].due_marker());
                let due = due.flatten();
                return due.unwrap_or_else(|| self.peers[peer].transfer(name, amount));
            }
            6 => return self.initiate(),
            7 => return self.foreign_marker(peer),
            8 => return Input::Checkpoint,
            9 => return self.acknowledge(peer),
            10..13 => Operation::Transfer {
                from_account: account(name),
                to_process: Some(process_id(["q", "r"][peer])),
                to_account: account("far"),
                amount,
                is_blind: false,
            },
            _ => Operation::Deposit {
                account: account(name),
                amount,
            },
        };
        Input::Operation {
            request: None,
            operation,
        }
    }

    fn initiate(&mut self) -> Input {
        let snapshot = snapshot(&format!("s{}", self.begun.len()));
        let marker = Marker {
            snapshot: snapshot.clone(),
            initiator: me(),
        };
        let peers = self.peers.iter_mut();
        let is_full = self.real.process.registers().recordings.len() >= 4;
        if is_full {
            return Input::Checkpoint;
        }
        peers.for_each(|peer| peer.markers.push_back(marker.clone()));
        Input::Initiate {
            snapshot,
            start: None,
        }
    }

    // A peer starts a snapshot; the marker of the other peer arrives later.
    fn foreign_marker(&mut self, peer: usize) -> Input {
        let snapshot = snapshot(&format!("s{}", self.begun.len()));
        let initiator = process_id(["q", "r"][peer]);
        let marker = Marker {
            snapshot: snapshot.clone(),
            initiator: initiator.clone(),
        };
        self.peers[1 - peer].markers.push_back(marker);
        self.peers[peer].marker(&snapshot, &initiator)
    }

    fn acknowledge(&mut self, peer: usize) -> Input {
        let to = process_id(["q", "r"][peer]);
        let seq = self.real.process.registers().outgoing[&to].sent.sequence;
        Input::Acknowledged { to, seq }
    }

    fn store_parts(&mut self) {
        self.note("store parts");
        self.model.store_parts();
        self.real.store_parts();
        let stored = |id: &SnapshotId| {
            self.model.store.part(id).is_some() && self.real.store.part(id).is_some()
        };
        let confirmed = self.unconfirmed.iter().find(|id| stored(id)).cloned();
        if let Some(snapshot) = confirmed {
            self.unconfirmed.remove(&snapshot);
            let input = Input::PartStored { snapshot };
            let turns = [self.model.turn(input.clone()), self.real.turn(input)];
            assert_eq!(turns[0], turns[1]);
        }
    }

    fn drawn(&mut self) -> Option<(SnapshotId, Hlc)> {
        let begun: Vec<_> = self.begun.iter().collect();
        let drawn = (!begun.is_empty()).then(|| begun[self.random.index(begun.len())])?;
        Some((drawn.0.clone(), *drawn.1))
    }

    // Publishes or adopts a revision of some parts, sometimes under a number that is taken.
    fn publish(&mut self) {
        let Some((id, began)) = self.drawn() else {
            return;
        };
        let number = match self.random.below(4) {
            0 => 1 + u32::try_from(self.random.below(3)).unwrap_or(0),
            1 => self.real.store.next_revision(&id, 1_000_000),
            _ => self.real.store.next_revision(&id, 0),
        };
        let is_adopted = self.random.below(3) == 0;
        let balance = 1 + self.random.below(2).cast_signed();
        let peers = ["q", "r"].map(|name| PeerPart::new(&id, name, balance));
        let known = self.random.index(3);
        let has_own = self.random.below(3) > 0;
        let step = format!("publish {id} {number} {known} {has_own} {is_adopted}");
        self.note(&step);
        let told = [
            publish(&mut self.model.store, &id, &peers[..known], |own| {
                Publication {
                    number,
                    began,
                    own: own.filter(|_| has_own),
                    is_adopted,
                }
            }),
            publish(&mut self.real.store, &id, &peers[..known], |own| {
                Publication {
                    number,
                    began,
                    own: own.filter(|_| has_own),
                    is_adopted,
                }
            }),
        ];
        assert_eq!(told[0], told[1]);
    }

    fn pin(&mut self) {
        let Some((id, _)) = self.drawn() else {
            return;
        };
        let (pinned, now) = (self.random.below(2) == 0, Hlc::at(self.random.below(90)));
        self.note(&format!("pin {id} {pinned}"));
        if self.random.below(2) == 0 {
            let told = [
                self.model.store.pin(&id, pinned, now),
                self.real.store.pin(&id, pinned, now),
            ];
            assert_eq!(told[0], told[1]);
            return;
        }
        let pin = Pin {
            pinned,
            at: now,
            by: process_id("q"),
            actor: Actor::default(),
        };
        let told = [
            self.model.store.note_pin(&id, pin.clone()),
            self.real.store.note_pin(&id, pin),
        ];
        assert_eq!(told[0], told[1]);
    }

    fn delete(&mut self) {
        let limit = 1 + self.random.index(3);
        let due = self.real.store.due(limit);
        // The node keeps snapshots whose recording is open.
        let recordings = &self.real.process.registers().recordings;
        let Some(id) = due.into_iter().find(|id| !recordings.contains_key(id)) else {
            return;
        };
        self.note(&format!("delete {id}"));
        assert!(self.model.store.delete(&id));
        assert!(self.real.store.delete(&id));
    }

    fn compare(&self) {
        assert_eq!(
            self.model.process.registers(),
            self.real.process.registers()
        );
        let turns = [self.model.store.turns(), self.real.store.turns()];
        let horizon = turns[0].len() - turns[1].len();
        assert_eq!(
            turns[0][horizon..],
            turns[1],
            "only a horizon shortens the journal"
        );
        let from = Lsn(horizon as u64 + 1);
        let recordings = self.real.process.registers().recordings.values();
        for recording in recordings {
            assert!(
                recording.cut.next() >= from,
                "an open recording needs its turns"
            );
        }
        let seen = (
            self.see(&self.model.store, from),
            self.see(&self.real.store, from),
        );
        assert_eq!(seen.0, seen.1);
    }

    fn see(&self, store: &impl StoreContract, from: Lsn) -> Seen {
        // Deleted ones keep their place in the same life, and may in the next.
        let mut arrived = store.arrivals();
        arrived.retain(|(id, revision)| store.revision(id, *revision).is_some());
        arrived.sort();
        arrived.dedup();
        let ids = || self.begun.keys();
        let newest = ids().filter_map(|id| {
            let newest = store.newest(id)?;
            Some((id.clone(), revision_of(store, &newest)))
        });
        let parts = ids().filter_map(|id| Some((id.clone(), Figures::of(store, &store.part(id)?))));
        let head = self.real.process.registers().position;
        let positions = [from, Lsn(from.0.midpoint(head.0)), head];
        let positions = positions.into_iter().filter(|position| *position <= head);
        let balances = positions
            .flat_map(|position| ACCOUNTS.map(|name| store.balance_at(&account(name), position)));
        Seen {
            arrived,
            newest: newest.collect(),
            newest_complete: store.newest_complete(),
            parts: parts.collect(),
            deleted: ids().filter(|id| store.is_deleted(id)).cloned().collect(),
            due: (0..4).map(|limit| store.due(limit)).collect(),
            pins: store.pins(),
            balances: balances.collect(),
        }
    }
}

/// A revision to be published, beside the parts of the peers.
struct Publication {
    number: u32,
    began: Hlc,
    own: Option<Part>,
    is_adopted: bool,
}

fn publish<S: StoreContract>(
    store: &mut S,
    id: &SnapshotId,
    peers: &[PeerPart],
    of: impl Fn(Option<Part>) -> Publication,
) -> (bool, bool) {
    let Publication {
        number,
        began,
        own,
        is_adopted,
    } = of(store.part(id));
    for (hash, framed) in peers.iter().flat_map(|peer| &peer.chunks) {
        assert!(store.adopt_chunk(*hash, framed.clone()));
    }
    let parts = peers.iter().map(|peer| peer.part.clone()).chain(own);
    let state = revision(id, number, began, parts);
    let is_lacking = store.lacks(&state);
    let stored = match is_adopted {
        true => store.adopt(&state),
        false => store.publish(&state),
    };
    (is_lacking, stored.is_ok())
}
