//! The properties that must always hold, and those that must sometimes be observed. They do not know how a snapshot is
//! taken: they compare what the processes report with what passed between them.

use std::sync::Arc;

use snapledger::history::global::GlobalState;
use snapledger::history::{self, part::RecordedState};
use snapledger::process::clock::{Hlc, Lamport};

use stateright::Property;

use crate::bounds::{Bounds, Fault, process, snapshot_id};
use crate::face::Part;
use crate::local::Local;
use crate::rare::is_gone;
use crate::world::{State, World};

type Rule = Property<World>;

pub(crate) const CONSERVED: &str = "money is conserved";
pub(crate) const IN_ORDER: &str = "messages are delivered in order and exactly once";
pub(crate) const DURABLE: &str = "what was acknowledged is durable";
pub(crate) const EXACT: &str = "recorded channel states are exact";
pub(crate) const ONE_INITIATOR: &str =
    "at most one process numbers from one on, and in the end it is the least that started it";
pub(crate) const COMPLETE_CONSERVED: &str = "a complete global state conserves money";

pub(crate) fn of(bounds: &Bounds) -> Vec<Rule> {
    let late = Rule::sometimes("a snapshot is completed after a loss in its midst", is_late);
    let counted = bounds.crashes.is_some().then_some(late);
    let overlapping = Rule::sometimes("overlapping snapshots are complete", |world, state| {
        snapshots(world).all(|number| state.is_complete(number)) && is_overlapping(state)
    });
    let overlapping = (bounds.initiators.len() > 1).then_some(overlapping);
    let same_id = Rule::sometimes(
        "one id is started by several and complete",
        |world, state| {
            let mut complete = snapshots(world).filter(|number| state.is_complete(*number));
            complete.any(|number| starters(state, number).count() > 1)
        },
    );
    let same_id = (!bounds.others.is_empty()).then_some(same_id);
    always()
        .into_iter()
        .chain(sometimes())
        .chain(overlapping)
        .chain(same_id)
        .chain(counted)
        .collect()
}

fn always() -> Vec<Rule> {
    vec![
        Rule::always(CONSERVED, is_conserved),
        Rule::always(IN_ORDER, is_in_order),
        Rule::always(DURABLE, is_durable),
        Rule::always("no transfer is done twice", |_, state| {
            let mut done = state.locals.iter().flat_map(|local| &local.live.done);
            done.all(|times| *times <= 1)
        }),
        Rule::always("cuts are consistent", |_, state| {
            ends(state).all(is_consistent)
        }),
        Rule::always(EXACT, |_, state| ends(state).all(is_exact)),
        Rule::always(COMPLETE_CONSERVED, is_complete_and_conserved),
        Rule::always(ONE_INITIATOR, has_one_initiator),
        Rule::always("a restart gives back the same process", |_, state| {
            !state.locals.iter().any(|local| local.life.is_forgetful)
        }),
        Rule::always("nothing is refused", |_, state| {
            !state.locals.iter().any(|local| local.life.is_refused)
        }),
        Rule::always(
            "where nothing is under way, every snapshot is complete",
            is_finished,
        ),
    ]
}

fn sometimes() -> Vec<Rule> {
    vec![
        Rule::sometimes("a crash between record and markers", |world, _| {
            is_gone(&world.rare.between_record_and_markers)
        }),
        Rule::sometimes("a recording is resumed", |world, _| {
            is_gone(&world.rare.resumed)
        }),
        Rule::sometimes("a recorded state is lost with its turn", |world, _| {
            is_gone(&world.rare.recorded_in_vain)
        }),
        Rule::sometimes("a duplicate is dropped", |world, _| {
            is_gone(&world.rare.duplicates)
        }),
        Rule::sometimes("a request is repeated", |world, _| {
            is_gone(&world.rare.repeats)
        }),
        Rule::sometimes("a recorded channel holds a transfer", |_, state| {
            let mut parts = state.locals.iter().flat_map(|local| local.durable.parts());
            parts.any(|(_, part)| part.in_flight() > 0)
        }),
    ]
}

fn snapshots(world: &World) -> impl Iterator<Item = usize> {
    0..world.bounds.initiators.len()
}

// All balances and all messages in flight add up to all deposits.
fn is_conserved(world: &World, state: &State) -> bool {
    let faces = || state.locals.iter().map(|local| &local.live);
    let held: i128 = faces().map(|face| face.balance - face.deposits).sum();
    let under_way = world.bounds.channels.iter().flat_map(|(from, to)| {
        let delivered = state.locals[*to].live.delivered[*from].len();
        state.locals[*from].live.sent[*to].iter().skip(delivered)
    });
    held + under_way
        .map(|message| i128::from(message.units))
        .sum::<i128>()
        == 0
}

fn is_in_order(world: &World, state: &State) -> bool {
    world.bounds.channels.iter().all(|(from, to)| {
        let sent = &world.released(&state.locals[*from]).sent[*to];
        sent.starts_with(&state.locals[*to].live.delivered[*from])
    })
}

// Also after any later crash.
fn is_durable(world: &World, state: &State) -> bool {
    let done = |transfer: usize| {
        let mut faces = state.locals.iter().map(|local| world.released(local));
        faces.any(|face| face.done[transfer] > 0)
    };
    let mut transfers = 0..world.bounds.transfers.len();
    transfers.all(|transfer| state.answered & 1 << transfer == 0 || done(transfer))
}

/// One end of a channel, in one snapshot.
#[derive(Clone, Copy)]
struct End<'a> {
    index: usize,
    local: &'a Local,
    part: &'a Part,
}

/// Returns both ends of every channel in every snapshot in which both have recorded their states durably.
fn ends(state: &State) -> impl Iterator<Item = (End<'_>, End<'_>)> {
    let indices = 0..state.locals.len();
    let end = |index: usize, number: usize| {
        let local: &Arc<Local> = &state.locals[index];
        let part = local.durable.parts[number].as_ref()?;
        Some(End { index, local, part })
    };
    let pairs = indices
        .clone()
        .flat_map(move |from| indices.clone().map(move |to| (from, to)));
    let numbers = 0..state.locals[0].live.parts.len();
    let each = numbers.flat_map(move |number| {
        pairs
            .clone()
            .filter(|(from, to)| from != to)
            .map(move |pair| (number, pair))
    });
    each.filter_map(move |(number, (from, to))| Some((end(from, number)?, end(to, number)?)))
}

// No message is received before it is sent.
fn is_consistent((from, to): (End<'_>, End<'_>)) -> bool {
    from.part.sent[to.index] >= to.part.delivered[from.index]
}

// The recorded messages are those sent before the sender's cut and not delivered before the receiver's.
fn is_exact((from, to): (End<'_>, End<'_>)) -> bool {
    let mut closed = to.part.closed();
    let Some((_, recorded)) = closed.find(|(origin, ..)| *origin == from.index) else {
        return true;
    };
    let sent = &from.local.durable.sent[to.index];
    let between = to.part.delivered[from.index]..from.part.sent[to.index];
    sent.get(between) == Some(recorded)
}

// The processes that started a snapshot, durably, in the order of their ids.
fn starters(state: &State, number: usize) -> impl Iterator<Item = usize> {
    let parts = state.locals.iter().enumerate();
    parts.filter_map(move |(index, local)| {
        let part = local.durable.parts[number].as_ref()?;
        (part.initiator == index).then_some(index)
    })
}

// By the production rule, from the parts that are durable now: each set of parts that a process can hold is the durable
// one of some state.
fn has_one_initiator(world: &World, state: &State) -> bool {
    let topology = world.bounds.topology();
    snapshots(world).all(|number| {
        let held = |starter: usize| {
            let (snapshot, starter) = (snapshot_id(number), process(starter));
            let mut held = GlobalState::begun(snapshot, starter, Hlc::default(), Lamport(0));
            let parts = state.locals.iter().enumerate();
            held.parts.extend(parts.filter_map(|(index, local)| {
                let part = local.durable.parts[number].as_ref()?;
                Some((process(index), recorded(number, index, part.initiator)))
            }));
            held.settle_initiator();
            held
        };
        let is_first = |starter: &usize| {
            held(*starter).numbers_after(&process(*starter), &topology, |_| true) == 0
        };
        let first: Vec<usize> = starters(state, number).filter(is_first).collect();
        let least = starters(state, number).next();
        match (state.is_complete(number), least) {
            (false, _) => first.len() <= 1,
            (true, None) => false,
            (true, Some(least)) => {
                let mut starters = starters(state, number);
                first == [least]
                    && starters.all(|starter| held(starter).initiator == process(least))
            }
        }
    })
}

// A part of which only the initiator matters.
fn recorded(number: usize, index: usize, initiator: usize) -> history::part::Part {
    history::part::Part {
        snapshot: snapshot_id(number),
        process: process(index),
        initiator: process(initiator),
        state: RecordedState::default(),
        channels: Vec::new(),
        open: Vec::new(),
        start: None,
    }
}

fn is_complete_and_conserved(world: &World, state: &State) -> bool {
    snapshots(world)
        .filter(|number| state.is_complete(*number))
        .all(|number| {
            let parts = state
                .locals
                .iter()
                .filter_map(|local| local.durable.parts[number].as_ref());
            parts
                .map(|part| part.balance + part.in_flight() - part.deposits)
                .sum::<i128>()
                == 0
        })
}

fn is_finished(world: &World, state: &State) -> bool {
    if world.bounds.fault != Fault::None {
        return true;
    }
    let is_quiet = state.locals.iter().all(|local| local.life.is_durable())
        && world
            .bounds
            .channels
            .iter()
            .all(|channel| world.under_way(state, *channel).is_empty());
    !is_quiet
        || snapshots(world).all(|number| !state.has_begun(number) || state.is_complete(number))
}

// Whether some process recorded one while the other still had open channels.
fn is_overlapping(state: &State) -> bool {
    state.locals.iter().any(|local| {
        let parts = || local.durable.parts().map(|(_, part)| part);
        parts().any(|one| parts().any(|other| one.is_overlapped_by(other)))
    })
}

fn is_late(world: &World, state: &State) -> bool {
    let mut late = snapshots(world).filter(|number| state.interrupted & 1 << number != 0);
    late.any(|number| state.is_complete(number))
}
