//! What both ends of a channel tell each other of clocks and stores when it opens, besides who they are.

use super::wire::{clocks_from_wire, clocks_to_wire, identity_from_wire, identity_to_wire};
use super::{Inbox, Local, TooEarly};
use crate::process::clock::{Clocks, Hlc};
use crate::process::event::Identity;
use crate::process::ids::ProcessId;
use crate::proto::snapledger as proto;

/// The clocks of a peer, without its time where that is too far ahead; then the latest that it shows. What its wall clock shows
/// counts like the time of a turn where it can be followed.
pub(super) fn followed(
    clocks: Option<proto::Clocks>,
    too_early: &TooEarly,
) -> (Clocks, Option<Hlc>) {
    let present = Hlc(clocks.as_ref().map_or(0, |clocks| clocks.present));
    let Clocks { logical, time } = clocks_from_wire(clocks);
    let (time, unfollowed) = match (too_early(time), too_early(present)) {
        (Some(_), Some(_)) => (Hlc::default(), Some(time.max(present))),
        (Some(_), None) => (Hlc::default(), Some(time)),
        (None, Some(_)) => (time, Some(present)),
        (None, None) => (time.max(present), None),
    };
    (Clocks { logical, time }, unfollowed)
}

/// The clocks of this process.
pub(super) async fn clocks_of(inbox: &impl Inbox) -> proto::Clocks {
    proto::Clocks {
        present: inbox.present().await.0,
        ..clocks_to_wire(inbox.clocks())
    }
}

/// What is known here of the store of a peer, for that peer.
pub(super) fn known_to_wire(
    inbox: &impl Inbox,
    local: &Local,
    peer: &ProcessId,
) -> Option<proto::Identity> {
    let known = inbox.known(peer)?;
    Some(identity_to_wire(&local.cluster, peer, known))
}

/// What a peer knows of the store of this process. One that says something else knows nothing.
pub(super) fn known_from_wire(local: &Local, known: Option<proto::Identity>) -> Option<Identity> {
    let (process, known) = identity_from_wire(&local.cluster, known).ok()?;
    (process == local.process).then_some(known)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    // Without this an older copy on a machine whose clock is behind answers for what the original did and told nobody of; or a
    // wrong wall clock of a peer counts for all its turns.
    #[test]
    fn the_wall_clock_of_a_peer_is_passed_where_it_can_be_followed() {
        let too_early: TooEarly =
            Arc::new(|time| (time > Hlc::at(60)).then(|| "too early".to_owned()));
        let told = |time, present| {
            let (time, present) = (Hlc::at(time).0, Hlc::at(present).0);
            let clocks = proto::Clocks {
                logical: 7,
                time,
                present,
            };
            let (clocks, unfollowed) = followed(Some(clocks), &too_early);
            (clocks.time, unfollowed)
        };
        assert_eq!(told(10, 50), (Hlc::at(50), None));
        assert_eq!(told(50, 10), (Hlc::at(50), None));
        assert_eq!(told(10, 70), (Hlc::at(10), Some(Hlc::at(70))));
        assert_eq!(told(70, 50), (Hlc::default(), Some(Hlc::at(70))));
        assert_eq!(told(70, 80), (Hlc::default(), Some(Hlc::at(80))));
        let unsaid = followed(None, &too_early);
        assert_eq!(unsaid, (Clocks::default(), None), "an older program");
    }
}
