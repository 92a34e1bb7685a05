//! Runs of many seeds on all cores: the totals, and for each failed seed the command that replays it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use crate::sabotage::Sabotage;
use crate::sometimes::Sometimes;
use crate::trace::Trace;
use crate::world::{Checked, Figures, Outcome, World};

/// The number of trace lines shown for a failed seed.
const TAIL: usize = 60;
/// The number of failed seeds that are shown with a trace; the others are listed.
const SHOWN_MAX: usize = 5;

/// The totals of many seeds.
#[derive(Default)]
pub(crate) struct Total {
    pub(crate) figures: Figures,
    pub(crate) sometimes: Sometimes,
    pub(crate) failed: Vec<(u64, String)>,
}

/// Runs one seed. A panic of the code under test counts as a failure.
pub(crate) fn run(seed: u64, sabotage: Option<Sabotage>, trace: Trace) -> Outcome {
    let mut world = World::new(seed, sabotage, trace);
    let ran = catch_unwind(AssertUnwindSafe(|| world.run()));
    let result = ran.unwrap_or_else(|panic| Err(sentence(panic.as_ref())));
    Outcome {
        result,
        figures: world.figures(),
        sometimes: world.sometimes,
        trace: world.trace,
    }
}

/// The sentence of a panic.
pub(crate) fn sentence(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    format!("panic: {}", text.unwrap_or("without a sentence"))
}

/// Runs `count` seeds, starting with `from`.
pub(crate) fn run_all(from: u64, count: u64) -> Total {
    let next = AtomicU64::new(from);
    let total = Mutex::new(Total::default());
    let cores = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from + count {
                        return;
                    }
                    let outcome = run(seed, None, Trace::default());
                    total
                        .lock()
                        .expect("nobody panics with the total")
                        .add(seed, outcome);
                }
            });
        }
    });
    let mut total = total.into_inner().expect("nobody panics with the total");
    total.failed.sort();
    total
}

impl Total {
    fn add(&mut self, seed: u64, outcome: Outcome) {
        self.figures.add(&outcome.figures);
        self.sometimes.add(&outcome.sometimes);
        if let Err(why) = outcome.result {
            self.failed.push((seed, why));
        }
    }

    /// Fails with all failed seeds and their replay commands.
    pub(crate) fn check(&self) -> Checked {
        if self.failed.is_empty() {
            return Ok(());
        }
        let shown = self.failed.iter().take(SHOWN_MAX);
        let mut report: String = shown.map(|(seed, why)| replayed(*seed, why)).collect();
        for (seed, why) in self.failed.iter().skip(SHOWN_MAX) {
            report += &format!("seed {seed}: {why}\n");
        }
        Err(format!(
            "{report}{} of {} seeds failed",
            self.failed.len(),
            self.figures.seeds
        ))
    }
}

// The report of a failed seed, with the end of its trace.
fn replayed(seed: u64, why: &str) -> String {
    let outcome = run(seed, None, Trace::kept());
    let lines = outcome.trace.lines();
    let tail = lines[lines.len().saturating_sub(TAIL)..].join("\n");
    format!("{tail}\nseed {seed}: {why}\n  {}\n\n", command(seed))
}

/// The command that replays a seed.
pub(crate) fn command(seed: u64) -> String {
    format!("cargo test --locked --test simulated_cluster -- --seed {seed} --trace")
}
