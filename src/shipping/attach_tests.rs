//! Starts on an archive in memory, step by step.
//!
//! Over 500 lines: all starts are those of one small world, and each test is short.

use std::collections::{BTreeMap, VecDeque};

use super::*;
use crate::process::identity::Identity;
use crate::process::ids::Hash;
use crate::shipping::hold::Waits;
use crate::shipping::segment::{Owner, Segment, Turns};

/// An archive, and the journal of a process: the hash of each turn.
#[derive(Default)]
struct World {
    claims: BTreeMap<Epoch, WriterId>,
    segments: BTreeMap<SegmentIndex, Segment>,
    here: Vec<Hash>,
    /// The segments whose heads were read.
    looked: Vec<u64>,
    boundary: Link,
    link: Option<Link>,
    /// What the directory remembers.
    claimed: Option<WriterId>,
    was_behind: bool,
}

fn identity(boot: u64, run: u64) -> Identity {
    let store = [1; 16];
    Identity { store, boot, run }
}

fn starting(identity: Identity, waits: Waits, here: &[Hash]) -> Starting {
    Starting {
        owner: Owner {
            cluster: "c".to_owned(),
            process: "p".to_owned(),
        },
        identity,
        window: 2,
        waits,
        begins: JournalPoint::default(),
        end: Lsn(here.len() as u64),
        known: None,
        claimed: None,
        was_behind: false,
    }
}

impl World {
    fn with_turns(turns: u8) -> Self {
        let here = (1..=turns).map(|turn| Hash([turn; 32])).collect();
        Self {
            here,
            ..Self::default()
        }
    }

    fn point(&self, position: usize) -> JournalPoint {
        JournalPoint {
            position: Lsn(position as u64),
            hash: position
                .checked_sub(1)
                .map_or_else(Hash::default, |before| self.here[before]),
        }
    }

    fn ask(&mut self, wanted: &writer::Action) -> writer::Event {
        match wanted {
            writer::Action::Look(index) => {
                self.looked.push(index.0);
                let found = self.segments.get(index);
                writer::Event::Found(*index, found.map(|found| Box::new(found.head.clone())))
            }
            writer::Action::Put(segment) => {
                let index = segment.head.index();
                let before = self.segments.insert(index, (**segment).clone());
                assert_eq!(before, None, "nobody else puts");
                writer::Event::Created(index)
            }
            writer::Action::ReadBoundary => writer::Event::Boundary(self.boundary),
            other => unreachable!("{other:?} is no request"),
        }
    }

    fn execute(&mut self, action: &Action) -> Event {
        match action {
            Action::ReadClaim => {
                Event::Newest(self.claims.last_key_value().map(|(_, claim)| *claim))
            }
            Action::ReadWriter => {
                let newest = self.segments.last_key_value();
                Event::Writer(newest.map(|(_, segment)| segment.head.writer()))
            }
            Action::NoteBehind => {
                self.was_behind = true;
                Event::Noted
            }
            Action::Remember(claim) => {
                self.claimed = Some(*claim);
                Event::Remembered
            }
            Action::Claim(claim) => {
                let is_free = !self.claims.contains_key(&claim.epoch);
                if is_free {
                    self.claims.insert(claim.epoch, *claim);
                }
                Event::Claimed(is_free)
            }
            Action::ReadLink(behind, until) => {
                let link = self.link;
                let suits = |link: &Link| link.index > *behind && link.journal.position <= *until;
                Event::Linked(link.filter(suits))
            }
            Action::Ask(wanted) => Event::Told(self.ask(wanted)),
            Action::Read(head) => Event::Read(Box::new(self.segments[&head.index()].clone())),
            Action::Append(segment) => {
                for entry in segment.entries() {
                    let hash = entry.expect("it is whole").try_into().expect("a hash");
                    if !self.here.contains(&Hash(hash)) {
                        self.here.push(Hash(hash));
                    }
                }
                Event::Appended
            }
            Action::Compare(point) => {
                let position = usize::try_from(point.position.0).expect("it is small");
                let is_here = position <= self.here.len();
                Event::Here(Here {
                    first: Lsn(1),
                    end: Lsn(self.here.len() as u64),
                    hash: is_here.then(|| self.point(position).hash),
                })
            }
            Action::ReadTurns(before) => {
                let position = usize::try_from(before.position.0).expect("it is small");
                let after = self.point(position + 1);
                let mut body = Vec::new();
                Turns::push(&mut body, &after.hash.0);
                Event::Turns(Turns {
                    before: *before,
                    after,
                    body: body.into(),
                })
            }
            Action::Attached(_) => unreachable!("it ends the start"),
        }
    }

    // Puts the fence of a claim at the end.
    fn fence(&mut self, claim: WriterId) {
        let last = self.segments.last_key_value();
        let last = last.map_or(Link::default(), |(_, segment)| Link::of(&segment.head));
        let owner = starting(claim.identity, Waits::Nothing, &[]).owner;
        let turns = Turns::none(last.journal);
        let fence = Segment::new(&owner, claim, last.index.next(), last.hash, &turns);
        self.segments.insert(last.index.next(), fence);
    }

    // Starts; `between` happens before each action.
    fn start(
        &mut self,
        starting: Starting,
        mut between: impl FnMut(&mut Self, &Action),
    ) -> Result<Attached, Unfit> {
        let (mut attaching, first) = Attaching::begin(starting);
        let mut actions = VecDeque::from([first]);
        while let Some(action) = actions.pop_front() {
            between(self, &action);
            if let Action::Attached(attached) = action {
                return Ok(*attached);
            }
            let event = self.execute(&action);
            actions.extend(attaching.on(event)?);
        }
        unreachable!("a start ends")
    }
}

#[test]
fn a_start_ships_its_journal_first_where_others_come_to_depend_on_it() {
    for (waits, archived) in [
        (Waits::Nothing, 0),
        (Waits::Processes, 3),
        (Waits::Everything, 3),
    ] {
        let mut world = World::with_turns(3);
        let starting = starting(identity(1, 7), waits, &world.here);
        let attached = world.start(starting, |_, _| {});
        let attached = attached.expect("it is the first");
        let position = attached.archived.journal.position;
        assert_eq!(position, Lsn(archived), "{waits:?}");
        assert!(!attached.was_behind);
    }
}

#[test]
fn a_store_without_turns_takes_them_from_the_archive() {
    let mut world = World::with_turns(3);
    let first = starting(identity(1, 7), Waits::Everything, &world.here);
    world.start(first, |_, _| {}).expect("it is the first");
    let lost = std::mem::take(&mut world.here);
    let again = starting(identity(1_001, 8), Waits::Nothing, &world.here);
    let attached = world.start(again, |_, _| {}).expect("it is later");
    assert_eq!(world.here, lost);
    assert!(attached.was_behind, "others may be missing");
}

#[test]
fn an_older_copy_and_another_journal_are_refused_and_leave_no_trace() {
    let mut world = World::with_turns(2);
    let first = starting(identity(5, 7), Waits::Everything, &world.here);
    world.start(first, |_, _| {}).expect("it is the first");
    let left = (world.claims.len(), world.segments.len());
    let newest = world.claims[&Epoch(1)].identity;
    let copy = starting(identity(5, 8), Waits::Everything, &world.here);
    let refused = world.start(copy, |_, _| {});
    assert_eq!(refused.err(), Some(Unfit::OlderCopy(newest)));
    world.here[1] = Hash([9; 32]);
    let other = starting(identity(6, 8), Waits::Everything, &world.here);
    let refused = world.start(other, |_, _| {});
    assert_eq!(refused.err(), Some(Unfit::Differs(Lsn(2))));
    assert_eq!((world.claims.len(), world.segments.len()), left);
}

// Without this, an older copy that had compared itself in time would fence off a store that was restored meanwhile.
#[test]
fn a_claim_that_comes_in_between_is_compared_as_well() {
    let mut world = World::with_turns(1);
    let first = starting(identity(1, 7), Waits::Everything, &world.here);
    world.start(first, |_, _| {}).expect("it is the first");
    let restored = WriterId {
        epoch: Epoch(2),
        identity: identity(1_001, 9),
    };
    let copy = starting(identity(2, 8), Waits::Everything, &world.here);
    let refused = world.start(copy, |world, action| {
        if matches!(action, Action::Claim(_)) && world.claims.len() == 1 {
            world.claims.insert(restored.epoch, restored);
            world.fence(restored);
        }
    });
    assert_eq!(refused.err(), Some(Unfit::OlderCopy(restored.identity)));
}

// Without this a restore that fails between its claim and its fence would leave a process that runs, and never starts again.
#[test]
fn the_claim_of_a_restore_without_a_fence_does_not_keep_a_process_from_starting() {
    let abandoned = |boot| WriterId {
        epoch: Epoch(2),
        identity: identity(boot, 9),
    };
    // When the fence is set.
    for (boot, fence, is_refused) in [
        (1_001, None, false),
        (1_001, Some("before the start"), true),
        (1_001, Some("beside the walk"), true),
        (1_001, Some("behind the claim"), false),
        // The directory may lack what this one had, and did not archive.
        (2, None, true),
    ] {
        let mut world = World::with_turns(2);
        let first = starting(identity(1, 7), Waits::Everything, &world.here);
        world.start(first, |_, _| {}).expect("it is the first");
        let claim = abandoned(boot);
        world.claims.insert(claim.epoch, claim);
        let mut fence = fence;
        let mut fence_at = |world: &mut World, when| {
            if fence == Some(when) {
                fence = None;
                world.fence(claim);
            }
        };
        fence_at(&mut world, "before the start");
        let again = Starting {
            claimed: world.claimed,
            ..starting(identity(2, 8), Waits::Everything, &world.here)
        };
        let mut has_looked = false;
        let started = world.start(again, |world, action| match action {
            Action::Ask(writer::Action::ReadBoundary) if !has_looked => {
                has_looked = true;
                fence_at(world, "beside the walk");
            }
            Action::Claim(_) => fence_at(world, "behind the claim"),
            _ => {}
        });
        match is_refused {
            true => assert_eq!(started.err(), Some(Unfit::OlderCopy(claim.identity))),
            false => {
                let attached = started.expect("nobody runs on that claim");
                assert_eq!(attached.writer.epoch(), Epoch(3), "{fence:?}");
            }
        }
    }
}

// Without this the gap behind what was taken is forgotten, and what others may have seen is denied.
#[test]
fn a_journal_that_was_behind_stays_so_until_a_start_comes_to_its_end() {
    let (mut world, known) = shipped();
    let lost = world.here.clone();
    world.here.truncate(2);
    let claims = world.claims.len();
    let (mut attaching, first) = Attaching::begin(again(&world, known));
    let mut actions = VecDeque::from([first]);
    while let Some(action) = actions.pop_front() {
        if matches!(action, Action::Append(_)) {
            assert!(world.was_behind, "it is noted before");
        }
        if matches!(action, Action::Claim(_)) {
            break;
        }
        let event = world.execute(&action);
        actions.extend(attaching.on(event).expect("it is the same"));
    }
    assert_eq!((world.here.clone(), world.claims.len()), (lost, claims));
    let next = Starting {
        claimed: world.claimed,
        was_behind: world.was_behind,
        ..again(&world, known)
    };
    let attached = world.start(next, |_, _| {}).expect("it is the same");
    assert!(attached.was_behind);
}

// Without this an older copy takes the process over once it was started more often than the right directory, in turns with it.
#[test]
fn a_directory_that_does_not_know_the_newest_claim_is_refused_however_often_it_was_started() {
    let mut world = World::with_turns(1);
    let first = starting(identity(1, 7), Waits::Everything, &world.here);
    world.start(first, |_, _| {}).expect("it is the first");
    let copied = world.claimed;
    assert_eq!(copied, Some(world.claims[&Epoch(1)]));
    let again = Starting {
        claimed: copied,
        ..starting(identity(1_001, 8), Waits::Everything, &world.here)
    };
    world.start(again, |_, _| {}).expect("it is the same");
    let newest = world.claims[&Epoch(2)];
    for boot in [2, 1_001, 1_002, 5_000] {
        let old = Starting {
            claimed: copied,
            ..starting(identity(boot, 9), Waits::Everything, &world.here)
        };
        let refused = world.start(old, |_, action| {
            assert!(!matches!(action, Action::Remember(_)), "it does not count");
        });
        assert_eq!(
            refused.err(),
            Some(Unfit::OlderCopy(newest.identity)),
            "{boot}"
        );
    }
    // An operator has vouched for it, so it remembers nothing.
    let vouched = starting(identity(5_000, 9), Waits::Everything, &world.here);
    world.start(vouched, |_, _| {}).expect("it is later");
}

// Without this an operator who goes back to an old URL reads of another directory, which there is not, and vouches for this one.
#[test]
fn an_archive_from_before_the_last_claim_of_a_store_is_told_from_an_older_copy() {
    let mut world = World::with_turns(2);
    let first = starting(identity(3, 7), Waits::Everything, &world.here);
    world.start(first, |_, _| {}).expect("it is the first");
    let (old, newest) = (world.claims.clone(), world.claims[&Epoch(1)].identity);
    let mut elsewhere = World::with_turns(2);
    let second = starting(identity(4, 8), Waits::Everything, &elsewhere.here);
    elsewhere.start(second, |_, _| {}).expect("it is the first");
    let back = Starting {
        claimed: elsewhere.claimed,
        ..starting(identity(5, 9), Waits::Everything, &world.here)
    };
    let refused = world.start(back, |_, _| {});
    assert_eq!(refused.err(), Some(Unfit::OtherArchive(newest)));
    assert_eq!(world.claims, old);
    // Once the store has forgotten the other one, the journal goes on here.
    let forgot = starting(identity(5, 9), Waits::Everything, &world.here);
    world.start(forgot, |_, _| {}).expect("it is the same");
}

// Without this a start whose claim was answered too late, or never, would be taken for that of another directory.
#[test]
fn a_claim_that_was_remembered_and_not_answered_is_made_again() {
    for lands in [None, Some("before the walk"), Some("before the claim")] {
        let mut world = World::with_turns(1);
        let first = starting(identity(1, 7), Waits::Everything, &world.here);
        world.start(first, |_, _| {}).expect("it is the first");
        let lost = WriterId {
            epoch: Epoch(2),
            identity: identity(2, 8),
        };
        let again = Starting {
            claimed: Some(lost),
            ..starting(identity(3, 9), Waits::Everything, &world.here)
        };
        let attached = world.start(again, |world, action| {
            let is_due = match lands {
                None => false,
                Some("before the walk") => *action == Action::ReadClaim,
                Some(_) => matches!(action, Action::Claim(_)),
            };
            if is_due {
                world.claims.insert(lost.epoch, lost);
            }
        });
        attached.expect("it is the same directory");
        let claims: Vec<_> = world.claims.values().map(|claim| claim.identity).collect();
        let expected = [identity(1, 7), lost.identity, identity(3, 9)];
        assert_eq!(claims, expected, "{lands:?}");
        assert_eq!(world.claimed, Some(world.claims[&Epoch(3)]));
    }
    // Another directory was first.
    let mut world = World::with_turns(1);
    let first = starting(identity(1, 7), Waits::Everything, &world.here);
    world.start(first, |_, _| {}).expect("it is the first");
    let other = WriterId {
        epoch: Epoch(2),
        identity: identity(2, 6),
    };
    world.claims.insert(other.epoch, other);
    let again = Starting {
        claimed: Some(WriterId {
            identity: identity(2, 8),
            ..other
        }),
        ..starting(identity(3, 9), Waits::Everything, &world.here)
    };
    let refused = world.start(again, |_, _| {});
    assert_eq!(refused.err(), Some(Unfit::OlderCopy(other.identity)));
}

// An archive of five segments, and what the store remembers of it.
fn shipped() -> (World, Link) {
    let mut world = World::with_turns(4);
    let first = starting(identity(1, 7), Waits::Everything, &world.here);
    let attached = world.start(first, |_, _| {}).expect("it is the first");
    assert_eq!(attached.archived.index, SegmentIndex(5));
    world.looked.clear();
    (world, attached.archived)
}

fn again(world: &World, known: Link) -> Starting {
    Starting {
        known: Some(known),
        ..starting(identity(2, 8), Waits::Everything, &world.here)
    }
}

// Without this a start would take as long as the process has shipped.
#[test]
fn a_start_reads_the_segment_that_it_remembers_and_what_is_behind() {
    let (mut world, known) = shipped();
    let start = again(&world, known);
    let attached = world.start(start, |_, _| {}).expect("it is the same");
    assert_eq!(attached.archived.index, SegmentIndex(6));
    assert_eq!(world.looked, [5, 6, 6, 6], "one to compare, then the end");
}

// Without this a node would ship its whole journal into a directory that is not mounted, or into a mistyped prefix.
#[test]
fn an_archive_that_lacks_what_was_shipped_is_refused_and_left_as_it_is() {
    let (whole, known) = shipped();
    let refuses = |mut world: World, why: &str| {
        let left = (world.claims.len(), world.segments.len());
        let start = again(&world, known);
        let refused = world.start(start, |_, _| {});
        assert_eq!(refused.err(), Some(Unfit::Lacking(known)), "{why}");
        assert_eq!((world.claims.len(), world.segments.len()), left, "{why}");
    };
    let empty = World::with_turns(4);
    refuses(empty, "an empty archive");
    let (mut shorter, _) = shipped();
    shorter.segments.remove(&known.index);
    refuses(shorter, "the last segment is gone");
    let mut other = World::with_turns(4);
    let first = starting(identity(1, 9), Waits::Everything, &other.here);
    other.start(first, |_, _| {}).expect("it is the first");
    refuses(other, "another archive of the same store");
    drop(whole);
}

#[test]
fn a_segment_that_is_remembered_and_was_deleted_since_is_not_missed() {
    let (mut world, newest) = shipped();
    let known = Link::of(&world.segments[&SegmentIndex(2)].head);
    world.boundary = Link::of(&world.segments[&SegmentIndex(4)].head);
    world.segments.retain(|index, _| *index > SegmentIndex(4));
    let start = again(&world, known);
    let attached = world.start(start, |_, _| {}).expect("it is the same");
    assert_eq!(attached.archived.index, newest.index.next());

    // The boundary moves between the two requests.
    let (mut world, newest) = shipped();
    let start = again(&world, known);
    let moved = Link::of(&world.segments[&SegmentIndex(4)].head);
    let attached = world.start(start, |world, action| {
        if *action == Action::Ask(writer::Action::Look(known.index)) {
            world.boundary = moved;
            world.segments.retain(|index, _| *index > moved.index);
        }
    });
    let attached = attached.expect("it is the same");
    assert_eq!(attached.archived.index, newest.index.next());
}

// Without this an older copy of a store, or one that remembers nothing, would read all that was ever shipped.
#[test]
fn a_link_of_the_archive_takes_the_place_of_what_a_store_does_not_remember() {
    let (mut world, newest) = shipped();
    let link = Link::of(&world.segments[&SegmentIndex(3)].head);
    world.link = Some(link);
    let start = starting(identity(2, 8), Waits::Everything, &world.here);
    world.start(start, |_, _| {}).expect("it is the same");
    assert_eq!(world.looked[..4], [3, 4, 5, 6]);

    // One behind the end of the journal here is of no use.
    world.looked.clear();
    world.here.truncate(1);
    let start = Starting {
        identity: identity(3, 9),
        ..again(&world, newest)
    };
    let attached = world.start(start, |_, _| {}).expect("it is the same");
    assert_eq!(world.looked[..4], [5, 1, 2, 3], "one to compare, then all");
    assert!(attached.was_behind);

    // A link to what is missing.
    let (mut world, _) = shipped();
    world.link = Some(link);
    world.segments.remove(&link.index);
    let start = starting(identity(2, 8), Waits::Everything, &world.here);
    let refused = world.start(start, |_, _| {});
    assert_eq!(refused.err(), Some(Unfit::Hole(link.index)));

    // A link that names another segment than there is.
    let (mut world, _) = shipped();
    world.link = Some(Link {
        hash: Hash([9; 32]),
        ..link
    });
    let start = starting(identity(2, 8), Waits::Everything, &world.here);
    world.start(start, |_, _| {}).expect("it is the same");
    assert_eq!(world.looked[..3], [3, 1, 2], "from the beginning");
}

// Without this the fence of an older copy would go into the hole, and void what was acknowledged behind it.
#[test]
fn a_hole_before_what_a_store_remembers_is_named() {
    let (mut world, known) = shipped();
    world.here.truncate(1);
    world.segments.remove(&SegmentIndex(3));
    let start = again(&world, known);
    let refused = world.start(start, |_, _| {});
    assert_eq!(refused.err(), Some(Unfit::Hole(SegmentIndex(3))));
}

// Without this the turns that an older copy of a store lacks would be left out between its journal and what it appends.
#[test]
fn a_journal_that_ends_before_what_it_remembers_takes_all_that_it_lacks() {
    let (mut world, known) = shipped();
    let lost = world.here.clone();
    world.here.truncate(2);
    let start = again(&world, known);
    let attached = world.start(start, |_, _| {}).expect("it is the same");
    assert!(attached.was_behind);
    assert_eq!(world.here, lost);
}
