//! The truth: what happened in every process, from turns that no crash can lose. It interprets records independently of the
//! code under test, and detects lost, duplicated, reordered or changed messages, clocks that go back, and negative balances.

mod restored;

use std::collections::{BTreeMap, BTreeSet};

use snapledger::process::Process;
use snapledger::process::clock::{Hlc, Lamport};
use snapledger::process::ids::{AccountId, Lsn, ProcessId, Seq, SnapshotId};
use snapledger::process::message::{Body, Message};
use snapledger::process::record::{Record, Turn};

use super::books::Books;
use crate::network::Route;
use crate::plan::Plan;
use crate::world::{Checked, Place};

/// What happened in all processes.
pub(crate) struct Truth {
    ids: Vec<ProcessId>,
    processes: Vec<Happened>,
    /// Every message sent, by channel, with the clock of its turn. The messages of a channel start again after the store at one
    /// end was lost.
    sent: BTreeMap<(Route, u32), Vec<(Message, Hlc)>>,
    delivered_total: u64,
    snapshots: BTreeSet<SnapshotId>,
    pub(super) overlapped: bool,
    pub(super) suspended: bool,
    pub(super) moved_to_suspense: bool,
    /// The number of processes that have not given up the lost store.
    unaware: usize,
    /// Whether a process is on an older copy of its store.
    is_put_back: bool,
    /// The messages it had sent before. A turn of another process that received some of them may be reported later.
    unsent: BTreeMap<(Route, u32), Vec<(Message, Hlc)>>,
    /// The snapshots started before all had given up the lost store.
    of_the_loss: BTreeSet<SnapshotId>,
    /// Whether a disk may be restored from an archive, so that the state at each turn is kept.
    pub(super) keeps_turns: bool,
    /// The state of each process at each of its turns.
    turns: Vec<Vec<Happened>>,
}

/// What happened in one process.
#[derive(Default, Clone)]
pub(crate) struct Happened {
    position: Lsn,
    time: Hlc,
    clock: Lamport,
    now: Books,
    cuts: BTreeMap<SnapshotId, Cut>,
    open: BTreeMap<SnapshotId, BTreeSet<Place>>,
    /// The number of stores it has lost, and its present store if any was lost.
    lost: u32,
    store: Option<[u8; 16]>,
    /// The number of stores it has given up, by peer.
    given_up: BTreeMap<Place, u32>,
    /// The balances of each account, with the instant from which each holds.
    held: BTreeMap<AccountId, Vec<(Hlc, i128)>>,
}

impl Happened {
    /// The newest turn.
    pub(super) fn position(&self) -> Lsn {
        self.position
    }

    // Records the balances changed by the turn at this instant.
    fn hold(&mut self, time: Hlc) {
        for (account, balance) in &self.now.accounts {
            let held = self.held.entry(account.clone()).or_default();
            if held.last().is_none_or(|(_, before)| before != balance) {
                held.push((time, *balance));
            }
        }
    }
}

/// The true state at a recording.
#[derive(Clone)]
pub(super) struct Cut {
    pub(super) position: Lsn,
    pub(super) time: Hlc,
    pub(super) books: Books,
    /// Per origin, the newest message before the marker, once the marker was delivered.
    pub(super) closed: BTreeMap<Place, u64>,
}

impl Truth {
    pub(super) fn new(plan: &Plan, keeps_turns: bool) -> Self {
        Self {
            ids: plan.ids.clone(),
            processes: plan.ids.iter().map(|_| Happened::default()).collect(),
            sent: BTreeMap::new(),
            delivered_total: 0,
            snapshots: BTreeSet::new(),
            overlapped: false,
            suspended: false,
            moved_to_suspense: false,
            unaware: 0,
            is_put_back: false,
            unsent: BTreeMap::new(),
            of_the_loss: BTreeSet::new(),
            keeps_turns,
            turns: plan.ids.iter().map(|_| Vec::new()).collect(),
        }
    }

    /// A process starts again with an empty store.
    pub(super) fn wiped(&mut self, place: Place, store: [u8; 16], known_by: usize) {
        self.processes[place] = Happened {
            lost: self.processes[place].lost + 1,
            store: Some(store),
            ..Happened::default()
        };
        self.turns[place].clear();
        self.unaware = known_by;
        self.is_put_back = false;
    }

    pub(super) fn happened_to(&self, place: Place) -> Happened {
        self.processes[place].clone()
    }

    /// A process continues from an earlier state: the messages it has sent since count as never sent.
    pub(super) fn put_back(&mut self, place: Place, happened: Happened) {
        let kept = usize::try_from(happened.position.0).unwrap_or(usize::MAX);
        self.turns[place].truncate(kept);
        self.processes[place] = happened;
        self.is_put_back = true;
        for other in 0..self.processes.len() {
            let (route, life) = ((place, other), self.life(place, other));
            let sent = self.processes[place].now.sent.get(&other);
            let sent = usize::try_from(sent.copied().unwrap_or(0)).unwrap_or(usize::MAX);
            if let Some(messages) = self.sent.get_mut(&(route, life)) {
                self.unsent.insert((route, life), messages.clone());
                messages.truncate(sent);
            }
        }
    }

    /// Whether a store was lost during this snapshot or after it.
    pub(super) fn is_of_the_loss(&self, snapshot: &SnapshotId) -> bool {
        self.unaware > 0 || self.is_put_back || self.of_the_loss.contains(snapshot)
    }

    // The number of restarts of a channel as seen by one end; both ends count the same losses.
    fn life(&self, at: Place, other: Place) -> u32 {
        let process = &self.processes[at];
        process.lost + process.given_up.get(&other).copied().unwrap_or(0)
    }

    fn give_up(&mut self, place: Place, peer: Place, written_off: i128) {
        let process = &mut self.processes[place];
        process.now.withdrawals += written_off.max(0);
        process.now.deposits += (-written_off).max(0);
        process.now.sent.remove(&peer);
        process.now.delivered.remove(&peer);
        self.begin_anew(place, peer);
    }

    fn begin_anew(&mut self, place: Place, peer: Place) {
        let process = &mut self.processes[place];
        *process.given_up.entry(peer).or_default() += 1;
        self.unaware -= 1;
        if self.unaware == 0 {
            self.of_the_loss = self.snapshots.clone();
        }
    }

    // A process that never recognized the lost store recognizes its successor, which then receives the waiting messages.
    fn recognize(&mut self, place: Place, peer: Place, store: [u8; 16]) {
        let (here, there) = (self.life(place, peer), self.life(peer, place));
        if self.processes[peer].store == Some(store) && here < there {
            self.begin_anew(place, peer);
            let route = (place, peer);
            if let Some(waiting) = self.sent.remove(&(route, here)) {
                self.sent.insert((route, there), waiting);
            }
        }
    }

    /// Takes a turn.
    pub(super) fn happened(&mut self, place: Place, turn: &Turn) -> Checked {
        let before = &self.processes[place];
        if turn.position != before.position.next() {
            return Err(format!(
                "{place}: turn {} after {}",
                turn.position, before.position
            ));
        }
        if turn.time <= before.time {
            return Err(format!(
                "{place}: the instant of turn {} goes back",
                turn.position
            ));
        }
        for (index, record) in turn.records.iter().enumerate() {
            self.take(place, turn, (index, record))
                .map_err(|why| format!("{}, turn {}: {why}", self.ids[place], turn.position))?;
        }
        let process = &mut self.processes[place];
        (process.position, process.time, process.clock) = (turn.position, turn.time, turn.clock);
        process.hold(turn.time);
        if self.keeps_turns {
            self.turns[place].push(self.processes[place].clone());
        }
        Ok(())
    }

    /// The balance of an account at an instant, from the turns of the present store; `None` if the account was never changed.
    pub(super) fn balance_at(&self, place: Place, account: &AccountId, at: Hlc) -> Option<i128> {
        let held = self.processes[place].held.get(account)?;
        let until = held.partition_point(|(since, _)| *since <= at);
        held[..until].last().map(|(_, balance)| *balance)
    }

    fn take(&mut self, place: Place, turn: &Turn, (index, record): (usize, &Record)) -> Checked {
        let books = &mut self.processes[place].now;
        match record {
            Record::Deposited { account, amount } => {
                books.deposits += i128::from(amount.units());
                books.change(account, amount.units().into())
            }
            Record::Withdrawn { account, amount } => {
                books.withdrawals += i128::from(amount.units());
                books.change(account, -i128::from(amount.units()))
            }
            Record::Moved { from, to, amount } => {
                books.change(from, -i128::from(amount.units()))?;
                books.change(to, amount.units().into())
            }
            Record::MovedToSuspense {
                from,
                suspense,
                amount,
                ..
            } => {
                self.moved_to_suspense = true;
                books.change(from, -i128::from(amount.units()))?;
                books.change(suspense, amount.units().into())
            }
            Record::Sent { to, seq, message } => {
                self.send((place, self.place_of(to)), *seq, (message, turn.time))
            }
            Record::Delivered {
                from,
                seq,
                suspense,
                message,
                ..
            } => {
                self.suspended |= suspense.is_some();
                let route = (self.place_of(from), place);
                self.deliver(route, *seq, (message, turn.time))?;
                self.credit(route, suspense.as_deref(), &message.body)
            }
            Record::Forgotten { peer, written_off } => {
                self.give_up(place, self.place_of(peer), *written_off);
                Ok(())
            }
            Record::Recognized { peer, identity } => {
                self.recognize(place, self.place_of(peer), identity.store);
                Ok(())
            }
            Record::StateRecorded {
                snapshot, channels, ..
            } => {
                if index > 0 {
                    return Err("a state was recorded within a turn".to_owned());
                }
                self.record(place, snapshot, (channels, turn.time))
            }
            _ => Ok(()),
        }
    }

    fn send(&mut self, route: Route, seq: Seq, (message, time): (&Message, Hlc)) -> Checked {
        let life = self.life(route.0, route.1);
        let sent = self.sent.entry((route, life)).or_default();
        if seq.0 != sent.len() as u64 + 1 {
            return Err(format!(
                "message {seq} was sent behind {} on {route:?}",
                sent.len()
            ));
        }
        sent.push((message.clone(), time));
        let books = &mut self.processes[route.0].now;
        books.sent.insert(route.1, seq.0);
        match message.body.transfer() {
            Some(transfer) => {
                books.change(&transfer.from_account, -i128::from(transfer.amount.units()))
            }
            None => Ok(()),
        }
    }

    // Checks that the message is the next one, is unchanged, and is delivered at a later clock than it was sent.
    fn deliver(&mut self, route: Route, seq: Seq, (message, time): (&Message, Hlc)) -> Checked {
        let life = self.life(route.1, route.0);
        let delivered = self.processes[route.1]
            .now
            .delivered
            .entry(route.0)
            .or_default();
        if seq.0 != *delivered + 1 {
            return Err(format!(
                "message {seq} of {route:?} was delivered behind {delivered}"
            ));
        }
        *delivered = seq.0;
        self.delivered_total += 1;
        let place = usize::try_from(seq.0 - 1).unwrap_or(usize::MAX);
        let lists = [&self.unsent, &self.sent];
        let [unsent, sent] = lists.map(|sent| sent.get(&(route, life))?.get(place));
        match unsent.filter(|(unsent, _)| unsent == message).or(sent) {
            None => Err(format!(
                "message {seq} of {route:?} was delivered and never sent"
            )),
            Some((sent, _)) if sent != message => Err(format!(
                "message {seq} of {route:?} was sent as {sent:?} and delivered as {message:?}"
            )),
            Some((_, sent_at)) if *sent_at >= time => Err(format!(
                "message {seq} of {route:?} was delivered at an instant before its own"
            )),
            Some(_) => Ok(()),
        }
    }

    fn credit(&mut self, route: Route, suspense: Option<&AccountId>, body: &Body) -> Checked {
        match body {
            Body::Transfer(transfer) => {
                let account = suspense.unwrap_or(&transfer.to_account);
                let books = &mut self.processes[route.1].now;
                books.change(account, transfer.amount.units().into())
            }
            Body::Marker(marker) => self.close(route, &marker.snapshot),
            Body::Put(_) => Ok(()),
        }
    }

    fn record(
        &mut self,
        place: Place,
        snapshot: &SnapshotId,
        (channels, time): (&[ProcessId], Hlc),
    ) -> Checked {
        let open: BTreeSet<_> = channels.iter().map(|from| self.place_of(from)).collect();
        let is_of_the_loss = self.is_of_the_loss(snapshot);
        let process = &mut self.processes[place];
        let cut = Cut {
            position: process.position,
            time,
            books: process.now.clone(),
            closed: BTreeMap::new(),
        };
        if process.cuts.insert(snapshot.clone(), cut).is_some() && !is_of_the_loss {
            return Err(format!("the state was recorded twice for {snapshot}"));
        }
        process.open.insert(snapshot.clone(), open);
        self.overlapped |= process.open.len() > 1;
        self.snapshots.insert(snapshot.clone());
        Ok(())
    }

    // A marker was delivered: the messages delivered before it are the channel state.
    fn close(&mut self, route: Route, snapshot: &SnapshotId) -> Checked {
        let is_of_the_loss = self.is_of_the_loss(snapshot);
        let process = &mut self.processes[route.1];
        let delivered = process
            .now
            .delivered
            .get(&route.0)
            .copied()
            .unwrap_or_default();
        let Some(cut) = process.cuts.get_mut(snapshot) else {
            return Err(format!(
                "the marker of {snapshot} was delivered and no state recorded"
            ));
        };
        if cut.closed.insert(route.0, delivered - 1).is_some() && !is_of_the_loss {
            return Err(format!("two markers of {snapshot} came over {route:?}"));
        }
        if let Some(open) = process.open.get_mut(snapshot) {
            open.remove(&route.0);
            if open.is_empty() {
                process.open.remove(snapshot);
            }
        }
        Ok(())
    }

    pub(super) fn place_of(&self, id: &ProcessId) -> Place {
        let place = self.ids.iter().position(|known| known == id);
        place.expect("only processes of the plan are named")
    }

    pub(super) fn id(&self, place: Place) -> &ProcessId {
        &self.ids[place]
    }

    pub(super) fn position(&self, place: Place) -> Lsn {
        self.processes[place].position
    }

    pub(super) fn books(&self, place: Place) -> &Books {
        &self.processes[place].now
    }

    pub(super) fn count(&self) -> usize {
        self.processes.len()
    }

    /// The true state that a process recorded for a snapshot.
    pub(super) fn cut(&self, place: Place, snapshot: &SnapshotId) -> Checked<&Cut> {
        let cut = self.processes[place].cuts.get(snapshot);
        cut.ok_or_else(|| format!("{} has not recorded {snapshot}", self.ids[place]))
    }

    /// The messages of a channel with numbers in the range, first and last included.
    pub(super) fn messages(&self, route: Route, first: u64, last: u64) -> Vec<(u64, &Message)> {
        let life = self.life(route.0, route.1);
        let sent = self.sent.get(&(route, life)).map(Vec::as_slice);
        let sent = sent.unwrap_or_default();
        let numbered = (1..).zip(sent).map(|(seq, (message, _))| (seq, message));
        numbered
            .filter(|(seq, _)| (first..=last).contains(seq))
            .collect()
    }

    /// The number of messages sent on a channel.
    pub(super) fn sent(&self, route: Route) -> u64 {
        let life = self.life(route.0, route.1);
        let sent = self.sent.get(&(route, life));
        sent.map_or(0, |sent| sent.len() as u64)
    }

    pub(super) fn has_marker_after(&self, route: Route, seq: u64) -> bool {
        let later = self.messages(route, seq + 1, u64::MAX);
        later
            .iter()
            .any(|(_, message)| matches!(message.body, Body::Marker(_)))
    }

    /// The snapshots that have begun.
    pub(super) fn begun(&self) -> &BTreeSet<SnapshotId> {
        &self.snapshots
    }

    /// The number of snapshots, and of delivered messages.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.snapshots.len() as u64, self.delivered_total)
    }

    /// Checks that a process has the state that the records yield.
    pub(super) fn same(&self, place: Place, process: &Process) -> Checked {
        let truth = &self.processes[place];
        let registers = process.registers();
        let differs = |what: &str| Err(format!("{} came back with other {what}", self.ids[place]));
        if (registers.position, registers.time) != (truth.position, truth.time) {
            return differs("clocks");
        }
        if (registers.deposits, registers.withdrawals)
            != (truth.now.deposits, truth.now.withdrawals)
        {
            return differs("totals");
        }
        for (account, balance) in &truth.now.accounts {
            if process.bank().balance(account).map(i128::from) != Some(*balance) {
                return differs("balances");
            }
        }
        if process.bank().len() != truth.now.accounts.len() as u64 {
            return differs("accounts");
        }
        let delivered = |from: Place| {
            let channel = registers.incoming.get(&self.ids[from]);
            channel.map_or(0, |channel| channel.delivered.sequence.0)
        };
        if truth
            .now
            .delivered
            .iter()
            .any(|(from, seq)| delivered(*from) != *seq)
        {
            return differs("delivered positions");
        }
        let sent = |to: Place| {
            let channel = registers.outgoing.get(&self.ids[to]);
            channel.map_or(0, |channel| channel.sent.sequence.0)
        };
        if truth.now.sent.iter().any(|(to, seq)| sent(*to) != *seq) {
            return differs("sent positions");
        }
        Ok(())
    }
}
