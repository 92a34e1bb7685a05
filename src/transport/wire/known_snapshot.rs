//! Wire forms of what processes report to each other about snapshots.

use super::part::{start_from_wire, start_to_wire};
use crate::history::known::{KnownSnapshot, RevisionArrival, SnapshotStatus};
use crate::history::pin::Pin;
use crate::process::clock::{Hlc, Lamport};
use crate::process::decision::{Actor, Name};
use crate::process::hidden::is_hidden;
use crate::process::ids::{ProcessId, SnapshotId};
use crate::proto::snapledger as wire;
use crate::proto::snapledger::{FoundSnapshot, ListedPin, ListedRevision};

/// Encodes what is known of a snapshot.
#[must_use]
pub fn known_snapshot_to_wire(known: Option<KnownSnapshot>) -> FoundSnapshot {
    match known {
        None => FoundSnapshot::default(),
        Some(KnownSnapshot::Deleted) => FoundSnapshot {
            status: "deleted".to_owned(),
            ..FoundSnapshot::default()
        },
        Some(KnownSnapshot::Begun {
            status,
            initiator,
            started,
            start,
        }) => {
            let (time, clock) = started.unwrap_or_default();
            FoundSnapshot {
                status: status.as_str().to_owned(),
                initiator: initiator.to_string(),
                initiated_at: time.0,
                logical_clock: clock.0,
                start: start.map(start_to_wire),
            }
        }
    }
}

/// Decodes what a peer knows of a snapshot; `None` if it knows nothing.
#[must_use]
pub fn known_snapshot_from_wire(found: FoundSnapshot) -> Option<KnownSnapshot> {
    let status = match found.status.as_str() {
        "" => return None,
        "deleted" => return Some(KnownSnapshot::Deleted),
        "complete" => SnapshotStatus::Complete,
        "partial" => SnapshotStatus::Partial,
        _ => SnapshotStatus::InProgress,
    };
    let started = (Hlc(found.initiated_at), Lamport(found.logical_clock));
    Some(KnownSnapshot::Begun {
        status,
        initiator: ProcessId::parse(&found.initiator).ok()?,
        started: Some(started).filter(|(time, _)| *time > Hlc(0)),
        start: found.start.and_then(start_from_wire),
    })
}

/// Encodes the arrival of a revision.
#[must_use]
pub fn arrival_to_wire(arrival: &RevisionArrival) -> ListedRevision {
    ListedRevision {
        snapshot_id: arrival.snapshot.to_string(),
        revision: arrival.revision,
        complete: arrival.complete,
        parts: arrival.known.0,
        closed_channels: arrival.known.1,
    }
}

/// Decodes the arrival of a revision; `None` if its id is not valid in this version.
#[must_use]
pub fn arrival_from_wire(listed: &ListedRevision) -> Option<RevisionArrival> {
    Some(RevisionArrival {
        snapshot: SnapshotId::parse(&listed.snapshot_id).ok()?,
        revision: listed.revision,
        complete: listed.complete,
        known: (listed.parts, listed.closed_channels),
    })
}

/// Encodes a pin.
#[must_use]
pub fn pin_to_wire(snapshot: &SnapshotId, pin: &Pin) -> ListedPin {
    ListedPin {
        snapshot_id: snapshot.to_string(),
        pinned: pin.pinned,
        time: pin.at.0,
        process: pin.by.to_string(),
        actor: Some(actor_to_wire(&pin.actor)),
    }
}

fn actor_to_wire(actor: &Actor) -> wire::Actor {
    let (client, system_user) = match &actor.name {
        Name::Unproven => ("", ""),
        Name::Client(name) => (&**name, ""),
        Name::System(name) => ("", &**name),
    };
    wire::Actor {
        client: client.to_owned(),
        system_user: system_user.to_owned(),
        request_id: actor.request.as_deref().unwrap_or_default().to_owned(),
    }
}

// A peer may send any text; what people read contains no control characters.
fn actor_from_wire(actor: &wire::Actor) -> Actor {
    let given = |text: &str| {
        let text: String = text.chars().filter(|char| !is_hidden(*char)).collect();
        Some(text).filter(|text| !text.is_empty())
    };
    let (client, request) = (given(&actor.client), given(&actor.request_id));
    let told = Actor::of_request(client.as_deref(), request.as_deref());
    match given(&actor.system_user) {
        Some(user) => Actor {
            request: told.request,
            ..Actor::of_system(&user)
        },
        None => told,
    }
}

/// Decodes a pin; `None` if an id is not valid in this version.
#[must_use]
pub fn pin_from_wire(listed: &ListedPin) -> Option<(SnapshotId, Pin)> {
    let pin = Pin {
        pinned: listed.pinned,
        // A stamp of a runaway clock is capped, so that a later stamp is possible.
        at: Hlc::default().receive(Hlc(listed.time)),
        by: ProcessId::parse(&listed.process).ok()?,
        // An older version names none.
        actor: listed
            .actor
            .as_ref()
            .map(actor_from_wire)
            .unwrap_or_default(),
    };
    Some((SnapshotId::parse(&listed.snapshot_id).ok()?, pin))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::start::{Start, StartedBy};

    // Without this, another node names somebody else, or nobody, for a pin.
    #[test]
    fn a_pin_travels_with_the_person_who_set_it() {
        let snapshot = SnapshotId::parse("s").expect("a valid id");
        for actor in [
            Actor::default(),
            Actor::of_request(None, Some("r-1")),
            Actor::of_request(Some("ops"), Some("r-1")),
            Actor::of_system("root"),
        ] {
            let by = ProcessId::parse("n1").expect("a valid id");
            let at = Hlc::at(7);
            let pin = Pin {
                pinned: true,
                at,
                by,
                actor,
            };
            let listed = pin_to_wire(&snapshot, &pin);
            assert_eq!(pin_from_wire(&listed), Some((snapshot.clone(), pin)));
        }
    }

    // Without this, a peer could draw on the terminal of whoever reads the pins.
    #[test]
    fn a_name_that_is_received_has_no_control_characters() {
        let told = wire::Actor {
            client: "audit\u{9b}or".to_owned(),
            system_user: String::new(),
            request_id: "r-1\u{1b}[31m\n\u{202e}".to_owned(),
        };
        let clean = Actor::of_request(Some("auditor"), Some("r-1[31m"));
        assert_eq!(actor_from_wire(&told), clean);
        let told = wire::Actor {
            system_user: "ro\not".to_owned(),
            ..wire::Actor::default()
        };
        assert_eq!(actor_from_wire(&told), Actor::of_system("root"));
    }

    #[test]
    fn what_is_known_of_a_snapshot_travels() {
        let begun = KnownSnapshot::Begun {
            status: SnapshotStatus::Partial,
            initiator: ProcessId::parse("n1").expect("a valid id"),
            started: Some((Hlc::at(3), Lamport(7))),
            start: Some(Start {
                by: StartedBy::Interval,
                deadline_us: 5,
            }),
        };
        for known in [None, Some(KnownSnapshot::Deleted), Some(begun)] {
            let found = known_snapshot_to_wire(known.clone());
            assert_eq!(known_snapshot_from_wire(found), known);
        }
    }
}
