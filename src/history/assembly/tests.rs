//! One assembly, driven step by step: processes n1, n2 and n3, fully connected.
//!
//! Over 500 lines: every decision of an assembly, driven by the same rig.

use super::*;
use crate::history::global::{Completeness, Counted, Reason};
use crate::history::part::RecordedChannel;
use crate::history::part::tests::part_of;
use crate::history::reported::NO_JOURNAL;
use crate::process::clock::{Hlc, Lamport};
use crate::process::ids::{Seq, SnapshotId};
use crate::process::start::{Start, StartedBy};
use crate::process::topology::Topology;

const DEADLINE_US: u64 = 5 * SECOND;

fn id(index: usize) -> ProcessId {
    ProcessId::parse(["n1", "n2", "n3"][index]).expect("a valid id")
}

fn snapshot() -> SnapshotId {
    SnapshotId::parse("s").expect("a valid id")
}

// The part of a process, recorded for n1, with open channels from these processes.
fn open_part(index: usize, open: &[usize]) -> Part {
    let mut part = part_of(&snapshot(), &id(index), &id(0));
    part.open = open.iter().map(|from| id(*from)).collect();
    let closed = (0..3).filter(|from| *from != index && !open.contains(from));
    part.channels = closed
        .map(|from| RecordedChannel {
            from: id(from),
            first: Seq(1),
            last: Seq(0),
            transfers: 0,
            amount: 0,
            chunks: Vec::new(),
            closing: None,
        })
        .collect();
    part
}

fn part(index: usize) -> Part {
    open_part(index, &[])
}

// The view that process `me` has of the others.
fn view(me: usize, states: [PeerState; 3]) -> ClusterView {
    let peers = (0..3).filter(|index| *index != me).map(|index| {
        let sight = PeerSight {
            state: states[index],
            is_silent: states[index] == PeerState::Down,
            last_seen_us: None,
        };
        (id(index), sight)
    });
    ClusterView {
        peers: peers.collect(),
        ..ClusterView::default()
    }
}

const UP: PeerState = PeerState::Up;
const DOWN: PeerState = PeerState::Down;

struct Rig {
    me: usize,
    assembly: Assembly,
    now_us: u64,
}

impl Rig {
    fn begun() -> Self {
        Self::new(0, |membership, state, timing| {
            Assembly::begun(membership, state, timing)
        })
    }

    fn resumed(me: usize, lost: &[usize]) -> Self {
        let lost = lost.iter().map(|index| id(*index)).collect();
        Self::new(me, |membership, state, timing| {
            Assembly::resumed(membership, state, timing, lost)
        })
    }

    fn new(
        me: usize,
        assembly: impl FnOnce(Arc<Membership>, GlobalState, Timing) -> Assembly,
    ) -> Self {
        let membership = Arc::new(Membership {
            me: id(me),
            topology: Topology::full(&[id(0), id(1), id(2)]).expect("three processes"),
            foreign: [].into(),
        });
        let state = GlobalState::begun(snapshot(), id(0), Hlc::at(1), Lamport(1));
        let timing = Timing {
            now_us: 0,
            elapsed_us: 7,
            deadline_us: DEADLINE_US,
            configured_deadline_us: DEADLINE_US,
        };
        let mut assembly = assembly(membership, state, timing);
        assembly.observe(view(me, [UP; 3]));
        let now_us = 0;
        Self {
            me,
            assembly,
            now_us,
        }
    }

    fn sees(&mut self, states: [PeerState; 3]) {
        self.assembly.observe(view(self.me, states));
    }

    // The actions after an event, without fetches and notifications.
    fn give(&mut self, event: Event) -> Vec<Action> {
        let mut actions = self.give_all(event);
        actions.retain(|action| {
            !matches!(
                action,
                Action::Fetch { .. } | Action::StopFetching | Action::NotePart(_) | Action::Show
            )
        });
        actions
    }

    fn give_all(&mut self, event: Event) -> Vec<Action> {
        self.assembly.handle(self.now_us, event);
        std::iter::from_fn(|| self.assembly.poll()).collect()
    }

    fn next_state(&self) -> GlobalState {
        let finish = Finish {
            now_us: self.now_us,
            time: Hlc::at(9),
            clock: Lamport(9),
            last_complete: None,
        };
        self.assembly.next_revision(finish).state
    }

    fn arrives(&mut self, part: Part) -> Vec<Action> {
        assert!(self.assembly.takes_parts());
        self.give(Event::Arrived(Box::new(part)))
    }

    // Advances the time until an action other than a fetch follows, by at most this duration.
    fn wait(&mut self, for_us: u64) -> Vec<Action> {
        let end_us = self.now_us + for_us;
        while let Some(at_us) = self.assembly.wake_at().filter(|at_us| *at_us <= end_us) {
            self.now_us = self.now_us.max(at_us);
            let actions = self.give(Event::Time);
            if !actions.is_empty() {
                return actions;
            }
        }
        self.now_us = end_us;
        Vec::new()
    }

    // The contents of all parts are undamaged.
    fn counts(&mut self) -> Vec<Action> {
        self.give(Event::Counted {
            counted: BTreeMap::new(),
            damaged: Vec::new(),
            contradicted: BTreeMap::new(),
        })
    }

    fn finds_damage(&mut self, damaged: &[usize]) -> Vec<Action> {
        self.give_all(Event::Counted {
            counted: BTreeMap::new(),
            damaged: damaged.iter().map(|index| id(*index)).collect(),
            contradicted: BTreeMap::new(),
        })
    }

    // A partial revision of n1 and n2 is published; n3 is down and its markers have not arrived.
    fn partial() -> Self {
        let mut rig = Self::begun();
        assert_eq!(rig.wait(0), []);
        rig.sees([UP, UP, DOWN]);
        assert!(matches!(
            &rig.wait(SECOND)[..],
            [Action::Run(Job::Ask { .. })]
        ));
        let parts = vec![open_part(0, &[2]), open_part(1, &[2])];
        assert_eq!(rig.give(Event::Asked(parts)), [Action::Run(Job::Count)]);
        assert_eq!(rig.counts(), [Action::Run(Job::Publish)]);
        assert_eq!(rig.give(Event::Published(1)), []);
        rig
    }
}

fn asked(actions: &[Action]) -> Vec<ProcessId> {
    match actions {
        [Action::Run(Job::Ask { processes, .. })] => processes.clone(),
        other => panic!("{other:?} asks for nothing"),
    }
}

fn fetched(actions: &[Action]) -> Vec<ProcessId> {
    let fetched = actions.iter().filter_map(|action| match action {
        Action::Fetch { process, .. } => Some(process.clone()),
        _ => None,
    });
    fetched.collect()
}

fn adopts(actions: &[Action]) -> bool {
    matches!(actions, [Action::Run(Job::Adopt { .. })])
}

#[test]
fn a_snapshot_is_complete_as_soon_as_every_part_is_there() {
    let mut rig = Rig::begun();
    let all = fetched(&rig.give_all(Event::Time));
    assert_eq!(all, [id(0), id(1), id(2)]);
    assert_eq!(rig.arrives(part(1)), []);
    assert_eq!(rig.arrives(part(0)), []);
    assert_eq!(rig.arrives(part(2)), [Action::Run(Job::Count)]);
    assert!(!rig.assembly.takes_parts());
    assert_eq!(rig.counts(), [Action::Run(Job::Publish)]);
    assert_eq!(rig.give(Event::Published(1)), [Action::End(End::Complete)]);
    assert_eq!(rig.assembly.wake_at(), None);
}

#[test]
fn what_is_there_at_the_deadline_is_published() {
    let mut rig = Rig::begun();
    rig.wait(0);
    rig.arrives(part(0));
    assert_eq!(asked(&rig.wait(DEADLINE_US)), [id(1), id(2)]);
    assert_eq!(rig.now_us, DEADLINE_US);
    let asked = rig.give(Event::Asked(vec![open_part(1, &[2])]));
    assert_eq!(asked, [Action::Run(Job::Count)]);
    assert_eq!(rig.counts(), [Action::Run(Job::Publish)]);
    let finish = Finish {
        now_us: rig.now_us,
        time: Hlc::at(9),
        clock: Lamport(9),
        last_complete: None,
    };
    let next = rig.assembly.next_revision(finish);
    assert_eq!(next.after, 0, "n1 has the least id");
    assert_eq!(next.state.duration_us, DEADLINE_US + 7);
    let missing = next.state.missing();
    assert_eq!(missing.len(), 1);
    assert_eq!(missing[0].process, id(2));
    assert_eq!(missing[0].reason, Reason::Recording);
}

// Without this, every snapshot of a cluster with a dead process would take as long as its deadline.
#[test]
fn a_partial_revision_does_not_wait_for_what_cannot_come() {
    let mut rig = Rig::begun();
    assert_eq!(rig.wait(0), []);
    assert_eq!(rig.wait(SECOND), [], "all are up, so the rest may come");
    rig.sees([UP, UP, DOWN]);
    assert_eq!(asked(&rig.wait(SECOND)), [id(0), id(1)]);
    let some = vec![open_part(0, &[1, 2])];
    assert_eq!(rig.give(Event::Asked(some)), [], "n2 is up and may come");
    assert_eq!(asked(&rig.wait(SECOND)), [id(0), id(1)]);
    let all = vec![open_part(0, &[2]), open_part(1, &[2])];
    assert_eq!(rig.give(Event::Asked(all)), [Action::Run(Job::Count)]);
    assert!(rig.now_us < DEADLINE_US);
}

#[test]
fn a_stopped_channel_explains_what_it_would_have_brought() {
    let mut rig = Rig::begun();
    rig.wait(0);
    let mut stopped = view(0, [UP; 3]);
    for from in [0, 1] {
        let channel = crate::process::ids::ChannelId {
            from: id(from),
            to: id(2),
        };
        stopped.stopped.insert(channel, "another store".to_owned());
    }
    rig.assembly.observe(stopped);
    rig.wait(SECOND);
    let parts = vec![open_part(0, &[]), open_part(1, &[])];
    assert_eq!(rig.give(Event::Asked(parts)), [Action::Run(Job::Count)]);
    let finish = Finish {
        now_us: rig.now_us,
        time: Hlc::at(9),
        clock: Lamport(9),
        last_complete: Some(snapshot()),
    };
    let state = rig.assembly.next_revision(finish).state;
    let why = "another store".into();
    assert_eq!(state.missing()[0].reason, Reason::ChannelStopped { why });
    assert_eq!(state.missing()[0].last_complete, Some(snapshot()));
    let Completeness::Partial { stopped, .. } = state.completeness else {
        panic!("n3 is missing");
    };
    assert_eq!(stopped.len(), 2);
}

#[test]
fn late_parts_that_come_together_make_one_revision() {
    let mut rig = Rig::partial();
    rig.sees([UP; 3]);
    assert_eq!(rig.arrives(part(0)), []);
    assert_eq!(rig.wait(SECOND), [], "more may come");
    assert_eq!(rig.arrives(part(1)), []);
    assert!(adopts(&rig.arrives(part(2))), "all is there");
    assert_eq!(rig.give(Event::Adopted(false)), [Action::Run(Job::Count)]);
    assert_eq!(rig.counts(), [Action::Run(Job::Publish)]);
    assert_eq!(rig.give(Event::Published(2)), [Action::End(End::Complete)]);
}

#[test]
fn a_further_partial_revision_holds_more_than_the_one_before() {
    let mut rig = Rig::partial();
    rig.sees([UP; 3]);
    assert_eq!(asked(&rig.wait(4 * SECOND)), [id(2)], "n3 is back");
    assert_eq!(rig.give(Event::Asked(Vec::new())), [], "it has nothing");
    assert_eq!(asked(&rig.wait(4 * SECOND)), [id(2)]);
    let more = rig.give(Event::Asked(vec![open_part(2, &[0, 1])]));
    assert_eq!(asked(&more), [id(0), id(1), id(2)]);
    assert_eq!(
        rig.give(Event::Asked(Vec::new())),
        [Action::Run(Job::Count)]
    );
    assert_eq!(rig.counts(), [Action::Run(Job::Publish)]);
    assert_eq!(rig.give(Event::Published(2)), []);
    assert_eq!(rig.wait(4 * SECOND), [], "nothing is missing altogether");
}

// Without this, a process that returns would publish a second complete revision.
#[test]
fn a_resumed_assembly_asks_for_a_complete_revision_first() {
    let mut rig = Rig::resumed(0, &[]);
    rig.sees([UP, UP, DOWN]);
    let first = rig.wait(0);
    assert_eq!(
        first,
        [Action::Run(Job::Adopt {
            processes: vec![id(1)]
        })]
    );
    assert_eq!(rig.give(Event::Adopted(true)), [Action::End(End::Adopted)]);
    let mut rig = Rig::resumed(0, &[]);
    rig.wait(0);
    let fetches = rig.give_all(Event::Adopted(false));
    assert_eq!(fetched(&fetches), [id(0), id(1), id(2)]);
}

// n2 stands in for n1 and has every part.
fn whole_stand_in() -> Rig {
    let mut rig = Rig::resumed(1, &[]);
    rig.sees([DOWN, UP, UP]);
    rig.wait(0);
    rig.give(Event::Adopted(false));
    rig.arrives(part(0));
    rig.arrives(part(1));
    rig.sees([UP; 3]);
    assert_eq!(rig.arrives(part(2)), [], "n1 is up again");
    rig
}

#[test]
fn a_stand_in_leaves_publishing_to_the_initiator_that_is_up() {
    let mut rig = whole_stand_in();
    let start_us = rig.now_us;
    let mut looks = 0;
    loop {
        assert!(adopts(&rig.wait(SECOND)), "it looks for its revision");
        looks += 1;
        if adopts(&rig.give(Event::Adopted(false))) {
            break;
        }
    }
    assert!(looks > 10);
    assert_eq!(rig.give(Event::Adopted(false)), [Action::Run(Job::Count)]);
    let waited_us = rig.now_us - start_us;
    assert!(waited_us >= DEADLINE_US + STAND_BACK_US);
    assert!(waited_us < DEADLINE_US + STAND_BACK_US + SECOND);
}

#[test]
fn a_stand_in_publishes_when_the_initiator_goes_down_again() {
    let mut rig = whole_stand_in();
    assert!(adopts(&rig.wait(SECOND)));
    rig.sees([DOWN, UP, UP]);
    assert!(
        adopts(&rig.give(Event::Adopted(false))),
        "once more before it publishes"
    );
    assert_eq!(rig.give(Event::Adopted(false)), [Action::Run(Job::Count)]);
}

#[test]
fn a_revision_of_the_initiator_is_adopted_while_standing_back() {
    let mut rig = whole_stand_in();
    assert!(adopts(&rig.wait(SECOND)));
    assert_eq!(rig.give(Event::Adopted(true)), [Action::End(End::Adopted)]);
}

// n2 stands in for n1, which is down, and has everything it can get.
fn stand_in_at_its_first_revision() -> Rig {
    let mut rig = Rig::resumed(1, &[]);
    rig.sees([DOWN, UP, UP]);
    rig.wait(0);
    rig.give(Event::Adopted(false));
    rig.wait(SECOND);
    let parts = vec![open_part(1, &[0]), open_part(2, &[0])];
    assert_eq!(
        rig.give(Event::Asked(parts)),
        [Action::Run(Job::ReadNewest)]
    );
    rig
}

#[test]
fn a_stand_in_adds_nothing_to_a_revision_that_holds_as_much() {
    let mut rig = stand_in_at_its_first_revision();
    let newest = Newest {
        revision: 3,
        extent: Extent {
            states: 2,
            channels: 2,
        },
    };
    assert_eq!(rig.give(Event::Newest(Some(newest))), []);
    assert_eq!(rig.assembly.state().revision, 3);
    assert_eq!(rig.wait(3 * SECOND), []);
}

#[test]
fn a_stand_in_publishes_what_no_revision_holds() {
    let mut rig = stand_in_at_its_first_revision();
    let newest = Newest {
        revision: 3,
        extent: Extent {
            states: 1,
            channels: 2,
        },
    };
    assert_eq!(
        rig.give(Event::Newest(Some(newest))),
        [Action::Run(Job::Count)]
    );
    let mut rig = stand_in_at_its_first_revision();
    assert_eq!(rig.give(Event::Newest(None)), [Action::Run(Job::Count)]);
}

#[test]
fn what_was_lost_with_a_store_is_not_waited_for() {
    let mut rig = Rig::resumed(0, &[2]);
    rig.wait(0);
    rig.give(Event::Adopted(false));
    assert!(matches!(
        &rig.wait(DEADLINE_US)[..],
        [Action::Run(Job::Ask { .. })]
    ));
    let parts = vec![open_part(0, &[2]), open_part(1, &[2])];
    assert_eq!(rig.give(Event::Asked(parts)), [Action::Run(Job::Count)]);
    rig.counts();
    assert_eq!(rig.give(Event::Published(1)), [Action::End(End::InVain)]);
}

// Without this, a stand-in with every part would end without a complete revision if any store was lost meanwhile.
#[test]
fn nothing_is_in_vain_where_every_part_is_there() {
    let mut rig = Rig::resumed(1, &[2]);
    rig.sees([DOWN, UP, UP]);
    rig.wait(0);
    rig.give(Event::Adopted(false));
    rig.wait(SECOND);
    let parts = vec![open_part(1, &[0]), part(2)];
    rig.give(Event::Asked(parts));
    rig.give(Event::Newest(None));
    rig.counts();
    assert_eq!(rig.give(Event::Published(2_000_001)), []);
    rig.sees([UP; 3]);
    assert_eq!(rig.arrives(part(0)), []);
    assert_eq!(rig.arrives(part(1)), [], "it stands back for n1");
    assert!(adopts(&rig.wait(2 * SECOND)));
}

// Revisions are immutable: one published without its contents could never be repaired.
#[test]
fn a_damaged_part_is_fetched_again() {
    let mut rig = Rig::begun();
    rig.wait(0);
    for index in 0..3 {
        rig.arrives(part(index));
    }
    let actions = rig.finds_damage(&[1]);
    assert!(
        actions.contains(&Action::Run(Job::Publish)),
        "the rest is early"
    );
    let actions = rig.give_all(Event::Published(1));
    assert_eq!(fetched(&actions), [id(1)]);
    assert!(adopts(&rig.arrives(part(1))));
    rig.give(Event::Adopted(false));
    let actions = rig.finds_damage(&[1]);
    assert!(
        !actions.contains(&Action::Run(Job::Publish)),
        "revision 1 holds as much"
    );
    assert_eq!(fetched(&actions), [id(1)]);
    assert!(adopts(&rig.arrives(part(1))));
    rig.give(Event::Adopted(false));
    assert_eq!(rig.counts(), [Action::Run(Job::Publish)]);
    assert_eq!(rig.give(Event::Published(2)), [Action::End(End::Complete)]);
}

// Without this, a later revision would lack a part that an earlier one holds, because the part is damaged here.
#[test]
fn no_revision_lacks_what_an_earlier_one_holds() {
    let mut rig = Rig::partial();
    rig.sees([UP; 3]);
    rig.arrives(part(0));
    rig.arrives(part(1));
    assert!(adopts(&rig.arrives(part(2))));
    rig.give(Event::Adopted(false));
    rig.finds_damage(&[1]);
    for _ in 0..3 {
        assert_eq!(asked(&rig.wait(4 * SECOND)), [id(1)]);
        assert_eq!(rig.give(Event::Asked(Vec::new())), []);
    }
    assert!(adopts(&rig.arrives(part(1))));
}

#[test]
fn the_own_part_is_not_fetched_again_when_it_is_damaged() {
    let mut rig = Rig::begun();
    rig.wait(0);
    for index in 0..3 {
        rig.arrives(part(index));
    }
    rig.finds_damage(&[0, 2]);
    let actions = rig.give_all(Event::Published(1));
    assert_eq!(fetched(&actions), [id(2)]);
}

#[test]
fn a_failed_fetch_is_repeated_after_a_pause_that_grows() {
    let mut rig = Rig::begun();
    rig.wait(0);
    let mut pauses = Vec::new();
    for _ in 0..8 {
        let ended = Event::FetchEnded {
            process: id(1),
            is_done: false,
        };
        assert_eq!(rig.give_all(ended), []);
        let failed_us = rig.now_us;
        loop {
            rig.now_us = rig.assembly.wake_at().expect("a fetch is due");
            if fetched(&rig.give_all(Event::Time)) == [id(1)] {
                break;
            }
        }
        pauses.push((rig.now_us - failed_us) / MS);
    }
    assert_eq!(pauses, [20, 40, 80, 160, 320, 640, 1000, 1000]);
}

#[test]
fn a_late_part_is_fetched_from_a_live_process_only() {
    let mut rig = Rig::partial();
    for _ in 0..20 {
        rig.now_us = rig.assembly.wake_at().expect("a fetch is due");
        assert_eq!(fetched(&rig.give_all(Event::Time)), []);
    }
    rig.sees([UP; 3]);
    let before_us = rig.now_us;
    while fetched(&rig.give_all(Event::Time)) != [id(2)] {
        rig.now_us = rig.assembly.wake_at().expect("a fetch is due");
    }
    assert!(rig.now_us - before_us <= SECOND);
}

#[test]
fn a_foreign_process_that_contradicts_itself_is_not_believed() {
    let mut rig = Rig::begun();
    rig.wait(0);
    let mut first = open_part(1, &[2]);
    first.state.journal = NO_JOURNAL;
    let mut other = part(1);
    other.state.journal = NO_JOURNAL;
    other.state.balance_total = 1;
    rig.arrives(first.clone());
    assert_eq!(rig.arrives(other), [Action::NoteContradiction(id(1))]);
    assert_eq!(rig.assembly.state().parts[&id(1)], first);
}

// Without this, consecutive revisions would contradict each other on the state of a process.
#[test]
fn a_part_of_the_store_that_replaced_a_lost_one_is_left_out() {
    let mut rig = Rig::begun();
    rig.wait(0);
    let first = open_part(1, &[2]);
    let mut other = part(1);
    other.state.position = first.state.position.next();
    rig.arrives(first.clone());
    assert_eq!(rig.arrives(other), [Action::NoteContradiction(id(1))]);
    assert_eq!(rig.assembly.state().parts[&id(1)], first);
}

// Without this, a later revision would lack recorded messages that an earlier one holds: an older copy of a store has the same
// recording, without the markers that came after the copy.
#[test]
fn a_part_with_fewer_closed_channels_does_not_replace_the_known_one() {
    let mut rig = Rig::begun();
    rig.wait(0);
    let first = open_part(1, &[2]);
    rig.arrives(first.clone());
    rig.arrives(open_part(1, &[0, 2]));
    assert_eq!(rig.assembly.state().parts[&id(1)], first);
    rig.arrives(part(1));
    assert_eq!(rig.assembly.state().parts[&id(1)], part(1));
}

// Without this, the part fetched in place of a damaged one could be of another store than the published one.
#[test]
fn a_damaged_part_is_not_replaced_by_that_of_another_store() {
    let mut rig = Rig::partial();
    rig.sees([UP; 3]);
    rig.arrives(part(0));
    rig.arrives(part(1));
    rig.arrives(part(2));
    rig.give(Event::Adopted(false));
    rig.finds_damage(&[1]);
    let mut other = part(1);
    other.state.position = other.state.position.next();
    assert_eq!(rig.arrives(other), [Action::NoteContradiction(id(1))]);
    assert!(!rig.assembly.state().parts.contains_key(&id(1)));
    assert!(adopts(&rig.arrives(part(1))), "the known one is taken");
}

// Without this, a stand-in would publish a revision that contradicts one that entered its history meanwhile.
#[test]
fn a_part_that_a_revision_in_the_history_contradicts_is_left_out() {
    let mut rig = Rig::begun();
    rig.wait(0);
    for index in 0..3 {
        rig.arrives(part(index));
    }
    let contradiction = (part(1).state.position.next(), part(1).state.journal);
    let actions = rig.give(Event::Counted {
        counted: BTreeMap::new(),
        damaged: Vec::new(),
        contradicted: BTreeMap::from([(id(1), contradiction)]),
    });
    assert!(actions.contains(&Action::NoteContradiction(id(1))));
    assert!(!rig.assembly.state().parts.contains_key(&id(1)));
    rig.give(Event::Published(1));
    rig.arrives(part(1));
    assert!(!rig.assembly.state().parts.contains_key(&id(1)));
}

#[test]
fn an_unfinished_part_of_a_lost_store_is_not_waited_for() {
    let mut rig = Rig::resumed(0, &[2]);
    rig.wait(0);
    rig.give(Event::Adopted(false));
    rig.wait(DEADLINE_US);
    let parts = vec![part(0), part(1), open_part(2, &[1])];
    assert_eq!(rig.give(Event::Asked(parts)), [Action::Run(Job::Count)]);
    rig.counts();
    assert_eq!(rig.give(Event::Published(1)), [Action::End(End::InVain)]);
}

#[test]
fn a_store_that_fails_ends_the_assembly() {
    let mut rig = Rig::begun();
    rig.wait(0);
    for index in 0..3 {
        rig.arrives(part(index));
    }
    assert_eq!(rig.give(Event::Failed), [Action::End(End::Failed)]);
    let counted = BTreeMap::from([(id(0), Counted::default())]);
    let damaged = Vec::new();
    assert_eq!(
        rig.give(Event::Counted {
            counted,
            damaged,
            contradicted: BTreeMap::new()
        }),
        []
    );
}

// Without this, a last part that comes as the answer to a request would lead to a second complete revision.
#[test]
fn a_complete_revision_is_looked_for_before_one_is_published() {
    let mut rig = Rig::partial();
    rig.sees([UP; 3]);
    assert_eq!(asked(&rig.wait(4 * SECOND)), [id(2)]);
    let more = rig.give(Event::Asked(vec![open_part(2, &[])]));
    assert_eq!(asked(&more), [id(0), id(1)]);
    let all = vec![part(0), part(1)];
    assert!(adopts(&rig.give(Event::Asked(all))));
}

// Without this, an assembler would ask forever for what was deleted, and its revision would say that the process is down.
#[test]
fn a_deleted_part_is_named_once_and_asked_for_no_more() {
    let mut rig = Rig::partial();
    rig.sees([UP; 3]);
    assert_eq!(rig.give(Event::NotKept(id(2))), []);
    assert_eq!(asked(&rig.wait(4 * SECOND)), [id(0), id(1)], "not n3");
    let parts = vec![part(0), part(1)];
    assert_eq!(rig.give(Event::Asked(parts)), [Action::Run(Job::Count)]);
    assert_eq!(rig.counts(), [Action::Run(Job::Publish)]);
    let state = rig.next_state();
    assert_eq!(state.missing()[0].reason, Reason::NotKept);
    assert!(state.waits_only_for(|_| false), "nothing can come");
    assert_eq!(rig.give(Event::Published(2)), [Action::End(End::InVain)]);
    // Its successor after a restart knows it, too.
    let mut rig = Rig::new(0, |membership, state, timing| {
        let parts = rig.assembly.state().parts.clone();
        let state = GlobalState {
            revision: 2,
            parts,
            completeness: Completeness::Partial {
                missing: rig.next_state().missing().to_vec(),
                open_channels: Vec::new(),
                stopped: Vec::new(),
            },
            ..state
        };
        Assembly::resumed(membership, state, timing, Vec::new())
    });
    rig.wait(0);
    let rest = rig.give_all(Event::Adopted(false));
    assert_eq!(fetched(&rest), []);
    assert!(rest.contains(&Action::End(End::InVain)));
}

// Without this, a snapshot would wait until its deadline for what cannot come.
#[test]
fn a_deleted_part_ends_the_wait_for_the_first_revision() {
    let mut rig = Rig::begun();
    rig.wait(0);
    rig.arrives(part(0));
    rig.give(Event::NotKept(id(2)));
    assert_eq!(asked(&rig.wait(SECOND)), [id(1)]);
    assert_eq!(rig.give(Event::Asked(Vec::new())), [], "n2 may come");
    assert_eq!(asked(&rig.wait(SECOND)), [id(1)]);
    let rest = vec![open_part(1, &[2])];
    assert_eq!(rig.give(Event::Asked(rest)), [], "and so may this marker");
    rig.arrives(part(1));
    assert_eq!(rig.wait(SECOND), [Action::Run(Job::Count)]);
    rig.counts();
    assert_eq!(rig.next_state().missing()[0].reason, Reason::NotKept);
    assert_eq!(rig.give(Event::Published(1)), [Action::End(End::InVain)]);
}

// Without this, a snapshot in progress would not say how it was started, or two revisions would say different things of it.
#[test]
fn a_revision_says_of_the_start_what_the_part_of_the_initiator_says() {
    let start = |deadline_us| {
        Some(Start {
            by: StartedBy::Interval,
            deadline_us,
        })
    };
    let mut rig = Rig::new(0, |membership, state, timing| {
        let start = start(5);
        Assembly::begun(membership, GlobalState { start, ..state }, timing)
    });
    rig.wait(0);
    assert_eq!(rig.assembly.state().start, start(5));
    rig.arrives(part(1));
    assert_eq!(rig.assembly.state().start, start(5));
    assert_eq!(rig.next_state().start, None, "its part is not there");
    let mut first = part(0);
    first.start = start(7);
    rig.arrives(first);
    assert_eq!(rig.next_state().start, start(7));
    assert_eq!(rig.assembly.state().start, start(7));
    let deadline = rig.assembly.state().deadline();
    assert_eq!(deadline, Some(Hlc::at(8)), "from its start on");
}
