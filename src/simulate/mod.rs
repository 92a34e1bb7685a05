//! `simulate`: runs a scenario through the real process core in virtual time, with identical output on every run.
//!
//! The module is pure: texts in, a report out. `cli` reads the files and prints. It depends on `process` only. The cost
//! of a tick is proportional to the messages delivered in it, not to the size of the world; the run time therefore
//! grows with the number of busy channels.

mod delays;
mod diagram;
mod error;
mod flight;
mod journal;
mod layout;
mod report;
mod scenario;
mod source;
mod world;

pub use delays::Delays;
pub use diagram::Diagram;
pub use error::{Reason, ScenarioError};
pub use report::{GlobalState, Recorded, Report};
pub use scenario::{Event, EventKind, Scenario};
pub use source::Source;

use crate::process::ids::ProcessId;
use crate::process::record::Turn;
use world::World;

/// The account that holds the tokens of a process.
pub const ACCOUNT: &str = "tokens";

/// Ticks that follow when all snapshots are complete.
const TICKS_AFTER: u64 = 6;

/// One turn of one process: what it sent, delivered and recorded, in order.
#[derive(Debug, Clone, Copy)]
pub struct SimulatedTurn<'a> {
    /// The virtual time.
    pub tick: u64,
    /// The process that took the turn.
    pub process: &'a ProcessId,
    /// The records of the turn, in order.
    pub turn: &'a Turn,
}

/// Runs `scenario` to its end and passes every turn to `watch`, so that a test can check the result against it.
///
/// # Errors
/// [`ScenarioError`] if an event is impossible or the delays are used up.
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
