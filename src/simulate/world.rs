//! The simulated world: processes and their channels in virtual time.

use std::collections::BTreeMap;

use super::delays::Delays;
use super::error::{Reason, ScenarioError};
use super::flight::Flight;
use super::journal::Journal;
use super::report::{GlobalState, Recorded, Report};
use super::scenario::{EventKind, Scenario};
use super::{ACCOUNT, SimulatedTurn, TICKS_AFTER};
use crate::process::Process;
use crate::process::clock::Hlc;
use crate::process::command::{Arrive, Command, FinishPart, Initiate, Operate};
use crate::process::ids::{AccountId, Amount, ChannelId, ProcessId, Seq, SnapshotId};
use crate::process::input::Operation;
use crate::process::message::Message;
use crate::process::postings::Dispatch;
use crate::process::record::{Record, Turn};
use crate::process::recording::Recording;
use crate::process::refusal::Refusal;
use crate::process::registers::Sealed;

/// The processes, the messages in flight and the snapshots.
pub(super) struct World<'a> {
    now: u64,
    account: AccountId,
    delays: Delays,
    /// In string order; `indices` has the index of each process.
    participants: Vec<Participant>,
    indices: BTreeMap<ProcessId, usize>,
    flight: Flight<Frame>,
    snapshots: Vec<Snapshot>,
    /// The number of missing parts of all snapshots together.
    missing_parts: usize,
    watch: &'a mut dyn FnMut(SimulatedTurn<'_>),
}

struct Participant {
    process: Process,
    journal: Journal,
}

/// A message with its sequence number and sending time.
#[derive(Debug)]
struct Frame {
    seq: Seq,
    time: Hlc,
    message: Message,
}

/// A snapshot under assembly; both lists are in the order of the participants.
struct Snapshot {
    tokens: Vec<i64>,
    messages: Vec<Vec<(ProcessId, i64)>>,
}

impl<'a> World<'a> {
    pub(super) fn new(
        scenario: &Scenario,
        delays: Delays,
        watch: &'a mut dyn FnMut(SimulatedTurn<'_>),
    ) -> Self {
        let topology = &scenario.topology;
        let participants = topology.processes().map(|id| Participant {
            process: Process::new(id.clone(), topology.clone(), usize::MAX),
            journal: Journal::default(),
        });
        let mut world = Self {
            now: 0,
            account: AccountId::parse(ACCOUNT).expect("a valid id"),
            delays,
            participants: participants.collect(),
            indices: topology.processes().cloned().zip(0..).collect(),
            flight: Flight::new(scenario.tokens.len()),
            snapshots: Vec::new(),
            missing_parts: 0,
            watch,
        };
        for (index, tokens) in scenario.tokens.values().enumerate() {
            world.open(index, *tokens);
        }
        world
    }

    /// Executes an event.
    pub(super) fn happen(&mut self, event: &EventKind) -> Result<(), Reason> {
        match event {
            EventKind::Send { channel, tokens } => self.send(channel, *tokens),
            EventKind::Snapshot(process) => self.initiate(process),
            EventKind::Tick(ticks) => self.pass(u64::from(*ticks)),
        }
    }

    /// Lets time pass until all snapshots are complete, and [`TICKS_AFTER`] more ticks.
    pub(super) fn finish(mut self) -> Result<Report, ScenarioError> {
        self.settle()
            .map_err(|reason| self.delays.refuse_at_end(reason))?;
        let ids: Vec<_> = self.indices.into_keys().collect();
        let snapshots = self.snapshots.into_iter().enumerate();
        let snapshots = snapshots.map(|(number, snapshot)| snapshot.assemble(number, &ids));
        Ok(Report {
            snapshots: snapshots.collect(),
        })
    }

    fn settle(&mut self) -> Result<(), Reason> {
        while self.missing_parts > 0 {
            let next = self.flight.next_tick(self.now);
            let next = next.expect("where a part is missing, a marker is under way to it");
            self.pass(next - self.now)?;
        }
        self.pass(TICKS_AFTER)
    }

    // An account opens with its first credit, so a process without tokens has none.
    fn open(&mut self, index: usize, tokens: i64) {
        if tokens > 0 {
            let operation = Operation::Deposit {
                account: self.account.clone(),
                amount: tokens,
            };
            let opened = self.step(index, operate(operation), Hlc::default());
            debug_assert!(opened.is_ok(), "a deposit sends nothing");
        }
    }

    fn send(&mut self, channel: &ChannelId, tokens: Amount) -> Result<(), Reason> {
        let operation = Operation::Transfer {
            from_account: self.account.clone(),
            to_process: Some(channel.to.clone()),
            to_account: self.account.clone(),
            amount: tokens.units(),
            is_blind: false,
        };
        let index = self.indices[&channel.from];
        let answer = self.step(index, operate(operation), Hlc::default())?;
        answer.outcome.map(drop).map_err(|refusal| {
            let balance = self.participants[index].process.bank();
            match refusal {
                Refusal::InsufficientFunds { .. } | Refusal::UnknownAccount(_) => {
                    Reason::TooFewTokens {
                        process: channel.from.clone(),
                        tokens: balance.balance(&self.account).unwrap_or(0),
                        asked: tokens.units(),
                    }
                }
                other => other.into(),
            }
        })
    }

    fn initiate(&mut self, process: &ProcessId) -> Result<(), Reason> {
        let count = self.participants.len();
        let number = self.snapshots.len().to_string();
        let snapshot = SnapshotId::parse(&number).expect("a number is a valid id");
        self.snapshots.push(Snapshot {
            tokens: vec![0; count],
            messages: vec![Vec::new(); count],
        });
        self.missing_parts += count;
        let initiate = Initiate {
            snapshot,
            start: None,
        };
        let initiated = self.step(self.indices[process], initiate, Hlc::default())?;
        debug_assert!(initiated.is_ok(), "the number of snapshots is not limited");
        Ok(())
    }

    // Visits only ticks in which a message can be received.
    fn pass(&mut self, ticks: u64) -> Result<(), Reason> {
        let end = self.now + ticks;
        while let Some(next) = self.flight.next_tick(self.now).filter(|next| *next <= end) {
            self.now = next;
            for from in self.flight.advance(next) {
                if let Some((to, frame)) = self.flight.take(from, next) {
                    self.deliver(from, to, frame)?;
                }
            }
        }
        self.now = end;
        Ok(())
    }

    fn deliver(&mut self, from: usize, to: usize, frame: Frame) -> Result<(), Reason> {
        let arrive = Arrive {
            from: self.participants[from].process.id().clone(),
            seq: frame.seq,
            time: frame.time,
            message: frame.message,
        };
        let arrived = self.step(to, arrive, frame.time)?;
        Ok(arrived.map(drop)?)
    }

    // One turn with one command, and all its consequences.
    fn step<C: Command>(
        &mut self,
        index: usize,
        command: C,
        newest: Hlc,
    ) -> Result<C::Reply, Reason> {
        let process = &mut self.participants[index].process;
        process.begin_turn(self.now, newest);
        let reply = process.execute(command);
        let turn = process.end_turn();
        (self.watch)(SimulatedTurn {
            tick: self.now,
            process: process.id(),
            turn: &turn,
        });
        let sealed = process.take_sealed();
        let finished = process.take_finished();
        self.release(index, turn)?;
        for sealed in sealed {
            self.take_state(index, &sealed);
        }
        for recording in finished {
            self.take_messages(index, recording)?;
        }
        Ok(reply)
    }

    fn release(&mut self, index: usize, turn: Turn) -> Result<(), Reason> {
        for record in turn.records {
            if let Record::Delivered {
                from, seq, message, ..
            } = record
            {
                let Participant { process, journal } = &mut self.participants[index];
                if let Some(transfer) = message.body.transfer() {
                    let units = transfer.amount.units();
                    journal.keep(&from, seq, units, process.registers());
                }
            } else if let Some(Dispatch { to, seq, message }) = record.into_dispatch() {
                let time = turn.time;
                let frame = Frame { seq, time, message };
                self.put_on_channel(index, &to, frame)?;
            }
        }
        Ok(())
    }

    fn put_on_channel(&mut self, from: usize, to: &ProcessId, frame: Frame) -> Result<(), Reason> {
        let Some(digit) = self.delays.draw() else {
            let sender = self.participants[from].process.id();
            return Err(self.delays.used_up(self.now, sender));
        };
        let due = self.now + 1 + u64::from(digit);
        self.flight.send(from, self.indices[to], due, frame);
        Ok(())
    }

    fn take_state(&mut self, index: usize, sealed: &Sealed) {
        if let Some(number) = sealed.snapshot.as_ref().map(number_of) {
            let tokens = i64::try_from(sealed.balance_total);
            self.snapshots[number].tokens[index] =
                tokens.expect("all tokens fit one account, as the topology was checked for");
        }
    }

    fn take_messages(&mut self, index: usize, recording: Recording) -> Result<(), Reason> {
        let messages = self.participants[index].journal.recorded(&recording);
        self.snapshots[number_of(&recording.snapshot)].messages[index] = messages;
        self.missing_parts -= 1;
        let stored = FinishPart {
            snapshot: recording.snapshot,
        };
        self.step(index, stored, Hlc::default())?;
        let Participant { process, journal } = &mut self.participants[index];
        journal.forget(process.registers());
        Ok(())
    }
}

impl Snapshot {
    fn assemble(self, number: usize, ids: &[ProcessId]) -> GlobalState {
        let messages = ids.iter().zip(self.messages).flat_map(|(to, messages)| {
            messages.into_iter().map(|(from, tokens)| Recorded {
                from,
                to: to.clone(),
                tokens,
            })
        });
        GlobalState {
            number,
            messages: messages.collect(),
            tokens: ids.iter().cloned().zip(self.tokens).collect(),
        }
    }
}

fn operate(operation: Operation) -> Operate {
    Operate {
        request: None,
        operation,
    }
}

fn number_of(snapshot: &SnapshotId) -> usize {
    let number = snapshot.as_str().parse();
    number.expect("the world names its snapshots by number")
}
