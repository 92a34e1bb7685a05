//! The stored types added in format 7: decisions and who made them, in the journal and beside the pins, the turns that
//! closed the channels of a part, and the archived segment that a store remembers. Frozen like those of format 1.

pub(in crate::store) mod link;
pub(in crate::store) mod part;
pub(in crate::store) mod start;

use super::frame;
use super::frame::{Damage, Kind};
use super::v1::{Frozen, frozen_enum, frozen_struct};
use super::v3::KeptV3;
use crate::history::pin::Pin;
use crate::process::clock::Hlc;
use crate::process::decision::{Actor, Change, Decision, Name};
use crate::process::ids::{ProcessId, SnapshotId};
use crate::store::retention::pin::RetentionEntry;

frozen_struct!(
    DecisionV7 = Decision {
        actor: ActorV7,
        change: ChangeV7
    }
);

frozen_enum!(ChangeV7 = Change {
    Pinned(snapshot: SnapshotId),
    Unpinned(snapshot: SnapshotId),
    StoreForgotten(peer: ProcessId),
    Limits { max_age_us: Option<u64>, max_count: Option<u64> },
    Vouched { boot: u64 },
});

frozen_struct!(
    ActorV7 = Actor {
        name: NameV7,
        request: Option<Box<str>>
    }
);

frozen_enum!(NameV7 = Name {
    Unproven,
    Client(name: Box<str>),
    System(name: Box<str>),
});

frozen_struct!(
    KeptV7 = RetentionEntry {
        pin: Option<PinV7>,
        deleted: Option<Hlc>,
    }
);

frozen_struct!(
    PinV7 = Pin {
        pinned: bool,
        at: Hlc,
        by: ProcessId,
        actor: ActorV7,
    }
);

/// Reads what is kept about a snapshot, also as formats 3 to 6 store it.
///
/// # Errors
/// [`Damage`].
pub(in crate::store) fn read_kept(framed: &[u8]) -> Result<RetentionEntry, Damage> {
    match frame::unwrap(Kind::Kept, framed) {
        Ok(older) => Ok(frame::decode::<KeptV3>(older)?.thaw()),
        Err(Damage::Kind { .. }) => {
            let kept = frame::unwrap(Kind::Kept7, framed)?;
            Ok(frame::decode::<KeptV7>(kept)?.thaw())
        }
        Err(damage) => Err(damage),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::v1::Frozen;
    use super::*;

    fn actor() -> impl Strategy<Value = Actor> {
        (any::<u8>(), any::<String>(), any::<Option<String>>()).prop_map(|(kind, name, request)| {
            match kind % 3 {
                0 => Actor::of_system(&name),
                1 => Actor::of_request(None, request.as_deref()),
                _ => Actor::of_request(Some(&name), request.as_deref()),
            }
        })
    }

    proptest! {
        // A wrongly decoded pin would keep or delete the wrong snapshot, or name the wrong person.
        #[test]
        fn what_is_kept_comes_back(
            pinned: bool,
            at: u64,
            has_pin: bool,
            deleted: Option<u64>,
            actor in actor(),
        ) {
            let by = ProcessId::parse("n1").expect("a valid id");
            let pin = has_pin.then_some(Pin { pinned, at: Hlc(at), by, actor });
            let kept = RetentionEntry { pin, deleted: deleted.map(Hlc) };
            let framed = frame::wrap(Kind::Kept7, &frame::encode(&KeptV7::freeze(&kept)));
            prop_assert_eq!(read_kept(&framed).expect("it was just written"), kept);
        }

        #[test]
        fn a_decision_comes_back(actor in actor(), kind: u8, age: Option<u64>, count: Option<u64>) {
            let change = match kind % 5 {
                0 => Change::Pinned(SnapshotId::parse("s").expect("a valid id")),
                1 => Change::Unpinned(SnapshotId::parse("s").expect("a valid id")),
                2 => Change::StoreForgotten(ProcessId::parse("n3").expect("a valid id")),
                3 => Change::Vouched { boot: count.unwrap_or(0) },
                _ => Change::Limits { max_age_us: age, max_count: count },
            };
            let decision = Decision { actor, change };
            let bytes = frame::encode(&DecisionV7::freeze(&decision));
            let read: DecisionV7 = frame::decode(&bytes).expect("it was just written");
            prop_assert_eq!(read.thaw(), decision);
        }
    }
}
