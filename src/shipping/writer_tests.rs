//! Writers that race for one journal, over a store that loses answers: what any of them acknowledged is in the chain, once, in
//! order.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::process::identity::Identity;
use crate::process::ids::Hash;
use crate::shipping::Epoch;
use crate::shipping::taking_up::proves_missing;

const SEEDS: u64 = 2_000;

/// A small generator; the same seed gives the same run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let bound = u64::try_from(bound).expect("it is small");
        usize::try_from(self.0 % bound).expect("it is small")
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

// Checks that no put is so far behind a free index that a reader would take the free one for missing.
fn check_windows(archive: &Archive, nodes: &[Node], seed: u64) {
    let mut chain = Chain::behind(archive.boundary);
    while let Some(segment) = archive.objects.get(&chain.next()) {
        chain.take(&segment.head).expect("it is whole");
    }
    let free = chain.next();
    for (index, segment) in archive.objects.range(free..) {
        let epoch = segment.head.epoch();
        let node = nodes.iter().find(|node| u64::from(node.epoch) == epoch.0);
        let window = node.expect("it has put it").window;
        assert!(
            !proves_missing(free, *index, window),
            "seed {seed}: {index} of epoch {epoch} with window {window} was put before {free}"
        );
        assert!(
            epoch <= chain.last().epoch,
            "seed {seed}: a fence was set before {free}"
        );
    }
}

/// A writer with its process: turns have the position as a number and the epoch as the first byte of the hash.
struct Node {
    writer: Writer,
    window: u64,
    epoch: u8,
    /// Actions to be executed, in any order.
    pending: Vec<Action>,
    archived: Option<Link>,
    stopped: bool,
}

#[derive(Default)]
struct Archive {
    objects: BTreeMap<SegmentIndex, Segment>,
    /// Segments that counted when a writer deleted them, in order.
    deleted: Vec<Segment>,
    boundary: Link,
}

impl Archive {
    fn chain(&self) -> Vec<&Segment> {
        let mut chain = Chain::behind(self.boundary);
        let mut counting: Vec<&Segment> = self.deleted.iter().collect();
        while let Some(segment) = self.objects.get(&chain.next()) {
            if chain.take(&segment.head).expect("it is whole") {
                counting.push(segment);
            }
        }
        counting
    }

    fn look(&self, index: SegmentIndex) -> Event {
        let found = self.objects.get(&index);
        Event::Found(index, found.map(|segment| Box::new(segment.head.clone())))
    }

    fn put(&mut self, segment: &Segment) -> Event {
        let index = segment.head.index();
        match self.objects.contains_key(&index) {
            true => Event::Exists(index),
            false => {
                self.objects.insert(index, segment.clone());
                Event::Created(index)
            }
        }
    }

    // Deletes some of the oldest segments with turns that `until` has archived: fences and void segments stay.
    fn delete(&mut self, until: Link, dice: &mut Dice) {
        let mut chain = Chain::behind(self.boundary);
        while chain.next() < until.index && !dice.one_in(4) {
            let Some(segment) = self.objects.get(&chain.next()) else {
                unreachable!("{} was archived, {} was not", until.index, chain.next());
            };
            let segment = segment.clone();
            let counts = chain.take(&segment.head).expect("it is whole");
            if counts {
                self.boundary = chain.last();
                self.deleted.push(segment.clone());
                if !segment.head.is_fence() {
                    self.objects.remove(&segment.head.index());
                }
            }
        }
    }
}

fn owner() -> Owner {
    Owner {
        cluster: "c".to_owned(),
        process: "a".to_owned(),
    }
}

impl Node {
    fn start(epoch: u8, window: usize, known: Link) -> Self {
        let identity = Identity {
            store: [0; 16],
            boot: u64::from(epoch),
            run: 0,
        };
        let id = WriterId {
            epoch: Epoch(u64::from(epoch)),
            identity,
        };
        let (writer, first) = Writer::open(owner(), id, window, known);
        Self {
            writer,
            window: window as u64,
            epoch,
            pending: vec![first],
            archived: None,
            stopped: false,
        }
    }

    fn step(&mut self, archive: &mut Archive, dice: &mut Dice) {
        if self.writer.has_room() && !dice.one_in(3) {
            let before = self.writer.shipped().expect("it has room");
            let put = self.writer.ship(turn_after(before, self.epoch));
            self.pending.push(put);
        } else if let Some(look) = self.writer.look_ahead().filter(|_| dice.one_in(9)) {
            self.pending.push(look);
        }
        if self.pending.is_empty() {
            return;
        }
        let action = self.pending.swap_remove(dice.below(self.pending.len()));
        let event = match &action {
            Action::Look(index) => archive.look(*index),
            Action::Put(segment) => archive.put(segment),
            Action::ReadBoundary => Event::Boundary(archive.boundary),
            Action::Opened(_) | Action::Archived(_) | Action::Stop(_) | Action::Refuse(_) => {
                unreachable!("it was done at once")
            }
        };
        if dice.one_in(5) {
            // The answer is lost: it is asked again.
            self.pending.push(action);
            return;
        }
        for action in self.writer.on(event) {
            match action {
                Action::Look(_) | Action::Put(_) | Action::ReadBoundary => {
                    self.pending.push(action)
                }
                Action::Opened(_) => {}
                Action::Archived(link) => {
                    assert!(Some(link.index) > self.archived.map(|link| link.index));
                    self.archived = Some(link);
                    if dice.one_in(4) {
                        archive.delete(link, dice);
                    }
                }
                Action::Stop(superseded) => {
                    assert!(superseded.by > Epoch(u64::from(self.epoch)));
                    self.stopped = true;
                }
                Action::Refuse(broken) => unreachable!("{broken}"),
            }
        }
    }
}

fn turn_after(before: JournalPoint, epoch: u8) -> Turns {
    let position = before.position.next();
    let mut hash = [0; 32];
    hash[0] = epoch;
    hash[1..9].copy_from_slice(&position.0.to_le_bytes());
    let mut body = Vec::new();
    Turns::push(&mut body, &hash);
    Turns {
        before,
        after: JournalPoint {
            position,
            hash: Hash(hash),
        },
        body: body.into(),
    }
}

/// The writers of one run that acknowledged turns, that were stopped, and the turns in the chain.
struct Outcome {
    acknowledged: usize,
    stopped: usize,
    deleted: usize,
}

fn run(seed: u64) -> Outcome {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut archive = Archive::default();
    let mut nodes: Vec<Node> = Vec::new();
    for _ in 0..60 + dice.below(240) {
        if nodes.is_empty() || dice.one_in(33) {
            let epoch = u8::try_from(nodes.len() + 1).expect("there are few");
            nodes.push(Node::start(epoch, 1 + dice.below(4), archive.boundary));
        }
        // The last three: earlier ones go on beside them as zombies.
        let oldest = nodes.len().saturating_sub(3);
        let chosen = oldest + dice.below(nodes.len() - oldest);
        if !nodes[chosen].stopped {
            nodes[chosen].step(&mut archive, &mut dice);
        }
        if dice.one_in(4) {
            check_windows(&archive, &nodes, seed);
        }
    }
    let chain = archive.chain();
    let counting: BTreeMap<Hash, usize> = chain
        .iter()
        .enumerate()
        .map(|(place, segment)| (segment.head.hash(), place))
        .collect();
    assert_eq!(
        counting.len(),
        chain.len(),
        "seed {seed}: a segment counts twice"
    );
    let mut positions = BTreeSet::new();
    for segment in &chain {
        let turn = segment.head.after().position;
        let fresh = segment.head.is_fence() || positions.insert(turn);
        assert!(fresh, "seed {seed}: turn {turn} is there twice");
    }
    for node in &nodes {
        if let Some(link) = node.archived {
            assert!(
                counting.contains_key(&link.hash),
                "seed {seed}: segment {} of epoch {} was acknowledged and does not count",
                link.index,
                node.epoch
            );
        }
    }
    Outcome {
        acknowledged: nodes.iter().filter(|node| node.archived.is_some()).count(),
        stopped: nodes.iter().filter(|node| node.stopped).count(),
        deleted: archive.deleted.len(),
    }
}

#[test]
fn what_any_writer_acknowledged_counts_once_and_in_order() {
    let (mut acknowledged, mut stopped, mut deleted) = (0, 0, 0);
    for seed in 0..SEEDS {
        let outcome = run(seed);
        acknowledged += outcome.acknowledged;
        stopped += outcome.stopped;
        deleted += outcome.deleted;
    }
    assert!(
        acknowledged > 1_000,
        "only {acknowledged} writers acknowledged turns"
    );
    assert!(stopped > 1_000, "only {stopped} writers were superseded");
    assert!(deleted > 1_000, "only {deleted} segments were deleted");
}

// Executes what a writer wants until it wants nothing.
fn settle(node: &mut Node, archive: &mut Archive) {
    while let Some(action) = node.pending.pop() {
        let event = match &action {
            Action::Look(index) => archive.look(*index),
            Action::Put(segment) => archive.put(segment),
            _ => Event::Boundary(archive.boundary),
        };
        for action in node.writer.on(event) {
            match action {
                Action::Stop(_) => node.stopped = true,
                Action::Look(_) | Action::Put(_) | Action::ReadBoundary => {
                    node.pending.push(action);
                }
                Action::Opened(_) | Action::Archived(_) | Action::Refuse(_) => {}
            }
        }
    }
}

// Without this, a writer without work finds a late put of its predecessor at its next index, and never its successor.
#[test]
fn a_writer_without_work_looks_past_a_void_segment() {
    let mut archive = Archive::default();
    let [mut first, mut idle, mut last] =
        [1, 2, 3].map(|epoch| Node::start(epoch, 2, Link::default()));
    settle(&mut first, &mut archive);
    let mut late = Vec::new();
    for _ in 0..2 {
        let before = first.writer.shipped().expect("it is open");
        late.push(first.writer.ship(turn_after(before, 1)));
    }
    settle(&mut idle, &mut archive);
    let Some(Action::Put(segment)) = late.pop() else {
        unreachable!("turns are put");
    };
    assert_eq!(archive.put(&segment), Event::Created(SegmentIndex(3)));
    settle(&mut last, &mut archive);
    idle.pending.extend(idle.writer.look_ahead());
    settle(&mut idle, &mut archive);
    assert!(idle.stopped);
}

// Without this, a segment whose put is under way is put twice, and the log says that the archive contradicts itself.
#[test]
fn a_look_before_a_put_is_no_answer_to_it() {
    let mut archive = Archive::default();
    let mut node = Node::start(1, 2, Link::default());
    settle(&mut node, &mut archive);
    let Some(Action::Look(index)) = node.writer.look_ahead() else {
        unreachable!("it is open");
    };
    let looked = archive.look(index);
    let before = node.writer.shipped().expect("it is open");
    let Action::Put(segment) = node.writer.ship(turn_after(before, 1)) else {
        unreachable!("turns are put");
    };
    assert_eq!(node.writer.on(looked.clone()), Vec::new());
    // An archive that says that it is there, and does not show it: the put is repeated.
    assert_eq!(
        node.writer.on(Event::Exists(index)),
        vec![Action::Look(index)]
    );
    assert_eq!(node.writer.on(looked), vec![Action::Put(segment.clone())]);
    let put = archive.put(&segment);
    let acknowledged = vec![Action::Archived(Link::of(&segment.head))];
    assert_eq!(node.writer.on(put), acknowledged);
}
