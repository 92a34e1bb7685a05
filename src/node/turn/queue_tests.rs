//! The queue: whom it lets wait, whom it refuses, and what that leaves for others.

use std::time::Duration;

use super::*;
use crate::config::ClockSettings;
use crate::node::health::disk_space::DiskSpace;
use crate::node::health::refusals::Refusals;
use crate::process::clock::{Hlc, Lamport};
use crate::process::command::{Decide, Initiate, Operate};
use crate::process::decision::{Actor, Change, Decision};
use crate::process::ids::Key;
use crate::process::ids::SnapshotId;
use crate::process::input::Operation;
use crate::process::message::VALUE_BYTES_MAX;
use crate::process::message::{Marker, Message};
use crate::process::query::ValueOf;

fn queue(admission: watch::Receiver<Admission>) -> (Queue, mpsc::UnboundedReceiver<Request>) {
    queue_behind(admission, watch::channel(true).1)
}

fn queue_behind(
    admission: watch::Receiver<Admission>,
    room: watch::Receiver<bool>,
) -> (Queue, mpsc::UnboundedReceiver<Request>) {
    let wall = Clock::new(&ClockSettings::default(), Hlc::default());
    let me = ProcessId::parse("p").expect("a valid id");
    let (clocks, wall) = (Arc::default(), Arc::new(wall));
    Queue::new(admission, room, clocks, wall, me, Arc::default())
}

async fn assert_read_goes_in(queue: &Queue, requests: &mut mpsc::UnboundedReceiver<Request>) {
    let key = Key::parse("k").expect("a valid key");
    let mut read = Box::pin(queue.query(ValueOf(key), None));
    tokio::select! {
        biased;
        _ = &mut read => unreachable!("nobody answers"),
        () = tokio::task::yield_now() => {}
    }
    assert!(requests.try_recv().is_ok(), "a read goes in");
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
        .await
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
    let started = queue.ask(initiate.into(), Audience::Processes, None).await;
    let paid = queue.ask(put().into(), Audience::Client, None).await;
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

// Without this a client waits for its own time limit with `peers`, and reads and acknowledgements wait with it.
#[tokio::test]
async fn new_work_waits_for_room_behind_the_archive_and_is_refused_once_that_is_late() {
    let mut admission = Admission {
        work_waits: true,
        ..Admission::on(DiskSpace { free: 1, min: 0 })
    };
    let (admissions, looks) = watch::channel(admission);
    let (rooms, room) = watch::channel(false);
    let (queue, mut requests) = queue_behind(looks, room);
    let from = ProcessId::parse("q").expect("a valid id");
    let decided = |to: &str| {
        let snapshot = SnapshotId::parse(to).expect("a valid id");
        let actor = Actor::default();
        let change = Change::Pinned(snapshot);
        Decide(Decision { actor, change })
    };
    let mut asked = Box::pin(queue.ask(put().into(), Audience::Client, None));
    let mut streamed = Box::pin(queue.ask_in_turn(put().into(), None));
    let mut pinned = Box::pin(queue.settle_for_client(decided("a")));
    let mut called = Box::pin(queue.ask_for_peer(put()));
    let mut delivered = Box::pin(queue.deliver(&from, vec![marker(1)]));
    let mut decides = Box::pin(queue.ask_from_within(decided("b")));
    tokio::select! {
        biased;
        _ = &mut asked => unreachable!("there is no room"),
        _ = &mut streamed => unreachable!("there is no room"),
        _ = &mut pinned => unreachable!("there is no room"),
        _ = &mut called => unreachable!("there is no room"),
        _ = &mut delivered => unreachable!("there is no room"),
        _ = &mut decides => unreachable!("there is no room"),
        () = tokio::task::yield_now() => {}
    }
    assert!(requests.try_recv().is_err(), "nothing went in");
    assert_read_goes_in(&queue, &mut requests).await;
    let acknowledged = queue.acknowledge(&from, Seq(1)).await;
    acknowledged.expect("it does not wait");
    assert!(requests.try_recv().is_ok(), "an acknowledgement goes in");

    admission.archive_behind = Some(Duration::from_secs(31));
    admissions.send_replace(admission);
    let late = Unavailable::ArchiveBehind(31);
    assert_eq!(asked.await.err(), Some(late.clone()));
    assert_eq!(streamed.await.err(), Some(late.clone()));
    assert_eq!(pinned.await.err(), Some(late.clone()));
    assert_eq!(called.await.err(), Some(late));
    assert!(requests.try_recv().is_err(), "nothing went in");
    rooms.send_replace(true);
    admission.archive_behind = None;
    admissions.send_replace(admission);
    assert!(delivered.await.is_ok());
    assert!(requests.try_recv().is_ok(), "what a peer sent goes in");
}

// Without this, clients whose work waits for room would hold the places that reads need.
#[tokio::test]
async fn a_flood_that_waits_for_room_behind_the_archive_leaves_room_for_reads() {
    let (_admission, looks) = watch::channel(Admission::on(DiskSpace { free: 1, min: 0 }));
    let (_room, room) = watch::channel(false);
    let (queue, mut requests) = queue_behind(looks, room);
    let many = CLIENTS_MAX / put().into_input().cost();
    let mut flood: Vec<_> = (0..many)
        .map(|_| Box::pin(queue.ask(put().into(), Audience::Client, None)))
        .collect();
    let mut refused = 0;
    for asked in &mut flood {
        tokio::select! {
            biased;
            answer = asked => {
                assert_eq!(answer.err(), Some(Unavailable::Full));
                refused += 1;
            }
            () = tokio::task::yield_now() => {}
        }
    }
    assert!(refused > 0 && refused < many, "{refused} of {many}");
    assert_read_goes_in(&queue, &mut requests).await;
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
                .await
                .expect("there is room"),
        );
    }
    let refused = queue.ask(put().into(), Audience::Client, None).await.err();
    assert_eq!(refused, Some(Unavailable::Full));
    drop(requests.recv().await);
    assert!(
        queue
            .ask(put().into(), Audience::Client, None)
            .await
            .is_ok(),
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
            .await
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
            .await
            .expect("there is room"),
    );
    let refused = queue.ask(flood(), Audience::Client, Some(&one)).await.err();
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
