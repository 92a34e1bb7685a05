//! The simulated cluster: real processes with their real turns and codecs, in a world of slow channels, lost acknowledgements,
//! crashes, lossy disks and jumping clocks.
//!
//! Without this suite, only the crash scenarios written by hand would be known to lose nothing. Commands beside the tests:
//!
//! ```text
//! cargo test --release --test simulated_cluster -- --seeds 10000 --from 1    any number of seeds
//! cargo test --test simulated_cluster -- --seed 7 --trace                    one seed with its trace
//! ```

mod adoption;
mod archive;
mod asking;
mod assembling;
mod checkers;
mod clients;
mod clocks;
mod contract;
mod copies;
mod disk;
mod faults;
mod fetch;
mod history;
mod loss;
mod network;
mod node;
mod outbox;
mod part_writer;
mod peers;
mod pinning;
mod plan;
mod publishing;
#[path = "../teller/random.rs"]
mod random;
mod receiving;
mod recorder;
mod retention;
mod sabotage;
mod seeds;
mod sending;
mod sometimes;
mod standing_in;
mod states;
mod trace;
mod turns;
mod world;

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use libtest_mimic::{Arguments, Failed, Trial};
use sabotage::Sabotage;
use trace::Trace;

/// The number of seeds of the test.
const SEEDS: u64 = 2000;
/// Seeds beyond these that failed once.
const SEEDS_KEPT: [u64; 7] = [1009, 2998, 3051, 4215, 4442, 8250, 8785];
/// The number of seeds that are run twice.
const SEEDS_TWICE: u64 = 30;
/// The number of seeds within which a sabotaged world must be detected.
const SEEDS_SABOTAGED: u64 = 100;

/// What can be asked for beside the tests.
#[derive(Parser)]
#[command(no_binary_name = true)]
struct Asked {
    /// Run so many seeds.
    #[arg(long, conflicts_with = "seed")]
    seeds: Option<u64>,
    /// The first of them.
    #[arg(long, default_value_t = 0, requires = "seeds")]
    from: u64,
    /// Run one seed.
    #[arg(long)]
    seed: Option<u64>,
    /// Show what happens in it.
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Sabotage it, as the test of this name does.
    #[arg(long, requires = "seed")]
    sabotage: Option<String>,
}

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    if arguments.iter().any(|one| one.starts_with("--seed")) {
        return match asked(&Asked::parse_from(arguments)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(why) => {
                eprintln!("{why}");
                ExitCode::FAILURE
            }
        };
    }
    let caught = Sabotage::ALL
        .iter()
        .map(|(sabotage, name)| Trial::test(*name, || is_caught(*sabotage)));
    let mut trials: Vec<_> = caught.collect();
    trials.push(Trial::test(
        "whatever_fails_nothing_is_lost",
        nothing_is_lost,
    ));
    trials.push(Trial::test("what_failed_once_passes", kept_seeds_pass));
    trials.push(Trial::test("a_seed_is_a_run", a_seed_is_a_run));
    trials.extend(contract::trials());
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn asked(asked: &Asked) -> Result<(), String> {
    if let Some(seed) = asked.seed {
        let trace = if asked.trace {
            Trace::kept()
        } else {
            Trace::default()
        };
        let sabotage = asked.sabotage.as_deref().map(named).transpose()?;
        let outcome = seeds::run(seed, sabotage, trace);
        outcome
            .trace
            .lines()
            .iter()
            .for_each(|line| println!("{line}"));
        println!("seed {seed}: {}", outcome.figures);
        return outcome.result;
    }
    let started = Instant::now();
    let total = seeds::run_all(asked.from, asked.seeds.unwrap_or(0));
    println!(
        "{}\n{} in {:?}",
        total.sometimes,
        total.figures,
        started.elapsed()
    );
    total.check()
}

fn named(test: &str) -> Result<Sabotage, String> {
    let mut all = Sabotage::ALL.iter();
    let found = all.find(|(_, name)| *name == test);
    let (sabotage, _) = found.ok_or_else(|| format!("no test of sabotage is called {test}"))?;
    Ok(*sabotage)
}

fn nothing_is_lost() -> Result<(), Failed> {
    let total = seeds::run_all(0, SEEDS);
    total.check()?;
    let never = total.sometimes.never();
    if !never.is_empty() {
        return Err(format!("{SEEDS} seeds never saw {never:?}:\n{}", total.sometimes).into());
    }
    Ok(())
}

fn kept_seeds_pass() -> Result<(), Failed> {
    for seed in SEEDS_KEPT {
        let outcome = seeds::run(seed, None, Trace::default());
        outcome
            .result
            .map_err(|why| format!("{why}\n{}", seeds::command(seed)))?;
    }
    Ok(())
}

fn a_seed_is_a_run() -> Result<(), Failed> {
    for seed in 0..SEEDS_TWICE {
        let runs = [(); 2].map(|()| seeds::run(seed, None, Trace::kept()));
        let different = runs[0]
            .trace
            .lines()
            .iter()
            .zip(runs[1].trace.lines())
            .find(|(one, other)| one != other);
        if different.is_some()
            || runs[0].trace != runs[1].trace
            || runs[0].sometimes != runs[1].sometimes
        {
            return Err(format!("seed {seed} ran in two ways: {different:?}").into());
        }
    }
    Ok(())
}

// Proves that the tests can fail: a sabotaged world must not pass.
fn is_caught(sabotage: Sabotage) -> Result<(), Failed> {
    let mut outcomes = (0..SEEDS_SABOTAGED).map(|seed| {
        let outcome = seeds::run(seed, Some(sabotage), Trace::default());
        outcome.result.err().map(|why| (seed, why))
    });
    match outcomes.find_map(|caught| caught) {
        Some((seed, why)) => {
            println!("{sabotage:?} was caught by seed {seed}: {why}");
            Ok(())
        }
        None => Err(format!("{SEEDS_SABOTAGED} seeds of {sabotage:?} passed").into()),
    }
}
