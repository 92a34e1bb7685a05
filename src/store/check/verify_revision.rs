//! Recomputes everything that a revision states about its contents, and the certificate from the results, without
//! trusting the publisher.

use std::collections::{BTreeMap, BTreeSet};

use crate::history::global::{Completeness, Counted, GlobalState};
use crate::history::part::{Part, RecordedChannel, Run};
use crate::history::process_totals::ProcessTotals;
use crate::history::verify::{Check, Verification, verify};
use crate::process::cell::Cell;
use crate::process::channel::Flow;
use crate::process::ids::ProcessId;

use crate::store::chunks::source;
use crate::store::chunks::source::ChunkSource;
use crate::store::engine::schema;
use crate::store::error::StoreError;
use crate::store::states::merge::Cells;
use crate::store::stored::frame::{Damage, Kind};

/// The most runs of a state. Runs are merged by size, so that a state has eight of each size class at most; one chunk of
/// each is in memory while they are read.
const RUNS_MAX: usize = 256;

/// The result of an audit.
#[derive(Debug, Clone)]
pub struct GlobalStateAudit {
    /// The revision, with all recomputable figures replaced by computed ones.
    pub recomputed: GlobalState,
    /// The certificate of the recomputed figures.
    pub verification: Verification,
    /// The number of figures compared.
    pub compared: u64,
    /// The differences, those of earlier steps first.
    pub wrong: Vec<Wrong>,
}

/// A wrong figure.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{figure}: stated {stated}, computed {recomputed}")]
pub struct Wrong {
    /// The process or channel and the figure.
    pub figure: String,
    /// The value that the revision states.
    pub stated: String,
    /// The value computed from its contents.
    pub recomputed: String,
}

impl GlobalStateAudit {
    /// Reads all contents of a revision.
    ///
    /// # Errors
    /// [`StoreError`]: a chunk is missing, damaged or not of the expected kind.
    pub(in crate::store) fn of(
        source: &dyn ChunkSource,
        state: &GlobalState,
    ) -> Result<Self, StoreError> {
        check_bounds(state)?;
        let mut figures = Figures::default();
        let mut recomputed = state.clone();
        for (process, part) in &mut recomputed.parts {
            let stated = &state.parts[process];
            figures.same("its owner", process, process, &stated.process);
            figures.same("its snapshot", process, &state.snapshot, &stated.snapshot);
            let counted = recount(source, part, &mut figures)?;
            compare_part(&mut figures, stated, part);
            if let Some(stated) = state.counted.get(process) {
                compare_counted(&mut figures, process, stated, &counted);
            }
            recomputed.counted.insert(process.clone(), counted);
        }
        figures.compare(
            "the status of the snapshot".to_owned(),
            state.status(),
            status(state),
        );
        let verification = verify(&recomputed);
        let mut wrong = figures.wrong;
        wrong.extend(verification.checks.iter().filter_map(contradiction));
        Ok(Self {
            compared: figures.compared + verification.checks.len() as u64,
            recomputed,
            verification,
            wrong,
        })
    }
}

impl GlobalStateAudit {
    /// Compares the part of a process with what its journal says at the cut.
    pub fn compare_with_journal(&mut self, process: &ProcessId, journal: &ProcessTotals) {
        let Some(part) = self.recomputed.parts.get(process) else {
            return;
        };
        let stated = ProcessTotals::from(&part.state);
        let owner = &format!("{process} in its journal");
        let mut figures = Figures::default();
        figures.of(owner, "the cut", stated.position, journal.position);
        figures.of(owner, "the hash", stated.journal, journal.journal);
        if !figures.wrong.is_empty() {
            // It is another journal: its sums are those of something else.
            self.compared += figures.compared;
            self.wrong.append(&mut figures.wrong);
            return;
        }
        let sums = |totals: &ProcessTotals| {
            let ProcessTotals {
                balance_total,
                deposits,
                withdrawals,
                ..
            } = totals;
            format!("{balance_total}, of {deposits} deposited and {withdrawals} withdrawn")
        };
        figures.of(owner, "the balances", sums(&stated), sums(journal));
        for (name, stated, found) in [
            ("sent", &stated.sent, &journal.sent),
            ("delivered", &stated.delivered, &journal.delivered),
        ] {
            let peers: BTreeSet<_> = stated.keys().chain(found.keys()).collect();
            for peer in peers {
                let flow = |flows: &BTreeMap<ProcessId, Flow>| {
                    let Flow {
                        sequence,
                        transfers,
                        amount,
                    } = flows.get(peer).copied().unwrap_or_default();
                    format!("{sequence} messages, {transfers} transfers of {amount}")
                };
                let name = format!("{name}, channel with {peer},");
                figures.of(owner, &name, flow(stated), flow(found));
            }
        }
        self.compared += figures.compared;
        self.wrong.append(&mut figures.wrong);
    }
}

/// Compares figures and collects the differences.
#[derive(Default)]
struct Figures {
    compared: u64,
    wrong: Vec<Wrong>,
}

impl Figures {
    fn compare<T: PartialEq + ToString>(&mut self, figure: String, stated: T, recomputed: T) {
        self.compared += 1;
        if stated != recomputed {
            self.wrong.push(Wrong {
                figure,
                stated: stated.to_string(),
                recomputed: recomputed.to_string(),
            });
        }
    }

    fn of<T: PartialEq + ToString>(&mut self, owner: &str, name: &str, stated: T, found: T) {
        self.compare(format!("{name} of {owner}"), stated, found);
    }

    fn same<T: PartialEq + ToString>(
        &mut self,
        name: &str,
        process: &ProcessId,
        expected: &T,
        stated: &T,
    ) {
        self.compared += 1;
        if expected != stated {
            self.wrong.push(Wrong {
                figure: format!("the part of {process}: {name}"),
                stated: stated.to_string(),
                recomputed: expected.to_string(),
            });
        }
    }
}

// Replaces the stated figures of a part by those of its contents.
fn recount(
    source: &dyn ChunkSource,
    part: &mut Part,
    figures: &mut Figures,
) -> Result<Counted, StoreError> {
    let mut counted = Counted::default();
    let process = part.process.clone();
    for (number, run) in (1..).zip(&mut part.state.runs) {
        let (cells, chunks) = read_run(source, run)?;
        let owner = format!("run {number} of process {process}");
        figures.of(&owner, "cells", run.cells, cells);
        run.cells = cells;
        counted.chunks_named += chunks;
        counted.chunks_held += chunks;
    }
    let state = &mut part.state;
    (state.accounts, state.balance_total) = (0, 0);
    for cell in Cells::new(source, &state.runs, None)? {
        if let Cell::Account { balance, .. } = cell? {
            state.accounts += 1;
            state.balance_total += i128::from(balance);
        }
    }
    state.state_bytes = state.runs.iter().map(|run| run.bytes).sum();
    for channel in &mut part.channels {
        let before = channel.clone();
        let messages = read_channel(source, channel)?;
        let owner = format!("channel {}→{process}", before.from);
        figures.of(&owner, "messages", before.messages(), messages);
        counted.chunks_named += channel.chunks.len() as u64;
        counted.chunks_held += channel.chunks.len() as u64;
        counted.messages += messages;
        counted.transfers += channel.transfers;
        counted.amount += channel.amount;
    }
    Ok(counted)
}

// Returns the numbers of cells and chunks. Checks that cells ascend and that each chunk begins as the index says.
fn read_run(source: &dyn ChunkSource, run: &Run) -> Result<(u64, u64), StoreError> {
    let (mut cells, mut chunks) = (0, 0);
    let mut last: Option<(u8, Box<str>)> = None;
    for index in &run.index {
        chunks += 1;
        for entry in source::index(source, index)? {
            chunks += 1;
            let mut is_first = true;
            for cell in source::cells(source, &entry.chunk)? {
                let key = (cell.key().kind, Box::from(cell.key().name));
                let is_led_to = !is_first || key == (entry.kind, entry.name.clone());
                if !is_led_to || last.as_ref().is_some_and(|last| *last >= key) {
                    let problem = format!("it is at the wrong position of index {index}");
                    let what = schema::name(Kind::Chunk, &entry.chunk.0);
                    return Err(StoreError::damaged(what, Damage::Contradiction(problem)));
                }
                last = Some(key);
                is_first = false;
                cells += 1;
            }
        }
    }
    Ok((cells, chunks))
}

// Returns the number of messages. Without messages the stated positions stay, and only the flows check them.
fn read_channel(
    source: &dyn ChunkSource,
    channel: &mut RecordedChannel,
) -> Result<u64, StoreError> {
    let mut messages = 0;
    (channel.transfers, channel.amount) = (0, 0);
    for hash in &channel.chunks {
        for one in source::messages(source, hash)? {
            if messages == 0 {
                channel.first = one.seq;
            } else if channel.last.0.checked_add(1) != Some(one.seq.0) {
                let (last, seq) = (channel.last, one.seq);
                let problem = format!("in it, message {seq} follows message {last}");
                let what = schema::name(Kind::Chunk, &hash.0);
                return Err(StoreError::damaged(what, Damage::Contradiction(problem)));
            }
            channel.last = one.seq;
            messages += 1;
            if let Some(transfer) = one.message.body.transfer() {
                channel.transfers += 1;
                channel.amount += i128::from(transfer.amount.units());
            }
        }
    }
    Ok(messages)
}

fn compare_part(figures: &mut Figures, stated: &Part, found: &Part) {
    let process = format!("process {}", stated.process);
    let (said, is) = (&stated.state, &found.state);
    figures.of(&process, "accounts", said.accounts, is.accounts);
    figures.of(
        &process,
        "balance_total",
        said.balance_total,
        is.balance_total,
    );
    figures.of(&process, "state_bytes", said.state_bytes, is.state_bytes);
    for (said, is) in stated.channels.iter().zip(&found.channels) {
        let channel = format!("channel {}→{}", said.from, stated.process);
        figures.of(&channel, "first message", said.first, is.first);
        figures.of(&channel, "last message", said.last, is.last);
        figures.of(&channel, "transfers", said.transfers, is.transfers);
        figures.of(&channel, "amount", said.amount, is.amount);
    }
}

fn compare_counted(figures: &mut Figures, process: &ProcessId, said: &Counted, is: &Counted) {
    let owner = format!("the certificate of process {process}");
    figures.of(&owner, "chunks_named", said.chunks_named, is.chunks_named);
    figures.of(&owner, "chunks_held", said.chunks_held, is.chunks_held);
    figures.of(&owner, "messages", said.messages, is.messages);
    figures.of(&owner, "transfers", said.transfers, is.transfers);
    figures.of(&owner, "amount", said.amount, is.amount);
}

// Whether every process named by a part is present with all of its channels closed.
fn status(state: &GlobalState) -> &'static str {
    let is_here = |process: &ProcessId| state.parts.contains_key(process);
    let is_whole = |part: &Part| {
        let named = part.state.sent.keys().chain(part.state.delivered.keys());
        let mut incoming = part.state.delivered.keys();
        part.is_finished()
            && named.into_iter().all(is_here)
            && incoming.all(|from| part.has_closed(from))
    };
    let nothing_named = match &state.completeness {
        Completeness::Complete => true,
        Completeness::Partial {
            missing,
            open_channels,
            ..
        } => missing.is_empty() && open_channels.is_empty(),
    };
    if nothing_named && !state.parts.is_empty() && state.parts.values().all(is_whole) {
        "complete"
    } else {
        "partial"
    }
}

/// The contradicting figures of a failed check.
fn contradiction(check: &Check) -> Option<Wrong> {
    if check.holds {
        return None;
    }
    let mut pairs = check.figures.chunks_exact(2);
    let pair = match check.check {
        // Only the last two are compared.
        "conservation" => pairs.next_back().map(|pair| [pair[1], pair[0]]),
        "consistent_cut" => pairs
            .find(|pair| pair[1].1 > pair[0].1)
            .map(|pair| [pair[0], pair[1]]),
        _ => pairs
            .find(|pair| pair[0].1 != pair[1].1)
            .map(|pair| [pair[0], pair[1]]),
    };
    let subject = format!("{} of {}", check.check, check.subject);
    Some(match pair {
        Some([(said, stated), (is, recomputed)]) => Wrong {
            figure: format!("{subject}, {said} compared with {is}"),
            stated: stated.to_string(),
            recomputed: recomputed.to_string(),
        },
        None => Wrong {
            figure: subject,
            stated: "that it holds".to_owned(),
            recomputed: "that it does not".to_owned(),
        },
    })
}

/// Checks the bounds of figures. An untrusted file may contain any; these bounds keep sums from overflowing, and readers
/// from opening too many runs at once, and are far above valid values.
///
/// # Errors
/// [`StoreError::Damaged`]: a figure is out of its range, or a state has more than [`RUNS_MAX`] runs.
pub(in crate::store) fn check_bounds(state: &GlobalState) -> Result<(), StoreError> {
    let mut sums = Vec::new();
    let mut counts = Vec::new();
    for part in state.parts.values() {
        let recorded = &part.state;
        let totals = [recorded.deposits, recorded.withdrawals];
        sums.extend(totals.into_iter().chain([recorded.balance_total]));
        for flow in recorded.sent.values().chain(recorded.delivered.values()) {
            sums.push(flow.amount);
            counts.extend([flow.sequence.0, flow.transfers]);
        }
        for run in &recorded.runs {
            counts.extend([run.cells, run.bytes]);
        }
        for channel in &part.channels {
            sums.push(channel.amount);
            counts.extend([channel.first.0, channel.last.0, channel.transfers]);
            counts.extend(channel.closing.map(|closing| closing.position.0));
        }
    }
    let runs = state.parts.values().map(|part| part.state.runs.len());
    let what = || format!("revision {} of {}", state.revision, state.snapshot);
    if let Some(runs) = runs.max().filter(|runs| *runs > RUNS_MAX) {
        let problem =
            format!("a state in it has {runs} runs; a store never has more than {RUNS_MAX}");
        return Err(StoreError::damaged(what(), Damage::Contradiction(problem)));
    }
    let sum = sums.iter().find(|sum| sum.unsigned_abs() > 1 << 120);
    let count = counts.iter().find(|count| **count > 1 << 56);
    let Some(figure) = sum.copied().or(count.map(|count| i128::from(*count))) else {
        return Ok(());
    };
    let problem = format!("its figure {figure} is outside of the valid range");
    Err(StoreError::damaged(what(), Damage::Contradiction(problem)))
}
