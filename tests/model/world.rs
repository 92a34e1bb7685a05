//! The world of the model: three processes, the channels between them, and everything that can happen next.
//!
//! A channel is only what its sender has released and its receiver has delivered: a message is in the sender's journal
//! before it leaves and stays there, and after a crash the stream resumes at the receiver's position.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use stateright::{Model, Property};

use crate::bounds::{Bounds, Detail, Fault, PROCESSES};
use crate::face::Face;
use crate::graph::Graph;
use crate::local::{Deed, Local};
use crate::names::Named;
use crate::properties;
use crate::rare::{self, Rare};

/// The model: its bounds, and what was computed so far.
pub(crate) struct World {
    pub(crate) bounds: Bounds,
    pub(crate) graph: Graph,
    pub(crate) rare: Rare,
}

/// A global state.
#[derive(Clone)]
pub(crate) struct State {
    pub(crate) locals: Vec<Arc<Local>>,
    pub(crate) crashes: u8,
    /// The transfers that were confirmed to their clients, as bits.
    pub(crate) answered: u32,
    /// The snapshots during which a crash lost something, as bits.
    pub(crate) interrupted: u32,
}

/// A possible event at a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Operate { at: usize, transfer: usize },
    Initiate { at: usize, snapshot: usize },
    Deliver { from: usize, to: usize },
    Repeat { from: usize, to: usize },
    Overtake { from: usize, to: usize },
    Commit { at: usize },
    Crash { at: usize },
}

impl Action {
    // The process whose state changes.
    fn index(self) -> usize {
        match self {
            Self::Operate { at, .. } | Self::Initiate { at, .. } => at,
            Self::Commit { at } | Self::Crash { at } => at,
            Self::Deliver { to, .. } | Self::Repeat { to, .. } | Self::Overtake { to, .. } => to,
        }
    }
}

impl World {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            graph: Graph::new(bounds),
            rare: Rare::default(),
        }
    }

    /// Returns what a process has released to others.
    pub(crate) fn released<'a>(&self, local: &'a Local) -> &'a Face {
        match self.bounds.fault {
            Fault::ReleaseBeforeSync => &local.live,
            _ => &local.durable,
        }
    }

    /// Returns the messages in flight on a channel, in order.
    pub(crate) fn under_way(&self, state: &State, (from, to): (usize, usize)) -> Vec<Named> {
        let sent = &self.released(&state.locals[from]).sent[to];
        let delivered = &state.locals[to].live.delivered[from];
        match self.bounds.fault {
            Fault::MarkersOvertake | Fault::RepeatsCount => {
                let left = sent.iter().filter(|message| !delivered.contains(message));
                left.copied().collect()
            }
            _ => sent.iter().skip(delivered.len()).copied().collect(),
        }
    }

    fn on_channel(&self, state: &State, (from, to): (usize, usize), actions: &mut Vec<Action>) {
        let under_way = self.under_way(state, (from, to));
        if !under_way.is_empty() {
            actions.push(Action::Deliver { from, to });
        }
        let delivered = &state.locals[to].live.delivered[from];
        let counts = self.bounds.fault == Fault::RepeatsCount;
        let is_new = |message| delivered.iter().filter(|other| *other == message).count() == 1;
        if delivered
            .last()
            .is_some_and(|message| !counts || is_new(message))
        {
            actions.push(Action::Repeat { from, to });
        }
        let overtakes = self.bounds.fault == Fault::MarkersOvertake;
        if overtakes && under_way.iter().skip(1).any(|message| message.is_marker()) {
            actions.push(Action::Overtake { from, to });
        }
    }

    // The deed of an action, and the process that does it.
    fn deed(&self, state: &State, action: Action) -> Option<(usize, Deed)> {
        Some(match action {
            Action::Operate { at, transfer } => (at, Deed::Operate(transfer)),
            Action::Initiate { at, snapshot } => (at, Deed::Initiate(snapshot)),
            Action::Commit { at } => (at, Deed::Commit),
            Action::Crash { at } => (at, Deed::Crash),
            Action::Deliver { from, to } => {
                let message = *self.under_way(state, (from, to)).first()?;
                (to, arrive(state, (from, to), message))
            }
            Action::Overtake { from, to } => {
                let under_way = self.under_way(state, (from, to));
                let mut later = under_way.into_iter().skip(1);
                let marker = later.find(|message| message.is_marker())?;
                (to, arrive(state, (from, to), marker))
            }
            Action::Repeat { from, to } => {
                let delivered = &state.locals[to].live.delivered[from];
                let renumbered = u64::from(self.bounds.fault == Fault::RepeatsCount);
                let seq = delivered.len() as u64 + renumbered;
                (to, Deed::Arrive(from, seq, *delivered.last()?))
            }
        })
    }

    fn note(&self, state: &State, action: Action, is_changed: bool) {
        match action {
            Action::Crash { at } => self.rare.crash(state, at),
            Action::Repeat { .. } if !is_changed => rare::count(&self.rare.duplicates),
            Action::Operate { .. } | Action::Initiate { .. } if !is_changed => {
                rare::count(&self.rare.repeats);
            }
            _ => {}
        }
    }

    fn interrupt(&self, state: &mut State) {
        state.crashes += 1;
        for snapshot in 0..self.bounds.initiators.len() {
            if state.has_begun(snapshot) && !state.is_complete(snapshot) {
                state.interrupted |= 1 << snapshot;
            }
        }
    }
}

impl State {
    /// Returns whether any process has recorded its state, durably or not yet.
    pub(crate) fn has_begun(&self, snapshot: usize) -> bool {
        self.locals
            .iter()
            .any(|local| local.live.parts[snapshot].is_some())
    }

    /// Returns whether every part is durable and finished.
    pub(crate) fn is_complete(&self, snapshot: usize) -> bool {
        let parts = self
            .locals
            .iter()
            .map(|local| &local.durable.parts[snapshot]);
        parts
            .into_iter()
            .all(|part| part.as_ref().is_some_and(|part| part.is_finished()))
    }

    fn told_apart(&self) -> ([usize; PROCESSES], u8, u32, u32) {
        let ids = std::array::from_fn(|index| self.locals[index].id);
        (ids, self.crashes, self.answered, self.interrupted)
    }
}

// Numbered as by the sender. A marker with a channel of its own takes the next number there.
fn arrive(state: &State, (from, to): (usize, usize), message: Named) -> Deed {
    let delivered = state.locals[to].live.delivered[from].len();
    Deed::Arrive(from, delivered as u64 + 1, message)
}

impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        self.told_apart() == other.told_apart()
    }
}

impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.told_apart().hash(hasher);
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faces = self
            .locals
            .iter()
            .map(|local| (&local.live, &local.durable));
        f.debug_list().entries(faces).finish()
    }
}

impl Model for World {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            locals: self.graph.begin(),
            crashes: 0,
            answered: 0,
            interrupted: 0,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let transfers = self.bounds.transfers.iter().enumerate();
        actions.extend(transfers.map(|(transfer, (at, _))| Action::Operate { at: *at, transfer }));
        let initiators = self.bounds.initiators.iter().enumerate();
        actions.extend(initiators.map(|(snapshot, at)| Action::Initiate { at: *at, snapshot }));
        let others = self.bounds.others.iter();
        actions.extend(others.map(|(at, snapshot)| Action::Initiate {
            at: *at,
            snapshot: *snapshot,
        }));
        for channel in self.bounds.channels {
            self.on_channel(state, *channel, actions);
        }
        for (at, local) in state.locals.iter().enumerate() {
            if !local.life.is_durable() {
                actions.push(Action::Commit { at });
            }
            let may_lose = self
                .bounds
                .crashes
                .is_none_or(|crashes| state.crashes < crashes);
            if local.life.is_durable() || may_lose {
                actions.push(Action::Crash { at });
            }
        }
        let mut locals = state.locals.iter();
        if let (Detail::Seen, Some(open)) = (
            self.bounds.detail,
            locals.position(|local| !local.life.is_durable()),
        ) {
            actions.retain(|action| action.index() == open);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let (at, deed) = self.deed(last, action)?;
        let after = self.graph.after(&last.locals[at], deed);
        self.note(last, action, after.is_some());
        let mut state = last.clone();
        if deed == Deed::Crash && self.bounds.crashes.is_some() && after.is_some() {
            self.interrupt(&mut state);
        }
        state.locals[at] = after?;
        for (transfer, done) in self.released(&state.locals[at]).done.iter().enumerate() {
            state.answered |= u32::from(*done > 0) << transfer;
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::of(&self.bounds)
    }
}
