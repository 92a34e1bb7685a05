//! `simulate`: a scenario through the real process core, in virtual time, the same to the letter on every run.
//!
//! Pure as the core is: texts go in, a report comes out; who reads the files and prints stands in `cli`. This module
//! may know `process` and nothing else of the house. What must hold: a tick costs what is delivered in it, not what
//! exists, so the time of a run grows with the channels that carry something.

mod delays;
mod error;
mod flight;
mod journal;
mod layout;
mod report;
mod scenario;
mod source;
mod world;

pub use delays::Delays;
pub use error::{Reason, ScenarioError};
pub use report::{GlobalState, Recorded, Report};
pub use scenario::{Event, EventKind, Scenario};
pub use source::Source;

use crate::process::event::Turn;
use crate::process::ids::ProcessId;
use world::World;

/// The account that holds the tokens of a process.
pub const ACCOUNT: &str = "tokens";

/// Ticks that follow once all snapshots are complete.
const TICKS_AFTER: u64 = 6;

/// One turn of one process: what it sent, delivered and recorded, in order.
#[derive(Debug, Clone, Copy)]
pub struct SimulatedTurn<'a> {
    /// The virtual time.
    pub tick: u64,
    /// Whose turn it is.
    pub process: &'a ProcessId,
    /// What happened.
    pub turn: &'a Turn,
}

/// Runs `scenario` to its end and shows every step to `watch`, so that the result can be checked against it.
///
/// # Errors
/// [`ScenarioError`] where an event cannot be done or the delays are used up.
pub fn run(
    scenario: &Scenario,
    delays: Delays,
    watch: &mut dyn FnMut(SimulatedTurn<'_>),
) -> Result<Report, ScenarioError> {
    let mut world = World::new(scenario, delays, watch);
    for event in &scenario.events {
        world
            .happen(&event.kind)
            .map_err(|reason| scenario.refuse(event.line, reason))?;
    }
    world.finish()
}
