//! Faults injected into real nodes: they are killed, frozen, cut off, given false time and flooded, under load and with
//! continuous snapshots. Without this, each part may be right and the whole still break its guarantees.
//!
//! `cargo test --test faults` runs the short versions. The long runs:
//!
//! ```text
//! cargo test --release --test faults -- --kills 500 --nodes 5 [--seed S]
//! cargo test --release --test faults -- --frozen-s 60
//! cargo test --release --test faults -- --queued 2000000
//! cargo test --release --test faults -- --losses 50 --waits sync [--orders FILE] [--s3] [--seed S]
//! cargo test --release --test faults -- --slow-archive 0,5,20,50 -- archive --runs 1
//! ```

#[path = "../cluster/archive_place.rs"]
#[allow(dead_code, reason = "the tests of the cluster use more of it")]
mod archive_place;
#[path = "../cluster/await_it.rs"]
mod await_it;
mod chronicle;
mod clocks;
#[path = "../cluster/contract.rs"]
mod contract;
mod dead_peer;
mod floods;
mod idle;
mod kills;
mod load;
mod lost_disks;
mod namespaces;
mod orders;
mod partitions;
mod pauses;
mod programs;
mod proxy;
#[path = "../teller/random.rs"]
mod random;
#[path = "../required/mod.rs"]
mod required;
#[path = "../cluster/rest.rs"]
#[allow(dead_code, reason = "the tests of the cluster use more of it")]
mod rest;
#[path = "../s3/mod.rs"]
mod s3;
mod scene;
mod slow_archive;
mod streams;
mod view;

use std::future::Future;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use libtest_mimic::{Arguments, Failed, Trial};

/// Tests at once, each with nodes of its own. More than there are processors, since they wait most of the time.
const AT_ONCE: usize = 4;
/// How long the remaining tasks of a test may take to stop.
const LET_GO: Duration = Duration::from_secs(1);

#[derive(Parser)]
struct Options {
    #[command(flatten)]
    tests: Arguments,

    /// Instead of the tests: kill so many nodes, and show figures.
    #[arg(long)]
    kills: Option<usize>,

    /// Instead of the tests: freeze one of three nodes for so many seconds, and show figures.
    #[arg(long, value_name = "SECONDS")]
    frozen_s: Option<u64>,

    /// Instead of the tests: let so many transfers wait for a dead peer, and show figures.
    #[arg(long, value_name = "TRANSFERS")]
    queued: Option<usize>,

    /// With `--queued`: so many values of 32 KiB as well.
    #[arg(long, value_name = "VALUES", default_value_t = 0)]
    queued_values: usize,

    /// Instead of the tests: lose the disk of a node so many times, restore it from its archive, and show figures.
    #[arg(long)]
    losses: Option<usize>,

    /// With `--losses`: what waits for the archive, `peers` or `sync`.
    #[arg(long, value_name = "WHAT", default_value = "peers")]
    waits: String,

    /// With `--losses`: the payment orders that are replayed meanwhile, instead of made ones.
    #[arg(long, value_name = "FILE")]
    orders: Option<PathBuf>,

    /// With `--losses`: the archive is on S3, not in a directory.
    #[arg(long)]
    s3: bool,

    /// Instead of the tests: run a measurement of `snapledger bench` with an archive on S3 whose puts take so much longer.
    #[arg(long, value_name = "MS,MS…", value_delimiter = ',')]
    slow_archive: Vec<u64>,

    /// With `--slow-archive`: the measurement and its options.
    #[arg(last = true, default_value = "archive")]
    measurement: Vec<String>,

    /// What the test with the network namespaces runs inside of them.
    #[arg(long, hide = true)]
    inside_namespaces: bool,

    /// How many nodes take part in a long run, 2 to 5.
    #[arg(long, default_value_t = 5)]
    nodes: usize,

    /// What a long run draws its moments and victims from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> ExitCode {
    let mut options = Options::parse();
    let (nodes, seed) = (options.nodes, options.seed);
    let says = |sentence| eprintln!("{sentence}");
    if let Some(kills) = options.kills {
        let plan = kills::Plan { kills, nodes, seed };
        println!("{}", block_on(kills::run(plan, says)));
    } else if let Some(seconds) = options.frozen_s {
        let frozen = Duration::from_secs(seconds);
        println!("{}", block_on(pauses::run(frozen, seed)));
    } else if let Some(transfers) = options.queued {
        println!(
            "{}",
            block_on(dead_peer::run((transfers, options.queued_values), says))
        );
    } else if !options.slow_archive.is_empty() {
        block_on(slow_archive::run(
            &options.slow_archive,
            &options.measurement,
        ));
    } else if let Some(losses) = options.losses {
        let plan = lost_disks::Plan {
            losses,
            waits: options.waits,
            orders: options.orders,
            on_s3: options.s3,
            seed,
        };
        println!("{}", block_on(lost_disks::run(plan, says)));
    } else if options.inside_namespaces {
        block_on(partitions::inside());
    } else {
        options.tests.test_threads.get_or_insert(AT_ONCE);
        return libtest_mimic::run(&options.tests, trials()).exit_code();
    }
    ExitCode::SUCCESS
}

// Those first that take longest.
fn trials() -> Vec<Trial> {
    vec![
        trial(
            "disks_are_lost_where_everything_waits_for_the_archive",
            || disks_are_lost("sync", true),
        ),
        trial("disks_are_lost_where_others_wait_for_the_archive", || {
            disks_are_lost("peers", false)
        }),
        trial("killed_again_and_again_3_nodes", || killed(3)),
        trial("killed_again_and_again_5_nodes", || killed(5)),
        trial("frozen_until_it_is_taken_for_dead", || async {
            pauses::run(Duration::ZERO, 21).await;
        }),
        trial(
            "clocks_jump_by_days_and_nothing_else_does",
            clocks::clocks_jump_by_days_and_nothing_else_does,
        ),
        trial(
            "the_network_fails_in_one_direction_and_at_once_and_heals",
            partitions::the_network_fails_in_one_direction_and_at_once_and_heals,
        ),
        trial(
            "a_stream_breaks_around_a_marker_and_the_cut_stays_where_it_is",
            streams::a_stream_breaks_around_a_marker_and_the_cut_stays_where_it_is,
        ),
        trial(
            "acknowledgements_are_lost_in_a_storm_and_everything_is_credited_once",
            streams::acknowledgements_are_lost_in_a_storm_and_everything_is_credited_once,
        ),
        trial(
            "a_client_that_waits_is_answered_although_the_marker_is_late",
            streams::a_client_that_waits_is_answered_although_the_marker_is_late,
        ),
        trial(
            "what_waits_for_a_dead_peer_is_on_disk_and_arrives_once",
            dead_peer::what_waits_for_a_dead_peer_is_on_disk_and_arrives_once,
        ),
        trial(
            "a_flood_of_one_host_is_refused_and_memory_does_not_grow",
            floods::a_flood_of_one_host_is_refused_and_memory_does_not_grow,
        ),
        trial(
            "idle_connections_leave_descriptors_for_the_store_and_for_others",
            idle::idle_connections_leave_descriptors_for_the_store_and_for_others,
        ),
    ]
}

async fn killed(nodes: usize) {
    let plan = kills::Plan {
        kills: 10,
        nodes,
        seed: 7,
    };
    let kills::Plan { kills, seed, .. } = plan;
    let replay =
        format!("cargo test --test faults -- --kills {kills} --nodes {nodes} --seed {seed}");
    let _said = OnFailure(replay);
    kills::run(plan, |_| {}).await;
}

async fn disks_are_lost(waits: &str, on_s3: bool) {
    let plan = lost_disks::Plan {
        losses: 3,
        waits: waits.to_owned(),
        orders: None,
        on_s3,
        seed: 5,
    };
    lost_disks::run(plan, |_| {}).await;
}

/// Prints how to replay a failed run.
struct OnFailure(String);

impl Drop for OnFailure {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("to replay it: {}", self.0);
        }
    }
}

fn trial<F: Future<Output = ()>>(name: &str, test: impl FnOnce() -> F + Send + 'static) -> Trial {
    Trial::test(name, || -> Result<(), Failed> {
        block_on(test());
        Ok(())
    })
}

fn block_on<T>(test: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build();
    let runtime = runtime.expect("the system has threads");
    let done = runtime.block_on(test);
    // A call to a dead node may still be waiting for its timeout.
    runtime.shutdown_timeout(LET_GO);
    done
}
