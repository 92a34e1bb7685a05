//! The steps of a published revision as events, with the times of the processes themselves. Every node that has the revision
//! tells the same, however long ago it was.

use std::collections::{HashSet, VecDeque};

use super::events::{Event, Happening};
use crate::history::global::GlobalState;
use crate::process::clock::Hlc;
use crate::process::ids::ChannelId;

/// All events of a revision in the order of their times; the last one is its publication.
pub(super) fn steps(state: &GlobalState) -> VecDeque<Event> {
    let mut steps: Vec<(Hlc, Happening)> = Vec::new();
    for part in state.parts.values() {
        let recorded = Happening::Recorded {
            process: part.process.clone(),
            recorded_at: part.state.time,
        };
        steps.push((part.state.time, recorded));
        for channel in &part.channels {
            let closed_at = channel.closing.map(|closing| closing.time);
            let closed = Happening::Closed {
                channel: ChannelId {
                    from: channel.from.clone(),
                    to: part.process.clone(),
                },
                closed_at,
            };
            // A part of an older format does not say when; the revision was later.
            steps.push((closed_at.unwrap_or(state.finished_at), closed));
        }
    }
    // Stable: steps of one instant stay in the order of their processes.
    steps.sort_by_key(|(time, _)| *time);
    let begun = Happening::Begun {
        initiator: state.initiator.clone(),
        initiated_at: state.initiated_at,
    };
    let begun = std::iter::once((state.initiated_at, begun));
    let steps = begun.chain(steps).zip(1..);
    let published = Event {
        id: Happening::lasting_id(state.revision),
        noted_us: state.finished_at.wall_us(),
        what: Happening::Published {
            revision: state.revision,
        },
    };
    let event = |((time, what), number): ((Hlc, Happening), usize)| Event {
        id: format!("{}.{number}", published.id),
        noted_us: time.wall_us(),
        what,
    };
    let mut events: VecDeque<Event> = steps.map(event).collect();
    events.push_back(published);
    events
}

/// Of the events of the newest revision, those behind the last one that a watcher has seen. `earlier` are the events of the
/// revision that it has seen the end of, if that is another one.
pub(super) fn behind(
    mut events: VecDeque<Event>,
    seen: Option<&str>,
    earlier: &VecDeque<Event>,
) -> VecDeque<Event> {
    let place = events.iter().position(|event| Some(&*event.id) == seen);
    if let Some(place) = place {
        events.drain(..=place);
        return events;
    }
    let known: HashSet<&Happening> = earlier.iter().map(|event| &event.what).collect();
    events.retain(|event| !known.contains(&event.what));
    events
}

/// The revision whose publication has this id.
pub(super) fn revision_of(id: &str) -> Option<u32> {
    id.strip_prefix("revision-")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::part::tests::part_of;
    use crate::history::part::{Closing, RecordedChannel};
    use crate::process::clock::Lamport;
    use crate::process::ids::{Lsn, ProcessId, Seq, SnapshotId};

    fn process(id: &str) -> ProcessId {
        ProcessId::parse(id).expect("a valid id")
    }

    fn revision(number: u32, closed: Option<u64>) -> GlobalState {
        let snapshot = SnapshotId::parse("s").expect("a valid id");
        let mut state = GlobalState::begun(snapshot.clone(), process("p"), Hlc::at(10), Lamport(1));
        for (id, recorded) in [("p", 10), ("q", 30)] {
            let mut part = part_of(&snapshot, &process(id), &process("p"));
            part.state.time = Hlc::at(recorded);
            state.parts.insert(process(id), part);
        }
        let part = state.parts.get_mut(&process("p")).expect("it is there");
        part.channels.extend(closed.map(|closed| RecordedChannel {
            from: process("q"),
            first: Seq(1),
            last: Seq(0),
            transfers: 0,
            amount: 0,
            chunks: Vec::new(),
            closing: Some(Closing {
                position: Lsn(3),
                time: Hlc::at(closed),
            }),
        }));
        state.revision = number;
        state.finished_at = Hlc::at(99);
        state
    }

    fn told(events: &VecDeque<Event>) -> Vec<(&str, u64)> {
        let told = events.iter().map(|event| (&*event.id, event.noted_us));
        told.collect()
    }

    // Without this the page of a finished snapshot cannot say how it was taken.
    #[test]
    fn steps_have_the_times_of_the_processes_and_go_on_behind_any_of_them() {
        let all = steps(&revision(2, Some(40)));
        let wanted = [
            ("revision-2.1", 10),
            ("revision-2.2", 10),
            ("revision-2.3", 30),
            ("revision-2.4", 40),
            ("revision-2", 99),
        ];
        assert_eq!(told(&all), wanted);
        let none = VecDeque::new();
        let rest = behind(all.clone(), Some("revision-2.3"), &none);
        assert_eq!(told(&rest), wanted[3..]);
        assert!(behind(all.clone(), Some("revision-2"), &none).is_empty());
        assert_eq!(behind(all.clone(), Some("ab-7"), &none), all, "of a log");
        let news = behind(all, Some("revision-1"), &steps(&revision(1, None)));
        assert_eq!(
            told(&news),
            wanted[3..],
            "what the earlier one had is known"
        );
        assert_eq!(revision_of("revision-7"), Some(7));
        assert_eq!(
            (revision_of("revision-7.1"), revision_of("a-7")),
            (None, None)
        );
    }
}
