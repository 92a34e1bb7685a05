//! The queue: whom it lets wait, whom it refuses, and what that leaves for others.

use std::time::Duration;

use super::*;
use crate::config::ClockSettings;
use crate::node::health::disk_space::DiskSpace;
use crate::node::health::refusals::Refusals;
use crate::process::clock::{Hlc, Lamport};
use crate::process::command::{Initiate, Operate};
use crate::process::ids::Key;
use crate::process::ids::SnapshotId;
use crate::process::input::Operation;
use crate::process::message::VALUE_BYTES_MAX;
use crate::process::message::{Marker, Message};

fn queue(room: watch::Receiver<Admission>) -> (Queue, mpsc::UnboundedReceiver<Request>) {
    let wall = Clock::new(&ClockSettings::default(), Hlc::default());
    let me = ProcessId::parse("p").expect("a valid id");
    Queue::new(room, Arc::default(), Arc::new(wall), me, Arc::default())
}

fn snapshot() -> SnapshotId {
    SnapshotId::parse("s").expect("a valid id")
}

fn marker(seq: u64) -> Envelope {
    let marker = Marker {
        snapshot: snapshot(),
        initiator: ProcessId::parse("q").expect("a valid id"),
    };
    Envelope {
        seq: Seq(seq),
        time: Hlc::default(),
        message: Message {
            clock: Lamport(1),
            body: marker.into(),
        },
    }
}

#[tokio::test]
async fn on_a_full_disk_clients_are_refused_and_peers_wait_for_room() {
    let (room, looks) = watch::channel(Admission::on(DiskSpace { free: 50, min: 400 }));
    let (queue, mut requests) = queue(looks);
    let snapshot = snapshot();
    let refused = queue
        .ask(
            Initiate {
                snapshot,
                start: None,
            }
            .into(),
            Audience::Client,
            None,
        )
        .err();
    assert!(matches!(refused, Some(Unavailable::NoRoom { .. })));
    let from = ProcessId::parse("q").expect("a valid id");
    let mut delivery = Box::pin(queue.deliver(&from, vec![marker(1)]));
    tokio::select! {
        biased;
        _ = &mut delivery => unreachable!("there is no room"),
        () = tokio::task::yield_now() => {}
    }
    assert!(requests.try_recv().is_err(), "nothing went in");
    room.send_replace(Admission::on(DiskSpace {
        free: 100,
        min: 400,
    }));
    assert!(delivery.await.is_ok());
    assert!(requests.try_recv().is_ok(), "what was sent went in");
    let acknowledged = queue.acknowledge(&from, Seq(1)).await;
    assert!(acknowledged.is_ok(), "acknowledgements always pass");
}

// Without this a client waits for its own time limit, whatever `archive.lag_max` is, and does not learn why.
#[tokio::test]
async fn a_client_does_not_wait_for_an_archive_that_is_late() {
    let disk = DiskSpace { free: 1, min: 0 };
    let mut admission = Admission {
        work_waits: true,
        ..Admission::on(disk)
    };
    let (room, looks) = watch::channel(admission);
    let (queue, _requests) = queue(looks);
    let initiate = Initiate {
        snapshot: snapshot(),
        start: None,
    };
    let started = queue.ask(initiate.into(), Audience::Processes, None);
    let paid = queue.ask(put().into(), Audience::Client, None);
    let mut started = Box::pin(started.expect("it is not late").last());
    let mut paid = Box::pin(paid.expect("it is not late").last());
    let mut peer = Box::pin(queue.ask_for_peer(put()));
    for late in [false, true] {
        admission.archive_behind = late.then_some(Duration::from_secs(31));
        room.send_replace(admission);
        tokio::select! {
            biased;
            _ = &mut paid => unreachable!("it does not wait for the archive"),
            _ = &mut peer => unreachable!("a peer waits as long as it takes"),
            ended = &mut started => {
                assert!(late, "{ended:?}");
                let why = ended.expect_err("it is late").to_string();
                assert!(why.contains("31 s behind") && why.contains("unknown"), "{why}");
            }
            () = tokio::task::yield_now() => assert!(!late),
        }
    }
}

fn put() -> Operate {
    let operation = Operation::Put {
        key: Key::parse("k").expect("a valid key"),
        value: Some("v".repeat(VALUE_BYTES_MAX).into()),
    };
    Operate {
        request: None,
        operation,
    }
}

#[tokio::test]
async fn clients_who_give_up_let_in_no_more_than_fits() {
    let (_room, looks) = watch::channel(Admission::on(DiskSpace { free: 1, min: 0 }));
    let (queue, mut requests) = queue(looks);
    let fits = CLIENTS_MAX / put().into_input().cost();
    for _ in 0..fits {
        // Submitted and abandoned.
        drop(
            queue
                .ask(put().into(), Audience::Client, None)
                .expect("there is room"),
        );
    }
    let refused = queue.ask(put().into(), Audience::Client, None).err();
    assert_eq!(refused, Some(Unavailable::Full));
    drop(requests.recv().await);
    assert!(
        queue.ask(put().into(), Audience::Client, None).is_ok(),
        "there is room again for one"
    );
    assert_eq!(requests.len(), fits);
    // Clients have all their places again.
    let mut call = Box::pin(queue.ask_for_peer(put()));
    tokio::select! {
        biased;
        _ = &mut call => unreachable!("nobody answers"),
        () = tokio::task::yield_now() => {}
    }
    assert_eq!(requests.len(), fits + 1, "a call of a peer has a place");
}

// Without this, a host with a stream at full speed would have its single calls refused.
#[tokio::test]
async fn streams_of_one_address_leave_room_for_its_single_calls() {
    let (_room, looks) = watch::channel(Admission::on(DiskSpace { free: 1, min: 0 }));
    let (queue, _requests) = queue(looks);
    let one = QueueShare::new(CLIENTS_MAX / 4 * 3, Refusals::default());
    let all = CLIENTS_MAX / put().into_input().cost();
    let puts = |count| (0..count).map(|_| put()).collect::<Commands<_>>();
    let mut streams: Vec<_> = (0..6)
        .map(|_| Box::pin(queue.ask_in_turn(puts(all / 8), Some(&one))))
        .collect();
    let mut waits = 0;
    for stream in &mut streams {
        tokio::select! {
            biased;
            _ = stream => {}
            () = tokio::task::yield_now() => waits += 1,
        }
    }
    assert!(waits > 0, "its streams wait");
    assert!(
        queue
            .ask(put().into(), Audience::Client, Some(&one))
            .is_ok()
    );
}

// Without this, one client that floods the node with batches would have those of all others refused.
#[tokio::test]
async fn what_one_address_has_submitted_leaves_room_for_others_until_it_is_done() {
    let (_room, looks) = watch::channel(Admission::on(DiskSpace { free: 1, min: 0 }));
    let (queue, mut requests) = queue(looks);
    let share = || QueueShare::new(CLIENTS_MAX / 4 * 3, Refusals::default());
    let (one, other) = (share(), share());
    let all = CLIENTS_MAX / put().into_input().cost();
    let puts = |count| (0..count).map(|_| put()).collect::<Commands<_>>();
    let flood = || puts(all / 2);
    // Abandoned; the inputs remain.
    drop(
        queue
            .ask(flood(), Audience::Client, Some(&one))
            .expect("there is room"),
    );
    let refused = queue.ask(flood(), Audience::Client, Some(&one)).err();
    assert_eq!(refused, Some(Unavailable::ShareFull));
    let mut waiting = Box::pin(queue.ask_in_turn(flood(), Some(&one)));
    tokio::select! {
        biased;
        _ = &mut waiting => unreachable!("its address has no room"),
        () = tokio::task::yield_now() => {}
    }
    assert!(queue.ask_in_turn(puts(all / 4), Some(&other)).await.is_ok());
    assert!(one.is_used());
    drop(requests.recv().await);
    assert!(waiting.await.is_ok(), "there is room again");
    while requests.try_recv().is_ok() {}
    assert!(!one.is_used() && !other.is_used());
}
