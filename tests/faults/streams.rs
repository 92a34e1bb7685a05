//! A channel over a bad network: slow, broken in the middle of a frame, or without acknowledgements. FIFO order holds,
//! every transfer is on exactly one side of the cut, and each is credited once (faults 17 and 19). Without this, a
//! reconnect could lose or duplicate messages in flight.

use std::pin::pin;
use std::time::Duration;

use serde_json::json;
use snapledger::proto::snapledger::ApplyRequest;
use tokio::time::timeout;

use crate::await_it::until;
use crate::chronicle::prove;
use crate::load::{deposit, ledger, payment};
use crate::programs::Programs;
use crate::proxy::{Proxy, Way};
use crate::rest::Rest;
use crate::view::channel;

const MONEY: i64 = 1_000_000;
/// Transfers per batch; they fit into one frame.
const TRANSFERS: i64 = 400;
const ROUNDS: i64 = 2;
const CUTS: usize = 3;
/// Far less than a batch takes.
const SOME_BYTES: usize = 4096;
const STORMS: i64 = 12;
/// Longer than a node waits for the marker of an unknown snapshot.
const EARLY: Duration = Duration::from_secs(2);

/// Two nodes, and the proxy from the first to the second.
struct Pair {
    programs: Programs,
    proxy: Proxy,
    one: Rest,
    two: Rest,
}

impl Pair {
    async fn connected() -> Self {
        let mut programs = Programs::planned(2);
        let proxy = Proxy::before(programs.grpc("n2")).await;
        programs.detour("n1", "n2", proxy.address);
        programs.start_all().await;
        let (one, two) = (programs.rest("n1"), programs.rest("n2"));
        let pair = Self {
            programs,
            proxy,
            one,
            two,
        };
        pair.apply(vec![deposit("seed", "cash", MONEY)]).await;
        pair.is_open().await;
        pair
    }

    async fn apply(&self, operations: Vec<snapledger::proto::snapledger::Operation>) {
        let mut ledger = ledger(self.programs.grpc("n1"));
        let answer = ledger.apply(ApplyRequest { operations }).await;
        let results = answer.expect("the node answers").into_inner().results;
        assert!(results.iter().all(|result| result.success), "{results:?}");
    }

    async fn pay(&self, account: &str, times: i64) {
        let pay = |number| payment(format!("{account}-{number}"), ("n2", account.to_owned()), 1);
        self.apply((0..times).map(pay).collect()).await;
    }

    async fn is_open(&self) {
        until("an open channel", async || {
            let state = channel(&self.one, "n1", "n2").await["state"].clone();
            (state == "open").then_some(())
        })
        .await;
    }

    async fn is_acknowledged(&self) {
        until("everything acknowledged", async || {
            (channel(&self.one, "n1", "n2").await["in_flight"] == 0).then_some(())
        })
        .await;
    }

    // Waits until exactly this many messages were delivered, each once.
    async fn delivers(&self, messages: i64) {
        self.is_acknowledged().await;
        assert_eq!(channel(&self.one, "n1", "n2").await["sent"], messages);
        assert_eq!(channel(&self.two, "n1", "n2").await["delivered"], messages);
    }
}

pub(crate) async fn a_stream_breaks_around_a_marker_and_the_cut_stays_where_it_is() {
    let mut pair = Pair::connected().await;
    for round in 0..ROUNDS {
        let (before, behind) = (format!("before-{round}"), format!("behind-{round}"));
        pair.proxy.set(Way::Slow);
        pair.pay(&before, TRANSFERS).await;
        let id = pair.one.start_snapshot().await;
        pair.pay(&behind, TRANSFERS).await;
        for _ in 0..CUTS {
            let (bytes, connections) = (pair.proxy.bytes(), pair.proxy.connections());
            until("the middle of a frame", async || {
                (pair.proxy.bytes() > bytes + SOME_BYTES).then_some(())
            })
            .await;
            pair.proxy.cut();
            until("another connection", async || {
                (pair.proxy.connections() > connections).then_some(())
            })
            .await;
        }
        pair.proxy.set(Way::Open);
        let snapshot = pair.one.snapshot(&id, "complete").await;
        prove(&snapshot, (MONEY, MONEY));
        let recorded = |account: &str| {
            let path = format!("/v1/processes/n2/accounts/{account}/balance?snapshot={id}");
            let one = pair.one.clone();
            async move { one.read(&path).await["balance"].clone() }
        };
        // n1 sent its marker between the two batches, so n2 records at this marker.
        assert_eq!(recorded(&before).await, TRANSFERS);
        assert_eq!(recorded(&behind).await, 0, "it is behind the marker");
        pair.two.balance_is(&behind, TRANSFERS).await;
        pair.two.balance_is(&before, TRANSFERS).await;
    }
    pair.delivers(ROUNDS * (2 * TRANSFERS + 1)).await;
    pair.programs.stop_and_check_all().await;
}

pub(crate) async fn acknowledgements_are_lost_in_a_storm_and_everything_is_credited_once() {
    let mut pair = Pair::connected().await;
    for storm in 1..=STORMS {
        pair.is_open().await;
        pair.is_acknowledged().await;
        pair.proxy.set(Way::Deaf);
        let before = channel(&pair.one, "n1", "n2").await["acknowledged"].clone();
        pair.pay(&format!("a-{storm}"), 10).await;
        pair.two.balance_is(&format!("a-{storm}"), 10).await;
        let after = channel(&pair.one, "n1", "n2").await["acknowledged"].clone();
        assert_eq!(after, before, "the acknowledgement was lost");
        // The connection is broken again during recovery, while more is being sent.
        pair.proxy.set(Way::Slow);
        for cut in 0..3 {
            let connections = pair.proxy.connections();
            pair.proxy.cut();
            pair.pay(&format!("b-{storm}-{cut}"), 10).await;
            until("another connection", async || {
                (pair.proxy.connections() > connections).then_some(())
            })
            .await;
        }
        pair.proxy.set(Way::Open);
    }
    pair.delivers(STORMS * 40).await;
    for storm in 1..=STORMS {
        assert_eq!(pair.two.balance(&format!("a-{storm}")).await, Some(10));
        for cut in 0..3 {
            assert_eq!(
                pair.two.balance(&format!("b-{storm}-{cut}")).await,
                Some(10)
            );
        }
    }
    let id = pair.two.start_snapshot().await;
    let snapshot = pair.two.snapshot(&id, "complete").await;
    prove(&snapshot, (MONEY, MONEY));
    assert_eq!(snapshot["totals"]["in_flight"], json!(0));
    pair.programs.stop_and_check_all().await;
}

// n1 tells n2 that the snapshot exists while its marker is held up. Without this the client that asked to wait at n2 would be told
// after a second that it is in progress.
pub(crate) async fn a_client_that_waits_is_answered_although_the_marker_is_late() {
    let mut pair = Pair::connected().await;
    pair.proxy.set(Way::Held);
    let named = json!({ "snapshot_id": "late", "deadline": "60s" });
    assert_eq!(pair.one.post("/v1/snapshots", &named).await.status, 202);
    let mut waiting = pin!(pair.two.post("/v1/snapshots?wait=20", &named));
    let early = timeout(EARLY, &mut waiting).await;
    assert!(early.is_err(), "nothing has arrived: {early:?}");
    pair.proxy.set(Way::Open);
    let answer = waiting.await;
    assert_eq!(
        (answer.status, &answer.json()["status"]),
        (200, &json!("complete"))
    );
    pair.programs.stop_and_check_all().await;
}
