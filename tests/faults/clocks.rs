//! The wall clocks of the nodes jump by days and years, forwards and backwards, under load (faults 20 and 20a). Sums,
//! order and snapshots must be unaffected; on no node may an instant be earlier than the one before, or further ahead
//! of the true time than `clock.ahead_max`.
//!
//! Without this, an administrator who sets a clock could break the order of the history or block the clocks of the
//! whole cluster. libfaketime provides the false time; where it is not installed, the test says so and passes.

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::await_it::until;
use crate::programs::Programs;
use crate::required;
use crate::rest::Rest;
use crate::scene::Scene;

const LIBRARY: &str = "faketime/libfaketimeMT.so.1";
/// Which node jumps, and how far from the true time. The clocks of the other two agree each time.
const JUMPS: [(&str, &str); 8] = [
    ("n1", "+1d"),
    ("n1", "-1d"),
    ("n1", "+0"),
    ("n3", "+2d"),
    ("n3", "+0"),
    ("n2", "+20000d"),
    ("n2", "+0"),
    ("n2", "-1d"),
];
/// The default of `clock.ahead_max`.
const AHEAD_MAX: SignedDuration = SignedDuration::from_secs(60);

/// The newest instant and journal position that each node has reported.
type Told = BTreeMap<&'static str, (u64, Timestamp)>;

pub(crate) async fn clocks_jump_by_days_and_nothing_else_does() {
    let Some(library_path) = library_path() else {
        required::absent("faketime");
        return;
    };
    let mut programs = Programs::planned(3);
    for id in programs.ids() {
        set_clock(&programs, id, "+0");
        let file = programs.file(&format!("{id}.time"));
        programs.set(id, "LD_PRELOAD", &library_path.to_string_lossy());
        programs.set(id, "FAKETIME_TIMESTAMP_FILE", &file.to_string_lossy());
        programs.set(id, "FAKETIME_NO_CACHE", "1");
        programs.set(id, "FAKETIME_DONT_FAKE_MONOTONIC", "1");
    }
    let mut scene = Scene::open(programs, 20).await;
    let mut told = Told::new();
    for (id, jump) in JUMPS {
        set_clock(&scene.programs, id, jump);
        scene.load.goes_on(40).await;
        for other in scene.programs.ids() {
            tells_no_earlier(&scene.programs.rest(other), other, &mut told).await;
        }
        let is_off = jump != "+0";
        until("a warning, or none", async || {
            let ready = scene.programs.rest("n3").read("/readyz").await;
            (ready.get("warnings").is_some() == is_off).then_some(())
        })
        .await;
    }
    set_clock(&scene.programs, "n2", "+0");
    // A node that opens with a clock far ahead of or behind its journal continues from the journal's time.
    for jump in ["+365d", "-365d"] {
        scene.programs.kill("n1");
        set_clock(&scene.programs, "n1", jump);
        scene.programs.start("n1").await;
        scene.load.goes_on(40).await;
        for id in scene.programs.ids() {
            tells_no_earlier(&scene.programs.rest(id), id, &mut told).await;
        }
    }
    for id in scene.programs.ids() {
        history_is_in_order(&scene.programs.rest(id)).await;
    }
    scene.close().await;
}

fn library_path() -> Option<PathBuf> {
    let dirs = [
        "/usr/lib/x86_64-linux-gnu",
        "/usr/lib/aarch64-linux-gnu",
        "/usr/lib",
        "/usr/lib64",
    ];
    let mut dirs = dirs.iter().map(|dir| PathBuf::from(dir).join(LIBRARY));
    dirs.find(|path| path.exists())
}

// Replaces the file atomically: a node that reads half a file would not know the time.
fn set_clock(programs: &Programs, id: &str, offset: &str) {
    let file = programs.file(&format!("{id}.time"));
    let next = file.with_extension("next");
    let written = std::fs::write(&next, offset).and_then(|()| std::fs::rename(next, file));
    written.expect("a file in a temporary directory");
}

async fn tells_no_earlier(rest: &Rest, id: &'static str, told: &mut Told) {
    let answer = rest.read("/v1/accounts/cash/balance").await;
    let position = answer["journal_position"].as_u64().expect("a position");
    let now = (position, instant(&answer["at"]));
    assert!(
        now.1 <= Timestamp::now() + AHEAD_MAX,
        "{id} is ahead: {now:?}"
    );
    if let Some(before) = told.insert(id, now) {
        assert!(
            now.0 >= before.0 && now.1 >= before.1,
            "{id}: {now:?} after {before:?}"
        );
    }
}

// On every process, a later cut has no earlier instant. Snapshot durations are not measured by the wall clock.
async fn history_is_in_order(rest: &Rest) {
    let list = rest.read("/v1/snapshots?status=complete&limit=1000").await;
    let mut cuts: BTreeMap<String, Vec<(u64, Timestamp)>> = BTreeMap::new();
    for line in list["snapshots"].as_array().expect("a list") {
        let id = line["snapshot_id"].as_str().expect("an id");
        let snapshot = rest.read(&format!("/v1/snapshots/{id}")).await;
        assert!(
            instant(&snapshot["initiated_at"]) <= instant(&snapshot["finished_at"]),
            "{snapshot}"
        );
        for process in snapshot["processes"].as_array().expect("a list") {
            let name = process["process"].as_str().expect("a name");
            let position = process["journal_position"].as_u64().expect("a position");
            let cut = (position, instant(&process["recorded_at"]));
            cuts.entry(name.to_owned()).or_default().push(cut);
        }
    }
    for (process, mut cuts) in cuts {
        cuts.sort_unstable();
        assert!(
            cuts.is_sorted_by_key(|(_, instant)| *instant),
            "{process}: {cuts:?}"
        );
    }
}

fn instant(text: &Value) -> Timestamp {
    let text = text.as_str().expect("an instant");
    text.parse().expect("RFC 3339")
}
