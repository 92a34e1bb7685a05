//! Attacks on a node, each for a bounded time beside honest clients whose every call must succeed: what is asserted are
//! counts, balances and memory, never times. Without this, one client could take the memory, the connections or the
//! places of all others.
//!
//! `cargo test --test hostile` runs each attack for some seconds. Attacks that leave no memory behind share nodes; what they
//! may make these hold counts from before the first. Longer, each on nodes of its own, with the table at the end:
//!
//! ```text
//! cargo test --release --test hostile -- --seconds 90
//! cargo test --release --test hostile -- --seconds 10 --program target/other/snapledger    # only measures another build
//! ```

mod attack;
#[path = "../cluster/await_it.rs"]
mod await_it;
#[path = "../tls/certificates.rs"]
#[allow(dead_code, reason = "the tests of TLS use more of it")]
mod certificates;
#[path = "../tls/cluster.rs"]
#[allow(dead_code, reason = "the tests of TLS use more of it")]
mod cluster;
mod content;
#[path = "../cluster/contract.rs"]
mod contract;
mod frames;
mod honest;
mod memory;
mod peers;
mod places;
#[path = "../faults/programs.rs"]
#[allow(dead_code, reason = "the tests of faults use more of it")]
mod programs;
mod queue;
#[path = "../cluster/rest.rs"]
#[allow(dead_code, reason = "the tests of the cluster use more of it")]
mod rest;
mod slow;
mod stores;
mod streams;
mod wire;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use libtest_mimic::{Arguments, Failed, Trial};

use attack::{Attack, Leaves, Row, Run, Stage};

/// How long an attack runs among the tests, unless it needs longer to reach its limit.
const SHORT: Duration = Duration::from_secs(1);
/// Attacks at once, each on nodes of its own. More than there are processors, since several wait most of the time.
const AT_ONCE: usize = 4;

#[derive(Parser)]
struct Options {
    #[command(flatten)]
    tests: Arguments,

    /// Instead of the tests: run each attack for so many seconds, and show the table.
    #[arg(long)]
    seconds: Option<u64>,

    /// With `--seconds`: attack this build of the program and assert nothing.
    #[arg(long, requires = "seconds")]
    program: Option<PathBuf>,

    /// With `--seconds`: only attacks whose name contains this.
    #[arg(long, requires = "seconds")]
    only: Option<String>,
}

// Those first that take longest.
fn attacks_on_own_nodes() -> Vec<Attack> {
    let families = [
        slow::attacks(),
        memory::attacks(),
        streams::attacks(),
        places::attacks(),
        queue::attacks(),
        peers::attacks(),
    ];
    families.into_iter().flatten().collect()
}

fn families_that_share_nodes() -> [(&'static str, Vec<Attack>); 3] {
    [
        ("floods_of_frames", frames::attacks()),
        ("odd_content", content::attacks()),
        ("stores_without_end", stores::attacks()),
    ]
}

fn main() -> ExitCode {
    // Attackers open more connections than a process may by default.
    snapledger::api::serve::descriptors::raise();
    let mut options = Options::parse();
    let Some(seconds) = options.seconds else {
        options.tests.test_threads.get_or_insert(AT_ONCE);
        return libtest_mimic::run(&options.tests, trials()).exit_code();
    };
    let run = Run {
        time: Duration::from_secs(seconds),
        program: options.program,
        ends_at_limit: false,
    };
    let only = options.only.unwrap_or_default();
    let sharing = families_that_share_nodes().map(|(_, family)| family);
    let attacks = sharing.into_iter().flatten().chain(attacks_on_own_nodes());
    let (mut rows, mut has_failed) = (vec![Row::HEAD.to_owned()], false);
    for attack in attacks.filter(|attack| attack.name.contains(&only)) {
        eprintln!("{}", attack.name);
        let run = run.clone();
        // On a thread of its own, so that the others are run after one that fails.
        let done = std::thread::spawn(move || block_on(attacked(&[attack], run))).join();
        has_failed |= done.is_err();
        rows.extend(done.into_iter().flatten());
    }
    println!("{}", rows.join("\n"));
    match has_failed {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    }
}

fn trials() -> Vec<Trial> {
    let run = Run {
        time: SHORT,
        program: None,
        ends_at_limit: true,
    };
    let alone = attacks_on_own_nodes().into_iter();
    let alone = alone.map(|attack| (attack.name, vec![attack]));
    let mut trials: Vec<Trial> = families_that_share_nodes()
        .into_iter()
        .chain(alone)
        .map(|(name, family)| {
            let run = run.clone();
            Trial::test(name, move || -> Result<(), Failed> {
                let rows = block_on(attacked(&family, run));
                println!("{}", rows.join("\n"));
                Ok(())
            })
        })
        .collect();
    trials.push(Trial::test(
        "strangers_take_every_place_of_a_node_with_tls",
        || {
            block_on(peers::strangers_take_every_place_of_a_node_with_tls());
            Ok(())
        },
    ));
    trials
}

// The rows of attacks on the same nodes.
async fn attacked(family: &[Attack], run: Run) -> Vec<String> {
    let leaves_all = family.iter().all(|one| one.leaves == Leaves::Everything);
    let leaves = match leaves_all {
        true => Leaves::Everything,
        false => Leaves::OldConnections,
    };
    let mut stage = Stage::begin(leaves, run).await;
    let mut rows = Vec::new();
    for attack in family {
        rows.push(stage.attacked(attack).await.to_string());
    }
    stage.end().await;
    rows
}

fn block_on<T>(test: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build();
    let runtime = runtime.expect("the system has threads");
    let done = runtime.block_on(test);
    runtime.shutdown_background();
    done
}
