//! The network between nodes fails in one direction, or silently in all directions at once, and heals (fault 18). No
//! call waits past its deadline; snapshots are partial, then complete. Without this, a partial network failure could
//! block the whole cluster. Where namespaces are not permitted, the test says so and passes.

use crate::namespaces::{self, Laboratory};
use crate::required;
use crate::scene::Scene;
use crate::view::{cannot_answer_for, names, peer_is};

/// The argument that makes this program run [`inside`].
pub(crate) const INSIDE: &str = "--inside-namespaces";
const NODES: usize = 3;

pub(crate) async fn the_network_fails_in_one_direction_and_at_once_and_heals() {
    if !namespaces::are_allowed() {
        required::absent("namespaces");
        return;
    }
    namespaces::run_inside(INSIDE);
}

/// The test itself, run within the namespaces.
pub(crate) async fn inside() {
    let laboratory = Laboratory::laid(NODES);
    let mut scene = Scene::open(laboratory.programs(NODES), 18).await;
    one_way(&laboratory, &mut scene).await;
    without_a_word(&laboratory, &mut scene).await;
    scene.close().await;
}

// n3 does not receive from n1; both exchange messages with n2 in both directions.
async fn one_way(laboratory: &Laboratory, scene: &mut Scene) {
    let rest = ["n1", "n2", "n3"].map(|id| scene.programs.rest(id));
    laboratory.cut("n1", "n3");
    tokio::join!(
        peer_is(&rest[0], "n3", "down"),
        peer_is(&rest[2], "n1", "down")
    );
    let mut begun = Vec::new();
    for (id, rest) in ["n1", "n2"].into_iter().zip(&rest) {
        let floor = scene.load.tallies.deposits_acknowledged();
        let snapshot = scene.chronicle.begin(id, floor).await.expect("it is well");
        begun.push((rest.clone(), snapshot));
    }
    for (rest, id) in &begun {
        names(&rest.snapshot(id, "partial").await, "n3");
    }
    cannot_answer_for(&rest[0], "n3").await;
    cannot_answer_for(&rest[2], "n1").await;
    scene.load.goes_on(50).await;

    laboratory.mend("n1", "n3");
    for (rest, id) in begun {
        rest.snapshot(&id, "complete").await;
    }
    tokio::join!(peer_is(&rest[0], "n3", "up"), peer_is(&rest[2], "n1", "up"));
}

// n3 is cut off and dies there: the others are not told and keep half-open connections.
async fn without_a_word(laboratory: &Laboratory, scene: &mut Scene) {
    let rest = scene.programs.rest("n1");
    laboratory.unplug("n3");
    let floor = scene.load.tallies.deposits_acknowledged();
    let id = scene
        .chronicle
        .begin("n1", floor)
        .await
        .expect("n1 is well");
    peer_is(&rest, "n3", "down").await;
    names(&rest.snapshot(&id, "partial").await, "n3");
    scene.programs.kill("n3");
    scene.load.goes_on(50).await;
    laboratory.plug("n3");
    scene.programs.start("n3").await;
    rest.snapshot(&id, "complete").await;
    scene.holds_what_it_acknowledged("n3").await;
}
